#!/usr/bin/env python3
"""Exported networks against ONNX's checker and ONNX Runtime.

    EPL_EXPORT_DIR=/tmp/export build/test_onnx_export 'zoo_*'
    python3 tests/onnx/check_export.py /tmp/export

Prints one line per network: nodes, transposes, and the largest difference of ONNX Runtime's output from ours, relative to the
largest element. Exit status 1 if a file is not accepted or a difference passes 1e-4. Needs Python with onnx, onnxruntime, numpy.
"""
import collections
import glob
import sys

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(0)

LIMIT = 1e-4


def difference(path):
    """ONNX Runtime's first output against the one beside the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {x.name: np.load(path[:-5] + (f".x{i}.npy" if i else ".x.npy")) for i, x in enumerate(session.get_inputs())}
    y, found = np.load(path[:-5] + ".y.npy"), session.run(None, inputs)[0]
    if found.shape != y.shape:
        raise ValueError(f"the shape is {found.shape}, expected {y.shape}")
    return float(np.abs(found - y).max() / np.abs(y).max())


def main(folder):
    failures = 0
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}\n")
    print("| network | nodes | transposes | relative difference |\n|---|---|---|---|")
    for path in sorted(glob.glob(folder + "/*.onnx")):
        if not glob.glob(glob.escape(path[:-5]) + ".x.npy"):
            continue
        name = path[len(folder) + 1:-5]
        try:
            model = onnx.load(path)
            onnx.checker.check_model(model, full_check=True)
            ops = collections.Counter(node.op_type for node in model.graph.node)
            found = difference(path)
            failures += not found <= LIMIT
            print(f"| {name} | {sum(ops.values())} | {ops['Transpose']} | {found:.1e} |")
        except Exception as error:  # whatever the checker or the runtime says
            failures += 1
            print(f"| {name} | | | {str(error).splitlines()[0][:200]} |")
    print(f"\n{failures} failed")
    return 1 if failures else 0


sys.exit(main(sys.argv[1].rstrip("/")))
