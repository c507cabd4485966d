/* lower_integers: convolutions and linear layers of integers, with products, or where the program wants shifts and
 * the weights are known powers of two, by shifts and additions. */
#include "program/lower.h"

/* The convolution, or a linear layer as one of 1x1. */
static epl_integer_conv_params params_of(const epl_node *n)
{
    const epl_value *x = n->inputs[0], *w = n->inputs[1], *y = n->outputs[0];
    epl_integer_conv_params p = { .x_unsigned = x->dtype == EPL_U8, .w_wide = w->dtype == EPL_I16 };
    if (w->shape.rank > 2) {
        p.conv = epl_conv_geometry(n, x->shape, w->shape, y->shape, epl_attr_i(n, "group"));
    } else {
        const int64_t m = epl_channels(y), rows = epl_shape_count_from(y->shape, 0, y->shape.rank - 1);
        p.conv = (epl_conv_params){ .n = rows, .d = 1, .h = 1, .w = 1, .c = epl_channels(x), .od = 1, .oh = 1, .ow = 1, .m = m, .kd = 1,
                                    .kh = 1, .kw = 1, .sd = 1, .sh = 1, .sw = 1, .dd = 1, .dh = 1, .dw = 1, .groups = 1 };
    }
    return p;
}

/* The bits that the codes of these weights need; 0 if some are no powers of two up to 128. */
static int64_t bits_of(const epl_tensor *w)
{
    int64_t bits = 2;
    for (int64_t i = 0; i < epl_tensor_count(w); i++) {
        const int64_t v = (int64_t)epl_tensor_get(w, i), a = v < 0 ? -v : v;
        if (a == 0 || a > 128 || (a & (a - 1)))
            return 0;
        bits = a > 8 ? 4 : a > 2 && bits < 3 ? 3 : bits;
    }
    return bits;
}

static int64_t known_bits(epl_block *b, const epl_value *w)
{
    const epl_program *p = b->program;
    if (!p->opts.shifts || !p->opts.frozen || !epl_has_kernel(b, "shift_add") || epl_shape_count(w->shape) == 0 || !epl_is_known(p, w, 16))
        return 0;
    epl_tensor       *own = NULL;
    const epl_tensor *value = epl_evaluate_known(p, w, &own);
    const int64_t     bits = value ? bits_of(value) : 0;
    epl_tensor_free(own);
    return bits;
}

bool epl_lower_integer_conv(epl_block *b, const epl_node *n, const char **why)
{
    epl_integer_conv_params p = params_of(n);
    if (n->outputs[0]->dtype != EPL_F32) {
        *why = "fast sums of integers are scaled in f32";
        return false;
    }
    p.bits = known_bits(b, n->inputs[1]);
    const int x = epl_buffer_of(b, n->inputs[0]), w = epl_buffer_of(b, n->inputs[1]), scale = epl_buffer_of(b, n->inputs[2]);
    const int bias = n->n_inputs > 3 ? epl_buffer_of(b, n->inputs[3]) : -1, y = epl_buffer_of(b, n->outputs[0]);
    const size_t bytes = p.bits ? epl_shift_add_bytes(&p) : epl_integer_packed_bytes(&p, b->program->kernels->vector);
    const int packed = epl_pack(b, n, p.bits ? "shift_add_pack" : "integer_pack", &p, sizeof p, w, bytes);
    return packed >= 0 && epl_kernel_add(b, n, p.bits ? "shift_add" : "integer_conv", &p, sizeof p, 4,
                                         (int[]){ x, packed, scale, bias }, 1, &y);
}

bool epl_shift_add_weights_fit(const epl_step *s)
{
    int32_t misfits;
    memcpy(&misfits, (const char *)s->call.out[0] + epl_shift_add_code_bytes(s->params), sizeof misfits);
    return misfits == 0 || epl_fail(epl_graph_context(s->node->graph), EPL_ERR_ARGUMENT,
                                    "%s %s: the weights are no powers of two any more, or larger than before: make the program anew",
                                    s->node->op->name, s->node->scope);
}
