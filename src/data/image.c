/* image: pictures in files, and what does not need a codec - which codec, size limits, channels, cropping. */
#include "data/image.h"

#include <inttypes.h>
#include <string.h>

bool epl_image_check_size(epl_context *ctx, const char *name, int64_t width, int64_t height, epl_image_opts o)
{
    const int64_t limit = o.max_pixels > 0 ? o.max_pixels : 8192 * 8192;
    int64_t       pixels = 0;
    if (width < 1 || height < 1)
        return epl_fail(ctx, EPL_ERR_FORMAT, "%s: a picture of %" PRId64 " x %" PRId64 " pixels", name, width, height);
    if (!epl_mul_i64(width, height, &pixels) || pixels > limit)
        return epl_fail(ctx, EPL_ERR_LIMIT, "%s: %" PRId64 " x %" PRId64 " pixels, the limit is %" PRId64 " in all", name, width,
                        height, limit);
    return true;
}

epl_tensor *epl_image_parse(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_image_opts o)
{
    static const unsigned char png[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    const unsigned char       *p = data;
    if (o.channels != 0 && o.channels != 1 && o.channels != 3 && o.channels != 4) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "%s: %d channels asked, expected 1, 3 or 4", name, o.channels);
        return NULL;
    }
    if (bytes >= sizeof png && memcmp(p, png, sizeof png) == 0)
        return epl_png_decode(ctx, data, bytes, name, o);
    if (bytes >= 3 && p[0] == 0xff && p[1] == 0xd8 && p[2] == 0xff)
        return epl_jpeg_decode(ctx, data, bytes, name, o);
    epl_fail(ctx, EPL_ERR_FORMAT, "%s: neither a PNG nor a JPEG picture", name);
    return NULL;
}

epl_tensor *epl_image_load(epl_context *ctx, const char *path, epl_image_opts o)
{
    epl_map file = { 0 };
    if (!epl_map_open(ctx, path, &file))
        return NULL;
    epl_tensor *t = epl_image_parse(ctx, file.data, file.size, path, o);
    epl_map_close(&file);
    return t;
}

bool epl_image_save_png(epl_context *ctx, const char *path, const epl_tensor *image)
{
    void  *data  = NULL;
    size_t bytes = 0;
    bool   ok    = epl_image_encode_png(ctx, image, &data, &bytes) && epl_write_file(ctx, path, data, bytes);
    epl_release(ctx, data);
    return ok;
}

bool epl_image_check(epl_context *ctx, const char *what, const epl_tensor *image)
{
    char text[192];
    if (image->shape.rank != 3 || epl_tensor_count(image) < 1)
        return epl_fail(ctx, EPL_ERR_SHAPE, "%s: shape %s, expected a picture [H, W, C]", what,
                        epl_shape_text(text, image->shape));
    if (image->dtype != EPL_U8 && image->dtype != EPL_F32)
        return epl_fail(ctx, EPL_ERR_DTYPE, "%s: a picture of %s, expected u8 or f32", what, epl_dtype_name(image->dtype));
    return true;
}

epl_tensor *epl_image_centre_crop(epl_context *ctx, const epl_tensor *image, int64_t height, int64_t width)
{
    if (!epl_image_check(ctx, "centre crop", image))
        return NULL;
    const int64_t h = image->shape.dim[0], w = image->shape.dim[1], c = image->shape.dim[2];
    if (height < 1 || width < 1 || height > h || width > w) {
        epl_fail(ctx, EPL_ERR_SHAPE, "centre crop: %" PRId64 " x %" PRId64 " out of a picture of %" PRId64 " x %" PRId64, height,
                 width, h, w);
        return NULL;
    }
    epl_tensor  *out   = epl_tensor_new(ctx, image->dtype, EPL_SHAPE(height, width, c));
    const size_t pixel = (size_t)c * epl_dtype_bytes(image->dtype), row = (size_t)width * pixel;
    const char  *from  = (const char *)image->data + (size_t)((h - height) / 2 * w + (w - width) / 2) * pixel;
    for (int64_t y = 0; out && y < height; y++)
        memcpy((char *)out->data + (size_t)y * row, from + (size_t)(y * w) * pixel, row);
    return out;
}

static float luma(float r, float g, float b)
{
    return 0.299f * r + 0.587f * g + 0.114f * b;
}

static void convert_u8(const uint8_t *from, int64_t pixels, int have, uint8_t *to, int want)
{
    for (int64_t p = 0; p < pixels; p++, from += have, to += want) {
        if (want == 1)
            to[0] = have == 1 ? from[0] : (uint8_t)(luma(from[0], from[1], from[2]) + 0.5f);
        for (int c = 0; want == 3 && c < 3; c++)
            to[c] = from[have == 1 ? 0 : c];
    }
}

void epl_channels_f32(const float *from, int64_t pixels, int have, float *to, int want)
{
    for (int64_t p = 0; p < pixels; p++, from += have, to += want) {
        if (want == 1)
            to[0] = have == 1 ? from[0] : luma(from[0], from[1], from[2]);
        for (int c = 0; want == 3 && c < 3; c++)
            to[c] = from[have == 1 ? 0 : c];
    }
}

epl_tensor *epl_image_channels(epl_context *ctx, const epl_tensor *image, int channels)
{
    if (!epl_image_check(ctx, "channels", image))
        return NULL;
    const int64_t h = image->shape.dim[0], w = image->shape.dim[1], c = image->shape.dim[2];
    if ((c != 1 && c != 3 && c != 4) || (channels != 1 && channels != 3)) {
        epl_fail(ctx, EPL_ERR_SHAPE, "channels: from %" PRId64 " to %d, expected from 1, 3 or 4 to 1 or 3", c, channels);
        return NULL;
    }
    epl_tensor *out = epl_tensor_new(ctx, image->dtype, EPL_SHAPE(h, w, channels));
    if (out && image->dtype == EPL_U8)
        convert_u8(image->data, h * w, (int)c, out->data, channels);
    else if (out)
        epl_channels_f32(image->data, h * w, (int)c, out->data, channels);
    return out;
}
