#!/usr/bin/env python3
"""A teacher and its artifact from several seeds: sizes, and what is lost of the teacher's AUC.

    bench/ship.py DATA [--seeds 5] [--config configs/movielens-1m.toml] [--for configs/device/movielens-1m.toml] [--set KEY=VALUE …]

The teacher is trained with rows of 64 numbers and a tenth of each user's events to validate on; passes were chosen on that tenth, and the
test split is looked at here. Prints a table and one JSON line. Takes the kitestring binary from target/release.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TEACHER = ["model.dimension=64", "model.encoder.attention=[64,32]", "model.body.units=[256,128]"]
SPLIT = 'data.split={by="user_fraction",valid=0.1,test=0.1}'


def said(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--split", default="test")
    parser.add_argument("--config", default="configs/movielens-1m.toml")
    parser.add_argument("--for", dest="device", default="configs/device/movielens-1m.toml")
    parser.add_argument("--set", action="append", default=[], help="overrides of the device's config")
    options = parser.parse_args()
    found = []
    print(f"{'seed':>4} {'teacher':>10} {'artifact':>9} {'times':>6} {'AUC teacher':>12} {'artifact':>9} {'lost':>8}")
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            run, artifact = Path(folder, "run"), Path(folder, "ranker.kite")
            sets = [word for value in [SPLIT, *TEACHER] for word in ("--set", value)]
            said(["target/release/kitestring", "train", options.config, "--data", options.data, "--out", str(run),
                  "--seed", str(seed), "--json", *sets])
            sets = [word for value in options.set for word in ("--set", value)]
            told = said(["target/release/kitestring", "compress", str(run), "--for", options.device, "--out", str(artifact),
                         "--split", options.split, "--json", *sets])
        first, last = told["ledger"]["passes"][0], told["ledger"]["passes"][-1]
        line = {"seed": seed, "teacher_bytes": first["download_bytes"], "artifact_bytes": last["download_bytes"],
                "teacher_auc": first["tasks"][0]["value"]["value"], "artifact_auc": last["tasks"][0]["value"]["value"],
                "lost": last["tasks"][0]["loss"]["value"]}
        found.append(line)
        times = line["teacher_bytes"] / line["artifact_bytes"]
        print(f"{seed:>4} {line['teacher_bytes']:>10} {line['artifact_bytes']:>9} {times:>6.1f} {line['teacher_auc']:>12.4f} "
              f"{line['artifact_auc']:>9.4f} {line['lost']:>8.4f}", flush=True)
    lost = [line["lost"] for line in found]
    spread = statistics.stdev(lost) if len(lost) > 1 else float("nan")
    print(f"lost of the AUC: mean {statistics.mean(lost):.4f}, standard deviation {spread:.4f}")
    print(json.dumps({"seeds": found, "mean_lost": statistics.mean(lost)}))


if __name__ == "__main__":
    main()
