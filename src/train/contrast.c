/* contrast: losses of embeddings that look at all pairs of a batch and their classes; the public header has the equations. */
#include "train/train.h"

#include <espalier/nn.h>

/* [N, N]: of one class. */
static epl_value *same_class(epl_graph *g, epl_value *labels, epl_dtype type)
{
    return epl_cast(g, epl_equal(g, epl_unsqueeze(g, labels, 1, (int[]){ 1 }), epl_unsqueeze(g, labels, 1, (int[]){ 0 })), type);
}

/* [N, N]: 1 but on the diagonal. */
static epl_value *others(epl_graph *g, epl_value *labels, epl_dtype type)
{
    epl_value *at = epl_positions(g, EPL_I64, labels, 0);
    return epl_cast(g, epl_not_equal(g, epl_unsqueeze(g, at, 1, (int[]){ 1 }), epl_unsqueeze(g, at, 1, (int[]){ 0 })), type);
}

static bool are_classes(epl_graph *g, const char *what, const epl_value *z, const epl_value *labels)
{
    if (z && labels && (epl_rank(labels) != 1 || epl_dtype_is_float(epl_dtype_of(labels))))
        epl_graph_fail(g, EPL_ERR_SHAPE, "%s needs classes [N] as targets, these have rank %d", what, epl_rank(labels));
    return z && labels && !epl_graph_failed(g);
}

epl_value *epl_supcon_loss(epl_graph *g, epl_value *z, epl_value *labels, double temperature)
{
    const epl_reduce_opts row = { EPL_AXES(1) }, row_kept = { EPL_AXES(1), .keep = true };
    if (!are_classes(g, "supervised contrast", z, labels))
        return NULL;
    const epl_dtype type = epl_dtype_of(z);
    z = epl_l2_normalize(g, z, -1);
    epl_value *s = epl_affine(g, epl_matmul(g, z, z, (epl_matmul_opts){ .trans_b = true }), 1 / temperature, -1 / temperature); // at most 0
    epl_value *other = others(g, labels, type), *positive = epl_mul(g, same_class(g, labels, type), other);
    epl_value *sum   = epl_reduce_sum(g, epl_mul(g, epl_exp(g, s), other), row_kept);
    epl_value *log_p = epl_sub(g, s, epl_log(g, epl_affine(g, sum, 1, 1e-20)));
    epl_value *count = epl_reduce_sum(g, positive, row);
    epl_value *mean  = epl_div(g, epl_reduce_sum(g, epl_mul(g, log_p, positive), row), epl_max(g, count, epl_scalar(g, type, 1)));
    return epl_neg(g, mean);
}

/* Cosines between rows less their mean: [N, D] -> [N, N]. */
static epl_value *similarities(epl_graph *g, epl_value *x)
{
    x = epl_sub(g, x, epl_reduce_mean(g, x, (epl_reduce_opts){ EPL_AXES(0), .keep = true }));
    epl_value *length = epl_sqrt(g, epl_affine(g, epl_reduce_sum_square(g, x, (epl_reduce_opts){ EPL_AXES(1), .keep = true }), 1, 1e-12));
    x = epl_div(g, x, length);
    return epl_matmul(g, x, x, (epl_matmul_opts){ .trans_b = true });
}

/* [N, S..., C] -> [N, C], the deviation over space (n - 1 below); with few channels everything in a row. */
static epl_value *as_rows(epl_graph *g, epl_value *x)
{
    const int64_t c = epl_channels(x), pixels = epl_shape_count_from(epl_shape_of(x), 1, epl_rank(x) - 1);
    if (epl_rank(x) == 2 || c <= 3 || pixels < 2)
        return epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, -1));
    epl_value *p = epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, -1, c));
    epl_value *d = epl_sub(g, p, epl_reduce_mean(g, p, (epl_reduce_opts){ EPL_AXES(1), .keep = true }));
    epl_value *var = epl_affine(g, epl_reduce_sum_square(g, d, (epl_reduce_opts){ EPL_AXES(1) }), 1 / (double)(pixels - 1), 1e-12);
    return epl_sqrt(g, var);
}

epl_value *epl_similarity_loss(epl_graph *g, epl_value *x, epl_value *labels, int classes)
{
    if (!are_classes(g, "similarity matching", x, labels))
        return NULL;
    epl_value *label = epl_one_hot(g, labels, classes, (epl_one_hot_opts){ .dtype = epl_dtype_of(x) });
    epl_value *d     = epl_sub(g, similarities(g, as_rows(g, x)), similarities(g, label));
    return epl_reduce_mean(g, epl_square(g, d), (epl_reduce_opts){ EPL_AXES(1) });
}
