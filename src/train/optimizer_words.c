/* optimizer_words: "adamw:rate=1e-3,decay=0.05" against the keys that each optimizer takes. */
#include "train/train.h"

#include "data/spec.h"

#include <string.h>

#define COMMON                                                                                                                 \
    "decay=0,decay_all=0,clip_norm=0,clip_value=0,clip_percentile=0,ema=0,bits=32,block=,min_size=,map=dynamic,stochastic=0,"  \
    "second_floor=0,full=,skip_zeros=0,skip_nonfinite=0"
static const char *const keys[] = { /* the order of epl_optimizer_kind; an empty value is the optimizer's default */
    "rate=,momentum=0,nesterov=0," COMMON,
    "rate=,beta1=,beta2=,epsilon=," COMMON,
    "rate=,beta1=,beta2=,epsilon=," COMMON,
    "rate=,momentum=0,beta2=,epsilon=," COMMON,
    "rate=,epsilon=," COMMON,
    "rate=,momentum=0,trust=,most=0," COMMON,
    "rate=,beta1=,beta2=,epsilon=,most=0," COMMON,
    "rate=,momentum=,beta1=,beta2=,epsilon=," COMMON,
    "rate=,beta2=,epsilon=," COMMON,
    "rate=,beta1=,beta2=," COMMON,
};

static int find_kind(epl_context *ctx, const char *text, size_t length)
{
    const char *names[EPL_COUNT(keys)];
    char        given[64] = "";
    for (size_t i = 0; i < EPL_COUNT(keys); i++) {
        names[i] = epl_optimizer_name((epl_optimizer_kind)i);
        if (strlen(names[i]) == length && memcmp(names[i], text, length) == 0)
            return (int)i;
    }
    memcpy(given, text, length < sizeof given ? length : sizeof given - 1);
    const char *close = epl_closest(given, names, EPL_COUNT(keys));
    epl_fail(ctx, EPL_ERR_ARGUMENT,
             "there is no optimizer '%s'%s%s%s (sgd, adam, adamw, rmsprop, adagrad, lars, lamb, muon, adadelta, lion)",
             given, close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
    return -1;
}

static bool read_flag(const epl_spec *s, const char *key, bool *out)
{
    int64_t x = 0;
    if (*epl_spec_text(s, key) && !epl_spec_int(s, key, 0, 1, &x))
        return false;
    *out = x != 0;
    return true;
}

static bool read_keys(const epl_spec *s, epl_optimizer_opts *out)
{
    const struct {
        const char *key;
        double      low, high, *to;
    } reals[] = {
        { "rate", 1e-12, 1e6, &out->rate },       { "momentum", 0, 0.99999, &out->momentum }, { "beta1", 0, 0.999999, &out->beta1 },
        { "beta2", 0, 0.9999999, &out->beta2 },   { "epsilon", 1e-30, 1, &out->epsilon },     { "trust", 1e-9, 1e3, &out->trust },
        { "decay", 0, 10, &out->decay },          { "clip_norm", 0, 1e9, &out->clip_norm },   { "clip_value", 0, 1e9, &out->clip_value },
        { "ema", 0, 0.9999999, &out->ema },       { "most", 0, 1e3, &out->most },
    };
    for (size_t i = 0; i < EPL_COUNT(reals); i++)
        if (*epl_spec_text(s, reals[i].key) && !epl_spec_real(s, reals[i].key, reals[i].low, reals[i].high, reals[i].to))
            return false;
    return read_flag(s, "nesterov", &out->nesterov) && read_flag(s, "decay_all", &out->decay_all) &&
           read_flag(s, "skip_zeros", &out->skip_zeros) && read_flag(s, "skip_nonfinite", &out->skip_nonfinite);
}

static bool read_block(const epl_spec *s, int64_t *out)
{
    if (strcmp(epl_spec_text(s, "block"), "tensor") == 0) {
        *out = EPL_SLOT_WHOLE;
        return true;
    }
    return !*epl_spec_text(s, "block") || epl_spec_int(s, "block", 64, 4096, out);
}

static bool read_slots(const epl_spec *s, epl_optimizer_opts *out)
{
    const char   *map = epl_spec_text(s, "map"), *full = epl_spec_text(s, "full");
    epl_slot_opts *o  = &out->slots;
    int64_t bits = 32, percentile = 0;
    if (!epl_spec_int(s, "bits", 8, 32, &bits) || !epl_spec_int(s, "clip_percentile", 0, 100, &percentile) || !read_block(s, &o->block) ||
        (*epl_spec_text(s, "min_size") && !epl_spec_int(s, "min_size", 1, INT64_C(1) << 40, &o->min_size)) ||
        !read_flag(s, "stochastic", &o->stochastic) || !read_flag(s, "second_floor", &o->second_floor))
        return false;
    if (strcmp(map, "dynamic") != 0 && strcmp(map, "linear") != 0)
        return epl_fail(s->ctx, EPL_ERR_ARGUMENT, "%s: map is '%s', but must be dynamic or linear", s->name, map);
    if (strlen(full) >= sizeof o->full)
        return epl_fail(s->ctx, EPL_ERR_ARGUMENT, "%s: full has %zu characters, at most %zu are possible", s->name,
                        strlen(full), sizeof o->full - 1);
    o->bits   = (int)bits;
    o->linear = strcmp(map, "linear") == 0;
    strcpy(o->full, full);
    out->clip_percentile = (int)percentile;
    return true;
}

bool epl_optimizer_parse(epl_context *ctx, const char *text, epl_optimizer_opts *out)
{
    const size_t length = strcspn(text, ":");
    const int    kind   = find_kind(ctx, text, length);
    epl_spec     s      = { 0 };
    *out = (epl_optimizer_opts){ 0 };
    if (kind < 0)
        return false;
    out->kind = (epl_optimizer_kind)kind;
    const bool ok = epl_spec_read(&s, ctx, epl_optimizer_name(out->kind), keys[kind], text[length] ? text + length + 1 : NULL) &&
                    read_keys(&s, out) && read_slots(&s, out);
    epl_spec_release(&s);
    return ok;
}
