/* code: numbers as 8-bit codes in blocks - each block divided by its greatest magnitude, each number then replaced by that of the
 * nearest of 256 values. Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization (arXiv:2110.02861). */
#include <espalier/ops.h>

#include "graph/op.h"
#include "ops/axes.h"

enum { BLOCK, KEEP_NONZERO, N_ATTRS };

/* begin reference */
/* The code of y: how many midpoints of neighbours lie below it, so the nearest value and of two the first. With `keep`, a number
 * that is not 0 takes a value of its own sign, where there is one. */
static inline int64_t ref_code_nearest(const float *map, float y, int keep)
{
    int64_t low = 0, high = 255;
    while (low < high) {
        const int64_t k = (low + high) / 2;
        if ((double)y > ((double)map[k] + (double)map[k + 1]) / 2)
            low = k + 1;
        else
            high = k;
    }
    while (keep && y > 0 && map[low] <= 0 && map[255] > 0)
        low++;
    while (keep && y < 0 && map[low] >= 0 && map[0] < 0)
        low--;
    return low;
}

/* Between two neighbours the upper one with a probability that grows from 0 to 1 between them. */
static inline int64_t ref_code_drawn(const float *map, float y, float draw)
{
    int64_t low = 0, high = 254;
    while (low < high) {
        const int64_t k = (low + high + 1) / 2;
        if (map[k] <= y)
            low = k;
        else
            high = k - 1;
    }
    return low + ((double)draw * ((double)map[low + 1] - (double)map[low]) < (double)y - (double)map[low]);
}

static inline float ref_code_finite(float x) { return fabsf(x) <= 3.402823466e38f ? x : 0.0f; }

static inline float ref_code_maximum(const float *x, int64_t n)
{
    float most = 0.0f;
    for (int64_t i = 0; i < n; i++)
        most = fabsf(ref_code_finite(x[i])) > most ? fabsf(x[i]) : most;
    return most;
}

/* What a block's numbers are multiplied with: one division a block. The least normal number has an inverse, too. */
static inline float ref_code_inverse(float maximum)
{
    return maximum > 0.0f ? 1.0f / (maximum > 1.17549435e-38f ? maximum : 1.17549435e-38f) : 0.0f;
}

static inline void ref_code_blocks(const float *x, int64_t n, int64_t block, const float *map, int keep, const float *draws,
                                   uint8_t *codes, float *maxima)
{
    for (int64_t b = 0; b * block < n; b++) {
        const int64_t end = (b + 1) * block < n ? (b + 1) * block : n;
        maxima[b] = ref_code_maximum(x + b * block, end - b * block);
        const float inverse = ref_code_inverse(maxima[b]);
        for (int64_t i = b * block; i < end; i++) {
            const float y = ref_code_finite(x[i]) * inverse;
            codes[i] = (uint8_t)(draws ? ref_code_drawn(map, y, draws[i]) : ref_code_nearest(map, y, keep));
        }
    }
}

/* A length of 0 means: the whole tensor is one block. */
static inline int64_t ref_code_block(int64_t block, int64_t n) { return block ? block : n > 0 ? n : 1; }

static void ref_quantize_blockwise(const epl_ref_call *c)
{
    const int64_t n = epl_view_count(&c->in[0]);
    ref_code_blocks(c->in[0].data, n, ref_code_block(c->attr[0].i, n), c->in[1].data, c->attr[1].i != 0,
                    c->n_in > 2 ? c->in[2].data : NULL, c->out[0].data, c->out[1].data);
}

static void ref_dequantize_blockwise(const epl_ref_call *c)
{
    const int64_t  n = epl_view_count(&c->in[0]), block = ref_code_block(c->attr[0].i, n);
    const uint8_t *codes = c->in[0].data;
    const float   *maxima = c->in[1].data, *map = c->in[2].data;
    float         *y = c->out[0].data;
    for (int64_t i = 0; i < n; i++)
        y[i] = map[codes[i]] * maxima[i / block];
}
/* end reference */

int64_t epl_code_n_blocks(int64_t n, int64_t block)
{
    const int64_t length = ref_code_block(block, n);
    return (n + length - 1) / length;
}

static bool check_map(const epl_node *n, const epl_value *map)
{
    return (map->dtype == EPL_F32 && epl_shape_equal(map->shape, EPL_SHAPE(256))) ||
           epl_node_fail(n, EPL_ERR_SHAPE, "the map has to be 256 numbers of type f32");
}

static bool check_block(const epl_node *n)
{
    const int64_t b = n->attrs[BLOCK].i;
    return b == 0 || (b >= 64 && b <= 4096 && (b & (b - 1)) == 0) ||
           epl_node_fail(n, EPL_ERR_ARGUMENT, "blocks of %lld elements; a power of two from 64 to 4096 is needed, or 0 for one block",
                         (long long)b);
}

static bool infer_quantize(epl_node *n)
{
    const epl_value *x = n->inputs[0], *draws = n->n_inputs > 2 ? n->inputs[2] : NULL;
    if (x->dtype != EPL_F32 || (draws && (draws->dtype != EPL_F32 || !epl_shape_equal(draws->shape, x->shape))))
        return epl_node_fail(n, EPL_ERR_DTYPE, "numbers and draws are of type f32 and of one shape");
    return check_map(n, n->inputs[1]) && check_block(n) && epl_set_type(n, 0, EPL_U8, x->shape) &&
           epl_set_type(n, 1, EPL_F32, EPL_SHAPE(epl_code_n_blocks(epl_shape_count(x->shape), n->attrs[BLOCK].i)));
}

static bool infer_dequantize(epl_node *n)
{
    const epl_value *codes = n->inputs[0], *maxima = n->inputs[1];
    const int64_t    blocks = epl_code_n_blocks(epl_shape_count(codes->shape), n->attrs[BLOCK].i);
    if (codes->dtype != EPL_U8 || maxima->dtype != EPL_F32)
        return epl_node_fail(n, EPL_ERR_DTYPE, "codes are u8 and maxima f32, not %s and %s", epl_dtype_name(codes->dtype),
                             epl_dtype_name(maxima->dtype));
    if (!check_map(n, n->inputs[2]) || !check_block(n))
        return false;
    if (!epl_shape_equal(maxima->shape, EPL_SHAPE(blocks)))
        return epl_node_fail(n, EPL_ERR_SHAPE, "%lld maxima for %lld blocks", (long long)epl_shape_count(maxima->shape), (long long)blocks);
    return epl_set_type(n, 0, EPL_F32, codes->shape);
}

static epl_code_map random_map(epl_rng *r) { return (epl_code_map)epl_rng_below(r, 4); }

static epl_node *sample_quantize(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    (void)dtype; // f32 alone
    const bool     drawn = epl_rng_below(r, 4) == 0;
    const epl_attr attrs[N_ATTRS] = { EPL_A_I(epl_rng_below(r, 2) ? 64 : 0), EPL_A_I((int64_t)epl_rng_below(r, 2)) };
    const epl_shape s = EPL_SHAPE(epl_random_between(r, 1, 5), epl_random_between(r, 1, 40));
    epl_value *x = epl_sample_input(g, EPL_F32, s, -2, 2, 0), *map = epl_code_values(g, random_map(r));
    epl_value *draws = drawn ? epl_sample_input(g, EPL_F32, s, 0, 1, 0) : NULL;
    return epl_node_add(g, &epl_op_quantize_blockwise, EPL_IN(x, map, draws), attrs, 0, NULL);
}

static epl_node *sample_dequantize(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    (void)dtype;
    const epl_attr  attrs[N_ATTRS] = { EPL_A_I(epl_rng_below(r, 2) ? 64 : 0) };
    const epl_shape s = EPL_SHAPE(epl_random_between(r, 1, 5), epl_random_between(r, 1, 40));
    epl_value *codes = epl_sample_input(g, EPL_U8, s, 0, 255, 0);
    epl_value *maxima = epl_sample_input(g, EPL_F32, EPL_SHAPE(epl_code_n_blocks(epl_shape_count(s), attrs[BLOCK].i)), 0, 2, 0);
    return epl_node_add(g, &epl_op_dequantize_blockwise, EPL_IN(codes, maxima, epl_code_values(g, random_map(r))), attrs, 0, NULL);
}

const epl_op epl_op_quantize_blockwise = {
    .name = "QuantizeBlockwise", .n_inputs = 3, .min_inputs = 2, .n_outputs = 2,
    .attrs = { [BLOCK] = { "block", EPL_ATTR_INT, .def_i = 2048 }, [KEEP_NONZERO] = { "keep_nonzero", EPL_ATTR_BOOL } },
    .infer = infer_quantize, EPL_REF(ref_quantize_blockwise), .sample = sample_quantize,
};

const epl_op epl_op_dequantize_blockwise = {
    .name = "DequantizeBlockwise", .n_inputs = 3, .n_outputs = 1,
    .attrs = { [BLOCK] = { "block", EPL_ATTR_INT, .def_i = 2048 } },
    .infer = infer_dequantize, EPL_REF(ref_dequantize_blockwise), .sample = sample_dequantize,
};

/* ---- maps ---- */

/* Decade i, from 10^(i-7) to 10^(i-6), is cut into `first` 2^i cells, and each takes the number in its middle. */
static int positive_values(float *to, int first)
{
    int n = 0;
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < first << i; j++)
            to[n++] = (float)(pow(10, i - 6) * (0.1 + 0.9 * (j + 0.5) / (first << i)));
    to[n++] = 1;
    return n;
}

void epl_code_map_fill(epl_code_map kind, float to[256])
{
    for (int i = 0; i < 256; i++)
        to[i] = kind == EPL_CODE_LINEAR ? (float)fmin((i - 127) / 127.0, 1) : (float)(i / 255.0);
    if (kind == EPL_CODE_DYNAMIC) {
        const int n = positive_values(to + 128, 1);
        to[127] = 0;
        for (int i = 0; i + 1 < n; i++) // the greatest has no negative twin
            to[126 - i] = -to[128 + i];
    }
    if (kind == EPL_CODE_DYNAMIC_UNSIGNED) {
        to[0] = 0;
        positive_values(to + 1, 2);
    }
}

int epl_code_of_zero(epl_code_map kind) { return kind == EPL_CODE_DYNAMIC || kind == EPL_CODE_LINEAR ? 127 : 0; }

epl_value *epl_code_values(epl_graph *g, epl_code_map kind)
{
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_F32, EPL_SHAPE(256));
    if (t)
        epl_code_map_fill(kind, t->data);
    epl_value *v = t ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return v;
}

/* ---- builders ---- */

epl_value *epl_quantize_blockwise(epl_graph *g, epl_value *x, epl_value *map, epl_blockwise_opts o, epl_value **maxima)
{
    const epl_attr  attrs[N_ATTRS] = { EPL_A_I(o.block), EPL_A_I(o.keep_nonzero) };
    const epl_node *n = x && map ? epl_node_add(g, &epl_op_quantize_blockwise, EPL_IN(x, map, o.draws), attrs, 0, NULL) : NULL;
    *maxima = n ? n->outputs[1] : NULL;
    return n ? n->outputs[0] : NULL;
}

epl_value *epl_dequantize_blockwise(epl_graph *g, epl_value *codes, epl_value *maxima, epl_value *map, int64_t block)
{
    const epl_attr attrs[N_ATTRS] = { EPL_A_I(block) };
    return codes && maxima && map ? epl_apply(g, &epl_op_dequantize_blockwise, EPL_IN(codes, maxima, map), attrs) : NULL;
}

void epl_code_blocks(const float *x, int64_t n, int64_t block, const float map[256], bool keep_nonzero, uint8_t *codes, float *maxima)
{
    ref_code_blocks(x, n, ref_code_block(block, n), map, keep_nonzero, NULL, codes, maxima);
}
