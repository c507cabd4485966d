/* mosaic: a picture of a slide as a few of its tiles, Kalra et al. 2020 (arXiv:1911.08748), "Yottixel", and, of
 * these, the richest in cell nuclei, Riasatian et al. 2021 (arXiv:2101.07903). Tiles with enough tissue are grouped
 * by colour, in each group tiles spread over the slide are kept, and of all kept ones those with the highest score. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/source.h"

enum { BINS = 256 };

/* ---- tissue ---- */

static int saturation(const uint8_t *p)
{
    const int high = p[0] > p[1] ? (p[0] > p[2] ? p[0] : p[2]) : (p[1] > p[2] ? p[1] : p[2]);
    const int low  = p[0] < p[1] ? (p[0] < p[2] ? p[0] : p[2]) : (p[1] < p[2] ? p[1] : p[2]);
    return high ? 255 * (high - low) / high : 0;
}

/* The saturation above which a pixel is tissue, from every step-th pixel both ways. */
static double tissue_threshold(const epl_tensor *slide, int64_t step)
{
    double histogram[BINS] = { 0 };
    const int64_t h = slide->shape.dim[0], w = slide->shape.dim[1];
    for (int64_t y = 0; y < h; y += step)
        for (int64_t x = 0; x < w; x += step)
            histogram[saturation((const uint8_t *)slide->data + 3 * (y * w + x))]++;
    return epl_otsu(histogram, BINS);
}

typedef struct measure {
    double tissue, colour[3]; /* share; mean */
} measure;

static measure measure_tile(const epl_tensor *slide, int64_t top, int64_t left, int64_t tile, int64_t step, double threshold)
{
    measure m = { 0 };
    int64_t n = 0;
    for (int64_t y = top; y < top + tile; y += step)
        for (int64_t x = left; x < left + tile; x += step, n++) {
            const uint8_t *p = (const uint8_t *)slide->data + 3 * (y * slide->shape.dim[1] + x);
            m.tissue += saturation(p) >= threshold;
            for (int c = 0; c < 3; c++)
                m.colour[c] += p[c];
        }
    m.tissue /= (double)n;
    for (int c = 0; c < 3; c++)
        m.colour[c] /= (double)n;
    return m;
}

/* ---- clustering ---- */

typedef struct points {
    int64_t       n;
    int           d; /* at most 3 */
    const double *x; /* [n, d] */
} points;

static double apart(const points *p, int64_t i, const double *centre)
{
    double sum = 0;
    for (int j = 0; j < p->d; j++)
        sum += (p->x[i * p->d + j] - centre[j]) * (p->x[i * p->d + j] - centre[j]);
    return sum;
}

/* Arthur & Vassilvitskii 2007, "k-means++": each next centre is a point drawn by its squared distance from those there are. */
static void first_centres(const points *p, int k, epl_rng *r, double *centres, double *distance)
{
    int64_t at = (int64_t)epl_rng_below(r, (uint64_t)p->n);
    for (int64_t i = 0; i < p->n; i++)
        distance[i] = INFINITY;
    for (int c = 0; c < k; c++) {
        double *centre = centres + c * p->d, sum = 0;
        memcpy(centre, p->x + at * p->d, (size_t)p->d * sizeof *centre);
        for (int64_t i = 0; i < p->n; i++)
            sum += distance[i] = fmin(distance[i], apart(p, i, centre));
        double draw = epl_rng_uniform_f64(r) * sum;
        at = 0;
        while (at + 1 < p->n && draw > distance[at])
            draw -= distance[at++];
    }
}

/* Each point to its nearest centre. Returns whether any changed. */
static bool assign(const points *p, int k, const double *centres, int *group, double *distance)
{
    bool changed = false;
    for (int64_t i = 0; i < p->n; i++) {
        int best = 0;
        for (int c = 1; c < k; c++)
            if (apart(p, i, centres + c * p->d) < apart(p, i, centres + best * p->d))
                best = c;
        changed     = changed || group[i] != best;
        group[i]    = best;
        distance[i] = apart(p, i, centres + best * p->d);
    }
    return changed;
}

/* Each centre to the mean of its points, if it has any. */
static void move_centres(const points *p, int k, double *centres, const int *group)
{
    for (int c = 0; c < k; c++) {
        double  sum[3] = { 0 };
        int64_t count = 0;
        for (int64_t i = 0; i < p->n; i++) {
            for (int j = 0; j < p->d && group[i] == c; j++)
                sum[j] += p->x[i * p->d + j];
            count += group[i] == c;
        }
        for (int j = 0; j < p->d && count > 0; j++)
            centres[c * p->d + j] = sum[j] / (double)count;
    }
}

/* Lloyd's k-means: group[i] is point i's centre, distance[i] how far it is, squared. `centres` is [k, d]. */
static void k_means(points p, int k, epl_rng *r, double *centres, int *group, double *distance)
{
    first_centres(&p, k, r, centres, distance);
    for (int64_t i = 0; i < p.n; i++)
        group[i] = -1;
    for (int round = 0; round < 100 && assign(&p, k, centres, group, distance); round++)
        move_centres(&p, k, centres, group);
}

/* Scratch of a mosaic, for its tiles with tissue. */
typedef struct work {
    double *colours, *places, *centres, *distance; /* [n, 3], [n, 2] */
    int    *group, *colour_group;
} work;

static bool work_new(epl_context *ctx, int64_t n, work *w)
{
    const size_t k = (size_t)n + 1;
    *w = (work){ epl_alloc_array(ctx, k, 3 * sizeof(double)), epl_alloc_array(ctx, k, 2 * sizeof(double)),
                 epl_alloc_array(ctx, k, 3 * sizeof(double)), epl_alloc_array(ctx, k, sizeof(double)), epl_alloc_array(ctx, k, sizeof(int)),
                 epl_alloc_array(ctx, k, sizeof(int)) };
    return w->colours && w->places && w->centres && w->distance && w->group && w->colour_group;
}

static void work_release(epl_context *ctx, work *w)
{
    epl_release(ctx, w->colours);
    epl_release(ctx, w->places);
    epl_release(ctx, w->centres);
    epl_release(ctx, w->distance);
    epl_release(ctx, w->group);
    epl_release(ctx, w->colour_group);
}

/* In the group of colours c: as many centres on the slide as `share` of its tiles, at least one; the tile nearest each stays. */
static void spread(epl_slide_tile *t, int64_t n, int c, double share, epl_rng *r, work *w)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (t[i].cluster == c) {
            w->places[2 * m]       = (double)t[i].top;
            w->places[2 * m++ + 1] = (double)t[i].left;
        }
    if (m == 0)
        return;
    const int k = (int)fmax(1, floor(share * (double)m + 0.5));
    k_means((points){ m, 2, w->places }, k, r, w->centres, w->group, w->distance);
    for (int g = 0; g < k; g++) {
        int64_t best = -1, at = 0;
        double  least = INFINITY;
        for (int64_t i = 0; i < n; i++) {
            if (t[i].cluster != c)
                continue;
            if (w->group[at] == g && w->distance[at] < least) {
                least = w->distance[at];
                best  = i;
            }
            at++;
        }
        if (best >= 0)
            t[best].in_mosaic = true;
    }
}

/* ---- scores ---- */

/* Cellularity: the share of a tile's pixels that are nuclei, haematoxylin above the threshold of all tiles of the mosaic. */
static bool score_cellularity(epl_context *ctx, const epl_tensor *slide, int64_t tile, epl_slide_tile *t, int64_t n)
{
    epl_tensor *stains = epl_image_stains(ctx, slide);
    if (!stains)
        return false;
    const float  *c = stains->data;
    const int64_t width = slide->shape.dim[1];
    const double  most = 3; // optical density: darker pixels count as this
    double        histogram[BINS] = { 0 };
    for (int pass = 0; pass < 2; pass++) {
        const double threshold = pass ? epl_otsu(histogram, BINS) * most / BINS : 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t nuclei = 0;
            for (int64_t y = t[i].top; t[i].in_mosaic && y < t[i].top + tile; y++)
                for (int64_t x = t[i].left; x < t[i].left + tile; x++) {
                    const double h = c[3 * (y * width + x)];
                    if (pass)
                        nuclei += h >= threshold;
                    else
                        histogram[(int)(fmin(fmax(h / most, 0), 0.999) * BINS)]++;
                }
            t[i].score = pass ? (double)nuclei / (double)(tile * tile) : 0;
        }
    }
    epl_tensor_free(stains);
    return true;
}

/* Keeps the highest max(1, floor(top m)) of the mosaic's m tiles; of equal scores the first. */
static int64_t keep_top(epl_slide_tile *t, int64_t n, double top)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        m += t[i].in_mosaic;
    const int64_t want = m == 0 ? 0 : (int64_t)fmax(1, floor(top * (double)m + 1e-9));
    for (int64_t k = 0; k < want; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < n; i++)
            if (t[i].in_mosaic && !t[i].kept && (best < 0 || t[i].score > t[best].score))
                best = i;
        t[best].kept = true;
    }
    return want;
}

/* ---- all of it ---- */

static epl_mosaic_opts with_defaults(epl_mosaic_opts o)
{
    o.tile     = o.tile ? o.tile : 1000;
    o.tissue   = o.tissue > 0 ? o.tissue : 0.5;
    o.clusters = o.clusters ? o.clusters : 9;
    o.spatial  = o.spatial > 0 ? o.spatial : 0.15;
    o.top      = o.top > 0 ? o.top : 0.2;
    return o;
}

static bool check(epl_context *ctx, const epl_tensor *slide, const epl_mosaic_opts *o)
{
    char shape[192];
    if (slide->dtype != EPL_U8 || slide->shape.rank != 3 || slide->shape.dim[2] != 3)
        return epl_fail(ctx, EPL_ERR_SHAPE, "mosaic: a slide is a picture u8 [H, W, 3], not %s%s", epl_dtype_name(slide->dtype),
                        epl_shape_text(shape, slide->shape));
    if (o->tile < 2 || o->tile > slide->shape.dim[0] || o->tile > slide->shape.dim[1])
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "mosaic: tiles of %" PRId64 " pixels from a slide of %" PRId64 " x %" PRId64, o->tile,
                        slide->shape.dim[0], slide->shape.dim[1]);
    return (o->clusters >= 1 && o->tissue <= 1 && o->spatial <= 1 && o->top <= 1) ||
           epl_fail(ctx, EPL_ERR_ARGUMENT,
                    "mosaic: %d clusters, shares of %g tissue, %g of a cluster, %g at the top, but there is at least "
                    "one cluster and a share is at most 1",
                    o->clusters, o->tissue, o->spatial, o->top);
}

static int64_t find_tiles(const epl_tensor *slide, const epl_mosaic_opts *o, epl_slide_tile *t, double *colours)
{
    const int64_t step = o->tile / 64 > 1 ? o->tile / 64 : 1;
    const double  threshold = tissue_threshold(slide, step);
    int64_t       n = 0;
    for (int64_t top = 0; top + o->tile <= slide->shape.dim[0]; top += o->tile)
        for (int64_t left = 0; left + o->tile <= slide->shape.dim[1]; left += o->tile) {
            const measure m = measure_tile(slide, top, left, o->tile, step, threshold);
            if (m.tissue < o->tissue)
                continue;
            memcpy(colours + 3 * n, m.colour, sizeof m.colour);
            t[n++] = (epl_slide_tile){ .top = top, .left = left, .tissue = m.tissue };
        }
    return n;
}

static bool choose(epl_context *ctx, const epl_tensor *slide, const epl_mosaic_opts *o, epl_mosaic *m, work *w)
{
    epl_rng r = epl_rng_at(o->seed, 0x6d6f7361); // "mosa"
    m->n = find_tiles(slide, o, m->tiles, w->colours);
    if (m->n == 0)
        return true;
    const int k = m->n < o->clusters ? (int)m->n : o->clusters;
    k_means((points){ m->n, 3, w->colours }, k, &r, w->centres, w->colour_group, w->distance);
    for (int64_t i = 0; i < m->n; i++)
        m->tiles[i].cluster = w->colour_group[i];
    for (int c = 0; c < k; c++)
        spread(m->tiles, m->n, c, o->spatial, &r, w);
    bool ok = true;
    if (o->score == EPL_SCORE_CELLULARITY)
        ok = score_cellularity(ctx, slide, o->tile, m->tiles, m->n);
    for (int64_t i = 0; i < m->n && o->score != EPL_SCORE_CELLULARITY; i++)
        m->tiles[i].score = o->score == EPL_SCORE_RANDOM ? epl_rng_uniform_f64(&r) : o->score_fn(o->score_user, slide, &m->tiles[i]);
    m->n_kept = ok ? keep_top(m->tiles, m->n, o->top) : 0;
    return ok;
}

bool epl_mosaic_of(epl_context *ctx, const epl_tensor *slide, epl_mosaic_opts o, epl_mosaic *out)
{
    o = with_defaults(o);
    *out = (epl_mosaic){ .tile = o.tile };
    if (!check(ctx, slide, &o))
        return false;
    const int64_t most = (slide->shape.dim[0] / o.tile) * (slide->shape.dim[1] / o.tile);
    work w = { 0 };
    out->tiles = epl_alloc_array(ctx, (size_t)most + 1, sizeof *out->tiles);
    const bool ok = out->tiles && work_new(ctx, most, &w) && choose(ctx, slide, &o, out, &w);
    work_release(ctx, &w);
    if (!ok)
        epl_mosaic_release(ctx, out);
    return ok;
}

void epl_mosaic_release(epl_context *ctx, epl_mosaic *m)
{
    epl_release(ctx, m->tiles);
    *m = (epl_mosaic){ 0 };
}

epl_tensor *epl_image_tile(epl_context *ctx, const epl_tensor *image, int64_t top, int64_t left, int64_t height, int64_t width)
{
    if (image->shape.rank != 3 || top < 0 || left < 0 || height < 1 || width < 1 || height > image->shape.dim[0] - top ||
        width > image->shape.dim[1] - left) {
        char shape[192];
        epl_fail(ctx, EPL_ERR_SHAPE, "a tile of %" PRId64 " x %" PRId64 " at %" PRId64 ", %" PRId64 " is not within the picture %s", height,
                 width, top, left, epl_shape_text(shape, image->shape));
        return NULL;
    }
    const int64_t c = image->shape.dim[2];
    const size_t  pixel = (size_t)c * epl_dtype_bytes(image->dtype);
    epl_tensor   *t = epl_tensor_new(ctx, image->dtype, EPL_SHAPE(height, width, c));
    for (int64_t y = 0; t && y < height; y++)
        memcpy((char *)t->data + (size_t)(y * width) * pixel,
               (const char *)image->data + (size_t)((top + y) * image->shape.dim[1] + left) * pixel, (size_t)width * pixel);
    return t;
}

/* ---- a data set of tiles under their slides' labels ---- */

typedef struct harvest {
    uint8_t *x;
    int64_t *y, *slide;
    size_t   n, room_x, room_y, room_slide;
    size_t   tile_bytes;
} harvest;

/* Adds the kept tiles of a slide. */
static bool gather(epl_context *ctx, harvest *h, const epl_tensor *slide, const epl_mosaic *m, int64_t number, int64_t label)
{
    for (int64_t i = 0; i < m->n; i++) {
        const epl_slide_tile *at = &m->tiles[i];
        epl_tensor     *t  = at->kept ? epl_image_tile(ctx, slide, at->top, at->left, m->tile, m->tile) : NULL;
        bool ok = t && epl_grow(ctx, &h->x, h->n, &h->room_x, h->tile_bytes) && epl_grow(ctx, &h->y, h->n, &h->room_y, sizeof *h->y) &&
                  epl_grow(ctx, &h->slide, h->n, &h->room_slide, sizeof *h->slide);
        if (ok) {
            memcpy(h->x + h->n * h->tile_bytes, t->data, h->tile_bytes);
            h->y[h->n]       = label;
            h->slide[h->n++] = number;
        }
        epl_tensor_free(t);
        if (!ok && at->kept)
            return false;
    }
    return true;
}

static epl_dataset *finish(epl_dataset *slides, const harvest *h, int64_t tile)
{
    epl_context *ctx = slides->source->ctx;
    const int64_t n = (int64_t)h->n;
    epl_tensor *x = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(n, tile, tile, 3)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(n));
    if (!x || !y || n == 0) {
        if (x && y)
            epl_fail(ctx, EPL_ERR_ARGUMENT, "data set '%s': no slide has a tile with enough tissue", slides->source->name);
        epl_tensor_free(x);
        epl_tensor_free(y);
        return NULL;
    }
    memcpy(x->data, h->x, h->n * h->tile_bytes);
    memcpy(y->data, h->y, h->n * sizeof *h->y);
    return epl_dataset_from_tensors_take(ctx, slides->source->name, x, y);
}

epl_dataset *epl_mosaic_dataset(epl_dataset *slides, epl_mosaic_opts o, int64_t **slide_of, int64_t *n_empty)
{
    const epl_source *s   = slides->source;
    epl_context      *ctx = s->ctx;
    epl_tensor       *slide = s->x_dtype == EPL_U8 ? epl_tensor_new(ctx, EPL_U8, s->x_shape) : NULL;
    epl_dataset      *out = NULL;
    int64_t           empty = 0;
    o = with_defaults(o);
    harvest h = { .tile_bytes = (size_t)(3 * o.tile * o.tile) };
    bool    ok = slide && s->y_dtype == EPL_I64 && s->y_shape.rank == 0;
    if (!ok && s->x_dtype == EPL_U8 && slide)
        epl_fail(ctx, EPL_ERR_ARGUMENT, "data set '%s': a mosaic needs slides with one class each", s->name);
    else if (!ok && !slide && s->x_dtype != EPL_U8)
        epl_fail(ctx, EPL_ERR_ARGUMENT, "data set '%s': a mosaic needs pictures of u8, not %s", s->name, epl_dtype_name(s->x_dtype));
    for (int64_t i = 0; ok && i < slides->count; i++) {
        int64_t         label = 0;
        epl_mosaic      m = { 0 };
        epl_mosaic_opts mine = o;
        mine.seed = o.seed + (uint64_t)i;
        ok = epl_dataset_fetch(slides, i, slide->data, &label) && epl_mosaic_of(ctx, slide, mine, &m) &&
             gather(ctx, &h, slide, &m, i, label);
        empty += ok && m.n == 0;
        epl_mosaic_release(ctx, &m);
    }
    if (ok)
        out = finish(slides, &h, o.tile);
    if (out && slide_of) {
        *slide_of = h.slide;
        h.slide   = NULL;
    }
    if (out && n_empty)
        *n_empty = empty;
    epl_tensor_free(slide);
    epl_release(ctx, h.x);
    epl_release(ctx, h.y);
    epl_release(ctx, h.slide);
    return out;
}
