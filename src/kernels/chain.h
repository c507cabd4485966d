/* chain: the element-wise program of kernel.h, run on a block of rows. The dense kernels call it on each piece that they
 * have just finished, while it is in the cache; the stand-alone element-wise kernel is the same function over all rows.
 *
 * A tensor of any rank is seen as [rows, columns] of its last axis, so a piece of a convolution's output is a range of rows
 * and, where the output channels are cut too, a range of columns.
 *
 * `in` holds chain->n_in pointers to WHOLE tensors of the kinds in chain->in_kind (row r, column c of a FULL input is element
 * r * columns + c), `out` chain->n_out pointers to whole tensors [rows, columns]. An output may be the same tensor as a FULL
 * input (in place): all inputs of an element are read before its outputs are written.
 *
 * A chain with a floating input or output computes in f32; one of integers and bool alone computes in 64-bit integers,
 * exactly, and wraps when it stores. So a chain must not mix the two on its way. Types f64 and u64 are converted like the
 * others but not computed in: they are left to the reference. */
#ifndef EPL_CHAIN_H
#define EPL_CHAIN_H

#include "kernels/kernel.h"

/* Rows [row0, row1) x columns [col0, col1). */
void EPL_K(chain_rows)(const epl_chain *chain, const void *const *in, void *const *out, int64_t row0, int64_t row1,
                       int64_t col0, int64_t col1);

/* The stand-alone element-wise kernel: call->params is the chain, in[] and out[] its inputs and outputs. */
EPL_KERNEL(chain);

/* The epilogue of a dense kernel: input 0 of the chain is out[0] as just computed (before the chain), inputs 1.. are
 * call->chain_in[0..]; the chain's outputs are call->out[0..]. Nothing happens without a chain. */
static inline void epl_chain_epilogue(const epl_call *call, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    if (!call->chain)
        return;
#ifdef EPL_ARTIFACT
    call->chain->rows(call, row0, row1, col0, col1);
#else
    const void *in[EPL_CHAIN_MAX_IN] = { call->out[0] };
    for (int64_t i = 1; i < call->chain->n_in; i++)
        in[i] = call->chain_in[i - 1];
    EPL_K(chain_rows)(call->chain, in, call->out, row0, row1, col0, col1);
#endif
}

#endif
