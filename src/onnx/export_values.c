/* export_values: the forms of a value in a file being written - plain and channels first - and initialisers. */
#include "onnx/export.h"
#include "tensor/permute.h"

#include <stdio.h>
#include <string.h>

enum { CONSTANT_NODE_MOST = 4096 };

/* [N, S..., C] to [N, C, S...], or back. */
static epl_shape perm_between(int rank, bool to_first)
{
    epl_shape p = { .rank = rank };
    for (int i = 1; i < rank; i++)
        p.dim[i] = to_first ? (i == 1 ? rank - 1 : i - 1) : (i == rank - 1 ? 1 : i + 1);
    return p;
}

int64_t onnx_axis_first(int64_t axis, int rank)
{
    axis = axis < 0 ? axis + rank : axis;
    return rank < 3 || axis == 0 ? axis : axis == rank - 1 ? 1 : axis + 1;
}

static bool is_identity(epl_shape perm)
{
    for (int i = 0; i < perm.rank; i++)
        if (perm.dim[i] != i)
            return false;
    return true;
}

bool onnx_is_leaf(const epl_value *v)
{
    return onnx_at(v)->captured || EPL_IS(v->producer, parameter) || EPL_IS(v->producer, state) || EPL_IS(v->producer, constant);
}

bool onnx_is_first(const epl_value *v) { return onnx_at(v)->first && !onnx_at(v)->plain; }

/* ---- initialisers ------------------------------------------------------------------------------------------------ */
static Onnx__TensorProto *tensor_proto(onnx_export *x, const char *name, const epl_tensor *t)
{
    Onnx__TensorProto *p = onnx_alloc(x, sizeof *p);
    if (!p || !name)
        return NULL;
    onnx__tensor_proto__init(p);
    p->name          = (char *)(uintptr_t)name;
    p->has_data_type = true;
    p->data_type     = onnx_data_type(t->dtype);
    p->n_dims        = (size_t)t->shape.rank;
    p->dims          = epl_arena_copy(x->arena, t->shape.dim, sizeof t->shape.dim);
    p->has_raw_data  = true;
    p->raw_data      = (ProtobufCBinaryData){ epl_tensor_bytes(t), t->data };
    return p;
}

const char *onnx_store(onnx_export *x, const char *name, const epl_tensor *t)
{
    Onnx__TensorProto *p = tensor_proto(x, name, t);
    return p && onnx_push(x, &x->main->initializer, &x->main->n_initializer, p) ? name : NULL;
}

/* Initialisers come back as weights, so a constant of several real numbers is a node of the main graph, which all others see. */
static bool is_constant_node(const epl_tensor *t)
{
    return epl_dtype_is_float(t->dtype) && epl_tensor_count(t) > 1 && epl_tensor_count(t) <= CONSTANT_NODE_MOST;
}

static const char *constant_node(onnx_export *x, const epl_node *n, const epl_tensor *t)
{
    Onnx__GraphProto *body = x->body;
    x->body = x->main;
    Onnx__NodeProto *p = onnx_begin(x, n, "Constant");
    x->body = body;
    onnx_set_tensor(x, p, "value", tensor_proto(x, "", t));
    return onnx_between(x, p);
}

/* Until the file is written. */
static const epl_tensor *keep_take(onnx_export *x, epl_tensor *t)
{
    if (t && !epl_grow(x->ctx, &x->turned, x->n_turned, &x->cap_turned, sizeof *x->turned)) {
        epl_tensor_free(t);
        return NULL;
    }
    if (t)
        x->turned[x->n_turned++] = t;
    return t;
}

static const epl_tensor *leaf_tensor(onnx_export *x, const epl_value *v)
{
    if (EPL_IS(v->producer, constant))
        return v->producer->attrs[0].tensor;
    const epl_tensor *t = x->weights ? epl_weights_find(x->weights, epl_value_name(v)) : NULL;
    char is[192], wants[192];
    if (!t)
        epl_fail(x->ctx, EPL_ERR_ARGUMENT, "the model has no weights for '%s'", epl_value_name(v));
    else if (t->dtype != v->dtype || !epl_shape_equal(t->shape, v->shape))
        epl_fail(x->ctx, EPL_ERR_SHAPE, "'%s' is %s%s in the weights, the graph says %s%s", epl_value_name(v), epl_dtype_name(t->dtype),
                 epl_shape_text(is, t->shape), epl_dtype_name(v->dtype), epl_shape_text(wants, v->shape));
    else
        return t;
    return NULL;
}

/* Keeps in mind that an initialiser is a state, or a parameter in spite of its one element. */
static void note_kind(onnx_export *x, const epl_value *v, const char *name)
{
    if (EPL_IS(v->producer, state))
        epl_text_addf(&x->states, "%s\n", name);
    else if (EPL_IS(v->producer, parameter) && epl_shape_count(v->shape) <= 1)
        epl_text_addf(&x->parameters, "%s\n", name);
}

/* A leaf seen under `shape` (its own, or with axes of size 1 in front), its axes in the order of perm. */
static const char *leaf_as(onnx_export *x, epl_value *v, epl_shape shape, epl_shape perm)
{
    v = onnx_at(v)->captured ? onnx_at(v)->captured : v;
    for (const onnx_form *f = onnx_at(v)->forms; f; f = f->next)
        if (epl_shape_equal(f->shape, shape) && epl_shape_equal(f->perm, perm))
            return f->name;
    onnx_form        *f = onnx_alloc(x, sizeof *f);
    const epl_tensor *t = f ? leaf_tensor(x, v) : NULL;
    if (!t)
        return NULL;
    *f = (onnx_form){ shape, perm, NULL, onnx_at(v)->forms };
    f->name = EPL_IS(v->producer, constant) ? onnx_unique(x, "constant_%d", v->producer->id) : onnx_unique(x, "%s", epl_value_name(v));
    onnx_at(v)->forms = f;
    note_kind(x, v, f->name);
    epl_tensor seen = *t;
    seen.shape = shape;
    if (EPL_IS(v->producer, constant) && is_identity(perm) && is_constant_node(&seen))
        return f->name = constant_node(x, v->producer, &seen);
    return is_identity(perm) ? onnx_store(x, f->name, &seen)
                             : (t = keep_take(x, epl_tensor_permuted(x->ctx, &seen, perm))) ? onnx_store(x, f->name, t) : NULL;
}

/* Constants of the exporter's own are shared by their content. */
static const char *known_const(onnx_export *x, const char *content)
{
    const epl_symbol *s = epl_symbols_find(&x->constants, content, strlen(content));
    return s ? s->value : NULL;
}

static const char *new_const(onnx_export *x, const char *content, const epl_tensor *t)
{
    const char *name = onnx_unique(x, "%s", content);
    char       *key = epl_arena_strdup(x->arena, content);
    if (!name || !key || !epl_symbols_put(x->ctx, &x->constants, key, strlen(key), (void *)(uintptr_t)name))
        return NULL;
    return onnx_store(x, name, t);
}

const char *onnx_const_ints(onnx_export *x, int n, const int64_t *list)
{
    char   name[640];
    size_t at = (size_t)snprintf(name, sizeof name, "i64[");
    for (int i = 0; i < n && at < sizeof name - 32; i++)
        at += (size_t)snprintf(name + at, sizeof name - at, "%s%lld", i ? "," : "", (long long)list[i]);
    snprintf(name + at, sizeof name - at, "]");
    const char *known = known_const(x, name);
    if (known)
        return known;
    epl_tensor t = { .dtype = EPL_I64, .shape = EPL_SHAPE(n), .data = epl_arena_copy(x->arena, list, (size_t)n * sizeof *list) };
    return t.data ? new_const(x, name, &t) : NULL;
}

const char *onnx_const_like(onnx_export *x, epl_dtype dtype, double value, epl_shape shape)
{
    char name[320], number[32], text[192];
    epl_format_f64(number, value);
    snprintf(name, sizeof name, "%s:%s%s", epl_dtype_name(dtype), number, epl_shape_text(text, shape));
    const char *known = known_const(x, name);
    if (known)
        return known;
    epl_tensor *t = epl_tensor_new(x->ctx, dtype, shape);
    if (!keep_take(x, t))
        return NULL;
    for (int64_t i = 0; i < epl_tensor_count(t); i++)
        epl_tensor_set(t, i, value);
    return new_const(x, name, t);
}

const char *onnx_const_int(onnx_export *x, int64_t i) { return onnx_const_like(x, EPL_I64, (double)i, EPL_SCALAR); }

/* ---- forms ------------------------------------------------------------------------------------------------------- */
static Onnx__NodeProto *transpose(onnx_export *x, const epl_node *n, const char *from, epl_shape perm)
{
    Onnx__NodeProto *p = onnx_begin(x, n, "Transpose");
    onnx_arg(x, p, from);
    onnx_set_ints(x, p, "perm", perm.rank, perm.dim);
    return p;
}

const char *onnx_plain(onnx_export *x, const epl_node *n, epl_value *v)
{
    onnx_place *at = onnx_at(v);
    if (at->plain)
        return at->plain;
    if (onnx_is_leaf(v))
        return leaf_as(x, v, v->shape, EPL_SCALAR); // no permutation: the axes as they are
    return onnx_gives(x, transpose(x, n, at->first, perm_between(v->shape.rank, false)), v, false);
}

/* [N, 1, ..., C] changes its axes by a reshape. */
static bool space_is_one(const epl_value *v)
{
    return epl_shape_count_from(v->shape, 1, v->shape.rank - 1) == 1;
}

const char *onnx_first(onnx_export *x, const epl_node *n, epl_value *v)
{
    onnx_place *at = onnx_at(v);
    const int   rank = v->shape.rank;
    if (rank < 3)
        return onnx_plain(x, n, v);
    if (at->first)
        return at->first;
    if (onnx_is_leaf(v))
        return leaf_as(x, v, v->shape, perm_between(rank, true));
    if (!space_is_one(v))
        return onnx_gives(x, transpose(x, n, onnx_plain(x, n, v), perm_between(rank, true)), v, true);
    int64_t shape[EPL_MAX_RANK] = { EPL_KEEP, epl_channels(v) };
    for (int i = 2; i < rank; i++)
        shape[i] = 1;
    Onnx__NodeProto *p = onnx_begin(x, n, "Reshape");
    onnx_arg(x, p, onnx_plain(x, n, v));
    onnx_arg(x, p, onnx_const_ints(x, rank, shape));
    return onnx_gives(x, p, v, true);
}

const char *onnx_turned(onnx_export *x, const epl_node *n, epl_value *v, epl_shape perm)
{
    if (is_identity(perm))
        return onnx_plain(x, n, v);
    return onnx_is_leaf(v) ? leaf_as(x, v, v->shape, perm) : onnx_between(x, transpose(x, n, onnx_plain(x, n, v), perm));
}

const char *onnx_operand(onnx_export *x, const epl_node *n, epl_value *v, int rank)
{
    const int lead = rank - v->shape.rank;
    if (lead == 0)
        return onnx_first(x, n, v);
    if (epl_shape_count(v->shape) == 1)
        return onnx_plain(x, n, v);
    epl_shape wide = { .rank = rank };
    int64_t   axes[EPL_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        wide.dim[i] = i < lead ? 1 : v->shape.dim[i - lead];
        axes[i]     = i;
    }
    if (onnx_is_leaf(v))
        return leaf_as(x, v, wide, perm_between(rank, true));
    const char *unsqueezed = onnx_step(x, n, "Unsqueeze", onnx_plain(x, n, v), onnx_const_ints(x, lead, axes));
    return onnx_between(x, transpose(x, n, unsqueezed, perm_between(rank, true)));
}
