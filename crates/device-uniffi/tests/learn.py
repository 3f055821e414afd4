"""A ranker learns a user who takes one of four films at every sight, keeps what it learned, and forgets it.

Usage: python learn.py FOLDER, which has ranker.kite and ranker.pub.
"""

import json
import sys
from pathlib import Path

from kitestring import KitestringError, Ranker, Value

FILMS = [
    ("arrival", ["drama", "science fiction"]),
    ("brazil", ["comedy"]),
    ("contact", ["science fiction"]),
    ("dune", ["adventure", "science fiction"]),
]


def at(ranker, number):
    ranker.set("age", Value.NUMBER(20 + 7 * number % 50))
    price = Value.NUMBER(4 + number % 7)
    rows = [[Value.TEXT(item), Value.TEXTS(genres), price] for item, genres in FILMS]
    ranker.set_candidates(["item", "genres", "price"], rows)
    return [score for scores in ranker.rank().scores for score in scores]


def refused(part, call, *arguments):
    try:
        call(*arguments)
    except KitestringError as error:
        assert part in str(error), error
    else:
        raise AssertionError(f"{call} took {arguments}")


folder = Path(sys.argv[1])
keys = [(folder / "ranker.pub").read_text()]
artifact = (folder / "ranker.kite").read_bytes()
ranker = Ranker.from_bytes(artifact, keys)
before = at(ranker, 0)
assert ranker.learned() == b""
refused("rate", ranker.learn_by, '{"learning": {"rate": 0}}')
ranker.learn_by('{"most": 200, "learning": {"epochs": 10}}')
for number in range(40):
    at(ranker, number)
    for film in range(4):
        assert ranker.label(ranker.show(film, film + 1), "click", float(film == number % 4))
refused("no candidate 4", ranker.show, 4, 1)
refused("click", ranker.label, 0, "clack", 1.0)
lesson = ranker.learn()
assert (lesson.taken, lesson.examples, lesson.judged) == (True, 160, 128), lesson
assert lesson.learned < lesson.artifact
after = at(ranker, 0)

# It is kept by the app, and refused where it is damaged.
learned = ranker.learned()
again = Ranker.from_bytes(artifact, keys)
again.use_learned(learned)
assert at(again, 0) == after
refused("damaged", again.use_learned, learned[:-1])
assert at(again, 0) == after
again.use_learned(b"")
assert at(again, 0) == before

# What the user has forgotten teaches nothing.
now = 1_700_000_000_000
ranker.observe(json.dumps({"actions": ["click"], "columns": ["item"]}), None, now)
ranker.forget(now)
assert (ranker.learned(), at(ranker, 0), ranker.learn().examples) == (b"", before, 0)
print(json.dumps([before, after]))
