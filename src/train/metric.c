/* metric: losses that compare embeddings of the same batch, as nodes; the public header has their equations. They
 * return a number for each row, so that the mean over the batch weighs groups alike. */
#include "train/train.h"

#include <espalier/nn.h>

#include <string.h>

static epl_reduce_opts over(int axis) { return (epl_reduce_opts){ EPL_AXES(axis) }; }
static epl_reduce_opts over_kept(int axis) { return (epl_reduce_opts){ EPL_AXES(axis), .keep = true }; }

static epl_value *square_distance(epl_graph *g, epl_value *a, epl_value *b)
{
    return epl_reduce_sum_square(g, epl_sub(g, a, b), over(-1));
}

/* [N, D] as [N / rows, rows, D], row `i` of each group: [N / rows, D]. */
static epl_value *row_of(epl_graph *g, epl_value *z, int rows, int i)
{
    epl_value *groups = epl_reshape(g, z, EPL_SHAPE(-1, rows, epl_channels(z)));
    return epl_squeeze(g, epl_slice_axis(g, groups, 1, i, i + 1), 1, (int[]){ 1 });
}

/* A number of each group at all of its rows: [N / rows] -> [N]. */
static epl_value *to_rows(epl_graph *g, epl_value *of_group, int rows)
{
    epl_value *column = epl_unsqueeze(g, of_group, 1, (int[]){ 1 });
    return epl_reshape(g, epl_tile(g, column, 2, (int64_t[]){ 1, rows }), EPL_SHAPE(-1));
}

static bool whole_groups(epl_graph *g, const epl_value *z, int rows, const char *name)
{
    if (epl_dim(z, 0) % rows)
        epl_graph_fail(g, EPL_ERR_SHAPE, "%s: a batch of %lld is not a multiple of %d", name, (long long)epl_dim(z, 0), rows);
    return !epl_graph_failed(g);
}

/* ---- pairs ---- */

static epl_value *contrastive(epl_graph *g, epl_value *z, epl_value *labels, epl_objective_opts o, epl_value **active)
{
    (void)active;
    if (!whole_groups(g, z, 2, "contrastive"))
        return NULL;
    epl_value *y  = epl_unsqueeze(g, labels, 1, (int[]){ 1 });
    epl_value *same = epl_cast(g, epl_squeeze(g, epl_equal(g, row_of(g, y, 2, 0), row_of(g, y, 2, 1)), 1, (int[]){ 1 }), epl_dtype_of(z));
    epl_value *d2 = square_distance(g, row_of(g, z, 2, 0), row_of(g, z, 2, 1));
    epl_value *d  = epl_sqrt(g, epl_affine(g, d2, 1, 1e-12)); // finite gradient at 0
    epl_value *apart = epl_square(g, epl_relu(g, epl_affine(g, d, -1, o.margin)));
    return to_rows(g, epl_add(g, epl_mul(g, same, d2), epl_mul(g, epl_affine(g, same, -1, 1), apart)), 2);
}

/* ---- triplets ---- */

static epl_value *triplet(epl_graph *g, epl_value *z, epl_value *labels, epl_objective_opts o, epl_value **active)
{
    (void)labels;
    if (!whole_groups(g, z, 3, "triplet"))
        return NULL;
    z = epl_l2_normalize(g, z, -1);
    epl_value *a = row_of(g, z, 3, 0);
    epl_value *near = square_distance(g, a, row_of(g, z, 3, 1)), *far = square_distance(g, a, row_of(g, z, 3, 2));
    epl_value *each = epl_relu(g, epl_affine(g, epl_sub(g, near, far), 1, o.margin));
    *active = epl_reduce_mean(g, epl_step(g, each), (epl_reduce_opts){ 0 });
    return to_rows(g, each, 3);
}

/* For the pair (a, p) the negative is the nearest one beyond p, and where there is none the farthest: [N, N] of pairs. */
static epl_value *semi_hard_negatives(epl_graph *g, epl_value *d2, epl_value *other)
{
    const double none = 1e9; // unit vectors are at most 4 apart
    epl_value *big    = epl_fill_like(g, d2, none), *d_an = epl_unsqueeze(g, d2, 1, (int[]){ 1 }); // [a, 1, n]
    epl_value *d_ap   = epl_unsqueeze(g, d2, 1, (int[]){ 2 });                                     // [a, p, 1]
    epl_value *beyond = epl_and(g, epl_unsqueeze(g, other, 1, (int[]){ 1 }), epl_greater(g, d_an, d_ap));
    epl_value *nearest  = epl_reduce_min(g, epl_where(g, beyond, d_an, epl_unsqueeze(g, big, 1, (int[]){ 1 })), over(2));
    epl_value *farthest = epl_reduce_max(g, epl_where(g, other, d2, epl_neg(g, big)), over_kept(1)); // [a, 1]
    return epl_where(g, epl_less(g, nearest, big), nearest, farthest);
}

static epl_value *semi_hard(epl_graph *g, epl_value *z, epl_value *labels, epl_objective_opts o, epl_value **active)
{
    z = epl_l2_normalize(g, z, -1);
    const epl_dtype type = epl_dtype_of(z);
    epl_value *cosine = epl_matmul(g, z, z, (epl_matmul_opts){ .trans_b = true });
    epl_value *d2     = epl_relu(g, epl_affine(g, cosine, -2, 2));
    epl_value *row    = epl_unsqueeze(g, labels, 1, (int[]){ 1 }), *column = epl_unsqueeze(g, labels, 1, (int[]){ 0 });
    epl_value *at     = epl_positions(g, EPL_I64, labels, 0);
    epl_value *self   = epl_equal(g, epl_unsqueeze(g, at, 1, (int[]){ 1 }), epl_unsqueeze(g, at, 1, (int[]){ 0 }));
    epl_value *other  = epl_not_equal(g, row, column);
    epl_value *pair   = epl_cast(g, epl_not(g, epl_or(g, other, self)), type); // two of one class
    epl_value *each   = epl_relu(g, epl_affine(g, epl_sub(g, d2, semi_hard_negatives(g, d2, other)), 1, o.margin));
    each = epl_mul(g, each, pair);
    epl_value *n = epl_reduce_sum(g, pair, (epl_reduce_opts){ 0 });
    *active = epl_div(g, epl_reduce_sum(g, epl_step(g, each), (epl_reduce_opts){ 0 }), n);
    // the mean over rows is the mean over pairs: a row's pairs, times rows per pair
    epl_value *rows = epl_reduce_sum(g, epl_ones_like(g, epl_cast(g, labels, type)), (epl_reduce_opts){ 0 });
    return epl_mul(g, epl_reduce_sum(g, each, over(1)), epl_div(g, rows, n));
}

/* ---- episodes ---- */

/* 0, ..., 0, 1, ..., 1, ...: i64 [classes, each] */
static epl_value *class_numbers(epl_graph *g, int classes, int64_t each)
{
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_I64, EPL_SHAPE(classes, each));
    for (int64_t i = 0; t && i < classes * each; i++)
        epl_tensor_set_i64(t, i, i / each);
    epl_value *v = t ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return v;
}

static epl_value *episode(epl_graph *g, epl_value *z, epl_value *labels, epl_objective_opts o, epl_value **active)
{
    const int64_t n = epl_dim(z, 0), each = n / o.classes, queries = each - o.shots;
    (void)labels, (void)active;
    if (!whole_groups(g, z, o.classes, "episode"))
        return NULL;
    if (queries < 1)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "episode: %lld samples of a class leave none to ask for after %d shots", (long long)each,
                              o.shots);
    z = epl_reshape(g, z, EPL_SHAPE(o.classes, each, epl_channels(z)));
    epl_value *centre = epl_reduce_mean(g, epl_slice_axis(g, z, 1, 0, o.shots), over(1));                   // [W, D]
    epl_value *asked  = epl_unsqueeze(g, epl_slice_axis(g, z, 1, o.shots, each), 1, (int[]){ 2 });          // [W, Q, 1, D]
    epl_value *d2     = epl_reduce_sum_square(g, epl_sub(g, asked, centre), over(-1));                      // [W, Q, W]
    epl_value *loss   = epl_softmax_cross_entropy(g, epl_neg(g, d2), class_numbers(g, o.classes, queries),
                                                  (epl_cross_entropy_opts){ .reduction = EPL_NONE });        // [W, Q]
    loss = epl_affine(g, loss, (double)each / (double)queries, 0); // so that the mean over rows is the mean over queries
    return epl_reshape(g, epl_pad(g, loss, (epl_pad_opts){ .before = { 0, o.shots } }), EPL_SHAPE(-1));
}

/* ---- by name ---- */

static const struct {
    const char *name;
    double      margin;
    epl_value *(*build)(epl_graph *g, epl_value *z, epl_value *labels, epl_objective_opts o, epl_value **active);
} metrics[] = { { "contrastive", 1, contrastive },
                { "triplet", 0.2, triplet },
                { "semi-hard", 0.2, semi_hard },
                { "episode", 0, episode } };

bool epl_is_metric_loss(const char *name)
{
    for (size_t i = 0; i < EPL_COUNT(metrics); i++)
        if (strcmp(metrics[i].name, name) == 0)
            return true;
    return false;
}

epl_value *epl_metric_loss(epl_graph *g, epl_value *z, epl_value *labels, epl_objective_opts o, epl_value **active)
{
    epl_value *unused = NULL, **share = active ? active : &unused;
    *share = NULL;
    if (!z || !labels)
        return NULL;
    if (epl_rank(z) != 2 || epl_rank(labels) != 1 || epl_dtype_is_float(epl_dtype_of(labels)))
        return epl_graph_fail(g, EPL_ERR_SHAPE, "%s: embeddings of rank %d with targets of rank %d, expected [N, D] and classes [N]",
                              o.name, epl_rank(z), epl_rank(labels));
    o.classes = o.classes ? o.classes : 5;
    o.shots   = o.shots ? o.shots : 1;
    for (size_t i = 0; i < EPL_COUNT(metrics); i++)
        if (strcmp(metrics[i].name, o.name) == 0) {
            o.margin = o.margin ? o.margin : metrics[i].margin;
            return metrics[i].build(g, z, labels, o, share);
        }
    return epl_graph_fail(g, EPL_ERR_ARGUMENT,
                          "there is no loss of embeddings named '%s' (contrastive, triplet, semi-hard, episode)",
                          o.name);
}
