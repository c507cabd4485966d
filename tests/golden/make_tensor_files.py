#!/usr/bin/env python3
"""Writes the tensor files beside it with NumPy and safetensors themselves, so that the tests read what other tools write.
Needs numpy and safetensors; the files are committed, so nobody else needs them."""
import os
import numpy as np
from safetensors.numpy import save_file

here = os.path.dirname(os.path.abspath(__file__))
a = (np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7.5)
np.save(os.path.join(here, "c_order.npy"), a)
np.save(os.path.join(here, "fortran_order.npy"), np.asfortranarray(a))
members = {
    "f32": a,
    "f64": np.array([[0.1, -2.5], [1e300, np.inf]]),
    "f16": np.array([1.5, -0.25, 65504], dtype=np.float16),
    "i8": np.array([-128, 127], dtype=np.int8),
    "u8": np.arange(256, dtype=np.uint8),
    "i16": np.array([-32768, 32767], dtype=np.int16),
    "u16": np.array([65535], dtype=np.uint16),
    "i32": np.array([-2147483648, 7], dtype=np.int32),
    "u32": np.array([4294967295], dtype=np.uint32),
    "i64": np.array([-9223372036854775808, 9223372036854775807]),
    "u64": np.array([18446744073709551615], dtype=np.uint64),
    "bool": np.array([[True, False, True]]),
    "scalar": np.array(3.25),
    "empty": np.zeros((3, 0), dtype=np.float32),
}
np.savez(os.path.join(here, "stored.npz"), **members)
np.savez_compressed(os.path.join(here, "deflated.npz"), **members)
save_file(members, os.path.join(here, "tiny.safetensors"), metadata={"made by": "safetensors", "note": "\u00e9 \"quoted\""})
