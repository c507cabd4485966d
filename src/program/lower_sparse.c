/* lower_sparse: convolutions and linear layers whose weights are known and mostly zero, on the sparse kernel. The weights may be
 * an expression of parameters and states, such as a mask times a weight: it is evaluated to see what is zero. The lists of
 * non-zeros are made once; the program has room for some more than there are when it is made. */
#include "program/lower.h"

#include "kernels/sparse_layout.h"

#include <stddef.h>

typedef struct known { /* a value that stays as it is; `own` where it had to be computed */
    const epl_tensor *value;
    epl_tensor       *own;
} known;

const epl_buffer *epl_seen_buffer(const epl_block *b, int buffer)
{
    const epl_buffer *f = &b->buffers[buffer];
    return f->place == EPL_PLACE_PARENT ? epl_seen_buffer(b->parent, (int)f->offset) : f;
}

/* What a region's input stands for; what a loop carries is itself. */
static const epl_value *outside(const epl_value *v)
{
    const epl_graph *g = v->producer->graph;
    if (!EPL_IS(v->producer, input) || !g->owner)
        return v;
    int i = 0;
    while (epl_graph_input_at(g, i) != v)
        i++;
    if (EPL_IS(g->owner, loop))
        return i - 2 < epl_attr_i(g->owner, "n_carried") ? v : outside(g->owner->inputs[i - 1]);
    return EPL_IS(g->owner, fused) ? outside(g->owner->inputs[i]) :
           EPL_IS(g->owner, if) || EPL_IS(g->owner, switch) ? outside(g->owner->inputs[i + 1]) : v;
}

/* What a fused node's result is, inside. */
static const epl_value *inside(const epl_value *v)
{
    return EPL_IS(v->producer, fused) ? inside(epl_graph_output_at(v->producer->regions[0], v->index)) : v;
}

const epl_value *epl_source_of(const epl_value *v) { return inside(outside(v)); }

/* A parameter, state or constant that nothing updates: its tensor. */
static const epl_tensor *stored(const epl_program *p, const epl_value *v)
{
    if (EPL_IS(v->producer, constant))
        return v->producer->attrs[0].tensor;
    if (!EPL_IS(v->producer, parameter) && !EPL_IS(v->producer, state))
        return NULL;
    for (size_t i = 0; i < v->n_uses; i++)
        if (EPL_IS(v->uses[i].node, update) && v->uses[i].input == 0)
            return NULL;
    return epl_weights_find(p->weights, epl_value_name(v));
}

static bool can_evaluate(const epl_node *n)
{
    return n->op->ref && n->n_outputs == 1 && n->n_inputs > 0 && n->n_inputs <= 4 && !n->n_regions &&
           !(n->op->flags & (EPL_OP_RANDOM | EPL_OP_SINK | EPL_OP_SOURCE));
}

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
    const epl_tensor *t = stored(p, v);
    if (t && epl_shape_count(v->shape) == count)
        *sparse = *sparse || 2 * count_nonzeros(t) <= count;
    if (t)
        return true;
    *sparse = *sparse || (EPL_IS(v->producer, keep_largest) && epl_attr_i(v->producer, "n") < epl_attr_i(v->producer, "m"));
    if (depth == 0 || !can_evaluate(v->producer))
        return false;
    for (int i = 0; i < v->producer->n_inputs; i++)
        if (v->producer->inputs[i] && !may_be_sparse(p, v->producer->inputs[i], count, depth - 1, sparse))
            return false;
    return true;
}

/* The value of an expression that may_be_sparse has looked through. */
static known evaluate(const epl_program *p, const epl_value *v)
{
    v = epl_source_of(v);
    known k = { stored(p, v), NULL }, in[4] = { { NULL, NULL } };
    if (k.value)
        return k;
    const epl_tensor *values[4] = { NULL };
    bool ok = true;
    for (int i = 0; i < v->producer->n_inputs; i++) {
        in[i] = v->producer->inputs[i] ? evaluate(p, v->producer->inputs[i]) : in[i];
        values[i] = in[i].value;
        ok = ok && (values[i] || !v->producer->inputs[i]);
    }
    k.own = ok ? epl_tensor_new(p->ctx, v->dtype, v->shape) : NULL;
    if (k.own && epl_evaluate_node(v->producer, values, &k.own))
        k.value = k.own;
    for (int i = 0; i < v->producer->n_inputs; i++)
        epl_tensor_free(in[i].own);
    return k;
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

/* `pack` with its capacity, if the sparse kernel is the faster one. */
static bool choose(epl_block *b, const epl_conv_params *p, const epl_value *w, epl_sparse_pack_params *pack)
{
    const epl_program *program = b->program;
    const int64_t count = p->kd * p->kh * p->kw * p->c * p->m;
    bool sparse = false;
    if (!program->opts.sparse || !program->opts.frozen || p->groups != 1 || count == 0 || count > INT32_MAX / 4 ||
        epl_shape_count(w->shape) != count || w->dtype != EPL_F32 || !epl_has_kernel(b, "sparse_conv") ||
        !may_be_sparse(program, w, count, 8, &sparse) || !sparse)
        return false;
    const known k = evaluate(program, w);
    int64_t rows = 1, size = k.value ? packed_size(program, pack, k.value->data, &rows) : 0;
    const epl_sparse_layout l = epl_sparse_layout_of(p, program->kernels->vector);
    if (size > 0 && !epl_sparse_pays(p, &l, program->kernels->vector, (double)count_nonzeros(k.value), rows))
        size = 0;
    pack->capacity = size + size / 8;
    epl_tensor_free(k.own);
    return size > 0;
}

bool epl_lower_sparse(epl_block *b, const epl_node *n, const epl_conv_params *p, int x, const epl_value *w, bool transposed, int bias, int y)
{
    const int64_t taps = p->kd * p->kh * p->kw * p->c;
    epl_sparse_pack_params pack = { *p, transposed ? 1 : p->m, transposed ? taps : 1, 1 };
    const int in = epl_buffer_of(b, w);
    int packed = epl_has_kernel(b, "sparse_pack") ? epl_packed(b, "sparse_pack", &pack, offsetof(epl_sparse_pack_params, capacity), in) : -1;
    if (packed < 0 && !choose(b, p, w, &pack))
        return false;
    packed = packed < 0 ? epl_pack(b, n, "sparse_pack", &pack, sizeof pack, in, (size_t)pack.capacity * 4) : packed;
    return packed >= 0 &&
           epl_kernel_add(b, n, "sparse_conv", p, sizeof *p, 3, (int[]){ x, packed, bias }, 1, &y);
}

static bool fits(const epl_block *b)
{
    for (size_t k = 0; k < b->n_steps; k++) {
        const epl_step *s = &b->steps[k];
        for (int r = 0; s->blocks && r < s->node->n_regions; r++)
            if (!fits(s->blocks[r]))
                return false;
        if (s->kind != EPL_STEP_KERNEL || strcmp(s->kernel->name, "sparse_pack") != 0)
            continue;
        const epl_sparse_pack_params *pack = s->params;
        const int32_t size = *(const int32_t *)s->call.out[0];
        if (size > pack->capacity)
            return epl_fail(b->program->ctx, EPL_ERR_LIMIT,
                            "%s %s: the weights that are not zero take %lld bytes, the program was made for %lld: make it anew",
                            s->node->op->name, s->node->scope, 4LL * size, 4LL * (long long)pack->capacity);
    }
    return true;
}

/* After weights that were changed from outside have been packed anew. */
bool epl_sparse_weights_fit(const epl_program *p) { return fits(p->root); }
