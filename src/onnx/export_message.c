/* export_message: the messages of a file being written - names, nodes, attributes, types. */
#include "onnx/export.h"

#include <stdio.h>
#include <string.h>

void *onnx_alloc(onnx_export *x, size_t bytes) { return epl_arena_alloc(x->arena, bytes); }

/* Lists have room for the next power of two, so that their length alone says when they are full. */
bool onnx_push(onnx_export *x, void *items, size_t *n, void *item)
{
    void **old;
    memcpy(&old, items, sizeof old);
    if ((*n & (*n - 1)) == 0) {
        void **wider = onnx_alloc(x, (*n ? 2 * *n : 1) * sizeof *wider);
        if (!wider)
            return false;
        if (*n)
            memcpy(wider, old, *n * sizeof *wider);
        memcpy(items, &wider, sizeof wider);
        old = wider;
    }
    old[(*n)++] = item;
    return true;
}

const char *onnx_unique(onnx_export *x, const char *format, ...)
{
    char    name[640];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name - 16, format, args);
    va_end(args);
    const size_t length = strlen(name);
    for (int i = 1; epl_symbols_find(&x->names, name, strlen(name)); i++)
        snprintf(name + length, 16, ".%d", i);
    char *kept = epl_arena_strdup(x->arena, name);
    return kept && epl_symbols_put(x->ctx, &x->names, kept, strlen(kept), kept) ? kept : NULL;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */
static char *text(const char *s) { return (char *)(uintptr_t)(s ? s : ""); } // protobuf-c's strings are not const

Onnx__NodeProto *onnx_begin(onnx_export *x, const epl_node *n, const char *op)
{
    Onnx__NodeProto *p = onnx_alloc(x, sizeof *p);
    if (!p)
        return NULL;
    onnx__node_proto__init(p);
    const char *scope = n->scope ? n->scope : "";
    p->op_type = text(op);
    p->name    = text(onnx_unique(x, "%s%s%s_%d", scope, *scope ? "/" : "", op, n->id));
    return onnx_push(x, &x->body->node, &x->body->n_node, p) ? p : NULL;
}

void onnx_arg(onnx_export *x, Onnx__NodeProto *p, const char *name)
{
    if (p)
        onnx_push(x, &p->input, &p->n_input, text(name));
}

static const char *add_result(onnx_export *x, Onnx__NodeProto *p, const char *name)
{
    if (!p || !name)
        return NULL;
    onnx_push(x, &p->output, &p->n_output, text(name));
    return name;
}

const char *onnx_between(onnx_export *x, Onnx__NodeProto *p)
{
    return p ? add_result(x, p, onnx_unique(x, "%s:%zu", p->name, p->n_output)) : NULL;
}

const char *onnx_gives(onnx_export *x, Onnx__NodeProto *p, epl_value *v, bool first)
{
    onnx_place *at = onnx_at(v);
    if (!first || v->shape.rank < 3)
        return at->plain = at->wanted ? add_result(x, p, at->wanted) : onnx_between(x, p);
    return at->first = onnx_between(x, p);
}

const char *onnx_step(onnx_export *x, const epl_node *n, const char *op, const char *a, const char *b)
{
    Onnx__NodeProto *p = onnx_begin(x, n, op);
    onnx_arg(x, p, a);
    if (b)
        onnx_arg(x, p, b);
    return onnx_between(x, p);
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */
static Onnx__AttributeProto *attribute(onnx_export *x, Onnx__NodeProto *p, const char *name, Onnx__AttributeProto__AttributeType type)
{
    static Onnx__AttributeProto nowhere; // written to when memory is out; the context has the error
    Onnx__AttributeProto *a = p ? onnx_alloc(x, sizeof *a) : NULL;
    if (!a)
        return &nowhere;
    onnx__attribute_proto__init(a);
    a->name     = text(name);
    a->has_type = true;
    a->type     = type;
    onnx_push(x, &p->attribute, &p->n_attribute, a);
    return a;
}

void onnx_set_int(onnx_export *x, Onnx__NodeProto *p, const char *name, int64_t i)
{
    Onnx__AttributeProto *a = attribute(x, p, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = true;
    a->i     = i;
}

void onnx_set_real(onnx_export *x, Onnx__NodeProto *p, const char *name, double r)
{
    Onnx__AttributeProto *a = attribute(x, p, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    a->has_f = true;
    a->f     = (float)r;
}

void onnx_set_ints(onnx_export *x, Onnx__NodeProto *p, const char *name, int n, const int64_t *list)
{
    Onnx__AttributeProto *a = attribute(x, p, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    a->ints   = epl_arena_copy(x->arena, list, (size_t)n * sizeof *list);
    a->n_ints = a->ints ? (size_t)n : 0;
}

void onnx_set_text(onnx_export *x, Onnx__NodeProto *p, const char *name, const char *s)
{
    Onnx__AttributeProto *a = attribute(x, p, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    a->has_s  = true;
    a->s.data = epl_arena_copy(x->arena, s, strlen(s));
    a->s.len  = a->s.data ? strlen(s) : 0;
}

void onnx_set_tensor(onnx_export *x, Onnx__NodeProto *p, const char *name, Onnx__TensorProto *t)
{
    attribute(x, p, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR)->t = t;
}

void onnx_set_graph(onnx_export *x, Onnx__NodeProto *p, const char *name, Onnx__GraphProto *g)
{
    attribute(x, p, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)->g = g;
}

/* Entry i of "a|b|c". */
static void set_choice(onnx_export *x, Onnx__NodeProto *p, const epl_attr_field *f, int64_t i)
{
    char        word[64];
    const char *s = f->choices;
    while (i-- > 0)
        s = strchr(s, '|') + 1;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(s, "|"), s);
    onnx_set_text(x, p, f->name, word);
}

void onnx_set_fields(onnx_export *x, Onnx__NodeProto *p, const epl_node *n, const char *skip)
{
    char key[64];
    for (int i = 0; i < epl_op_n_attrs(n->op); i++) {
        const epl_attr_field *f = &n->op->attrs[i];
        const epl_attr       *a = &n->attrs[i];
        snprintf(key, sizeof key, "|%s|", f->name);
        if (skip && strstr(skip, key))
            continue;
        switch (f->type) {
        case EPL_ATTR_INT:
        case EPL_ATTR_BOOL:   onnx_set_int(x, p, f->name, a->i); break;
        case EPL_ATTR_REAL:   onnx_set_real(x, p, f->name, a->r); break;
        case EPL_ATTR_CHOICE: set_choice(x, p, f, a->i); break;
        case EPL_ATTR_DTYPE:  onnx_set_int(x, p, f->name, onnx_data_type((epl_dtype)a->i)); break;
        case EPL_ATTR_INTS:
            if (a->n)
                onnx_set_ints(x, p, f->name, a->n, a->ints);
            break;
        default: break; // names, lists of reals and tensors are sources' and Resize's, which have emitters of their own
        }
    }
}

/* ---- types ------------------------------------------------------------------------------------------------------- */
int32_t onnx_data_type(epl_dtype t)
{
    static const int32_t types[EPL_N_DTYPES] = {
        [EPL_F32] = 1, [EPL_U8] = 2, [EPL_I8] = 3, [EPL_U16] = 4, [EPL_I16] = 5, [EPL_I32] = 6, [EPL_I64] = 7, [EPL_BOOL] = 9,
        [EPL_F16] = 10, [EPL_F64] = 11, [EPL_U32] = 12, [EPL_U64] = 13, [EPL_BF16] = 16,
    };
    return types[t];
}

/* The name of a dimension of an input's axis, or NULL. */
static const char *dim_name(onnx_export *x, const epl_value *v, int axis)
{
    const char *s = EPL_IS(v->producer, input) ? epl_attr_s(v->producer, "dims") : NULL;
    for (int i = 0; s && *s && i < axis; i++) {
        s = strchr(s, ',');
        s = s ? s + 1 : NULL;
    }
    if (!s || !strcspn(s, ","))
        return NULL;
    char *name = onnx_alloc(x, strcspn(s, ",") + 1);
    if (name)
        memcpy(name, s, strcspn(s, ","));
    return name;
}

/* The name of the dimension that has this size now and that size in the probe. */
static const char *name_of_size(onnx_export *x, int64_t now, int64_t then)
{
    for (int i = 0; i < epl_graph_n_inputs(x->graph); i++) {
        const epl_value *a = epl_graph_input_at(x->graph, i), *b = epl_graph_input_at(x->probe, i);
        for (int k = 0; k < a->shape.rank; k++)
            if (a->shape.dim[k] == now && b->shape.dim[k] == then && dim_name(x, a, k))
                return dim_name(x, a, k);
    }
    return NULL;
}

static void set_dim(onnx_export *x, Onnx__TensorShapeProto__Dimension *d, const epl_value *v, const epl_value *probe, int axis)
{
    const int64_t now = v->shape.dim[axis], then = probe ? probe->shape.dim[axis] : -1;
    onnx__tensor_shape_proto__dimension__init(d);
    if (now == then) {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value  = now;
        return;
    }
    const char *name = probe ? dim_name(x, v, axis) : NULL;
    if (probe && !name)
        name = name_of_size(x, now, then);
    if (name) { // else nothing is said about the size
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        d->dim_param  = text(name);
    }
}

/* Without a probe, as in a sub-graph, sizes stay open. */
Onnx__ValueInfoProto *onnx_value_info(onnx_export *x, const char *name, const epl_value *v, const epl_value *probe)
{
    struct {
        Onnx__ValueInfoProto              info;
        Onnx__TypeProto                   type;
        Onnx__TypeProto__Tensor           tensor;
        Onnx__TensorShapeProto            shape;
        Onnx__TensorShapeProto__Dimension dim[EPL_MAX_RANK], *dims[EPL_MAX_RANK];
    } *m = onnx_alloc(x, sizeof *m);
    if (!m)
        return NULL;
    onnx__value_info_proto__init(&m->info);
    onnx__type_proto__init(&m->type);
    onnx__type_proto__tensor__init(&m->tensor);
    onnx__tensor_shape_proto__init(&m->shape);
    m->info.name = text(name);
    m->info.type = &m->type;
    m->type.value_case  = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    m->type.tensor_type = &m->tensor;
    m->tensor.has_elem_type = true;
    m->tensor.elem_type     = onnx_data_type(v->dtype);
    m->tensor.shape         = &m->shape;
    m->shape.n_dim          = (size_t)v->shape.rank;
    m->shape.dim            = m->dims;
    for (int i = 0; i < v->shape.rank; i++) {
        m->dims[i] = &m->dim[i];
        set_dim(x, &m->dim[i], v, probe, i);
    }
    return &m->info;
}
