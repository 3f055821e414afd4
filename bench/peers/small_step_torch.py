"""The step a device takes, in PyTorch on one thread: MLP 64-64-32-1 (ReLU), batch 16, log-loss.

    small_step_torch.py {train|infer} [--batch 16] [--steps 2000] [--repeats 5] [--compile]

train: forward, backward with the gradient of the input (that is where the rows' gradient leaves), and a plain SGD step.
infer: forward only, under torch.inference_mode. One "sample" of the report is one step, so samples_per_second is steps/s.
"""

import argparse

from common import Timer, report, torch_with_seed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", choices=["train", "infer"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    options = parser.parse_args()

    torch = torch_with_seed(0, threads=1)
    from torch import nn

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    forward = torch.compile(model, dynamic=False) if options.compile else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss_function = nn.BCEWithLogitsLoss()
    x = torch.randn(options.batch, 64)
    y = (torch.rand(options.batch, 1) < 0.5).float()

    def train(steps):
        x.requires_grad_(True)
        for _ in range(steps):
            x.grad = None
            loss = loss_function(forward(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @torch.inference_mode()
    def infer(steps):
        for _ in range(steps):
            forward(x)

    work = {"train": train, "infer": infer}[options.variant]
    work(max(20, options.steps // 10))
    timers = []
    for _ in range(options.repeats):
        with Timer() as timer:
            work(options.steps)
        timers.append(timer)
    median = sorted(timer.seconds for timer in timers)[len(timers) // 2]
    more = {"steps_per_second": options.steps / median, "microseconds_per_step": median / options.steps * 1e6}
    config = {"layers": [64, 64, 32, 1], **vars(options), "torch_threads": torch.get_num_threads()}
    report(f"torch-{torch.__version__}", "small-step", options.steps, timers, {}, config, **more)


if __name__ == "__main__":
    main()
