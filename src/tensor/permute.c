/* permute: a tensor's axes in another order, tile by tile. */
#include "tensor/permute.h"

#include <string.h>

enum { TILE = 16 };

/* One row of the two last axes; the usual element has its own loop. */
static void permute_row(char *out, const char *in, size_t bytes, int64_t n, int64_t stride)
{
    if (bytes == 4)
        for (int64_t i = 0; i < n; i++)
            memcpy(out + 4 * i, in + 4 * i * stride, 4);
    else
        for (int64_t i = 0; i < n; i++)
            memcpy(out + (int64_t)bytes * i, in + (int64_t)bytes * i * stride, bytes);
}

/* out [dim...] from elements `stride` apart along each axis; tiles of the two last axes keep both sides in cache. */
static void permute_axes(char *out, const char *in, size_t bytes, int rank, const int64_t *dim, const int64_t *stride)
{
    const int64_t b = (int64_t)bytes;
    if (rank == 0) {
        memcpy(out, in, bytes);
    } else if (rank == 1) {
        permute_row(out, in, bytes, dim[0], stride[0]);
    } else if (rank == 2) {
        for (int64_t i = 0; i < dim[0]; i += TILE)
            for (int64_t j = 0; j < dim[1]; j += TILE)
                for (int64_t k = i; k < dim[0] && k < i + TILE; k++)
                    permute_row(out + b * (k * dim[1] + j), in + b * (k * stride[0] + j * stride[1]), bytes,
                                dim[1] - j < TILE ? dim[1] - j : TILE, stride[1]);
    } else {
        int64_t step = 1;
        for (int i = 1; i < rank; i++)
            step *= dim[i];
        for (int64_t i = 0; i < dim[0]; i++)
            permute_axes(out + b * i * step, in + b * i * stride[0], bytes, rank - 1, dim + 1, stride + 1);
    }
}

epl_tensor *epl_tensor_permuted(epl_context *ctx, const epl_tensor *t, epl_shape perm)
{
    epl_shape shape = { .rank = t->shape.rank };
    int64_t   stride[EPL_MAX_RANK];
    for (int i = 0; i < shape.rank; i++) {
        shape.dim[i] = t->shape.dim[perm.dim[i]];
        stride[i] = epl_shape_count_from(t->shape, (int)perm.dim[i] + 1, t->shape.rank);
    }
    epl_tensor *out = epl_tensor_new(ctx, t->dtype, shape);
    if (out && epl_tensor_count(out))
        permute_axes(out->data, t->data, epl_dtype_bytes(t->dtype), shape.rank, shape.dim, stride);
    return out;
}
