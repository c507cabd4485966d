/* augment_words: the words of an augmentation, one table entry each. Every draw comes from the stream that the caller hands
 * in, which belongs to this word, this sample, this epoch. */
#include <math.h>
#include <string.h>

#include "data/augment.h"

static int64_t height_of(const epl_word *w) { return w->in.dim[0]; }
static int64_t width_of(const epl_word *w) { return w->in.dim[1]; }
static int64_t channels_of(const epl_word *w) { return w->in.dim[2]; }

static float between(epl_rng *r, double low, double high)
{
    return (float)(low + (high - low) * epl_rng_uniform(r));
}

static void turn_over(epl_sample *s)
{
    float   *x = s->x;
    int64_t *c = s->classes;
    s->x             = s->spare;
    s->spare         = x;
    s->classes       = s->spare_classes;
    s->spare_classes = c;
}

/* ---- moving pixels: the same function moves colours and classes, told apart by the bytes of a pixel ---- */

static void shift_window(const char *from, char *to, int64_t height, int64_t width, size_t pixel, int64_t dy, int64_t dx)
{
    const size_t  row   = (size_t)width * pixel;
    const int64_t first = dx < 0 ? -dx : 0, end = dx > 0 ? width - dx : width; // columns that lie inside
    memset(to, 0, (size_t)height * row);
    for (int64_t y = 0; y < height && first < end; y++)
        if (y + dy >= 0 && y + dy < height)
            memcpy(to + (size_t)y * row + (size_t)first * pixel, from + (size_t)(y + dy) * row + (size_t)(first + dx) * pixel,
                   (size_t)(end - first) * pixel);
}

static void run_pad_crop(const epl_word *w, epl_rng *r, epl_sample *s)
{
    const int64_t  pad = (int64_t)w->arg[0];
    const uint64_t places = 2 * (uint64_t)pad + 1;
    const int64_t  dy = (int64_t)epl_rng_below(r, places) - pad, dx = (int64_t)epl_rng_below(r, places) - pad;
    shift_window((char *)s->x, (char *)s->spare, height_of(w), width_of(w), (size_t)channels_of(w) * sizeof(float), dy, dx);
    if (s->classes)
        shift_window((char *)s->classes, (char *)s->spare_classes, height_of(w), width_of(w), sizeof(int64_t), dy, dx);
    turn_over(s);
}

static void mirror_f32(float *x, int64_t rows, int64_t width, int64_t channels)
{
    for (int64_t y = 0; y < rows; y++, x += width * channels)
        for (int64_t a = 0, b = width - 1; a < b; a++, b--)
            for (int64_t c = 0; c < channels; c++) {
                const float t       = x[a * channels + c];
                x[a * channels + c] = x[b * channels + c];
                x[b * channels + c] = t;
            }
}

static void mirror_i64(int64_t *x, int64_t rows, int64_t width)
{
    for (int64_t y = 0; y < rows; y++, x += width)
        for (int64_t a = 0, b = width - 1; a < b; a++, b--) {
            const int64_t t = x[a];
            x[a]            = x[b];
            x[b]            = t;
        }
}

static void run_flip(const epl_word *w, epl_rng *r, epl_sample *s)
{
    if (epl_rng_uniform(r) >= w->arg[0])
        return;
    mirror_f32(s->x, height_of(w), width_of(w), channels_of(w));
    if (s->classes)
        mirror_i64(s->classes, height_of(w), width_of(w));
}

static void run_vflip(const epl_word *w, epl_rng *r, epl_sample *s)
{
    if (epl_rng_uniform(r) >= w->arg[0])
        return;
    const int64_t row = width_of(w) * channels_of(w);
    for (int64_t y = 0; y < height_of(w); y++)
        memcpy(s->spare + y * row, s->x + (height_of(w) - 1 - y) * row, (size_t)row * sizeof *s->x);
    for (int64_t y = 0; s->classes && y < height_of(w); y++)
        memcpy(s->spare_classes + y * width_of(w), s->classes + (height_of(w) - 1 - y) * width_of(w),
               (size_t)width_of(w) * sizeof *s->classes);
    turn_over(s);
}

/* ---- resampling: output pixel (x, y) reads the input at m (x, y, 1) ---- */

typedef struct affine {
    float xx, xy, x0, yx, yy, y0;
    bool  clamp; /* outside is the border's colour, else 0 */
    const float *dx, *dy; /* what each pixel's place moves by besides, or NULL */
} affine;

static const float *pixel_at(const epl_word *w, const float *x, int64_t py, int64_t px, bool clamp)
{
    static const float zero[EPL_WORD_ARGS * 8] = { 0 };
    if (clamp) {
        py = py < 0 ? 0 : py >= height_of(w) ? height_of(w) - 1 : py;
        px = px < 0 ? 0 : px >= width_of(w) ? width_of(w) - 1 : px;
    } else if (py < 0 || px < 0 || py >= height_of(w) || px >= width_of(w)) {
        return zero;
    }
    return x + (py * width_of(w) + px) * channels_of(w);
}

/* floor: the C library's is a call where the instruction set has none. */
static int64_t floor_of(float x)
{
    const int64_t i = (int64_t)x;
    return i - ((float)i > x);
}

static void resample(const epl_word *w, const affine *m, epl_sample *s)
{
    const int64_t channels = channels_of(w);
    float        *to       = s->spare;
    for (int64_t y = 0; y < height_of(w); y++)
        for (int64_t x = 0; x < width_of(w); x++, to += channels) {
            const int64_t i  = y * width_of(w) + x;
            const float   sx = m->xx * (float)x + m->xy * (float)y + m->x0 + (m->dx ? m->dx[i] : 0);
            const float   sy = m->yx * (float)x + m->yy * (float)y + m->y0 + (m->dy ? m->dy[i] : 0);
            const int64_t px = floor_of(sx), py = floor_of(sy);
            const float   ax = sx - (float)px, ay = sy - (float)py;
            const float  *p00 = pixel_at(w, s->x, py, px, m->clamp), *p01 = pixel_at(w, s->x, py, px + 1, m->clamp);
            const float  *p10 = pixel_at(w, s->x, py + 1, px, m->clamp), *p11 = pixel_at(w, s->x, py + 1, px + 1, m->clamp);
            for (int64_t c = 0; c < channels; c++)
                to[c] = (1 - ay) * ((1 - ax) * p00[c] + ax * p01[c]) + ay * ((1 - ax) * p10[c] + ax * p11[c]);
        }
    for (int64_t i = 0; s->classes && i < height_of(w) * width_of(w); i++) {
        const float   x = (float)(i % width_of(w)), y = (float)(i / width_of(w));
        const int64_t px = floor_of(m->xx * x + m->xy * y + m->x0 + (m->dx ? m->dx[i] : 0) + 0.5f);
        const int64_t py = floor_of(m->yx * x + m->yy * y + m->y0 + (m->dy ? m->dy[i] : 0) + 0.5f);
        const bool    inside = px >= 0 && py >= 0 && px < width_of(w) && py < height_of(w);
        s->spare_classes[i]  = inside ? s->classes[py * width_of(w) + px] : 0;
    }
    turn_over(s);
}

/* The inverse of: shear, scale, rotate about the centre, then shift by (dx, dy) pixels. */
static affine inverse_of(const epl_word *w, double degrees, double scale, double shear_degrees, double dx, double dy)
{
    const double rad = 3.14159265358979323846 / 180, c = cos(degrees * rad), s = sin(degrees * rad), k = tan(shear_degrees * rad);
    const double cx = 0.5 * (double)(width_of(w) - 1), cy = 0.5 * (double)(height_of(w) - 1);
    // forward: (u, v) -> scale * R (u + k v, v); inverse: shear back after rotating back
    const double xx = (c + k * s) / scale, xy = (s - k * c) / scale, yx = -s / scale, yy = c / scale;
    return (affine){ .xx = (float)xx, .xy = (float)xy, .x0 = (float)(cx - xx * (cx + dx) - xy * (cy + dy)),
                     .yx = (float)yx, .yy = (float)yy, .y0 = (float)(cy - yx * (cx + dx) - yy * (cy + dy)) };
}

static void run_rotate(const epl_word *w, epl_rng *r, epl_sample *s)
{
    const affine m = inverse_of(w, between(r, -w->arg[0], w->arg[0]), 1, 0, 0, 0);
    resample(w, &m, s);
}

static void run_affine(const epl_word *w, epl_rng *r, epl_sample *s)
{
    const float  degrees = between(r, -w->arg[0], w->arg[0]);
    const float  dx      = (float)width_of(w) * between(r, -w->arg[1], w->arg[1]);
    const float  dy      = (float)height_of(w) * between(r, -w->arg[1], w->arg[1]);
    const float  scale   = between(r, 1 - w->arg[2], 1 + w->arg[2]);
    const float  shear   = between(r, -w->arg[3], w->arg[3]);
    const affine m       = inverse_of(w, degrees, scale, shear, dx, dy);
    resample(w, &m, s);
}

/* ---- elastic: Simard et al. 2003. Uniform noise, smoothed by a Gaussian with zeros outside, times alpha, moves eac */

enum { ELASTIC_MOST_SIGMA = 16, ELASTIC_MOST_TAPS = 8 * ELASTIC_MOST_SIGMA + 1 };

/* One axis: rows (step apart) of n elements (stride apart). The kernel ends at four sigma, as in the usual image libraries. */
static void smooth_axis(const float *from, float *to, int64_t rows, int64_t step, int64_t n, int64_t stride,
                        const float *kernel, int64_t radius)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t first = i < radius ? -i : -radius, last = n - 1 - i < radius ? n - 1 - i : radius;
            float         sum = 0;
            for (int64_t k = first; k <= last; k++)
                sum += kernel[radius + k] * from[r * step + (i + k) * stride];
            to[r * step + i * stride] = sum;
        }
}

static void run_elastic(const epl_word *w, epl_rng *r, epl_sample *s)
{
    const int64_t height = height_of(w), width = width_of(w), n = height * width, radius = (int64_t)(4 * w->arg[1] + 0.5);
    float         kernel[ELASTIC_MOST_TAPS], *field[2] = { s->extra, s->extra + n }, *rows = s->extra + 2 * n;
    double        sum = 0;
    for (int64_t k = -radius; k <= radius; k++)
        sum += exp(-0.5 * (double)(k * k) / (w->arg[1] * w->arg[1]));
    for (int64_t k = -radius; k <= radius; k++)
        kernel[radius + k] = (float)(exp(-0.5 * (double)(k * k) / (w->arg[1] * w->arg[1])) / sum);
    for (int64_t k = 0; k < 2; k++) {
        for (int64_t i = 0; i < n; i++)
            field[k][i] = between(r, -w->arg[0], w->arg[0]);
        smooth_axis(field[k], rows, height, width, width, 1, kernel, radius);
        smooth_axis(rows, field[k], width, 1, height, width, kernel, radius);
    }
    const affine m = { .xx = 1, .yy = 1, .dx = field[0], .dy = field[1] };
    resample(w, &m, s);
}

/* A window of height x width pixels, area and aspect drawn; ten tries, then all of the picture (as Szegedy et al. 2015 train
 * Inception, arXiv:1409.4842, sec. 6). */
static bool draw_window(const epl_word *w, epl_rng *r, double low, double high, double aspect, int64_t *height, int64_t *width)
{
    for (int i = 0; i < 10; i++) {
        const double area = (double)(height_of(w) * width_of(w)) * between(r, low, high);
        const double a    = exp(between(r, -log(aspect), log(aspect)));
        *height = (int64_t)(sqrt(area / a) + 0.5);
        *width  = (int64_t)(sqrt(area * a) + 0.5);
        if (*height >= 1 && *width >= 1 && *height <= height_of(w) && *width <= width_of(w))
            return true;
    }
    return false;
}

static void run_resized_crop(const epl_word *w, epl_rng *r, epl_sample *s)
{
    int64_t h = 0, v = 0;
    if (!draw_window(w, r, w->arg[0], w->arg[1], 4.0 / 3.0, &v, &h))
        return;
    const int64_t top  = (int64_t)epl_rng_below(r, (uint64_t)(height_of(w) - v + 1));
    const int64_t left = (int64_t)epl_rng_below(r, (uint64_t)(width_of(w) - h + 1));
    const float   xx = (float)h / (float)width_of(w), yy = (float)v / (float)height_of(w);
    const affine  m  = { .xx = xx, .x0 = (float)left + 0.5f * xx - 0.5f, .yy = yy, .y0 = (float)top + 0.5f * yy - 0.5f,
                         .clamp = true };
    resample(w, &m, s);
}

/* ---- covering a rectangle; classes stay: the network is to guess what is hidden ---- */

static void cover(const epl_word *w, epl_sample *s, int64_t top, int64_t left, int64_t height, int64_t width)
{
    const int64_t t = top < 0 ? 0 : top, l = left < 0 ? 0 : left;
    const int64_t b = top + height < height_of(w) ? top + height : height_of(w);
    const int64_t e = left + width < width_of(w) ? left + width : width_of(w);
    for (int64_t y = t; y < b && l < e; y++)
        memset(s->x + (y * width_of(w) + l) * channels_of(w), 0, (size_t)((e - l) * channels_of(w)) * sizeof *s->x);
}

static void run_cutout(const epl_word *w, epl_rng *r, epl_sample *s)
{
    const int64_t n  = (int64_t)w->arg[0];
    const int64_t cy = (int64_t)epl_rng_below(r, (uint64_t)height_of(w)), cx = (int64_t)epl_rng_below(r, (uint64_t)width_of(w));
    cover(w, s, cy - n / 2, cx - n / 2, n, n);
}

static void run_erase(const epl_word *w, epl_rng *r, epl_sample *s)
{
    int64_t h = 0, v = 0;
    if (epl_rng_uniform(r) >= w->arg[0] || !draw_window(w, r, w->arg[1], w->arg[2], 1 / 0.3, &v, &h))
        return;
    const int64_t top  = (int64_t)epl_rng_below(r, (uint64_t)(height_of(w) - v + 1));
    const int64_t left = (int64_t)epl_rng_below(r, (uint64_t)(width_of(w) - h + 1));
    cover(w, s, top, left, v, h);
}

/* ---- values ---- */

static void run_brightness(const epl_word *w, epl_rng *r, epl_sample *s)
{
    const int64_t n = epl_shape_count(w->in);
    const float   k = between(r, 1 - w->arg[0], 1 + w->arg[0]);
    for (int64_t i = 0; i < n; i++)
        s->x[i] *= k;
}

static void run_contrast(const epl_word *w, epl_rng *r, epl_sample *s)
{
    const int64_t n   = epl_shape_count(w->in);
    const float   k   = between(r, 1 - w->arg[0], 1 + w->arg[0]);
    double        sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += s->x[i];
    const float mean = (float)(sum / (double)n);
    for (int64_t i = 0; i < n; i++)
        s->x[i] = mean + k * (s->x[i] - mean);
}

/* Another camera or light: one gamma for the picture, gain and offset for each channel. */
static void run_colour_shift(const epl_word *w, epl_rng *r, epl_sample *s)
{
    const int64_t n = epl_shape_count(w->in), c = channels_of(w);
    const float   gamma = expf(between(r, -w->arg[0], w->arg[0]));
    for (int64_t k = 0; k < c; k++) {
        const float gain = between(r, w->arg[1], w->arg[2]), offset = between(r, w->arg[3], w->arg[4]);
        for (int64_t i = k; i < n; i += c)
            s->x[i] = gain * powf(fmaxf(s->x[i], 0), gamma) + offset;
    }
}

/* Four normal numbers from one block of Philox (Box-Muller), rather than one from two as epl_rng_normal. */
static void run_noise(const epl_word *w, epl_rng *r, epl_sample *s)
{
    const int64_t  n      = epl_shape_count(w->in);
    const uint32_t key[2] = { (uint32_t)r->seed, (uint32_t)(r->seed >> 32) };
    for (int64_t i = 0; i < n; i += 4) {
        const uint32_t counter[4] = { (uint32_t)(i / 4), 0, (uint32_t)r->stream, (uint32_t)(r->stream >> 32) };
        uint32_t       draw[4];
        float          z[4];
        epl_philox4x32(counter, key, draw);
        for (int k = 0; k < 4; k += 2) {
            const float radius = sqrtf(-2 * logf(((float)(draw[k] >> 8) + 1) * 0x1p-24f)) * (float)w->arg[0];
            const float angle  = (float)(draw[k + 1] >> 8) * (6.2831853f * 0x1p-24f);
            z[k]     = radius * cosf(angle);
            z[k + 1] = radius * sinf(angle);
        }
        for (int64_t k = 0; k < 4 && i + k < n; k++)
            s->x[i + k] += z[k];
    }
}

static bool prepare_normalise(epl_context *ctx, epl_word *w, const char *text)
{
    const int64_t c    = w->in.rank > 0 ? w->in.dim[w->in.rank - 1] : 1;
    const int     half = w->n_args / 2;
    if (w->n_args != 2 && w->n_args != 2 * c)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "augment: '%s' has %d values, expected 2 (%s) or %lld, for each of %lld channels",
                        text, w->n_args, w->kind->form, (long long)(2 * c), (long long)c);
    for (int i = 0; i < half; i++) {
        if (!(w->arg[half + i] > 0))
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "augment: '%s' has the deviation %g, expected more than 0", text,
                            w->arg[half + i]);
        w->mean[i]  = (float)w->arg[i];
        w->scale[i] = (float)(1 / w->arg[half + i]);
    }
    return true;
}

static void run_normalise(const epl_word *w, epl_rng *r, epl_sample *s)
{
    (void)r;
    const int64_t n = epl_shape_count(w->in), c = w->n_args / 2;
    if (c == 1) {
        const float mean = w->mean[0], scale = w->scale[0];
        for (int64_t i = 0; i < n; i++)
            s->x[i] = (s->x[i] - mean) * scale;
        return;
    }
    for (int64_t i = 0; i < n; i += c)
        for (int64_t k = 0; k < c; k++)
            s->x[i + k] = (s->x[i + k] - w->mean[k]) * w->scale[k];
}

/* ---- fixed changes of shape ---- */

/* Reads H and W; without W the result is square. */
static void read_sides(epl_word *w, int64_t *height, int64_t *width)
{
    if (w->n_args < 2)
        w->arg[w->n_args++] = w->arg[0];
    *height = (int64_t)w->arg[0];
    *width  = (int64_t)w->arg[1];
}

static bool prepare_resize(epl_context *ctx, epl_word *w, const char *text)
{
    (void)text;
    int64_t height, width;
    read_sides(w, &height, &width);
    w->out = EPL_SHAPE(height, width, channels_of(w));
    return epl_filter_new(ctx, height_of(w), height, (epl_image_resize_opts){ 0 }, &w->v) &&
           epl_filter_new(ctx, width_of(w), width, (epl_image_resize_opts){ 0 }, &w->h);
}

static void run_resize(const epl_word *w, epl_rng *r, epl_sample *s)
{
    (void)r;
    const int64_t height = w->out.dim[0], width = w->out.dim[1];
    epl_resize_f32(s->x, channels_of(w), &w->v, &w->h, s->spare, s->extra);
    for (int64_t y = 0; s->classes && y < height; y++)
        for (int64_t x = 0; x < width; x++)
            s->spare_classes[y * width + x] =
                s->classes[(2 * y + 1) * height_of(w) / (2 * height) * width_of(w) + (2 * x + 1) * width_of(w) / (2 * width)];
    turn_over(s);
}

static bool prepare_centre_crop(epl_context *ctx, epl_word *w, const char *text)
{
    int64_t height, width;
    read_sides(w, &height, &width);
    w->out = EPL_SHAPE(height, width, channels_of(w));
    return (height <= height_of(w) && width <= width_of(w)) ||
           epl_fail(ctx, EPL_ERR_SHAPE, "augment: '%s' out of a picture of %lld x %lld", text, (long long)height_of(w),
                    (long long)width_of(w));
}

static void run_centre_crop(const epl_word *w, epl_rng *r, epl_sample *s)
{
    (void)r;
    const int64_t height = w->out.dim[0], width = w->out.dim[1], c = channels_of(w);
    const int64_t first = (height_of(w) - height) / 2 * width_of(w) + (width_of(w) - width) / 2;
    for (int64_t y = 0; y < height; y++)
        memcpy(s->spare + y * width * c, s->x + (first + y * width_of(w)) * c, (size_t)(width * c) * sizeof *s->x);
    for (int64_t y = 0; s->classes && y < height; y++)
        memcpy(s->spare_classes + y * width, s->classes + first + y * width_of(w), (size_t)width * sizeof *s->classes);
    turn_over(s);
}

static bool prepare_channels(epl_context *ctx, epl_word *w, const char *text)
{
    const int64_t c = channels_of(w);
    w->out.dim[2]   = strcmp(w->kind->name, "gray") == 0 ? 1 : 3;
    return c == 1 || c == 3 || c == 4 ||
           epl_fail(ctx, EPL_ERR_SHAPE, "augment: '%s' of %lld channels, expected 1, 3 or 4", text, (long long)c);
}

static void run_channels(const epl_word *w, epl_rng *r, epl_sample *s)
{
    (void)r;
    epl_channels_f32(s->x, height_of(w) * width_of(w), (int)channels_of(w), s->spare, (int)w->out.dim[2]);
    float *x = s->x;
    s->x     = s->spare;
    s->spare = x;
}

/* ---- the table ---- */

static bool prepare_range(epl_context *ctx, epl_word *w, const char *text)
{
    const double low = w->arg[w->kind->max_args - 2], high = w->arg[w->kind->max_args - 1];
    return low <= high || epl_fail(ctx, EPL_ERR_ARGUMENT, "augment: '%s' from %g to %g: %s", text, low, high, w->kind->form);
}

static bool prepare_resample(epl_context *ctx, epl_word *w, const char *text)
{
    return channels_of(w) <= EPL_WORD_ARGS * 8 ||
           epl_fail(ctx, EPL_ERR_SHAPE, "augment: '%s' of %lld channels, expected at most %d", text, (long long)channels_of(w),
                    EPL_WORD_ARGS * 8);
}

static bool prepare_resized_crop(epl_context *ctx, epl_word *w, const char *text)
{
    return prepare_range(ctx, w, text) && prepare_resample(ctx, w, text);
}

static bool prepare_elastic(epl_context *ctx, epl_word *w, const char *text)
{
    w->extra = 3 * height_of(w) * width_of(w); // two fields, and one on its way
    return prepare_resample(ctx, w, text);
}

enum { SIZE_MAX_PIXELS = 4096 };
#define P01 { 0, 1, 0.5 }

const epl_word_kind epl_word_kinds[] = {
    { "pad-crop", "pad-crop:N", "zeros on every side, then a window of the old size", 1, 1, { { 0, 1024, 0 } }, .whole = true,
      .picture = true, .moves = true, .run = run_pad_crop },
    { "flip", "flip[:P=0.5]", "mirror left and right", 0, 1, { P01 }, .picture = true, .moves = true, .run = run_flip },
    { "vflip", "vflip[:P=0.5]", "mirror top and bottom", 0, 1, { P01 }, .picture = true, .moves = true, .run = run_vflip },
    { "rotate", "rotate:DEG", "rotate by up to DEG degrees", 1, 1, { { 0, 360, 0 } }, .picture = true,
      .prepare = prepare_resample, .moves = true, .run = run_rotate },
    { "affine", "affine:DEG:SHIFT:SCALE[:SHEAR=0]", "rotate, shift (of the size), scale (1 +- SCALE), shear (degrees)", 3, 4,
      { { 0, 360, 0 }, { 0, 1, 0 }, { 0, 0.9, 0 }, { 0, 80, 0 } }, .picture = true, .prepare = prepare_resample,
      .moves = true, .run = run_affine },
    { "elastic", "elastic:ALPHA[:SIGMA=4]", "each pixel moves by noise of +-ALPHA that is smooth over SIGMA pixels", 1, 2,
      { { 0, 1000, 0 }, { 0.3, ELASTIC_MOST_SIGMA, 4 } }, .picture = true, .prepare = prepare_elastic, .moves = true, .run = run_elastic },
    { "resized-crop", "resized-crop:MIN[:MAX=1]", "a window of MIN to MAX of the area, stretched to the old size", 1, 2,
      { { 0.0001, 1, 0 }, { 0.0001, 1, 1 } }, .picture = true, .prepare = prepare_resized_crop, .moves = true, .run = run_resized_crop },
    { "cutout", "cutout:N", "an N x N square becomes 0", 1, 1, { { 1, SIZE_MAX_PIXELS, 0 } }, .whole = true, .picture = true,
      .run = run_cutout },
    { "erase", "erase:P[:MIN=0.02:MAX=0.33]", "with P, a rectangle of MIN to MAX of the area becomes 0", 1, 3,
      { { 0, 1, 0 }, { 0.0001, 1, 0.02 }, { 0.0001, 1, 0.33 } }, .picture = true, .prepare = prepare_range, .run = run_erase },
    { "brightness", "brightness:B", "times 1 +- B", 1, 1, { { 0, 1, 0 } }, .run = run_brightness },
    { "contrast", "contrast:K", "about the mean by 1 +- K", 1, 1, { { 0, 1, 0 } }, .run = run_contrast },
    { "colour-shift", "colour-shift:GAMMA:LOW:HIGH:DARK:BRIGHT",
      "to the power exp(+-GAMMA), then each channel times LOW..HIGH plus DARK..BRIGHT", 5, 5,
      { { 0, 10, 0 }, { -100, 100, 0 }, { -100, 100, 0 }, { -100, 100, 0 } }, .picture = true, .run = run_colour_shift },
    { "noise", "noise:STD", "normal noise is added", 1, 1, { { 0, 1000, 0 } }, .run = run_noise },
    { "normalise", "normalise:MEAN:STD", "(x - mean) / std; or all means, then all stds", 2, EPL_WORD_ARGS,
      { { -1e6, 1e6, 0 }, { -1e6, 1e6, 0 }, { -1e6, 1e6, 0 }, { -1e6, 1e6, 0 } }, .prepare = prepare_normalise,
      .run = run_normalise },
    { "resize", "resize:H[:W=H]", "to H x W pixels", 1, 2, { { 1, SIZE_MAX_PIXELS, 0 }, { 1, SIZE_MAX_PIXELS, 0 } },
      .whole = true, .picture = true, .prepare = prepare_resize, .moves = true, .run = run_resize },
    { "centre-crop", "centre-crop:H[:W=H]", "the middle H x W pixels", 1, 2,
      { { 1, SIZE_MAX_PIXELS, 0 }, { 1, SIZE_MAX_PIXELS, 0 } }, .whole = true, .picture = true,
      .prepare = prepare_centre_crop, .moves = true, .run = run_centre_crop },
    { "gray", "gray", "colours to brightness", 0, 0, { { 0 } }, .picture = true, .prepare = prepare_channels,
      .run = run_channels },
    { "rgb", "rgb", "brightness to three equal colours", 0, 0, { { 0 } }, .picture = true, .prepare = prepare_channels,
      .run = run_channels },
    { "mixup", "mixup:ALPHA", "blends pairs of samples and their labels; last in the list", 1, 1, { { 0.001, 1000, 0 } },
      .batch = true },
    { "cutmix", "cutmix:ALPHA", "pastes a window of another sample; last in the list", 1, 1, { { 0.001, 1000, 0 } },
      .picture = true, .batch = true },
};
const int epl_n_word_kinds = (int)EPL_COUNT(epl_word_kinds);
