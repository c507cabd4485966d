/* tissue: generated slides that look like stained tissue, one class each. A piece of tissue on white glass: fibres
 * (eosin) with a few thin nuclei (haematoxylin), the same in all classes, and a few islands full of nuclei, whose
 * form and order is the class. Slides 2k and 2k + 1 are of one patient: one class, one strength and shade of the
 * stains. */
#include <math.h>
#include <string.h>

#include "data/synth/synth.h"

enum { N_CLASSES = 5, MAX_ISLANDS = 6 };
static const char *const CLASS_NAMES[N_CLASSES] = { "small-round", "large-pale", "spindle", "glandular", "mixed" };

typedef struct island {
    float x, y, radius;
} island;

typedef struct slide {
    int64_t side;
    float  *h, *e;          /* concentrations [side, side] */
    float   waves[4];       /* of the outline */
    float   fibre_angle, fibre_step;
    island  islands[MAX_ISLANDS];
    int     n_islands;
} slide;

static float between(epl_rng *r, float low, float high) { return low + (high - low) * epl_rng_uniform(r); }

/* How far (x, y) is inside the tissue, in pixels: negative outside. */
static float depth(const slide *s, float x, float y)
{
    const float half = 0.5f * (float)s->side, dx = x - half, dy = y - half, angle = atan2f(dy, dx);
    const float radius = (float)s->side * (0.42f + 0.04f * sinf(2 * angle + s->waves[0]) + 0.03f * sinf(3 * angle + s->waves[1]) +
                                           0.015f * sinf(7 * angle + s->waves[2]));
    return radius - sqrtf(dx * dx + dy * dy);
}

static bool on_island(const slide *s, float x, float y)
{
    for (int i = 0; i < s->n_islands; i++)
        if (hypotf(x - s->islands[i].x, y - s->islands[i].y) < s->islands[i].radius)
            return true;
    return false;
}

/* An ellipse of haematoxylin; with `pale` a dark rim about a bright inside. */
static void draw_nucleus(slide *s, float x, float y, float a, float b, float angle, float level, bool pale)
{
    const float   c = cosf(angle), n = sinf(angle), reach = fmaxf(a, b) + 1;
    const int64_t top = (int64_t)fmaxf(y - reach, 0), bottom = (int64_t)fminf(y + reach, (float)(s->side - 1));
    const int64_t left = (int64_t)fmaxf(x - reach, 0), right = (int64_t)fminf(x + reach, (float)(s->side - 1));
    for (int64_t py = top; py <= bottom; py++)
        for (int64_t px = left; px <= right; px++) {
            const float dx = (float)px - x, dy = (float)py - y, u = (c * dx + n * dy) / a, v = (c * dy - n * dx) / b;
            const float d = sqrtf(u * u + v * v), cover = fminf(fmaxf((1 - d) * fminf(a, b) + 0.5f, 0), 1);
            const float h = level * cover * (pale && d < 0.65f ? 0.4f : 1);
            s->h[py * s->side + px] = fmaxf(s->h[py * s->side + px], h);
        }
}

static void draw_ground(slide *s, epl_rng *r)
{
    for (int i = 0; i < 4; i++)
        s->waves[i] = between(r, 0, 6.2832f);
    s->fibre_angle = between(r, 0, 3.1416f);
    s->fibre_step  = between(r, 0.5f, 0.9f);
    const float c = cosf(s->fibre_angle), n = sinf(s->fibre_angle);
    for (int64_t y = 0; y < s->side; y++)
        for (int64_t x = 0; x < s->side; x++) {
            const float inside = fminf(fmaxf(depth(s, (float)x, (float)y) + 0.5f, 0), 1), along = c * (float)x + n * (float)y;
            const float across = c * (float)y - n * (float)x + 3 * sinf(0.08f * along + s->waves[3]);
            s->e[y * s->side + x] = inside * (0.40f + 0.10f * sinf(s->fibre_step * across) + 0.05f * epl_rng_uniform(r));
            s->h[y * s->side + x] = inside * 0.04f;
        }
}

static void place_islands(slide *s, epl_rng *r)
{
    const int want = 3 + (int)epl_rng_below(r, 2);
    for (int tries = 0; tries < 200 && s->n_islands < want; tries++) {
        const float  radius = (float)s->side * between(r, 0.09f, 0.13f);
        const island at = { between(r, 0, (float)s->side), between(r, 0, (float)s->side), radius };
        bool free = depth(s, at.x, at.y) > 0.7f * radius;
        for (int i = 0; free && i < s->n_islands; i++)
            free = hypotf(at.x - s->islands[i].x, at.y - s->islands[i].y) > radius + s->islands[i].radius;
        if (free)
            s->islands[s->n_islands++] = at;
    }
}

/* Thin nuclei along the fibres, everywhere but on islands. */
static void draw_stroma(slide *s, epl_rng *r)
{
    for (int64_t i = 0; i < s->side * s->side / 420; i++) {
        const float x = between(r, 0, (float)s->side), y = between(r, 0, (float)s->side), a = between(r, 2.5f, 4);
        const float angle = s->fibre_angle + between(r, -0.3f, 0.3f), level = between(r, 0.5f, 0.9f);
        if (depth(s, x, y) > 4 && !on_island(s, x, y))
            draw_nucleus(s, x, y, a, 1.1f, angle, level, false);
    }
}

/* A ring of round nuclei about a hollow. */
static void draw_gland(slide *s, epl_rng *r, float x, float y)
{
    const float radius = between(r, 6.5f, 8.5f);
    const int   n = (int)(radius * 1.35f);
    for (int i = 0; i < n; i++) {
        const float angle = 6.2832f * (float)i / (float)n;
        draw_nucleus(s, x + radius * cosf(angle), y + radius * sinf(angle), 2.2f, 1.8f, angle, between(r, 0.8f, 1.1f), false);
    }
}

static void draw_cell(slide *s, epl_rng *r, int class, float angle, float x, float y)
{
    const float level = between(r, 0.8f, 1.2f), size = between(r, 0.85f, 1.15f);
    switch (class) {
    case 0: draw_nucleus(s, x, y, 1.9f * size, 1.9f * size, 0, level, false); break;
    case 1: draw_nucleus(s, x, y, 3.7f * size, 3.3f * size, between(r, 0, 3), level, true); break;
    case 2: draw_nucleus(s, x, y, 4.6f * size, 1.5f * size, angle + between(r, -0.15f, 0.15f), level, false); break;
    case 3: draw_gland(s, r, x, y); break;
    default: { // sizes and forms of all kinds
        const float a = between(r, 1.5f, 4.5f);
        draw_nucleus(s, x, y, a, a * between(r, 0.45f, 1), between(r, 0, 3), level, epl_rng_below(r, 3) == 0);
    }
    }
}

/* Cells on a grid that was shaken, so that they hardly overlap. */
static void draw_island(slide *s, epl_rng *r, int class, const island *at)
{
    static const float spacing[N_CLASSES] = { 5.6f, 8.6f, 6.2f, 19, 7.2f };
    const float step = spacing[class], angle = between(r, 0, 3.1416f), c = cosf(angle), n = sinf(angle);
    const int   reach = (int)(at->radius / step) + 1;
    for (int i = -reach; i <= reach; i++)
        for (int k = -reach; k <= reach; k++) {
            const float u = step * ((float)i + between(r, -0.28f, 0.28f)), v = step * ((float)k + between(r, -0.28f, 0.28f));
            const float x = at->x + c * u - n * v, y = at->y + n * u + c * v;
            if (hypotf(u, v) < at->radius && depth(s, x, y) > 3)
                draw_cell(s, r, class, angle, x, y);
        }
}

/* Stains to colours: I = 255 exp(-(h H + e E)), shade and strength the patient's. */
static void develop(const slide *s, epl_rng patient, epl_rng *r, uint8_t *out)
{
    double m[9];
    float  shade[6];
    epl_stain_matrix(m);
    const float strength[2] = { between(&patient, 0.75f, 1.25f), between(&patient, 0.7f, 1.3f) };
    for (int i = 0; i < 6; i++)
        shade[i] = strength[i / 3] * (float)m[i] * between(&patient, 0.9f, 1.1f);
    for (int64_t i = 0; i < s->side * s->side; i++)
        for (int c = 0; c < 3; c++) {
            const float light = 247 * expf(-(s->h[i] * shade[c] + s->e[i] * shade[3 + c])) + between(r, -3, 3);
            out[3 * i + c] = (uint8_t)fminf(fmaxf(light + 0.5f, 0), 255);
        }
}

static epl_source *open_tissue(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    int64_t   side = 0, classes = 0;
    epl_synth g;
    if (!epl_spec_int(spec, "image", 64, 4096, &side) || !epl_spec_int(spec, "classes", 1, N_CLASSES, &classes) ||
        !epl_synth_new(&g, ctx, spec, o) || !epl_synth_tensors(&g, EPL_U8, EPL_SHAPE(side, side, 3), EPL_I64, EPL_SCALAR))
        return NULL;
    float *maps = epl_alloc_array(ctx, 2 * (size_t)(side * side), sizeof *maps);
    if (!maps) {
        epl_tensor_free(g.x);
        epl_tensor_free(g.y);
        return NULL;
    }
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng   r = epl_synth_rng(&g, i);
        slide     s = { .side = side, .h = maps, .e = maps + side * side };
        const int class = (int)(i / 2 % classes);
        draw_ground(&s, &r);
        place_islands(&s, &r);
        draw_stroma(&s, &r);
        for (int k = 0; k < s.n_islands; k++)
            draw_island(&s, &r, class, &s.islands[k]);
        develop(&s, epl_synth_rng(&g, INT64_C(1) << 40 | i / 2), &r, (uint8_t *)g.x->data + 3 * i * side * side);
        ((int64_t *)g.y->data)[i] = class;
    }
    epl_release(ctx, maps);
    return epl_synth_finish(&g, CLASS_NAMES, (int)classes);
}

const epl_source_kind epl_kind_tissue = {
    .about = { "tissue", "image=320,classes=5,count=200,test=100",
               "slides of stained tissue, few nuclei tell the class; two to a patient" },
    .open = open_tissue,
};
