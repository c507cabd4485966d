/* shapes: coloured geometric figures on a noisy ground, one per picture with its class, or several with a class per pixel
 * (0 is the ground). Edges are smoothed over one pixel. */
#include <math.h>

#include "data/synth/synth.h"

enum { N_SHAPES = 6 };
static const char *const SHAPE_NAMES[N_SHAPES] = { "disc", "square", "triangle", "cross", "ring", "star" };
static const char *const MASK_NAMES[N_SHAPES + 1] = { "ground", "disc", "square", "triangle", "cross", "ring", "star" };

typedef struct figure {
    int   shape;
    float x, y, size, cosine, sine;
    float colour[3];
} figure;

/* Signed distance (about) from the outline of the figure of size 1 at the origin: negative inside. */
static float distance(int shape, float x, float y)
{
    const float ax = fabsf(x), ay = fabsf(y), radius = sqrtf(x * x + y * y);
    switch (shape) {
    case 0: return radius - 0.9f;
    case 1: return fmaxf(ax, ay) - 0.75f;
    case 2: return fmaxf(0.866f * ax - 0.5f * y, y) - 0.5f; // an equilateral triangle, its tip up
    case 3: return fminf(fmaxf(ax - 0.3f, ay - 0.95f), fmaxf(ax - 0.95f, ay - 0.3f));
    case 4: return fabsf(radius - 0.7f) - 0.22f;
    default: return radius - 0.62f - 0.33f * cosf(5 * atan2f(x, -y));
    }
}

static figure draw_figure(epl_rng *r, int shape, float image, float low, float high)
{
    figure      f = { .shape = shape };
    const float angle = (epl_rng_uniform(r) - 0.5f) * 0.8f;
    f.size   = image * (low + (high - low) * epl_rng_uniform(r));
    f.x      = f.size + (image - 2 * f.size) * epl_rng_uniform(r);
    f.y      = f.size + (image - 2 * f.size) * epl_rng_uniform(r);
    f.cosine = cosf(angle);
    f.sine   = sinf(angle);
    for (int c = 0; c < 3; c++)
        f.colour[c] = 0.45f + 0.55f * epl_rng_uniform(r);
    return f;
}

/* Lays the figure over the picture (and its class over the mask). */
static void paint(const figure *f, int64_t image, int64_t channels, uint8_t *x, uint8_t *mask)
{
    for (int64_t p = 0; p < image * image; p++) {
        const float dx = ((float)(p % image) + 0.5f - f->x) / f->size, dy = ((float)(p / image) + 0.5f - f->y) / f->size;
        const float d  = distance(f->shape, f->cosine * dx + f->sine * dy, f->cosine * dy - f->sine * dx) * f->size;
        const float cover = fminf(fmaxf(0.5f - d, 0), 1);
        for (int64_t c = 0; c < channels; c++) {
            const float old = x[p * channels + c];
            x[p * channels + c] = (uint8_t)(old + cover * (255.0f * f->colour[c] - old) + 0.5f);
        }
        if (mask && cover >= 0.5f)
            mask[p] = (uint8_t)(f->shape + 1);
    }
}

static void paint_ground(epl_rng *r, int64_t n, uint8_t *x)
{
    const uint32_t level = epl_rng_u32(r) % 64;
    for (int64_t i = 0; i < n; i += 4) {
        const uint32_t draw = epl_rng_u32(r); // one draw serves four bytes
        for (int64_t k = i; k < n && k < i + 4; k++)
            x[k] = (uint8_t)(level + (draw >> (8 * (k - i)) & 31));
    }
}

static bool read_sizes(const epl_spec *spec, int64_t *image, int64_t *channels)
{
    if (!epl_spec_int(spec, "image", 8, 1024, image) || !epl_spec_int(spec, "channels", 1, 3, channels))
        return false;
    return *channels != 2 || epl_fail(spec->ctx, EPL_ERR_ARGUMENT, "%s: channels=2, expected 1 or 3", spec->name);
}

static epl_source *open_shapes(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    int64_t   image = 0, channels = 0, classes = 0;
    epl_synth g;
    if (!read_sizes(spec, &image, &channels) || !epl_spec_int(spec, "classes", 1, N_SHAPES, &classes) ||
        !epl_synth_new(&g, ctx, spec, o) ||
        !epl_synth_tensors(&g, EPL_U8, EPL_SHAPE(image, image, channels), EPL_I64, EPL_SCALAR))
        return NULL;
    const int64_t size = image * image * channels;
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng   r = epl_synth_rng(&g, i);
        uint8_t  *x = (uint8_t *)g.x->data + i * size;
        const int c = (int)(i % classes);
        paint_ground(&r, size, x);
        const figure f = draw_figure(&r, c, (float)image, 0.22f, 0.42f);
        paint(&f, image, channels, x, NULL);
        ((int64_t *)g.y->data)[i] = c;
    }
    return epl_synth_finish(&g, SHAPE_NAMES, (int)classes);
}

static epl_source *open_shapes_masks(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    int64_t   image = 0, channels = 0, classes = 0, figures = 0;
    epl_synth g;
    if (!read_sizes(spec, &image, &channels) || !epl_spec_int(spec, "classes", 1, N_SHAPES, &classes) ||
        !epl_spec_int(spec, "figures", 1, 64, &figures) || !epl_synth_new(&g, ctx, spec, o) ||
        !epl_synth_tensors(&g, EPL_U8, EPL_SHAPE(image, image, channels), EPL_U8, EPL_SHAPE(image, image)))
        return NULL;
    const int64_t size = image * image * channels;
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng       r = epl_synth_rng(&g, i);
        uint8_t      *x = (uint8_t *)g.x->data + i * size, *mask = (uint8_t *)g.y->data + i * image * image;
        const int64_t n = 1 + (int64_t)epl_rng_below(&r, (uint64_t)figures);
        paint_ground(&r, size, x);
        for (int64_t k = 0; k < n; k++) {
            const figure f = draw_figure(&r, (int)epl_rng_below(&r, (uint64_t)classes), (float)image, 0.12f, 0.28f);
            paint(&f, image, channels, x, mask);
        }
    }
    return epl_synth_finish(&g, MASK_NAMES, (int)classes + 1);
}

const epl_source_kind epl_kind_shapes = {
    .about = { "shapes", "image=32,channels=3,classes=6,count=2000,test=500", "one coloured figure per picture, with its class" },
    .open  = open_shapes,
};
const epl_source_kind epl_kind_shapes_masks = {
    .about = { "shapes-masks", "image=32,channels=3,classes=6,figures=3,count=2000,test=500",
               "several figures per picture, a class per pixel" },
    .open  = open_shapes_masks,
};
