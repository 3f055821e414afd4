#!/usr/bin/env python3
"""ONNX Runtime on the models that the benchmark `device` exports: FOLDER with NAME.onnx, NAME.json and its inputs.

One thread, the session open, inputs in place; a call from Python, as its users make it. Checks every score against ours, then prints
one JSON line: seconds a call by model.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime


def main():
    folder, seconds = Path(sys.argv[1]), {}
    for path in sorted(folder.glob("*.json")):
        case = json.loads(path.read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path.with_suffix(".onnx")), options, providers=["CPUExecutionProvider"])
        feeds = {
            feed["name"]: np.fromfile(folder / feed["file"], np.int64 if feed["integer"] else np.float32).reshape(feed["shape"])
            for feed in case["feeds"]
        }
        found = np.concatenate([output.reshape(len(output), -1) for output in session.run(None, feeds)], axis=1).ravel()
        np.testing.assert_allclose(found, np.array(case["scores"], np.float32), rtol=1e-4, atol=1e-5, err_msg=case["name"])
        times, end = [], time.perf_counter() + 0.4
        while time.perf_counter() < end:
            start = time.perf_counter()
            session.run(None, feeds)
            times.append(time.perf_counter() - start)
        seconds[case["name"]] = statistics.median(times)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
