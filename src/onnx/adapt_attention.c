/* adapt_attention: what language models add - Attention (opsets 23 to 25), FlexAttention, LinearAttention, RotaryEmbedding,
 * TensorScatter, CausalConvWithState - in terms of products, softmax and gathers, so that gradients, passes and the compiler see
 * nothing new.
 *
 * Attention's mask is kept as a bool (who may attend to whom) and a bias; both are made once, [.., queries, keys]. */
#include "onnx/adapt.h"

#include <math.h>
#include <string.h>

/* [N, L, heads D] -> [N, heads, L, D]; four axes stay as they are. */
static epl_value *heads_apart(onnx_node *n, epl_value *x, int64_t heads)
{
    if (!x || x->shape.rank != 3)
        return x;
    if (heads < 1 || x->shape.dim[2] % heads) {
        onnx_fail(n, EPL_ERR_SHAPE, "%lld channels do not make %lld heads", (long long)x->shape.dim[2], (long long)heads);
        return NULL;
    }
    return epl_permute(n->g, epl_reshape(n->g, x, EPL_SHAPE(EPL_KEEP, EPL_KEEP, heads, -1)), EPL_SHAPE(0, 2, 1, 3));
}

static epl_value *heads_together(onnx_node *n, epl_value *x)
{
    return epl_reshape(n->g, epl_permute(n->g, x, EPL_SHAPE(0, 2, 1, 3)), EPL_SHAPE(EPL_KEEP, EPL_KEEP, -1));
}

/* [N, kv, L, D] -> [N, heads, L, D]: neighbouring query heads share one. */
static epl_value *shared_heads(onnx_node *n, epl_value *x, int64_t heads)
{
    const int64_t kv = epl_dim(x, 1), group = kv > 0 ? heads / kv : 0;
    const int     axis = 2;
    if (!x || kv == heads)
        return x;
    if (group < 1 || heads % kv) {
        onnx_fail(n, EPL_ERR_SHAPE, "%lld query heads for %lld key heads", (long long)heads, (long long)kv);
        return NULL;
    }
    epl_value *wide = epl_expand(n->g, epl_unsqueeze(n->g, x, 1, &axis), EPL_SHAPE(EPL_KEEP, EPL_KEEP, group, EPL_KEEP, EPL_KEEP));
    return epl_reshape(n->g, wide, EPL_SHAPE(EPL_KEEP, heads, epl_dim(x, 2), epl_dim(x, 3)));
}

static epl_value *scaled(onnx_node *n, epl_value *x, double by)
{
    return x && by != 1 ? epl_mul(n->g, x, onnx_scalar_like(n, x, by)) : x;
}

/* ---- who may attend to whom ---- */
typedef struct visibility {
    epl_value *allowed; /* bool, or NULL: all */
    epl_value *bias;    /* or NULL */
    epl_value *offset;  /* i64: how many keys come before the first query; a scalar, or [N, 1, 1, 1] */
} visibility;

static void restrict_to(onnx_node *n, visibility *v, epl_value *allowed)
{
    v->allowed = v->allowed ? epl_and(n->g, v->allowed, allowed) : allowed;
}

/* Keys beyond the mask's end are not seen. */
static void read_mask(onnx_node *n, visibility *v, epl_value *mask, int64_t keys)
{
    const int64_t missing = mask->shape.rank ? keys - epl_dim(mask, -1) : 0;
    epl_pad_opts  pad = { .mode = EPL_PAD_CONSTANT };
    if (missing > 0) {
        const bool logic = mask->dtype == EPL_BOOL;
        pad.after[mask->shape.rank - 1] = missing;
        pad.value = logic ? 0 : -INFINITY;
        mask = logic ? epl_cast(n->g, epl_pad(n->g, epl_cast(n->g, mask, EPL_U8), pad), EPL_BOOL) : epl_pad(n->g, mask, pad);
    }
    if (mask && mask->dtype == EPL_BOOL)
        restrict_to(n, v, mask);
    else
        v->bias = mask;
}

/* Causal: key j for query i if j <= i + offset; a window bounds the distance to both sides. */
static void read_distances(onnx_node *n, visibility *v, int64_t queries, int64_t keys)
{
    epl_graph    *g = n->g;
    const bool    causal = onnx_int(n, "is_causal", 0) != 0;
    const int64_t left = onnx_int(n, "left_window_size", -1), right = onnx_int(n, "right_window_size", -1);
    if (!causal && left < 0 && right < 0)
        return;
    epl_value *i = epl_reshape(g, epl_range(g, EPL_I64, 0, (double)queries, 1), EPL_SHAPE(queries, 1));
    epl_value *ahead = epl_sub(g, epl_range(g, EPL_I64, 0, (double)keys, 1), epl_add(g, i, v->offset)); // of the query's own place
    if (causal)
        restrict_to(n, v, epl_less_or_equal(g, ahead, epl_scalar(g, EPL_I64, 0)));
    if (left >= 0)
        restrict_to(n, v, epl_greater_or_equal(g, ahead, epl_scalar(g, EPL_I64, -(double)left)));
    if (right >= 0)
        restrict_to(n, v, epl_less_or_equal(g, ahead, epl_scalar(g, EPL_I64, (double)right)));
}

static visibility read_visibility(onnx_node *n, int64_t queries, int64_t keys, epl_value *past)
{
    epl_graph *g = n->g;
    epl_value *mask = onnx_in(n, 3), *valid = n->opset >= 24 ? onnx_in(n, 6) : NULL;
    visibility v = { .offset = epl_scalar(g, EPL_I64, past ? (double)epl_dim(past, 2) : 0) };
    epl_value *counts = valid ? epl_reshape(g, epl_cast(g, valid, EPL_I64), EPL_SHAPE(-1, 1, 1, 1)) : NULL;
    if (mask)
        read_mask(n, &v, mask, keys);
    if (counts && !past)
        v.offset = epl_sub(g, counts, epl_scalar(g, EPL_I64, (double)queries));
    read_distances(n, &v, queries, keys);
    if (counts)
        restrict_to(n, &v, epl_less(g, epl_range(g, EPL_I64, 0, (double)keys, 1), counts));
    return v;
}

/* Scores with what is not allowed at -inf, and the bias added. */
static epl_value *masked(onnx_node *n, epl_value *scores, const visibility *v)
{
    if (v->bias && scores)
        scores = epl_add(n->g, scores, epl_cast(n->g, v->bias, scores->dtype));
    return v->allowed && scores ? epl_where(n->g, v->allowed, scores, onnx_scalar_like(n, scores, -INFINITY)) : scores;
}

/* Softmax along the keys; a query that may see none gets zeros. */
static epl_value *probabilities(onnx_node *n, epl_value *scores, const visibility *v)
{
    epl_graph *g = n->g;
    epl_value *p = epl_softmax(g, scores, -1);
    if (!p || (!v->allowed && !v->bias))
        return p;
    epl_value *open = v->allowed ? epl_cast(g, v->allowed, p->dtype) : onnx_scalar_like(n, p, 1);
    if (v->bias) {
        epl_value *finite = epl_greater(g, v->bias, onnx_scalar_like(n, v->bias, -INFINITY));
        open = epl_mul(g, open, epl_cast(g, finite, p->dtype));
    }
    open = epl_reduce_max(g, open, (epl_reduce_opts){ EPL_AXES(-1), .keep = true });
    return open ? epl_where(g, epl_greater(g, open, onnx_scalar_like(n, open, 0)), p, onnx_scalar_like(n, p, 0)) : NULL;
}

static epl_value *with_past(onnx_node *n, epl_value *past, epl_value *now)
{
    return past ? epl_concat(n->g, 2, (epl_value *[]){ past, now }, 2) : now;
}

/* q [N, heads, L, D], k and v [N, heads, S, D]. *stage receives what `mode` asks for: 0 products, 1 capped, 2 masked, 3 softmax. */
static epl_value *attend(onnx_node *n, epl_value *q, epl_value *k, epl_value *v, const visibility *see, int64_t mode, epl_value **stage)
{
    epl_graph      *g = n->g;
    const double    scale = sqrt(onnx_real(n, "scale", 1 / sqrt((double)epl_dim(q, 3)))), cap = onnx_real(n, "softcap", 0);
    const epl_dtype wide = onnx_has_attr(n, "softmax_precision") ? onnx_dtype(onnx_int(n, "softmax_precision", 1)) : q->dtype;
    if (!epl_dtype_is_float(wide))
        return onnx_unsupported(n, "softmax in elements of type %s", epl_dtype_name(wide)), NULL;
    epl_value *s = epl_matmul(g, scaled(n, q, scale), scaled(n, k, scale), (epl_matmul_opts){ .trans_b = true });
    *stage = mode == 0 ? s : NULL;
    if (cap > 0)
        s = scaled(n, epl_tanh(g, scaled(n, s, 1 / cap)), cap);
    *stage = mode == 1 ? s : *stage;
    s = masked(n, s, see);
    *stage = mode == 2 ? s : *stage;
    s = s ? epl_cast(g, probabilities(n, epl_cast(g, s, wide), see), q->dtype) : NULL;
    *stage = mode == 3 ? s : *stage;
    return epl_matmul(g, s, v, (epl_matmul_opts){ 0 });
}

static bool import_attention(onnx_node *n)
{
    epl_value *q = onnx_in(n, 0), *k = onnx_in(n, 1), *v = onnx_in(n, 2), *past_k = onnx_in(n, 4), *past_v = onnx_in(n, 5), *stage = NULL;
    if (!q || !k || !v || (q->shape.rank != 3 && q->shape.rank != 4) || k->shape.rank != q->shape.rank || v->shape.rank != q->shape.rank)
        return onnx_unsupported(n, "inputs of %d axes", q ? q->shape.rank : 0);
    const epl_dtype type = q->dtype, wide = type == EPL_F64 ? EPL_F64 : EPL_F32; // half precision is kept at the ends alone
    const bool    together = q->shape.rank == 3;
    const int64_t heads = onnx_int(n, "q_num_heads", epl_dim(q, 1)), kv = onnx_int(n, "kv_num_heads", epl_dim(k, 1));
    q = epl_cast(n->g, heads_apart(n, q, heads), wide);
    k = with_past(n, past_k, heads_apart(n, k, kv));
    v = with_past(n, past_v, heads_apart(n, v, kv));
    if (!q || !k || !v)
        return false;
    n->out[1] = k;
    n->out[2] = v;
    k = epl_cast(n->g, k, wide);
    v = epl_cast(n->g, v, wide);
    const visibility see = read_visibility(n, epl_dim(q, 2), epl_dim(k, 2), past_k);
    epl_value *y = attend(n, q, shared_heads(n, k, epl_dim(q, 1)), shared_heads(n, v, epl_dim(q, 1)), &see,
                          onnx_int(n, "qk_matmul_output_mode", 0), &stage);
    n->out[3] = epl_cast(n->g, stage, type);
    y = epl_cast(n->g, y, type);
    return onnx_set(n, together ? heads_together(n, y) : y);
}

/* ---- FlexAttention: sub-graphs of one input change the scores and the probabilities ---- */
static epl_value *modified(onnx_node *n, const char *name, epl_value *x)
{
    return x && onnx_has_attr(n, name) ? onnx_call_graph(n, name, 1, &x) : x;
}

static bool import_flex_attention(onnx_node *n)
{
    epl_graph *g = n->g;
    epl_value *q = onnx_in(n, 0), *k = onnx_in(n, 1), *v = onnx_in(n, 2);
    if (!q || !k || !v || q->shape.rank != 4 || k->shape.rank != 4 || v->shape.rank != 4)
        return onnx_unsupported(n, "inputs of %d axes", q ? q->shape.rank : 0);
    const epl_dtype wide = onnx_has_attr(n, "softmax_precision") ? onnx_dtype(onnx_int(n, "softmax_precision", 1))
                           : q->dtype == EPL_F64                 ? EPL_F64
                                                                 : EPL_F32;
    const double    scale = onnx_real(n, "scale", 1 / sqrt((double)epl_dim(q, 3)));
    epl_value *s = epl_matmul(g, q, shared_heads(n, k, epl_dim(q, 1)), (epl_matmul_opts){ .trans_b = true });
    s = s ? modified(n, "score_mod", scaled(n, epl_cast(g, s, wide), scale)) : NULL;
    s = modified(n, "prob_mod", epl_softmax(g, s, -1));
    return s && onnx_set(n, epl_matmul(g, epl_cast(g, s, q->dtype), shared_heads(n, v, epl_dim(q, 1)), (epl_matmul_opts){ 0 }));
}

/* ---- LinearAttention: one step after the other, state S [N, heads, Dk, Dv] ---- */
typedef struct recurrence {
    epl_value *q, *k, *v, *decay, *beta; /* [N, heads, T, ...]; decay and beta may be NULL */
    bool       delta;
} recurrence;

/* Step t of x [N, heads, T, D] as [N, heads, D, 1] (column) or [N, heads, 1, D]. */
static epl_value *at_step(onnx_node *n, epl_value *x, int64_t t, bool column)
{
    epl_value *row = epl_slice_axis(n->g, x, 2, t, t + 1);
    return column ? epl_swap_axes(n->g, row, 2, 3) : row;
}

static epl_value *next_state(onnx_node *n, const recurrence *r, epl_value *state, int64_t t)
{
    epl_graph *g = n->g;
    epl_value *k = at_step(n, r->k, t, true), *v = at_step(n, r->v, t, false);
    if (r->decay)
        state = epl_mul(g, state, epl_exp(g, at_step(n, r->decay, t, true)));
    if (r->delta) {
        v = epl_sub(g, v, epl_matmul(g, k, state, (epl_matmul_opts){ .trans_a = true }));
        v = epl_mul(g, v, at_step(n, r->beta, t, false));
    }
    return epl_add(g, state, epl_mul(g, k, v));
}

static bool import_linear_attention(onnx_node *n)
{
    epl_graph    *g = n->g;
    const char   *rule = onnx_text(n, "update_rule", "gated_delta");
    const bool    gated = strncmp(rule, "gated", 5) == 0;
    const int64_t heads = onnx_int(n, "q_num_heads", 0), kv = onnx_int(n, "kv_num_heads", 0);
    recurrence    r = { .delta = strstr(rule, "delta") != NULL };
    epl_value    *q = onnx_in(n, 0), *past = onnx_in(n, 3), *decay = onnx_in(n, 4), *beta = onnx_in(n, 5);
    (void)onnx_int(n, "chunk_size", 64); // a hint
    if (!epl_glob("linear,gated,delta,gated_delta", rule))
        return onnx_unsupported(n, "update_rule '%s'", rule);
    const epl_dtype type = q ? q->dtype : EPL_F32, wide = type == EPL_F64 ? EPL_F64 : EPL_F32; // the state adds up over the steps
    q = epl_cast(n->g, q, wide);
    past = epl_cast(n->g, past, wide);
    decay = epl_cast(n->g, decay, wide);
    beta = epl_cast(n->g, beta, wide);
    if (!q || q->shape.rank != 3 || (decay && decay->shape.rank != 3) || (beta && beta->shape.rank != 3))
        return onnx_unsupported(n, "an input of %d axes; all should have 3", q ? q->shape.rank : 0);
    r.q = heads_apart(n, q, heads);
    r.k = heads_apart(n, epl_cast(n->g, onnx_in(n, 1), wide), kv);
    r.v = heads_apart(n, epl_cast(n->g, onnx_in(n, 2), wide), kv);
    if (!r.q || !r.k || !r.v || r.k->shape.rank != 4 || r.v->shape.rank != 4 || (gated && !decay) ||
        (r.delta && !beta) || epl_dim(q, 1) > 4096)
        return onnx_fail(n, EPL_ERR_SHAPE, "an input is missing, or a sequence of more than 4096 steps");
    r.decay = gated ? heads_apart(n, decay, kv) : NULL;
    r.beta = r.delta ? heads_apart(n, beta, epl_dim(beta, 2) == 1 ? 1 : kv) : NULL;
    const double  given = onnx_real(n, "scale", 0), scale = given != 0 ? given : 1 / sqrt((double)epl_dim(r.q, 3));
    const int64_t steps = epl_dim(q, 1), dk = epl_dim(r.k, 3), dv = epl_dim(r.v, 3);
    epl_value    *s = past ? past : epl_expand(g, onnx_scalar_like(n, q, 0), EPL_SHAPE(epl_dim(q, 0), kv, dk, dv));
    epl_value   **y = epl_alloc_array(onnx_context(n), (size_t)steps + 1, sizeof *y);
    for (int64_t t = 0; y && t < steps; t++) {
        s = next_state(n, &r, s, t);
        y[t] = epl_matmul(g, at_step(n, r.q, t, false), shared_heads(n, s, heads), (epl_matmul_opts){ 0 });
    }
    n->out[1] = epl_cast(g, s, type);
    n->out[0] = y ? epl_cast(g, heads_together(n, scaled(n, epl_concat(g, (int)steps, y, 2), scale)), type) : NULL;
    epl_release(onnx_context(n), y);
    return n->out[0] && n->out[1];
}

/* ---- RotaryEmbedding, Su et al. 2021 (arXiv:2104.09864): pairs of channels turn by an angle that grows with the po */
static bool import_rotary(onnx_node *n)
{
    epl_graph *g = n->g;
    epl_value *x = onnx_in(n, 0), *c = onnx_in(n, 1), *s = onnx_in(n, 2), *ids = onnx_in(n, 3);
    if (!x || !c || !s)
        return false;
    const bool together = x->shape.rank == 3, interleaved = onnx_int(n, "interleaved", 0) != 0;
    epl_value *h = heads_apart(n, x, onnx_int(n, "num_heads", 0));
    const int64_t size = epl_dim(h, 3), part = onnx_int(n, "rotary_embedding_dim", 0), turned = part ? part : size;
    const int     heads_axis = 1;
    if (!h || turned < 2 || turned % 2 || turned > size)
        return onnx_unsupported(n, "%lld of %lld channels", (long long)turned, (long long)size);
    if (ids) {
        c = epl_gather(g, c, ids, 0);
        s = epl_gather(g, s, ids, 0);
    }
    c = epl_unsqueeze(g, c, 1, &heads_axis);
    s = epl_unsqueeze(g, s, 1, &heads_axis);
    epl_value *body = epl_slice_axis(g, h, 3, 0, turned), *a, *b;
    const epl_slice_opts even = { .n_axes = 1, .axes = { 3 }, .starts = { 0 }, .ends = { EPL_END }, .steps = { 2 } };
    epl_slice_opts       odd = even;
    odd.starts[0] = 1;
    a = interleaved ? epl_slice(g, body, even) : epl_slice_axis(g, body, 3, 0, turned / 2);
    b = interleaved ? epl_slice(g, body, odd) : epl_slice_axis(g, body, 3, turned / 2, turned);
    epl_value *pair[2] = { epl_sub(g, epl_mul(g, c, a), epl_mul(g, s, b)), epl_add(g, epl_mul(g, s, a), epl_mul(g, c, b)) };
    epl_value *y = interleaved ? epl_reshape_like(g, epl_stack(g, 2, pair, 4), body) : epl_concat(g, 2, pair, 3);
    if (turned < size)
        y = epl_concat(g, 2, (epl_value *[]){ y, epl_slice_axis(g, h, 3, turned, size) }, 3);
    return onnx_set(n, together ? heads_together(n, y) : y);
}

/* ---- TensorScatter: rows of a cache [N, ..., L, ...] replaced from a place of each sample's own ---- */
static bool import_tensor_scatter(onnx_node *n)
{
    epl_graph  *g = n->g;
    epl_value  *cache = onnx_in(n, 0), *update = onnx_in(n, 1), *at = onnx_in(n, 2);
    const char *mode = onnx_text(n, "mode", "linear");
    int         axis;
    if (!cache || !update || !onnx_axis(n, onnx_int(n, "axis", -2), cache->shape.rank, &axis))
        return false;
    if (axis == 0 || !epl_glob("linear,circular", mode) || update->shape.rank != cache->shape.rank)
        return onnx_unsupported(n, "axis %d, mode '%s'", axis, mode);
    epl_shape along = { .rank = cache->shape.rank }, samples = along;
    for (int i = 0; i < along.rank; i++) {
        along.dim[i] = i == axis ? epl_dim(update, axis) : 1;
        samples.dim[i] = i == 0 ? -1 : 1;
    }
    epl_value *rows = epl_reshape(g, epl_range(g, EPL_I64, 0, (double)epl_dim(update, axis), 1), along);
    if (at)
        rows = epl_add(g, rows, epl_reshape(g, epl_cast(g, at, EPL_I64), samples));
    if (strcmp(mode, "circular") == 0)
        rows = epl_mod(g, rows, epl_scalar(g, EPL_I64, (double)epl_dim(cache, axis)));
    return onnx_set(n, epl_scatter_elements(g, cache, epl_expand_like(g, rows, update), update, axis, EPL_SCATTER_SET));
}

/* ---- CausalConvWithState: x [N, C, L], each channel with its own taps over the past ---- */
static bool import_causal_conv(onnx_node *n)
{
    epl_graph  *g = n->g;
    epl_value  *x = onnx_in(n, 0), *w = onnx_in(n, 1), *bias = onnx_in(n, 2), *past = onnx_in(n, 3);
    const char *activation = onnx_text(n, "activation", "none");
    if (!x || !w)
        return false;
    if (x->shape.rank != 3 || w->shape.rank != 3 || !epl_glob("none,silu,swish", activation))
        return onnx_unsupported(n, "an input of %d axes, activation '%s'", x->shape.rank, activation);
    const int64_t before = epl_dim(w, 2) - 1;
    epl_pad_opts  pad = { .mode = EPL_PAD_CONSTANT, .before = { 0, 0, before } };
    epl_value    *all = past ? epl_concat(g, 2, (epl_value *[]){ past, x }, 2) : before ? epl_pad(g, x, pad) : x;
    epl_value    *k = epl_permute(g, w, EPL_SHAPE(2, 1, 0));
    epl_value    *y = epl_convolve(g, epl_permute(g, all, EPL_SHAPE(0, 2, 1)), k, bias,
                                   (epl_convolve_opts){ .groups = (int)epl_dim(x, 1) });
    y = strcmp(activation, "none") == 0 ? y : epl_silu(g, y);
    n->out[1] = epl_slice_axis(g, all, 2, epl_dim(x, 2), EPL_END);
    return onnx_set(n, epl_permute(g, y, EPL_SHAPE(0, 2, 1))) && n->out[1];
}

const onnx_op onnx_ops_attention[] = {
    { "Attention", import_attention, NULL }, { "ai.onnx.preview:FlexAttention", import_flex_attention, NULL },
    { "LinearAttention", import_linear_attention, NULL }, { "RotaryEmbedding", import_rotary, NULL },
    { "TensorScatter", import_tensor_scatter, NULL }, { "CausalConvWithState", import_causal_conv, NULL }, { NULL, NULL, NULL },
};
