"""Golden values for the Rust engine, computed by PyTorch in float64.

    fixtures_nn.py            writes, below the repository's root,
        crates/nn/tests/fixtures/operations.json      single operations, forward and backward
        crates/nn/tests/fixtures/slots.json           whole small rankers: logits, loss, every gradient
        crates/nn/tests/fixtures/rankers.json         the same for every body, head, bias and loss over several tasks and scenarios
        crates/table/tests/fixtures/optimizers.json   five steps of every row-wise optimizer

Every input is a multiple of 2^-10, hence the same number in f32, f64 and the text; results have nine significant digits.
Compare matrix by matrix: |a - b| <= 1e-4 * max|b| + 1e-6 (some gradients, such as that of a bias before a batch norm, are
zero up to rounding). ReLU inputs, and the maximum's distance to the runner-up, stay 1e-3 away from the kink.

Matrix
    {"shape": [rows, columns], "data": [...]}, row-major. A vector is one row: biases and per-channel weights are
    [1, n]. A weight of a linear layer is [in, out]: y = x W + b (torch stores its transpose). Only label matrices
    may hold null, which means NaN: the label is missing.
Offsets
    Ragged rows: segment i (one sample's positions) is the half-open range offsets[i]..offsets[i+1] of the matrix's rows;
    offsets has B + 1 entries, the first 0. Segments may be empty.

operations.json
    {"format": 1, "cases": [CASE, ...]}
    CASE = {"name":        unique,
            "operation":   which one, below,
            "attributes":  {} or plain numbers, strings and integer lists,
            "inputs":      {name: Matrix},
            "weights":     {name: Matrix},
            "constants":   {name: Matrix} without gradient: labels, running statistics before,
            "outputs":     {name: Matrix},
            "state_after": {name: Matrix}: running statistics after a training pass,
            "upstream":    {name: Matrix}: dL/d(output), same names as outputs,
            "gradients":   {name: Matrix}: dL/d(input or weight), for all inputs and weights; their names never clash}
    All ten keys are always there, possibly as {}. operation, with its attributes, matrices and formula:
      linear               activation: none | relu | sigmoid | tanh | leaky_relu | prelu; slope with leaky_relu.
                           x, weight [, bias] [, alpha with prelu] -> y = activation(x W + b);
                           prelu: s if s > 0 else alpha_c s; leaky_relu: the same with the slope for alpha.
      batch_norm           training: bool, momentum, epsilon. x, gamma, beta; running_mean, running_variance.
                           y = gamma (x - m) / sqrt(v + epsilon) + beta. Training: m, v are the batch's mean and biased
                           variance (gradients flow through both), running <- (1 - momentum) running + momentum batch,
                           with the unbiased variance (n - 1). Otherwise m, v are the running ones.
      dice                 training, momentum, epsilon. x, alpha. p = sigmoid((x - m) / sqrt(v + epsilon));
                           y = p x + (1 - p) alpha x. m, v and the running ones as in batch_norm.
      softmax              x -> y, along each row.
      segment_softmax      offsets. x [P, 1] -> y [P, 1], softmax within each segment.
      concat               a, b, c -> y, columns side by side.
      slice                start, end: columns start..end of x.
      add, sub, mul        a, b -> y.
      sigmoid, tanh, log_sigmoid, softplus, exp     x -> y.
      segment_sum, segment_mean, segment_max        offsets. x [P, d] -> y [B, d]; an empty segment gives zeros.
      expand               offsets. x [B, d] -> y [P, d]: each position gets its sample's row.
      attention_pooling    activation: relu | sigmoid | prelu; softmax: bool; offsets. keys [P, d], target [B, d];
                           attention.0.weight [4d, h0], .bias [, .alpha], attention.1..., the last one [h, 1] and linear.
                           s_j = MLP([k_j, t, t - k_j, t * k_j]); a_j = s_j, or with softmax the softmax of
                           s / sqrt(d) within the segment. y = sum_j a_j k_j, zeros for an empty segment.
      fm                   fields F, dimension d. x [B, F d] -> y [B, 1] = 1/2 sum_d ((sum_F v)^2 - sum_F v^2).
      cross_layer          x0, x, weight [D, D], bias -> y = x0 * (x W + b) + x.
      cross_network        layers 2. x, cross.0.weight, cross.0.bias, cross.1... -> y; each a cross_layer on x0 = x.
      gru                  offsets. x [P, d], input.weight [d, 3u], input.bias, recurrent.weight [u, 3u], recurrent.bias, each
                           with the columns r, z, n -> y [B, u], the last state of torch.nn.GRU; zeros for an empty segment.
      gru_states           offsets. x, factors [P, u], the same weights -> y [B, u], the segment sum of every state * factors.
      binary_cross_entropy logits; labels (with nulls) -> loss [1, 1], the mean over the labelled rows.
      squared_error        predictions; labels (with nulls) -> loss: mean over the labelled rows of (p - y)^2.
      esmm                 logit_ctr a, logit_cvr b; click y, conversion z -> loss = mean BCE(y, sigmoid(a))
                           + mean BCE(y z, sigmoid(a) sigmoid(b)), both over all rows.

slots.json
    {"format": 1, "models": [MODEL, ...]}
    MODEL = {"name", "description",
             "encoder": pool | din | deepfm | cross_stacked | cross_parallel | gru | gru_latent_cross,
             "attributes":  {"softmax": bool} with din; {"training": true, "momentum", "epsilon"} with normalisation,
             "activation":  relu | dice: of the body's hidden layers,
             "batch_norm":  bool: linear -> batch norm -> activation,
             "head":        logit | esmm,
             "features":    [FEATURE, ...], in the order of the concatenation,
             "tables":      {name: TABLE},
             "weights":     {name: Matrix},
             "constants", "state_after":  as above, running statistics under the body's names,
             "labels":      {"label"} or {"click", "conversion"}: Matrix [B, 1],
             "logits":      Matrix [B, tasks]; esmm: column 0 click, column 1 conversion given click,
             "loss":        number, the mean of the logit head's binary cross-entropy, or esmm as above,
             "gradients":   {name: Matrix} of the weights}
    FEATURE = {"name", "kind", "table", "ids"} kind categorical, ids [B]; kinds mean (pooled) and sequence also have
              "offsets"; kind numeric has "values": Matrix [B, 1] and no table.
    TABLE   = {"ids": [...], "rows": Matrix, "gradient": Matrix [, "first_order", "first_order_gradient": Matrix [n, 1]]}
              the batch's unique ids, ascending, the row of each, and dL/d(row) summed over the id's occurrences in all
              features that share the table.
    Weights: body.0.weight, body.0.bias [, body.0.alpha | body.0.gamma, body.0.beta], body.1..., head.weight
    [h, tasks], head.bias; attention.N.*, cross.N.* and gru.* as above. Every body layer has the activation, the head none.
      pool            x = all features side by side -> body -> head.
      din             the sequence's keys are pooled with the feature "item" as target; x = [features in order, pooled].
      gru             the sequences' keys side by side -> GRU; x = [features in order, last state].
      gru_latent_cross  the same, where the sequence "gap_history" is no key: its row g maps to the width of a key k by
                      event_cross.gap_history.weight, k <- (1 + g W) * k; after the GRU h <- (1 + sum over the features
                      "user" and "context" of row latent_cross.NAME.weight) * h.
      deepfm          logit = head(body(x)) + sum over features of first_order(id) + fm(x).
      cross_stacked   head(body(cross(x))).        cross_parallel   head([cross(x), body(x)]).

rankers.json
    {"format": 1, "models": [MODEL, ...]}
    MODEL = {"name", "description",
             "config":     the ranker's config: slots without an entry have their defaults (encoder pool),
             "tasks":      [{"name", "kind": binary | regression | count [, "after"]}, ...],
             "ids":        {"user", "item"}: [B] row numbers in the table of that name; "price": Matrix [B, 1], a number,
             "levels":     {name: how many scenarios}, the outermost first; "scenarios": {level: [B]}, 1 and so on,
             "position":   [B], 0 where missing, or null,
             "seed":       that of the step's noise, or null for none; "step": steps done before,
             "labels":     {task: Matrix [B, 1]}, null where missing,
             "tables", "table_gradients":     {name: Matrix},
             "weights", "gradients":          {name: Matrix},
             "state", "state_after":          {name: Matrix}, running moments before and after the training pass,
             "losses":     {name: its mean}, unweighted; "loss": the sum of all, each times its weight,
             "outputs":    {name: Matrix [B, 1]}, predictions by the weights and the moments before the step}
    x = [user, item, price, a row a level]. The losses of a sample: binary cross-entropy, (z - y)^2 / 2, or e^z - y z.
    fixtures/bodies.py has the formula of each body, fixtures/rankers.py those of heads, biases and losses, fixtures/noise.py the
    draws of a seed: epsilon[row, i] = normal(seed, number of the operation that draws, row, i), the operations counted
    from 0. Weight names are the scopes of the layers; a matrix over several things has them side by side in the order of
    the config: scenarios, then tasks, then experts (own ones before shared ones).

optimizers.json
    {"format": 1, "cases": [CASE, ...]}
    CASE = {"name", "optimizer": sgd | adagrad | adam,
            "untouched": "skipped" (lazy: only a step's ids change) | "updated" (as if dense: the other rows have a zero
                         gradient, but L2 and Adam's moments still move them),
            "learning_rate", "l2": added to the gradient as l2 * row (coupled),
            "epsilon", "beta1", "beta2" (0 where the optimizer has none),
            "initial": Matrix [6, 3],
            "steps": [{"ids": ascending, "gradient": Matrix [ids, 3], "rows": Matrix [6, 3] after the step}, ...]}
    sgd       w <- w - lr g.
    adagrad   s <- s + g^2; w <- w - lr g / (sqrt(s) + epsilon).
    adam      m, v: running means of g, g^2; t counts all steps, not a row's own.
              updated: w <- w - lr mhat / (sqrt(vhat) + epsilon), mhat = m / (1 - beta1^t), vhat = v / (1 - beta2^t).
              skipped: w <- w - lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon) (torch.optim.SparseAdam):
              the same but for where epsilon stands.
"""

import json
from pathlib import Path

from fixtures.models import models
from fixtures.operations import operations
from fixtures.optimizers import optimizers
from fixtures.rankers import rankers

ROOT = Path(__file__).resolve().parents[2]
NN, TABLE = (ROOT / "crates" / crate / "tests" / "fixtures" for crate in ("nn", "table"))


def write(path, key, entries):
    """One entry a line, so that a change shows as a change of its line."""
    entries = list(entries)
    lines = ",\n".join(json.dumps(entry, separators=(",", ":"), allow_nan=False) for entry in entries)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"format":1,"{key}":[\n{lines}\n]}}\n')
    print(f"{path.relative_to(ROOT)}: {len(entries)} {key}, {path.stat().st_size / 1000:.0f} kB")


def main():
    write(NN / "operations.json", "cases", operations())
    write(NN / "slots.json", "models", models())
    write(NN / "rankers.json", "models", rankers())
    write(TABLE / "optimizers.json", "cases", optimizers())


if __name__ == "__main__":
    main()
