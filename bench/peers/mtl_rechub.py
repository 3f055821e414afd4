"""Two tasks by torch-rechub's MMoE or PLE through its own trainer, on the data of mtl_torch.py (mtl_data.py).

    mtl_rechub.py {census|ml1m} {mmoe|ple} [--loader own|slice] [--epochs N] [--steps N] [--seed 0]

Sizes as in mtl_torch.py; the batch norm behind every layer, gates and towers included, the bias of the gates and the first rows
are the library's. own: its data generator, which fetches sample by sample. slice: sliced tensors instead, to see what its model
alone costs.
"""

import argparse
import tempfile
from importlib.metadata import version

from common import Timer, progress, quality, report, torch_with_seed

EXPERTS, LEVELS, SHARED, OWN, UNITS, TOWER = 8, 2, 4, 2, 64, 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["census", "ml1m"])
    parser.add_argument("model", choices=["mmoe", "ple"])
    parser.add_argument("--loader", choices=["own", "slice"], default="own")
    parser.add_argument("--epochs", type=int, help="our config's where not given")
    parser.add_argument("--steps", type=int, help="at most so many steps an epoch")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order of samples")
    options = parser.parse_args()

    torch = torch_with_seed(options.seed)
    import numpy as np
    from torch_rechub.basic.features import DenseFeature, SparseFeature
    from torch_rechub.models.multi_task import MMOE, PLE
    from torch_rechub.trainers import MTLTrainer
    from torch_rechub.utils.data import DataGenerator

    from mtl_data import SETS

    samples = SETS[options.data]()
    batch, epochs = samples.batch, options.epochs or samples.epochs
    train = np.random.default_rng(options.seed).permutation(samples.train)
    train = train[: options.steps * batch if options.steps else None]

    def columns(rows):
        ids = {name: samples.ids[rows, i] for i, name in enumerate(samples.fields)}
        return ids | {f"number_{i}": values for i, values in enumerate(samples.numbers[rows].T.copy())}

    x, y = columns(train), samples.labels[train]
    x_test, y_test = columns(samples.test), samples.labels[samples.test]
    features = [SparseFeature(name, size, samples.dimension) for name, size in samples.fields.items()]
    features += [DenseFeature(f"number_{i}") for i in range(samples.numbers.shape[1])]
    kinds = ["classification"] * len(samples.tasks)
    expert, towers = {"dims": [UNITS]}, [{"dims": [TOWER]}] * len(samples.tasks)
    if options.model == "mmoe":
        model = MMOE(features, kinds, n_expert=EXPERTS, expert_params=expert, tower_params_list=towers)
    else:
        model = PLE(
            features, kinds, n_level=LEVELS, n_expert_specific=OWN, n_expert_shared=SHARED, expert_params=expert,
            tower_params_list=towers,
        )
    trainer = MTLTrainer(
        model, kinds, optimizer_params={"lr": 1e-3}, n_epoch=1, device="cpu", model_path=tempfile.gettempdir()
    )

    class Slices:
        """Shuffled batches cut from tensors in memory."""

        def __init__(self):
            self.x, self.y = {k: torch.from_numpy(v) for k, v in x.items()}, torch.from_numpy(y)

        def __len__(self):
            return -(-len(self.y) // batch)

        def __iter__(self):
            for rows in torch.randperm(len(self.y)).split(batch):
                yield {k: v[rows] for k, v in self.x.items()}, self.y[rows]

    if options.loader == "own":
        loader, _, _ = DataGenerator(x, y).generate_dataloader(
            x_val=x_test, y_val=y_test, x_test=x_test, y_test=y_test, batch_size=batch
        )
    else:
        loader = Slices()

    timers = []
    for epoch in range(epochs):
        with Timer() as timer:
            trainer.train_one_epoch(loader)
        timers.append(timer)
        progress(f"epoch {epoch + 1}: {len(y) / timer.seconds:.0f} samples/s, {timer.other_cores:.2f} cores lost")
    model.eval()
    with torch.no_grad():
        parts = [
            model({k: torch.from_numpy(v[i : i + 8192]) for k, v in x_test.items()})
            for i in range(0, len(y_test), 8192)
        ]
    scores = torch.cat(parts).double().numpy()
    metrics = {}
    for task, name in enumerate(samples.tasks):
        metrics |= {f"{name}.{figure}": value for figure, value in quality(y_test[:, task], scores[:, task]).items()}

    config = {
        **vars(options), "epochs": epochs, "batch": batch, "dimension": samples.dimension, "test_samples": len(y_test),
    }
    peer = "torch-rechub-" + version("torch-rechub")
    report(peer, f"{options.data}-{options.model}", len(y), timers[1:] or timers, metrics, config)


if __name__ == "__main__":
    main()
