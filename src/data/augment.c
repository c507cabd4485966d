/* augment: reads the list of words, checks it against the sample's shape, and runs it. What a word does is in
 * augment_words.c; whole batches are mixed in mix.c. */
#include "data/augment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/source.h"
#include "data/spec.h"

static const epl_word_kind *find_kind(const char *name)
{
    for (int i = 0; i < epl_n_word_kinds; i++)
        if (strcmp(epl_word_kinds[i].name, name) == 0)
            return &epl_word_kinds[i];
    return NULL;
}

static bool unknown_word(epl_context *ctx, const char *name)
{
    const char *names[64];
    const int   n = epl_n_word_kinds;
    for (int i = 0; i < n; i++)
        names[i] = epl_word_kinds[i].name;
    const char *close = epl_closest(name, names, (size_t)n);
    if (close)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "augment: no word '%s', did you mean '%s'?", name, close);
    epl_text list = EPL_TEXT(ctx);
    for (int i = 0; i < n; i++)
        epl_text_addf(&list, "%s%s", i ? ", " : "", names[i]);
    epl_fail(ctx, EPL_ERR_ARGUMENT, "augment: no word '%s', expected %s", name, epl_text_str(&list));
    epl_text_release(&list);
    return false;
}

static bool bad_count(epl_context *ctx, const epl_word_kind *k, const char *text)
{
    return epl_fail(ctx, EPL_ERR_ARGUMENT, "augment: '%s' has the wrong number of values, expected %s", text, k->form);
}

/* Reads the values after the word's name into w; `values` is cut up. */
static bool read_args(epl_context *ctx, epl_word *w, char *values, const char *text)
{
    const epl_word_kind *k    = w->kind;
    char                *rest = NULL;
    for (char *v = strtok_r(values, ":", &rest); v; v = strtok_r(NULL, ":", &rest)) {
        if (w->n_args == k->max_args)
            return bad_count(ctx, k, text);
        const int    slot = w->n_args < 3 ? w->n_args : 3;
        const double low = k->arg[slot].low, high = k->arg[slot].high;
        double      *out = &w->arg[w->n_args++];
        if (!epl_parse_f64(v, out) || *out < low || *out > high || (k->whole && *out != floor(*out)))
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "augment: '%s' in '%s', expected a %snumber from %g to %g: %s", v, text,
                            k->whole ? "whole " : "", low, high, k->form);
    }
    if (w->n_args < k->min_args)
        return bad_count(ctx, k, text);
    for (int i = w->n_args; i < k->max_args && i < 4; i++)
        w->arg[i] = k->arg[i].def;
    return true;
}

static bool read_word(epl_context *ctx, char *part, epl_word *w)
{
    char text[64]; // the word as the user wrote it, for messages
    snprintf(text, sizeof text, "%s", part);
    char *colon = strchr(part, ':');
    if (colon)
        *colon = '\0';
    w->kind = find_kind(part);
    if (!w->kind)
        return unknown_word(ctx, part);
    char none[1] = "", shape[192];
    if (w->kind->picture && (w->in.rank != 3 || epl_shape_count(w->in) < 1))
        return epl_fail(ctx, EPL_ERR_SHAPE, "augment: '%s' needs pictures [H, W, C], the samples are %s", text,
                        epl_shape_text(shape, w->in));
    w->out = w->in;
    return read_args(ctx, w, colon ? colon + 1 : none, text) && (!w->kind->prepare || w->kind->prepare(ctx, w, text));
}

static void add_text(epl_text *t, const epl_word *w)
{
    epl_text_addf(t, "%s%s", t->length ? "," : "", w->kind->name);
    const int n = w->kind->max_args > 4 ? w->n_args : w->kind->max_args; // defaults are written out
    for (int i = 0; i < n; i++) {
        char number[32];
        epl_format_f64(number, w->arg[i]);
        epl_text_addf(t, ":%s", number);
    }
}

/* Takes a word into the list: keeps what its buffers need, or the batch words' alpha. */
static bool take_word(epl_augment *a, epl_word *w, const char *last_batch_word)
{
    if (w->kind->batch) {
        double *alpha = strcmp(w->kind->name, "mixup") == 0 ? &a->mixup : &a->cutmix;
        *alpha        = w->arg[0];
        return true;
    }
    if (last_batch_word)
        return epl_fail(a->ctx, EPL_ERR_ARGUMENT, "augment: '%s' works on whole batches and comes last, '%s' follows it",
                        last_batch_word, w->kind->name);
    const int64_t n     = epl_shape_count(w->out), pixels = w->out.rank == 3 ? w->out.dim[0] * w->out.dim[1] : 0;
    const int64_t extra = w->extra ? w->extra : w->v.in * w->h.out * w->out.dim[2];
    a->most        = n > a->most ? n : a->most;
    a->most_pixels = pixels > a->most_pixels ? pixels : a->most_pixels;
    a->most_extra  = extra > a->most_extra ? extra : a->most_extra;
    a->out         = w->out;
    a->n_words++;
    return true;
}

static bool read_words(epl_augment *a, char *words)
{
    epl_text    text = EPL_TEXT(a->ctx);
    const char *batch_word = NULL;
    char       *rest = NULL;
    size_t      capacity = 0;
    bool        ok = true;
    for (char *part = strtok_r(words, ",", &rest); part && ok; part = strtok_r(NULL, ",", &rest)) {
        ok = epl_grow(a->ctx, &a->words, (size_t)a->n_words, &capacity, sizeof *a->words);
        if (!ok)
            break;
        epl_word *w = &a->words[a->n_words];
        *w          = (epl_word){ .in = a->out, .index = a->n_words };
        ok          = read_word(a->ctx, part, w);
        if (ok)
            add_text(&text, w);
        const epl_word_kind *kind = w->kind;
        if (!ok || !take_word(a, w, batch_word)) {
            epl_filter_release(a->ctx, &w->v);
            epl_filter_release(a->ctx, &w->h);
            ok = false;
        }
        batch_word = kind && kind->batch ? kind->name : batch_word;
    }
    a->text = ok ? epl_strdup(a->ctx, epl_text_str(&text)) : NULL;
    epl_text_release(&text);
    return a->text != NULL;
}

epl_augment *epl_augment_parse(epl_context *ctx, const char *words, epl_shape sample)
{
    epl_augment *a    = epl_alloc(ctx, sizeof *a);
    char        *copy = a ? epl_strdup(ctx, words ? words : "") : NULL;
    char         text[192];
    bool         ok = copy != NULL;
    if (ok) {
        *a = (epl_augment){ .ctx = ctx, .in = sample, .out = sample, .most = epl_shape_count(sample) };
        a->most_pixels = sample.rank == 3 ? sample.dim[0] * sample.dim[1] : 0;
        ok = (a->most > 0 && a->most <= INT64_C(1) << 40) ||
             epl_fail(ctx, EPL_ERR_SHAPE, "augment: samples of shape %s", epl_shape_text(text, sample));
        ok = ok && read_words(a, copy);
    }
    epl_release(ctx, copy);
    if (ok)
        return a;
    if (copy)
        epl_augment_free(a);
    else
        epl_release(ctx, a);
    return NULL;
}

void epl_augment_free(epl_augment *a)
{
    if (!a)
        return;
    for (int i = 0; i < a->n_words; i++) {
        epl_filter_release(a->ctx, &a->words[i].v);
        epl_filter_release(a->ctx, &a->words[i].h);
    }
    epl_release(a->ctx, a->words);
    epl_release(a->ctx, a->text);
    epl_release(a->ctx, a);
}

epl_shape epl_augment_shape(const epl_augment *a)
{
    return a->out;
}

bool epl_augment_mixes(const epl_augment *a)
{
    return a->mixup > 0 || a->cutmix > 0;
}

const char *epl_augment_text(const epl_augment *a)
{
    return a->text;
}

int epl_augment_word_count(void)
{
    return epl_n_word_kinds;
}

epl_augment_word epl_augment_word_at(int i)
{
    if (i < 0 || i >= epl_n_word_kinds)
        return (epl_augment_word){ "", "" };
    return (epl_augment_word){ epl_word_kinds[i].form, epl_word_kinds[i].summary };
}

const char *epl_augment_first_move(const epl_augment *a)
{
    for (int i = 0; i < a->n_words; i++)
        if (a->words[i].kind->moves)
            return a->words[i].kind->name;
    return NULL;
}

/* ---- running ---- */

static size_t rounded(int64_t n)
{
    return ((size_t)n + 15) & ~(size_t)15;
}

size_t epl_augment_scratch_bytes(const epl_augment *a)
{
    return (2 * rounded(a->most) + rounded(a->most_extra)) * sizeof(float) + 2 * rounded(a->most_pixels) * sizeof(int64_t);
}

void epl_augment_sample(const epl_augment *a, epl_draw at, const float *x, const int64_t *classes, float *out,
                        int64_t *out_classes, void *scratch)
{
    epl_sample s = { .classes = scratch };
    s.spare_classes = s.classes + rounded(a->most_pixels);
    s.x     = (float *)(s.spare_classes + rounded(a->most_pixels));
    s.spare = s.x + rounded(a->most);
    s.extra = s.spare + rounded(a->most);
    memcpy(s.x, x, (size_t)epl_shape_count(a->in) * sizeof *x);
    if (classes)
        memcpy(s.classes, classes, (size_t)(a->in.dim[0] * a->in.dim[1]) * sizeof *classes);
    else
        s.classes = s.spare_classes = NULL;
    for (int i = 0; i < a->n_words; i++) {
        const epl_word *w = &a->words[i];
        epl_rng         r = epl_rng_at(epl_data_seed(at.seed, "augment", at.epoch, w->index), (uint64_t)at.position);
        w->kind->run(w, &r, &s);
    }
    memcpy(out, s.x, (size_t)epl_shape_count(a->out) * sizeof *out);
    if (classes)
        memcpy(out_classes, s.classes, (size_t)(a->out.dim[0] * a->out.dim[1]) * sizeof *out_classes);
}
