"""The two data sets of the multi-task peers, with the rows, splits and ids of `kitestring prepare` and our configs.

census: `configs/census-income.toml` on `census-income.csv`. A row's split is drawn by its line number from the seed, as ours is;
training rows are what is neither valid nor test.
ml1m: `configs/movielens-1m-scenarios.toml` (ml1m.py reads the files). The two scenario levels stand behind the features as fields.

An id is known if a training row has it; 0 stands for all others. Numbers are standardized by training rows.
"""

from dataclasses import dataclass

from common import data_path

import numpy as np
import pandas as pd

from ml1m import positions_in_group, read_ratings

# The columns of the file, with what becomes of each: an id, a number (its logarithm), a label, or nothing.
CENSUS = {
    "age": "number", "class_of_worker": "id", "industry_code": "id", "occupation_code": "id", "education": "id",
    "wage_per_hour": "log", "enrolled_in_education": "id", "marital_status": "label", "major_industry": "id",
    "major_occupation": "id", "race": "id", "hispanic_origin": "id", "sex": "id", "union_member": "id",
    "reason_for_unemployment": "id", "employment": "id", "capital_gains": "log", "capital_losses": "log", "dividends": "log",
    "tax_filer_status": "id", "previous_region": "id", "previous_state": "id", "household_status": "id",
    "household_summary": "id", "instance_weight": "nothing", "migration_code_msa": "id", "migration_code_region": "id",
    "migration_code_within_region": "id", "same_house_a_year_ago": "id", "previous_residence_in_sunbelt": "id",
    "persons_worked_for_employer": "number", "family_members_under_18": "id", "father_birth_country": "id",
    "mother_birth_country": "id", "birth_country": "id", "citizenship": "id", "own_business": "id",
    "veteran_questionnaire": "id", "veteran_benefits": "id", "weeks_worked": "number", "year": "id", "income": "label",
}


@dataclass
class Samples:
    """Samples in memory, and the sizes our config of the same data has."""

    fields: dict[str, int]  # the number of ids of each categorical field, with 0
    ids: np.ndarray  # [n, fields]
    numbers: np.ndarray  # [n, any], float32
    labels: np.ndarray  # [n, 2], float32
    tasks: tuple[str, str]
    train: np.ndarray  # row numbers
    test: np.ndarray
    dimension: int
    row_deviation: float  # of the normal distribution rows start from
    batch: int
    epochs: int


def known_ids(columns, train):
    """The id of each value of each column, and how many there are."""
    ids, sizes = [], {}
    for name, column in columns.items():
        values = np.unique(column[train])
        at = np.minimum(np.searchsorted(values, column), len(values) - 1)
        ids.append(np.where(values[at] == column, at + 1, 0))
        sizes[name] = len(values) + 1
    return np.stack(ids, 1), sizes


def mix(z):
    """SplitMix64's finalizer (Steele, Lea and Flood 2014)."""
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


GAMMA = np.uint64(0x9E3779B97F4A7C15)


def child(seed, name):
    """The seed of a name under another seed (FNV-1a over the name)."""
    digest = np.uint64(0xCBF29CE484222325)
    for byte in name.encode():
        digest = (digest ^ np.uint64(byte)) * np.uint64(0x100000001B3)
    return mix(seed + GAMMA ^ mix(digest))


def uniform(seed, index):
    """A number of [0, 1) for each index."""
    return (mix(seed + (index + np.uint64(1)) * GAMMA) >> np.uint64(40)) / 2.0**24


def census(seed=0):
    path = next(data_path("census-income-kdd").glob("census-income.csv*"))
    frame = pd.read_csv(path, header=None, names=list(CENSUS), dtype=str, skipinitialspace=True, keep_default_na=False)
    with np.errstate(over="ignore"):
        draws = uniform(child(child(np.uint64(seed), "prepare"), "split"), np.arange(1, len(frame) + 1, dtype=np.uint64))
    test, train = draws >= 1 - 0.1, draws < 1 - 0.1 - 0.1

    ids, fields = known_ids({c: frame[c].str.strip().to_numpy(str) for c in CENSUS if CENSUS[c] == "id"}, train)
    numbers = []
    for column, kind in CENSUS.items():
        if kind in ("number", "log"):
            values = frame[column].to_numpy(np.float64)
            values = np.sign(values) * np.log1p(np.abs(values)) if kind == "log" else values
            numbers.append((values - values[train].mean()) / values[train].std())
    labels = np.stack([frame.income.str.strip() == "50000+.", frame.marital_status.str.strip() == "Never married"], 1)
    return Samples(
        fields=fields, ids=ids, numbers=np.stack(numbers, 1).astype(np.float32), labels=labels.astype(np.float32),
        tasks=("income", "never_married"), train=np.flatnonzero(train), test=np.flatnonzero(test),
        dimension=8, row_deviation=0.01, batch=1024, epochs=3,
    )


def ml1m():
    ratings = read_ratings()
    position, size = positions_in_group(ratings.user_id.to_numpy())
    test = position >= np.ceil(size * 0.9 - 1e-9)
    columns = {c: ratings[c].to_numpy() for c in ("user_id", "gender", "age", "occupation", "movie_id", "genre")}
    # The ages 1, 18, 25, 35 … are numbered from 1: under 25, 25 to 34, 35 and over.
    columns["age_group"] = (columns["age"] >= 3).astype(int) + (columns["age"] >= 4)
    ids, fields = known_ids(columns, ~test)
    return Samples(
        fields=fields, ids=ids, numbers=np.zeros((len(ids), 0), np.float32),
        labels=np.stack([ratings.rating >= 4, ratings.rating >= 5], 1).astype(np.float32),
        tasks=("like", "love"), train=np.flatnonzero(~test), test=np.flatnonzero(test),
        dimension=8, row_deviation=0.05, batch=2048, epochs=2,
    )


SETS = {"census": census, "ml1m": ml1m}

if __name__ == "__main__":
    for name, load in SETS.items():
        samples = load()
        print(name, samples.fields)
        for split, rows in (("train", samples.train), ("test", samples.test)):
            print(name, split, len(rows), dict(zip(samples.tasks, samples.labels[rows].sum(0).astype(int).tolist())))
