/* tiny: network 'tiny _/ net', compiled by Espalier for generic.
 *
 *   input    image_1          f32[1, 6, 6, 3]
 *   input    int_             bool[4]
 *   output   y                f32[1, 2, 2, 4]
 *   output   y_2              f32[1, 2, 2, 4]
 *
 * Tensors are dense, row-major, outermost dimension first, channels last. Static memory; not reentrant. */
#ifndef TINY_H
#define TINY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TINY_IMAGE_1_COUNT 108
#define TINY_INT__COUNT 4
#define TINY_Y_COUNT 16
#define TINY_Y_2_COUNT 16
#define TINY_ARENA_BYTES 128
#define TINY_WEIGHTS_BYTES 576
#define TINY_STATE_BYTES 0

void tiny_run(const float *image_1, const uint8_t *int_, float *y, float *y_2);

#ifdef __cplusplus
}
#endif
#endif
/* tiny: the plan of network 'tiny _/ net' for generic, printed by Espalier. Every step is a call; A(offset) is a place in the
 * arena, W(offset) in the weights, S(offset) in the state. */
#include "tiny.h"

#include "kernels/bandwidth.h"
#include "kernels/chain.h"
#include "kernels/chain_f32.h"
#include "kernels/conv.h"
#include "kernels/kernel.h"
#include "kernels/kernels.h"
#include "kernels/micro.h"
#include "kernels/vec.h"
#include "kernels/vmath.h"
#include "ops/ref.h"

#include <string.h>

#if VL != 4
#error "planned for generic, with vectors of 4 floats: the Makefile has the flags"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the weights are stored as little-endian words"
#endif

static _Alignas(64) unsigned char arena[TINY_ARENA_BYTES];
#define A(offset) ((void *)(arena + (offset)))
#define SCRATCH A(128)
extern const uint64_t tiny_weights[];
#define W(offset) ((void *)((uintptr_t)tiny_weights + (offset)))

EPL_KERNEL(conv);
void EPL_K(ref_cumsum)(const epl_ref_call *c);

/* ---- element-wise functions ---- */

VEC_INLINE vf op_mul(vf a, vf b) { return vmul(a, b); }
VEC_INLINE vf op_leaky_relu(vf x, double alpha) { return vsel(x < V(0), V(alpha) * x, x); }
VEC_INLINE vf op_where(vf a, vf b, vf c) { return vsel(a != V(0), b, c); }

static void chain_0(const epl_call *call, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const float *const x0 = call->out[0];
    const void *const x2 = call->chain_in[1];
    float *const y0 = call->out[0];
    for (int64_t row = row0; row < row1; row++) {
        for (int64_t col = col0; col < col1; col += VL) {
            const int64_t n = col1 - col;
            vf r0 = vload_some(x0 + row * 4 + col, n);
            vf r1 = vset(0.5f);
            vf r2 = chain_vload(x2, EPL_REF_BOOL, col, 1, n);
            vf r3 = op_mul(r0, r1);
            CHAIN_ROUND(r3);
            vf r4 = op_leaky_relu(r0, 0.1);
            CHAIN_ROUND(r4);
            vf r5 = op_where(r2, r4, r3);
            vstore_some(y0 + row * 4 + col, r5, n);
        }
    }
}

/* ---- parameters of the kernels ---- */

static const epl_conv_params params_0 = {
    .n = 1, .d = 1, .h = 6, .w = 6, .c = 3, .od = 1, .oh = 2, .ow = 2, .m = 4, .kd = 1, .kh = 3, .kw = 3, .sd = 1,
    .sh = 2, .sw = 2, .dd = 1, .dh = 1, .dw = 1, .pd = 0, .ph = 0, .pw = 0, .groups = 1
};

void tiny_run(const float *in_image_1, const uint8_t *in_int_, float *out_y, float *out_y_2)
{
    /* Conv stem: [1, 2, 2, 4] */
    EPL_K(conv)(&(epl_call){ .in = { (void *)(uintptr_t)in_image_1, W(0), W(448) }, .out = { A(0) }, .params = &params_0,
        .chain = &(const epl_chain){ chain_0 }, .chain_in = (const void *const[]){ W(512), (void *)(uintptr_t)in_int_ } }, 0, 1, NULL);

    /* CumSum: [1, 2, 2, 4] */
    EPL_K(ref_cumsum)(&(epl_ref_call){ 1, 1,
            (const epl_view[]){ { A(0), EPL_REF_F32, 4, { 1, 2, 2, 4 } } },
            (const epl_view[]){ { A(64), EPL_REF_F32, 4, { 1, 2, 2, 4 } } },
            (const epl_ref_attr[]){ { .i = 1 }, { .i = 0 }, { .i = 0 } } });

    memcpy(out_y, A(64), 64);
    memcpy(out_y_2, A(0), 64);
}
