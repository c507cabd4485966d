/* conv: what the convolution kernels share: a convolution and its input gradient seen as one problem.
 *
 * Both compute, for every destination element o of every spatial axis, a sum over taps of source elements. Along one axis
 * the destination splits into `phases` (1 forward, `stride` for the gradient): o = phase + j * phases, and for all o of one
 * phase the source lies at j * step + off + t * tap_step for t = 0 .. taps-1, which is a convolution of stride `step` with
 * the kernel's elements k0 + t * k_step. So one driver and one packing serve both. */
#ifndef EPL_CONV_H
#define EPL_CONV_H

#include "kernels/kernels.h"
#include "kernels/micro.h"

typedef struct epl_conv_axis { /* one spatial axis in one phase */
    int64_t count;             /* destination elements of this phase */
    int64_t taps, off, tap_step, k0, k_step;
} epl_conv_axis;

typedef struct epl_conv_problem {
    int64_t n, groups, cin, cout; /* channels per group, of the source and of the destination */
    int64_t src[3], dst[3];       /* spatial sizes */
    int64_t kernel[3], stride[3], dilation[3], pad[3];
    int64_t phases[3], step[3];
    int64_t backward;
    /* of the weights [taps, c/groups, m]: the strides of a tap, of a source and of a destination channel, of a group */
    int64_t w_tap, w_in, w_out, w_group;
} epl_conv_problem;

static inline epl_conv_problem epl_conv_forward_problem(const epl_conv_params *p)
{
    return (epl_conv_problem){
        .n = p->n, .groups = p->groups, .cin = p->c / p->groups, .cout = p->m / p->groups,
        .src = { p->d, p->h, p->w }, .dst = { p->od, p->oh, p->ow },
        .kernel = { p->kd, p->kh, p->kw }, .stride = { p->sd, p->sh, p->sw },
        .dilation = { p->dd, p->dh, p->dw }, .pad = { p->pd, p->ph, p->pw },
        .phases = { 1, 1, 1 }, .step = { p->sd, p->sh, p->sw },
        .w_tap = p->c / p->groups * p->m, .w_in = p->m, .w_out = 1, .w_group = p->m / p->groups,
    };
}

static inline epl_conv_problem epl_conv_backward_problem(const epl_conv_params *p)
{
    return (epl_conv_problem){
        .n = p->n, .groups = p->groups, .cin = p->m / p->groups, .cout = p->c / p->groups,
        .src = { p->od, p->oh, p->ow }, .dst = { p->d, p->h, p->w },
        .kernel = { p->kd, p->kh, p->kw }, .stride = { p->sd, p->sh, p->sw },
        .dilation = { p->dd, p->dh, p->dw }, .pad = { p->pd, p->ph, p->pw },
        .phases = { p->sd, p->sh, p->sw }, .step = { 1, 1, 1 }, .backward = 1,
        .w_tap = p->c / p->groups * p->m, .w_in = 1, .w_out = p->m, .w_group = p->m / p->groups,
    };
}

/* Forward, o * stride - pad + t * dilation. Backward, x = phase + j * stride receives from y = (x + pad - k * dilation) /
 * stride for those k that divide: every (stride / gcd)-th one; they are listed from the last, so that y ascends. */
static inline epl_conv_axis epl_conv_axis_of(const epl_conv_problem *p, int axis, int64_t phase)
{
    const int64_t s = p->stride[axis], d = p->dilation[axis], k = p->kernel[axis], pad = p->pad[axis];
    if (!p->backward)
        return (epl_conv_axis){ .count = p->dst[axis], .taps = k, .off = -pad, .tap_step = d, .k0 = 0, .k_step = 1 };
    epl_conv_axis a = { .count = (p->dst[axis] - phase + s - 1) / s, .tap_step = 1, .k_step = -1 };
    int64_t first = -1, period = 1;
    for (int64_t i = 0; i < k && i < s && first < 0; i++)
        if ((phase + pad - i * d) % s == 0)
            first = i;
    if (first < 0)
        return a;
    while (period * d % s)
        period++;
    a.taps = (k - 1 - first) / period + 1;
    a.k0 = first + (a.taps - 1) * period;
    a.k_step = -period;
    a.tap_step = period * d / s;
    a.off = (phase + pad - a.k0 * d) / s; // exact, also when negative
    return a;
}

/* Taps [*first, *last) of destination j lie inside the source. */
static inline void epl_conv_valid_taps(const epl_conv_problem *p, int axis, const epl_conv_axis *a, int64_t j, int64_t *first,
                                       int64_t *last)
{
    const int64_t at = j * p->step[axis] + a->off, end = p->src[axis] - 1 - at;
    *first = at < 0 ? epl_min(epl_ceil_div(-at, a->tap_step), a->taps) : 0;
    *last = epl_max(*first, end < 0 ? 0 : epl_min(a->taps, end / a->tap_step + 1));
}

#endif
