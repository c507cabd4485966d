/* criteria: a score for each weight, and the selection of the highest. Selection goes by rank, so that exactly as many stay as
 * were asked for, however many scores are equal. */
#include "compress/compress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int epl_choose_word(epl_context *ctx, const char *what, const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(words[i], word) == 0)
            return (int)i;
    const char *close = epl_closest(word, words, n);
    epl_fail(ctx, EPL_ERR_ARGUMENT, "there is no %s '%s'%s%s%s", what, word, close ? "; did you mean '" : "", close ? close : "",
             close ? "'?" : "");
    return -1;
}

/* ---- names ---- */

static const struct {
    const char *name;
    bool        looks; /* at gradients, or what is in their place */
} criteria[] = { { "magnitude", false }, { "random", false }, { "bernoulli", false }, { "lamp", false },
                 { "gradient", true },   { "taylor", true },  { "snip", true },       { "grasp", true },
                 { "synflow", true },    { "obd", true },     { "obs", true } };

bool epl_criterion_known(epl_context *ctx, const char *name)
{
    const char *words[EPL_COUNT(criteria)];
    for (size_t i = 0; i < EPL_COUNT(criteria); i++)
        words[i] = criteria[i].name;
    return epl_choose_word(ctx, "criterion", name, words, EPL_COUNT(criteria)) >= 0;
}

bool epl_criterion_needs_data(const char *name)
{
    for (size_t i = 0; i < EPL_COUNT(criteria); i++)
        if (strcmp(criteria[i].name, name) == 0)
            return criteria[i].looks && strcmp(name, "synflow") != 0;
    return false;
}

/* ---- scores ---- */

static const epl_tensor *gradient_of(epl_context *ctx, const epl_prune_opts *o, const char *criterion, const char *name,
                                     const epl_tensor *w)
{
    const epl_tensor *g = o->gradients ? epl_weights_find(o->gradients, name) : NULL;
    if (g && epl_shape_equal(g->shape, w->shape))
        return g;
    epl_fail(ctx, EPL_ERR_ARGUMENT, "criterion '%s' needs a gradient for '%s', which %s", criterion, name,
             g ? "has another shape" : "is not given");
    return NULL;
}

typedef struct ranked {
    float   size;
    int64_t index;
} ranked;

static int by_size(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->size != y->size ? (x->size > y->size) - (x->size < y->size) : (x->index > y->index) - (x->index < y->index);
}

/* w^2 over the sum of those that are not smaller: from the largest down. */
static bool lamp(epl_context *ctx, const epl_tensor *w, float *out)
{
    const int64_t n = epl_tensor_count(w);
    ranked *order = epl_alloc_array(ctx, (size_t)n, sizeof *order);
    if (!order)
        return false;
    for (int64_t i = 0; i < n; i++)
        order[i] = (ranked){ (float)fabs(epl_tensor_get(w, i)), i };
    qsort(order, (size_t)n, sizeof *order, by_size);
    double sum = 0;
    for (int64_t i = n; i-- > 0;) {
        const double square = (double)order[i].size * (double)order[i].size;
        sum += square;
        out[order[i].index] = sum > 0 ? (float)(square / sum) : 0;
    }
    epl_release(ctx, order);
    return true;
}

/* Of the weight and what stands in the gradients' place for the criterion. Taylor's square, snip's division by the
 * total of all layers and the half of obd do not change the order. */
static double worth(const char *criterion, double w, double g)
{
    if (strcmp(criterion, "gradient") == 0)
        return fabs(g);
    if (strcmp(criterion, "grasp") == 0)
        return w * g; // its score -w (H g) is to be small
    if (strcmp(criterion, "obd") == 0)
        return g * w * w;
    return strcmp(criterion, "synflow") == 0 ? g : fabs(w * g);
}

bool epl_scores(epl_context *ctx, const char *criterion, const char *name, const epl_tensor *w, const epl_tensor *mask,
                const epl_prune_opts *o, float *out)
{
    const int64_t n = epl_tensor_count(w);
    const bool random = strcmp(criterion, "random") == 0 || strcmp(criterion, "bernoulli") == 0;
    const bool magnitude = strcmp(criterion, "magnitude") == 0 || strcmp(criterion, "obs") == 0; // obs ranks by itself
    if (strcmp(criterion, "lamp") == 0) {
        if (!lamp(ctx, w, out))
            return false;
    } else if (random || magnitude) {
        epl_rng r = epl_rng_at(o->seed, epl_hash(name, strlen(name), 0));
        for (int64_t i = 0; i < n; i++)
            out[i] = random ? epl_rng_uniform(&r) : (float)fabs(epl_tensor_get(w, i));
    } else {
        const epl_tensor *g = gradient_of(ctx, o, criterion, name, w);
        if (!g)
            return false;
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)worth(criterion, epl_tensor_get(w, i), epl_tensor_get(g, i));
    }
    for (int64_t i = 0; mask && i < n; i++)
        if (epl_tensor_get(mask, i) == 0)
            out[i] = -INFINITY;
    return true;
}

/* ---- selection ---- */

/* An integer that orders as the float does; NaN is lowest. */
static uint32_t key_of(float x)
{
    uint32_t u;
    if (isnan(x))
        return 0;
    x += 0.0f; // -0 is 0
    memcpy(&u, &x, sizeof u);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* The key of rank `count` from above, found by two halves of 16 bits; *above: how many keys are higher. */
static uint32_t key_of_rank(const float *scores, int64_t n, int64_t count, int64_t *bins, int64_t *above)
{
    uint32_t prefix = 0;
    *above = 0;
    for (int half = 1; half >= 0; half--) {
        memset(bins, 0, 65536 * sizeof *bins);
        for (int64_t i = 0; i < n; i++) {
            const uint32_t key = key_of(scores[i]);
            if (half == 1 || key >> 16 == prefix)
                bins[half ? key >> 16 : key & 0xffff]++;
        }
        uint32_t bin = 65535;
        while (bin > 0 && *above + bins[bin] < count)
            *above += bins[bin--];
        prefix = half ? bin : prefix << 16 | bin;
    }
    return prefix;
}

bool epl_select(epl_context *ctx, const float *scores, int64_t n, int64_t count, unsigned char *keep)
{
    int64_t above, *bins = epl_alloc_array(ctx, 65536, sizeof *bins);
    if (!bins)
        return false;
    const uint32_t limit = key_of_rank(scores, n, count, bins, &above);
    int64_t of_limit = count - above;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t key = key_of(scores[i]);
        keep[i] = count > 0 && (key > limit || (key == limit && of_limit-- > 0));
    }
    epl_release(ctx, bins);
    return true;
}
