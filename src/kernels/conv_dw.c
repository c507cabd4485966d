/* Weight gradient of a convolution: dw[tap][c][m] = sum over output pixels of x[pixel at tap][c] * dy[pixel][m].
 *
 * The micro-kernel with channels of x as rows and pixels as the reduction: A is x read column-wise where it lies, B is a
 * panel of dy, packed a block of pixels at a time. Pixels are cut into segments of output rows; a tap takes from each
 * segment only the pixels whose source exists, so padding costs nothing. With few channels (a stem) the taps of a kernel
 * row become rows of A together; for that the source lines are copied, with their padding.
 *
 * A piece is a range of segments (`split`) x a panel of columns of a group. With more than one split the result is one
 * part per split, added afterwards by sum_parts in index order. */
#include "kernels/kernels.h"
#include "kernels/micro.h"

EPL_KERNEL(conv_dw);

enum {
    BLOCK_PIXELS = 256,  /* packed at once: 32 KB of dy, and 16 columns of x stay in the first cache */
    MERGE_CHANNELS = 8   /* with fewer channels the taps of a kernel row are merged */
};

typedef struct plan {
    epl_conv_params p;
    int64_t cg, mg;                         /* channels per group */
    int64_t splits, panels;
    int64_t segment, segments, units;       /* pixels of a segment, segments of a line, segments in all */
    int64_t block;                          /* segments in a block */
    int64_t merged, line;                   /* copied source lines, their floats */
} plan;

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
    return l;
}

/* Where a segment lies. */
typedef struct segment {
    int64_t n, od, oh, first, last; /* pixels [first, last) of the line */
} segment;

static segment segment_at(const plan *l, int64_t unit)
{
    segment s;
    s.first = unit % l->segments * l->segment;
    s.last = epl_min(s.first + l->segment, l->p.ow);
    unit /= l->segments;
    s.oh = unit % l->p.oh;
    unit /= l->p.oh;
    s.od = unit % l->p.od;
    s.n = unit / l->p.od;
    return s;
}

/* The source line of a segment at one tap of the outer axes, or NULL outside. */
static const float *source_line(const plan *l, const segment *s, int64_t kd, int64_t kh, const float *x)
{
    const epl_conv_params *p = &l->p;
    const int64_t d = s->od * p->sd - p->pd + kd * p->dd, h = s->oh * p->sh - p->ph + kh * p->dh;
    if (d < 0 || d >= p->d || h < 0 || h >= p->h)
        return NULL;
    return x + ((s->n * p->d + d) * p->h + h) * p->w * p->c;
}

static void pack_dy(const plan *l, int64_t unit0, int64_t unit1, const float *dy, int64_t cols, int64_t width, float *out)
{
    for (int64_t unit = unit0; unit < unit1; unit++, out += l->segment * width) {
        const segment s = segment_at(l, unit);
        const float *from = dy + (((s.n * l->p.od + s.od) * l->p.oh + s.oh) * l->p.ow + s.first) * l->p.m;
        float *to = out;
        for (int64_t i = s.first; i < s.last; i++, from += l->p.m, to += width) {
            for (int64_t j = 0; j < width; j += VL)
                vstore(to + j, j + VL <= cols ? vload(from + j) : vload_part(from + j, epl_max(0, cols - j)));
        }
    }
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
    int64_t unit0, unit1;       /* of the block at hand */
    const float *x, *packed;    /* x from the group's first channel; the block's dy */
    int64_t width;
    int64_t *a_tap, *b_tap;     /* one each per segment of a block */
    float *lines;               /* copied source lines, if merged */
    epl_tile tile;
} work;

static void run_rows(work *w, const float *a, int64_t a_col, int64_t rows, float *out)
{
    epl_tile *t = &w->tile;
    t->a_row = 1;
    t->a_col = a_col;
    t->a_tap = w->a_tap;
    t->b_tap = w->b_tap;
    t->b = w->packed;
    t->b_row = w->width;
    t->c_row = w->l->p.m;
    t->rows = rows;
    t->a = a;
    t->c = out;
    EPL_K(micro)(t);
}

/* One tap: channels of the group as rows, from x where it lies. */
static void run_tap(work *w, int64_t kd, int64_t kh, int64_t kw, float *out)
{
    const plan *l = w->l;
    const segment one = segment_at(l, w->unit0);
    int64_t first = one.first, last = one.last, taps = 0;
    clip(l, kw, &first, &last);
    for (int64_t unit = w->unit0; unit < w->unit1 && last > first; unit++) {
        const segment s = segment_at(l, unit);
        const float *line = source_line(l, &s, kd, kh, w->x);
        if (!line)
            continue;
        w->a_tap[taps] = line - w->x + (first * l->p.sw + kw * l->p.dw - l->p.pw) * l->p.c;
        w->b_tap[taps++] = ((unit - w->unit0) * l->segment + first - one.first) * w->width;
    }
    if (!taps && w->tile.accumulate)
        return;
    w->tile.taps = taps;
    w->tile.k = last - first;
    run_rows(w, w->x, l->p.sw * l->p.c, l->cg, out);
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

/* All taps of a kernel row: (kw, channel) as rows, from lines copied with their padding. */
static void run_merged(work *w, int64_t kd, int64_t kh, float *out)
{
    const plan *l = w->l;
    const epl_conv_params *p = &l->p;
    const segment one = segment_at(l, w->unit0);
    int64_t taps = 0;
    for (int64_t unit = w->unit0; unit < w->unit1; unit++) {
        const segment s = segment_at(l, unit);
        const float *line = source_line(l, &s, kd, kh, w->x);
        if (!line)
            continue;
        copy_line(l, line, s.first * p->sw - p->pw, w->lines + taps * l->line);
        w->a_tap[taps] = taps * l->line;
        w->b_tap[taps++] = (unit - w->unit0) * l->segment * w->width;
    }
    if (!taps && w->tile.accumulate)
        return;
    w->tile.taps = taps;
    w->tile.k = one.last - one.first;
    run_rows(w, w->lines, p->sw * l->cg, p->kw * l->cg, out);
}

static void run_piece(const plan *l, const epl_call *call, int64_t index, float *scratch)
{
    const epl_conv_params *p = &l->p;
    const int64_t panel = index % l->panels, group = index / l->panels % p->groups, split = index / l->panels / p->groups;
    const int64_t col = panel * EPL_NR, cols = epl_min(l->mg - col, EPL_NR);
    const int64_t unit0 = l->units * split / l->splits, unit1 = l->units * (split + 1) / l->splits;
    const int64_t taps = p->kd * p->kh * p->kw, blocks = epl_max(1, epl_ceil_div(unit1 - unit0, l->block));
    const float *dy = (const float *)call->in[1] + group * l->mg + col;
    float *out = (float *)call->out[0] + split * taps * l->cg * p->m + group * l->mg + col;
    work w = { .l = l, .width = epl_panel_width(l->mg - col), .packed = scratch, .tile = { .cols = cols } };
    w.x = (const float *)call->in[0] + group * l->cg;
    w.a_tap = (int64_t *)(void *)(scratch + l->block * l->segment * EPL_NR);
    w.b_tap = w.a_tap + l->block;
    w.lines = (float *)(void *)(w.b_tap + l->block);
    for (int64_t i = 0; i < blocks; i++) {
        w.unit0 = unit0 + i * l->block;
        w.unit1 = epl_min(w.unit0 + l->block, unit1);
        w.tile.accumulate = i > 0;
        pack_dy(l, w.unit0, w.unit1, dy, cols, w.width, scratch);
        for (int64_t tap = 0; tap < taps; tap += l->merged ? p->kw : 1) {
            float *to = out + tap * l->cg * p->m;
            if (l->merged)
                run_merged(&w, tap / p->kw / p->kh, tap / p->kw % p->kh, to);
            else
                run_tap(&w, tap / p->kw / p->kh, tap / p->kw % p->kh, tap % p->kw, to);
        }
    }
}

int64_t EPL_K(conv_dw_pieces)(const void *params)
{
    const plan l = make_plan(params);
    return l.splits * l.p.groups * l.panels;
}

size_t EPL_K(conv_dw_scratch)(const void *params)
{
    const plan l = make_plan(params);
    const int64_t floats = l.block * l.segment * EPL_NR + (l.merged ? l.block * l.line : 0);
    return (size_t)floats * sizeof(float) + (size_t)(2 * l.block) * sizeof(int64_t);
}

void EPL_K(conv_dw)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const plan l = make_plan(call->params);
    for (int64_t i = begin; i < end; i++)
        run_piece(&l, call, i, scratch);
}
