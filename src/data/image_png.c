/* image_png: PNG through libpng's simplified interface. */
#include <string.h>

#include "data/image.h"

#ifdef EPL_HAVE_PNG
#include <png.h>

static png_uint_32 format_of(int channels)
{
    return channels == 1 ? PNG_FORMAT_GRAY : channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_RGBA;
}

epl_tensor *epl_png_decode(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_image_opts o)
{
    png_image   image = { .version = PNG_IMAGE_VERSION };
    epl_tensor *t     = NULL;
    png_color   white = { 255, 255, 255 };
    bool        ok    = false;

    if (!png_image_begin_read_from_memory(&image, data, bytes)) {
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: damaged PNG picture (%s)", name, image.message);
        goto done;
    }
    if (!epl_image_check_size(ctx, name, image.width, image.height, o))
        goto done;
    const int channels = o.channels ? o.channels : image.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
    image.format       = format_of(channels);
    t                  = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(image.height, image.width, channels));
    if (!t)
        goto done;
    ok = png_image_finish_read(&image, &white, t->data, 0, NULL) != 0;
    if (!ok)
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: damaged PNG picture (%s)", name, image.message);

done:
    png_image_free(&image);
    if (!ok) {
        epl_tensor_free(t);
        t = NULL;
    }
    return t;
}

bool epl_image_encode_png(epl_context *ctx, const epl_tensor *t, void **data, size_t *bytes)
{
    *data  = NULL;
    *bytes = 0;
    if (!epl_image_check(ctx, "PNG", t))
        return false;
    const int64_t h = t->shape.dim[0], w = t->shape.dim[1], c = t->shape.dim[2];
    if (t->dtype != EPL_U8 || (c != 1 && c != 3 && c != 4) || h > INT32_MAX || w > INT32_MAX) {
        char text[192];
        return epl_fail(ctx, EPL_ERR_SHAPE, "PNG: a picture of %s %s, expected u8 [H, W, 1, 3 or 4]", epl_dtype_name(t->dtype),
                        epl_shape_text(text, t->shape));
    }
    png_image image = { .version = PNG_IMAGE_VERSION, .width = (png_uint_32)w, .height = (png_uint_32)h,
                        .format = format_of((int)c) };
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    void            *out  = epl_alloc(ctx, size);
    if (!out)
        return false;
    if (!png_image_write_to_memory(&image, out, &size, 0, t->data, 0, NULL)) {
        epl_release(ctx, out);
        return epl_fail(ctx, EPL_ERR_MEMORY, "PNG: %s", image.message);
    }
    *data  = out;
    *bytes = size;
    return true;
}

#else

epl_tensor *epl_png_decode(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_image_opts o)
{
    (void)data, (void)bytes, (void)o;
    epl_fail(ctx, EPL_ERR_UNSUPPORTED, "%s: built without PNG: install the Debian package libpng-dev and build again", name);
    return NULL;
}

bool epl_image_encode_png(epl_context *ctx, const epl_tensor *t, void **data, size_t *bytes)
{
    (void)t;
    *data  = NULL;
    *bytes = 0;
    return epl_fail(ctx, EPL_ERR_UNSUPPORTED, "built without PNG: install the Debian package libpng-dev and build again");
}

#endif
