"""Vectors of users and places by a softmax over the batch, plain PyTorch, on Gowalla: speed of training and quality.

    gowalla_torch.py {dense,sparse} [--epochs 1] [--batch 2048] [--temperature 0.1] [--rate 0.001] [--fused]

Cosines over a temperature, less the logarithm of a place's share of visits; a place that comes up twice in a batch is not
its own negative. dense: Adam over all rows; sparse: sparse gradients and SparseAdam. Recall and NDCG at 20 over all places
but a user's training places.
"""

import argparse

from common import Timer, progress, report, torch_with_seed
from gowalla import CUT, matrices, quality


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("optimizer", choices=["dense", "sparse"])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fused", action="store_true")
    options = parser.parse_args()
    torch = torch_with_seed(options.seed)
    import numpy as np
    from torch import nn
    from torch.nn import functional

    train, test = matrices()
    visits = train.tocoo()
    users, places = (torch.from_numpy(column.astype(np.int64)) for column in (visits.row, visits.col))
    share = torch.log(torch.bincount(places, minlength=train.shape[1]).clamp(min=1).float() / len(places))
    sparse = options.optimizer == "sparse"
    tables = [nn.Embedding(size, options.dimension, sparse=sparse) for size in train.shape]
    for table in tables:
        nn.init.normal_(table.weight, std=0.1)
    weights = [table.weight for table in tables]
    if sparse:
        optimizer = torch.optim.SparseAdam(weights, lr=options.rate)
    else:
        optimizer = torch.optim.Adam(weights, lr=options.rate, fused=options.fused)

    @torch.no_grad()
    def ranked():
        left, right = (functional.normalize(table.weight) for table in tables)
        top = np.empty((train.shape[0], CUT), np.int64)
        for start in range(0, train.shape[0], 2048):
            scores = left[start : start + 2048] @ right.T
            had = train[start : start + 2048].tocoo()
            scores[had.row, had.col] = -1e9
            top[start : start + 2048] = scores.topk(CUT).indices.numpy()
        return top

    timers = []
    for epoch in range(options.epochs):
        with Timer() as timer:
            for rows in torch.randperm(len(users)).split(options.batch):
                place = places[rows]
                left, right = functional.normalize(tables[0](users[rows])), functional.normalize(tables[1](place))
                scores = left @ right.T / options.temperature - share[place]
                own = torch.eye(len(rows), dtype=torch.bool)
                scores.masked_fill_((place[:, None] == place) & ~own, -1e9)
                loss = functional.cross_entropy(scores, torch.arange(len(rows)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        timers.append(timer)
        progress(f"epoch {epoch + 1}: {timer.seconds:.1f} s, {timer.other_cores:.2f} other cores, loss {loss.item():.3f}")
    recall, ndcg = quality(ranked(), test)
    metrics = {"recall_20": recall, "ndcg_20": ndcg}
    report(f"torch-{torch.__version__}", "gowalla-in-batch-softmax", len(users), timers, metrics, vars(options))


if __name__ == "__main__":
    main()
