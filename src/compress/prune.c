/* prune: masks chosen by score - element by element, in blocks, n of every m, per layer or over all. */
#include "compress/compress.h"

#include <math.h>
#include <string.h>

static const char *word_or(const char *word, const char *otherwise) { return word && *word ? word : otherwise; }

static const char *criterion_of(const epl_prune_opts *o) { return word_or(o->criterion, "magnitude"); }
static const char *distribution_of(const epl_prune_opts *o) { return word_or(o->distribution, "uniform"); }

bool epl_prune_check(epl_context *ctx, const epl_prune_opts *o)
{
    static const char *const criteria[] = { "magnitude", "random", "gradient", "taylor", "snip", "lamp" };
    static const char *const rules[] = { "uniform", "uniform+", "er", "erk", "erk+", "global" };
    if (epl_choose_word(ctx, "criterion", criterion_of(o), criteria, EPL_COUNT(criteria)) < 0 ||
        epl_choose_word(ctx, "distribution", distribution_of(o), rules, EPL_COUNT(rules)) < 0)
        return false;
    if (!(o->sparsity >= 0 && o->sparsity < 1))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "the sparsity is %g, but must be at least 0 and below 1", o->sparsity);
    if ((o->n || o->m) && (o->n < 1 || o->m < 2 || o->n > o->m))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "%d of every %d weights cannot stay", o->n, o->m);
    if (o->block_rows < 0 || o->block_columns < 0)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "blocks of %d x %d", o->block_rows, o->block_columns);
    for (int i = 0; i < o->n_layers; i++)
        if (!(o->layers[i].sparsity >= 0 && o->layers[i].sparsity < 1))
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "the sparsity of '%s' is %g, but must be at least 0 and below 1",
                            o->layers[i].pattern, o->layers[i].sparsity);
    return true;
}

/* ---- one layer ---- */

/* What is chosen among: elements, or blocks of the weight as a matrix [rows, columns] whose last ones may be smaller. */
typedef struct blocks {
    int64_t rows, columns, r, c, across, n;
} blocks;

static blocks blocks_of(const epl_layer *l, const epl_prune_opts *o)
{
    blocks b = { .columns = epl_channels(l->weight), .r = o->block_rows > 0 ? o->block_rows : 1,
                 .c = o->block_columns > 0 ? o->block_columns : 1 };
    b.rows   = l->count / b.columns;
    b.across = (b.columns + b.c - 1) / b.c;
    b.n      = (b.rows + b.r - 1) / b.r * b.across;
    return b;
}

static int64_t block_at(const blocks *b, int64_t i) { return i / b->columns / b->r * b->across + i % b->columns / b->c; }

/* Sums of the scores of each block, in place of the elements' scores. */
static bool sum_blocks(epl_context *ctx, const blocks *b, int64_t count, float *scores)
{
    double *sums = epl_alloc_array(ctx, (size_t)b->n, sizeof *sums);
    if (!sums)
        return false;
    for (int64_t i = 0; i < count; i++)
        sums[block_at(b, i)] += (double)scores[i];
    for (int64_t i = 0; i < b->n; i++)
        scores[i] = (float)sums[i];
    epl_release(ctx, sums);
    return true;
}

static void write_mask(epl_tensor *mask, const blocks *b, const unsigned char *keep)
{
    for (int64_t i = 0; i < epl_tensor_count(mask); i++)
        ((float *)mask->data)[i] = keep[block_at(b, i)];
}

/* n of every m along the axis before the last (of an embedding: along the last); a rest of r < m keeps min(n, r). */
static void choose_n_of_m(const epl_layer *l, const epl_prune_opts *o, const float *scores, float *mask)
{
    const epl_shape s = epl_shape_of(l->weight);
    const int     axis = l->kind == EPL_LAYER_EMBEDDING ? s.rank - 1 : s.rank - 2;
    const int64_t step = epl_shape_count_from(s, axis + 1, s.rank), length = s.dim[axis], lines = l->count / length;
    for (int64_t line = 0; line < lines; line++) {
        const int64_t base = line / step * step * length + line % step;
        for (int64_t first = 0; first < length; first += o->m) {
            const int64_t end = first + o->m < length ? first + o->m : length;
            for (int64_t i = first; i < end; i++) {
                int better = 0; // how many of the group are ahead of i
                const float mine = scores[base + i * step];
                for (int64_t k = first; k < end; k++)
                    better += scores[base + k * step] > mine || (scores[base + k * step] == mine && k < i);
                mask[base + i * step] = better < o->n;
            }
        }
    }
}

typedef struct choice {
    epl_model            *m;
    const epl_prune_opts *o;
    epl_layers            layers;
    double               *densities;
    float                *scores; /* of all layers behind each other */
    unsigned char        *keep;
    int64_t               total;
} choice;

static bool score_layer(choice *c, const epl_layer *l, float *scores)
{
    const epl_tensor *w = epl_weights_find(c->m->weights, l->name), *mask = epl_mask_of(c->m->weights, l->name);
    if (!w || !mask || epl_tensor_count(w) != l->count || epl_tensor_count(mask) != l->count || mask->dtype != EPL_F32)
        return epl_fail(c->m->ctx, EPL_ERR_SHAPE, "'%s' or its mask is missing or has another shape", l->name);
    const blocks b = blocks_of(l, c->o);
    return epl_scores(c->m->ctx, criterion_of(c->o), l->name, w, epl_mask_is_frozen(c->m->graph, l->name) ? mask : NULL, c->o,
                      scores) &&
           (b.n == l->count || c->o->n || sum_blocks(c->m->ctx, &b, l->count, scores));
}

static const epl_layer_sparsity *own_sparsity(const epl_prune_opts *o, const char *name)
{
    for (int i = 0; i < o->n_layers; i++)
        if (epl_glob(o->layers[i].pattern, name))
            return &o->layers[i];
    return NULL;
}

/* Each layer by itself. */
static bool choose_layer(choice *c, int i)
{
    const epl_layer *l = &c->layers.items[i];
    epl_tensor      *mask = epl_mask_of(c->m->weights, l->name);
    if (!score_layer(c, l, c->scores))
        return false;
    if (c->o->n) {
        choose_n_of_m(l, c->o, c->scores, mask->data);
        return true;
    }
    const epl_layer_sparsity *own = own_sparsity(c->o, l->name);
    const blocks  b = blocks_of(l, c->o);
    const double  sparsity = own ? own->sparsity : 1 - c->densities[i];
    const int64_t keep = epl_keep_count(b.n, sparsity);
    if (keep < 1)
        return epl_fail(c->m->ctx, EPL_ERR_ARGUMENT, "a sparsity of %g leaves none of the %lld %s of '%s'", sparsity,
                        (long long)b.n, b.n == l->count ? "weights" : "blocks", l->name);
    if (!epl_select(c->m->ctx, c->scores, b.n, keep, c->keep))
        return false;
    write_mask(mask, &b, c->keep);
    return true;
}

/* One ranking over all layers; each keeps its best one in any case. */
static bool choose_globally(choice *c, double sparsity)
{
    int64_t at = 0;
    for (int i = 0; i < c->layers.n; i++) {
        const int64_t n = blocks_of(&c->layers.items[i], c->o).n;
        if (!score_layer(c, &c->layers.items[i], c->scores + at))
            return false;
        int64_t best = at;
        for (int64_t k = at; k < at + n; k++)
            best = c->scores[k] > c->scores[best] ? k : best;
        c->scores[best] = INFINITY;
        at += n;
    }
    if (!epl_select(c->m->ctx, c->scores, at, epl_keep_count(at, sparsity), c->keep))
        return false;
    at = 0;
    for (int i = 0; i < c->layers.n; i++) {
        const blocks b = blocks_of(&c->layers.items[i], c->o);
        write_mask(epl_mask_of(c->m->weights, c->layers.items[i].name), &b, c->keep + at);
        at += b.n;
    }
    return true;
}

/* Layers with a sparsity of their own are not part of what the rule shares out, except in the global ranking. */
static bool share_out(choice *c, double sparsity)
{
    epl_layer *left = epl_alloc_array(c->m->ctx, (size_t)c->layers.n, sizeof *left);
    double    *of   = epl_alloc_array(c->m->ctx, (size_t)c->layers.n, sizeof *of);
    int n = 0;
    bool ok = left && of;
    for (int i = 0; ok && i < c->layers.n; i++)
        if (!own_sparsity(c->o, c->layers.items[i].name))
            left[n++] = c->layers.items[i];
    ok = ok && epl_densities(c->m->ctx, distribution_of(c->o), 1 - sparsity, left, n, of);
    for (int i = 0, k = 0; ok && i < c->layers.n; i++)
        c->densities[i] = own_sparsity(c->o, c->layers.items[i].name) ? 0 : of[k++];
    epl_release(c->m->ctx, left);
    epl_release(c->m->ctx, of);
    return ok;
}

static bool choose(choice *c, double sparsity)
{
    epl_context *ctx = c->m->ctx;
    const bool global = strcmp(distribution_of(c->o), "global") == 0 && !c->o->n;
    int64_t largest = 0;
    for (int i = 0; i < c->layers.n; i++) {
        c->total += c->layers.items[i].count;
        largest = c->layers.items[i].count > largest ? c->layers.items[i].count : largest;
    }
    const size_t room = (size_t)(global ? c->total : largest);
    c->scores    = epl_alloc_array(ctx, room, sizeof *c->scores);
    c->keep      = epl_alloc_array(ctx, room, sizeof *c->keep);
    c->densities = epl_alloc_array(ctx, (size_t)c->layers.n, sizeof *c->densities);
    bool ok = c->scores && c->keep && c->densities;
    if (ok && global)
        return choose_globally(c, sparsity);
    ok = ok && (c->o->n || share_out(c, sparsity));
    for (int i = 0; ok && i < c->layers.n; i++)
        ok = choose_layer(c, i);
    return ok;
}

bool epl_masks_choose(epl_model *m, const epl_prune_opts *o, double sparsity)
{
    choice c = { .m = m, .o = o };
    bool ok = epl_weight_layers_find(m->graph, &c.layers) && epl_weight_layers_choose(&c.layers, o->pattern, o->skip) && choose(&c, sparsity);
    for (int i = 0; ok && i < c.layers.n; i++)
        ok = epl_mask_apply(m, c.layers.items[i].name);
    epl_release(m->ctx, c.densities);
    epl_release(m->ctx, c.scores);
    epl_release(m->ctx, c.keep);
    epl_weight_layers_release(&c.layers);
    return ok;
}

/* A pattern that matches nothing is a mistake in writing. */
static bool check_layers(const epl_model *m, const epl_prune_opts *o)
{
    epl_layers layers = { 0 };
    bool ok = epl_weight_layers_find(m->graph, &layers);
    for (int i = 0; ok && i < o->n_layers; i++) {
        bool found = false;
        for (int k = 0; k < layers.n; k++)
            found = found || epl_glob(o->layers[i].pattern, layers.items[k].name);
        if (found)
            continue;
        epl_text names = EPL_TEXT(m->ctx);
        for (int k = 0; k < layers.n; k++)
            epl_text_addf(&names, "%s%s", k ? ", " : "", layers.items[k].name);
        ok = epl_fail(m->ctx, EPL_ERR_ARGUMENT, "no layer matches '%s'; there are %s", o->layers[i].pattern, epl_text_str(&names));
        epl_text_release(&names);
    }
    epl_weight_layers_release(&layers);
    return ok;
}

bool epl_prune_weights(epl_model *m, epl_prune_opts o)
{
    const epl_mask_opts masks = { o.pattern, o.skip, o.gradient, o.lambda };
    return epl_prune_check(m->ctx, &o) && check_layers(m, &o) && epl_masks_add(m, masks) >= 0 && epl_masks_choose(m, &o, o.sparsity);
}
