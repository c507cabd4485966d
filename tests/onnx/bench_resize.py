#!/usr/bin/env python3
"""Resize beside the same map as products with matrices, and beside ONNX Runtime: one thread, channels first at the ends.

    python3 tests/onnx/bench_resize.py build/espalier      # needs onnx, onnxruntime and numpy

Each round times the three one after the other; the table has the least of the rounds' medians, and of ours what the Resize itself takes.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CASES = [  # what, channels, side, factor, attributes of Resize
    ("nearest, 64 x 56 x 56 to twice", 64, 56, 2.0, dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")),
    ("linear, 64 x 56 x 56 to twice", 64, 56, 2.0, dict(mode="linear")),
    ("linear, 21 x 28 x 28 to eight times", 21, 28, 8.0, dict(mode="linear")),
    ("cubic, 3 x 224 x 224 to twice", 3, 224, 2.0, dict(mode="cubic")),
    ("linear with antialias, 3 x 448 x 448 to half", 3, 448, 0.5, dict(mode="linear", antialias=1)),
]
ROUNDS = 5


def model(nodes, c, side, out, initialisers):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, c, side, side])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, c, out, out])
    graph = helper.make_graph(nodes, "resize", [x], [y], [numpy_helper.from_array(v, k) for k, v in initialisers.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def resize(c, side, factor, attributes):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    return model([node], c, side, int(side * factor), {"scales": np.array([1, 1, factor, factor], np.float32)})


def matrix(side, factor, attributes):
    """[side, out]: Resize of the identity, by ONNX Runtime."""
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, side, 1, side])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, side, 1, int(side * factor)])
    graph = helper.make_graph([node], "row", [x], [y], [numpy_helper.from_array(np.array([1, 1, 1, factor], np.float32), "scales")])
    session = onnxruntime.InferenceSession(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
                                           .SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.eye(side, dtype=np.float32)[None, :, None, :]})[0].reshape(side, -1)


def products(c, side, factor, attributes):
    m = matrix(side, factor, attributes)
    nodes = [helper.make_node("MatMul", ["x", "m"], ["w"]), helper.make_node("MatMul", ["mt", "w"], ["y"])]
    return model(nodes, c, side, int(side * factor), {"m": m, "mt": np.ascontiguousarray(m.T)})


def ours(espalier, path):
    out = subprocess.run([espalier, "bench", path, "--threads", "1", "--seconds", "0.3", "--json"], check=True, capture_output=True, text=True)
    result = json.loads(out.stdout)
    return result["median_s"] * 1e3, sum(step["seconds"] for step in result["steps"] if step["kernel"] == "resample") * 1e3


def theirs(path, c, side):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x, times = np.random.randn(1, c, side, side).astype(np.float32), []
    for _ in range(30):
        start = time.perf_counter()
        session.run(None, {"x": x})
        times.append(time.perf_counter() - start)
    return sorted(times)[15] * 1e3


def main():
    espalier = sys.argv[1]
    print("| Resize | ms here | of them the Resize | as products | onnxruntime |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for what, c, side, factor, attributes in CASES:
            a, b = os.path.join(folder, "a.onnx"), os.path.join(folder, "b.onnx")
            onnx.save(resize(c, side, factor, attributes), a)
            onnx.save(products(c, side, factor, attributes), b)
            rounds = [(*ours(espalier, a), ours(espalier, b)[0], theirs(a, c, side)) for _ in range(ROUNDS)]
            best = [min(r[i] for r in rounds) for i in range(4)]
            print(f"| {what} | " + " | ".join(f"{b:.2f}" for b in best) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
