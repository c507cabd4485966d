/* optimizer_words: "adamw:rate=1e-3,decay=0.05" against the keys that each optimizer takes. */
#include "train/train.h"

#include "data/spec.h"

#include <string.h>

#define COMMON "decay=0,decay_all=0,clip_norm=0,clip_value=0,ema=0"
static const char *const keys[] = { /* the order of epl_optimizer_kind; an empty value is the optimizer's default */
    "rate=,momentum=0,nesterov=0," COMMON,
    "rate=,beta1=,beta2=,epsilon=," COMMON,
    "rate=,beta1=,beta2=,epsilon=," COMMON,
    "rate=,momentum=0,beta2=,epsilon=," COMMON,
    "rate=,epsilon=," COMMON,
    "rate=,momentum=0,trust=," COMMON,
    "rate=,beta1=,beta2=,epsilon=," COMMON,
    "rate=,momentum=,beta1=,beta2=,epsilon=," COMMON,
    "rate=,beta2=,epsilon=," COMMON,
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
    epl_fail(ctx, EPL_ERR_ARGUMENT, "there is no optimizer '%s'%s%s%s (sgd, adam, adamw, rmsprop, adagrad, lars, lamb, muon, adadelta)", given,
             close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
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
        { "ema", 0, 0.9999999, &out->ema },
    };
    for (size_t i = 0; i < EPL_COUNT(reals); i++)
        if (*epl_spec_text(s, reals[i].key) && !epl_spec_real(s, reals[i].key, reals[i].low, reals[i].high, reals[i].to))
            return false;
    return read_flag(s, "nesterov", &out->nesterov) && read_flag(s, "decay_all", &out->decay_all);
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
                    read_keys(&s, out);
    epl_spec_release(&s);
    return ok;
}
