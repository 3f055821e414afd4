"""Runs ONNX models and writes down what comes out: run_onnx.py FOLDER [scores]

FOLDER/cases.json is a list of {"model": file, "level": of optimization, "feeds": [{input: {"type", "shape", "data"}}]}; null in data is NaN.
FOLDER/results.json becomes a list of {"inputs": {name: [type, shape]}, "metadata": {...}, "operations": {name: count in the optimized model},
"feeds": [{output: {"shape", "data"}}]}. With `scores`, models are neither checked nor looked into: under an emulator that takes seconds.
"""

import collections
import json
import pathlib
import sys

import numpy
import onnxruntime

folder = pathlib.Path(sys.argv[1])
scores_only = sys.argv[2:] == ["scores"]
if not scores_only:
    import onnx


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
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{case['level']}")
    if not scores_only:
        onnx.checker.check_model(path, full_check=True)
        options.optimized_model_filepath = str(folder / "optimized.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    feeds = []
    for feed in case["feeds"]:
        found = session.run(outputs, {name: array(tensor) for name, tensor in feed.items()})
        feeds.append({name: described(tensor) for name, tensor in zip(outputs, found)})
    operations = collections.Counter()
    if not scores_only:
        operations.update(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    metadata = session.get_modelmeta()
    results.append(
        {
            "inputs": {node.name: [node.type, node.shape] for node in session.get_inputs()},
            "producer": metadata.producer_name,
            "name": metadata.graph_name,
            "description": metadata.description,
            "properties": metadata.custom_metadata_map,
            "operations": operations,
            "feeds": feeds,
        }
    )
(folder / "results.json").write_text(json.dumps(results, allow_nan=False))
