"""DIN on MovieLens-1M (ml1m.py says how its samples are built) in plain PyTorch.

    din_torch.py [--epochs 1] [--steps N] [--seed 0] [--trim] [--fused] [--compile]

Dimension 16, attention MLP 64-32 (ReLU) on [h, t, t-h, t*h] without softmax, head 200-80 (ReLU), batch 2048, dense Adam
1e-3. Tensors are in memory and batches are slices. --trim cuts a batch's histories to its longest. The first epoch's time is
left out where there are several, so give --compile two.
"""

import argparse

from common import Timer, progress, quality, report, torch_with_seed

DIMENSION, BATCH, ATTENTION, HIDDEN = 16, 2048, (64, 32), (200, 80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, help="at most so many steps an epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trim", action="store_true")
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused Adam")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    options = parser.parse_args()

    torch = torch_with_seed(options.seed)
    import numpy as np
    from torch import nn

    from ml1m import FEATURES, HISTORY, VOCABULARY, build

    data = build()
    x = torch.from_numpy(np.stack([data[f] for f in FEATURES], 1))
    history, length = torch.from_numpy(data["history"]), torch.from_numpy(data["history_length"])
    y = torch.from_numpy(data["label"].astype(np.float32))
    train, test = (torch.from_numpy(np.flatnonzero(part)) for part in (~data["test"], data["test"]))

    def mlp(width, hidden):
        layers = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        return nn.Sequential(*layers, nn.Linear(width, 1))

    class Din(nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = nn.ModuleDict({f: nn.Embedding(VOCABULARY[f], DIMENSION, padding_idx=0) for f in FEATURES})
            for table in self.tables.values():
                nn.init.normal_(table.weight, std=0.05)
            self.attention = mlp(4 * DIMENSION, ATTENTION)
            self.head = mlp((len(FEATURES) + 1) * DIMENSION, HIDDEN)

        def forward(self, x, history, length):
            features = [self.tables[f](x[:, i]) for i, f in enumerate(FEATURES)]
            keys = self.tables["item"](history)
            target = features[FEATURES.index("item")].unsqueeze(1).expand_as(keys)
            weight = self.attention(torch.cat([keys, target, target - keys, target * keys], -1)).squeeze(-1)
            weight = weight * (torch.arange(history.shape[1]) < length[:, None])
            pooled = torch.bmm(weight.unsqueeze(1), keys).squeeze(1)
            return self.head(torch.cat([*features, pooled], 1)).squeeze(1)

    model = Din()
    forward = torch.compile(model, dynamic=options.trim) if options.compile else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=options.fused)
    loss_function = nn.BCEWithLogitsLoss()
    labels, users = data["label"][data["test"]], data["user"][data["test"]]

    timers = []
    for epoch in range(options.epochs):
        model.train()
        with Timer() as timer:
            batches = train[torch.randperm(len(train))].split(BATCH)[: options.steps]
            for batch in batches:
                width = int(length[batch].max()) if options.trim else HISTORY
                loss = loss_function(forward(x[batch], history[batch, : max(width, 1)], length[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        timers.append(timer)
        samples = sum(map(len, batches))
        model.eval()
        with torch.no_grad():
            parts = [model(x[part], history[part], length[part]) for part in test.split(8192)]
            scores = torch.sigmoid(torch.cat(parts)).double().numpy()
        metrics = quality(labels, scores, users)
        progress(f"epoch {epoch + 1}: {samples / timer.seconds:.0f} samples/s, {timer.other_cores:.2f} cores lost, {metrics}")

    config = {
        "batch": BATCH, "dimension": DIMENSION, "attention": ATTENTION, "hidden": HIDDEN, "history": HISTORY,
        **vars(options),
    }
    report(f"torch-{torch.__version__}", "ml1m-din", samples, timers[1:] or timers, metrics, config)


if __name__ == "__main__":
    main()
