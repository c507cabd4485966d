#!/usr/bin/env python3
"""Writes the backend tests that the installed `onnx` package defines in Python, in the shape that build/conformance reads.

    python3 tests/onnx/generate.py DIR      node and simple tests into DIR/node, DIR/simple

The package generates them by its own operators' reference functions; it ships only the older ones (pytorch-*, simple) as files,
under onnx/backend/test/data."""

import os
import sys
import warnings

import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case import model as models, node as nodes


def to_proto(value, info):
    kind = info.type.WhichOneof("value")
    if isinstance(value, TensorProto):
        return value
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name)
    if kind == "map_type":
        return numpy_helper.from_dict(value, info.name)
    return numpy_helper.from_array(value, info.name)


def write(path, message):
    with open(path, "wb") as f:
        f.write(message.SerializeToString())


def write_case(directory, case):
    os.makedirs(directory, exist_ok=True)
    write(os.path.join(directory, "model.onnx"), case.model)
    graph = case.model.graph
    for k, (inputs, outputs) in enumerate(case.data_sets):
        data = os.path.join(directory, f"test_data_set_{k}")
        os.makedirs(data, exist_ok=True)
        for what, values, infos in (("input", inputs, graph.input), ("output", outputs, graph.output)):
            for i, value in enumerate(values):
                if value is not None:
                    write(os.path.join(data, f"{what}_{i}.pb"), to_proto(value, infos[i]))


def main():
    warnings.simplefilter("ignore")
    count = 0
    for case in nodes.collect_testcases() + models.collect_testcases():
        if case.model is not None:
            write_case(os.path.join(sys.argv[1], case.kind, case.name), case)
            count += 1
    print(f"onnx {onnx.__version__}, opset {onnx.defs.onnx_opset_version()}: {count} tests")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
