"""DeepCTR-Torch's DIN on MovieLens-1M (ml1m.py) through model.fit, sizes as in din_torch.py.

    din_deepctr.py [--epochs 1] [--steps N] [--seed 0]
"""

import argparse
from importlib.metadata import version

from common import Timer, quality, report, torch_with_seed

DIMENSION, BATCH, ATTENTION, HIDDEN = 16, 2048, (64, 32), (200, 80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, help="at most so many steps an epoch")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch = torch_with_seed(options.seed)
    import numpy as np
    from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
    from deepctr_torch.models.din import DIN

    from ml1m import FEATURES, HISTORY, VOCABULARY, build

    data = build()
    columns = [SparseFeat(f, VOCABULARY[f], DIMENSION, embedding_name=f) for f in FEATURES]
    history = SparseFeat("hist_item", VOCABULARY["item"], DIMENSION, embedding_name="item")
    columns.append(VarLenSparseFeat(history, HISTORY, length_name="seq_length"))

    def inputs(rows):
        named = {f: data[f][rows] for f in FEATURES}
        return {**named, "hist_item": data["history"][rows], "seq_length": data["history_length"][rows]}

    train = np.random.default_rng(options.seed).permutation(np.flatnonzero(~data["test"]))
    train = train[: options.steps * BATCH if options.steps else None]
    test = np.flatnonzero(data["test"])
    model = DIN(
        columns, ["item"], dnn_hidden_units=HIDDEN, att_hidden_size=ATTENTION, att_activation="relu",
        l2_reg_embedding=0.0, device="cpu", seed=options.seed,
    )
    model.compile(torch.optim.Adam(model.parameters(), lr=1e-3), "binary_crossentropy")
    x, y = inputs(train), data["label"][train].astype(np.float32)
    with Timer() as timer:
        model.fit(x, y, batch_size=BATCH, epochs=options.epochs, verbose=0)
    scores = model.predict(inputs(test), 8192).ravel().astype(np.float64)

    config = {"batch": BATCH, "dimension": DIMENSION, "attention": ATTENTION, "hidden": HIDDEN, **vars(options)}
    metrics = quality(data["label"][test], scores, data["user"][test])
    peer = "deepctr-torch-" + version("deepctr-torch")
    report(peer, "ml1m-din", len(y) * options.epochs, [timer], metrics, config)


if __name__ == "__main__":
    main()
