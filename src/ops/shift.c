/* shift: weights that are powers of two, unpacked from codes of a few bits - Li et al. 2023, DenseShift (arXiv:2208.09708). */
#include <espalier/ops.h>

#include "graph/op.h"
#include "ops/axes.h"

enum { BITS, SHAPE, N_ATTRS };

/* begin reference */
/* The highest bit of a code is the sign, the others the exponent. */
static void ref_shift_weight(const epl_ref_call *c)
{
    const int64_t bits = c->attr[0].i;
    float        *y = c->out[0].data;
    for (int64_t i = 0; i < epl_view_count(&c->out[0]); i++) {
        const unsigned code = epl_ref_code(c->in[0].data, i, bits), exponent = code & ((1u << (bits - 1)) - 1);
        y[i] = (float)(1u << exponent) * (code >> (bits - 1) ? -1.0f : 1.0f);
    }
}
/* end reference */

int64_t epl_shift_packed_bytes(int64_t n, int bits) { return (n * bits + 7) / 8; }

void epl_shift_pack_codes(const uint8_t *codes, int64_t n, int bits, uint8_t *packed)
{
    memset(packed, 0, (size_t)epl_shift_packed_bytes(n, bits));
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = i * bits;
        packed[at / 8] |= (uint8_t)(codes[i] << at % 8);
        if (at % 8 + bits > 8)
            packed[at / 8 + 1] |= (uint8_t)(codes[i] >> (8 - at % 8));
    }
}

static bool infer_shift_weight(epl_node *n)
{
    const int64_t bits = n->attrs[BITS].i;
    epl_shape     s = { .rank = n->attrs[SHAPE].n };
    if (bits < 2 || bits > 4)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "codes of %lld bits; 2, 3 or 4 are possible", (long long)bits);
    if (s.rank > EPL_MAX_RANK)
        return epl_node_fail(n, EPL_ERR_SHAPE, "%d axes; at most %d are possible", s.rank, EPL_MAX_RANK);
    for (int i = 0; i < s.rank; i++) {
        s.dim[i] = n->attrs[SHAPE].ints[i];
        if (s.dim[i] < 0 || s.dim[i] > INT64_C(1) << 32)
            return epl_node_fail(n, EPL_ERR_SHAPE, "axis %d has %lld elements", i, (long long)s.dim[i]);
    }
    if (!epl_set_type(n, 0, EPL_F32, s))
        return false;
    const int64_t want = epl_shift_packed_bytes(epl_shape_count(s), (int)bits);
    if (n->inputs[0]->dtype != EPL_U8 || !epl_shape_equal(n->inputs[0]->shape, EPL_SHAPE(want)))
        return epl_node_fail(n, EPL_ERR_SHAPE, "%lld codes of %lld bits are %lld bytes of type u8", (long long)epl_shape_count(s),
                             (long long)bits, (long long)want);
    return true;
}

/* Eight codes are `bits` bytes: as one number each, cut into codes, which number the values in a table. */
static bool expand_shift_weight(epl_graph *g, const epl_node *n, epl_value **out)
{
    const int64_t bits = n->attrs[BITS].i, count = epl_shape_count(n->outputs[0]->shape), groups = (count + 7) / 8,
                  half = (int64_t)1 << (bits - 1);
    int64_t     bytes[4], codes[8];
    epl_tensor *values = epl_tensor_new(g->ctx, EPL_F32, EPL_SHAPE(2 * half));
    for (int64_t i = 0; i < bits; i++)
        bytes[i] = (int64_t)1 << 8 * i;
    for (int64_t i = 0; i < 8; i++)
        codes[i] = (int64_t)1 << bits * i;
    for (int64_t i = 0; values && i < 2 * half; i++)
        ((float *)values->data)[i] = (float)(1 << i % half) * (i < half ? 1.0f : -1.0f);
    epl_value *v = epl_cast(g, n->inputs[0], EPL_I64), *table = values ? epl_constant(g, values) : NULL;
    const int64_t missing = groups * bits - epl_shift_packed_bytes(count, (int)bits);
    epl_tensor_free(values);
    if (missing > 0 && v)
        v = epl_concat(g, 2, (epl_value *[]){ v, epl_expand(g, epl_scalar(g, EPL_I64, 0), EPL_SHAPE(missing)) }, 0);
    v = epl_mul(g, epl_reshape(g, v, EPL_SHAPE(groups, bits)), epl_constant_i64(g, (int)bits, bytes));
    v = epl_reduce_sum(g, v, (epl_reduce_opts){ .n_axes = 1, .axes = { 1 }, .keep = true });
    v = epl_mod(g, epl_div(g, v, epl_constant_i64(g, 8, codes)), epl_scalar(g, EPL_I64, (double)(2 * half)));
    v = epl_slice_axis(g, epl_reshape(g, v, EPL_SHAPE(groups * 8)), 0, 0, count);
    *out = epl_reshape(g, epl_gather(g, table, v, 0), n->outputs[0]->shape);
    return *out != NULL;
}

static epl_node *sample_shift_weight(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    (void)dtype; // f32 alone
    const int64_t  bits = epl_random_between(r, 2, 4), dim[2] = { epl_random_between(r, 1, 5), epl_random_between(r, 1, 7) };
    const epl_attr attrs[N_ATTRS] = { EPL_A_I(bits), EPL_A_INTS(2, dim) };
    epl_value *codes = epl_sample_input(g, EPL_U8, EPL_SHAPE(epl_shift_packed_bytes(dim[0] * dim[1], (int)bits)), 0, 255, 0);
    return epl_node_add(g, &epl_op_shift_weight, EPL_IN(codes), attrs, 0, NULL);
}

const epl_op epl_op_shift_weight = {
    .name = "ShiftWeight", .n_inputs = 1, .n_outputs = 1,
    .attrs = { [BITS] = { "bits", EPL_ATTR_INT, .required = true }, [SHAPE] = { "shape", EPL_ATTR_INTS, .required = true } },
    .infer = infer_shift_weight, .expand = expand_shift_weight, EPL_REF(ref_shift_weight), .sample = sample_shift_weight,
};

epl_value *epl_shift_weight(epl_graph *g, epl_value *codes, int bits, epl_shape shape)
{
    const epl_attr attrs[N_ATTRS] = { EPL_A_I(bits), EPL_A_INTS(shape.rank, shape.dim) };
    return codes ? epl_apply(g, &epl_op_shift_weight, EPL_IN(codes), attrs) : NULL;
}
