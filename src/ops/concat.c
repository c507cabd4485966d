/* concat: joining tensors along an axis, and cutting one into parts. Each is the other's gradient. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
/* Copies between one whole tensor and parts that lie behind each other along an axis of it. */
static void ref_parts(const epl_view *whole, const epl_view *parts, int64_t n_parts, int64_t axis, int join)
{
    const int64_t bytes = epl_ref_bytes(whole->dtype);
    int64_t outer = 1, inner = bytes, at = 0;
    for (int64_t i = 0; i < axis; i++)
        outer *= whole->dim[i];
    for (int64_t i = axis + 1; i < whole->rank; i++)
        inner *= whole->dim[i];
    for (int64_t p = 0; p < n_parts; p++) {
        const int64_t run = parts[p].dim[axis] * inner, row = whole->dim[axis] * inner;
        for (int64_t o = 0; o < outer && run > 0; o++) {
            char *w = (char *)whole->data + o * row + at, *part = (char *)parts[p].data + o * run;
            memcpy(join ? w : part, join ? part : w, (size_t)run);
        }
        at += run;
    }
}

static void ref_concat(const epl_ref_call *c)
{
    const int64_t axis = c->attr[0].i;
    ref_parts(&c->out[0], c->in, c->n_in, axis < 0 ? axis + c->out[0].rank : axis, 1);
}

static void ref_split(const epl_ref_call *c)
{
    const int64_t axis = c->attr[0].i;
    ref_parts(&c->in[0], c->out, c->n_out, axis < 0 ? axis + c->in[0].rank : axis, 0);
}
/* end reference */

/* ---- Concat ---- */

enum { CONCAT_AXIS };

static bool infer_concat(epl_node *n)
{
    const epl_value *first = n->inputs[0];
    epl_shape y = first->shape;
    char a[192], b[192];
    int  axis;
    if (y.rank == 0)
        return epl_node_fail(n, EPL_ERR_SHAPE, "scalars have no axis to be joined along");
    if (!epl_check_axis(n, n->attrs[CONCAT_AXIS].i, y.rank, &axis))
        return false;
    for (int i = 1; i < n->n_inputs; i++) {
        const epl_value *x = n->inputs[i];
        bool fits = x && x->shape.rank == y.rank;
        for (int k = 0; fits && k < y.rank; k++)
            fits = k == axis || x->shape.dim[k] == y.dim[k];
        if (!fits)
            return x ? epl_node_fail(n, EPL_ERR_SHAPE, "input %d is %s, which does not join %s along axis %d", i,
                                     epl_shape_text(a, x->shape), epl_shape_text(b, first->shape), axis)
                     : epl_node_fail(n, EPL_ERR_ARGUMENT, "input %d is missing", i);
        if (x->dtype != first->dtype)
            return epl_node_fail(n, EPL_ERR_DTYPE, "input %d is %s, the first is %s", i, epl_dtype_name(x->dtype),
                                 epl_dtype_name(first->dtype));
        y.dim[axis] += x->shape.dim[axis];
    }
    return epl_set_type(n, 0, first->dtype, y);
}

/* A Split whose parts are as large as the inputs were. */
static void grad_concat(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value **in = epl_alloc_array(g->ctx, (size_t)n->n_inputs + 1, sizeof *in);
    if (!in) {
        epl_graph_fail(g, EPL_ERR_MEMORY, "out of memory");
        return;
    }
    in[0] = dy[0];
    memcpy(in + 1, n->inputs, (size_t)n->n_inputs * sizeof *in);
    const epl_attr attrs[EPL_MAX_ATTRS] = { n->attrs[CONCAT_AXIS] };
    const epl_node *split = epl_node_add(g, &epl_op_split, n->n_inputs + 1, in, attrs, 0, NULL);
    for (int i = 0; split && i < n->n_inputs; i++)
        dx[i] = split->outputs[i];
    epl_release(g->ctx, in);
}

static epl_node *sample_concat(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    epl_shape x = epl_random_shape(r, 1, 4);
    const int64_t axis = epl_random_between(r, -x.rank, x.rank - 1);
    epl_value *in[3];
    const int  n = (int)epl_random_between(r, 1, 3);
    for (int i = 0; i < n; i++) {
        x.dim[axis < 0 ? axis + x.rank : axis] = epl_random_between(r, 1, 3);
        in[i] = epl_sample_input(g, dtype, x, -2, 2, 0);
    }
    const epl_attr attrs[] = { [CONCAT_AXIS] = EPL_A_I(axis) };
    return epl_node_add(g, &epl_op_concat, n, in, attrs, 0, NULL);
}

const epl_op epl_op_concat = {
    .name = "Concat", .n_inputs = -1, .min_inputs = 1, .n_outputs = 1,
    .attrs = { [CONCAT_AXIS] = { "axis", EPL_ATTR_INT, .required = true } },
    .infer = infer_concat, .grad = grad_concat, EPL_REF(ref_concat), .sample = sample_concat,
};

epl_value *epl_concat(epl_graph *g, int n, epl_value *const *x, int axis)
{
    const epl_attr attrs[] = { [CONCAT_AXIS] = EPL_A_I(axis) };
    for (int i = 0; i < n; i++)
        if (!x[i])
            return NULL;
    return n == 1 ? x[0] : epl_apply(g, &epl_op_concat, n, x, attrs);
}

epl_value *epl_stack(epl_graph *g, int n, epl_value *const *x, int axis)
{
    epl_value **rows = epl_graph_failed(g) ? NULL : epl_alloc_array(epl_graph_context(g), (size_t)n + 1, sizeof *rows);
    if (!rows)
        return NULL;
    for (int i = 0; i < n; i++)
        rows[i] = epl_unsqueeze(g, x[i], 1, &axis);
    epl_value *y = epl_concat(g, n, rows, axis);
    epl_release(epl_graph_context(g), rows);
    return y;
}

/* ---- Split: with sizes given by `split`, by the shapes of further inputs, or by `num_outputs` equal parts ---- */

enum { SPLIT_AXIS, SPLIT_SIZES, SPLIT_PARTS, SPLIT_N };

static int split_parts(const epl_node *n)
{
    return n->n_inputs > 1 ? n->n_inputs - 1 : n->attrs[SPLIT_SIZES].n ? n->attrs[SPLIT_SIZES].n : (int)n->attrs[SPLIT_PARTS].i;
}

/* Size of part i; -1 where it cannot be told. Equal parts: all of ceil(d / parts), the last what remains (ONNX). */
static int64_t split_size(const epl_node *n, int axis, int i)
{
    const int64_t d = n->inputs[0]->shape.dim[axis], parts = split_parts(n);
    if (n->n_inputs > 1)
        return n->inputs[1 + i] && n->inputs[1 + i]->shape.rank > axis ? n->inputs[1 + i]->shape.dim[axis] : -1;
    if (n->attrs[SPLIT_SIZES].n)
        return n->attrs[SPLIT_SIZES].ints[i];
    const int64_t size = (d + parts - 1) / parts;
    return i < parts - 1 ? size : d - size * (parts - 1);
}

static bool infer_split(epl_node *n)
{
    epl_shape x = n->inputs[0]->shape;
    const int parts = split_parts(n);
    char text[192];
    int  axis;
    if (!epl_check_axis(n, n->attrs[SPLIT_AXIS].i, x.rank, &axis))
        return false;
    if (parts < 1 || parts > 1 << 16)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "a split into %d parts", parts);
    int64_t total = 0;
    for (int i = 0; i < parts; i++) {
        const int64_t size = split_size(n, axis, i);
        if (size < 0 || size > x.dim[axis])
            return epl_node_fail(n, EPL_ERR_SHAPE, "part %d cannot have size %lld along axis %d of %s", i, (long long)size, axis,
                                 epl_shape_text(text, x));
        total += size;
    }
    if (total != x.dim[axis])
        return epl_node_fail(n, EPL_ERR_SHAPE, "the parts have %lld elements along axis %d, %s has %lld", (long long)total, axis,
                             epl_shape_text(text, x), (long long)x.dim[axis]);
    if (!epl_node_set_n_outputs(n, parts))
        return false;
    for (int i = 0; i < parts; i++) {
        epl_shape y = x;
        y.dim[axis] = split_size(n, axis, i);
        if (!epl_set_type(n, i, n->inputs[0]->dtype, y))
            return false;
    }
    return true;
}

static void grad_split(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_value **part = epl_alloc_array(g->ctx, (size_t)n->n_outputs, sizeof *part);
    if (!part) {
        epl_graph_fail(g, EPL_ERR_MEMORY, "out of memory");
        return;
    }
    for (int i = 0; i < n->n_outputs; i++)
        part[i] = dy[i] ? dy[i] : epl_zeros_like(g, n->outputs[i]);
    dx[0] = epl_concat(g, n->n_outputs, part, (int)n->attrs[SPLIT_AXIS].i);
    epl_release(g->ctx, part);
}

static epl_node *sample_split(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    epl_shape x = epl_random_shape(r, 1, 3);
    const int64_t axis = epl_random_between(r, -x.rank, x.rank - 1), parts = epl_random_between(r, 1, 3);
    int64_t sizes[3], total = 0;
    for (int64_t i = 0; i < parts; i++)
        total += sizes[i] = epl_random_between(r, 1, 3);
    x.dim[axis < 0 ? axis + x.rank : axis] = total;
    const bool equal = epl_rng_below(r, 3) == 0;
    const epl_attr attrs[SPLIT_N] = { [SPLIT_AXIS] = EPL_A_I(axis), [SPLIT_SIZES] = EPL_A_INTS(equal ? 0 : (int)parts, sizes),
                                      [SPLIT_PARTS] = EPL_A_I(equal ? 1 + (total > 1) : 0) };
    return epl_node_add(g, &epl_op_split, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_split = {
    .name = "Split", .n_inputs = -1, .min_inputs = 1, .n_outputs = -1, .shape_only = ~1u,
    .attrs = { [SPLIT_AXIS] = { "axis", EPL_ATTR_INT }, [SPLIT_SIZES] = { "split", EPL_ATTR_INTS },
               [SPLIT_PARTS] = { "num_outputs", EPL_ATTR_INT } },
    .infer = infer_split, .grad = grad_split, EPL_REF(ref_split), .sample = sample_split,
};

bool epl_split(epl_graph *g, epl_value *x, int axis, int n, const int64_t *sizes, epl_value **out)
{
    const epl_attr attrs[SPLIT_N] = { [SPLIT_AXIS] = EPL_A_I(axis), [SPLIT_SIZES] = EPL_A_INTS(sizes ? n : 0, sizes),
                                      [SPLIT_PARTS] = EPL_A_I(sizes ? 0 : n) };
    const epl_node *split = x ? epl_node_add(g, &epl_op_split, EPL_IN(x), attrs, 0, NULL) : NULL;
    for (int i = 0; i < n; i++)
        out[i] = split ? split->outputs[i] : NULL;
    return split != NULL;
}
