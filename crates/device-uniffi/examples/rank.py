"""Ranks four films for a user, before and after a click, and again when a newer artifact was installed by a delta.

Usage: python rank.py FOLDER, which has ranker.kite, next.delta and ranker.pub; kitestring.py and the library are found by PYTHONPATH.
"""

import json
import struct
import sys
from pathlib import Path

from kitestring import Event, Shelf, Value

FILMS = [
    ("arrival", ["drama", "science fiction"], 9.5),
    ("brazil", ["comedy"], 4.0),
    ("contact", ["science fiction"], 7.25),
    ("dune", ["adventure", "science fiction"], 12.0),
]
CLICK = {"actions": ["click"]}
DECLARATION = {
    "actions": ["exposure", "click"],
    "columns": ["item"],
    "triggers": [{"name": "click", "sequence": [CLICK]}, {"name": "two clicks", "sequence": [CLICK, CLICK]}],
}
PROVIDED = ["city", "age", "clicked", "item", "genres", "price"]


def show(ranker):
    ranking = ranker.rank()
    for film in ranking.orders[0]:
        bits = [struct.pack(">f", score).hex() for score in ranking.scores[film]]
        print(FILMS[film][0], *bits)


def replay(ranker):
    print(f"release {ranker.release()} of {ranker.version()}")
    ranker.set("city", Value.TEXT("riga"))
    ranker.set("age", Value.NUMBER(31))
    ranker.set_scenarios(["home"])
    rows = [[Value.TEXT(item), Value.TEXTS(genres), Value.NUMBER(price)] for item, genres, price in FILMS]
    ranker.set_candidates(["item", "genres", "price"], rows)
    show(ranker)
    ranker.append({"clicked": "contact"})
    print("after a click")
    show(ranker)

    # From here on the runtime keeps what the user does, and the histories with it.
    now = 1_700_000_000_000
    ranker.observe(json.dumps(DECLARATION), None, now)
    for item in ["dune", "arrival"]:
        effect = ranker.push(Event(action="click", texts=[item], numbers=[], time=now, id=None), now)
        print(f"a click on {item} moved {effect.moved:d} fired", *effect.fired)
    show(ranker)
    ranker.forget(now)


folder = Path(sys.argv[1])
shelf = Shelf(str(folder / "shelf"), [(folder / "ranker.pub").read_text()])
replay(shelf.install((folder / "ranker.kite").read_bytes(), PROVIDED))
replay(shelf.update((folder / "next.delta").read_bytes(), PROVIDED))
