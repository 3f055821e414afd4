"""A ranker goes on with a newer artifact, and keeps the one it has where the other is refused.

Usage: python renew.py FOLDER, which has ranker.kite, next.delta and ranker.pub.
"""

import json
import sys
from pathlib import Path

from kitestring import Event, KitestringError, Shelf, Value

FEATURES = ["item", "genres", "price"]
PROVIDED = ["city", "age", "clicked", *FEATURES]
ROWS = [[Value.TEXT(item), Value.MISSING(), Value.NUMBER(7)] for item in ("arrival", "dune")]
NOW = 1_700_000_000_000


def refused(kind, part, call, *arguments):
    try:
        call(*arguments)
    except kind as error:
        assert part in str(error), error
    else:
        raise AssertionError(f"{call} took {arguments}")


def push(ranker, item, number):
    return ranker.push(Event(action="click", texts=[item], numbers=[], time=NOW, id=number), NOW)


def scores(ranker):
    ranker.set_candidates(FEATURES, ROWS, ranker.version())
    return ranker.rank().scores


folder = Path(sys.argv[1])
keys = [(folder / "ranker.pub").read_text()]
first = (folder / "ranker.kite").read_bytes()
shelf = Shelf(str(folder / "renewed"), keys)
ranker = shelf.install(first, PROVIDED)
ranker.observe(json.dumps({"actions": ["click"], "columns": ["item"]}), None, NOW)
assert push(ranker, "dune", 1).moved and not push(ranker, "dune", 1).kept

# Candidates of another version are refused, and so is an artifact that is damaged or not trusted: all stays as it was.
before = scores(ranker)
refused(KitestringError.Data, "the device has example-1", ranker.set_candidates, FEATURES, ROWS[:1], "example-2")
refused(KitestringError.Format, "", ranker.renew_bytes, first[:-1], keys, NOW)
refused(KitestringError.Format, "trusted", ranker.renew_bytes, first, [], NOW)
refused(KitestringError.Io, "", ranker.renew_file, str(folder / "none.kite"), keys, NOW)
refused(KitestringError.Data, "install", ranker.renew_shelf, Shelf(str(folder / "empty"), keys), NOW)
assert ranker.release() == 1 and ranker.rank().scores == before

# The newer one ranks as one that was opened and told the same; what was done before is known, once.
expected = shelf.update((folder / "next.delta").read_bytes(), PROVIDED)
expected.append({"clicked": "dune"})
ranker.renew_shelf(shelf, NOW)
assert ranker.release() == 2 and ranker.rank().scores == []
assert scores(ranker) == scores(expected) != before
assert not push(ranker, "dune", 1).kept and push(ranker, "arrival", 2).moved
expected.append({"clicked": "arrival"})
assert scores(ranker) == scores(expected)
ranker.renew_bytes(first, keys, NOW)
ranker.forget(NOW)
push(ranker, "dune", 3)
assert scores(ranker) == before
print("renewed")
