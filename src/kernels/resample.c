/* resample: another resolution of x [n, d, h, w, c], forward and backward, vectorised over channels. The map is
 * separable: where each output of an axis comes from is a table, made at the head of every call into scratch;
 * backward it is the table transposed.
 *
 * A piece is one line along the last spatial axis. The lines that it comes from are blended into one (long vectors,
 * whatever c is), which is then sampled along the line; a line that has a single source is read where it lies. */
#include "kernels/bandwidth.h"
#include "kernels/vmath.h"
#include "ops/resize_taps.h"

EPL_KERNEL(resample);

/* What every row of an axis of the result is made of: entries start[row] to start[row + 1], in the order of the source. */
typedef struct tap {
    int32_t at;
    float   weight;
} tap;

typedef struct table {
    int64_t  rows, sources;
    int32_t *start; /* [rows + 1] */
    tap     *taps;
} table;

static epl_resize_axis axis_of(const epl_resample_params *p, int i)
{
    return (epl_resize_axis){ .in = p->in[i], .out = p->out[i], .mode = p->mode[i], .coordinates = p->coordinates[i], .nearest = p->nearest,
                              .exclude = p->exclude, .antialias = p->antialias, .scale = p->scale[i], .cubic_a = p->cubic_a,
                              .begin = p->begin[i], .end = p->end[i] };
}

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

static size_t start_bytes(const epl_resample_params *p, int i)
{
    return aligned((size_t)((p->in[i] > p->out[i] ? p->in[i] : p->out[i]) + 2) * sizeof(int32_t));
}

static size_t taps_bytes(const epl_resample_params *p, int i)
{
    const epl_resize_axis a = axis_of(p, i);
    return aligned((size_t)(a.out * epl_resize_most(&a)) * sizeof(tap));
}

static size_t line_bytes(const epl_resample_params *p)
{
    return aligned((size_t)((p->back ? p->out[2] : p->in[2]) * p->c) * sizeof(float));
}

size_t EPL_K(resample_scratch)(const void *params)
{
    const epl_resample_params *p = params;
    size_t bytes = line_bytes(p);
    for (int i = 0; i < 3; i++)
        bytes += start_bytes(p, i) + taps_bytes(p, i);
    return bytes;
}

int64_t EPL_K(resample_pieces)(const void *params)
{
    const epl_resample_params *p = params;
    const int64_t              lines = p->n * (p->back ? p->in[0] * p->in[1] : p->out[0] * p->out[1]);
    return lines > 0 ? lines : 1;
}

/* Neighbours that count for nothing are left out; a row of nothing else keeps one, since one without any lies outside. */
static void forward_table(const epl_resize_axis *a, table *t)
{
    int32_t n = 0;
    for (int64_t o = 0; o < a->out; o++) {
        const epl_resize_taps taps = epl_resize_taps_of(a, o);
        t->start[o] = n;
        for (int64_t k = 0; k < taps.count; k++) {
            int64_t     at;
            const float weight = (float)epl_resize_weight(a, &taps, k, &at);
            if (weight != 0 || (k == taps.count - 1 && n == t->start[o]))
                t->taps[n++] = (tap){ (int32_t)at, weight };
        }
    }
    t->start[a->out] = n;
}

/* Counts what each input gives to, then puts it in its place; start[i + 1] is the place of input i's next. */
static void backward_table(const epl_resize_axis *a, table *t)
{
    for (int64_t i = 0; i < a->in + 2; i++)
        t->start[i] = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t o = 0; o < a->out; o++) {
            const epl_resize_taps taps = epl_resize_taps_of(a, o);
            for (int64_t k = 0; k < taps.count; k++) {
                int64_t     at;
                const float weight = (float)epl_resize_weight(a, &taps, k, &at);
                if (weight == 0)
                    continue;
                if (pass == 0)
                    t->start[at + 2]++;
                else
                    t->taps[t->start[at + 1]++] = (tap){ (int32_t)o, weight };
            }
        }
        for (int64_t i = 0; pass == 0 && i < a->in; i++)
            t->start[i + 2] += t->start[i + 1];
    }
}

static float *make_tables(const epl_resample_params *p, char *scratch, table t[3])
{
    for (int i = 0; i < 3; i++) {
        const epl_resize_axis a = axis_of(p, i);
        t[i] = (table){ p->back ? a.in : a.out, p->back ? a.out : a.in, (int32_t *)scratch, (tap *)(scratch + start_bytes(p, i)) };
        scratch += start_bytes(p, i) + taps_bytes(p, i);
        if (p->back)
            backward_table(&a, &t[i]);
        else
            forward_table(&a, &t[i]);
    }
    return (float *)scratch;
}

static void fill_line(float *y, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = value;
}

/* The sum of a block's lines in vectors that stay in registers: the usual two or four lines are read once, nothing
 * is written between. */
static void blend(const table *d, const table *h, int64_t od, int64_t oh, const float *x, int64_t width, float *line)
{
    const tap *di = d->taps + d->start[od], *dn = d->taps + d->start[od + 1], *hi = h->taps + h->start[oh],
              *hn = h->taps + h->start[oh + 1];
    for (int64_t c = 0; c < width; c += 4 * VL) {
        const int64_t left = width - c;
        vf sum[4] = { vset(0), vset(0), vset(0), vset(0) };
        for (const tap *i = di; i < dn; i++)
            for (const tap *j = hi; j < hn; j++) {
                const float *from = x + ((int64_t)i->at * h->sources + j->at) * width + c;
                const float  weight = i->weight * j->weight;
                if (left >= 4 * VL)
                    VEC_UNROLL for (int k = 0; k < 4; k++)
                        sum[k] += vload(from + k * VL) * weight;
                else
                    VEC_UNROLL for (int k = 0; k < 4; k++)
                        if (left > k * VL)
                            sum[k] += vload_some(from + k * VL, left - k * VL) * weight;
            }
        VEC_UNROLL for (int k = 0; k < 4; k++)
            if (left > k * VL)
                vstore_some(line + c + k * VL, sum[k], left - k * VL);
    }
}

/* One row of a table against a line [sources, c]. */
static inline void sample(const tap *t, const tap *end, const float *line, int64_t c, float *y)
{
    for (int64_t k = 0; k < c; k += VL) {
        vf sum = vset(0);
        for (const tap *i = t; i < end; i++)
            sum += vload_some(line + (int64_t)i->at * c + k, c - k) * i->weight;
        vstore_some(y + k, sum, c - k);
    }
}

/* A single channel is not worth masks. */
static inline float sample_one(const tap *t, const tap *end, const float *line)
{
    float sum = 0;
    for (const tap *i = t; i < end; i++)
        sum += line[i->at] * i->weight;
    return sum;
}

static int copies(const tap *t, const tap *end) { return end - t == 1 && t->weight == 1; }

/* Rows of a few vectors: shorter than a call. */
static inline void copy_row(const float *x, int64_t c, float *y)
{
    int64_t k = 0;
    for (; k + VL <= c; k += VL)
        vstore(y + k, vload(x + k));
    if (k < c)
        vstore_some(y + k, vload_some(x + k, c - k), c - k);
}

static void sample_line(const table *w, const float *line, int64_t c, float outside, float *y)
{
    for (int64_t o = 0; o < w->rows; o++, y += c) {
        const tap *t = w->taps + w->start[o], *end = w->taps + w->start[o + 1];
        if (t == end)
            fill_line(y, c, outside);
        else if (copies(t, end) && c >= 16)
            copy_row(line + (int64_t)t->at * c, c, y);
        else if (c == 1)
            *y = sample_one(t, end, line);
        else
            sample(t, end, line, c, y);
    }
}

static int is_identity(const table *w)
{
    for (int64_t o = 0; o < w->rows; o++) {
        const tap *t = w->taps + w->start[o], *end = w->taps + w->start[o + 1];
        if (!copies(t, end) || t->at != o)
            return 0;
    }
    return w->rows == w->sources;
}

void EPL_K(resample)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    const epl_resample_params *p = call->params;
    table         t[3];
    float        *line = make_tables(p, scratch, t);
    const float   outside = p->back ? 0 : (float)p->extrapolation;
    const int64_t width = t[2].sources * p->c, image = t[0].sources * t[1].sources * width, lines = t[0].rows * t[1].rows;
    const int     whole = is_identity(&t[2]);
    for (int64_t i = begin; i < end && i < p->n * lines; i++) {
        const int64_t od = i % lines / t[1].rows, oh = i % t[1].rows;
        const tap    *d = t[0].taps + t[0].start[od], *h = t[1].taps + t[1].start[oh];
        const float  *x = (const float *)call->in[0] + i / lines * image;
        float        *y = (float *)call->out[0] + i * t[2].rows * p->c;
        if (t[0].start[od] == t[0].start[od + 1] || t[1].start[oh] == t[1].start[oh + 1]) {
            fill_line(y, t[2].rows * p->c, outside);
        } else if (copies(d, t[0].taps + t[0].start[od + 1]) && copies(h, t[1].taps + t[1].start[oh + 1])) {
            const float *from = x + ((int64_t)d->at * t[1].sources + h->at) * width;
            if (whole)
                memcpy(y, from, (size_t)width * sizeof *y);
            else
                sample_line(&t[2], from, p->c, outside, y);
        } else {
            blend(&t[0], &t[1], od, oh, x, width, whole ? y : line);
            if (!whole)
                sample_line(&t[2], line, p->c, outside, y);
        }
    }
}
