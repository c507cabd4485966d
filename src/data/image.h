/* image: what the picture files of this folder tell each other. Internal to the floor. */
#ifndef EPL_DATA_IMAGE_H
#define EPL_DATA_IMAGE_H

#include <espalier/data.h>

epl_tensor *epl_png_decode(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_image_opts o);
epl_tensor *epl_jpeg_decode(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_image_opts o);

bool epl_image_check_size(epl_context *ctx, const char *name, int64_t width, int64_t height, epl_image_opts o);
bool epl_image_check(epl_context *ctx, const char *what, const epl_tensor *image); /* [H, W, C], u8 or f32, not empty */

void epl_channels_f32(const float *from, int64_t pixels, int have, float *to, int want); /* have 1, 3, 4; want 1, 3 */

/* ---- resizing ----
 * One axis: out[i] is the sum over k < taps of weight[i * taps + k] * in[first[i] + k]. A weight may be 0. */
typedef struct epl_filter {
    int64_t in, out, taps;
    int64_t *first;
    float   *weight;
} epl_filter;

bool epl_filter_new(epl_context *ctx, int64_t in, int64_t out, epl_image_resize_opts o, epl_filter *f);
void epl_filter_release(epl_context *ctx, epl_filter *f);
/* [v->in, h->in, c] -> [v->out, h->out, c]; scratch holds v->in * h->out * c numbers. */
void epl_resize_f32(const float *x, int64_t c, const epl_filter *v, const epl_filter *h, float *y, float *scratch);

#endif
