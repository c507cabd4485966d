/* regrow: dynamic sparse training - every so many updates the smallest weights of each layer go, and as many come back where
 * chance, the gradient or its average says. SET, RigL and SNFS. The density of a layer never changes; what comes back begins at 0
 * with slots of 0. Which update does what depends on its number, on the gradient and on what the weights hold ("regrow.<weight>":
 * bit 0, part of the first mask; bit 1, of any mask so far), so a run that was cut off goes on with the same bits. */
#include "compress/compress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SET, RIGL, SNFS };
static const char *const methods[]   = { "set", "rigl", "snfs" };
static const char *const schedules[] = { "cosine", "constant", "exp" };

enum { FIRST = 1, EVER = 2 };

typedef struct regrower {
    epl_regrow_opts   o;
    int               method, n;
    epl_regrow_result result;
    epl_layer         layers[]; /* of the model */
} regrower;

/* ---- when, and how many ---- */

static int64_t end_of(const epl_regrow_opts *o, int64_t total)
{
    return o->end_step ? o->end_step : (int64_t)llround((o->end > 0 ? o->end : 0.75) * (double)total);
}

double epl_regrow_fraction(const epl_regrow_opts *o, int64_t step, int64_t total)
{
    const int64_t end = end_of(o, total), every = o->every > 0 ? o->every : 100;
    const double  fraction = o->fraction > 0 ? o->fraction : 0.3, x = end > 0 ? (double)step / (double)end : 1;
    if (step <= 0 || step >= end || step % every != 0)
        return 0;
    if (o->schedule && strcmp(o->schedule, "constant") == 0)
        return fraction;
    return fraction * (o->schedule && strcmp(o->schedule, "exp") == 0 ? pow(0.01, x) : 0.5 * (1 + cos(3.14159265358979323846 * x)));
}

/* ---- one layer ---- */

/* Room for a layer's choice. */
typedef struct room {
    float         *scores;
    unsigned char *keep;
} room;

static epl_tensor *tensor_of(const epl_model *m, const char *prefix, const char *weight)
{
    char name[1024];
    snprintf(name, sizeof name, "%s%s", prefix, weight);
    return epl_weights_find(m->weights, name);
}

/* The k smallest of the active weights go: of equal ones the last. */
static bool drop(epl_context *ctx, const epl_tensor *w, epl_tensor *mask, int64_t stay, room *r)
{
    const int64_t n = epl_tensor_count(mask);
    float *m = mask->data;
    for (int64_t i = 0; i < n; i++)
        r->scores[i] = m[i] != 0 ? (float)fabs(epl_tensor_get(w, i)) : -INFINITY;
    if (!epl_select(ctx, r->scores, n, stay, r->keep))
        return false;
    for (int64_t i = 0; i < n; i++)
        m[i] = r->keep[i];
    return true;
}

/* k of the places that are not active now come back: of equal ones the first. Those just dropped are among them. */
static bool grow(const regrower *g, epl_trainer *t, int64_t step, const char *name, epl_tensor *mask, int64_t k, room *r)
{
    epl_model    *m = epl_trainer_model(t);
    const int64_t n = epl_tensor_count(mask);
    char          output[1024];
    snprintf(output, sizeof output, "gradient.%s", name);
    const epl_tensor *by = g->method == SNFS ? tensor_of(m, "regrow.momentum.", name)
                         : g->method == RIGL ? epl_program_output_named(epl_trainer_program(t), output) : NULL;
    epl_rng rng = epl_rng_at(g->o.prune.seed, epl_hash(name, strlen(name), (uint64_t)step));
    float  *active = mask->data;
    for (int64_t i = 0; i < n; i++) {
        const float score = by ? (float)fabs(epl_tensor_get(by, i)) : epl_rng_uniform(&rng);
        r->scores[i] = active[i] != 0 ? -INFINITY : score;
    }
    if (!epl_select(m->ctx, r->scores, n, k, r->keep))
        return false;
    epl_tensor *w = epl_weights_find(m->weights, name);
    for (int64_t i = 0; i < n; i++)
        if (r->keep[i]) {
            active[i] = 1;
            if (g->o.grow_std > 0)
                epl_tensor_set(w, i, g->o.grow_std * (double)epl_rng_normal(&rng));
        }
    return true;
}

/* Between the two the dropped weights and their slots become 0: what is back in the same update begins anew. */
static bool move_layer(const regrower *g, epl_trainer *t, int64_t step, const char *name, double fraction, room *r, int64_t *moved)
{
    epl_model    *m = epl_trainer_model(t);
    epl_tensor   *mask = epl_mask_of(m->weights, name), *history = tensor_of(m, "regrow.", name);
    const int64_t n = epl_tensor_count(mask);
    int64_t active = 0;
    for (int64_t i = 0; i < n; i++)
        active += ((float *)mask->data)[i] != 0;
    const int64_t k = (int64_t)floor(fraction * (double)active);
    if (k == 0 || active == n) // nowhere to go
        return true;
    *moved += k;
    if (!drop(m->ctx, epl_weights_find(m->weights, name), mask, active - k, r) || !epl_mask_apply(m, name) ||
        !grow(g, t, step, name, mask, k, r) || !epl_mask_apply(m, name))
        return false;
    for (int64_t i = 0; i < n; i++)
        ((unsigned char *)history->data)[i] |= ((float *)mask->data)[i] != 0 ? EVER : 0;
    return true;
}

/* ---- what is reported ---- */

static void measure(regrower *g, epl_model *m)
{
    int64_t all = 0, ever = 0, active = 0, kept = 0;
    for (int i = 0; i < g->n; i++) {
        const epl_tensor *mask = epl_mask_of(m->weights, g->layers[i].name);
        const epl_tensor *history = tensor_of(m, "regrow.", g->layers[i].name);
        const unsigned char *h = history ? history->data : NULL;
        for (int64_t k = 0; h && mask && k < epl_tensor_count(mask); k++) {
            const bool on = ((float *)mask->data)[k] != 0;
            all++;
            ever += (h[k] & EVER) != 0;
            active += on;
            kept += on && (h[k] & FIRST);
        }
    }
    epl_tensor *itop = epl_weights_find(m->weights, "regrow.itop"), *overlap = epl_weights_find(m->weights, "regrow.overlap");
    g->result.itop    = all ? (double)ever / (double)all : 0;
    g->result.overlap = active ? (double)kept / (double)active : 0;
    g->result.density = all ? (double)active / (double)all : 0;
    if (itop && overlap) {
        epl_tensor_set(itop, 0, g->result.itop);
        epl_tensor_set(overlap, 0, g->result.overlap);
    }
}

epl_regrow_result epl_regrow_result_of(const epl_train_hook *h) { return ((const regrower *)h->user)->result; }

/* ---- the hook ---- */

/* A tensor of the weights that is not part of the graph, carried from update to update. */
static epl_tensor *carried(epl_train_step *s, const char *prefix, const epl_layer *l, epl_dtype dtype)
{
    char name[1024];
    snprintf(name, sizeof name, "%s%s", prefix, l->name);
    epl_tensor *t = epl_weights_find(s->weights, name);
    if (t)
        return t;
    t = epl_tensor_new(s->graph->ctx, dtype, epl_shape_of(l->weight));
    return t && epl_weights_put_take(s->weights, name, t) ? t : NULL;
}

static bool begin_layer(regrower *g, epl_train_step *s, const epl_layer *l)
{
    const epl_tensor *mask = epl_mask_of(s->weights, l->name);
    epl_value        *read = epl_masked_value(s->graph, l->name);
    epl_tensor       *history = carried(s, "regrow.", l, EPL_U8);
    if (!mask || !read || !history)
        return mask && read ? false : epl_fail(s->graph->ctx, EPL_ERR_ARGUMENT, "'%s' has no mask in the training step", l->name);
    for (int64_t i = 0; i < l->count; i++)
        ((unsigned char *)history->data)[i] = ((const float *)mask->data)[i] != 0 ? FIRST | EVER : 0;
    return g->method == SET || (epl_train_step_gradient(s, l->name, read) &&
                                (g->method == RIGL || carried(s, "regrow.momentum.", l, EPL_F32)));
}

static bool build(void *user, epl_train_step *s)
{
    regrower *g = user;
    bool ok = true;
    for (int i = 0; ok && i < g->n; i++)
        ok = begin_layer(g, s, &g->layers[i]);
    return ok && epl_train_step_log(s, "itop", epl_state(s->graph, "/regrow.itop", EPL_F32, EPL_SCALAR, EPL_INIT_ZEROS, 0)) &&
           epl_train_step_log(s, "overlap", epl_state(s->graph, "/regrow.overlap", EPL_F32, EPL_SCALAR, EPL_INIT_ZEROS, 0));
}

/* SNFS: an average of the dense gradient, in every update. */
static void follow_gradients(const regrower *g, epl_trainer *t)
{
    const float beta = (float)(g->o.momentum > 0 ? g->o.momentum : 0.9);
    char output[1024];
    for (int i = 0; i < g->n; i++) {
        snprintf(output, sizeof output, "gradient.%s", g->layers[i].name);
        const epl_tensor *now = epl_program_output_named(epl_trainer_program(t), output);
        float            *mean = tensor_of(epl_trainer_model(t), "regrow.momentum.", g->layers[i].name)->data;
        for (int64_t k = 0; k < epl_tensor_count(now); k++)
            mean[k] = beta * mean[k] + (1 - beta) * (float)epl_tensor_get(now, k);
    }
}

static bool after_step(void *user, epl_trainer *t, int64_t step)
{
    regrower    *g = user;
    const double fraction = epl_regrow_fraction(&g->o, step, epl_trainer_total_updates(t));
    epl_context *ctx = epl_trainer_model(t)->ctx;
    if (g->method == SNFS)
        follow_gradients(g, t);
    if (fraction <= 0)
        return true;
    int64_t largest = 1;
    for (int i = 0; i < g->n; i++)
        largest = g->layers[i].count > largest ? g->layers[i].count : largest;
    room r = { epl_alloc_array(ctx, (size_t)largest, sizeof *r.scores), epl_alloc_array(ctx, (size_t)largest, sizeof *r.keep) };
    bool ok = r.scores && r.keep;
    for (int i = 0; ok && i < g->n; i++)
        ok = move_layer(g, t, step, g->layers[i].name, fraction, &r, &g->result.moved);
    epl_release(ctx, r.scores);
    epl_release(ctx, r.keep);
    if (ok)
        measure(g, epl_trainer_model(t));
    g->result.updates++;
    return ok;
}

/* A run that goes on behind its last change has something to tell, too. */
static bool after_epoch(void *user, epl_trainer *t, int64_t epoch)
{
    (void)epoch;
    measure(user, epl_trainer_model(t));
    return true;
}

static bool check(epl_context *ctx, const epl_regrow_opts *o)
{
    if (!epl_prune_check(ctx, &o->prune) ||
        (o->schedule && epl_choose_word(ctx, "schedule of what is dropped", o->schedule, schedules, EPL_COUNT(schedules)) < 0))
        return false;
    if (o->prune.gradient != EPL_MASK_FROZEN || o->prune.n || o->prune.block_rows > 1 || o->prune.block_columns > 1)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "weights come back one by one, under frozen masks: no n of m, no blocks, no other gradient");
    return (o->fraction >= 0 && o->fraction < 1 && o->end >= 0 && o->end <= 1 && o->every >= 0 && o->end_step >= 0)
               ? true
               : epl_fail(ctx, EPL_ERR_ARGUMENT,
                          "dropping %g every %lld updates until %g: parts must be at least 0, what is dropped below 1",
                          o->fraction, (long long)o->every, o->end_step ? (double)o->end_step : o->end);
}

/* A network without a zero has nowhere to grow. */
static bool some_masked(epl_model *m, const epl_layers *layers)
{
    for (int i = 0; i < layers->n; i++) {
        const epl_tensor *mask = epl_mask_of(m->weights, layers->items[i].name);
        for (int64_t k = 0; k < epl_tensor_count(mask); k++)
            if (((const float *)mask->data)[k] == 0)
                return true;
    }
    return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "no weight of %d layers is masked: nothing can come back", layers->n);
}

/* The masks, and which layers they are on. Release *layers in any case. */
static bool begin(epl_model *m, const epl_regrow_opts *o, epl_layers *layers)
{
    const epl_mask_opts masks = { .pattern = o->prune.pattern, .skip = o->prune.skip };
    return check(m->ctx, o) && (o->prune.sparsity > 0 ? epl_prune_weights(m, o->prune) : epl_masks_add(m, masks) > 0) &&
           epl_weight_layers_find(m->graph, layers) && epl_weight_layers_choose(layers, o->prune.pattern, o->prune.skip) &&
           some_masked(m, layers);
}

static uint64_t hash_of(const epl_regrow_opts *o, int method)
{
    const char  *schedule = o->schedule ? o->schedule : "cosine";
    const double numbers[] = { method,
                               o->fraction > 0 ? o->fraction : 0.3,
                               o->every > 0 ? (double)o->every : 100,
                               o->end > 0 ? o->end : 0.75,
                               (double)o->end_step,
                               o->momentum > 0 ? o->momentum : 0.9,
                               o->grow_std };
    return epl_hash(numbers, sizeof numbers, epl_hash(schedule, strlen(schedule), epl_prune_hash(&o->prune)));
}

epl_train_hook epl_regrow_hook(epl_model *m, epl_regrow_opts o)
{
    epl_layers layers = { .ctx = m->ctx };
    const int  method = epl_choose_word(m->ctx, "way to regrow", o.method ? o.method : "rigl", methods, EPL_COUNT(methods));
    const bool ok = method >= 0 && begin(m, &o, &layers);
    const size_t bytes = (size_t)layers.n * sizeof *layers.items;
    regrower  *g = ok ? epl_alloc(m->ctx, sizeof *g + bytes) : NULL;
    if (g) {
        *g = (regrower){ .o = o, .method = method, .n = layers.n };
        memcpy(g->layers, layers.items, bytes);
    }
    epl_weight_layers_release(&layers);
    if (!g)
        return (epl_train_hook){ 0 };
    return (epl_train_hook){
        .build = build, .after_step = after_step, .after_epoch = after_epoch, .user = g, .options = hash_of(&o, method)
    };
}
