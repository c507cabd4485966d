/* lower_gemm: matrix products on the gemm kernel. Transposition is a matter of strides. */
#include "program/lower.h"

static bool all_f32(const epl_node *n)
{
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i] && n->inputs[i]->dtype != EPL_F32)
            return false;
    return true;
}

/* Few rows do not repay the packing of a matrix that is used once; constant matrices are packed when the program is made. */
static bool worth_packing(const epl_block *b, const epl_gemm_params *p, int matrix)
{
    const epl_place place = epl_seen_buffer(b, matrix)->place; // of a fused node's input the producer is not at hand
    return p->rows >= 64 || ((place == EPL_PLACE_TENSOR || place == EPL_PLACE_CONSTANT) && b->program->opts.frozen);
}

static bool gemm(epl_block *b, const epl_node *n, epl_gemm_params p, const epl_value *bv, int bias)
{
    const int a = epl_buffer_of(b, n->inputs[0]), c = epl_buffer_of(b, n->outputs[0]);
    int       matrix = epl_buffer_of(b, bv);
    if (worth_packing(b, &p, matrix)) {
        matrix = epl_pack(b, n, "gemm_pack", &p, sizeof p, matrix,
                          (size_t)epl_gemm_packed_floats(&p, b->program->kernels->vector) * sizeof(float));
        if (matrix < 0)
            return false;
        p.b_packed = 1;
    }
    return epl_kernel_add(b, n, "gemm", &p, sizeof p, 3, (int[]){ a, matrix, bias }, 1, &c) != NULL;
}

/* Rows times weights that are known to be powers of two or mostly zero, or that keep n of m: as a convolution of 1x1. */
static bool special(epl_block *b, const epl_node *n, const epl_gemm_params *p, const epl_value *w, bool trans, int bias)
{
    const epl_conv_params one = { .n = p->rows, .d = 1, .h = 1, .w = 1, .c = p->depth, .od = 1, .oh = 1, .ow = 1, .m = p->cols, .kd = 1,
                                  .kh = 1, .kw = 1, .sd = 1, .sh = 1, .sw = 1, .dd = 1, .dh = 1, .dw = 1, .groups = 1 };
    const int64_t tap = trans ? 1 : p->cols, out = trans ? p->depth : 1;
    const epl_nm_pack_params    nm = { .conv = one, .channel_stride = tap, .out_stride = out };
    const epl_shift_pack_params shift = { .conv = one, .tap_stride = tap, .out_stride = out };
    const int x = epl_buffer_of(b, n->inputs[0]), y = epl_buffer_of(b, n->outputs[0]);
    return epl_lower_shift(b, n, &shift, x, w, bias, y) || epl_lower_sparse(b, n, &nm, x, w, bias, y) ||
           epl_lower_nm(b, n, &nm, x, w, trans ? -1 : -2, bias, y);
}

bool epl_lower_linear(epl_block *b, const epl_node *n, const char **why)
{
    if (!all_f32(n)) {
        *why = "fast matrix products take f32";
        return false;
    }
    const bool    trans = epl_attr_i(n, "trans_w");
    const int64_t cols = epl_channels(n->outputs[0]), depth = epl_channels(n->inputs[0]);
    const epl_gemm_params p = { .batch = 1, .rows = epl_shape_count(n->outputs[0]->shape) / (cols ? cols : 1), .cols = cols,
                                .depth = depth, .a_row = depth, .a_col = 1, .b_row = trans ? 1 : cols,
                                .b_col = trans ? depth : 1, .c_row = cols };
    const int bias = n->n_inputs > 2 ? epl_buffer_of(b, n->inputs[2]) : -1;
    return special(b, n, &p, n->inputs[1], trans, bias) || gemm(b, n, p, n->inputs[1], bias);
}

/* The batch axes must be the same on both sides, or absent (or all ones) on one. */
bool epl_lower_matmul(epl_block *b, const epl_node *n, const char **why)
{
    if (!all_f32(n)) {
        *why = "fast matrix products take f32";
        return false;
    }
    const epl_shape a = n->inputs[0]->shape, m = n->inputs[1]->shape, c = n->outputs[0]->shape;
    if (a.rank < 2 || m.rank < 2) {
        *why = "fast matrix products take matrices";
        return false;
    }
    const int64_t a_count = epl_shape_count_from(a, 0, a.rank - 2), b_count = epl_shape_count_from(m, 0, m.rank - 2);
    const int64_t batch = epl_shape_count_from(c, 0, c.rank - 2);
    if ((a_count != batch && a_count != 1) || (b_count != batch && b_count != 1)) {
        *why = "the batch axes of the two matrices broadcast against each other";
        return false;
    }
    const bool    ta = epl_attr_i(n, "trans_a"), tb = epl_attr_i(n, "trans_b");
    const int64_t rows = c.dim[c.rank - 2], cols = c.dim[c.rank - 1], depth = a.dim[a.rank - (ta ? 2 : 1)];
    epl_gemm_params p = { .batch = batch, .rows = rows, .cols = cols, .depth = depth,
                          .a_row = ta ? 1 : depth, .a_col = ta ? rows : 1, .a_batch = a_count == 1 ? 0 : rows * depth,
                          .b_row = tb ? 1 : cols, .b_col = tb ? depth : 1, .b_batch = b_count == 1 ? 0 : depth * cols,
                          .c_row = cols, .c_batch = rows * cols };
    if (b_count == 1 && a_count == batch && !ta) { // one tall matrix
        p.rows *= batch;
        p.batch = 1;
    }
    return (p.batch == 1 && !ta && special(b, n, &p, n->inputs[1], tb, -1)) || gemm(b, n, p, n->inputs[1], -1);
}
