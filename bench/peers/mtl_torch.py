"""Two tasks by MMoE or PLE, in plain PyTorch, on Census-Income or MovieLens-1M with three scenarios (mtl_data.py).

    mtl_torch.py {census|ml1m} {mmoe|ple} [--epochs N] [--steps N] [--seed 0] [--fused] [--compile]

Sizes are the defaults of our bodies. mmoe: 8 experts of 64 units, a gate and a tower of 64 units a task. ple: 2 levels of 4
shared experts and 2 a task, the same towers. ReLU, gates without bias or dropout, log-losses added, dense Adam 1e-3; dimension,
batch and epochs are our config's. Tensors are in memory and batches are slices; all fields are in one table, and experts that read
the same input are one product. The first epoch's time is left out where there are several, so give --compile two.
"""

import argparse

from common import Timer, progress, quality, report, torch_with_seed

EXPERTS, LEVELS, SHARED, OWN, UNITS, TOWER = 8, 2, 4, 2, 64, 64


def network(torch, samples, name):
    """The model `name`, from ids with offsets and numbers to one logit a task."""
    from torch import nn

    tasks = len(samples.tasks)

    def linear(width, units, blocks=1, bias=True):
        """`blocks` layers side by side, each of which starts by its own size."""
        layer = nn.Linear(width, blocks * units, bias)
        for block in layer.weight.split(units):
            nn.init.xavier_normal_(block)
        if bias:
            nn.init.zeros_(layer.bias)
        return layer

    class Mmoe(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.experts = linear(width, UNITS, EXPERTS)
            self.gates = linear(width, EXPERTS, tasks, bias=False)

        def forward(self, x):
            experts = torch.relu(self.experts(x)).view(-1, EXPERTS, UNITS)
            gates = self.gates(x).view(-1, tasks, EXPERTS).softmax(2)
            return torch.bmm(gates, experts).unbind(1)

    class PleLevel(nn.Module):
        """Paths are the tasks' and the shared one, which leads on to a further level only."""

        def __init__(self, width, first, last):
            super().__init__()
            counts = [OWN] * tasks + [SHARED]
            self.first, self.all, self.out = first, sum(counts), tasks + (not last)
            # On the first level all paths read the same input.
            groups = [self.all] if first else counts
            self.experts = nn.ModuleList(linear(width, UNITS, count) for count in groups)
            gates = [self.out] if first else [1] * self.out
            self.gates = nn.ModuleList(linear(width, self.all, count, bias=False) for count in gates)
            # A task's gate weighs its own experts and the shared ones; the shared gate weighs all.
            closed = torch.zeros(self.out, self.all)
            for task in range(tasks):
                closed[task, : tasks * OWN] = -torch.inf
                closed[task, task * OWN : (task + 1) * OWN] = 0
            self.register_buffer("closed", closed)

        def forward(self, paths):
            experts = [layer(z) for layer, z in zip(self.experts, paths)]
            gates = [layer(z) for layer, z in zip(self.gates, paths)]
            experts = torch.relu(torch.cat(experts, 1)).view(-1, self.all, UNITS)
            gates = (torch.cat(gates, 1).view(-1, self.out, self.all) + self.closed).softmax(2)
            return torch.bmm(gates, experts).unbind(1)

    class Ple(nn.Module):
        def __init__(self, width):
            super().__init__()
            levels = [PleLevel(UNITS if n else width, n == 0, n + 1 == LEVELS) for n in range(LEVELS)]
            self.levels = nn.Sequential(*levels)

        def forward(self, x):
            return self.levels([x])

    class Ranker(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(sum(samples.fields.values()), samples.dimension)
            nn.init.normal_(self.table.weight, std=samples.row_deviation)
            width = len(samples.fields) * samples.dimension + samples.numbers.shape[1]
            self.body = {"mmoe": Mmoe, "ple": Ple}[name](width)
            self.towers = nn.ModuleList(
                nn.Sequential(linear(UNITS, TOWER), nn.ReLU(), linear(TOWER, 1)) for _ in range(tasks)
            )

        def forward(self, ids, numbers):
            x = torch.cat([self.table(ids).flatten(1), numbers], 1)
            return torch.cat([tower(h) for tower, h in zip(self.towers, self.body(x))], 1)

    return Ranker()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["census", "ml1m"])
    parser.add_argument("model", choices=["mmoe", "ple"])
    parser.add_argument("--epochs", type=int, help="our config's where not given")
    parser.add_argument("--steps", type=int, help="at most so many steps an epoch")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order of samples")
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused Adam")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    options = parser.parse_args()

    torch = torch_with_seed(options.seed)
    import numpy as np

    from mtl_data import SETS

    samples = SETS[options.data]()
    epochs = options.epochs or samples.epochs
    offset = np.cumsum([0, *samples.fields.values()])[:-1]
    ids, numbers, y = (torch.from_numpy(a) for a in (samples.ids + offset, samples.numbers, samples.labels))
    train, test = torch.from_numpy(samples.train), torch.from_numpy(samples.test)

    model = network(torch, samples, options.model)
    forward = torch.compile(model, dynamic=False) if options.compile else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=options.fused)
    loss_function = torch.nn.BCEWithLogitsLoss()

    timers = []
    for epoch in range(epochs):
        model.train()
        with Timer() as timer:
            batches = train[torch.randperm(len(train))].split(samples.batch)[: options.steps]
            for batch in batches:
                # The mean over samples and tasks, times the tasks: their sum.
                loss = len(samples.tasks) * loss_function(forward(ids[batch], numbers[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        timers.append(timer)
        rows = sum(map(len, batches))
        model.eval()
        with torch.no_grad():
            scores = torch.cat([model(ids[part], numbers[part]) for part in test.split(8192)])
            scores = torch.sigmoid(scores.double()).numpy()
        metrics = {}
        for task, name in enumerate(samples.tasks):
            figures = quality(samples.labels[samples.test, task], scores[:, task])
            metrics |= {f"{name}.{figure}": value for figure, value in figures.items()}
        progress(f"epoch {epoch + 1}: {rows / timer.seconds:.0f} samples/s, {timer.other_cores:.2f} cores lost, {metrics}")

    config = {
        **vars(options), "epochs": epochs, "batch": samples.batch, "dimension": samples.dimension,
        "rows": sum(samples.fields.values()), "test_samples": len(samples.test),
        "network_weights": sum(w.numel() for w in model.parameters()) - model.table.weight.numel(),
    }
    task = f"{options.data}-{options.model}"
    report(f"torch-{torch.__version__}", task, rows, timers[1:] or timers, metrics, config)


if __name__ == "__main__":
    main()
