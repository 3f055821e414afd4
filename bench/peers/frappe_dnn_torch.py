"""A DNN on Frappe in plain PyTorch: embeddings of 10 fields (dimension 10) -> 400-400-400 -> logit, batch 4096.

    frappe_dnn_torch.py {dense|sparse} [--reg 0.05] [--batch-norm] [--epochs 15] [--patience 2] [--steps N] [--seed 0]
                        [--fused] [--compile]

dense: Adam over everything, and `--reg` adds reg/2 * ||table||^2 over the whole table to the loss (FuxiCTR's meaning).
sparse: sparse gradients and SparseAdam for the table, Adam for the network; no --reg. Tensors are in memory and batches are
slices: no loader stands between PyTorch and its speed. Learning rate 1e-3, times 0.1 whenever validation AUC does not
improve; the best epoch counts. Rates are of training only, first epoch left out where there are several.
"""

import argparse

from common import Timer, data_path, progress, quality, report, torch_with_seed

FIELDS = ["user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city"]
DIMENSION, BATCH, HIDDEN, DROPOUT = 10, 4096, (400, 400, 400), 0.2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", choices=["dense", "sparse"])
    parser.add_argument("--reg", type=float, default=0.0)
    parser.add_argument("--batch-norm", action="store_true")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--steps", type=int, help="at most so many steps an epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused Adam")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    options = parser.parse_args()
    if options.reg and options.variant == "sparse":
        parser.error("--reg is the dense variant's: sparse gradients know only the touched rows")

    torch = torch_with_seed(options.seed)
    import numpy as np
    import pandas as pd
    from torch import nn

    train, valid = (pd.read_csv(data_path("frappe") / f"{name}.csv.gz") for name in ("train", "valid"))
    cardinality = [max(train[f].max(), valid[f].max()) + 1 for f in FIELDS]
    offset = torch.tensor(np.cumsum([0] + cardinality[:-1]))
    x, x_valid = (torch.from_numpy(frame[FIELDS].to_numpy(np.int64)) + offset for frame in (train, valid))
    y, y_valid = torch.from_numpy(train.label.to_numpy(np.float32)), valid.label.to_numpy()

    class Dnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(int(sum(cardinality)), DIMENSION, sparse=options.variant == "sparse")
            nn.init.normal_(self.table.weight, std=1e-4)
            layers, width = [], DIMENSION * len(FIELDS)
            for hidden in HIDDEN:
                layers.append(nn.Linear(width, hidden))
                layers += [nn.BatchNorm1d(hidden)] if options.batch_norm else []
                layers += [nn.ReLU(), nn.Dropout(DROPOUT)]
                width = hidden
            self.network = nn.Sequential(*layers, nn.Linear(width, 1))
            for layer in self.network:
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_normal_(layer.weight)
                    nn.init.zeros_(layer.bias)

        def forward(self, ids):
            return self.network(self.table(ids).flatten(1)).squeeze(1)

    model = Dnn()
    forward = torch.compile(model, dynamic=False) if options.compile else model
    if options.variant == "dense":
        optimizers = [torch.optim.Adam(model.parameters(), lr=1e-3, fused=options.fused)]
    else:
        optimizers = [
            torch.optim.SparseAdam(list(model.table.parameters()), lr=1e-3),
            torch.optim.Adam(model.network.parameters(), lr=1e-3, fused=options.fused),
        ]
    loss_function = nn.BCEWithLogitsLoss()

    timers, best, bad = [], {"auc": 0.0}, 0
    for epoch in range(options.epochs):
        model.train()
        with Timer() as timer:
            batches = torch.randperm(len(y)).split(BATCH)[: options.steps]
            for batch in batches:
                loss = loss_function(forward(x[batch]), y[batch])
                if options.reg:
                    loss = loss + options.reg / 2 * model.table.weight.square().sum()
                for optimizer in optimizers:
                    optimizer.zero_grad()
                loss.backward()
                for optimizer in optimizers:
                    optimizer.step()
        timers.append(timer)
        samples = sum(map(len, batches))
        model.eval()
        with torch.no_grad():
            scores = torch.sigmoid(torch.cat([model(part) for part in x_valid.split(16384)])).numpy()
        metrics = quality(y_valid, scores.astype(np.float64))
        progress(f"epoch {epoch + 1}: {samples / timer.seconds:.0f} samples/s, {timer.other_cores:.2f} cores lost, {metrics}")
        if metrics["auc"] > best["auc"]:
            best, bad = {**metrics, "best_epoch": epoch + 1}, 0
        else:
            bad += 1
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] *= 0.1
            if bad >= options.patience:
                break

    config = {
        "batch": BATCH, "dimension": DIMENSION, "hidden": HIDDEN, "dropout": DROPOUT, "rows": int(sum(cardinality)),
        "epochs": len(timers), **vars(options),
    }
    report(f"torch-{torch.__version__}", "frappe-dnn", samples, timers[1:] or timers, best, config)


if __name__ == "__main__":
    main()
