/* points: vectors with a class - Gaussian blobs, two moons, spirals. */
#include <math.h>

#include "data/synth/synth.h"

static const double PI = 3.14159265358979323846;

/* Centres are drawn from a normal of deviation 4 in every coordinate, samples about them with deviation `spread`. */
static epl_source *open_blobs(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    int64_t   classes = 0, features = 0;
    double    spread  = 0;
    epl_synth g;
    if (!epl_spec_int(spec, "classes", 1, 10000, &classes) || !epl_spec_int(spec, "features", 1, 1000000, &features) ||
        !epl_spec_real(spec, "spread", 0, 1000, &spread) || !epl_synth_new(&g, ctx, spec, o) ||
        !epl_synth_tensors(&g, EPL_F32, EPL_SHAPE(features), EPL_I64, EPL_SCALAR))
        return NULL;
    const uint64_t centres = epl_data_seed(o.seed, "centres", 0, 0); // the same for train and test
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng       r = epl_synth_rng(&g, i);
        const int64_t c = i % classes;
        epl_rng       m = epl_rng_at(centres, (uint64_t)c);
        float        *x = (float *)g.x->data + i * features;
        ((int64_t *)g.y->data)[i] = c;
        for (int64_t k = 0; k < features; k++)
            x[k] = 4.0f * epl_rng_normal(&m) + (float)spread * epl_rng_normal(&r);
    }
    return epl_synth_finish(&g, NULL, 0);
}

/* Half circles of radius 1, the lower one shifted by (1, 0.5). */
static epl_source *open_moons(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    double    noise = 0;
    epl_synth g;
    if (!epl_spec_real(spec, "noise", 0, 100, &noise) || !epl_synth_new(&g, ctx, spec, o) ||
        !epl_synth_tensors(&g, EPL_F32, EPL_SHAPE(2), EPL_I64, EPL_SCALAR))
        return NULL;
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng      r     = epl_synth_rng(&g, i);
        const bool   lower = i % 2;
        const double a     = PI * epl_rng_uniform(&r);
        float       *x     = (float *)g.x->data + 2 * i;
        x[0] = (float)(lower ? 1 - cos(a) : cos(a)) + (float)noise * epl_rng_normal(&r);
        x[1] = (float)(lower ? 0.5 - sin(a) : sin(a)) + (float)noise * epl_rng_normal(&r);
        ((int64_t *)g.y->data)[i] = lower;
    }
    return epl_synth_finish(&g, NULL, 0);
}

/* Arms of `turns` turns, radius 0 to 1, the classes' arms evenly rotated. */
static epl_source *open_spirals(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    int64_t   classes = 0;
    double    noise = 0, turns = 0;
    epl_synth g;
    if (!epl_spec_int(spec, "classes", 1, 100, &classes) || !epl_spec_real(spec, "turns", 0, 100, &turns) ||
        !epl_spec_real(spec, "noise", 0, 100, &noise) || !epl_synth_new(&g, ctx, spec, o) ||
        !epl_synth_tensors(&g, EPL_F32, EPL_SHAPE(2), EPL_I64, EPL_SCALAR))
        return NULL;
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng       r = epl_synth_rng(&g, i);
        const int64_t c = i % classes;
        const double  t = sqrt(epl_rng_uniform(&r)); // even along the arm's length, roughly
        const double  a = 2 * PI * (turns * t + (double)c / (double)classes);
        float        *x = (float *)g.x->data + 2 * i;
        x[0] = (float)(t * cos(a)) + (float)noise * epl_rng_normal(&r);
        x[1] = (float)(t * sin(a)) + (float)noise * epl_rng_normal(&r);
        ((int64_t *)g.y->data)[i] = c;
    }
    return epl_synth_finish(&g, NULL, 0);
}

const epl_source_kind epl_kind_blobs = {
    .about = { "blobs", "classes=4,features=2,spread=1,count=2000,test=500", "Gaussian clouds of points" },
    .open  = open_blobs,
};
const epl_source_kind epl_kind_moons = {
    .about = { "moons", "noise=0.1,count=2000,test=500", "two interleaved half circles of points" },
    .open  = open_moons,
};
const epl_source_kind epl_kind_spirals = {
    .about = { "spirals", "classes=2,turns=1.5,noise=0.02,count=2000,test=500", "spiral arms of points" },
    .open  = open_spirals,
};
