/* The sum of equally long parts, in index order: what kernels that cut a reduction over threads leave behind. */
#include "kernels/kernels.h"
#include "kernels/vec.h"

EPL_KERNEL(sum_parts);

enum { PIECE = 4096 };

int64_t EPL_K(sum_parts_pieces)(const void *params)
{
    const epl_sum_parts_params *p = params;
    return (p->count + PIECE - 1) / PIECE;
}

size_t EPL_K(sum_parts_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(sum_parts)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_sum_parts_params *p = call->params;
    const float *in = call->in[0];
    float *out = call->out[0];
    const int64_t last = end * PIECE < p->count ? end * PIECE : p->count;
    for (int64_t i = begin * PIECE; i < last; i += VL) {
        const int64_t n = last - i < VL ? last - i : VL;
        vf sum = vset(0.0f);
        for (int64_t part = 0; part < p->parts; part++)
            sum += n == VL ? vload(in + part * p->count + i) : vload_part(in + part * p->count + i, n);
        if (n == VL)
            vstore(out + i, sum);
        else
            vstore_part(out + i, sum, n);
    }
}
