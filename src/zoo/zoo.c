/* zoo: finding architectures, reading their options. The architectures are in the other files of this folder, one family each;
 * the build collects every `const epl_zoo_entry epl_zoo_<name>`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zoo/zoo.h"

#define EPL_ZOO(name) extern const epl_zoo_entry epl_zoo_##name;
#include "zoo_table.inc"
#undef EPL_ZOO

static const epl_zoo_entry *const table[] = {
#define EPL_ZOO(name) &epl_zoo_##name,
#include "zoo_table.inc"
#undef EPL_ZOO
};

int                  epl_zoo_count(void) { return (int)EPL_COUNT(table); }
const epl_zoo_entry *epl_zoo_at(int i) { return table[i]; }

const epl_zoo_entry *epl_zoo_find(const char *name)
{
    for (size_t i = 0; i < EPL_COUNT(table); i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}

/* ---- options ---- */

static const epl_zoo_option heads[] = {
    { "head", 0, .choices = "linear|cosine|prototype", .help = "what reads the features: weights, directions, distances to prototypes" },
    { "embed", 0, 0, 65536, .help = "width of a linear layer without bias before the head; 0: none" },
    { "head_scale", 0, 0, 1e4, .real = true, .help = "of cosines; 0: 16 for up to 20 classes, else 20" },
    { "prototypes", 15, 1, 65536, .help = "of the head that has them" },
};

static int n_own(const epl_zoo_entry *e)
{
    int n = 0;
    while (n < EPL_ZOO_MAX_OPTIONS && e->options[n].name)
        n++;
    return n;
}

int epl_zoo_n_options(const epl_zoo_entry *e) { return n_own(e) + (e->own_head ? 0 : (int)EPL_COUNT(heads)); }

const epl_zoo_option *epl_zoo_option_at(const epl_zoo_entry *e, int i)
{
    const int own = n_own(e);
    return i < own ? &e->options[i] : &heads[i - own];
}

enum { MAX_OPTIONS = EPL_ZOO_MAX_OPTIONS + EPL_COUNT(heads) };

struct epl_zoo_args {
    const epl_zoo_entry *entry;
    double               value[MAX_OPTIONS];
    char                 word[MAX_OPTIONS][32]; /* of choices */
};

static int option_index(const epl_zoo_entry *e, const char *name)
{
    for (int i = 0; i < epl_zoo_n_options(e); i++)
        if (strcmp(epl_zoo_option_at(e, i)->name, name) == 0)
            return i;
    return -1;
}

int         epl_arg_int(const epl_zoo_args *a, const char *name) { return (int)a->value[option_index(a->entry, name)]; }
double      epl_arg_real(const epl_zoo_args *a, const char *name) { return a->value[option_index(a->entry, name)]; }
const char *epl_arg_choice(const epl_zoo_args *a, const char *name) { return a->word[option_index(a->entry, name)]; }

/* The word of that index in "a|b|c". */
static bool choice_word(const char *choices, int index, char out[32])
{
    for (; index > 0 && choices; index--) {
        const char *bar = strchr(choices, '|');
        choices = bar ? bar + 1 : NULL;
    }
    if (!choices)
        return false;
    snprintf(out, 32, "%.*s", (int)strcspn(choices, "|"), choices);
    return true;
}

static bool set_choice(epl_context *ctx, epl_zoo_args *a, int i, const char *text)
{
    const epl_zoo_option *o = epl_zoo_option_at(a->entry, i);
    char word[32];
    for (int k = 0; choice_word(o->choices, k, word); k++)
        if (strcmp(word, text) == 0) {
            a->value[i] = k;
            memcpy(a->word[i], word, sizeof word);
            return true;
        }
    return epl_fail(ctx, EPL_ERR_ARGUMENT, "%s: option '%s' is '%s', but must be one of %s", a->entry->name, o->name, text, o->choices);
}

static bool set_number(epl_context *ctx, epl_zoo_args *a, int i, const char *text)
{
    const epl_zoo_option *o = epl_zoo_option_at(a->entry, i);
    char  *end;
    double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x) || (!o->real && x != floor(x)))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "%s: option '%s' is '%s', but must be %s", a->entry->name, o->name, text,
                        o->real ? "a number" : "a whole number");
    if (o->low != o->high && (x < o->low || x > o->high))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "%s: option '%s' is %g, but must be from %g to %g", a->entry->name, o->name, x, o->low,
                        o->high);
    a->value[i] = x;
    return true;
}

static bool set_option(epl_context *ctx, epl_zoo_args *a, const char *name, const char *text)
{
    const int i = option_index(a->entry, name);
    if (i >= 0)
        return epl_zoo_option_at(a->entry, i)->choices ? set_choice(ctx, a, i, text) : set_number(ctx, a, i, text);
    const char  *names[MAX_OPTIONS];
    const size_t n = (size_t)epl_zoo_n_options(a->entry);
    for (size_t k = 0; k < n; k++)
        names[k] = epl_zoo_option_at(a->entry, (int)k)->name;
    const char *close = epl_closest(name, names, n);
    return epl_fail(ctx, EPL_ERR_ARGUMENT, "%s has no option '%s'%s%s%s (see `espalier new --help %s`)", a->entry->name, name,
                    close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "", a->entry->name);
}

static bool read_options(epl_context *ctx, epl_zoo_args *a, const char *text)
{
    char pair[256];
    for (; *text; text += *text == ',') {
        const size_t n = strcspn(text, ",");
        if (n >= sizeof pair)
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "%s: an option of %zu characters", a->entry->name, n);
        snprintf(pair, sizeof pair, "%.*s", (int)n, text);
        text += n;
        char *equals = strchr(pair, '=');
        if (!equals)
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "%s: '%s' is not of the form name=value", a->entry->name, pair);
        *equals = 0;
        if (!set_option(ctx, a, pair, equals + 1))
            return false;
    }
    return true;
}

static const epl_zoo_entry *entry_named(epl_context *ctx, const char *name)
{
    const epl_zoo_entry *e = epl_zoo_find(name);
    if (e)
        return e;
    const char *names[EPL_COUNT(table)];
    for (size_t i = 0; i < EPL_COUNT(table); i++)
        names[i] = table[i]->name;
    const char *close = epl_closest(name, names, EPL_COUNT(table));
    epl_fail(ctx, EPL_ERR_ARGUMENT, "no model is named '%s'%s%s%s (see `espalier models`)", name, close ? "; did you mean '" : "",
             close ? close : "", close ? "'?" : "");
    return NULL;
}

epl_graph *epl_zoo_build(epl_context *ctx, const char *description)
{
    char name[64];
    const size_t n = strcspn(description, ":");
    snprintf(name, sizeof name, "%.*s", (int)n, description);
    epl_zoo_args a = { .entry = entry_named(ctx, name) };
    if (!a.entry)
        return NULL;
    for (int i = 0; i < epl_zoo_n_options(a.entry); i++) {
        a.value[i] = epl_zoo_option_at(a.entry, i)->value;
        choice_word(epl_zoo_option_at(a.entry, i)->choices, (int)a.value[i], a.word[i]);
    }
    if (!read_options(ctx, &a, description[n] ? description + n + 1 : ""))
        return NULL;
    epl_graph *g = epl_graph_new(ctx, description);
    if (!g)
        return NULL;
    a.entry->build(g, &a);
    if (epl_graph_finish(g))
        return g;
    epl_graph_free(g);
    return NULL;
}

epl_graph *epl_zoo_build_small(epl_context *ctx, int i)
{
    char description[256];
    snprintf(description, sizeof description, "%s:%s", table[i]->name, table[i]->small ? table[i]->small : "");
    return epl_zoo_build(ctx, description);
}

epl_value *epl_zoo_image(epl_graph *g, const epl_zoo_args *a)
{
    const int side = epl_arg_int(a, "image");
    return epl_input(g, "x", EPL_F32, EPL_SHAPE(1, side, side, epl_arg_int(a, "channels")), "N,,,");
}

void epl_zoo_classify(epl_graph *g, const epl_zoo_args *a, epl_value *features, const char *head)
{
    epl_zoo_classify_with(g, a, features, (epl_classifier_opts){ .name = head });
}

/* Distances to prototypes, and what they say about the classes: Li et al. 2018 (arXiv:1710.04806), sec. 3. */
static void classify_by_prototypes(epl_graph *g, epl_value *features, int prototypes, int classes)
{
    epl_value *d = epl_prototypes(g, features, (epl_prototypes_opts){ .count = prototypes });
    epl_output(g, "logits", epl_linear(g, d, (epl_linear_opts){ .name = "head", .out = classes, .no_bias = true, .init = EPL_START_UNIT }));
    epl_output(g, "distances", d);
}

void epl_zoo_classify_with(epl_graph *g, const epl_zoo_args *a, epl_value *features, epl_classifier_opts o)
{
    const char *head    = epl_arg_choice(a, "head");
    const int   classes = epl_arg_int(a, "classes");
    const bool  linear  = strcmp(head, "linear") == 0;
    if (epl_arg_int(a, "embed") || !linear) {
        features = epl_classifier(g, features, (epl_classifier_opts){ .dropout = o.dropout }); // pooled, and that is all
        o.dropout = 0;
    }
    if (epl_arg_int(a, "embed"))
        features = epl_linear(g, features, (epl_linear_opts){ .name = "embed", .out = epl_arg_int(a, "embed"), .no_bias = true });
    o.classes = classes;
    if (linear || classes == 0)
        epl_output(g, classes ? "logits" : "features", epl_classifier(g, features, o));
    else if (strcmp(head, "cosine") == 0)
        epl_output(g, "logits", epl_cosine_head(g, features, (epl_cosine_head_opts){ .name = o.name, .classes = classes,
                                                                                     .scale = epl_arg_real(a, "head_scale") }));
    else
        classify_by_prototypes(g, features, epl_arg_int(a, "prototypes"), classes);
}

int epl_zoo_head_layers(const epl_zoo_args *a)
{
    return (epl_arg_int(a, "classes") > 0 && strcmp(epl_arg_choice(a, "head"), "cosine") != 0) + (epl_arg_int(a, "embed") > 0);
}

bool epl_zoo_refuse(epl_graph *g, const epl_zoo_args *a, const char *option, const char *why)
{
    epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: option '%s' is %g, but %s", a->entry->name, option, epl_arg_real(a, option), why);
    return false;
}

bool epl_zoo_at_least(epl_graph *g, const epl_zoo_args *a, const char *option, int least, const char *why)
{
    if (epl_arg_int(a, option) >= least)
        return true;
    epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: option '%s' is %d, but at least %d is needed: %s", a->entry->name, option,
                   epl_arg_int(a, option), least, why);
    return false;
}

bool epl_zoo_multiple(epl_graph *g, const epl_zoo_args *a, const char *option, int factor, const char *why)
{
    if (epl_arg_int(a, option) % factor == 0)
        return true;
    epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: option '%s' is %d, but it must be a multiple of %d: %s", a->entry->name, option,
                   epl_arg_int(a, option), factor, why);
    return false;
}

bool epl_zoo_divides(epl_graph *g, const epl_zoo_args *a, const char *option, int divisor, const char *of_name, int of)
{
    if (of % divisor == 0)
        return true;
    epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s: option '%s' is %d and does not divide %s, which is %d", a->entry->name, option, divisor,
                   of_name, of);
    return false;
}

void epl_zoo_ibn(epl_graph *g, const epl_zoo_args *a)
{
    const char *word = epl_arg_choice(a, "ibn");
    if (strcmp(word, "none") != 0 && !epl_graph_failed(g) &&
        !epl_ibn(g, NULL, -1, (epl_ibn_opts){ .variant = strcmp(word, "b") == 0 ? EPL_IBN_B : EPL_IBN_A }, NULL) && !epl_graph_failed(g))
        epl_graph_fail(g, EPL_ERR_UNSUPPORTED, "%s: option 'ibn' is '%s', but there is no place for it", a->entry->name, word);
}

int epl_zoo_round(double channels, int divisor)
{
    const int rounded = (int)(channels + divisor / 2.0) / divisor * divisor;
    const int least   = rounded < divisor ? divisor : rounded;
    return least < 0.9 * channels ? least + divisor : least;
}
