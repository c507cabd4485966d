/* Integer weights as pairs of 16 bits in panels (integer.h). */
#include "kernels/integer.h"

EPL_KERNEL(integer_pack);

static int16_t weight(const epl_call *call, int64_t tap, int64_t m)
{
    const epl_integer_conv_params *p = call->params;
    const int64_t at = tap * p->conv.m + m;
    if (tap >= epl_shift_depth(&p->conv))
        return 0;
    return p->w_wide ? ((const int16_t *)call->in[0])[at] : ((const int8_t *)call->in[0])[at];
}

static void pack_panel(const epl_call *call, int64_t group, int64_t panel)
{
    const epl_integer_conv_params *p = call->params;
    const int64_t mg = p->conv.m / p->conv.groups, cols = epl_max(0, epl_min(EPL_NR, mg - panel * EPL_NR)), width = epl_panel_width(cols);
    int16_t *out = (int16_t *)call->out[0] + 2 * epl_integer_panel_at(p, group, panel);
    memset(out, 0, (size_t)(cols ? 2 * epl_integer_pairs(p) * width : 0) * sizeof *out);
    for (int64_t tap = 0; tap < epl_shift_depth(&p->conv); tap++)
        for (int64_t j = 0; j < cols; j++)
            out[tap / 2 * 2 * width + 2 * j + tap % 2] = weight(call, tap, group * mg + panel * EPL_NR + j);
}

int64_t EPL_K(integer_pack_pieces)(const void *params)
{
    const epl_integer_conv_params *p = params;
    return p->conv.groups * epl_integer_panels(p);
}

size_t EPL_K(integer_pack_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(integer_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const int64_t panels = epl_integer_panels(call->params);
    for (int64_t i = begin; i < end; i++)
        pack_panel(call, i / panels, i % panels);
}
