/* Matrix product C = A B (+ bias), batched, A and B with any strides, on the micro-kernel.
 *
 * A piece is a block of rows x a block of columns of one product. B comes packed, or each piece packs what it needs, one
 * panel of one chunk of the depth at a time, into its scratch. */
#include "kernels/chain.h"
#include "kernels/kernels.h"
#include "kernels/micro.h"

EPL_KERNEL(gemm);
EPL_KERNEL(gemm_pack);

enum {
    CHUNK_DEPTH = 1024,      /* of the reduction in one pass: 128 KB of a 32-column panel */
    BLOCK_FLOATS = 96 * 1024, /* of A that a piece reads again for every panel: 384 KB of a second cache of 1 MB */
    MIN_ROWS = 64,
    MAX_ROWS = 512
};

typedef struct plan {
    const epl_gemm_params *p;
    int64_t panels, row_blocks, col_blocks;
} plan;

static plan make_plan(const epl_gemm_params *p)
{
    plan l = { .p = p, .panels = epl_max(1, epl_ceil_div(p->cols, EPL_NR)) };
    const int64_t want = epl_want_pieces((double)p->batch * (double)p->rows * (double)p->cols * (double)p->depth);
    const int64_t most = BLOCK_FLOATS / epl_max(1, epl_min(p->depth, CHUNK_DEPTH));
    const int64_t rows = p->b_packed ? epl_max(MIN_ROWS, epl_min(MAX_ROWS, most)) : MAX_ROWS; // each block packs B again
    l.row_blocks = epl_even_blocks(epl_ceil_div(p->rows, rows), p->rows);
    // More pieces: first by rows, so that threads write lines far from each other's, then by columns, then by few rows.
    while (2 * p->batch * l.row_blocks <= want && p->rows / (2 * l.row_blocks) >= MIN_ROWS)
        l.row_blocks *= 2;
    l.col_blocks = epl_min(l.panels, epl_ceil_div(want, epl_max(1, p->batch * l.row_blocks)));
    while (2 * p->batch * l.row_blocks * l.col_blocks <= want && p->rows / (2 * l.row_blocks) >= 2 * EPL_MR)
        l.row_blocks *= 2;
    return l;
}

/* Rows [0, depth) of one panel of B into out[depth][width], zeros beyond cols. */
static void pack_panel(const float *b, int64_t b_row, int64_t b_col, int64_t depth, int64_t cols, int64_t width, float *out)
{
    for (int64_t k0 = 0; k0 < depth; k0 += 16) { // blocks, so that a transposing copy stays in the cache
        const int64_t k1 = epl_min(k0 + 16, depth);
        if (b_col == 1) {
            for (int64_t k = k0; k < k1; k++)
                for (int64_t col = 0; col < cols; col++)
                    out[k * width + col] = b[k * b_row + col];
        } else {
            for (int64_t col = 0; col < cols; col++)
                for (int64_t k = k0; k < k1; k++)
                    out[k * width + col] = b[k * b_row + col * b_col];
        }
        for (int64_t k = k0; k < k1; k++)
            for (int64_t col = cols; col < width; col++)
                out[k * width + col] = 0.0f;
    }
}

static void run_piece(const plan *l, const epl_call *call, int64_t index, float *scratch)
{
    const epl_gemm_params *p = l->p;
    const int64_t col_index = index % l->col_blocks, row_index = index / l->col_blocks % l->row_blocks;
    const int64_t batch = index / l->col_blocks / l->row_blocks;
    const int64_t row0 = epl_block_begin(p->rows, l->row_blocks, row_index);
    const int64_t row1 = epl_block_begin(p->rows, l->row_blocks, row_index + 1);
    const int64_t col0 = epl_block_begin(l->panels, l->col_blocks, col_index) * EPL_NR;
    const int64_t col1 = epl_min(epl_block_begin(l->panels, l->col_blocks, col_index + 1) * EPL_NR, p->cols);
    const float *a = (const float *)call->in[0] + batch * p->a_batch, *b = call->in[1], *bias = call->in[2];
    float *c = (float *)call->out[0] + batch * p->c_batch;
    b += p->b_packed ? (p->b_batch ? batch * p->depth * epl_packed_cols(p->cols) : 0) : batch * p->b_batch;
    const int64_t part = epl_max(1, epl_ceil_div(p->depth, epl_max(1, epl_ceil_div(p->depth, CHUNK_DEPTH))));
    for (int64_t k = 0; k < p->depth || k == 0; k += part)
        for (int64_t col = col0; col < col1; col += EPL_NR) {
            epl_tile tile = { .a_row = p->a_row, .a_col = p->a_col, .c_row = p->c_row, .taps = 1, .accumulate = k > 0 };
            tile.k = epl_min(part, p->depth - k);
            tile.cols = epl_min(p->cols - col, EPL_NR);
            tile.b_row = epl_panel_width(p->cols - col);
            tile.b = b + p->depth * col + k * tile.b_row;
            tile.bias = bias ? bias + col : NULL;
            if (!p->b_packed) {
                pack_panel(b + k * p->b_row + col * p->b_col, p->b_row, p->b_col, tile.k, tile.cols, tile.b_row, scratch);
                tile.b = scratch;
            }
            tile.rows = row1 - row0;
            tile.a = a + row0 * p->a_row + k * p->a_col;
            tile.c = c + row0 * p->c_row + col;
            EPL_K(micro)(&tile);
        }
    epl_chain_epilogue(call, batch * p->rows + row0, batch * p->rows + row1, col0, col1);
}

int64_t EPL_K(gemm_pieces)(const void *params)
{
    const epl_gemm_params *p = params;
    const plan l = make_plan(p);
    return p->batch * l.row_blocks * l.col_blocks;
}

size_t EPL_K(gemm_scratch)(const void *params)
{
    const epl_gemm_params *p = params;
    return p->b_packed ? 0 : (size_t)(epl_min(p->depth, CHUNK_DEPTH) * EPL_NR) * sizeof(float);
}

void EPL_K(gemm)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const plan l = make_plan(call->params);
    for (int64_t i = begin; i < end; i++)
        run_piece(&l, call, i, scratch);
}

/* ---- packing: a piece is a panel ---- */

int64_t EPL_K(gemm_pack_pieces)(const void *params)
{
    const epl_gemm_params *p = params;
    return (p->b_batch ? p->batch : 1) * epl_max(1, epl_ceil_div(p->cols, EPL_NR));
}

size_t EPL_K(gemm_pack_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(gemm_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_gemm_params *p = call->params;
    const int64_t panels = epl_max(1, epl_ceil_div(p->cols, EPL_NR)), padded = epl_packed_cols(p->cols);
    for (int64_t i = begin; i < end; i++) {
        const int64_t batch = i / panels, col = i % panels * EPL_NR;
        const float *b = (const float *)call->in[0] + batch * p->b_batch + col * p->b_col;
        float *out = (float *)call->out[0] + batch * p->depth * padded + col * p->depth;
        pack_panel(b, p->b_row, p->b_col, p->depth, epl_min(p->cols - col, EPL_NR), epl_panel_width(p->cols - col), out);
    }
}
