/* lower_conv: convolutions and their gradients on the kernels of kernels.h. */
#include "program/lower.h"

#include "kernels/gated.h"

static bool all_f32(const epl_node *n, const char **why)
{
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i] && n->inputs[i]->dtype != EPL_F32) {
            *why = "fast convolutions take f32";
            return false;
        }
    return true;
}

epl_conv_params epl_conv_geometry(const epl_node *n, epl_shape x, epl_shape w, epl_shape y, int64_t groups)
{
    const int spatial = x.rank - 2;
    int64_t in[3] = { 1, 1, 1 }, out[3] = { 1, 1, 1 }, k[3] = { 1, 1, 1 }, s[3] = { 1, 1, 1 }, d[3] = { 1, 1, 1 }, p[3] = { 0 };
    const int64_t *strides, *pads, *dilations;
    const int n_s = epl_attr_ints(n, "strides", &strides), n_p = epl_attr_ints(n, "pads", &pads);
    const int n_d = epl_attr_ints(n, "dilations", &dilations);
    for (int i = 0; i < spatial; i++) {
        const int at = 3 - spatial + i;
        in[at]  = x.dim[1 + i];
        out[at] = y.dim[1 + i];
        k[at]   = w.dim[i];
        s[at]   = n_s ? strides[i] : 1;
        d[at]   = n_d ? dilations[i] : 1;
        p[at]   = n_p ? pads[i] : 0;
    }
    return (epl_conv_params){ .n = x.dim[0], .d = in[0], .h = in[1], .w = in[2], .c = x.dim[x.rank - 1],
                              .od = out[0], .oh = out[1], .ow = out[2], .m = y.dim[y.rank - 1],
                              .kd = k[0], .kh = k[1], .kw = k[2], .sd = s[0], .sh = s[1], .sw = s[2],
                              .dd = d[0], .dh = d[1], .dw = d[2], .pd = p[0], .ph = p[1], .pw = p[2],
                              .groups = groups };
}

static epl_conv_params conv_params(const epl_node *n, epl_shape x, epl_shape w, epl_shape y)
{
    return epl_conv_geometry(n, x, w, y, epl_attr_i(n, "group"));
}

static bool is_depthwise(const epl_conv_params *p) { return p->groups == p->c && p->groups == p->m && p->groups > 1; }

bool epl_lower_conv(epl_block *b, const epl_node *n, const char **why)
{
    if (!all_f32(n, why))
        return false;
    const epl_conv_params p = conv_params(n, n->inputs[0]->shape, n->inputs[1]->shape, n->outputs[0]->shape);
    const int x = epl_buffer_of(b, n->inputs[0]), w = epl_buffer_of(b, n->inputs[1]);
    const int bias = n->n_inputs > 2 ? epl_buffer_of(b, n->inputs[2]) : -1, y = epl_buffer_of(b, n->outputs[0]);
    const bool depthwise = is_depthwise(&p) && epl_has_kernel(b, "dwconv");
    const epl_nm_pack_params nm = { .conv = p, .position_stride = p.c * p.m, .channel_stride = p.m, .out_stride = 1 };
    const epl_shift_pack_params shift = { .conv = p, .tap_stride = p.m, .out_stride = 1 };
    if (!depthwise && epl_lower_shift(b, n, &shift, x, n->inputs[1], bias, y))
        return true;
    if (epl_lower_sparse(b, n, &nm, x, n->inputs[1], bias, y) || epl_lower_nm(b, n, &nm, x, n->inputs[1], -2, bias, y))
        return true;
    const size_t packed = (size_t)epl_conv_packed_floats(&p, b->program->kernels->vector) * sizeof(float);
    const int    weight = depthwise ? w : epl_pack(b, n, "conv_pack", &p, sizeof p, w, packed);
    return epl_kernel_add(b, n, depthwise ? "dwconv" : "conv", &p, sizeof p, 3, (int[]){ x, weight, bias }, 1, &y) != NULL;
}

/* dx of a convolution described by p; also the forward of a transposed convolution. */
static bool input_grad(epl_block *b, const epl_node *n, const epl_conv_params *p, int dy, int w, int bias, int dx)
{
    const bool depthwise = is_depthwise(p) && epl_has_kernel(b, "dwconv_dx");
    const size_t packed  = (size_t)epl_conv_dx_packed_floats(p, b->program->kernels->vector) * sizeof(float);
    const int  weight    = depthwise ? w : epl_pack(b, n, "conv_dx_pack", p, sizeof *p, w, packed);
    return epl_kernel_add(b, n, depthwise ? "dwconv_dx" : "conv_dx", p, sizeof *p, 3, (int[]){ dy, weight, bias }, 1, &dx) != NULL;
}

/* Without strides it is a convolution of dy with the kernel turned around. */
static epl_nm_pack_params turned(const epl_conv_params *p)
{
    epl_nm_pack_params t = { .conv = *p, .position_stride = -p->c * p->m, .channel_stride = 1, .out_stride = p->m };
    t.base = (p->kd * p->kh * p->kw - 1) * p->c * p->m;
    t.conv.d = p->od, t.conv.h = p->oh, t.conv.w = p->ow, t.conv.c = p->m;
    t.conv.od = p->d, t.conv.oh = p->h, t.conv.ow = p->w, t.conv.m = p->c;
    t.conv.pd = p->dd * (p->kd - 1) - p->pd, t.conv.ph = p->dh * (p->kh - 1) - p->ph, t.conv.pw = p->dw * (p->kw - 1) - p->pw;
    return t;
}

bool epl_lower_conv_input_grad(epl_block *b, const epl_node *n, const char **why)
{
    if (!all_f32(n, why))
        return false;
    const epl_conv_params p = conv_params(n, n->outputs[0]->shape, n->inputs[1]->shape, n->inputs[0]->shape);
    const epl_nm_pack_params nm = turned(&p);
    const bool turns = p.sd * p.sh * p.sw == 1 && nm.conv.pd >= 0 && nm.conv.ph >= 0 && nm.conv.pw >= 0;
    const int dy = epl_buffer_of(b, n->inputs[0]), dx = epl_buffer_of(b, n->outputs[0]);
    if (turns && (epl_lower_sparse(b, n, &nm, dy, n->inputs[1], -1, dx) || epl_lower_nm(b, n, &nm, dy, n->inputs[1], -1, -1, dx)))
        return true;
    return input_grad(b, n, &p, epl_buffer_of(b, n->inputs[0]), epl_buffer_of(b, n->inputs[1]), -1,
                      epl_buffer_of(b, n->outputs[0]));
}

bool epl_lower_conv_transpose(epl_block *b, const epl_node *n, const char **why)
{
    if (!all_f32(n, why))
        return false;
    const epl_conv_params p = conv_params(n, n->outputs[0]->shape, n->inputs[1]->shape, n->inputs[0]->shape);
    return input_grad(b, n, &p, epl_buffer_of(b, n->inputs[0]), epl_buffer_of(b, n->inputs[1]),
                      n->n_inputs > 2 ? epl_buffer_of(b, n->inputs[2]) : -1, epl_buffer_of(b, n->outputs[0]));
}

bool epl_lower_conv_weight_grad(epl_block *b, const epl_node *n, const char **why)
{
    if (!all_f32(n, why))
        return false;
    const epl_conv_params p = conv_params(n, n->inputs[0]->shape, n->outputs[0]->shape, n->inputs[1]->shape);
    const bool    depthwise = is_depthwise(&p) && epl_has_kernel(b, "dwconv_dw");
    const char   *kernel    = depthwise ? "dwconv_dw" : "conv_dw";
    const int64_t splits    = depthwise ? epl_dwconv_dw_splits(&p) : epl_conv_dw_splits(&p);
    const int     in[2]     = { epl_buffer_of(b, n->inputs[0]), epl_buffer_of(b, n->inputs[1]) };
    const int     dw        = epl_buffer_of(b, n->outputs[0]);
    if (splits == 1)
        return epl_kernel_add(b, n, kernel, &p, sizeof p, 2, in, 1, &dw) != NULL;
    const epl_sum_parts_params sum = { splits, epl_shape_count(n->outputs[0]->shape) };
    const int parts = epl_buffer_new(b, (size_t)(sum.parts * sum.count) * sizeof(float));
    return epl_kernel_add(b, n, kernel, &p, sizeof p, 2, in, 1, &parts) &&
           epl_kernel_add(b, n, "sum_parts", &sum, sizeof sum, 1, &parts, 1, &dw);
}

bool epl_lower_gated_conv(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape;
    if (!all_f32(n, why))
        return false;
    if (x.dim[0] != 1) {
        *why = "channels are skipped for one sample at a time";
        return false;
    }
    epl_gated_params p = { .conv = { .n = 1 }, .relu = epl_attr_i(n, "relu") };
    const epl_shape  w = n->inputs[1]->shape, y = n->outputs[0]->shape;
    p.conv = epl_conv_geometry(n, x, w, y, 1);
    const int mask = epl_buffer_of(b, n->inputs[2]), bias = n->n_inputs > 3 ? epl_buffer_of(b, n->inputs[3]) : -1;
    const int in_mask = n->n_inputs > 4 ? epl_buffer_of(b, n->inputs[4]) : -1, out = epl_buffer_of(b, n->outputs[0]);
    const int in[4]   = { epl_buffer_of(b, n->inputs[0]), epl_buffer_of(b, n->inputs[1]), mask, in_mask };
    const int packed  = epl_buffer_new(b, (size_t)epl_gate_layout_of(&p.conv).size * sizeof(float));
    epl_step *s = epl_kernel_add(b, n, "gate_pack", &p, sizeof p, 4, in, 1, &packed)
                      ? epl_kernel_add(b, n, "gated_conv", &p, sizeof p, 3, (int[]){ packed, bias, mask }, 1, &out) : NULL;
    if (s)
        s->gated = true;
    return s != NULL;
}
