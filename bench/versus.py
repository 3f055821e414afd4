#!/usr/bin/env python3
"""Two commands in turn, and the ratio of one figure of their last JSON lines.

    bench/versus.py [--runs 3] [--figure samples_per_second] [--peer-figure NAME] --ours 'COMMAND' --peer 'COMMAND'

A machine drifts, so only figures of one call count: ours, the peer's, ours … The ratio is that of the medians; a ratio
above 1 means that ours is larger. Prints a table and one JSON line.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys


def figure_of(command, figure):
    done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode != 0:
        sys.exit(f"{command}: exit code {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])[figure]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--figure", default="samples_per_second")
    parser.add_argument("--peer-figure", help="where the peer's has another name")
    parser.add_argument("--ours", required=True)
    parser.add_argument("--peer", required=True)
    options = parser.parse_args()
    found = {"ours": [], "peer": []}
    for run in range(options.runs):
        for side, command in (("ours", options.ours), ("peer", options.peer)):
            figure = options.peer_figure or options.figure if side == "peer" else options.figure
            found[side].append(figure_of(command, figure))
            print(f"run {run + 1} {side}: {found[side][-1]:.1f}", file=sys.stderr, flush=True)
    median = {side: statistics.median(values) for side, values in found.items()}
    for side, values in found.items():
        print(f"{side:5} median {median[side]:12.1f}  least {min(values):12.1f}  most {max(values):12.1f}")
    line = {"figure": options.figure, "runs": options.runs, **median, "ratio": median["ours"] / median["peer"]}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
