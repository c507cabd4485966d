/* node: what an adapter asks of the node that it imports, beside its inputs - values that are known now, attributes,
 * axes, and the order of channels. */
#include "onnx/importer.h"

#include <string.h>

/* ---- values that are known now ----------------------------------------------------------------------------------- */
const epl_tensor *onnx_known_if(onnx_node *n, int i, bool inputs_too)
{
    epl_value *v = onnx_in(n, i);
    return v ? onnx_evaluate(n->imp, v, inputs_too) : NULL;
}

const epl_tensor *onnx_known(onnx_node *n, int i, const char *what)
{
    if (!onnx_has(n, i)) {
        onnx_fail(n, EPL_ERR_FORMAT, "input %d, %s, is missing", i, what);
        return NULL;
    }
    const epl_tensor *t = onnx_known_if(n, i, true);
    if (!t)
        onnx_unsupported(n, "%s ('%.100s') must be known when the network is imported; it computes that from its inputs, whose values "
                         "may be given", what, n->proto->input[i]);
    return t;
}

const epl_tensor *onnx_evaluate_value(onnx_node *n, epl_value *v) { return onnx_evaluate(n->imp, v, true); }

const epl_tensor *onnx_one(onnx_node *n, int i, const char *what)
{
    const epl_tensor *t = onnx_known(n, i, what);
    if (!t || epl_tensor_count(t) == 1)
        return t;
    onnx_fail(n, EPL_ERR_SHAPE, "%s should be one number, not %lld", what, (long long)epl_tensor_count(t));
    return NULL;
}

const epl_tensor *onnx_one_if(onnx_node *n, int i, bool inputs_too)
{
    const epl_tensor *t = onnx_known_if(n, i, inputs_too);
    return t && epl_tensor_count(t) == 1 ? t : NULL;
}

int onnx_known_ints(onnx_node *n, int i, const char *what, int64_t *out, int max)
{
    const epl_tensor *t = onnx_known(n, i, what);
    if (!t)
        return -1;
    const int64_t count = epl_tensor_count(t);
    if (t->shape.rank > 1 || count > max || epl_dtype_is_float(t->dtype)) {
        onnx_fail(n, EPL_ERR_SHAPE, "%s should be at most %d integers", what, max);
        return -1;
    }
    for (int64_t k = 0; k < count; k++)
        out[k] = epl_tensor_get_i64(t, k);
    return (int)count;
}

bool onnx_known_real(onnx_node *n, int i, const char *what, double *out)
{
    const epl_tensor *t = onnx_one(n, i, what);
    if (t)
        *out = epl_tensor_get(t, 0);
    return t != NULL;
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */
static const Onnx__AttributeProto *find_attr(const Onnx__NodeProto *p, const char *name, uint64_t *seen)
{
    for (size_t i = 0; i < p->n_attribute; i++)
        if (p->attribute[i]->name && strcmp(p->attribute[i]->name, name) == 0) {
            if (i < 64)
                *seen |= 1ull << i;
            return p->attribute[i];
        }
    return NULL;
}

/* An attribute of the node; one that refers to an attribute of the function around it is looked up there. */
static const Onnx__AttributeProto *attr_of(onnx_node *n, const char *name)
{
    const Onnx__AttributeProto *a = find_attr(n->proto, name, &n->seen_attrs);
    for (const onnx_scope *s = n->scope; a && a->ref_attr_name && *a->ref_attr_name && s; s = s->parent)
        if (s->call) {
            uint64_t ignored = 0;
            return find_attr(s->call, a->ref_attr_name, &ignored);
        }
    return a;
}

/* Of that type; older files leave the type out. */
static const Onnx__AttributeProto *typed(onnx_node *n, const char *name, int type)
{
    const Onnx__AttributeProto *a = attr_of(n, name);
    if (a && a->has_type && (int)a->type != type && (int)a->type != 0) {
        onnx_fail(n, EPL_ERR_FORMAT, "attribute '%s' is of type %d, %d is expected", name, (int)a->type, type);
        return NULL;
    }
    return a;
}

bool onnx_has_attr(onnx_node *n, const char *name) { return attr_of(n, name) != NULL; }

int64_t onnx_int(onnx_node *n, const char *name, int64_t otherwise)
{
    const Onnx__AttributeProto *a = typed(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    return a ? a->i : otherwise;
}

double onnx_real(onnx_node *n, const char *name, double otherwise)
{
    const Onnx__AttributeProto *a = typed(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    return a ? (double)a->f : otherwise;
}

const char *onnx_text(onnx_node *n, const char *name, const char *otherwise)
{
    const Onnx__AttributeProto *a = typed(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    if (!a)
        return otherwise;
    char *copy = epl_arena_alloc(n->imp->arena, a->s.len + 1); // bytes in the file have no terminator
    if (copy && a->s.len)
        memcpy(copy, a->s.data, a->s.len);
    return copy ? copy : otherwise;
}

int onnx_ints(onnx_node *n, const char *name, int64_t *out, int max)
{
    const Onnx__AttributeProto *a = typed(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    if (!a)
        return -1;
    if (a->n_ints > (size_t)max) {
        onnx_fail(n, EPL_ERR_UNSUPPORTED, "attribute '%s' has %zu numbers, at most %d are possible", name, a->n_ints, max);
        return -1;
    }
    for (size_t i = 0; i < a->n_ints; i++)
        out[i] = a->ints[i];
    return (int)a->n_ints;
}

int onnx_reals(onnx_node *n, const char *name, double *out, int max)
{
    const Onnx__AttributeProto *a = typed(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS);
    if (!a)
        return -1;
    if (a->n_floats > (size_t)max) {
        onnx_fail(n, EPL_ERR_UNSUPPORTED, "attribute '%s' has %zu numbers, at most %d are possible", name, a->n_floats, max);
        return -1;
    }
    for (size_t i = 0; i < a->n_floats; i++)
        out[i] = (double)a->floats[i];
    return (int)a->n_floats;
}

const char *onnx_strings(onnx_node *n, const char *name, int i)
{
    const Onnx__AttributeProto *a = typed(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS);
    if (!a || (size_t)i >= a->n_strings)
        return NULL;
    char *copy = epl_arena_alloc(n->imp->arena, a->strings[i].len + 1);
    if (copy && a->strings[i].len)
        memcpy(copy, a->strings[i].data, a->strings[i].len);
    return copy;
}

const Onnx__TensorProto *onnx_tensor_attr(onnx_node *n, const char *name)
{
    const Onnx__AttributeProto *a = typed(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR);
    return a ? a->t : NULL;
}

const Onnx__GraphProto *onnx_graph_attr(onnx_node *n, const char *name)
{
    const Onnx__AttributeProto *a = typed(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH);
    if (!a || !a->g) {
        onnx_fail(n, EPL_ERR_FORMAT, "the sub-graph '%s' is missing", name);
        return NULL;
    }
    return a->g;
}

bool onnx_axis(onnx_node *n, int64_t axis, int rank, int *out)
{
    if (axis < -rank || axis >= rank)
        return onnx_fail(n, EPL_ERR_SHAPE, "axis %lld is outside a tensor of %d axes", (long long)axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return true;
}

/* ---- small helpers ----------------------------------------------------------------------------------------------- */
bool onnx_set(onnx_node *n, epl_value *v)
{
    n->out[0] = v;
    return v != NULL;
}

epl_value *onnx_scalar_like(onnx_node *n, epl_value *like, double x) { return like ? epl_scalar(n->g, like->dtype, x) : NULL; }

epl_value *onnx_to_channels_last(onnx_node *n, epl_value *x)
{
    const int rank = epl_rank(x);
    if (!x || rank < 3)
        return x;
    epl_shape perm = { .rank = rank, .dim = { 0 } };
    for (int i = 1; i < rank - 1; i++)
        perm.dim[i] = i + 1;
    perm.dim[rank - 1] = 1;
    n->imp->turned++;
    return epl_permute(n->g, x, perm);
}

epl_value *onnx_to_channels_first(onnx_node *n, epl_value *x)
{
    const int rank = epl_rank(x);
    if (!x || rank < 3)
        return x;
    epl_shape perm = { .rank = rank, .dim = { 0, rank - 1 } };
    for (int i = 2; i < rank; i++)
        perm.dim[i] = i - 1;
    n->imp->turned++;
    return epl_permute(n->g, x, perm);
}
