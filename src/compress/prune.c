/* prune: masks chosen by score - element by element, in blocks, n of every m, per layer or over all. */
#include "compress/compress.h"

#include <math.h>
#include <string.h>

static const char *word_or(const char *word, const char *otherwise) { return word && *word ? word : otherwise; }

static const char *criterion_of(const epl_prune_opts *o) { return word_or(o->criterion, "magnitude"); }
static bool is_obs(const epl_prune_opts *o) { return strcmp(criterion_of(o), "obs") == 0; }
static const char *distribution_of(const epl_prune_opts *o) { return word_or(o->distribution, "uniform"); }

bool epl_prune_check(epl_context *ctx, const epl_prune_opts *o)
{
    static const char *const rules[] = { "uniform", "uniform+", "er", "erk", "erk+", "global" };
    if (!epl_criterion_known(ctx, criterion_of(o)) || (o->ratios_of && !epl_criterion_known(ctx, o->ratios_of)) ||
        epl_choose_word(ctx, "distribution", distribution_of(o), rules, EPL_COUNT(rules)) < 0 || !epl_grain_check(ctx, o))
        return false;
    if (!(o->sparsity >= 0 && o->sparsity < 1))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "the sparsity is %g, but must be at least 0 and below 1", o->sparsity);
    if ((o->n || o->m) && (o->n < 1 || o->m < 2 || o->n > o->m))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "%d of every %d weights cannot stay", o->n, o->m);
    if (o->transposable && (!o->n || o->m > EPL_MAX_TRANSPOSABLE))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "masks for both ways are n of m with m up to %d, not %d of %d",
                        EPL_MAX_TRANSPOSABLE, o->n, o->m);
    if (!(o->macs >= 0 && o->macs < 1) || (o->macs > 0 && o->n))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "%g of the multiply-adds%s", o->macs, o->n ? ": n of m leaves n/m, whatever the target" :
                        " cannot be left: the part must be above 0 and below 1");
    if (is_obs(o) && (strcmp(distribution_of(o), "global") == 0 || o->unit || o->block_rows > 1 || o->block_columns > 1 || o->n))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "obs takes weights away one by one in each layer: no global ranking, blocks or units");
    for (int i = 0; i < o->n_layers; i++)
        if (!(o->layers[i].sparsity >= 0 && o->layers[i].sparsity < 1))
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "the sparsity of '%s' is %g, but must be at least 0 and below 1",
                            o->layers[i].pattern, o->layers[i].sparsity);
    return true;
}

/* ---- one layer ---- */

typedef struct choice {
    epl_model            *m;
    const epl_prune_opts *o;
    epl_layers            layers;
    double               *densities;
    float                *scores; /* of all layers behind each other */
    unsigned char        *keep;
    double                way;    /* of layers with a sparsity of their own: the part of it that is reached */
} choice;

static bool score_layer(choice *c, const epl_prune_opts *o, const epl_layer *l, float *scores)
{
    const epl_tensor *w = epl_weights_find(c->m->weights, l->name), *mask = epl_mask_of(c->m->weights, l->name);
    if (!w || !mask || epl_tensor_count(w) != l->count || epl_tensor_count(mask) != l->count || mask->dtype != EPL_F32)
        return epl_fail(c->m->ctx, EPL_ERR_SHAPE, "'%s' or its mask is missing or has another shape", l->name);
    const epl_grain b = epl_grain_of(l, o);
    return epl_scores(c->m->ctx, criterion_of(o), l->name, w, epl_mask_is_frozen(c->m->graph, l->name) ? mask : NULL, o, scores) &&
           (o->n || epl_grain_sum(c->m->ctx, &b, l->count, scores));
}

static const epl_layer_sparsity *own_sparsity(const epl_prune_opts *o, const char *name)
{
    for (int i = 0; i < o->n_layers; i++)
        if (epl_glob(o->layers[i].pattern, name))
            return &o->layers[i];
    return NULL;
}

/* Each with its own chance, so that the count is one of many: what some official codes do. */
static void toss(const epl_prune_opts *o, const char *name, int64_t n, double density, unsigned char *keep)
{
    epl_rng r = epl_rng_at(o->seed, epl_hash(name, strlen(name), 1));
    for (int64_t i = 0; i < n; i++)
        keep[i] = epl_rng_uniform_f64(&r) < density;
}

/* Each layer by itself. */
static bool choose_layer(choice *c, int i)
{
    const epl_layer *l = &c->layers.items[i];
    epl_tensor      *mask = epl_mask_of(c->m->weights, l->name);
    if (!score_layer(c, c->o, l, c->scores))
        return false;
    if (c->o->n) {
        epl_grain_n_of_m(l, c->o, c->scores, mask->data);
        return true;
    }
    const epl_layer_sparsity *own = own_sparsity(c->o, l->name);
    const epl_grain b = epl_grain_of(l, c->o);
    const double    sparsity = own ? c->way * own->sparsity : 1 - c->densities[i];
    const int64_t   keep = epl_keep_count(b.n, sparsity);
    if (keep < 1)
        return epl_fail(c->m->ctx, EPL_ERR_ARGUMENT, "a sparsity of %g leaves none of the %lld %s of '%s'", sparsity,
                        (long long)b.n, b.n == l->count ? "weights" : "units", l->name);
    if (strcmp(criterion_of(c->o), "bernoulli") == 0)
        toss(c->o, l->name, b.n, 1 - sparsity, c->keep);
    else if (is_obs(c->o) ? !epl_obs_prune(c->m->ctx, l->name, epl_weights_find(c->m->weights, l->name),
                                           c->o->gradients ? epl_weights_find(c->o->gradients, l->name) : NULL, keep, c->keep)
                          : !epl_select(c->m->ctx, c->scores, b.n, keep, c->keep))
        return false;
    epl_grain_write(&b, c->keep, mask);
    return true;
}

/* ---- all layers in one ranking ---- */

/* Scores behind each other; each layer keeps its best unit in any case. Returns how many, -1 on failure. */
static int64_t score_all(choice *c, const epl_prune_opts *o)
{
    int64_t at = 0;
    for (int i = 0; i < c->layers.n; i++) {
        const int64_t n = epl_grain_of(&c->layers.items[i], o).n;
        if (!score_layer(c, o, &c->layers.items[i], c->scores + at))
            return -1;
        int64_t best = at;
        for (int64_t k = at; k < at + n; k++)
            best = c->scores[k] > c->scores[best] ? k : best;
        c->scores[best] = INFINITY;
        at += n;
    }
    return at;
}

/* Of the n ranked: the densities of the layers when so many are gone. */
static bool rank(choice *c, const epl_prune_opts *o, int64_t n, double sparsity)
{
    if (!epl_select(c->m->ctx, c->scores, n, epl_keep_count(n, sparsity), c->keep))
        return false;
    int64_t at = 0;
    for (int i = 0; i < c->layers.n; i++) {
        const int64_t of = epl_grain_of(&c->layers.items[i], o).n;
        int64_t kept = 0;
        for (int64_t k = 0; k < of; k++)
            kept += c->keep[at++];
        c->densities[i] = (double)kept / (double)of;
    }
    return true;
}

static void write_ranked(choice *c)
{
    int64_t at = 0;
    for (int i = 0; i < c->layers.n; i++) {
        const epl_grain b = epl_grain_of(&c->layers.items[i], c->o);
        epl_grain_write(&b, c->keep + at, epl_mask_of(c->m->weights, c->layers.items[i].name));
        at += b.n;
    }
}

/* ---- how much of each layer ---- */

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
    ok = ok && epl_densities(c->m->ctx, distribution_of(c->o), 1 - sparsity, c->o->power, left, n, of);
    for (int i = 0, k = 0; ok && i < c->layers.n; i++)
        c->densities[i] = own_sparsity(c->o, c->layers.items[i].name) ? 0 : of[k++];
    epl_release(c->m->ctx, left);
    epl_release(c->m->ctx, of);
    return ok;
}

/* By ranking (of the criterion, or of the one whose ratios are asked for) or by rule. */
static bool find_densities(choice *c, const epl_prune_opts *ranking, int64_t ranked, double sparsity)
{
    return ranking ? rank(c, ranking, ranked, sparsity) : share_out(c, sparsity);
}

/* The sparsity that leaves the wanted part of the graph's multiply-adds, by halving, within a thousandth of it. */
static bool search_macs(choice *c, const epl_prune_opts *ranking, int64_t ranked, double *sparsity)
{
    const double all = epl_graph_cost(c->m->graph).macs;
    double low = 0, high = 1, left = 1;
    for (int step = 0; step < 50 && fabs(left - c->o->macs) > 5e-4 * c->o->macs; step++) {
        *sparsity = 0.5 * (low + high);
        double macs = all;
        if (!find_densities(c, ranking, ranked, *sparsity)) {
            if (epl_error_code(c->m->ctx) != EPL_ERR_ARGUMENT) // a rule that cannot make it so sparse says so
                return false;
            epl_error_clear(c->m->ctx);
            high = *sparsity;
            continue;
        }
        for (int i = 0; i < c->layers.n; i++) {
            const epl_layer_sparsity *own = own_sparsity(c->o, c->layers.items[i].name);
            macs -= c->layers.items[i].macs * (own ? c->way * own->sparsity : 1 - c->densities[i]);
        }
        left = macs / all;
        *(left > c->o->macs ? &low : &high) = *sparsity;
    }
    return fabs(left - c->o->macs) <= 1e-3 * c->o->macs
               ? true
               : epl_fail(c->m->ctx, EPL_ERR_LIMIT,
                          "the chosen weights can be pruned to %.4g of the multiply-adds, not to %g", left, c->o->macs);
}

static bool choose(choice *c, double sparsity)
{
    const bool     global = strcmp(distribution_of(c->o), "global") == 0 && !c->o->n;
    epl_prune_opts ratios = *c->o;
    ratios.criterion = c->o->ratios_of ? c->o->ratios_of : c->o->criterion;
    ratios.gradients = c->o->ratios_of ? c->o->ratio_gradients : c->o->gradients;
    const epl_prune_opts *ranking = global || c->o->ratios_of ? &ratios : NULL;
    int64_t total = 0, ranked = 0;
    for (int i = 0; i < c->layers.n; i++)
        total += c->layers.items[i].count;
    c->scores    = epl_alloc_array(c->m->ctx, (size_t)total, sizeof *c->scores);
    c->keep      = epl_alloc_array(c->m->ctx, (size_t)total, sizeof *c->keep);
    c->densities = epl_alloc_array(c->m->ctx, (size_t)c->layers.n, sizeof *c->densities);
    bool ok = c->scores && c->keep && c->densities;
    if (ok && ranking)
        ok = (ranked = score_all(c, ranking)) >= 0;
    if (ok && c->o->macs > 0)
        ok = search_macs(c, ranking, ranked, &sparsity);
    ok = ok && (c->o->n || find_densities(c, ranking, ranked, sparsity));
    if (ok && global && !c->o->ratios_of) {
        write_ranked(c);
        return true;
    }
    for (int i = 0; ok && i < c->layers.n; i++)
        ok = choose_layer(c, i);
    return ok;
}

bool epl_masks_choose(epl_model *m, const epl_prune_opts *o, double sparsity)
{
    choice c = { .m = m, .o = o, .way = o->sparsity > 0 && !(o->macs > 0) ? sparsity / o->sparsity : 1 };
    bool ok = epl_weight_layers_find(m->graph, &c.layers) && epl_weight_layers_choose(&c.layers, o->pattern, o->skip) &&
              choose(&c, sparsity);
    for (int i = 0; ok && i < c.layers.n; i++)
        ok = epl_mask_apply(m, c.layers.items[i].name);
    epl_release(m->ctx, c.densities);
    epl_release(m->ctx, c.scores);
    epl_release(m->ctx, c.keep);
    epl_weight_layers_release(&c.layers);
    return ok;
}

/* A pattern that matches nothing is a mistake in writing. */
static uint64_t hash_word(const char *word, const char *otherwise, uint64_t h)
{
    word = word && *word ? word : otherwise;
    return epl_hash(word, strlen(word) + 1, h);
}

uint64_t epl_prune_hash(const epl_prune_opts *o)
{
    const double numbers[] = { o->power > 0 ? o->power : 1, o->sparsity, o->macs, o->block_rows, o->block_columns, o->n, o->m,
                               o->transposable, (double)o->seed, o->gradient, o->lambda };
    uint64_t h = epl_hash(numbers, sizeof numbers, 0);
    h = hash_word(o->pattern, "*", hash_word(o->skip, "", h));
    h = hash_word(o->criterion, "magnitude", hash_word(o->distribution, "uniform", h));
    h = hash_word(o->ratios_of, "", hash_word(o->unit, "element", h));
    for (int i = 0; i < o->n_layers; i++)
        h = epl_hash(&o->layers[i].sparsity, sizeof o->layers[i].sparsity, hash_word(o->layers[i].pattern, "", h));
    return h;
}

bool epl_prune_check_layers(const epl_model *m, const epl_prune_opts *o)
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

/* Scores that need no data are made here where they were not given. */
static bool prune(epl_model *m, epl_prune_opts o)
{
    epl_weights *own[2] = { NULL, NULL };
    const bool   by_flow = strcmp(criterion_of(&o), "synflow") == 0 && !o.gradients;
    const bool   ratios_by_flow = o.ratios_of && strcmp(o.ratios_of, "synflow") == 0 && !o.ratio_gradients;
    bool ok = true;
    if (by_flow)
        ok = (o.gradients = own[0] = epl_synflow_scores(m, &o, NULL)) != NULL;
    if (ok && ratios_by_flow)
        ok = (o.ratio_gradients = own[1] = epl_synflow_scores(m, &o, NULL)) != NULL;
    ok = ok && epl_masks_choose(m, &o, o.sparsity);
    epl_weights_free(own[0]);
    epl_weights_free(own[1]);
    return ok;
}

bool epl_prune_weights(epl_model *m, epl_prune_opts o)
{
    const epl_mask_opts masks = { o.pattern, o.skip, o.gradient, o.lambda };
    return epl_prune_check(m->ctx, &o) && epl_prune_check_layers(m, &o) && epl_masks_add(m, masks) >= 0 && prune(m, o);
}
