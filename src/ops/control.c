/* control: If and Switch - one of several regions runs, forward and backward. Loops are in loop.c, regions with a gradient of
 * their own in custom.c. */
#include <espalier/ops.h>

#include "ops/axes.h"
#include "ops/region.h"

static bool bind_branch(epl_node *n, int region)
{
    epl_type *types = epl_alloc_array(n->graph->ctx, (size_t)n->n_inputs, sizeof *types);
    bool ok = types != NULL;
    for (int i = 1; ok && i < n->n_inputs; i++)
        if (n->inputs[i])
            types[i - 1] = EPL_TYPE_OF(n->inputs[i]);
        else
            ok = epl_node_fail(n, EPL_ERR_ARGUMENT, "capture %d is missing", i - 1);
    ok = ok && epl_region_bind(n, region, n->n_inputs - 1, types);
    epl_release(n->graph->ctx, types);
    return ok;
}

bool epl_infer_branches(epl_node *n)
{
    char a[192], b[192];
    if (n->n_regions < 1)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "there is no region to choose");
    for (int r = 0; r < n->n_regions; r++)
        if (!bind_branch(n, r))
            return false;
    const int count = epl_graph_n_outputs(n->regions[0]);
    for (int r = 1; r < n->n_regions; r++) {
        if (epl_graph_n_outputs(n->regions[r]) != count)
            return epl_node_fail(n, EPL_ERR_SHAPE, "region 0 has %d results, region %d has %d", count, r,
                                 epl_graph_n_outputs(n->regions[r]));
        for (int i = 0; i < count; i++) {
            const epl_value *x = epl_graph_output_at(n->regions[0], i), *y = epl_graph_output_at(n->regions[r], i);
            if (x->dtype != y->dtype || !epl_shape_equal(x->shape, y->shape))
                return epl_node_fail(n, EPL_ERR_SHAPE, "result %d is %s%s from region 0 and %s%s from region %d", i,
                                     epl_dtype_name(x->dtype), epl_shape_text(a, x->shape), epl_dtype_name(y->dtype),
                                     epl_shape_text(b, y->shape), r);
        }
    }
    if (!epl_node_set_n_outputs(n, count))
        return false;
    for (int i = 0; i < count; i++)
        if (!epl_region_result(n, i, n->regions[0], i))
            return false;
    return true;
}

static bool infer_if(epl_node *n)
{
    const epl_value *cond = n->inputs[0];
    char text[192];
    if (cond->dtype != EPL_BOOL || epl_shape_count(cond->shape) != 1)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the condition is %s%s; a bool scalar is needed%s",
                             epl_dtype_name(cond->dtype), epl_shape_text(text, cond->shape),
                             cond->dtype == EPL_BOOL ? " (IfEach takes one for each sample and splits the batch)" : "");
    return epl_infer_branches(n);
}

static bool infer_switch(epl_node *n)
{
    const epl_value *index = n->inputs[0];
    char text[192];
    if (index->dtype != EPL_I64 || epl_shape_count(index->shape) != 1)
        return epl_node_fail(n, EPL_ERR_DTYPE, "the index is %s%s; an i64 scalar is needed", epl_dtype_name(index->dtype),
                             epl_shape_text(text, index->shape));
    return epl_infer_branches(n);
}

/* ---- the gradient: the same choice between regions that repeat the forward computation and run it backwards ---- */

typedef struct backward {
    const epl_node *n;
    int             n_captures, n_dy; /* n_dy: of the results, how many a gradient reaches */
    epl_value     **in;               /* the new node's inputs: selector, captures..., gradients... */
    int            *result;           /* which result each gradient belongs to */
    epl_graph     **regions;
    epl_value    ***dx;               /* by region and capture; NULL where no gradient arrives */
} backward;

static bool backward_region(const backward *b, int r)
{
    epl_graph *region = b->regions[r] = epl_region_copy(b->n->graph, b->n->regions[r]);
    epl_arena *arena  = region ? epl_arena_new(region->ctx) : NULL;
    if (!arena)
        return false;
    const size_t  size = sizeof(epl_value *), n_all = (size_t)b->n->n_outputs + 1, n_caps = (size_t)b->n_captures + 1;
    epl_value   **all = epl_arena_alloc(arena, n_all * size), **y = epl_arena_alloc(arena, n_all * size),
                **dy = epl_arena_alloc(arena, n_all * size), **x = epl_arena_alloc(arena, n_caps * size),
                **dx = epl_arena_alloc(arena, n_caps * size);
    bool ok = all && y && dy && x && dx;
    if (ok)
        epl_region_open(region, all);
    for (int k = 0; ok && k < b->n_dy; k++) {
        const epl_value *d = b->in[1 + b->n_captures + k];
        y[k]  = all[b->result[k]];
        dy[k] = epl_input(region, "dy", d->dtype, d->shape, NULL);
        ok    = dy[k] != NULL;
    }
    int n_x = 0;
    for (int i = 0; ok && i < b->n_captures; i++)
        if (epl_dtype_is_float(b->in[1 + i]->dtype))
            x[n_x++] = epl_graph_input_at(region, i);
    ok = ok && epl_vjp(region, b->n_dy, y, dy, n_x, x, dx);
    for (int i = 0, k = 0; ok && i < b->n_captures; i++)
        if (epl_dtype_is_float(b->in[1 + i]->dtype))
            b->dx[r][i] = dx[k++];
    epl_arena_free(arena);
    return ok;
}

/* A capture's gradient is a result if it arrives in any region; the others give zeros. */
static bool backward_results(const backward *b, int *position)
{
    int count = 0;
    for (int i = 0; i < b->n_captures; i++) {
        bool wanted = false;
        for (int r = 0; r < b->n->n_regions; r++)
            wanted = wanted || b->dx[r][i];
        position[i] = wanted ? count++ : -1;
        for (int r = 0; wanted && r < b->n->n_regions; r++) {
            epl_graph *region = b->regions[r];
            epl_value *d = b->dx[r][i] ? b->dx[r][i] : epl_zeros_like(region, epl_graph_input_at(region, i));
            if (!epl_output(region, "dx", d))
                return false;
        }
    }
    for (int r = 0; r < b->n->n_regions; r++)
        epl_remove_dead(b->regions[r]);
    return true;
}

static void grad_branches(epl_graph *g, const epl_node *n, epl_value *const *dy, epl_value **dx)
{
    epl_arena *arena = epl_arena_new(g->ctx);
    if (!arena)
        return;
    const size_t n_in = (size_t)(n->n_inputs + n->n_outputs), n_regions = (size_t)n->n_regions;
    backward b = { .n = n, .n_captures = n->n_inputs - 1 };
    b.in      = epl_arena_alloc(arena, n_in * sizeof *b.in);
    b.result  = epl_arena_alloc(arena, n_in * sizeof *b.result);
    b.regions = epl_arena_alloc(arena, n_regions * sizeof *b.regions);
    b.dx      = epl_arena_alloc(arena, n_regions * sizeof *b.dx);
    int *position = epl_arena_alloc(arena, n_in * sizeof *position);
    bool ok = b.in && b.result && b.regions && b.dx && position;
    for (int i = 0; ok && i < n->n_inputs; i++)
        b.in[i] = n->inputs[i];
    for (int i = 0; ok && i < n->n_outputs; i++)
        if (dy[i]) {
            b.in[n->n_inputs + b.n_dy] = dy[i];
            b.result[b.n_dy++]         = i;
        }
    for (int r = 0; ok && r < n->n_regions; r++) {
        b.dx[r] = epl_arena_alloc(arena, n_in * sizeof **b.dx);
        ok      = b.dx[r] && backward_region(&b, r);
    }
    const epl_node *back = ok && backward_results(&b, position)
                               ? epl_node_add(g, n->op, n->n_inputs + b.n_dy, b.in, n->attrs, n->n_regions, b.regions) : NULL;
    for (int i = 0; back && i < b.n_captures; i++)
        if (position[i] >= 0)
            dx[1 + i] = back->outputs[position[i]];
    epl_arena_free(arena);
}

/* ---- the table ---- */

/* Region number k of a sample: (x + k) * x * y, and tanh of it in the odd ones. */
static epl_graph *sample_region(epl_graph *g, epl_dtype dtype, epl_shape shape, int k)
{
    epl_graph *r = epl_region_new(g);
    epl_value *x = epl_input(r, "x", dtype, shape, NULL), *y = epl_input(r, "y", dtype, shape, NULL);
    epl_value *z = epl_mul(r, epl_add(r, x, epl_scalar(r, dtype, k)), k == 2 ? x : epl_mul(r, x, y));
    epl_output(r, "z", k % 2 ? epl_tanh(r, z) : z);
    epl_output(r, "y", k % 2 ? y : x);
    return r;
}

static epl_node *sample_branches(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op, int n_regions, epl_value *selector)
{
    const epl_shape shape = epl_random_shape(r, 0, 2);
    epl_graph *regions[3];
    for (int k = 0; k < n_regions; k++)
        regions[k] = sample_region(g, dtype, shape, k);
    epl_value *x = epl_sample_input(g, dtype, shape, -1, 1, 0), *y = epl_sample_input(g, dtype, shape, -1, 1, 0);
    return epl_node_add(g, op, EPL_IN(selector, x, y), NULL, n_regions, regions);
}

static epl_node *sample_if(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    return sample_branches(g, r, dtype, &epl_op_if, 2, epl_sample_input(g, EPL_BOOL, EPL_SCALAR, 0, 1, 0));
}

static epl_node *sample_switch(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const int n_regions = (int)epl_random_between(r, 1, 3);
    return sample_branches(g, r, dtype, &epl_op_switch, n_regions, epl_sample_input(g, EPL_I64, EPL_SCALAR, -1, 3, 0));
}

const epl_op epl_op_if = {
    .name = "If", .n_inputs = -1, .min_inputs = 1, .n_outputs = -1, .n_regions = 2, .flags = EPL_OP_REGION,
    .infer = infer_if, .grad = grad_branches, .sample = sample_if,
};

const epl_op epl_op_switch = {
    .name = "Switch", .n_inputs = -1, .min_inputs = 1, .n_outputs = -1, .n_regions = -1, .flags = EPL_OP_REGION,
    .infer = infer_switch, .grad = grad_branches, .sample = sample_switch,
};

epl_node *epl_switch(epl_graph *g, epl_value *index, int n_regions, epl_graph *const *regions, int n_captures,
                     epl_value *const *captures, epl_value **out)
{
    return epl_region_apply(g, &epl_op_switch, NULL, (epl_value_list){ 1, &index }, (epl_value_list){ n_captures, captures },
                            n_regions, regions, out);
}

epl_node *epl_if(epl_graph *g, epl_value *cond, epl_graph *then_region, epl_graph *else_region, int n_captures,
                 epl_value *const *captures, epl_value **out)
{
    epl_graph *const regions[] = { then_region, else_region };
    return epl_region_apply(g, &epl_op_if, NULL, (epl_value_list){ 1, &cond }, (epl_value_list){ n_captures, captures }, 2,
                            regions, out);
}
