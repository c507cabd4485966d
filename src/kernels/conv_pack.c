/* Packing of convolution weights [kd, kh, kw, c/groups, m] for conv and conv_dx: for every group and phase, panels of whole
 * vectors of destination channels, in each panel one row per (tap, source channel) in the order in which the kernel reads.
 * The last panel is filled up with zeros. */
#include "kernels/conv.h"

EPL_KERNEL(conv_pack);
EPL_KERNEL(conv_dx_pack);

/* One panel of one tap: out[i][width] = w[i * p->w_in + col * p->w_out], i < p->cin. */
static void pack_tap(const epl_conv_problem *p, const float *w, int64_t cols, int64_t width, float *out)
{
    for (int64_t i0 = 0; i0 < p->cin; i0 += 16) { // blocks, so that the transposing copy stays in the cache
        const int64_t i1 = epl_min(i0 + 16, p->cin);
        if (p->w_out == 1) {
            for (int64_t i = i0; i < i1; i++)
                for (int64_t col = 0; col < cols; col++)
                    out[i * width + col] = w[i * p->w_in + col];
        } else {
            for (int64_t col = 0; col < cols; col++)
                for (int64_t i = i0; i < i1; i++)
                    out[i * width + col] = w[i * p->w_in + col * p->w_out];
        }
        for (int64_t i = i0; i < i1; i++)
            for (int64_t col = cols; col < width; col++)
                out[i * width + col] = 0.0f;
    }
}

static void pack_phase(const epl_conv_problem *p, const epl_conv_axis a[3], const float *w, int64_t cols, int64_t width,
                       float *out)
{
    for (int64_t td = 0; td < a[0].taps; td++)
        for (int64_t th = 0; th < a[1].taps; th++)
            for (int64_t tw = 0; tw < a[2].taps; tw++, out += p->cin * width) {
                const int64_t kd = a[0].k0 + td * a[0].k_step, kh = a[1].k0 + th * a[1].k_step;
                const int64_t kw = a[2].k0 + tw * a[2].k_step;
                pack_tap(p, w + ((kd * p->kernel[1] + kh) * p->kernel[2] + kw) * p->w_tap, cols, width, out);
            }
}

/* A piece is one panel of one group, in all phases. */
static void pack(const epl_conv_problem *p, const epl_call *call, int64_t begin, int64_t end)
{
    const int64_t panels = epl_ceil_div(p->cout, EPL_NR), padded = epl_packed_cols(p->cout);
    for (int64_t piece = begin; piece < end; piece++) {
        const int64_t group = piece / panels, col = piece % panels * EPL_NR, width = epl_panel_width(p->cout - col);
        const float *w = (const float *)call->in[0] + group * p->w_group + col * p->w_out;
        float *out = (float *)call->out[0] + group * p->kernel[0] * p->kernel[1] * p->kernel[2] * p->cin * padded;
        for (int64_t fd = 0; fd < p->phases[0]; fd++)
            for (int64_t fh = 0; fh < p->phases[1]; fh++)
                for (int64_t fw = 0; fw < p->phases[2]; fw++) {
                    const epl_conv_axis a[3] = { epl_conv_axis_of(p, 0, fd), epl_conv_axis_of(p, 1, fh),
                                                 epl_conv_axis_of(p, 2, fw) };
                    const int64_t depth = a[0].taps * a[1].taps * a[2].taps * p->cin;
                    pack_phase(p, a, w, epl_min(p->cout - col, EPL_NR), width, out + depth * col);
                    out += depth * padded;
                }
    }
}

int64_t EPL_K(conv_pack_pieces)(const void *params)
{
    const epl_conv_params *p = params;
    return p->groups * epl_ceil_div(p->m / p->groups, EPL_NR);
}

size_t EPL_K(conv_pack_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(conv_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_conv_problem p = epl_conv_forward_problem(call->params);
    pack(&p, call, begin, end);
}

int64_t EPL_K(conv_dx_pack_pieces)(const void *params)
{
    const epl_conv_params *p = params;
    return p->groups * epl_ceil_div(p->c / p->groups, EPL_NR);
}

size_t EPL_K(conv_dx_pack_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(conv_dx_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_conv_problem p = epl_conv_backward_problem(call->params);
    pack(&p, call, begin, end);
}
