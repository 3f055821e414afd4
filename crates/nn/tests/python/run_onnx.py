"""Runs ONNX models and writes down what comes out: run_onnx.py FOLDER

FOLDER/cases.json is a list of {"model": file, "feeds": [{input: {"type", "shape", "data"}}]}; null in data is NaN. FOLDER/results.json
becomes a list of {"inputs": {name: [type, shape]}, "metadata": {...}, "feeds": [{output: {"shape", "data"}}]}.
"""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime

folder = pathlib.Path(sys.argv[1])


def array(tensor):
    # None becomes NaN.
    data = numpy.array(tensor["data"], dtype=numpy.float64 if tensor["type"] == "float32" else numpy.int64)
    return data.astype(tensor["type"]).reshape(tensor["shape"])


def described(tensor):
    data = [None if numpy.isnan(value) else float(value) for value in tensor.ravel()]
    return {"shape": list(tensor.shape), "data": data}


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
results = []
for case in json.loads((folder / "cases.json").read_text()):
    path = str(folder / case["model"])
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    feeds = []
    for feed in case["feeds"]:
        found = session.run(outputs, {name: array(tensor) for name, tensor in feed.items()})
        feeds.append({name: described(tensor) for name, tensor in zip(outputs, found)})
    metadata = session.get_modelmeta()
    results.append(
        {
            "inputs": {node.name: [node.type, node.shape] for node in session.get_inputs()},
            "producer": metadata.producer_name,
            "name": metadata.graph_name,
            "description": metadata.description,
            "properties": metadata.custom_metadata_map,
            "feeds": feeds,
        }
    )
(folder / "results.json").write_text(json.dumps(results, allow_nan=False))
