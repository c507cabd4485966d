/* resize: separable resampling. Along each axis an output sample is a weighted sum of input samples, the weights a triangle
 * (bilinear) about its centre, widened by the ratio when shrinking; or the nearest sample alone. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "data/image.h"

void epl_filter_release(epl_context *ctx, epl_filter *f)
{
    epl_release(ctx, f->first);
    epl_release(ctx, f->weight);
    *f = (epl_filter){ 0 };
}

static int64_t clamp(int64_t i, int64_t low, int64_t high)
{
    return i < low ? low : i > high ? high : i;
}

/* Weights of one output sample: a triangle of half width `reach` about `centre`, cut at the border, their sum 1. */
static void triangle(const epl_filter *f, int64_t i, double centre, double reach)
{
    float        *w     = f->weight + i * f->taps;
    const int64_t first = clamp((int64_t)floor(centre - reach) + 1, 0, f->in - f->taps);
    double        sum   = 0;
    f->first[i]         = first;
    for (int64_t k = 0; k < f->taps; k++)
        sum += fmax(0, 1 - fabs((double)(first + k) - centre) / reach);
    for (int64_t k = 0; k < f->taps; k++)
        w[k] = (float)(fmax(0, 1 - fabs((double)(first + k) - centre) / reach) / sum);
}

bool epl_filter_new(epl_context *ctx, int64_t in, int64_t out, epl_image_resize_opts o, epl_filter *f)
{
    const double ratio = (double)in / (double)out;
    const double reach = o.no_antialias || ratio < 1 ? 1 : ratio;
    const int64_t taps = o.nearest ? 1 : (int64_t)ceil(2 * reach);
    *f = (epl_filter){ .in = in, .out = out, .taps = taps < in ? taps : in };
    f->first  = epl_alloc_array(ctx, (size_t)out, sizeof *f->first);
    f->weight = f->first ? epl_alloc_array(ctx, (size_t)(out * f->taps), sizeof *f->weight) : NULL;
    if (!f->weight) {
        epl_filter_release(ctx, f);
        return false;
    }
    for (int64_t i = 0; i < out; i++) {
        const double centre = ((double)i + 0.5) * ratio - 0.5;
        if (!o.nearest) {
            triangle(f, i, fmin(fmax(centre, 0), (double)(in - 1)), reach);
            continue;
        }
        f->first[i]  = clamp((int64_t)floor(centre + 0.5), 0, in - 1);
        f->weight[i] = 1;
    }
    return true;
}

void epl_resize_f32(const float *x, int64_t c, const epl_filter *v, const epl_filter *h, float *y, float *scratch)
{
    for (int64_t r = 0; r < v->in; r++)
        for (int64_t i = 0; i < h->out; i++)
            for (int64_t q = 0; q < c; q++) {
                float sum = 0;
                for (int64_t k = 0; k < h->taps; k++)
                    sum += h->weight[i * h->taps + k] * x[(r * h->in + h->first[i] + k) * c + q];
                scratch[(r * h->out + i) * c + q] = sum;
            }
    const int64_t row = h->out * c;
    for (int64_t i = 0; i < v->out; i++) {
        float *to = y + i * row;
        memset(to, 0, (size_t)row * sizeof *to);
        for (int64_t k = 0; k < v->taps; k++) {
            const float  w    = v->weight[i * v->taps + k];
            const float *from = scratch + (v->first[i] + k) * row;
            for (int64_t q = 0; q < row; q++)
                to[q] += w * from[q];
        }
    }
}

static epl_tensor *resize_f32(epl_context *ctx, const epl_tensor *x, const epl_filter *v, const epl_filter *h)
{
    const int64_t c = x->shape.dim[2];
    epl_tensor   *y = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(v->out, h->out, c));
    size_t        n = 0;
    if (!y)
        return NULL;
    float *scratch = epl_mul_size((size_t)(v->in * c), (size_t)h->out, &n) ? epl_alloc_array(ctx, n, sizeof *scratch) : NULL;
    if (!scratch) {
        epl_tensor_free(y);
        epl_fail(ctx, EPL_ERR_MEMORY, "resize: out of memory");
        return NULL;
    }
    epl_resize_f32(x->data, c, v, h, y->data, scratch);
    epl_release(ctx, scratch);
    return y;
}

epl_tensor *epl_image_resize(epl_context *ctx, const epl_tensor *image, int64_t height, int64_t width, epl_image_resize_opts o)
{
    epl_filter  v = { 0 }, h = { 0 };
    epl_tensor *x = NULL, *y = NULL, *result = NULL;

    if (!epl_image_check(ctx, "resize", image))
        return NULL;
    if (height < 1 || width < 1 || height > INT32_MAX || width > INT32_MAX) {
        epl_fail(ctx, EPL_ERR_SHAPE, "resize: to %" PRId64 " x %" PRId64 " pixels", height, width);
        return NULL;
    }
    if (!epl_filter_new(ctx, image->shape.dim[0], height, o, &v) || !epl_filter_new(ctx, image->shape.dim[1], width, o, &h))
        goto done;
    x = epl_tensor_cast(ctx, image, EPL_F32);
    y = x ? resize_f32(ctx, x, &v, &h) : NULL;
    if (y)
        result = epl_tensor_cast(ctx, y, image->dtype); // to u8: rounds and saturates

done:
    epl_filter_release(ctx, &v);
    epl_filter_release(ctx, &h);
    epl_tensor_free(x);
    epl_tensor_free(y);
    return result;
}
