/* schedule: the learning rate as a function of the position in a run, and the words for it. */
#include <espalier/train.h>

#include "data/spec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double or_default(double x, double otherwise) { return x != 0 ? x : otherwise; }

/* Half a cosine from a (x = 0) to b (x = 1). */
static double half_cosine(double a, double b, double x) { return b + (a - b) * (1 + cos(3.14159265358979323846 * x)) / 2; }

static double one_cycle(const epl_schedule_opts *s, double x)
{
    const double start = or_default(s->start, 0.04), peak = or_default(s->peak, 0.3), final = or_default(s->final, 4e-6);
    return x < peak ? half_cosine(start, 1, x / peak) : half_cosine(1, final, peak < 1 ? (x - peak) / (1 - peak) : 1);
}

static int milestones_passed(const epl_schedule_opts *s, double position)
{
    int n = 0;
    while (n < s->n_milestones && n < EPL_MAX_MILESTONES && position >= s->milestones[n])
        n++;
    return n;
}

double epl_schedule_factor(const epl_schedule_opts *s, double position, double length)
{
    if (position < s->warmup) {
        const double from = or_default(s->warmup_from, 0.01);
        return from + (1 - from) * position / s->warmup;
    }
    const double rest = length - s->warmup, x = rest > 0 ? fmin(1, (position - s->warmup) / rest) : 1;
    const double gamma = or_default(s->gamma, s->kind == EPL_RATE_EXPONENTIAL ? 0.9 : 0.1);
    switch (s->kind) {
    case EPL_RATE_CONSTANT:    return 1;
    case EPL_RATE_STEP:        return s->every > 0 ? pow(gamma, floor(position / s->every)) : 1;
    case EPL_RATE_MULTI_STEP:  return pow(gamma, milestones_passed(s, position));
    case EPL_RATE_COSINE:      return half_cosine(1, s->final, x);
    case EPL_RATE_LINEAR:      return s->final + (1 - s->final) * (1 - x);
    case EPL_RATE_POLYNOMIAL:  return s->final + (1 - s->final) * pow(1 - x, or_default(s->power, 2));
    case EPL_RATE_EXPONENTIAL: return pow(gamma, position - s->warmup);
    case EPL_RATE_ONE_CYCLE:   return one_cycle(s, x);
    }
    return 1;
}

/* ---- words ---- */

#define WARMUP "warmup=0,warmup_from=0.01"
static const struct {
    const char *name, *keys;
} kinds[] = { /* the order of epl_schedule_kind */
    { "constant", WARMUP },
    { "step", "every=1,gamma=0.1," WARMUP },
    { "multi-step", "at=,gamma=0.1," WARMUP },
    { "cosine", "final=0," WARMUP },
    { "linear", "final=0," WARMUP },
    { "polynomial", "power=2,final=0," WARMUP },
    { "exponential", "gamma=0.9," WARMUP },
    { "one-cycle", "start=0.04,peak=0.3,final=4e-6," WARMUP },
};

static int find_kind(epl_context *ctx, const char *name, size_t length)
{
    const char *names[EPL_COUNT(kinds)];
    char        given[64] = "";
    for (size_t i = 0; i < EPL_COUNT(kinds); i++) {
        names[i] = kinds[i].name;
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
            return (int)i;
    }
    memcpy(given, name, length < sizeof given ? length : sizeof given - 1);
    const char *close = epl_closest(given, names, EPL_COUNT(kinds));
    epl_fail(ctx, EPL_ERR_ARGUMENT, "there is no schedule '%s'%s%s%s (constant, step, multi-step, cosine, linear, polynomial, "
             "exponential, one-cycle)", given, close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
    return -1;
}

/* "30+60+80" */
static bool read_milestones(epl_context *ctx, const char *text, epl_schedule_opts *out)
{
    while (*text) {
        char  *end;
        double x = strtod(text, &end);
        if (end == text || (*end != '+' && *end != '\0') || out->n_milestones == EPL_MAX_MILESTONES ||
            (out->n_milestones && !(x > out->milestones[out->n_milestones - 1])))
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "multi-step: at=%s is not a rising list of at most %d numbers, as in 30+60", text,
                            (int)EPL_MAX_MILESTONES);
        out->milestones[out->n_milestones++] = x;
        text = *end ? end + 1 : end;
    }
    return true;
}

static bool read_keys(const epl_spec *s, epl_schedule_opts *out)
{
    const struct {
        const char *key;
        double      low, high, *to;
    } reals[] = {
        { "warmup", 0, 1e9, &out->warmup }, { "warmup_from", 0, 1, &out->warmup_from }, { "every", 1e-9, 1e9, &out->every },
        { "gamma", 1e-9, 10, &out->gamma },  { "final", 0, 10, &out->final },            { "power", 1e-3, 100, &out->power },
        { "start", 1e-9, 1, &out->start },   { "peak", 0.001, 1, &out->peak },
    };
    for (size_t i = 0; i < EPL_COUNT(reals); i++)
        if (*epl_spec_text(s, reals[i].key) && !epl_spec_real(s, reals[i].key, reals[i].low, reals[i].high, reals[i].to))
            return false;
    return read_milestones(s->ctx, epl_spec_text(s, "at"), out);
}

bool epl_schedule_parse(epl_context *ctx, const char *text, epl_schedule_opts *out)
{
    const size_t length = strcspn(text, ":");
    const int    kind   = find_kind(ctx, text, length);
    epl_spec     s      = { 0 };
    *out = (epl_schedule_opts){ 0 };
    if (kind < 0)
        return false;
    out->kind = (epl_schedule_kind)kind;
    const bool ok = epl_spec_read(&s, ctx, kinds[kind].name, kinds[kind].keys, text[length] ? text + length + 1 : NULL) &&
                    read_keys(&s, out);
    epl_spec_release(&s);
    return ok;
}
