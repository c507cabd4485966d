/* rotations: every image four times, turned by 0, 90, 180 and 270 degrees; the class is how far. Gidaris et al. 2018
 * (arXiv:1803.07728): what learns to tell them apart learns about pictures without labels. A copy in memory, since
 * labels belong to the source. */
#include "data/source.h"

#include <string.h>

enum { TURNS = 4 };

/* One image [side, side, row] of elements of `bytes`, turned a quarter to the left so many times. */
static void turn(const char *from, char *to, int64_t side, size_t pixel_bytes, int turns)
{
    for (int64_t y = 0; y < side; y++)
        for (int64_t x = 0; x < side; x++) {
            const int64_t sy = turns == 0 ? y : turns == 1 ? x : turns == 2 ? side - 1 - y : side - 1 - x;
            const int64_t sx = turns == 0 ? x : turns == 1 ? side - 1 - y : turns == 2 ? side - 1 - x : y;
            memcpy(to + (size_t)(y * side + x) * pixel_bytes, from + (size_t)(sy * side + sx) * pixel_bytes, pixel_bytes);
        }
}

static bool fill(epl_dataset *d, epl_tensor *x, epl_tensor *y, char *raw)
{
    const epl_source *s = d->source;
    const int64_t     side = s->x_shape.dim[0];
    const size_t      pixel = (size_t)s->x_shape.dim[2] * epl_dtype_bytes(s->x_dtype), image = (size_t)(side * side) * pixel;
    for (int64_t i = 0; i < d->count; i++) {
        if (!epl_source_fetch_x(s, s->ctx, epl_dataset_index(d, i), raw))
            return false;
        for (int turns = 0; turns < TURNS; turns++) {
            turn(raw, (char *)x->data + (size_t)(i * TURNS + turns) * image, side, pixel, turns);
            ((int64_t *)y->data)[i * TURNS + turns] = turns;
        }
    }
    return true;
}

epl_dataset *epl_dataset_of_rotations(epl_dataset *d)
{
    static const char *const names[TURNS] = { "0", "90", "180", "270" };
    const epl_source *s   = d->source;
    epl_context      *ctx = s->ctx;
    char              shape[192];
    if (s->x_shape.rank != 3 || s->x_shape.dim[0] != s->x_shape.dim[1]) {
        epl_fail(ctx, EPL_ERR_SHAPE, "data set '%s': samples are %s; square images [side, side, channels] can be turned", s->name,
                 epl_shape_text(shape, s->x_shape));
        return NULL;
    }
    const epl_shape all = EPL_SHAPE(TURNS * d->count, s->x_shape.dim[0], s->x_shape.dim[1], s->x_shape.dim[2]);
    epl_tensor  *x = epl_tensor_new(ctx, s->x_dtype, all), *y = x ? epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(all.dim[0])) : NULL;
    char        *raw = y ? epl_alloc(ctx, epl_tensor_bytes(x) / (size_t)all.dim[0] + 1) : NULL;
    epl_dataset *out = NULL;
    if (raw && fill(d, x, y, raw)) {
        out = epl_dataset_from_tensors_take(ctx, s->name, x, y);
        if (out && !epl_source_set_classes(out->source, names, TURNS)) {
            epl_dataset_free(out);
            out = NULL;
        }
    } else {
        epl_tensor_free(x);
        epl_tensor_free(y);
    }
    epl_release(ctx, raw);
    return out;
}
