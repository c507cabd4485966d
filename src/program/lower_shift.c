/* lower_shift: convolutions and linear layers whose weights are known and powers of two, on the kernel that does not multiply.
 * Whatever made them (codes, a channel's scale, a folded normalisation): the values decide. */
#include "program/lower.h"

#include <math.h>

/* Every channel has a factor: none is NaN. */
static bool has_factors(const float *factors, int64_t m)
{
    bool all = true;
    for (int64_t j = 0; j < m; j++)
        all = all && !isnan(factors[j]);
    return all;
}

static bool are_powers(const epl_program *p, const epl_shift_pack_params *pack, const float *w)
{
    const epl_kernel *k = epl_kernel_find(p->kernels, "shift_pack");
    void *packed = epl_alloc_aligned(p->ctx, epl_shift_conv_bytes(&pack->conv, p->kernels->vector) + 64);
    if (packed)
        k->run(&(epl_call){ .in = { w }, .out = { packed }, .params = pack }, 0, k->pieces(pack), NULL);
    const bool powers = packed && has_factors(packed, pack->conv.m);
    epl_release_aligned(p->ctx, packed);
    return powers;
}

static bool is_shift(epl_block *b, const epl_shift_pack_params *pack, const epl_value *w)
{
    const epl_program *p = b->program;
    const int64_t count = epl_shift_depth(&pack->conv) * pack->conv.m;
    if (!p->opts.shifts || !p->opts.frozen || count == 0 || epl_shape_count(w->shape) != count || w->dtype != EPL_F32 ||
        !epl_has_kernel(b, "shift_conv") || !epl_is_known(p, w, 16))
        return false;
    epl_tensor       *own = NULL;
    const epl_tensor *value = epl_evaluate_known(p, w, &own);
    const bool powers = value && are_powers(p, pack, value->data);
    epl_tensor_free(own);
    return powers;
}

bool epl_lower_shift(epl_block *b, const epl_node *n, const epl_shift_pack_params *pack, int x, const epl_value *w, int bias, int y)
{
    const epl_conv_params *p = &pack->conv;
    if (!is_shift(b, pack, w))
        return false;
    const int packed = epl_pack(b, n, "shift_pack", pack, sizeof *pack, epl_buffer_of(b, w),
                                epl_shift_conv_bytes(p, b->program->kernels->vector));
    return packed >= 0 && epl_kernel_add(b, n, "shift_conv", p, sizeof *p, 3, (int[]){ x, packed, bias }, 1, &y);
}

bool epl_shift_weights_fit(const epl_step *s)
{
    const epl_shift_pack_params *pack = s->params;
    return has_factors(s->call.out[0], pack->conv.m) ||
           epl_fail(epl_graph_context(s->node->graph), EPL_ERR_ARGUMENT,
                    "%s %s: the weights are no powers of two any more: make the program anew", s->node->op->name,
                    s->node->scope);
}
