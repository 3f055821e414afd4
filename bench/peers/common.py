"""What every peer script shares: threads, where the data is, timing, peak memory, metrics, the last JSON line.

Import this before NumPy or torch: both read the thread count from the environment when they are loaded.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

THREADS = int(os.environ.get("BENCH_THREADS", "2"))
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ[_name] = str(THREADS)


def data_path(name):
    """The folder of the data set `name` under KITESTRING_DATA."""
    root = os.environ.get("KITESTRING_DATA")
    if not root:
        sys.exit("KITESTRING_DATA is not set: point it at the folder that holds frappe/, ml-1m/, ...")
    path = Path(root) / name
    if not path.is_dir():
        sys.exit(f"{path} is not a folder: KITESTRING_DATA must hold {name}/")
    return path


def torch_with_seed(seed, threads=THREADS):
    """torch, with its thread count and every generator set."""
    import random

    import numpy as np
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    return torch


def _machine_cpu_seconds():
    """Seconds that all cores together have been busy since boot (user, nice, system, irq, softirq, steal)."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:]]
    return sum(ticks[i] for i in (0, 1, 2, 5, 6, 7)) / os.sysconf("SC_CLK_TCK")


def _own_cpu_seconds():
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Timer:
    """`with Timer() as t`: afterwards t.seconds is wall time and t.other_cores how many cores other processes kept
    busy meanwhile, which tells whether the figure can be trusted."""

    def __enter__(self):
        self._machine, self._own = _machine_cpu_seconds(), _own_cpu_seconds()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._start
        own = _own_cpu_seconds() - self._own
        self.other_cores = max(0.0, (_machine_cpu_seconds() - self._machine - own) / self.seconds)


def peak_rss_mib():
    """Peak resident memory of this process. VmHWM, because ru_maxrss survives exec and would show a larger parent."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def gauc(labels, scores, users):
    """AUC within each user, averaged with the users' sample counts as weights; users with one class are left out."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    order = np.argsort(users, kind="stable")
    labels, scores, users = labels[order], scores[order], users[order]
    cuts = np.flatnonzero(np.diff(users)) + 1
    total = count = 0
    for y, p in zip(np.split(labels, cuts), np.split(scores, cuts)):
        if 0 < y.sum() < len(y):
            total += roc_auc_score(y, p) * len(y)
            count += len(y)
    return total / count


def quality(labels, scores, users=None):
    """AUC and log-loss, and GAUC where users are given."""
    from sklearn.metrics import log_loss, roc_auc_score

    result = {"auc": roc_auc_score(labels, scores), "logloss": log_loss(labels, scores)}
    if users is not None:
        result["gauc"] = gauc(labels, scores, users)
    return result


def progress(*parts):
    """One line on stderr; stdout is for the JSON line."""
    print(*parts, file=sys.stderr, flush=True)


def report(peer, task, samples, timers, metrics, config, **more):
    """Print the JSON line. `timers` are repetitions of one piece of work over `samples` samples: the median counts."""
    seconds = sorted(timer.seconds for timer in timers)
    median = (seconds[(len(seconds) - 1) // 2] + seconds[len(seconds) // 2]) / 2

    def short(value):
        return float(f"{value:.6g}") if isinstance(value, float) else value

    line = {
        "peer": peer,
        "task": task,
        "samples_per_second": samples / median,
        "seconds": median,
        "seconds_min": seconds[0],
        "seconds_max": seconds[-1],
        "peak_rss_mib": peak_rss_mib(),
        "other_cores": max(timer.other_cores for timer in timers),
        **more,
    }
    line = {key: short(value) for key, value in line.items()}
    line["metrics"] = {key: value if isinstance(value, int) else short(float(value)) for key, value in metrics.items()}
    malloc = {key: value for key, value in os.environ.items() if key.startswith("MALLOC_")}
    line["config"] = {**config, "samples": samples, "threads": THREADS, **malloc}
    print(json.dumps(line), flush=True)
