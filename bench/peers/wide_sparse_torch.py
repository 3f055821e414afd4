"""Click data with 26 categorical fields and ten million ids, in PyTorch: what rows cost.

    wide_sparse_torch.py {dense|sparse} [--ids 10000000] [--steps 50] [--warm-up 5] [--zipf 1.05] [--seed 0] [--fused]

One table of --ids rows (dimension 16) is shared out evenly: field f owns the ids [f*n, (f+1)*n), n = ids // 26. Within a
field the rank r = 0, 1, ... is drawn with probability proportional to (r+1)^-1.05, and rank r has the id
f*n + (r * 2654435761) mod n, so that frequent ids do not lie side by side. A label is a Bernoulli draw of
sigmoid(sum over fields of w(id)), w(id) = ((id * 0x9E3779B97F4A7C15 mod 2^64) >> 40) / 2^24 - 1/2. Network: the 26 rows
side by side -> 256 -> 128 -> logit (ReLU), log-loss, batch 4096, learning rate 1e-3.

dense: Adam over table and network. sparse: sparse gradients and SparseAdam for the table, Adam for the network.
rows_and_state_mib is the least a trainer can hold: the rows and Adam's two moments. The batches are drawn beforehand, and
import_rss_mib is the memory before the model is made (interpreter, torch and the batches).
"""

import argparse

from common import Timer, peak_rss_mib, progress, report, torch_with_seed

FIELDS, DIMENSION, HIDDEN, BATCH = 26, 16, (256, 128), 4096


def draw_samples(count, ids, exponent, seed):
    """Ids [count, 26] (int32) and labels [count] (float32)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    n = ids // FIELDS
    cumulative = np.cumsum(np.arange(1, n + 1, dtype=np.float64) ** -exponent)
    cumulative /= cumulative[-1]
    samples, labels = np.empty((count, FIELDS), np.int32), np.empty(count, np.float32)
    field = np.arange(FIELDS, dtype=np.uint64) * np.uint64(n)
    for start in range(0, count, BATCH):
        part = slice(start, min(start + BATCH, count))
        shape = (part.stop - part.start, FIELDS)
        rank = np.minimum(np.searchsorted(cumulative, rng.random(shape)), n - 1).astype(np.uint64)
        chosen = field + rank * np.uint64(2654435761) % np.uint64(n)
        weight = (chosen * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) / 2.0**24 - 0.5
        probability = 1 / (1 + np.exp(-weight.sum(1)))
        samples[part], labels[part] = chosen, rng.random(shape[0]) < probability
    return samples, labels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", choices=["dense", "sparse"])
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--warm-up", type=int, default=5, help="steps before the timed ones")
    parser.add_argument("--zipf", type=float, default=1.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused Adam")
    options = parser.parse_args()

    torch = torch_with_seed(options.seed)
    from torch import nn

    samples, labels = draw_samples((options.warm_up + options.steps) * BATCH, options.ids, options.zipf, options.seed)
    x, y = torch.from_numpy(samples).split(BATCH), torch.from_numpy(labels).split(BATCH)
    before = peak_rss_mib()

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(options.ids, DIMENSION, sparse=options.variant == "sparse")
            nn.init.normal_(self.table.weight, std=0.01)
            layers, width = [], FIELDS * DIMENSION
            for hidden in HIDDEN:
                layers += [nn.Linear(width, hidden), nn.ReLU()]
                width = hidden
            self.network = nn.Sequential(*layers, nn.Linear(width, 1))

        def forward(self, ids):
            return self.network(self.table(ids).flatten(1)).squeeze(1)

    model = Wide()
    if options.variant == "dense":
        optimizers = [torch.optim.Adam(model.parameters(), lr=1e-3, fused=options.fused)]
    else:
        optimizers = [
            torch.optim.SparseAdam(list(model.table.parameters()), lr=1e-3),
            torch.optim.Adam(model.network.parameters(), lr=1e-3, fused=options.fused),
        ]
    loss_function = nn.BCEWithLogitsLoss()

    def train(first, last):
        total = 0.0
        for ids, label in zip(x[first:last], y[first:last]):
            loss = loss_function(model(ids.long()), label)
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            total += loss.item()
        return total / max(last - first, 1)

    train(0, options.warm_up)
    progress(f"warm: peak {peak_rss_mib():.0f} MiB")
    with Timer() as timer:
        loss = train(options.warm_up, options.warm_up + options.steps)
    unique = sum(len(ids.unique()) for ids in x[options.warm_up :]) / options.steps
    rows = options.ids * DIMENSION * 4 * 3 / 2**20
    config = {"fields": FIELDS, "dimension": DIMENSION, "hidden": HIDDEN, "batch": BATCH, **vars(options)}
    report(
        f"torch-{torch.__version__}", "wide-sparse", options.steps * BATCH, [timer], {"train_logloss": loss}, config,
        import_rss_mib=before, rows_and_state_mib=rows, unique_ids_per_batch=unique,
    )


if __name__ == "__main__":
    main()
