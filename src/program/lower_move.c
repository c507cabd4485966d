/* lower_move: transposes, slices, borders, concatenations, repetitions, look-ups and casts on their kernels
 * (kernels/bandwidth.h). Elements are moved whatever their type. */
#include "program/lower.h"

#include "ops/elementwise.h"

static bool not_empty(const epl_node *n, const char **why)
{
    *why = "a tensor without elements";
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i] && epl_shape_count(n->inputs[i]->shape) == 0)
            return false;
    return epl_shape_count(n->outputs[0]->shape) > 0;
}

static void strides_of(epl_shape s, int64_t stride[EPL_MAX_RANK])
{
    int64_t step = 1;
    for (int i = s.rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= s.dim[i];
    }
}

/* A copy of everything to a tensor of this shape; the caller fills in how x is read. */
static epl_copy_params copy_to(epl_shape y, epl_dtype t)
{
    epl_copy_params p = { .rank = y.rank, .bytes = (int64_t)epl_dtype_bytes(t) };
    memcpy(p.dim, y.dim, sizeof p.dim);
    strides_of(y, p.out_stride);
    return p;
}

static bool add_copy(epl_block *b, const epl_node *n, epl_copy_params p, const epl_value *out)
{
    const int in = epl_buffer_of(b, n->inputs[0]), to = epl_buffer_of(b, out);
    return epl_kernel_add(b, n, "copy", &p, sizeof p, 1, &in, 1, &to) != NULL;
}

bool epl_lower_transpose(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape;
    const int64_t  *perm;
    int64_t         stride[EPL_MAX_RANK];
    const int       named = epl_attr_ints(n, "perm", &perm);
    epl_copy_params p = copy_to(n->outputs[0]->shape, n->inputs[0]->dtype);
    strides_of(x, stride);
    for (int i = 0; i < x.rank; i++) {
        const int64_t axis = named ? perm[i] : x.rank - 1 - i;
        p.in_stride[i] = stride[axis < 0 ? axis + x.rank : axis];
    }
    return not_empty(n, why) && add_copy(b, n, p, n->outputs[0]);
}

bool epl_lower_expand(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape, y = n->outputs[0]->shape;
    int64_t         stride[EPL_MAX_RANK];
    epl_copy_params p = copy_to(y, n->inputs[0]->dtype);
    strides_of(x, stride);
    for (int i = 0; i < y.rank; i++) {
        const int from = i - (y.rank - x.rank);
        p.in_stride[i] = from < 0 || x.dim[from] == 1 ? 0 : stride[from];
    }
    return not_empty(n, why) && add_copy(b, n, p, n->outputs[0]);
}

/* First position and step along every axis of a tensor of this shape, as the operator defines them (ops/slice.c). */
static void slice_window(const epl_node *n, epl_shape whole, int64_t first[EPL_MAX_RANK], int64_t step[EPL_MAX_RANK])
{
    const int64_t *starts, *axes, *steps;
    const int      count = epl_attr_ints(n, "starts", &starts), n_axes = epl_attr_ints(n, "axes", &axes),
              n_steps = epl_attr_ints(n, "steps", &steps);
    for (int i = 0; i < whole.rank; i++) {
        first[i] = 0;
        step[i]  = 1;
    }
    for (int i = 0; i < count; i++) {
        const int64_t named = n_axes ? axes[i] : i, axis = named < 0 ? named + whole.rank : named, d = whole.dim[axis];
        const int64_t start = starts[i] < -d ? -1 : starts[i] < 0 ? starts[i] + d : starts[i];
        step[axis]  = n_steps ? steps[i] : 1;
        first[axis] = step[axis] < 0 ? (start > d - 1 ? d - 1 : start) : start < 0 ? 0 : start > d ? d : start;
    }
}

bool epl_lower_slice(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape;
    int64_t         first[EPL_MAX_RANK], step[EPL_MAX_RANK], stride[EPL_MAX_RANK];
    epl_copy_params p = copy_to(n->outputs[0]->shape, n->inputs[0]->dtype);
    slice_window(n, x, first, step);
    strides_of(x, stride);
    for (int i = 0; i < x.rank; i++) {
        p.in_offset += first[i] * stride[i];
        p.in_stride[i] = step[i] * stride[i];
    }
    return not_empty(n, why) && add_copy(b, n, p, n->outputs[0]);
}

static int64_t bits_of(double x, epl_dtype t)
{
    int64_t  bits = 0;
    epl_view v = { .data = &bits, .dtype = t };
    epl_ref_set(&v, 0, x);
    return bits;
}

static bool add_pad(epl_block *b, const epl_node *n, const int64_t before[EPL_MAX_RANK], double value)
{
    const epl_shape x = n->inputs[0]->shape, y = n->outputs[0]->shape;
    epl_pad_params  p = { .rank = x.rank,
                          .bytes = (int64_t)epl_dtype_bytes(n->inputs[0]->dtype),
                          .value = bits_of(value, n->inputs[0]->dtype) };
    memcpy(p.in_dim, x.dim, sizeof p.in_dim);
    memcpy(p.out_dim, y.dim, sizeof p.out_dim);
    memcpy(p.before, before, sizeof p.before);
    const int in = epl_buffer_of(b, n->inputs[0]), out = epl_buffer_of(b, n->outputs[0]);
    return epl_kernel_add(b, n, "pad", &p, sizeof p, 1, &in, 1, &out) != NULL;
}

/* A part put back into zeros. */
bool epl_lower_unslice(epl_block *b, const epl_node *n, const char **why)
{
    int64_t first[EPL_MAX_RANK] = { 0 }, step[EPL_MAX_RANK];
    slice_window(n, n->outputs[0]->shape, first, step);
    for (int i = 0; i < n->outputs[0]->shape.rank; i++)
        if (step[i] != 1) {
            *why = "the fast kernel puts back slices of step 1";
            return false;
        }
    if (!not_empty(n, why))
        return false;
    if (n->inputs[0]->shape.rank == 0) {
        *why = "a scalar";
        return false;
    }
    return add_pad(b, n, first, 0);
}

bool epl_lower_pad(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape;
    const int64_t  *pads, *axes;
    int64_t         before[EPL_MAX_RANK] = { 0 };
    const int       n_axes = epl_attr_ints(n, "axes", &axes);
    epl_attr_ints(n, "pads", &pads);
    if (epl_attr_i(n, "mode") != 0 || x.rank == 0) {
        *why = "the fast kernel pads with a constant";
        return false;
    }
    for (int i = 0; i < (n_axes ? n_axes : x.rank); i++)
        before[n_axes ? (axes[i] < 0 ? axes[i] + x.rank : axes[i]) : i] = pads[i];
    return not_empty(n, why) && add_pad(b, n, before, epl_attr_r(n, "value"));
}

bool epl_lower_concat(epl_block *b, const epl_node *n, const char **why)
{
    const int64_t given = epl_attr_i(n, "axis");
    const int     rank = n->outputs[0]->shape.rank, axis = (int)(given < 0 ? given + rank : given);
    if (n->n_inputs > EPL_CALL_INPUTS) {
        *why = "the fast kernel joins up to 16 tensors";
        return false;
    }
    epl_concat_params p = { .outer = epl_shape_count_from(n->outputs[0]->shape, 0, axis), .n = n->n_inputs };
    int in[EPL_CALL_INPUTS];
    for (int i = 0; i < n->n_inputs; i++) {
        p.width[i] = epl_shape_count_from(n->inputs[i]->shape, axis, rank) * (int64_t)epl_dtype_bytes(n->outputs[0]->dtype);
        in[i] = epl_buffer_of(b, n->inputs[i]);
    }
    const int out = epl_buffer_of(b, n->outputs[0]);
    return epl_shape_count(n->outputs[0]->shape) > 0 && epl_kernel_add(b, n, "concat", &p, sizeof p, n->n_inputs, in, 1, &out);
}

bool epl_lower_split(epl_block *b, const epl_node *n, const char **why)
{
    const epl_shape x = n->inputs[0]->shape;
    const int64_t   given = epl_attr_i(n, "axis"), axis = given < 0 ? given + x.rank : given;
    int64_t         stride[EPL_MAX_RANK], at = 0;
    strides_of(x, stride);
    if (!not_empty(n, why))
        return false;
    for (int i = 0; i < n->n_outputs; i++) {
        const epl_shape y = n->outputs[i]->shape;
        epl_copy_params p = copy_to(y, n->inputs[0]->dtype);
        memcpy(p.in_stride, stride, sizeof p.in_stride);
        p.in_offset = at * stride[axis];
        at += y.dim[axis];
        if (!add_copy(b, n, p, n->outputs[i]))
            return false;
    }
    return true;
}

static bool lookup(epl_block *b, const epl_node *n, epl_shape data, const char *kernel, const char **why)
{
    const epl_value *indices = n->inputs[1];
    const int64_t    given = epl_attr_i(n, "axis");
    const int        axis = (int)(given < 0 ? given + data.rank : given);
    if (!not_empty(n, why))
        return false;
    if (indices->dtype != EPL_I32 && indices->dtype != EPL_I64) {
        *why = "the fast kernel takes indices of type i32 or i64";
        return false;
    }
    const epl_gather_params p = { .outer = epl_shape_count_from(data, 0, axis), .size = data.dim[axis],
                                  .inner = epl_shape_count_from(data, axis + 1, data.rank), .count = epl_shape_count(indices->shape),
                                  .bytes = (int64_t)epl_dtype_bytes(n->outputs[0]->dtype), .indices = indices->dtype };
    const int in[2] = { epl_buffer_of(b, n->inputs[0]), epl_buffer_of(b, indices) }, out = epl_buffer_of(b, n->outputs[0]);
    return epl_kernel_add(b, n, kernel, &p, sizeof p, 2, in, 1, &out) != NULL;
}

bool epl_lower_gather(epl_block *b, const epl_node *n, const char **why)
{
    return lookup(b, n, n->inputs[0]->shape, "gather", why);
}

bool epl_lower_scatter_add(epl_block *b, const epl_node *n, const char **why)
{
    if (n->outputs[0]->dtype != EPL_F32) {
        *why = "the fast kernel adds f32";
        return false;
    }
    return lookup(b, n, n->outputs[0]->shape, "scatter_add", why);
}

/* A cast is a chain that changes nothing and stores another type. */
bool epl_lower_cast(epl_block *b, const epl_node *n, const char **why)
{
    const epl_value *x = n->inputs[0], *y = n->outputs[0];
    if (x->dtype == EPL_F64 || y->dtype == EPL_F64 || x->dtype == EPL_U64 || y->dtype == EPL_U64 || epl_shape_count(x->shape) == 0) {
        *why = "casts of f64 and u64 go element by element";
        return false;
    }
    const epl_chain c = { .n_in = 1, .n_steps = 1, .n_out = 1, .rows = 1, .columns = epl_shape_count(x->shape), .rows_per_image = 1,
                          .in_kind = { EPL_CHAIN_FULL }, .in_dtype = { x->dtype }, .out_dtype = { y->dtype }, .out = { 1 },
                          .op = { EPL_EW_identity } };
    const int in = epl_buffer_of(b, x), out = epl_buffer_of(b, y);
    epl_step *s = epl_kernel_add(b, n, "chain", &c, sizeof c, 1, &in, 1, &out);
    if (s)
        s->in_place = 1;
    return s != NULL;
}
