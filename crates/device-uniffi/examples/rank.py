"""Ranks four films for a user, before and after a click, and again when a newer artifact was installed by a delta.

Usage: python rank.py FOLDER, which has ranker.kite, next.delta and ranker.pub; kitestring.py and the library are found by PYTHONPATH.
"""

import struct
import sys
from pathlib import Path

from kitestring import Shelf, Value

FILMS = [
    ("arrival", ["drama", "science fiction"], 9.5),
    ("brazil", ["comedy"], 4.0),
    ("contact", ["science fiction"], 7.25),
    ("dune", ["adventure", "science fiction"], 12.0),
]
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


folder = Path(sys.argv[1])
shelf = Shelf(str(folder / "shelf"), [(folder / "ranker.pub").read_text()])
replay(shelf.install((folder / "ranker.kite").read_bytes(), PROVIDED))
replay(shelf.update((folder / "next.delta").read_bytes(), PROVIDED))
