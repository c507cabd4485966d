/* lower_nm: convolutions and linear layers of a training step whose weights are the n largest of every m, on the sparse kernel.
 * The weights change, so their lists are made in every step. */
#include "program/lower.h"

#include "kernels/sparse_layout.h"

/* The KeepLargest whose result w is, if it chooses among the channels along `axis`; else NULL. */
static const epl_node *chosen_along(const epl_value *w, int axis)
{
    const epl_node *n = epl_source_of(w)->producer;
    if (!EPL_IS(n, keep_largest))
        return NULL;
    const int rank = n->outputs[0]->shape.rank, along = (int)epl_attr_i(n, "axis");
    return (along < 0 ? along : along - rank) == axis ? n : NULL;
}

/* Against the dense kernel, whose multiply-adds fill their vectors with channels. A weight takes as long to pack as
 * five multiply-adds of a vector. */
static bool is_worth_it(const epl_nm_pack_params *pack, int64_t vector)
{
    const epl_conv_params  *p = &pack->conv;
    const epl_sparse_layout l = epl_sparse_layout_of(p, vector);
    const double taps = (double)(p->kd * p->kh * p->kw * p->c), pixels = (double)(p->n * p->od * p->oh * p->ow);
    const double nnz = taps * (double)p->m * (double)pack->n / (double)pack->m;
    return epl_sparse_cost(p, &l, vector, nnz, 1) + 5 * taps * (double)p->m < 0.9 * taps * pixels * (double)((p->m + vector - 1) / vector);
}

bool epl_lower_nm(epl_block *b, const epl_node *n, const epl_nm_pack_params *pack, int x, const epl_value *w, int axis, int bias, int y)
{
    const epl_node    *from = chosen_along(w, axis);
    const epl_conv_params *p = &pack->conv;
    epl_nm_pack_params own = *pack;
    if (!from || p->groups != 1 || b->program->opts.frozen || p->n * p->od * p->oh * p->ow == 0 ||
        p->kd * p->kh * p->kw * p->c * p->m > INT32_MAX / 4 || !epl_has_kernel(b, "sparse_conv"))
        return false;
    own.n = epl_attr_i(from, "n");
    own.m = epl_attr_i(from, "m");
    if (own.n == own.m || !is_worth_it(&own, b->program->kernels->vector))
        return false;
    const int in = epl_buffer_of(b, w), packed = epl_buffer_new(b, (size_t)epl_nm_packed_size(&own, b->program->kernels->vector) * 4);
    return epl_kernel_add(b, n, "nm_pack", &own, sizeof own, 1, &in, 1, &packed) &&
           epl_kernel_add(b, n, "sparse_conv", p, sizeof *p, 3, (int[]){ x, packed, bias }, 1, &y);
}
