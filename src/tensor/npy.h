/* npy.h: the header of a .npy file as text, for files and for the members of an archive. */
#ifndef EPL_TENSOR_NPY_H
#define EPL_TENSOR_NPY_H

#include <espalier/tensor.h>

/* Magic, version, length and dictionary, padded to a multiple of 64 bytes. */
void epl_npy_header(epl_text *out, epl_dtype dtype, epl_shape shape);

/* The tensor in a type that NumPy has: itself, or for bf16 a copy as f32 in *copy, which the caller frees. NULL on failure. */
const epl_tensor *epl_npy_storable(const epl_tensor *t, epl_tensor **copy);

#endif
