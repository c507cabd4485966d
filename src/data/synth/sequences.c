/* sequences: for recurrent networks. Wave forms with a class; the temporal order task and the adding task of Hochreiter &
 * Schmidhuber, "Long short-term memory", Neural Computation 1997, experiments 6a and 4. */
#include <math.h>

#include "data/synth/synth.h"

static const double PI = 3.14159265358979323846;

static const char *const WAVES[]  = { "sine", "square", "triangle", "saw" };
static const char *const ORDERS[] = { "XX", "XY", "YX", "YY" };

/* Period 1, values in [-1, 1]. */
static double wave(int form, double phase)
{
    const double p = phase - floor(phase);
    switch (form) {
    case 0: return sin(2 * PI * p);
    case 1: return p < 0.5 ? 1 : -1;
    case 2: return 1 - 4 * fabs(p - 0.5);
    default: return 2 * p - 1;
    }
}

static epl_source *open_waves(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    int64_t   length = 0;
    double    noise  = 0;
    epl_synth g;
    if (!epl_spec_int(spec, "length", 4, 100000, &length) || !epl_spec_real(spec, "noise", 0, 100, &noise) ||
        !epl_synth_new(&g, ctx, spec, o) || !epl_synth_tensors(&g, EPL_F32, EPL_SHAPE(length, 1), EPL_I64, EPL_SCALAR))
        return NULL;
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng      r     = epl_synth_rng(&g, i);
        const int    form  = (int)(i % (int64_t)EPL_COUNT(WAVES));
        const double phase = epl_rng_uniform(&r), periods = 1.5 + 2.5 * epl_rng_uniform(&r);
        float       *x     = (float *)g.x->data + i * length;
        for (int64_t t = 0; t < length; t++)
            x[t] = (float)wave(form, phase + periods * (double)t / (double)length) + (float)noise * epl_rng_normal(&r);
        ((int64_t *)g.y->data)[i] = form;
    }
    return epl_synth_finish(&g, WAVES, (int)EPL_COUNT(WAVES));
}

/* Tokens 0..3 distract, 4 is X, 5 is Y; one of these stands in the first half and one in the second: which? */
static epl_source *open_order(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    int64_t   length = 0;
    epl_synth g;
    if (!epl_spec_int(spec, "length", 2, 100000, &length) || !epl_synth_new(&g, ctx, spec, o) ||
        !epl_synth_tensors(&g, EPL_I64, EPL_SHAPE(length), EPL_I64, EPL_SCALAR))
        return NULL;
    const uint64_t half = (uint64_t)length / 2;
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng  r = epl_synth_rng(&g, i);
        int64_t *x = (int64_t *)g.x->data + i * length;
        for (int64_t t = 0; t < length; t++)
            x[t] = (int64_t)epl_rng_below(&r, 4);
        x[epl_rng_below(&r, half)] = 4 + (i >> 1 & 1);
        x[half + epl_rng_below(&r, (uint64_t)length - half)] = 4 + (i & 1);
        ((int64_t *)g.y->data)[i] = i & 3;
    }
    return epl_synth_finish(&g, ORDERS, (int)EPL_COUNT(ORDERS));
}

/* Pairs (number in [0, 1), mark): the sum of the two marked numbers. */
static epl_source *open_adding(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    int64_t   length = 0;
    epl_synth g;
    if (!epl_spec_int(spec, "length", 2, 100000, &length) || !epl_synth_new(&g, ctx, spec, o) ||
        !epl_synth_tensors(&g, EPL_F32, EPL_SHAPE(length, 2), EPL_F32, EPL_SHAPE(1)))
        return NULL;
    const uint64_t half = (uint64_t)length / 2;
    for (int64_t i = 0; i < g.n; i++) {
        epl_rng r = epl_synth_rng(&g, i);
        float  *x = (float *)g.x->data + 2 * i * length;
        for (int64_t t = 0; t < length; t++)
            x[2 * t] = epl_rng_uniform(&r);
        const uint64_t a = epl_rng_below(&r, half), b = half + epl_rng_below(&r, (uint64_t)length - half);
        x[2 * a + 1] = x[2 * b + 1] = 1;
        ((float *)g.y->data)[i]     = x[2 * a] + x[2 * b];
    }
    return epl_synth_finish(&g, NULL, 0);
}

const epl_source_kind epl_kind_waves = {
    .about = { "waves", "length=64,noise=0.1,count=2000,test=500", "noisy wave forms [L, 1], which form?" },
    .open  = open_waves,
};
const epl_source_kind epl_kind_order = {
    .about = { "order", "length=20,count=2000,test=500", "tokens [L], in which order did X and Y come?" },
    .open  = open_order,
};
const epl_source_kind epl_kind_adding = {
    .about = { "adding", "length=50,count=2000,test=500", "numbers [L, 2], the sum of the two marked ones" },
    .open  = open_adding,
};
