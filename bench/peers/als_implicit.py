"""Implicit alternating least squares on Gowalla (LightGCN's split) by the library implicit: time of fitting and quality.

    als_implicit.py [--alpha 1] [--regularization 0.01] [--factors 64] [--iterations 15] [--repeats 3] [--cholesky]

Recall and NDCG at 20 over all items but a user's training items, in the mean over users with test items; NDCG's ideal has
min(test items, 20) hits. --cholesky solves each row exactly instead of by three steps of conjugate gradients. The default
alpha and regularization are the library's. OpenBLAS has one thread, as the library asks for: it has threads of its own.
"""

import argparse
import gzip

from common import THREADS, Timer, data_path, progress, report

CUT = 20


def read(path):
    """Users and items of a file whose lines are a user and its items."""
    import numpy as np

    users, items = [], []
    with gzip.open(path, "rt") as file:
        for line in file:
            user, *liked = line.split()
            users += [int(user)] * len(liked)
            items += map(int, liked)
    return np.array(users, np.int32), np.array(items, np.int32)


def quality(found, test):
    """Recall and NDCG of found items (users x CUT) against a CSR matrix of test items."""
    import numpy as np

    count = np.diff(test.indptr)
    hit = np.zeros(found.shape, bool)
    for user in np.flatnonzero(count):
        hit[user] = np.isin(found[user], test.indices[test.indptr[user] : test.indptr[user + 1]])
    gain = 1 / np.log2(np.arange(2, CUT + 2))
    ideal = np.r_[0, np.cumsum(gain)][np.minimum(count, CUT)]
    some = count > 0
    return (hit.sum(1)[some] / count[some]).mean(), ((hit @ gain)[some] / ideal[some]).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--regularization", type=float, default=0.01)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cholesky", action="store_true")
    options = parser.parse_args()

    import os

    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import implicit
    import numpy as np
    from scipy.sparse import csr_matrix

    folder = data_path("gowalla")
    pairs = [read(folder / f"{split}.txt.gz") for split in ("train", "test")]
    shape = [max(part[side].max() for part in pairs) + 1 for side in (0, 1)]
    train, test = (csr_matrix((np.ones(len(u), np.float32), (u, i)), shape=shape) for u, i in pairs)

    timers, recommending, found = [], [], []
    for seed in range(options.repeats):
        model = implicit.als.AlternatingLeastSquares(
            factors=options.factors,
            regularization=options.regularization,
            alpha=options.alpha,
            iterations=options.iterations,
            use_cg=not options.cholesky,
            num_threads=THREADS,
            random_state=seed,
        )
        with Timer() as timer:
            model.fit(train, show_progress=False)
        with Timer() as after:
            items, _ = model.recommend(np.arange(shape[0]), train, N=CUT, filter_already_liked_items=True)
        timers.append(timer)
        recommending.append(after.seconds)
        found.append(quality(items, test))
        progress(f"{timer.seconds:.2f} s, {timer.other_cores:.2f} other cores, recall and NDCG {found[-1]}")
    recall, ndcg = np.median(found, axis=0)
    metrics = {"recall_20": recall, "ndcg_20": ndcg}
    report(
        f"implicit-{implicit.__version__}", "gowalla-als", train.nnz * options.iterations, timers, metrics, vars(options),
        recommend_seconds=float(np.median(recommending)),
    )


if __name__ == "__main__":
    main()
