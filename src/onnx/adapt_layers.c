/* adapt_layers: matrix products, normalisations, dropout, losses. */
#include "onnx/adapt.h"

#include <string.h>

/* NumPy's rule: a vector gets an axis, which disappears again. */
static epl_value *matmul(onnx_node *n, epl_value *a, epl_value *b)
{
    if (!a || !b)
        return NULL;
    const bool va = a->shape.rank == 1, vb = b->shape.rank == 1;
    const int  front = 0, back = 1;
    epl_value *y = epl_matmul(n->g, va ? epl_unsqueeze(n->g, a, 1, &front) : a, vb ? epl_unsqueeze(n->g, b, 1, &back) : b,
                              (epl_matmul_opts){ 0 });
    const int  last = epl_rank(y) - 1, before = last - 1;
    if (vb)
        y = epl_squeeze(n->g, y, 1, &last);
    if (va)
        y = epl_squeeze(n->g, y, 1, vb ? &(int){ epl_rank(y) - 1 } : &before);
    return y;
}

epl_value *onnx_matmul(onnx_node *n, epl_value *a, epl_value *b) { return matmul(n, a, b); }

static bool import_matmul(onnx_node *n)
{
    epl_value *a = onnx_in(n, 0), *b = onnx_in(n, 1);
    if (a && b && !epl_dtype_is_float(a->dtype)) // every sum of ours fits into 53 bits
        return onnx_set(n, epl_cast(n->g, matmul(n, epl_cast(n->g, a, EPL_F64), epl_cast(n->g, b, EPL_F64)), a->dtype));
    return onnx_set(n, matmul(n, a, b));
}

static epl_value *scaled(onnx_node *n, epl_value *x, double by)
{
    return by == 1 || !x ? x : epl_mul(n->g, x, onnx_scalar_like(n, x, by));
}

static bool import_gemm(onnx_node *n)
{
    const epl_matmul_opts o = { .trans_a = onnx_int(n, "transA", 0) != 0, .trans_b = onnx_int(n, "transB", 0) != 0 };
    const double alpha = onnx_real(n, "alpha", 1), beta = onnx_real(n, "beta", 1);
    if (n->opset < 7)
        (void)onnx_int(n, "broadcast", 0);
    const bool swapped = o.trans_b && onnx_is_weight(n, 1) && onnx_n_uses(n, 1) == 1; // else it would be stored twice
    epl_value *a = onnx_in(n, 0), *b = swapped ? onnx_weight(n, 1, EPL_SHAPE(1, 0)) : onnx_in(n, 1), *c = onnx_in(n, 2);
    epl_value *y = scaled(n, epl_matmul(n->g, a, b, (epl_matmul_opts){ o.trans_a, o.trans_b && !swapped }), alpha);
    return onnx_set(n, c ? epl_add(n->g, y, scaled(n, c, beta)) : y);
}

/* ---- normalisations ---- */

/* epsilon 0 asks our builders for their default. */
static double epsilon(onnx_node *n)
{
    const double e = onnx_real(n, "epsilon", 1e-5);
    return e > 0 ? e : 1e-38;
}

/* All axes but the channels, which come second. */
static epl_reduce_opts all_but_channels(const epl_value *x)
{
    epl_reduce_opts o = { .keep = true };
    for (int i = 0; i < x->shape.rank; i++)
        if (i != 1)
            o.axes[o.n_axes++] = i;
    return o;
}

/* [C] -> [C, 1, ...] so that it broadcasts along the second axis of x. */
static epl_value *along_channels(onnx_node *n, epl_value *v, const epl_value *x)
{
    epl_shape shape = { .rank = x->shape.rank - 1, .dim = { -1 } };
    for (int i = 1; i < shape.rank; i++)
        shape.dim[i] = 1;
    return epl_reshape(n->g, v, shape);
}

/* With the statistics of this batch; the running ones are results. */
static bool batch_norm_training(onnx_node *n, epl_value *x)
{
    epl_graph   *g = n->g;
    const double momentum = onnx_real(n, "momentum", 0.9), eps = onnx_real(n, "epsilon", 1e-5);
    epl_value   *scale = onnx_in(n, 1), *bias = onnx_in(n, 2), *mean = onnx_in(n, 3), *var = onnx_in(n, 4);
    const epl_reduce_opts over = all_but_channels(x);
    epl_value *m = epl_reduce_mean(g, x, over), *d = epl_sub(g, x, m), *v = epl_reduce_mean(g, epl_square(g, d), over);
    epl_value *y = epl_div(g, d, epl_sqrt(g, epl_add(g, v, onnx_scalar_like(n, x, eps))));
    n->out[0] = epl_add(g, epl_mul(g, y, along_channels(n, scale, x)), along_channels(n, bias, x));
    n->out[1] = epl_add(g, scaled(n, mean, momentum), scaled(n, epl_reshape(g, m, EPL_SHAPE(-1)), 1 - momentum));
    n->out[2] = epl_add(g, scaled(n, var, momentum), scaled(n, epl_reshape(g, v, EPL_SHAPE(-1)), 1 - momentum));
    return n->out[0] && n->out[1] && n->out[2];
}

static bool import_batch_norm(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    ignored[8];
    if (n->opset < 9 && onnx_int(n, "spatial", 1) != 1)
        return onnx_unsupported(n, "statistics for each element (spatial = 0)");
    if (n->opset < 7) {
        (void)onnx_int(n, "is_test", 0); // what is imported is for inference
        onnx_ints(n, "consumed_inputs", ignored, 8);
    }
    if (!x)
        return false;
    if (x->shape.rank < 2)
        return onnx_unsupported(n, "an input of %d axes", x->shape.rank);
    if (n->opset >= 14 && onnx_int(n, "training_mode", 0))
        return batch_norm_training(n, x);
    epl_value *scale = onnx_in(n, 1), *shift = onnx_in(n, 2), *mean = onnx_state(n, 3), *variance = onnx_state(n, 4);
    epl_value *y = epl_normalize_batch(n->g, onnx_to_channels_last(n, x), scale, shift, mean, variance, epsilon(n),
                                       onnx_real(n, "momentum", 0.9));
    return onnx_set(n, onnx_to_channels_first(n, y));
}

static bool import_instance_norm(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int64_t    ignored[8];
    if (n->opset < 6)
        onnx_ints(n, "consumed_inputs", ignored, 8);
    return x && onnx_set(n, onnx_to_channels_first(n, epl_normalize_instance(n->g, onnx_to_channels_last(n, x), onnx_in(n, 1),
                                                                             onnx_in(n, 2), epsilon(n))));
}

static bool import_group_norm(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *scale = onnx_in(n, 1), *bias = onnx_in(n, 2);
    const int64_t groups = onnx_int(n, "num_groups", 1);
    if (!x || !scale || !bias)
        return false;
    if (onnx_int(n, "stash_type", 1) != 1)
        return onnx_unsupported(n, "a stash_type other than float");
    if (scale->shape.rank == 1 && scale->shape.dim[0] != epl_dim(x, 1)) // opset 18: one for each group
        return onnx_unsupported(n, "scale and bias for each group instead of each channel");
    return onnx_set(n, onnx_to_channels_first(n, epl_normalize_group(n->g, onnx_to_channels_last(n, x), scale, bias, groups, epsilon(n))));
}

static bool import_layer_norm(onnx_node *n)
{
    epl_graph   *g = n->g;
    epl_value   *x = onnx_in(n, 0), *scale = onnx_in(n, 1), *bias = onnx_in(n, 2);
    const double eps = epsilon(n);
    int          axis;
    if (!x || !scale || !onnx_axis(n, onnx_int(n, "axis", -1), x->shape.rank, &axis))
        return false;
    if (onnx_int(n, "stash_type", 1) != 1)
        return onnx_unsupported(n, "a stash_type other than float");
    n->out[0] = epl_normalize_layer(g, x, scale, bias, axis, eps);
    epl_reduce_opts over = { .keep = true };
    for (int i = axis; i < x->shape.rank; i++)
        over.axes[over.n_axes++] = i;
    if (n->n_out > 1) {
        n->out[1] = epl_reduce_mean(g, x, over);
        epl_value *var = epl_reduce_mean(g, epl_square(g, epl_sub(g, x, n->out[1])), over);
        n->out[2] = epl_rsqrt(g, epl_add(g, var, onnx_scalar_like(n, x, eps)));
    }
    return n->out[0] != NULL;
}

static bool import_rms_norm(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0), *scale = onnx_in(n, 1);
    int        axis;
    if (!x || !onnx_axis(n, onnx_int(n, "axis", -1), x->shape.rank, &axis))
        return false;
    if (onnx_int(n, "stash_type", 1) != 1)
        return onnx_unsupported(n, "a stash_type other than float");
    return onnx_set(n, epl_normalize_rms(n->g, x, scale, axis, epsilon(n)));
}

static bool import_lrn(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    return x && onnx_set(n, onnx_to_channels_first(n, epl_normalize_local(n->g, onnx_to_channels_last(n, x), onnx_int(n, "size", 1),
                                                                          onnx_real(n, "alpha", 1e-4), onnx_real(n, "beta", 0.75),
                                                                          onnx_real(n, "bias", 1))));
}

static bool import_lp_norm(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    int        axis;
    return x && onnx_axis(n, onnx_int(n, "axis", -1), x->shape.rank, &axis) &&
           onnx_set(n, epl_normalize_lp(n->g, x, axis, (int)onnx_int(n, "p", 2)));
}

static bool import_mean_variance(onnx_node *n)
{
    epl_graph *g = n->g;
    epl_value *x = onnx_in(n, 0);
    int64_t    axes[EPL_MAX_RANK] = { 0, 2, 3 };
    const int  found = onnx_ints(n, "axes", axes, EPL_MAX_RANK), count = found < 0 ? 3 : found;
    epl_reduce_opts over = { .keep = true };
    for (int i = 0; x && i < count; i++)
        if (!onnx_axis(n, axes[i], x->shape.rank, &over.axes[over.n_axes++]))
            return false;
    epl_value *m = epl_reduce_mean(g, x, over), *d = epl_sub(g, x, m);
    epl_value *std = epl_sqrt(g, epl_reduce_mean(g, epl_square(g, d), over));
    return x && onnx_set(n, epl_div(g, d, epl_add(g, std, onnx_scalar_like(n, x, 1e-9)))); // as the operator's definition has it
}

/* The identity until a program is made for training, and a mask that keeps all. */
/* Training mode: elements are drawn by this library's generator; ONNX defines how many go, not which. */
static bool dropout_draws(onnx_node *n, epl_value *x, double rate, bool computed)
{
    epl_graph *g = n->g;
    if (computed || !(rate >= 0 && rate < 1) || !epl_dtype_is_float(x->dtype) || g->root != g)
        return onnx_unsupported(n, "training mode with a computed rate or one of %g, or within a sub-graph", rate);
    epl_value *draw = epl_random_uniform(g, epl_rng_key(g), 0, 1, (epl_random_opts){ .like = x, .dtype = EPL_F32 });
    epl_value *kept = epl_greater_or_equal(g, draw, epl_scalar(g, EPL_F32, rate));
    n->out[0] = kept ? epl_where(g, kept, scaled(n, x, 1 / (1 - rate)), onnx_scalar_like(n, x, 0)) : NULL;
    if (n->n_out > 1)
        n->out[1] = kept;
    return n->out[0] != NULL;
}

static bool import_dropout(onnx_node *n)
{
    epl_value *x = onnx_in(n, 0);
    if (!x)
        return false;
    double rate = onnx_real(n, "ratio", 0.5);
    (void)onnx_int(n, "seed", 0);
    (void)onnx_int(n, "is_test", 0);
    const epl_tensor *ratio = onnx_has(n, 1) ? onnx_one_if(n, 1, true) : NULL;
    const epl_tensor *training = onnx_has(n, 2) ? onnx_one(n, 2, "the mode") : NULL;
    if (onnx_has(n, 2) && !training)
        return false;
    if (training && epl_tensor_get_i64(training, 0) && !(ratio && epl_tensor_get(ratio, 0) == 0))
        return dropout_draws(n, x, ratio ? epl_tensor_get(ratio, 0) : 0.5, onnx_has(n, 1) && !ratio);
    rate = ratio ? epl_tensor_get(ratio, 0) : onnx_has(n, 1) ? 0 : rate;
    const bool drops = rate > 0 && rate < 1 && epl_dtype_is_float(x->dtype);
    n->out[0] = drops ? epl_dropout(n->g, x, rate, false) : epl_identity(n->g, x);
    if (n->n_out > 1) // before opset 10 the mask has the type of x
        n->out[1] = epl_cast(n->g, epl_ones_like(n->g, x), n->opset < 10 ? x->dtype : EPL_BOOL);
    return n->out[0] != NULL;
}

/* ---- losses: [N, C, ...] and labels [N, ...] ---- */
static bool reduction_of(onnx_node *n, epl_reduction *out)
{
    const char *how = onnx_text(n, "reduction", "mean");
    *out = strcmp(how, "none") == 0 ? EPL_NONE : strcmp(how, "sum") == 0 ? EPL_SUM : EPL_MEAN;
    return *out != EPL_MEAN || strcmp(how, "mean") == 0 || onnx_unsupported(n, "reduction '%s'", how);
}

/* -weight[label] log_p[label], nothing where the label is to be ignored; the mean divides by the weights' sum. */
static epl_value *negative_log_likelihood(onnx_node *n, epl_value *log_p, epl_value *labels, epl_value *weight, epl_reduction how)
{
    epl_graph *g = n->g;
    epl_value *label = epl_cast(g, labels, EPL_I64);
    epl_value *loss = epl_nll_loss(g, onnx_to_channels_last(n, log_p), label, EPL_NONE);
    epl_value *w = weight ? epl_gather(g, weight, label, 0) : NULL;
    if (onnx_has_attr(n, "ignore_index")) {
        epl_value *ignored = epl_equal(g, label, epl_scalar(g, EPL_I64, (double)onnx_int(n, "ignore_index", 0)));
        epl_value *all = w ? w : epl_ones_like(g, loss);
        w = loss ? epl_where(g, ignored, onnx_scalar_like(n, loss, 0), all) : NULL;
        loss = loss ? epl_where(g, ignored, onnx_scalar_like(n, loss, 0), loss) : NULL;
    }
    loss = w ? epl_mul(g, loss, w) : loss;
    if (how != EPL_MEAN || !w)
        return epl_reduce_loss(g, loss, how);
    return epl_div(g, epl_reduce_sum(g, loss, (epl_reduce_opts){ 0 }), epl_reduce_sum(g, w, (epl_reduce_opts){ 0 }));
}

static bool import_nll_loss(onnx_node *n)
{
    epl_value    *x = onnx_in(n, 0), *labels = onnx_in(n, 1), *weight = onnx_in(n, 2);
    epl_reduction how;
    return x && labels && reduction_of(n, &how) && onnx_set(n, negative_log_likelihood(n, x, labels, weight, how));
}

static bool import_cross_entropy(onnx_node *n)
{
    epl_value    *x = onnx_in(n, 0), *labels = onnx_in(n, 1), *weight = onnx_in(n, 2);
    epl_reduction how;
    if (!x || !labels || !reduction_of(n, &how))
        return false;
    n->out[1] = epl_log_softmax(n->g, x, 1);
    return onnx_set(n, negative_log_likelihood(n, n->out[1], labels, weight, how));
}

const onnx_op onnx_ops_layers[] = {
    { "MatMul", import_matmul, NULL }, { "Gemm", import_gemm, NULL }, { "BatchNormalization", import_batch_norm, NULL },
    { "InstanceNormalization", import_instance_norm, NULL }, { "GroupNormalization", import_group_norm, NULL },
    { "LayerNormalization", import_layer_norm, NULL }, { "RMSNormalization", import_rms_norm, NULL },
    { "LRN", import_lrn, NULL },
    { "LpNormalization", import_lp_norm, NULL }, { "MeanVarianceNormalization", import_mean_variance, NULL },
    { "Dropout", import_dropout, NULL }, { "NegativeLogLikelihoodLoss", import_nll_loss, NULL },
    { "SoftmaxCrossEntropyLoss", import_cross_entropy, NULL }, { NULL, NULL, NULL },
};
