"""MovieLens-1M as DIN samples, built with pandas and vectorised NumPy.

A sample is one rating in a user's order (`chron_rank`; ratings of items with fewer than 5 ratings have rank -1 and are
left out). Label: rating >= 4. History: the user's last 50 earlier items with label 1, oldest first, padded on the right.
Test: the last 10 % of each user's samples (positions from ceil(0.9 n) on). Ids start at 1; 0 is padding.
"""

from common import data_path

import numpy as np
import pandas as pd

HISTORY = 50
FEATURES = ("user", "gender", "age", "occupation", "item", "genre")
VOCABULARY = {"user": 6041, "gender": 3, "age": 8, "occupation": 22, "item": 3953, "genre": 19}


def read_ratings():
    """Ratings with user and item features joined, in each user's order of time."""
    folder = data_path("ml-1m")
    ratings = pd.read_csv(folder / "ratings.tsv.gz", sep="\t")
    ratings = ratings[ratings.chron_rank >= 0]
    users = pd.read_csv(
        folder / "users.dat", sep="::", engine="python", header=None,
        names=["user_id", "gender", "age", "occupation", "zip"],
    )
    movies = pd.read_csv(
        folder / "movies.dat", sep="::", engine="python", header=None, encoding="latin-1",
        names=["movie_id", "title", "genres"],
    )
    movies["genre"] = movies.genres.str.split("|").str[0].astype("category").cat.codes + 1
    for column in ("gender", "age", "occupation"):
        users[column] = users[column].astype("category").cat.codes + 1
    ratings = ratings.merge(users.drop(columns="zip"), on="user_id")
    ratings = ratings.merge(movies[["movie_id", "genre"]], on="movie_id", how="left")
    return ratings.sort_values(["user_id", "chron_rank"], kind="stable", ignore_index=True)


def positions_in_group(keys):
    """For sorted keys: each row's position in its group, and its group's size."""
    start = np.r_[0, np.flatnonzero(np.diff(keys)) + 1]
    size = np.diff(np.r_[start, len(keys)])
    return np.arange(len(keys)) - np.repeat(start, size), np.repeat(size, size)


def build():
    """All samples as arrays: the FEATURES, `label`, `history` [n, 50], `history_length` and `test` (bool)."""
    ratings = read_ratings()
    user, item = (ratings[c].to_numpy(np.int32) for c in ("user_id", "movie_id"))
    label = (ratings.rating >= 4).to_numpy(np.int8)
    position, size = positions_in_group(user)
    # All positives stand in one array in sample order, so a sample's history is the end of the part before it.
    before = np.cumsum(label, dtype=np.int64) - label
    earlier = before - before[np.arange(len(user)) - position]
    length = np.minimum(earlier, HISTORY).astype(np.int32)
    column = np.arange(HISTORY)
    positives = item[label == 1]
    index = np.minimum((before - length)[:, None] + column, len(positives) - 1)
    history = np.where(column < length[:, None], positives[index], 0).astype(np.int32)
    features = {c: ratings[c].to_numpy(np.int32) for c in ("gender", "age", "occupation", "genre")}
    return {
        "user": user, "item": item, **features, "label": label, "history": history, "history_length": length,
        "test": position >= np.ceil(size * 0.9),
    }
