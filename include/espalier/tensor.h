/* tensor: element types, shapes, tensors, and the files that hold them (.npy, .npz, safetensors). */
#ifndef ESPALIER_TENSOR_H
#define ESPALIER_TENSOR_H

#include <espalier/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum epl_dtype {
    EPL_NO_DTYPE = 0,
    EPL_F32, EPL_F64, EPL_BF16, EPL_F16,
    EPL_I8, EPL_U8, EPL_I16, EPL_U16, EPL_I32, EPL_U32, EPL_I64, EPL_U64,
    EPL_BOOL, /* one byte, 0 or 1 */
    EPL_N_DTYPES
} epl_dtype;

EPL_API const char *epl_dtype_name(epl_dtype t);             /* "f32", "bool", ... */
EPL_API epl_dtype   epl_dtype_from_name(const char *name);   /* EPL_NO_DTYPE if unknown */
EPL_API size_t      epl_dtype_bytes(epl_dtype t);
EPL_API bool        epl_dtype_is_float(epl_dtype t);
EPL_API bool        epl_dtype_is_signed(epl_dtype t);

EPL_API float    epl_f16_to_f32(uint16_t h);
EPL_API uint16_t epl_f32_to_f16(float x);  /* round to nearest even */
EPL_API float    epl_bf16_to_f32(uint16_t h);
EPL_API uint16_t epl_f32_to_bf16(float x); /* round to nearest even; NaN stays NaN */

/* ---- shapes: outermost dimension first; rank 0 is a scalar ---- */
#define EPL_MAX_RANK 8
typedef struct epl_shape {
    int     rank;
    int64_t dim[EPL_MAX_RANK];
} epl_shape;

/* EPL_SHAPE(64, 28, 28, 1); a scalar is EPL_SCALAR. */
#define EPL_SHAPE(...)                                                                                             \
    ((epl_shape){ .rank = (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), .dim = { __VA_ARGS__ } })
#define EPL_SCALAR ((epl_shape){ .rank = 0 })

EPL_API bool    epl_shape_equal(epl_shape a, epl_shape b);
EPL_API int64_t epl_shape_count(epl_shape s); /* product of the dimensions; -1 if it overflows or one is negative */
EPL_API int64_t epl_shape_count_from(epl_shape s, int first, int end); /* product of dimensions [first, end) */
EPL_API const char *epl_shape_text(char out[192], epl_shape s); /* "[64, 28, 28, 1]"; returns out */
EPL_API bool    epl_shape_broadcast(epl_shape a, epl_shape b, epl_shape *out); /* NumPy's rule; false if none */

/* ---- tensors: contiguous, row-major, 64-byte aligned when owned ---- */
typedef struct epl_tensor {
    epl_dtype dtype;
    epl_shape shape;
    void     *data;
    /* private */
    epl_context *ctx;
    void        *owned; /* what the tensor frees; NULL for a view */
} epl_tensor;

EPL_API epl_tensor *epl_tensor_new(epl_context *ctx, epl_dtype dtype, epl_shape shape); /* zeroed */
EPL_API epl_tensor *epl_tensor_view(epl_context *ctx, epl_dtype dtype, epl_shape shape, void *data); /* borrows data */
EPL_API epl_tensor *epl_tensor_copy(epl_context *ctx, const epl_tensor *t);
EPL_API void        epl_tensor_free(epl_tensor *t);
EPL_API int64_t     epl_tensor_count(const epl_tensor *t);
EPL_API size_t      epl_tensor_bytes(const epl_tensor *t);

/* Element i in row-major order, converted. Writing to an integer type rounds to nearest and saturates. */
EPL_API double  epl_tensor_get(const epl_tensor *t, int64_t i);
EPL_API void    epl_tensor_set(epl_tensor *t, int64_t i, double x);
EPL_API int64_t epl_tensor_get_i64(const epl_tensor *t, int64_t i); /* exact for integers; floats truncate */
EPL_API void    epl_tensor_set_i64(epl_tensor *t, int64_t i, int64_t x);
EPL_API epl_tensor *epl_tensor_cast(epl_context *ctx, const epl_tensor *t, epl_dtype dtype); /* the caller owns it */
EPL_API void    epl_tensor_fill_normal(epl_tensor *t, epl_rng *r, double mean, double std);
EPL_API void    epl_tensor_fill_uniform(epl_tensor *t, epl_rng *r, double low, double high);
EPL_API bool    epl_tensor_equal(const epl_tensor *a, const epl_tensor *b); /* dtype, shape and every bit */

/* How far tensors are apart. */
typedef struct epl_difference {
    double  max_abs;     /* infinite where one is NaN and the other is not */
    double  max_rel;     /* max_abs / largest: relative to the whole, so that elements near zero do not drown the rest */
    double  max_ulp;     /* in units in the last place, of floating types: how many numbers lie between, plus one */
    double  largest;     /* the largest |element| of a */
    int64_t n_different; /* elements whose bits differ */
    int64_t n_elements;
} epl_difference;

/* Adds what a and b differ by to *d, which starts zeroed and may take several pairs. Elements are compared in order: shapes may
 * differ as long as the counts are equal. False, *d unchanged, without an error, if types or counts differ. */
EPL_API bool epl_tensor_compare(const epl_tensor *a, const epl_tensor *b, epl_difference *d);

/* Values that any network takes: normal ones, and of integers and booleans 0 or 1 (they may be indices or labels). */
EPL_API void epl_tensor_draw(epl_tensor *t, epl_rng *r);

/* ---- .npy: NumPy's format 1.0 to 3.0; little-endian, C order or Fortran order (converted) ----
 * Refused: objects, structures, text, dates, complex numbers, big-endian numbers. bf16, which NumPy lacks, is saved as f32. */
EPL_API epl_tensor *epl_npy_load(epl_context *ctx, const char *path);
EPL_API epl_tensor *epl_npy_parse(epl_context *ctx, const void *data, size_t bytes, const char *name);
EPL_API bool        epl_npy_save(epl_context *ctx, const char *path, const epl_tensor *t);

/* ---- weights: tensors by name, in insertion order, with text metadata; a safetensors file in memory ----
 * Tensors are owned by the set. A set that was opened from a file maps it: pages are private, so writing to a tensor
 * never reaches the file. */
typedef struct epl_weights epl_weights;

EPL_API epl_weights *epl_weights_new(epl_context *ctx);
EPL_API epl_weights *epl_weights_copy(epl_context *ctx, const epl_weights *w);
EPL_API void         epl_weights_free(epl_weights *w);
EPL_API int          epl_weights_count(const epl_weights *w);
EPL_API const char  *epl_weights_name(const epl_weights *w, int i);
EPL_API epl_tensor  *epl_weights_at(const epl_weights *w, int i);
EPL_API epl_tensor  *epl_weights_find(const epl_weights *w, const char *name); /* NULL without an error */
EPL_API bool         epl_weights_put_take(epl_weights *w, const char *name, epl_tensor *t); /* replaces; t is consumed
                                                                                             even on failure */
EPL_API bool         epl_weights_remove(epl_weights *w, const char *name);
EPL_API bool         epl_weights_rename(epl_weights *w, const char *from, const char *to);
EPL_API const char  *epl_weights_metadata(const epl_weights *w, const char *key); /* NULL if absent */
EPL_API bool         epl_weights_set_metadata(epl_weights *w, const char *key, const char *value); /* NULL: the key goes */

/* The mean of n sets with the same names, shapes and types: of checkpoints of one run, say. Integers, and the
 * metadata, are the last set's. The caller owns the result. */
EPL_API epl_weights *epl_weights_average(epl_context *ctx, int n, const epl_weights *const *sets);

/* safetensors: u64 little-endian n, then n bytes of JSON, then the tensor data. Every offset, shape and dtype is checked
 * against the file before anything is read; overlapping or missing ranges are refused. A path that ends in ".index.json" names
 * the index of a sharded set: its "weight_map" says which file beside it holds each tensor. */
EPL_API epl_weights *epl_weights_open(epl_context *ctx, const char *path);
EPL_API epl_weights *epl_weights_parse(epl_context *ctx, const void *data, size_t bytes, const char *name); /* copies */
EPL_API bool         epl_weights_save(const epl_weights *w, const char *path);

/* .npz: a zip archive of .npy files, stored or deflated; the tensors' names are the members' without ".npy". Saving stores
 * without compressing, drops the metadata, and refuses 4 GiB and more (EPL_ERR_UNSUPPORTED: use safetensors). */
EPL_API epl_weights *epl_npz_open(epl_context *ctx, const char *path);
EPL_API epl_weights *epl_npz_parse(epl_context *ctx, const void *data, size_t bytes, const char *name); /* copies */
EPL_API bool         epl_npz_save(const epl_weights *w, const char *path);

#ifdef __cplusplus
}
#endif
#endif
