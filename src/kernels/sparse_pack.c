/* The lists of sparse_conv from weights as they lie: [depth, m], or [m, depth] if transposed. Takes at most `nnz` non-zeros; the
 * program that asks for more is refused before. One piece: it runs once. */
#include "kernels/kernels.h"

EPL_KERNEL(sparse_pack);

int64_t EPL_K(sparse_pack_pieces)(const void *params)
{
    (void)params;
    return 1;
}

size_t EPL_K(sparse_pack_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(sparse_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_sparse_pack_params *p = call->params;
    const float *w = call->in[0];
    float   *value = call->out[0];
    int32_t *index = call->out[1], *start = call->out[2];
    const int64_t column = p->transposed ? p->depth : 1, row = p->transposed ? 1 : p->m;
    int64_t n = 0;
    (void)scratch;
    if (begin >= end)
        return;
    for (int64_t m = 0; m < p->m; m++) {
        start[m] = (int32_t)n;
        for (int64_t i = 0; i < p->depth && n < p->nnz; i++)
            if (w[i * row + m * column] != 0.0f) {
                value[n]   = w[i * row + m * column];
                index[n++] = (int32_t)i;
            }
    }
    start[p->m] = (int32_t)n;
}
