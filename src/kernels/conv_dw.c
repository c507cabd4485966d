/* Weight gradient of a convolution: dw[tap][c][m] = sum over output pixels of x[pixel at tap][c] * dy[pixel][m].
 *
 * The micro-kernel with channels of x as rows and pixels as the reduction: A is x read column-wise where it lies, B is a
 * panel of dy, where it lies or packed, a block of pixels at a time. Pixels are cut into segments of output rows; a tap takes
 * from each segment only the pixels whose source exists, so padding costs nothing. With few channels (a stem) the taps of a
 * kernel row become rows of A together; for that the source lines are copied, with their padding.
 *
 * A piece is a range of segments (`split`) x a range of panels of columns of a group x a range of tiles of rows. With more than
 * one split the result is one part per split, added afterwards by sum_parts in index order. */
#include "kernels/kernels.h"
#include "kernels/micro.h"

EPL_KERNEL(conv_dw);

enum {
    BLOCK_PIXELS = 128,  /* at once: 16 KB of dy, and 16 columns of x stay in the first cache */
    MERGE_CHANNELS = 8,  /* with fewer channels the taps of a kernel row are merged */
    DIRECT_TILES = 16    /* of rows, up to which dy is read where it lies: packing it would cost more than it saves */
};

typedef struct plan {
    epl_conv_params p;
    int64_t cg, mg;                         /* channels per group */
    int64_t splits, panels;
    int64_t segment, segments, units;       /* pixels of a segment, segments of a line, segments in all */
    int64_t block;                          /* segments in a block */
    int64_t merged, line;                   /* copied source lines, their floats */
    int64_t taps, rows, tiles;              /* rows of A: for each of so many (merged) taps, in so many tiles */
    int64_t row_blocks, col_blocks;         /* of taps * tiles, of panels */
} plan;

/* Blocks of the result, until there are pieces enough: halves of the longer side, because a piece reads as much of x and dy as
 * its block has rows and columns. */
static void cut_rows_and_columns(plan *l)
{
    const int64_t tiles = l->taps * l->tiles;
    const double work = (double)(l->units * l->segment * l->p.m) * (double)(l->taps * l->rows);
    const int64_t want = epl_ceil_div(epl_want_pieces(work), l->splits * l->p.groups);
    l->row_blocks = l->col_blocks = 1;
    while (l->row_blocks * l->col_blocks < want) {
        const int64_t rows = l->rows / l->row_blocks, cols = l->mg / l->col_blocks;
        if (2 * l->col_blocks <= l->panels && (cols > rows || 2 * l->row_blocks > tiles))
            l->col_blocks *= 2;
        else if (2 * l->row_blocks <= tiles)
            l->row_blocks *= 2;
        else
            return;
    }
}

static plan make_plan(const epl_conv_params *params)
{
    plan l = { .p = *params, .splits = epl_conv_dw_splits(params) };
    epl_conv_params *p = &l.p;
    if (epl_conv_is_pointwise(p)) { // all pixels are one line
        p->ow = p->w = p->n * p->d * p->h * p->w;
        p->n = p->d = p->h = p->od = p->oh = 1;
    }
    l.cg = p->c / p->groups;
    l.mg = p->m / p->groups;
    l.panels = epl_ceil_div(l.mg, EPL_NR);
    l.segments = epl_ceil_div(p->ow, BLOCK_PIXELS);
    l.segment = epl_ceil_div(p->ow, l.segments);
    l.segments = epl_ceil_div(p->ow, l.segment);
    l.units = p->n * p->od * p->oh * l.segments;
    l.block = l.segments > 1 ? 1 : epl_max(1, BLOCK_PIXELS / l.segment);
    l.merged = l.cg < MERGE_CHANNELS && p->kw > 1 && p->dw == 1;
    l.line = ((l.segment - 1) * p->sw + p->kw) * l.cg;
    l.taps = p->kd * p->kh * (l.merged ? 1 : p->kw);
    l.rows = l.merged ? p->kw * l.cg : l.cg;
    l.tiles = epl_ceil_div(l.rows, EPL_MR);
    cut_rows_and_columns(&l);
    return l;
}

/* A segment, worked out once per block. */
typedef struct segment {
    int64_t first, last; /* pixels [first, last) of its line */
    int64_t d, h;        /* the source line of the first tap, perhaps outside */
    int64_t x, dy;       /* offsets of that line's first pixel in x, and of pixel `first` in what is read of dy */
} segment;

static void pack_pixels(const plan *l, const float *from, int64_t pixels, int64_t cols, int64_t width, float *to)
{
    for (int64_t i = 0; i < pixels; i++, from += l->p.m, to += width)
        for (int64_t j = 0; j < width; j += VL)
            vstore(to + j, j + VL <= cols ? vload(from + j) : vload_part(from + j, epl_max(0, cols - j)));
}

/* Pixels [*first, *last) of the segment whose source at tap kw exists. */
static void clip(const plan *l, int64_t kw, int64_t *first, int64_t *last)
{
    const epl_conv_params *p = &l->p;
    const int64_t shift = kw * p->dw - p->pw; // source pixel of output pixel o: o * sw + shift
    if (shift < 0)
        *first = epl_max(*first, (-shift + p->sw - 1) / p->sw);
    *last = p->w - 1 < shift ? *first : epl_min(*last, (p->w - 1 - shift) / p->sw + 1);
    *last = epl_max(*first, *last);
}

typedef struct work { /* of one piece */
    const plan *l;
    const float *x, *dy;    /* from the group's first channel, from the panel's first column */
    int64_t direct;         /* whether dy is read where it lies */
    float *packed;          /* else: the block's dy */
    segment *segments;      /* of the block at hand */
    int64_t n_segments;
    int64_t *a_tap, *b_tap; /* one each per segment */
    float *lines;           /* copied source lines, if merged */
    epl_tile tile;
} work;

/* Segments [unit0, unit1), and their dy if it is to be packed. */
static void begin_block(work *w, int64_t unit0, int64_t unit1)
{
    const plan *l = w->l;
    const epl_conv_params *p = &l->p;
    w->n_segments = unit1 - unit0;
    for (int64_t i = 0; i < w->n_segments; i++) {
        segment *s = &w->segments[i];
        const int64_t line = (unit0 + i) / l->segments, plane = line / p->oh, n = plane / p->od;
        s->first = (unit0 + i) % l->segments * l->segment;
        s->last = epl_min(s->first + l->segment, p->ow);
        s->d = (plane - n * p->od) * p->sd - p->pd;
        s->h = (line - plane * p->oh) * p->sh - p->ph;
        s->x = ((n * p->d + s->d) * p->h + s->h) * p->w * p->c;
        s->dy = (line * p->ow + s->first) * p->m;
        if (!w->direct) {
            pack_pixels(l, w->dy + s->dy, s->last - s->first, w->tile.cols, w->tile.b_row, w->packed + i * l->segment * w->tile.b_row);
            s->dy = i * l->segment * w->tile.b_row;
        }
    }
}

/* Whether the source line of a segment exists at one tap of the outer axes, and its offset in x. */
static int has_line(const epl_conv_params *p, const segment *s, int64_t kd, int64_t kh, int64_t *offset)
{
    const int64_t d = kd * p->dd, h = kh * p->dh;
    *offset = s->x + (d * p->h + h) * p->w * p->c;
    return s->d + d >= 0 && s->d + d < p->d && s->h + h >= 0 && s->h + h < p->h;
}

/* One tap: channels [row0, row1) of the group as rows, from x where it lies. */
static void run_tap(work *w, int64_t kd, int64_t kh, int64_t kw, int64_t row0, int64_t row1, float *out)
{
    const epl_conv_params *p = &w->l->p;
    epl_tile *t = &w->tile;
    int64_t first = w->segments[0].first, last = w->segments[0].last, line;
    clip(w->l, kw, &first, &last);
    const int64_t x = (first * p->sw + kw * p->dw - p->pw) * p->c, dy = (first - w->segments[0].first) * t->b_row;
    t->taps = 0;
    for (int64_t i = 0; i < w->n_segments && last > first; i++)
        if (has_line(p, &w->segments[i], kd, kh, &line)) {
            w->a_tap[t->taps] = line + x;
            w->b_tap[t->taps++] = w->segments[i].dy + dy;
        }
    t->k = last - first;
    t->a = w->x + row0;
    t->a_col = p->sw * p->c;
    t->c = out + row0 * p->m;
    t->rows = row1 - row0;
    if (t->taps || !t->accumulate)
        EPL_K(micro)(t);
}

/* The group's channels of l->line / l->cg pixels from `first` on; those outside the source are zero. */
static void copy_line(const plan *l, const float *line, int64_t first, float *to)
{
    const epl_conv_params *p = &l->p;
    const int64_t pixels = l->line / l->cg, from = epl_min(epl_max(0, -first), pixels);
    const int64_t until = epl_max(from, epl_min(pixels, p->w - first));
    memset(to, 0, (size_t)(from * l->cg) * sizeof *to);
    if (p->groups == 1)
        memcpy(to + from * l->cg, line + (first + from) * p->c, (size_t)((until - from) * l->cg) * sizeof *to);
    else
        for (int64_t i = from; i < until; i++)
            memcpy(to + i * l->cg, line + (first + i) * p->c, (size_t)l->cg * sizeof *to);
    memset(to + until * l->cg, 0, (size_t)((pixels - until) * l->cg) * sizeof *to);
}

/* All taps of a kernel row: (kw, channel) as rows, [row0, row1) of them, from lines copied with their padding. */
static void run_merged(work *w, int64_t kd, int64_t kh, int64_t row0, int64_t row1, float *out)
{
    const plan *l = w->l;
    const epl_conv_params *p = &l->p;
    epl_tile *t = &w->tile;
    int64_t line;
    t->taps = 0;
    for (int64_t i = 0; i < w->n_segments; i++)
        if (has_line(p, &w->segments[i], kd, kh, &line)) {
            copy_line(l, w->x + line, w->segments[i].first * p->sw - p->pw, w->lines + t->taps * l->line);
            w->a_tap[t->taps] = t->taps * l->line;
            w->b_tap[t->taps++] = w->segments[i].dy;
        }
    t->k = w->segments[0].last - w->segments[0].first;
    t->a = w->lines + row0;
    t->a_col = p->sw * l->cg;
    t->c = out + row0 * p->m;
    t->rows = row1 - row0;
    if (t->taps || !t->accumulate)
        EPL_K(micro)(t);
}

/* Tiles [tile0, tile1) of the piece's rows, on the block at hand. */
static void run_tiles(work *w, int64_t tile0, int64_t tile1, float *out)
{
    const plan *l = w->l;
    const epl_conv_params *p = &l->p;
    for (int64_t at = tile0, next; at < tile1; at = next) {
        const int64_t tap = at / l->tiles, row0 = at % l->tiles * EPL_MR;
        next = epl_min(tile1, (tap + 1) * l->tiles);
        const int64_t row1 = epl_min(l->rows, (next - tap * l->tiles) * EPL_MR);
        float *to = out + tap * l->rows * p->m;
        if (l->merged)
            run_merged(w, tap / p->kh, tap % p->kh, row0, row1, to);
        else
            run_tap(w, tap / p->kw / p->kh, tap / p->kw % p->kh, tap % p->kw, row0, row1, to);
    }
}

/* Segments [unit0, unit1) against one panel of columns. */
static void run_panel(work *w, int64_t unit0, int64_t unit1, int64_t panel, int64_t tile0, int64_t tile1, const float *dy, float *out)
{
    const plan *l = w->l;
    const int64_t col = panel * EPL_NR, width = epl_panel_width(l->mg - col);
    w->tile.cols = epl_min(l->mg - col, EPL_NR);
    w->direct = w->tile.cols == width && tile1 - tile0 <= DIRECT_TILES;
    w->dy = dy + col;
    w->tile.b = w->direct ? w->dy : w->packed;
    w->tile.b_row = w->direct ? l->p.m : width;
    begin_block(w, unit0, unit1);
    run_tiles(w, tile0, tile1, out + col);
}

static void run_piece(const plan *l, const epl_call *call, int64_t index, float *scratch)
{
    const epl_conv_params *p = &l->p;
    const int64_t panel0 = epl_block_begin(l->panels, l->col_blocks, index % l->col_blocks);
    const int64_t panel1 = epl_block_begin(l->panels, l->col_blocks, index % l->col_blocks + 1);
    index /= l->col_blocks; // columns before rows: threads write lines far from each other's
    const int64_t tile0 = epl_block_begin(l->taps * l->tiles, l->row_blocks, index % l->row_blocks);
    const int64_t tile1 = epl_block_begin(l->taps * l->tiles, l->row_blocks, index % l->row_blocks + 1);
    index /= l->row_blocks;
    const int64_t group = index % p->groups, split = index / p->groups;
    const int64_t unit0 = epl_block_begin(l->units, l->splits, split), unit1 = epl_block_begin(l->units, l->splits, split + 1);
    const float *dy = (const float *)call->in[1] + group * l->mg;
    float *out = (float *)call->out[0] + split * l->taps * l->rows * p->m + group * l->mg;
    work w = { .l = l, .x = (const float *)call->in[0] + group * l->cg, .packed = scratch };
    w.segments = (segment *)(void *)(scratch + l->block * l->segment * EPL_NR);
    w.a_tap = (int64_t *)(void *)(w.segments + l->block);
    w.b_tap = w.a_tap + l->block;
    w.lines = (float *)(void *)(w.b_tap + l->block);
    w.tile = (epl_tile){ .a_row = 1, .c_row = p->m, .a_tap = w.a_tap, .b_tap = w.b_tap };
    for (int64_t unit = unit0; unit < unit1 || unit == unit0; unit += l->block) {
        w.tile.accumulate = unit > unit0;
        for (int64_t panel = panel0; panel < panel1; panel++)
            run_panel(&w, unit, epl_min(unit + l->block, unit1), panel, tile0, tile1, dy, out);
    }
}

int64_t EPL_K(conv_dw_pieces)(const void *params)
{
    const plan l = make_plan(params);
    return l.splits * l.p.groups * l.col_blocks * l.row_blocks;
}

size_t EPL_K(conv_dw_scratch)(const void *params)
{
    const plan l = make_plan(params);
    const int64_t floats = l.block * l.segment * EPL_NR + (l.merged ? l.block * l.line : 0);
    return (size_t)floats * sizeof(float) + (size_t)l.block * (sizeof(segment) + 2 * sizeof(int64_t));
}

void EPL_K(conv_dw)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const plan l = make_plan(call->params);
    for (int64_t i = begin; i < end; i++)
        run_piece(&l, call, i, scratch);
}
