"""torch-rechub's DIN on MovieLens-1M (ml1m.py) through its own trainer.

    din_rechub.py [--loader own|slice] [--epochs 1] [--steps N] [--seed 0]

Sizes as in din_torch.py; its Dice activations and batch norms are the library's and cannot be turned off. own: its data
generator, which fetches sample by sample. slice: sliced tensors instead, to see what its model alone costs.
"""

import argparse
import tempfile
from importlib.metadata import version

from common import Timer, progress, quality, report, torch_with_seed

DIMENSION, BATCH, ATTENTION, HIDDEN = 16, 2048, (64, 32), (200, 80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loader", choices=["own", "slice"], default="own")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, help="at most so many steps an epoch")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch = torch_with_seed(options.seed)
    import numpy as np
    from torch_rechub.basic.features import SequenceFeature, SparseFeature
    from torch_rechub.models.ranking import DIN
    from torch_rechub.trainers import CTRTrainer
    from torch_rechub.utils.data import DataGenerator

    from ml1m import FEATURES, VOCABULARY, build

    data = build()
    features = [SparseFeature(f, VOCABULARY[f], DIMENSION) for f in FEATURES if f != "item"]
    history = SequenceFeature("history", VOCABULARY["item"], DIMENSION, pooling="concat", shared_with="item")
    target = SparseFeature("item", VOCABULARY["item"], DIMENSION)
    train = np.random.default_rng(options.seed).permutation(np.flatnonzero(~data["test"]))
    train = train[: options.steps * BATCH if options.steps else None]
    test = np.flatnonzero(data["test"])

    def columns(rows):
        return {key: data[key][rows].astype(np.int64) for key in (*FEATURES, "history")}

    x, y = columns(train), data["label"][train].astype(np.float32)
    x_test, y_test = columns(test), data["label"][test].astype(np.float32)
    model = DIN(
        features=features, history_features=[history], target_features=[target],
        mlp_params={"dims": list(HIDDEN)}, attention_mlp_params={"dims": list(ATTENTION)},
    )
    trainer = CTRTrainer(
        model, optimizer_params={"lr": 1e-3}, n_epoch=1, device="cpu", model_path=tempfile.gettempdir()
    )

    class Slices:
        """Shuffled batches cut from tensors in memory."""

        def __init__(self):
            self.x, self.y = {k: torch.from_numpy(v) for k, v in x.items()}, torch.from_numpy(y)

        def __len__(self):
            return -(-len(self.y) // BATCH)

        def __iter__(self):
            for batch in torch.randperm(len(self.y)).split(BATCH):
                yield {k: v[batch] for k, v in self.x.items()}, self.y[batch]

    if options.loader == "own":
        loader, _, _ = DataGenerator(x, y).generate_dataloader(
            x_val=x_test, y_val=y_test, x_test=x_test, y_test=y_test, batch_size=BATCH
        )
    else:
        loader = Slices()

    timers = []
    for epoch in range(options.epochs):
        with Timer() as timer:
            trainer.train_one_epoch(loader)
        timers.append(timer)
        progress(f"epoch {epoch + 1}: {len(y) / timer.seconds:.0f} samples/s, other cores {timer.other_cores:.2f}")
    model.eval()
    with torch.no_grad():
        parts = [
            model({k: torch.from_numpy(v[i : i + 8192]) for k, v in x_test.items()})
            for i in range(0, len(y_test), 8192)
        ]
    scores = torch.cat(parts).double().numpy()

    config = {"batch": BATCH, "dimension": DIMENSION, "attention": ATTENTION, "hidden": HIDDEN, **vars(options)}
    peer = "torch-rechub-" + version("torch-rechub")
    report(peer, "ml1m-din", len(y), timers, quality(y_test, scores, data["user"][test]), config)


if __name__ == "__main__":
    main()
