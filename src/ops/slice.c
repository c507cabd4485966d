/* slice: parts of tensors by position (Slice), tensors with borders (Pad), and their gradients (Unslice, PadGrad). */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
/* First position and step along every axis of a tensor of this shape; attributes are starts, ends, axes, steps. */
static void ref_slice_window(const epl_ref_attr *attr, const epl_view *x, int64_t first[8], int64_t step[8])
{
    for (int64_t i = 0; i < x->rank; i++) {
        first[i] = 0;
        step[i]  = 1;
    }
    for (int64_t i = 0; i < attr[0].n; i++) {
        const int64_t named = attr[2].n ? attr[2].ints[i] : i, axis = named < 0 ? named + x->rank : named;
        const int64_t d = x->dim[axis], by = attr[3].n ? attr[3].ints[i] : 1;
        int64_t start = attr[0].ints[i];
        start = start < -d ? -1 : start < 0 ? start + d : start; // -1: before the first
        first[axis] = by < 0 ? (start > d - 1 ? d - 1 : start) : start < 0 ? 0 : start > d ? d : start;
        step[axis]  = by;
    }
}

/* Copies between a tensor and the window of it that a slice sees. */
static void ref_window(const epl_view *whole, const epl_view *part, const epl_ref_attr *attr, int take)
{
    const int64_t bytes = epl_ref_bytes(whole->dtype), n = epl_view_count(part);
    int64_t first[8], step[8], index[8] = { 0 };
    ref_slice_window(attr, whole, first, step);
    for (int64_t o = 0; o < n; o++, epl_ref_next(index, part->dim, part->rank)) {
        int64_t at = 0;
        for (int64_t i = 0; i < whole->rank; i++)
            at = at * whole->dim[i] + first[i] + index[i] * step[i];
        char *w = (char *)whole->data + at * bytes, *p = (char *)part->data + o * bytes;
        memcpy(take ? p : w, take ? w : p, (size_t)bytes);
    }
}

static void ref_slice(const epl_ref_call *c) { ref_window(&c->in[0], &c->out[0], c->attr, 1); }

static void ref_unslice(const epl_ref_call *c)
{
    memset(c->out[0].data, 0, (size_t)(epl_view_count(&c->out[0]) * epl_ref_bytes(c->out[0].dtype)));
    ref_window(&c->out[0], &c->in[0], c->attr, 0);
}

/* How much lies before axis i of a padded tensor; attributes are pads, axes. */
static int64_t ref_pad_before(const epl_ref_attr *attr, int64_t rank, int64_t axis)
{
    for (int64_t i = 0; i < attr[1].n; i++)
        if ((attr[1].ints[i] < 0 ? attr[1].ints[i] + rank : attr[1].ints[i]) == axis)
            return attr[0].ints[i];
    return attr[1].n ? 0 : attr[0].ints[axis];
}

/* The position in [0, d) that position i of the unpadded axis shows, or -1: the constant. */
static int64_t ref_pad_source(int64_t i, int64_t d, int64_t mode)
{
    if (i >= 0 && i < d)
        return i;
    if (mode == 0)
        return -1;
    if (mode == 2)
        return i < 0 ? 0 : d - 1;
    const int64_t period = mode == 3 ? d : d > 1 ? 2 * (d - 1) : 1, k = (i % period + period) % period;
    return k < d ? k : period - k;
}

/* Offset in the unpadded tensor x of what stands at `index` of the padded one; -1: the constant. */
static int64_t ref_pad_offset(const epl_ref_attr *attr, const epl_view *x, const int64_t *index)
{
    int64_t at = 0;
    for (int64_t i = 0; i < x->rank; i++) {
        const int64_t k = ref_pad_source(index[i] - ref_pad_before(attr, x->rank, i), x->dim[i], attr[2].i);
        if (k < 0)
            return -1;
        at = at * x->dim[i] + k;
    }
    return at;
}

static void ref_pad(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0], *y = &c->out[0];
    const int64_t   bytes = epl_ref_bytes(x->dtype), n = epl_view_count(y);
    int64_t index[8] = { 0 };
    for (int64_t o = 0; o < n; o++, epl_ref_next(index, y->dim, y->rank)) {
        const int64_t from = ref_pad_offset(c->attr, x, index);
        if (from < 0)
            epl_ref_set(y, o, c->attr[3].r);
        else
            memcpy((char *)y->data + o * bytes, (const char *)x->data + from * bytes, (size_t)bytes);
    }
}

static void ref_pad_grad(const epl_ref_call *c)
{
    const epl_view *dy = &c->in[0], *dx = &c->out[0];
    const int64_t   n = epl_view_count(dy);
    int64_t index[8] = { 0 };
    memset(dx->data, 0, (size_t)(epl_view_count(dx) * epl_ref_bytes(dx->dtype)));
    for (int64_t o = 0; o < n; o++, epl_ref_next(index, dy->dim, dy->rank)) {
        const int64_t to = ref_pad_offset(c->attr, dx, index);
        if (to >= 0)
            epl_ref_set(dx, to, epl_ref_get(dx, to) + epl_ref_get(dy, o));
    }
}
/* end reference */

/* ---- Slice: result position i along an axis is x's position start + i * step ---- */

enum { SLICE_STARTS, SLICE_ENDS, SLICE_AXES, SLICE_STEPS, SLICE_SHAPE, SLICE_N };

static int64_t clip(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

static int64_t slice_count(int64_t d, int64_t start, int64_t end, int64_t step)
{
    start = start < -d ? -1 : start < 0 ? start + d : start;
    end   = end < -d ? -1 : end < 0 ? end + d : end;
    if (step > 0) {
        start = clip(start, 0, d);
        end   = clip(end, 0, d);
        return end > start ? (end - start - 1) / step + 1 : 0;
    }
    start = clip(start, -1, d - 1);
    end   = clip(end, -1, d - 1);
    return start > end ? (start - end - 1) / (step == INT64_MIN ? INT64_MAX : -step) + 1 : 0;
}

/* The shape that a slice of `x` has. */
static bool slice_shape(const epl_node *n, epl_shape x, epl_shape *y)
{
    const epl_attr *starts = &n->attrs[SLICE_STARTS], *ends = &n->attrs[SLICE_ENDS], *axes = &n->attrs[SLICE_AXES],
                   *steps = &n->attrs[SLICE_STEPS];
    bool mask[EPL_MAX_RANK];
    *y = x;
    if (ends->n != starts->n || (axes->n && axes->n != starts->n) || (steps->n && steps->n != starts->n) || starts->n > x.rank)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%d starts, %d ends, %d axes and %d steps for a tensor of rank %d", starts->n,
                             ends->n, axes->n, steps->n, x.rank);
    if (!epl_axes_mask(n, axes, x.rank, mask))
        return false;
    for (int i = 0; i < starts->n; i++) {
        const int64_t named = axes->n ? axes->ints[i] : i, step = steps->n ? steps->ints[i] : 1;
        int64_t *d = &y->dim[named < 0 ? named + x.rank : named];
        if (step == 0)
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "the step along axis %lld is 0", (long long)named);
        *d = slice_count(*d, starts->ints[i], ends->ints[i], step);
    }
    return true;
}

static bool infer_slice(epl_node *n)
{
    epl_shape y;
    return slice_shape(n, n->inputs[0]->shape, &y) && epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static void grad_slice(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_apply(g, &epl_op_unslice, EPL_IN(dy[0], n->inputs[0]), (const epl_attr[SLICE_N]){
        n->attrs[SLICE_STARTS], n->attrs[SLICE_ENDS], n->attrs[SLICE_AXES], n->attrs[SLICE_STEPS] });
}

typedef struct random_slice {
    epl_shape shape;
    int       n;
    int64_t   starts[EPL_MAX_RANK], ends[EPL_MAX_RANK], axes[EPL_MAX_RANK], steps[EPL_MAX_RANK];
} random_slice;

/* Never empty: the first position lies inside and the end beyond it. */
static random_slice random_window(epl_rng *r)
{
    random_slice s = { .shape = epl_random_shape(r, 1, 4) };
    for (int i = 0; i < s.shape.rank; i++) {
        const int64_t d = s.shape.dim[i], start = epl_random_between(r, 0, d - 1), step = epl_random_between(r, 1, 2);
        const bool    back = epl_rng_below(r, 3) == 0;
        if (epl_rng_below(r, 3) == 0)
            continue;
        s.starts[s.n] = epl_rng_below(r, 2) ? start : start - d;
        s.ends[s.n]   = back ? (epl_rng_below(r, 2) ? EPL_BEGIN : start - 1 - d)
                             : (epl_rng_below(r, 2) ? EPL_END : epl_random_between(r, start + 1, d + 1));
        s.axes[s.n]   = epl_rng_below(r, 2) ? i : i - s.shape.rank;
        s.steps[s.n++] = back ? -step : step;
    }
    return s;
}

static epl_node *sample_slice(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const random_slice s = random_window(r);
    const epl_attr attrs[SLICE_N] = { EPL_A_INTS(s.n, s.starts), EPL_A_INTS(s.n, s.ends), EPL_A_INTS(s.n, s.axes),
                                      EPL_A_INTS(s.n, s.steps) };
    return epl_node_add(g, &epl_op_slice, EPL_IN(epl_sample_input(g, dtype, s.shape, -2, 2, 0)), attrs, 0, NULL);
}

#define SLICE_FIELDS                                                                                                   \
    [SLICE_STARTS] = { "starts", EPL_ATTR_INTS }, [SLICE_ENDS] = { "ends", EPL_ATTR_INTS },                            \
    [SLICE_AXES] = { "axes", EPL_ATTR_INTS }, [SLICE_STEPS] = { "steps", EPL_ATTR_INTS }

const epl_op epl_op_slice = {
    .name = "Slice", .n_inputs = 1, .n_outputs = 1, .attrs = { SLICE_FIELDS },
    .infer = infer_slice, .grad = grad_slice, EPL_REF(ref_slice), .sample = sample_slice,
};

epl_value *epl_slice(epl_graph *g, epl_value *x, epl_slice_opts o)
{
    int64_t axes[EPL_MAX_RANK], steps[EPL_MAX_RANK];
    if (!x || o.n_axes == 0)
        return x;
    for (int i = 0; i < o.n_axes && i < EPL_MAX_RANK; i++)
        steps[i] = o.steps[i] ? o.steps[i] : 1;
    const epl_attr list = epl_axes_attr(o.n_axes, o.axes, axes);
    const epl_attr attrs[SLICE_N] = { EPL_A_INTS(list.n, o.starts), EPL_A_INTS(list.n, o.ends), list, EPL_A_INTS(list.n, steps) };
    return epl_apply(g, &epl_op_slice, EPL_IN(x), attrs);
}

epl_value *epl_slice_axis(epl_graph *g, epl_value *x, int axis, int64_t start, int64_t end)
{
    return epl_slice(g, x, (epl_slice_opts){ .n_axes = 1, .axes = { axis }, .starts = { start }, .ends = { end } });
}

epl_value *epl_reverse(epl_graph *g, epl_value *x, int axis)
{
    return epl_slice(g, x, (epl_slice_opts){ .n_axes = 1, .axes = { axis }, .starts = { EPL_END }, .ends = { EPL_BEGIN },
                                             .steps = { -1 } });
}

/* ---- Unslice: zeros of `shape` (or of the second input's), with x where the slice would read ---- */

static bool infer_unslice(epl_node *n)
{
    const epl_attr *a = &n->attrs[SLICE_SHAPE];
    epl_shape whole = { .rank = a->n }, part;
    char is[192], want[192];
    for (int i = 0; i < a->n && i < EPL_MAX_RANK; i++)
        whole.dim[i] = a->ints[i];
    if (n->n_inputs > 1)
        whole = n->inputs[1]->shape;
    if (whole.rank > EPL_MAX_RANK || !slice_shape(n, whole, &part))
        return epl_node_fail(n, EPL_ERR_SHAPE, "a tensor of rank %d", whole.rank);
    if (!epl_shape_equal(part, n->inputs[0]->shape))
        return epl_node_fail(n, EPL_ERR_SHAPE, "the slice has the shape %s, the input %s", epl_shape_text(want, part),
                             epl_shape_text(is, n->inputs[0]->shape));
    return epl_set_type(n, 0, n->inputs[0]->dtype, whole);
}

static void grad_unslice(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    dx[0] = epl_apply(g, &epl_op_slice, EPL_IN(dy[0]), n->attrs); // the first fields are the same
}

static epl_node *sample_unslice(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const random_slice s = random_window(r);
    epl_shape part = s.shape;
    for (int i = 0; i < s.n; i++) {
        int64_t *d = &part.dim[s.axes[i] < 0 ? s.axes[i] + part.rank : s.axes[i]];
        *d = slice_count(*d, s.starts[i], s.ends[i], s.steps[i]);
    }
    const epl_attr attrs[SLICE_N] = { EPL_A_INTS(s.n, s.starts), EPL_A_INTS(s.n, s.ends), EPL_A_INTS(s.n, s.axes),
                                      EPL_A_INTS(s.n, s.steps), EPL_A_INTS(s.shape.rank, s.shape.dim) };
    return epl_node_add(g, &epl_op_unslice, EPL_IN(epl_sample_input(g, dtype, part, -2, 2, 0)), attrs, 0, NULL);
}

const epl_op epl_op_unslice = {
    .name = "Unslice", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .shape_only = 2,
    .attrs = { SLICE_FIELDS, [SLICE_SHAPE] = { "shape", EPL_ATTR_INTS } },
    .infer = infer_unslice, .grad = grad_unslice, EPL_REF(ref_unslice), .sample = sample_unslice,
};

/* ---- Pad and PadGrad ---- */

enum { PAD_PADS, PAD_AXES, PAD_MODE, PAD_VALUE, PAD_N };

/* x grown by the pads (sign 1) or shrunk by them (sign -1). */
static bool pad_shape(const epl_node *n, epl_shape x, int sign, epl_shape *y)
{
    const epl_attr *pads = &n->attrs[PAD_PADS], *axes = &n->attrs[PAD_AXES];
    const int count = axes->n ? axes->n : x.rank;
    char text[192];
    bool mask[EPL_MAX_RANK];
    if (pads->n != 2 * count)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%d pads for %d axes; two for each are needed", pads->n, count);
    if (!epl_axes_mask(n, axes, x.rank, mask))
        return false;
    *y = x;
    for (int i = 0; i < count; i++) {
        const int64_t named = axes->n ? axes->ints[i] : i, axis = named < 0 ? named + x.rank : named;
        const int64_t before = pads->ints[i], after = pads->ints[count + i], limit = (int64_t)1 << 48;
        if (before > limit || before < -limit || after > limit || after < -limit)
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "pads of %lld and %lld elements", (long long)before, (long long)after);
        y->dim[axis] += sign * (before + after);
        const int64_t inner = sign > 0 ? x.dim[axis] : y->dim[axis];
        if (y->dim[axis] < 0)
            return epl_node_fail(n, EPL_ERR_SHAPE, "pads of %lld and %lld leave nothing of axis %lld of %s", (long long)before,
                                 (long long)after, (long long)axis, epl_shape_text(text, x));
        if (inner == 0 && n->attrs[PAD_MODE].i != EPL_PAD_CONSTANT)
            return epl_node_fail(n, EPL_ERR_SHAPE, "axis %lld is empty: there is nothing to repeat", (long long)axis);
    }
    return true;
}

static bool infer_pad(epl_node *n)
{
    epl_shape y;
    return pad_shape(n, n->inputs[0]->shape, 1, &y) && epl_set_type(n, 0, n->inputs[0]->dtype, y);
}

static bool infer_pad_grad(epl_node *n)
{
    epl_shape x;
    return pad_shape(n, n->inputs[0]->shape, -1, &x) && epl_set_type(n, 0, n->inputs[0]->dtype, x);
}

/* A constant border is cut off by the opposite pads; the other modes add up what was shown twice. */
static void grad_pad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const epl_attr *pads = &n->attrs[PAD_PADS];
    int64_t opposite[2 * EPL_MAX_RANK];
    for (int i = 0; i < pads->n; i++)
        opposite[i] = -pads->ints[i];
    const bool constant = n->attrs[PAD_MODE].i == EPL_PAD_CONSTANT;
    const epl_attr attrs[PAD_N] = { constant ? EPL_A_INTS(pads->n, opposite) : *pads, n->attrs[PAD_AXES], n->attrs[PAD_MODE] };
    dx[0] = epl_apply(g, constant ? &epl_op_pad : &epl_op_pad_grad, EPL_IN(dy[0]), attrs);
}

static void grad_pad_grad(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    const epl_attr attrs[PAD_N] = { n->attrs[PAD_PADS], n->attrs[PAD_AXES], n->attrs[PAD_MODE] };
    dx[0] = epl_apply(g, &epl_op_pad, EPL_IN(dy[0]), attrs);
}

static epl_node *sample_any_pad(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op)
{
    epl_shape x = epl_random_shape(r, 1, 3);
    const bool named = epl_rng_below(r, 2);
    const int  count = named ? 1 : x.rank;
    int64_t pads[2 * EPL_MAX_RANK], axis = epl_random_between(r, -x.rank, x.rank - 1);
    for (int i = 0; i < 2 * count; i++)
        pads[i] = epl_random_between(r, 0, 3);
    for (int i = 0; i < count && op == &epl_op_pad_grad; i++)
        x.dim[!named ? i : axis < 0 ? axis + x.rank : axis] += pads[i] + pads[count + i];
    const epl_attr attrs[PAD_N] = { EPL_A_INTS(2 * count, pads), EPL_A_INTS(named, &axis), EPL_A_I((int64_t)epl_rng_below(r, 4)),
                                    EPL_A_R(0.5) };
    return epl_node_add(g, op, EPL_IN(epl_sample_input(g, dtype, x, -2, 2, 0)), attrs, 0, NULL);
}

static epl_node *sample_pad(epl_graph *g, epl_rng *r, epl_dtype dtype) { return sample_any_pad(g, r, dtype, &epl_op_pad); }
static epl_node *sample_pad_grad(epl_graph *g, epl_rng *r, epl_dtype dtype) { return sample_any_pad(g, r, dtype, &epl_op_pad_grad); }

#define PAD_FIELDS                                                                                                     \
    [PAD_PADS] = { "pads", EPL_ATTR_INTS, .required = true }, [PAD_AXES] = { "axes", EPL_ATTR_INTS },                  \
    [PAD_MODE] = { "mode", EPL_ATTR_CHOICE, .choices = "constant|reflect|edge|wrap" }, /* epl_pad_mode */              \
    [PAD_VALUE] = { "value", EPL_ATTR_REAL }

const epl_op epl_op_pad = {
    .name = "Pad", .n_inputs = 1, .n_outputs = 1, .attrs = { PAD_FIELDS },
    .infer = infer_pad, .grad = grad_pad, EPL_REF(ref_pad), .sample = sample_pad,
};

const epl_op epl_op_pad_grad = {
    .name = "PadGrad", .n_inputs = 1, .n_outputs = 1, .attrs = { PAD_FIELDS },
    .infer = infer_pad_grad, .grad = grad_pad_grad, EPL_REF(ref_pad_grad), .sample = sample_pad_grad,
};

epl_value *epl_pad(epl_graph *g, epl_value *x, epl_pad_opts o)
{
    int64_t   pads[2 * EPL_MAX_RANK];
    const int rank = epl_rank(x);
    for (int i = 0; i < rank; i++) {
        pads[i]        = o.before[i];
        pads[rank + i] = o.after[i];
    }
    const epl_attr attrs[PAD_N] = { EPL_A_INTS(2 * rank, pads), [PAD_MODE] = EPL_A_I(o.mode), [PAD_VALUE] = EPL_A_R(o.value) };
    return x ? epl_apply(g, &epl_op_pad, EPL_IN(x), attrs) : NULL;
}
