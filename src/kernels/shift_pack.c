/* Weights that are powers of two, times a factor for each output channel, as codes of four bits (shift.h). A
 * channel's factor is the magnitude of its smallest weight. Where the others are not 2^0 to 2^7 times that, the
 * channel's scale becomes NaN: such weights have no codes. */
#include "kernels/shift.h"

EPL_KERNEL(shift_pack);

enum { FRACTION = 0x7fffff };

static uint32_t magnitude_of(const float *w)
{
    uint32_t bits;
    memcpy(&bits, w, sizeof bits);
    return bits & 0x7fffffff;
}

/* The magnitude of a channel's smallest weight, in bits; 0 if all are zero, all ones if they are no powers of two times it. */
static uint32_t find_scale(const float *w, int64_t stride, int64_t depth)
{
    uint32_t low = UINT32_MAX, high = 0;
    for (int64_t k = 0; k < depth; k++) {
        const uint32_t a = magnitude_of(w + k * stride);
        low  = a < low ? a : low;
        high = a > high ? a : high;
    }
    if (high == 0 || depth == 0)
        return 0;
    int fits = low > FRACTION && high - low <= (uint32_t)EPL_SHIFT_MOST << 23 && high < 0x7f800000;
    for (int64_t k = 0; k < depth; k++)
        fits = fits && ((magnitude_of(w + k * stride) ^ low) & FRACTION) == 0;
    return fits ? low : UINT32_MAX;
}

static unsigned code_of(const float *w, uint32_t scale)
{
    const uint32_t exponent = scale == 0 || scale == UINT32_MAX ? 0 : (magnitude_of(w) - scale) >> 23;
    return (unsigned)exponent | (*w < 0 ? 8u : 0u);
}

static void pack_panel(const epl_call *call, int64_t group, int64_t panel)
{
    const epl_shift_pack_params *p = call->params;
    const int64_t depth = epl_shift_depth(&p->conv), width = epl_shift_panel_width(&p->conv, panel), mg = p->conv.m / p->conv.groups;
    unsigned char *out = (unsigned char *)call->out[0] + epl_shift_panel_at(&p->conv, group, panel);
    memset(out, 0, (size_t)(depth * width / 2));
    for (int64_t i = 0; i < width && panel * EPL_NR + i < mg; i++) {
        const int64_t  j = group * mg + panel * EPL_NR + i;
        const float   *w = (const float *)call->in[0] + j * p->out_stride;
        const uint32_t scale = find_scale(w, p->tap_stride, depth);
        memcpy((float *)call->out[0] + j, &scale, sizeof scale);
        for (int64_t k = 0; k < depth; k++)
            out[k * width / 2 + i % (width / 2)] |= (unsigned char)(code_of(w + k * p->tap_stride, scale) << (i < width / 2 ? 0 : 4));
    }
}

int64_t EPL_K(shift_pack_pieces)(const void *params)
{
    const epl_shift_pack_params *p = params;
    return p->conv.groups * epl_shift_panels(&p->conv);
}

size_t EPL_K(shift_pack_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(shift_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_shift_pack_params *p = call->params;
    const int64_t panels = epl_shift_panels(&p->conv);
    if (begin == 0)
        memset((float *)call->out[0] + p->conv.m, 0, epl_shift_scale_bytes(&p->conv) - (size_t)p->conv.m * sizeof(float));
    for (int64_t i = begin; i < end; i++)
        pack_panel(call, i / panels, i % panels);
}
