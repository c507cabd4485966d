/* random: draws as operators. Every element is a pure function of the key's seed and step, the node's stream and the element's
 * index: Philox 4x32-10 (Salmon et al. 2011) with the counter { index / 4, stream, step } and the seed as its key. So draws can
 * be made by any thread in any order, and again after a crash. Dropout and DropPath, which draw only while training, too. */
#include "ops/dense.h"

/* begin reference */
static inline void epl_random_block(const epl_view *key, int64_t stream, int64_t block, uint32_t out[4])
{
    const uint64_t seed = (uint64_t)epl_ref_get_i64(key, 0), step = (uint64_t)epl_ref_get_i64(key, 1);
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)stream, c2 = (uint32_t)step, c3 = (uint32_t)(step >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Attributes: shape, dtype, stream, then one or two reals. */
enum { EPL_RANDOM_UNIFORM, EPL_RANDOM_NORMAL, EPL_RANDOM_BERNOULLI };

/* Draw i of a block: 24 bits in [0, 1); or two draws by Box-Muller, cosine for the even, sine for the odd element. */
static inline double epl_random_value(int kind, const uint32_t u[4], int64_t i, double a, double b)
{
    if (kind == EPL_RANDOM_NORMAL) {
        const double r = sqrt(-2 * log(((double)u[i & 2] + 1) * 0x1p-32)), angle = (double)u[(i & 2) + 1] * (6.283185307179586 * 0x1p-32);
        return a + b * r * (i & 1 ? sin(angle) : cos(angle));
    }
    const double x = (double)(u[i] >> 8) * 0x1p-24;
    return kind == EPL_RANDOM_UNIFORM ? a + (b - a) * x : x < a;
}

static inline void epl_random_fill(const epl_ref_call *c, int kind, double a, double b)
{
    const epl_view *y = &c->out[0];
    const int64_t   n = epl_view_count(y);
    uint32_t        u[4];
    for (int64_t i = 0; i < n; i++) {
        if (i % 4 == 0)
            epl_random_block(&c->in[0], c->attr[2].i, i / 4, u);
        epl_ref_set(y, i, epl_random_value(kind, u, i % 4, a, b));
    }
}

static void epl_ref_random_uniform(const epl_ref_call *c) { epl_random_fill(c, EPL_RANDOM_UNIFORM, c->attr[3].r, c->attr[4].r); }
static void epl_ref_random_normal(const epl_ref_call *c) { epl_random_fill(c, EPL_RANDOM_NORMAL, c->attr[3].r, c->attr[4].r); }
static void epl_ref_random_bernoulli(const epl_ref_call *c) { epl_random_fill(c, EPL_RANDOM_BERNOULLI, c->attr[3].r, 0); }

static void epl_ref_dropout(const epl_ref_call *c)
{
    memcpy(c->out[0].data, c->in[0].data, (size_t)(epl_view_count(&c->in[0]) * epl_ref_bytes(c->in[0].dtype)));
}
/* end reference */

/* ---- draws: (key, like); the shape is the attribute's, where EPL_KEEP stands for like's dimension; empty: like's - */
enum { SHAPE, DTYPE, STREAM, FIRST, SECOND };

static bool random_infer(epl_node *n)
{
    const epl_value *like = epl_node_input(n, 1);
    const epl_attr  *list = &n->attrs[SHAPE];
    epl_shape        shape = { .rank = list->n };
    if (n->inputs[0]->dtype != EPL_I64 || !epl_shape_equal(n->inputs[0]->shape, EPL_SHAPE(2)))
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "the key must be i64[2], { seed, step }");
    if (n->attrs[DTYPE].i <= EPL_NO_DTYPE || n->attrs[DTYPE].i >= EPL_N_DTYPES)
        return epl_node_fail(n, EPL_ERR_DTYPE, "there is no element type %lld", (long long)n->attrs[DTYPE].i);
    if (like && list->n && list->n != like->shape.rank)
        return epl_node_fail(n, EPL_ERR_SHAPE, "a shape of rank %d like a tensor of rank %d", list->n, like->shape.rank);
    if (list->n > EPL_MAX_RANK)
        return epl_node_fail(n, EPL_ERR_SHAPE, "a shape of rank %d; at most %d are possible", list->n, EPL_MAX_RANK);
    for (int i = 0; i < list->n; i++)
        shape.dim[i] = like && list->ints[i] == EPL_KEEP ? like->shape.dim[i] : list->ints[i];
    return epl_set_type(n, 0, (epl_dtype)n->attrs[DTYPE].i, like && !list->n ? like->shape : shape);
}

static epl_node *sample_random(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op)
{
    const epl_shape shape = epl_pick_shape(r, epl_pick(r, 0, 4), 1, 4);
    epl_value      *key = epl_sample_input(g, EPL_I64, EPL_SHAPE(2), 0, 1000, 0);
    const epl_attr  attrs[EPL_MAX_ATTRS] = { EPL_A_INTS(shape.rank, shape.dim), EPL_A_I(dtype), EPL_A_I(epl_pick(r, 0, 1000)),
                                             EPL_A_R(0.25), EPL_A_R(2) };
    return epl_node_add(g, op, EPL_IN(key), attrs, 0, NULL);
}

#define SAMPLE(name)                                                                                                   \
    static epl_node *name##_sample(epl_graph *g, epl_rng *r, epl_dtype dtype)                                          \
    {                                                                                                                  \
        return sample_random(g, r, dtype, &epl_op_##name);                                                             \
    }
SAMPLE(random_uniform)
SAMPLE(random_normal)
SAMPLE(random_bernoulli)

#define DRAW_ATTRS                                                                                                     \
    { "shape", EPL_ATTR_INTS }, { "dtype", EPL_ATTR_DTYPE, .def_i = EPL_F32 }, { "stream", EPL_ATTR_INT, .required = true }

const epl_op epl_op_random_uniform = {
    .name = "RandomUniform", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .flags = EPL_OP_RANDOM, .shape_only = 2,
    .attrs = { DRAW_ATTRS, { "low", EPL_ATTR_REAL }, { "high", EPL_ATTR_REAL, .def_r = 1 } },
    .infer = random_infer, EPL_REF(epl_ref_random_uniform), .sample = random_uniform_sample,
};

const epl_op epl_op_random_normal = {
    .name = "RandomNormal", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .flags = EPL_OP_RANDOM, .shape_only = 2,
    .attrs = { DRAW_ATTRS, { "mean", EPL_ATTR_REAL }, { "scale", EPL_ATTR_REAL, .def_r = 1 } },
    .infer = random_infer, EPL_REF(epl_ref_random_normal), .sample = random_normal_sample,
};

const epl_op epl_op_random_bernoulli = {
    .name = "RandomBernoulli", .n_inputs = 2, .min_inputs = 1, .n_outputs = 1, .flags = EPL_OP_RANDOM, .shape_only = 2,
    .attrs = { DRAW_ATTRS, { "p", EPL_ATTR_REAL, .def_r = 0.5 } },
    .infer = random_infer, EPL_REF(epl_ref_random_bernoulli), .sample = random_bernoulli_sample,
};

static epl_value *draw(epl_graph *g, const epl_op *op, epl_value *key, epl_random_opts o, double first, double second)
{
    if (!key || epl_graph_failed(g))
        return NULL;
    const int64_t stream = g->root->next_stream++;
    const epl_attr attrs[EPL_MAX_ATTRS] = { EPL_A_INTS(o.shape.rank, o.shape.dim),
                                            EPL_A_I(o.dtype ? o.dtype : o.like ? o.like->dtype : EPL_F32), EPL_A_I(stream),
                                            EPL_A_R(first), EPL_A_R(second) };
    return epl_apply(g, op, EPL_IN(key, o.like), attrs);
}

epl_value *epl_random_uniform(epl_graph *g, epl_value *key, double low, double high, epl_random_opts o)
{
    return draw(g, &epl_op_random_uniform, key, o, low, high);
}

epl_value *epl_random_normal(epl_graph *g, epl_value *key, double mean, double std, epl_random_opts o)
{
    return draw(g, &epl_op_random_normal, key, o, mean, std);
}

epl_value *epl_random_bernoulli(epl_graph *g, epl_value *key, double p, epl_random_opts o)
{
    return draw(g, &epl_op_random_bernoulli, key, o, p, 0);
}

/* ---- Dropout, DropPath: neutral, the identity until a program is made for training ------------------------------- */
static bool dropout_infer(epl_node *n)
{
    const double rate = n->attrs[0].r;
    if (!(rate >= 0 && rate < 1))
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "the rate is %g, but must be in [0, 1)", rate);
    return epl_check_floats(n, 1) && epl_infer_same(n);
}

static bool dropout_expand(epl_graph *g, const epl_node *n, epl_value **out)
{
    out[0] = epl_identity(g, n->inputs[0]);
    return out[0] != NULL;
}

static epl_node *sample_drop(epl_graph *g, epl_rng *r, epl_dtype dtype, const epl_op *op)
{
    epl_value *x = epl_sample_input(g, dtype, epl_pick_shape(r, epl_pick(r, 1, 4), 1, 4), -1, 1, 0);
    return epl_node_add(g, op, EPL_IN(x), (epl_attr[EPL_MAX_ATTRS]){ EPL_A_R(0.5) }, 0, NULL);
}

static epl_node *dropout_sample(epl_graph *g, epl_rng *r, epl_dtype dtype) { return sample_drop(g, r, dtype, &epl_op_dropout); }
static epl_node *drop_path_sample(epl_graph *g, epl_rng *r, epl_dtype dtype) { return sample_drop(g, r, dtype, &epl_op_drop_path); }

const epl_op epl_op_dropout = {
    .name = "Dropout", .n_inputs = 1, .n_outputs = 1, .flags = EPL_OP_MODAL,
    .attrs = { { "rate", EPL_ATTR_REAL, .required = true }, { "whole_channels", EPL_ATTR_BOOL } },
    .infer = dropout_infer, .expand = dropout_expand, EPL_REF(epl_ref_dropout), .sample = dropout_sample,
};

const epl_op epl_op_drop_path = {
    .name = "DropPath", .n_inputs = 1, .n_outputs = 1, .flags = EPL_OP_MODAL,
    .attrs = { { "rate", EPL_ATTR_REAL, .required = true } },
    .infer = dropout_infer, .expand = dropout_expand, EPL_REF(epl_ref_dropout), .sample = drop_path_sample,
};

epl_value *epl_dropout(epl_graph *g, epl_value *x, double rate, bool whole_channels)
{
    return epl_apply(g, &epl_op_dropout, EPL_IN(x), (epl_attr[]){ EPL_A_R(rate), EPL_A_I(whole_channels) });
}

epl_value *epl_drop_path(epl_graph *g, epl_value *x, double rate)
{
    return epl_apply(g, &epl_op_drop_path, EPL_IN(x), (epl_attr[]){ EPL_A_R(rate) });
}

/* x where a mask of one byte per element holds, scaled so that its expectation stays; the gradient needs the mask alone. */
static epl_value *drop(epl_graph *g, epl_value *x, double rate, epl_value *key, epl_shape mask)
{
    if (!(rate >= 0 && rate < 1))
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "dropout: the rate is %g, but must be in [0, 1)", rate);
    epl_value *keep = epl_random_bernoulli(g, key, 1 - rate, (epl_random_opts){ .like = x, .shape = mask, .dtype = EPL_BOOL });
    return x ? epl_where(g, keep, epl_affine(g, x, 1 / (1 - rate), 0), epl_scalar(g, epl_dtype_of(x), 0)) : NULL;
}

epl_value *epl_dropout_train(epl_graph *g, epl_value *x, double rate, bool whole_channels, epl_value *key)
{
    epl_shape mask = { .rank = x && whole_channels ? x->shape.rank : 0 }; // [N, 1..., C], or x's
    for (int i = 1; i < mask.rank - 1; i++)
        mask.dim[i] = 1;
    return drop(g, x, rate, key, mask);
}

epl_value *epl_drop_path_train(epl_graph *g, epl_value *x, double rate, epl_value *key)
{
    epl_shape mask = { .rank = x ? x->shape.rank : 0 }; // [N, 1...]
    for (int i = 1; i < mask.rank; i++)
        mask.dim[i] = 1;
    return drop(g, x, rate, key, mask);
}
