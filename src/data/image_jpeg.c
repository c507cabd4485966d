/* image_jpeg: JPEG through TurboJPEG. */
#include "data/image.h"

#ifdef EPL_HAVE_TURBOJPEG
#include <turbojpeg.h>

epl_tensor *epl_jpeg_decode(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_image_opts o)
{
    epl_tensor *t       = NULL;
    tjhandle    decoder = tjInitDecompress();
    int         width = 0, height = 0, sampling = 0, space = 0;
    bool        ok = false;

    if (!decoder) {
        epl_fail(ctx, EPL_ERR_MEMORY, "%s: no memory for a JPEG decoder", name);
        goto done;
    }
    if (tjDecompressHeader3(decoder, data, bytes, &width, &height, &sampling, &space) != 0) {
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: damaged JPEG picture (%s)", name, tjGetErrorStr2(decoder));
        goto done;
    }
    if (!epl_image_check_size(ctx, name, width, height, o))
        goto done;
    if (space == TJCS_CMYK || space == TJCS_YCCK || o.channels == 4) {
        epl_fail(ctx, EPL_ERR_UNSUPPORTED, "%s: a JPEG picture %s", name,
                 o.channels == 4 ? "has no alpha channel" : "in CMYK: convert it to RGB");
        goto done;
    }
    const int channels = o.channels ? o.channels : space == TJCS_GRAY ? 1 : 3;
    t = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(height, width, channels));
    if (!t)
        goto done;
    // LIMITSCANS: a progressive picture can ask for endless work in few bytes.
    ok = tjDecompress2(decoder, data, bytes, t->data, width, 0, height, channels == 1 ? TJPF_GRAY : TJPF_RGB,
                       TJFLAG_LIMITSCANS | TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING) == 0;
    if (!ok)
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: damaged JPEG picture (%s)", name, tjGetErrorStr2(decoder));

done:
    if (decoder)
        tjDestroy(decoder);
    if (!ok) {
        epl_tensor_free(t);
        t = NULL;
    }
    return t;
}

#else

epl_tensor *epl_jpeg_decode(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_image_opts o)
{
    (void)data, (void)bytes, (void)o;
    epl_fail(ctx, EPL_ERR_UNSUPPORTED, "%s: built without JPEG: install the Debian package libturbojpeg0-dev and build again",
             name);
    return NULL;
}

#endif
