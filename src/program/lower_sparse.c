/* lower_sparse: convolutions and linear layers whose weights are known and mostly zero, on the sparse kernel. The
 * weights may be an expression of parameters and states, such as a mask times a weight: it is evaluated to see what
 * is zero. The lists of non-zeros are made once; the program has room for some more than there are when it is made.
 * In training steps weights change, but where their masks are sparse they are, too: their lists are made in every
 * step, with room for all weights, since masks may move. */
#include "program/lower.h"

#include "kernels/sparse_layout.h"

#include <stddef.h>

static int64_t count_nonzeros(const epl_tensor *t)
{
    const int64_t count = epl_tensor_count(t);
    const float  *w     = t->dtype == EPL_F32 ? t->data : NULL;
    int64_t       n     = 0;
    for (int64_t i = 0; i < count; i++)
        n += w ? w[i] != 0 : epl_tensor_get(t, i) != 0;
    return n;
}

/* Is an expression of stored tensors alone, of which one of `count` elements is mostly zero? `depth` bounds the search. */
static bool may_be_sparse(const epl_program *p, const epl_value *v, int64_t count, int depth, bool *sparse)
{
    v = epl_source_of(v);
    const epl_tensor *t = epl_stored(p, v);
    if (t && epl_shape_count(v->shape) == count)
        *sparse = *sparse || 2 * count_nonzeros(t) <= count;
    if (t)
        return true;
    *sparse = *sparse || EPL_IS(v->producer, unpack_nm) || (EPL_IS(v->producer, keep_largest) && epl_attr_i(v->producer, "n") < epl_attr_i(v->producer, "m"));
    if (depth == 0 || !epl_can_evaluate(v->producer))
        return false;
    for (int i = 0; i < v->producer->n_inputs; i++)
        if (v->producer->inputs[i] && !may_be_sparse(p, v->producer->inputs[i], count, depth - 1, sparse))
            return false;
    return true;
}

/* The units that these weights take when packed, and how many channels share their places; 0 without memory. */
static int64_t packed_size(const epl_program *p, const epl_sparse_pack_params *pack, const float *w, int64_t *rows)
{
    const epl_kernel *k = epl_kernel_find(p->kernels, "sparse_pack");
    int32_t size[2] = { 0 };
    void   *scratch = epl_alloc_aligned(p->ctx, k->scratch(pack) + 64);
    if (scratch)
        k->run(&(epl_call){ .in = { w }, .out = { size }, .params = pack }, 0, 1, scratch);
    epl_release_aligned(p->ctx, scratch);
    *rows = size[1];
    return size[0];
}

/* The state that a weight is multiplied by, and that no node changes. */
static const epl_tensor *mask_of(const epl_program *p, const epl_value *w)
{
    const epl_node *n = epl_source_of(w)->producer;
    for (int i = 0; EPL_IS(n, mul) && i < 2; i++) {
        const epl_value  *v = epl_source_of(n->inputs[i]);
        const epl_tensor *t = EPL_IS(v->producer, state) ? epl_stored(p, v) : NULL;
        if (t && t->dtype == EPL_F32 && epl_shape_equal(t->shape, w->shape))
            return t;
    }
    return NULL;
}

/* One thread makes the lists: a weight costs it as much as this many multiply-adds of a vector. */
enum { PACKING = 100 };

static bool choose_in_steps(const epl_program *program, const epl_value *w, epl_sparse_pack_params *pack)
{
    const epl_conv_params *p = &pack->conv;
    const epl_tensor *mask = mask_of(program, w);
    const double nnz = mask ? (double)count_nonzeros(mask) : 0, taps = (double)(p->kd * p->kh * p->kw * p->c), all = taps * (double)p->m;
    int64_t rows = 1, vector = program->kernels->vector;
    if (!mask || 2 * nnz > all || packed_size(program, pack, mask->data, &rows) == 0)
        return false;
    const epl_sparse_layout  l = epl_sparse_layout_of(p, vector);
    const epl_nm_pack_params dense = { .conv = *p, .n = 1, .m = 1 };
    pack->capacity = epl_nm_packed_size(&dense, vector);
    return epl_sparse_cost(p, &l, vector, nnz, rows) + PACKING * all <
           0.8 * taps * (double)((p->m + vector - 1) / vector) * (double)(p->n * p->od * p->oh * p->ow);
}

/* `pack` with its capacity, if the sparse kernel is the faster one. */
static bool choose(epl_block *b, const epl_conv_params *p, const epl_value *w, epl_sparse_pack_params *pack)
{
    const epl_program *program = b->program;
    const int64_t count = p->kd * p->kh * p->kw * p->c * p->m;
    bool sparse = false;
    if (!program->opts.sparse || p->groups != 1 || count == 0 || count > INT32_MAX / 4 || epl_shape_count(w->shape) != count ||
        w->dtype != EPL_F32 || !epl_has_kernel(b, "sparse_conv"))
        return false;
    if (!program->opts.frozen)
        return choose_in_steps(program, w, pack);
    if (!may_be_sparse(program, w, count, 8, &sparse) || !sparse)
        return false;
    epl_tensor       *own = NULL;
    const epl_tensor *value = epl_evaluate_known(program, w, &own);
    int64_t rows = 1, size = value ? packed_size(program, pack, value->data, &rows) : 0;
    const epl_sparse_layout l = epl_sparse_layout_of(p, program->kernels->vector);
    if (size > 0 && !epl_sparse_pays(p, &l, program->kernels->vector, (double)count_nonzeros(value), rows))
        size = 0;
    pack->capacity = size + size / 8;
    epl_tensor_free(own);
    return size > 0;
}

bool epl_lower_sparse(epl_block *b, const epl_node *n, const epl_nm_pack_params *at, int x, const epl_value *w, int bias, int y)
{
    const epl_conv_params *p = &at->conv;
    epl_sparse_pack_params pack = { *p, at->base, at->position_stride, at->channel_stride, at->out_stride, 1 };
    const int in = epl_buffer_of(b, w);
    int                    packed = epl_has_kernel(b, "sparse_pack")
                                        ? epl_packed(b, "sparse_pack", &pack, offsetof(epl_sparse_pack_params, capacity), in)
                                        : -1;
    if (packed < 0 && !choose(b, p, w, &pack))
        return false;
    packed = packed < 0 ? epl_pack(b, n, "sparse_pack", &pack, sizeof pack, in, (size_t)pack.capacity * 4) : packed;
    return packed >= 0 &&
           epl_kernel_add(b, n, "sparse_conv", p, sizeof *p, 3, (int[]){ x, packed, bias }, 1, &y);
}

bool epl_sparse_lists_fit(const epl_step *s)
{
    const epl_sparse_pack_params *pack = s->params;
    const int32_t size = *(const int32_t *)s->call.out[0];
    return size <= pack->capacity ||
           epl_fail(epl_graph_context(s->node->graph), EPL_ERR_LIMIT,
                    "%s %s: the weights that are not zero take %lld bytes, the program was made for %lld: make it anew",
                    s->node->op->name, s->node->scope, 4LL * size, 4LL * (long long)pack->capacity);
}
