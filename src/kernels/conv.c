/* Convolution and its input gradient (the forward of a transposed convolution), 1 to 3 spatial axes, groups, strides,
 * dilations, any padding: tiles of pixels of one output row against panels of packed weights, on the micro-kernel.
 *
 * A piece is a block of images x a block of output rows x a block of columns. Where a tap falls into the padding there is
 * nothing to multiply, and for small images that is much (a third of 3x3 taps at 4x4 pixels). Two ways to save it:
 *
 *   - `across`: with several small images a tile's rows are the same pixel of different images, which all have the same
 *     taps; x is read where it lies.
 *   - otherwise the piece copies the source rows that it needs, with zeros around them, into its scratch, so that every
 *     tap may be read, and leaves out whole kernel rows at the upper and lower border, and kernel columns at the left and
 *     right border, whose pixels form tiles of their own.
 *
 * Taps of a row that lie side by side are one long run, which also serves inputs of 1 or 3 channels. The reduction is cut
 * into chunks so that a panel's chunk and the piece's source stay in the second cache. */
#include "kernels/chain.h"
#include "kernels/conv.h"

EPL_KERNEL(conv);
EPL_KERNEL(conv_dx);
EPL_KERNEL(gemm);

enum {
    SOURCE_FLOATS = 96 * 1024, /* of the source of a piece, at most if one row allows: 384 KB of a second cache of 1 MB */
    CHUNK_DEPTH = 1024,        /* of the reduction in one pass: 128 KB of a 32-column panel */
    MIN_PIXELS = 112,          /* of a piece, if the problem has them: each reads all its weights from the third cache */
    MAX_RUNS = 256,            /* runs of taps in one chunk */
    MAX_SPANS = 64,            /* of columns with the same taps */
    MIN_ACROSS = 4             /* images, for a tile across them */
};
#define WORTH_ACROSS 0.93 /* share of the taps inside the source, above which nothing is won */

typedef struct plan {
    epl_conv_problem p;
    int64_t rows;                 /* of the phase grid: dst rows per phase, at most */
    int64_t planes;
    int64_t lo[3], hi[3];         /* a destination row j reads source rows j * step + [lo, hi] */
    int64_t panels;               /* of columns */
    int64_t image_block, row_block; /* at most */
    int64_t image_blocks, row_blocks, col_blocks;
    int64_t copied, across;       /* whether the source goes through scratch; whether tiles go across images */
    int64_t box[3];               /* the copied source of one image: planes, rows, pixels */
    int64_t stride[4];            /* of the source as read: image, plane, row, pixel */
    int64_t origin[3];            /* the source coordinate, relative to j * step, of the first element that is there */
} plan;

/* Taps of one axis that fall into the source, over all destinations, as a share of all taps. */
static double taps_inside(const epl_conv_problem *p, int axis)
{
    int64_t inside = 0, all = 0;
    for (int64_t f = 0; f < p->phases[axis]; f++) {
        const epl_conv_axis a = epl_conv_axis_of(p, axis, f);
        for (int64_t j = 0; j < a.count; j++) {
            int64_t first, last;
            epl_conv_valid_taps(p, axis, &a, j, &first, &last);
            inside += last - first;
        }
        all += a.count * a.taps;
    }
    return all ? (double)inside / (double)all : 1.0;
}

static void plan_extent(plan *l)
{
    epl_conv_problem *p = &l->p;
    for (int x = 0; x < 3; x++) {
        int first = 1;
        l->lo[x] = l->hi[x] = 0;
        for (int64_t f = 0; f < p->phases[x]; f++) {
            const epl_conv_axis a = epl_conv_axis_of(p, x, f);
            if (!a.taps || !a.count)
                continue;
            const int64_t hi = a.off + (a.taps - 1) * a.tap_step;
            l->lo[x] = first ? a.off : epl_min(l->lo[x], a.off);
            l->hi[x] = first ? hi : epl_max(l->hi[x], hi);
            first = 0;
        }
        const int64_t count = epl_ceil_div(p->dst[x], p->phases[x]);
        if (l->lo[x] < 0 || (count - 1) * p->step[x] + l->hi[x] >= p->src[x])
            l->copied = 1;
    }
}

static int64_t box_rows(const plan *l, int64_t rows)
{
    return (rows - 1) * l->p.step[1] + l->hi[1] - l->lo[1] + 1;
}

static plan make_plan(epl_conv_problem p)
{
    plan l = { .p = p };
    plan_extent(&l);
    l.planes = epl_ceil_div(p.dst[0], p.phases[0]);
    l.rows = epl_ceil_div(p.dst[1], p.phases[1]);
    const int64_t pixels = epl_ceil_div(p.dst[2], p.phases[2]); // of a row, in one phase
    l.box[0] = l.hi[0] - l.lo[0] + 1;
    l.box[2] = (pixels - 1) * p.step[2] + l.hi[2] - l.lo[2] + 1;
    const int64_t row_floats = l.box[0] * l.box[2] * p.cin;

    const double work = (double)p.n * (double)(p.groups * p.dst[0] * p.dst[1] * p.dst[2]) *
                        (double)(p.kernel[0] * p.kernel[1] * p.kernel[2] * p.cin * p.cout);
    const int64_t want = epl_want_pieces(work);
    l.panels = epl_ceil_div(p.cout, EPL_NR);
    l.row_block = l.rows;
    while (l.row_block > 1 && box_rows(&l, l.row_block) * row_floats > SOURCE_FLOATS)
        l.row_block = epl_ceil_div(l.row_block, 2);
    l.image_block = 1;
    const int64_t others = l.planes * p.groups, image_floats = p.src[0] * p.src[1] * p.src[2] * p.cin * p.groups;
    if (l.copied && p.n >= MIN_ACROSS && image_floats * EPL_MR <= 2 * SOURCE_FLOATS &&
        taps_inside(&p, 1) * taps_inside(&p, 2) < WORTH_ACROSS) {
        const int64_t tiles = epl_max(1, SOURCE_FLOATS / (image_floats * EPL_MR));
        l.across = 1;
        l.copied = 0;
        l.row_block = l.rows;
        l.image_block = epl_min(p.n, EPL_MR * epl_min(tiles, 4));
    }
    if (!l.across && l.row_block == l.rows && l.planes == 1) // small images: some together
        while (l.image_block < p.n && l.image_block * l.rows * pixels < MIN_PIXELS &&
               (l.image_block + 1) * box_rows(&l, l.rows) * row_floats <= 2 * SOURCE_FLOATS)
            l.image_block++;
    l.image_blocks = epl_even_blocks(epl_ceil_div(p.n, l.image_block), p.n);
    l.image_block = epl_ceil_div(p.n, l.image_blocks);
    l.row_blocks = epl_even_blocks(epl_ceil_div(l.rows, l.row_block), l.rows);
    // More pieces: first by rows, so that threads write lines far from each other's, then by columns, then by few rows.
    const int64_t have = l.image_blocks * others, fewest = epl_min(l.rows, epl_ceil_div(EPL_MR, pixels));
    while (!l.across && 2 * have * l.row_blocks <= want && l.rows / (2 * l.row_blocks) * pixels >= MIN_PIXELS)
        l.row_blocks *= 2;
    l.col_blocks = epl_max(1, epl_min(l.panels, epl_ceil_div(want, have * l.row_blocks)));
    while (!l.across && 2 * have * l.row_blocks * l.col_blocks <= want && l.rows / (2 * l.row_blocks) >= fewest)
        l.row_blocks *= 2;
    l.row_block = epl_ceil_div(l.rows, l.row_blocks);
    l.box[1] = box_rows(&l, l.row_block);
    if (l.copied) {
        l.stride[3] = p.cin;
        for (int x = 2; x >= 0; x--)
            l.stride[x] = l.stride[x + 1] * l.box[x];
        memcpy(l.origin, l.lo, sizeof l.origin);
    } else {
        l.stride[3] = p.cin * p.groups;
        for (int x = 2; x >= 0; x--)
            l.stride[x] = l.stride[x + 1] * p.src[x];
    }
    return l;
}

/* Where in the source, and in the destination, a piece lies. */
typedef struct piece {
    int64_t group, image0, image1, plane, row0, row1, col0, col1; /* plane and rows of the phase grid; columns of the group */
} piece;

static piece piece_at(const plan *l, int64_t index)
{
    piece at;
    // Halves by rows if their blocks are equal, else by columns: both threads have the same to do.
    const int64_t both = l->row_blocks * l->col_blocks, uneven = l->rows % l->row_blocks != 0, inner = index % both;
    const int64_t row = uneven ? inner % l->row_blocks : inner / l->col_blocks;
    const int64_t col = uneven ? inner / l->row_blocks : inner % l->col_blocks;
    at.row0 = epl_block_begin(l->rows, l->row_blocks, row);
    at.row1 = epl_block_begin(l->rows, l->row_blocks, row + 1);
    at.col0 = epl_block_begin(l->panels, l->col_blocks, col) * EPL_NR;
    at.col1 = epl_min(epl_block_begin(l->panels, l->col_blocks, col + 1) * EPL_NR, l->p.cout);
    index /= both;
    at.plane = index % l->planes;
    index /= l->planes;
    at.group = index % l->p.groups;
    index /= l->p.groups;
    at.image0 = epl_block_begin(l->p.n, l->image_blocks, index);
    at.image1 = epl_block_begin(l->p.n, l->image_blocks, index + 1);
    return at;
}

/* ---- the padded copy of a piece's source ---- */

static void copy_floats(float *to, const float *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof(float));
}

static void zero_floats(float *to, int64_t n)
{
    memset(to, 0, (size_t)n * sizeof(float));
}

/* One row of pixels first .. first + count - 1, of which those outside the source are zero. */
static void copy_row(const plan *l, const float *row, float *to)
{
    const int64_t cin = l->p.cin, all = cin * l->p.groups, first = l->lo[2], count = l->box[2];
    const int64_t from = epl_min(epl_max(first, 0), first + count);
    const int64_t until = epl_max(epl_min(first + count, l->p.src[2]), from);
    zero_floats(to, (from - first) * cin);
    to += (from - first) * cin;
    if (all == cin)
        copy_floats(to, row + from * cin, (until - from) * cin);
    else
        for (int64_t x = from; x < until; x++)
            copy_floats(to + (x - from) * cin, row + x * all, cin);
    zero_floats(to + (until - from) * cin, (first + count - until) * cin);
}

static void copy_source(const plan *l, const piece *at, const float *src, float *to)
{
    const epl_conv_problem *p = &l->p;
    const int64_t line = p->src[2] * p->cin * p->groups;
    for (int64_t image = at->image0; image < at->image1; image++)
        for (int64_t d = 0; d < l->box[0]; d++)
            for (int64_t h = 0; h < box_rows(l, at->row1 - at->row0); h++) {
                const int64_t sd = at->plane * p->step[0] + l->lo[0] + d, sh = at->row0 * p->step[1] + l->lo[1] + h;
                float *row = to + (image - at->image0) * l->stride[0] + d * l->stride[1] + h * l->stride[2];
                if (sd < 0 || sd >= p->src[0] || sh < 0 || sh >= p->src[1])
                    zero_floats(row, l->stride[2]);
                else
                    copy_row(l, src + ((image * p->src[0] + sd) * p->src[1] + sh) * line + at->group * p->cin, row);
            }
}

/* ---- one phase of a piece ---- */

typedef struct phase {
    epl_conv_axis axis[3];
    int64_t f[3];           /* which phase */
    const float *weights;   /* packed, of this group and phase */
    int64_t depth;          /* the whole reduction */
} phase;

/* Columns [x0, x1) of one phase, all of which use the taps [first, last) of their row. */
typedef struct span {
    int64_t x0, x1, first, last;
} span;

/* One pass: a chunk of the reduction of one panel, over all the piece's pixels. */
typedef struct pass {
    const plan  *l;
    const piece *at;
    const phase *f;
    const span  *spans;
    int64_t      n_spans;
    int64_t      merged, run;    /* whether the taps of a kernel row are one run; its length */
    int64_t      run0, run1;     /* the runs of the chunk */
    int64_t      d0, d1;         /* valid planes of taps */
    const float *source;
    float       *dst;
    epl_tile     tile;
    int64_t     *a_tap, *b_tap; /* of MAX_RUNS */
} pass;

/* Lists the runs of the chunk within the kernel rows [h0, h1) and columns [w0, w1), and runs the tile on them. */
static void run_tile(pass *q, int64_t h0, int64_t h1, int64_t w0, int64_t w1)
{
    const plan *l = q->l;
    const epl_conv_axis *a = q->f->axis;
    epl_tile *t = &q->tile;
    const int64_t runs_w = q->merged ? 1 : a[2].taps, from = q->merged ? 0 : w0, to = q->merged ? w1 > w0 : w1;
    const int64_t skipped = q->merged ? w0 : 0, k = t->k;
    t->taps = 0;
    for (int64_t d = q->d0; d < q->d1; d++)
        for (int64_t h = h0; h < h1; h++) {
            const int64_t row = (d * a[1].taps + h) * runs_w;
            const int64_t offset = (a[0].off + d * a[0].tap_step - l->origin[0]) * l->stride[1] +
                                   (a[1].off + h * a[1].tap_step - l->origin[1]) * l->stride[2] +
                                   (a[2].off - l->origin[2]) * l->stride[3];
            for (int64_t w = epl_max(from, q->run0 - row); w < epl_min(to, q->run1 - row); w++) {
                q->a_tap[t->taps] = offset + (w * a[2].tap_step + skipped) * l->stride[3];
                q->b_tap[t->taps++] = ((row + w - q->run0) * q->run + skipped * l->p.cin) * t->b_row;
            }
        }
    if (!t->taps && t->accumulate)
        return;
    if (q->merged)
        t->k = (w1 - w0) * l->p.cin;
    EPL_K(micro)(t);
    t->k = k;
}

/* Where pixel (image, row, x) of the piece's phase lies in the source and in the destination. */
static void point_tile(pass *q, int64_t image, int64_t row, int64_t x)
{
    const plan *l = q->l;
    const epl_conv_problem *p = &l->p;
    const int64_t od = q->f->f[0] + q->at->plane * p->phases[0], oh = q->f->f[1] + row * p->phases[1];
    const int64_t ow = q->f->f[2] + x * p->phases[2];
    q->tile.a = q->source + (image - q->at->image0) * l->stride[0] + (row - q->at->row0) * p->step[1] * l->stride[2] +
                x * p->step[2] * l->stride[3];
    q->tile.c = q->dst + (((image * p->dst[0] + od) * p->dst[1] + oh) * p->dst[2] + ow) * p->cout * p->groups;
}

/* Tiles across images: one per pixel. */
static void run_across(pass *q)
{
    const epl_conv_problem *p = &q->l->p;
    q->tile.rows = q->at->image1 - q->at->image0;
    q->tile.a_row = q->l->stride[0];
    q->tile.c_row = p->dst[0] * p->dst[1] * p->dst[2] * p->cout * p->groups;
    for (int64_t row = q->at->row0; row < epl_min(q->at->row1, q->f->axis[1].count); row++) {
        int64_t h0, h1;
        epl_conv_valid_taps(p, 1, &q->f->axis[1], row, &h0, &h1);
        for (int64_t x = 0; x < q->f->axis[2].count; x++) {
            int64_t w0, w1;
            epl_conv_valid_taps(p, 2, &q->f->axis[2], x, &w0, &w1);
            point_tile(q, q->at->image0, row, x);
            run_tile(q, h0, h1, w0, w1);
        }
    }
}

/* Tiles along the columns of a span, or along its rows where it is narrow. */
static void run_image(pass *q, int64_t image)
{
    const plan *l = q->l;
    const epl_conv_problem *p = &l->p;
    const epl_conv_axis *axis = &q->f->axis[1];
    const int64_t row0 = q->at->row0, row1 = epl_min(q->at->row1, axis->count), pixel = p->phases[2] * p->cout * p->groups;
    for (int64_t i = 0; i < q->n_spans; i++) {
        const span *s = &q->spans[i];
        const int64_t width = s->x1 - s->x0, upright = width < 4 && row1 - row0 > width;
        q->tile.rows = upright ? row1 - row0 : width;
        q->tile.a_row = upright ? p->step[1] * l->stride[2] : p->step[2] * l->stride[3];
        q->tile.c_row = upright ? p->phases[1] * p->dst[2] * p->cout * p->groups : pixel;
        for (int64_t x = s->x0; upright && x < s->x1; x++) {
            point_tile(q, image, row0, x);
            run_tile(q, 0, axis->taps, s->first, s->last);
        }
        for (int64_t row = row0; !upright && row < row1; row++) {
            int64_t h0, h1;
            epl_conv_valid_taps(p, 1, axis, row, &h0, &h1);
            point_tile(q, image, row, s->x0);
            run_tile(q, h0, h1, s->first, s->last);
        }
    }
}

/* The columns of a phase in spans of equal taps. Where tiles along rows would be short for it, one span with all taps. */
static int64_t list_spans(const plan *l, const piece *at, const epl_conv_axis *a, span *spans)
{
    int64_t n = 0;
    for (int64_t x = 0; x < a->count; x++) {
        int64_t first, last;
        epl_conv_valid_taps(&l->p, 2, a, x, &first, &last);
        if (n && spans[n - 1].first == first && spans[n - 1].last == last) {
            spans[n - 1].x1++;
            continue;
        }
        if (n == MAX_SPANS || at->row1 - at->row0 < 4) {
            spans[0] = (span){ 0, a->count, 0, a->taps };
            return 1;
        }
        spans[n++] = (span){ x, x + 1, first, last };
    }
    return n;
}

static void run_phase(const plan *l, const piece *at, const phase *f, const float *source, const float *bias, float *dst)
{
    const epl_conv_problem *p = &l->p;
    span spans[MAX_SPANS];
    int64_t a_tap[MAX_RUNS], b_tap[MAX_RUNS];
    pass q = { .l = l, .at = at, .f = f, .spans = spans, .a_tap = a_tap, .b_tap = b_tap };
    q.n_spans = list_spans(l, at, &f->axis[2], spans);
    const int64_t taps = f->axis[0].taps * f->axis[1].taps * f->axis[2].taps;
    q.merged = f->axis[2].tap_step == 1 && l->stride[3] == p->cin && f->axis[2].taps * p->cin <= CHUNK_DEPTH;
    const int64_t in_run = q.merged ? epl_max(f->axis[2].taps, 1) : 1, runs = taps / in_run;
    q.run = p->cin * in_run;
    epl_conv_valid_taps(p, 0, &f->axis[0], at->plane, &q.d0, &q.d1);
    const int64_t runs_at_once = epl_max(1, epl_min(CHUNK_DEPTH / q.run, MAX_RUNS));
    const int64_t part = epl_ceil_div(q.run, epl_ceil_div(q.run, CHUNK_DEPTH)); // a run longer than a chunk is cut
    for (q.run0 = 0; q.run0 < runs || q.run0 == 0; q.run0 += runs_at_once)
        for (int64_t k = 0; k < q.run; k += part) {
            q.run1 = epl_min(q.run0 + runs_at_once, runs);
            q.source = source + k;
            q.tile = (epl_tile){ .a_col = 1, .k = epl_min(part, q.run - k), .a_tap = q.a_tap, .b_tap = q.b_tap,
                                 .accumulate = q.run0 + k > 0 };
            for (int64_t col = at->col0; col < at->col1; col += EPL_NR) {
                q.tile.b_row = epl_panel_width(p->cout - col);
                q.tile.b = f->weights + f->depth * col + (q.run0 * q.run + k) * q.tile.b_row;
                q.tile.cols = epl_min(p->cout - col, EPL_NR);
                q.tile.bias = bias ? bias + col : NULL;
                q.dst = dst + col;
                if (l->across)
                    run_across(&q);
                for (int64_t image = at->image0; !l->across && image < at->image1; image++)
                    run_image(&q, image);
            }
        }
}

static void epilogue(const plan *l, const piece *at, const epl_call *call)
{
    const epl_conv_problem *p = &l->p;
    const int64_t col = at->group * p->cout;
    if (!call->chain)
        return;
    for (int64_t image = at->image0; image < at->image1; image++)
        for (int64_t d = at->plane * p->phases[0]; d < epl_min((at->plane + 1) * p->phases[0], p->dst[0]); d++) {
            const int64_t rows = (image * p->dst[0] + d) * p->dst[1];
            const int64_t row0 = rows + at->row0 * p->phases[1], row1 = rows + epl_min(at->row1 * p->phases[1], p->dst[1]);
            epl_chain_epilogue(call, row0 * p->dst[2], row1 * p->dst[2], col + at->col0, col + at->col1);
        }
}

static void run_piece(const plan *l, const piece *at, const epl_call *call, float *scratch)
{
    const epl_conv_problem *p = &l->p;
    const float *source = call->in[0], *bias = call->in[2];
    if (l->copied) {
        copy_source(l, at, source, scratch);
        source = scratch;
    } else {
        source += at->image0 * l->stride[0] + at->plane * p->step[0] * l->stride[1] + at->row0 * p->step[1] * l->stride[2] +
                  at->group * p->cin;
    }
    const int64_t packed = epl_packed_cols(p->cout);
    phase f = { .weights = (const float *)call->in[1] + at->group * p->kernel[0] * p->kernel[1] * p->kernel[2] * p->cin * packed };
    for (f.f[0] = 0; f.f[0] < p->phases[0]; f.f[0]++)
        for (f.f[1] = 0; f.f[1] < p->phases[1]; f.f[1]++)
            for (f.f[2] = 0; f.f[2] < p->phases[2]; f.f[2]++) {
                for (int x = 0; x < 3; x++)
                    f.axis[x] = epl_conv_axis_of(p, x, f.f[x]);
                f.depth = f.axis[0].taps * f.axis[1].taps * f.axis[2].taps * p->cin;
                if (at->plane < f.axis[0].count)
                    run_phase(l, at, &f, source, bias ? bias + at->group * p->cout : NULL,
                              (float *)call->out[0] + at->group * p->cout);
                f.weights += f.depth * packed;
            }
    epilogue(l, at, call);
}

static int64_t count_pieces(const plan *l)
{
    return l->image_blocks * l->p.groups * l->planes * l->row_blocks * l->col_blocks;
}

static size_t scratch_bytes(const plan *l)
{
    return l->copied ? (size_t)(l->image_block * l->stride[0]) * sizeof(float) : 0;
}

static void run(const plan *l, const epl_call *call, int64_t begin, int64_t end, float *scratch)
{
    for (int64_t i = begin; i < end; i++) {
        const piece at = piece_at(l, i);
        run_piece(l, &at, call, scratch);
    }
}

/* ---- the kernels: a pointwise convolution is a matrix product ---- */

static epl_gemm_params product_of(const epl_conv_problem *p)
{
    const int64_t rows = p->n * p->dst[0] * p->dst[1] * p->dst[2];
    return (epl_gemm_params){ .batch = 1, .rows = rows, .cols = p->cout, .depth = p->cin, .a_row = p->cin, .a_col = 1,
                              .b_row = p->cout, .b_col = 1, .c_row = p->cout, .c_batch = rows * p->cout, .b_packed = 1 };
}

static int64_t pieces_of(const epl_conv_params *params, epl_conv_problem p)
{
    if (epl_conv_is_pointwise(params)) {
        const epl_gemm_params product = product_of(&p);
        return EPL_K(gemm_pieces)(&product);
    }
    const plan l = make_plan(p);
    return count_pieces(&l);
}

static size_t scratch_of(const epl_conv_params *params, epl_conv_problem p)
{
    if (epl_conv_is_pointwise(params)) {
        const epl_gemm_params product = product_of(&p);
        return EPL_K(gemm_scratch)(&product);
    }
    const plan l = make_plan(p);
    return scratch_bytes(&l);
}

static void run_call(const epl_call *call, epl_conv_problem p, int64_t begin, int64_t end, void *scratch)
{
    if (epl_conv_is_pointwise(call->params)) {
        const epl_gemm_params product = product_of(&p);
        epl_call inner = *call;
        inner.params = &product;
        EPL_K(gemm)(&inner, begin, end, scratch);
        return;
    }
    const plan l = make_plan(p);
    run(&l, call, begin, end, scratch);
}

int64_t EPL_K(conv_pieces)(const void *params)
{
    return pieces_of(params, epl_conv_forward_problem(params));
}

size_t EPL_K(conv_scratch)(const void *params)
{
    return scratch_of(params, epl_conv_forward_problem(params));
}

void EPL_K(conv)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    run_call(call, epl_conv_forward_problem(call->params), begin, end, scratch);
}

int64_t EPL_K(conv_dx_pieces)(const void *params)
{
    return pieces_of(params, epl_conv_backward_problem(params));
}

size_t EPL_K(conv_dx_scratch)(const void *params)
{
    return scratch_of(params, epl_conv_backward_problem(params));
}

void EPL_K(conv_dx)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    run_call(call, epl_conv_backward_problem(call->params), begin, end, scratch);
}
