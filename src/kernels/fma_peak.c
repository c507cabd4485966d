/* The machine's own limit, measured by the benchmarks: multiply-adds on registers alone, nothing loaded or stored. */
#include "kernels/kernels.h"
#include "kernels/vec.h"

EPL_KERNEL(fma_peak);

/* As many sums as cover latency x throughput with registers to spare. */
enum { SUMS = 12 };

int64_t EPL_K(fma_peak_pieces)(const void *params)
{
    return ((const epl_fma_peak_params *)params)->pieces;
}

size_t EPL_K(fma_peak_scratch)(const void *params)
{
    (void)params;
    return 0;
}

/* out[0][piece] = a sum, so that nothing is optimised away. in[0] holds two factors, unknown to the compiler. */
void EPL_K(fma_peak)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_fma_peak_params *p = call->params;
    const float *in = call->in[0];
    for (int64_t piece = begin; piece < end; piece++) {
        vf s0 = vset(1), s1 = vset(2), s2 = vset(3), s3 = vset(4), s4 = vset(5), s5 = vset(6);
        vf s6 = vset(7), s7 = vset(8), s8 = vset(9), s9 = vset(10), s10 = vset(11), s11 = vset(12);
        const vf a = vset(in[0]), b = vset(in[1]);
        for (int64_t i = 0; i < p->iterations; i++) {
            s0 = s0 * a + b, s1 = s1 * a + b, s2 = s2 * a + b, s3 = s3 * a + b, s4 = s4 * a + b, s5 = s5 * a + b;
            s6 = s6 * a + b, s7 = s7 * a + b, s8 = s8 * a + b, s9 = s9 * a + b, s10 = s10 * a + b, s11 = s11 * a + b;
        }
        ((float *)call->out[0])[piece] = vsum(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11);
    }
}
