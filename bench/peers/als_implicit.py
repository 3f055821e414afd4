"""Implicit alternating least squares on Gowalla (LightGCN's split) by the library implicit: time of fitting and quality.

    als_implicit.py [--alpha 1] [--regularization 0.01] [--factors 64] [--iterations 15] [--repeats 3] [--cholesky]

Recall and NDCG at 20 over all items but a user's training items, in the mean over users with test items; NDCG's ideal has
min(test items, 20) hits. --cholesky solves each row exactly instead of by three steps of conjugate gradients. The default
alpha and regularization are the library's. OpenBLAS has one thread, as the library asks for: it has threads of its own.
"""

import argparse

from common import THREADS, Timer, progress, report
from gowalla import CUT, matrices, quality

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

    train, test = matrices()
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
            items, _ = model.recommend(np.arange(train.shape[0]), train, N=CUT, filter_already_liked_items=True)
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
