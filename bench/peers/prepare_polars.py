"""Build MovieLens-1M's DIN samples (ml1m.py says which) from the raw files: time and peak memory.

    prepare_polars.py [polars|pandas|numpy] [--out FILE]

polars: its query engine throughout. pandas: the way most people write it, one Python list a user. numpy: pandas for
reading and joining, histories vectorised. --out also writes the samples as Arrow IPC and counts that time. One variant a
process, since the peak is the process's. The checksum (sum of all history ids) must be the same for all three.
"""

import argparse

from common import Timer, data_path, peak_rss_mib, report

HISTORY = 50


def with_polars(out):
    import polars as pl

    folder = data_path("ml-1m")

    def double_colon(name, columns):  # Polars' CSV reader takes separators of one byte only
        with open(folder / name, encoding="latin-1") as file:
            return pl.DataFrame([line.rstrip("\n").split("::") for line in file], schema=columns, orient="row")

    users = double_colon("users.dat", ["user_id", "gender", "age", "occupation", "zip"])
    movies = double_colon("movies.dat", ["movie_id", "title", "genres"])
    users = users.drop("zip").with_columns(pl.col("user_id").cast(pl.Int64))
    movies = movies.select(pl.col("movie_id").cast(pl.Int64), genre=pl.col("genres").str.split("|").list.first())
    label = pl.col("label")
    samples = (
        pl.read_csv(folder / "ratings.tsv.gz", separator="\t")
        .filter(pl.col("chron_rank") >= 0)
        .sort("user_id", "chron_rank", maintain_order=True)
        .join(users, on="user_id", maintain_order="left")
        .join(movies, on="movie_id", how="left", maintain_order="left")
        .with_columns(label=pl.col("rating") >= 4)
        .with_columns(
            earlier=(label.cum_sum().over("user_id") - label).cast(pl.Int64),
            test=pl.int_range(pl.len()).over("user_id") >= (pl.len().over("user_id") * 0.9).ceil(),
        )
        .with_columns(
            pl.col(c).cast(pl.Categorical).to_physical() + 1 for c in ("gender", "age", "occupation", "genre")
        )
    )
    positives = (
        samples.filter("label")
        .group_by("user_id", maintain_order=True)
        .agg(positives=pl.col("movie_id").cast(pl.Int32))
    )
    earlier = pl.col("earlier")
    samples = (
        samples.join(positives, on="user_id", how="left", maintain_order="left")
        .with_columns(
            history=pl.col("positives").list.slice(
                pl.max_horizontal(earlier - HISTORY, pl.lit(0)), pl.min_horizontal(earlier, pl.lit(HISTORY))
            )
        )
        .drop("positives", "earlier")
    )
    if out:
        samples.write_ipc(out)
    return len(samples), int(samples["history"].list.sum().cast(pl.Int64).sum()), f"polars-{pl.__version__}"


def with_pandas(out):
    import numpy as np
    import pandas as pd

    from ml1m import read_ratings

    ratings = read_ratings()
    ratings["label"] = (ratings.rating >= 4).astype("int8")
    histories, test = [], []
    for _, group in ratings.groupby("user_id", sort=False):
        liked = []
        for position, (item, label) in enumerate(zip(group.movie_id, group.label)):
            histories.append(np.array(liked[-HISTORY:], np.int32))
            test.append(position >= np.ceil(len(group) * 0.9))
            if label:
                liked.append(item)
    ratings["history"], ratings["test"] = histories, test
    if out:
        ratings.to_feather(out)
    return len(ratings), int(sum(h.sum() for h in histories)), f"pandas-{pd.__version__}"


def with_numpy(out):
    import numpy as np

    from ml1m import build

    samples = build()
    history = samples["history"]
    if out:
        import pyarrow as pa
        import pyarrow.feather

        columns = {k: v for k, v in samples.items() if k != "history"}
        columns["history"] = pa.FixedSizeListArray.from_arrays(history.ravel(), HISTORY)
        pa.feather.write_feather(pa.table(columns), out)
    return len(history), int(history.sum()), f"numpy-{np.__version__}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="?", choices=["polars", "pandas", "numpy"], default="polars")
    parser.add_argument("--out", help="also write the samples to this file as Arrow IPC")
    options = parser.parse_args()
    if options.variant == "polars":  # imports are not part of the work
        import polars  # noqa: F401
    else:
        import ml1m  # noqa: F401
    before = peak_rss_mib()
    with Timer() as timer:
        rows, checksum, peer = {"polars": with_polars, "pandas": with_pandas, "numpy": with_numpy}[options.variant](
            options.out
        )
    config = {"variant": options.variant, "history": HISTORY, "written": bool(options.out)}
    report(peer, "ml1m-din-prepare", rows, [timer], {"history_checksum": checksum}, config, import_rss_mib=before)


if __name__ == "__main__":
    main()
