/* noise: pictures without anything in them, every value uniform; what a classifier should not be sure about. */
#include "data/synth/synth.h"

static epl_source *open_noise(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    int64_t   image = 0, channels = 0;
    epl_synth g;
    if (!epl_spec_int(spec, "image", 1, 1024, &image) || !epl_spec_int(spec, "channels", 1, 4, &channels) ||
        !epl_synth_new(&g, ctx, spec, o) || !epl_synth_tensors(&g, EPL_U8, EPL_SHAPE(image, image, channels), EPL_I64, EPL_SCALAR))
        return NULL;
    const int64_t size = image * image * channels;
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng  r = epl_synth_rng(&g, i);
        uint8_t *x = (uint8_t *)g.x->data + i * size;
        for (int64_t k = 0; k < size; k += 4) {
            const uint32_t draw = epl_rng_u32(&r); // one draw serves four bytes
            for (int64_t b = k; b < size && b < k + 4; b++)
                x[b] = (uint8_t)(draw >> 8 * (b - k));
        }
        ((int64_t *)g.y->data)[i] = 0;
    }
    return epl_synth_finish(&g, (const char *const[]){ "noise" }, 1);
}

const epl_source_kind epl_kind_noise = {
    .about = { "noise", "image=28,channels=1,count=2000,test=500", "uniform noise" },
    .open  = open_noise,
};
