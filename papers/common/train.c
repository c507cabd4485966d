/* train: the variants of an experiment, each with every seed. */
#include "papers/common/run.h"

#include <math.h>
#include <string.h>

/* ---- data ---- */

static epl_dataset *open_data(paper_run *r, const char *name, epl_data_split split, int64_t limit)
{
    if (r->o.samples > 0 && (limit == 0 || limit > r->o.samples))
        limit = r->o.samples;
    for (size_t i = 0; i < r->n_data; i++)
        if (strcmp(r->data[i].name, name) == 0 && r->data[i].split == split && r->data[i].limit == limit)
            return r->data[i].data;
    if (!paper_ok(r) || !epl_grow(r->ctx, &r->data, r->n_data, &r->data_room, sizeof *r->data))
        return NULL;
    epl_dataset *d = epl_dataset_open(r->ctx, name, (epl_dataset_opts){ .split = split, .dir = r->o.data_dir, .limit = limit });
    if (d)
        r->data[r->n_data++] = (paper_data){ epl_arena_strdup(r->arena, name), split, limit, d };
    return d;
}

static const char *data_name(const paper_recipe *recipe) { return recipe->data ? recipe->data : "fashion-mnist"; }

epl_dataset *paper_train_data(paper_run *r, const paper_recipe *recipe)
{
    return open_data(r, data_name(recipe), EPL_SPLIT_TRAIN, recipe->samples);
}

epl_dataset *paper_test_data(paper_run *r, const paper_recipe *recipe)
{
    return open_data(r, data_name(recipe), EPL_SPLIT_TEST, recipe->test);
}

/* ---- progress over all trainings, in multiply-adds of forward passes ---- */

typedef struct journey {
    paper_run  *run;
    const char *label;
    double      before, all, here; /* done by earlier trainings; of all; of this one */
    epl_parameter_group frozen; /* of the recipe */
} journey;

static bool report(void *user, const char *label, double done, double total)
{
    const journey *j = user;
    const epl_progress p = paper_progress(j->run);
    (void)label;
    return p.report(p.user, j->label, j->before + j->here * (total > 0 ? done / total : 0), j->all);
}

static int epochs_of(const paper_run *r, const paper_recipe *recipe)
{
    return paper_epochs(r, recipe->epochs > 0 ? recipe->epochs : 1);
}

static epl_graph *graph_of(paper_run *r, const paper_variant *v)
{
    return v->build ? v->build(r->ctx, v->user) : epl_zoo_build(r->ctx, v->model);
}

/* Multiply-adds of the forward passes of one training; 0 after an error. */
static double work_of(paper_run *r, const paper_variant *v, const paper_recipe *recipe)
{
    epl_dataset *d = paper_train_data(r, recipe);
    epl_graph   *g = d ? graph_of(r, v) : NULL;
    const double macs = g ? epl_graph_cost(g).macs * (double)epl_dataset_info_of(d).count * epochs_of(r, recipe) : 0;
    epl_graph_free(g);
    return macs;
}

/* ---- one training ---- */

static bool fill_options(paper_run *r, const paper_training *t, journey *j, epl_trainer_opts *o)
{
    const paper_recipe *c = &t->recipe;
    *o = (epl_trainer_opts){ .epochs = epochs_of(r, c), .batch = c->batch ? c->batch : 128, .augment = c->augment, .loss = c->loss,
                             .seed = t->seed, .val_every = epochs_of(r, c), .hooks = c->hooks, .n_hooks = c->n_hooks,
                             .progress = { .report = report, .user = j }, .stop = r->o.stop };
    if (!epl_optimizer_parse(r->ctx, c->optimizer ? c->optimizer : "adam:rate=1e-3", &o->optimizer))
        return false;
    j->frozen = (epl_parameter_group){ .pattern = c->freeze, .freeze = true };
    o->optimizer.groups   = &j->frozen;
    o->optimizer.n_groups = c->freeze ? 1 : 0;
    return epl_schedule_parse(r->ctx, c->schedule ? c->schedule : "cosine", &o->schedule);
}

static bool learn(paper_run *r, paper_training *t, journey *j)
{
    epl_trainer_opts o;
    epl_trainer *trainer = fill_options(r, t, j, &o) ? epl_trainer_new(t->model, t->train, t->test, o) : NULL;
    const bool   ok = trainer && epl_trainer_run(trainer);
    int          n = 0;
    const epl_epoch_record *e = ok ? epl_trainer_history(trainer, &n) : NULL;
    if (n) {
        t->accuracy  = 100 * e[n - 1].val_accuracy;
        t->loss      = e[n - 1].loss;
        t->test_loss = e[n - 1].val_loss;
    }
    epl_trainer_free(trainer);
    return ok;
}

static bool train_one(paper_run *r, const paper_variant *v, const paper_recipe *recipe, uint64_t seed, journey *j, paper_training *t)
{
    epl_graph *g = paper_ok(r) ? graph_of(r, v) : NULL;
    *t = (paper_training){ .variant = v,
                           .seed = seed,
                           .recipe = *recipe,
                           .accuracy = NAN,
                           .loss = NAN,
                           .test_loss = NAN,
                           .user = v->user,
                           .train = paper_train_data(r, recipe),
                           .test = paper_test_data(r, recipe),
                           .model = g ? epl_model_new_take(g) : NULL };
    bool ok = t->model && t->train && t->test && epl_model_init(t->model, seed);
    if (ok) {
        ok = (!v->begin || v->begin(r, t)) && learn(r, t, j);
        ok = (!v->end || v->end(r, t)) && ok;
    }
    epl_model_free(t->model);
    t->model = NULL;
    return ok && paper_ok(r);
}

/* ---- all of them ---- */

static void say_series(paper_run *r, const paper_series *s, double seconds)
{
    char time[32];
    epl_format_seconds(time, seconds);
    if (s && r->o.say)
        r->o.say(r->o.say_user, paper_textf(r, "%s: %s %.2f +- %.2f %s (%d seeds, %s)", s->name, s->what, paper_mean(s), paper_std(s),
                                            s->unit, s->n, time));
}

static void measure(paper_run *r, const paper_training *t, const paper_series **out)
{
    const bool classes = isfinite(t->accuracy);
    const char   *what = t->variant->what ? t->variant->what : classes ? "test accuracy" : "test loss";
    paper_series *s = paper_series_named(r, what, t->variant->name, classes ? "%" : "");
    paper_add(s, classes ? t->accuracy : t->test_loss);
    *out = s;
}

static const paper_recipe *recipe_of(const paper_variant *v, const paper_recipe *common) { return v->recipe ? v->recipe : common; }

bool paper_train(paper_run *r, const paper_variant *variants, int n, paper_recipe recipe, const paper_series **accuracy)
{
    journey j = { .run = r };
    for (int i = 0; i < n; i++) {
        j.all += work_of(r, &variants[i], recipe_of(&variants[i], &recipe)) * paper_n_seeds(r);
        if (accuracy)
            accuracy[i] = NULL;
    }
    for (int i = 0; i < n && paper_ok(r); i++) {
        const paper_recipe *mine = recipe_of(&variants[i], &recipe);
        const double        start_s = epl_now_s();
        const paper_series *s = NULL;
        j.here = work_of(r, &variants[i], mine);
        for (int seed = 0; seed < paper_n_seeds(r) && paper_ok(r); seed++, j.before += j.here) {
            paper_training t;
            j.label = paper_textf(r, "%s, seed %d", variants[i].name, seed);
            if (train_one(r, &variants[i], mine, (uint64_t)seed, &j, &t))
                measure(r, &t, &s);
        }
        if (paper_ok(r)) {
            say_series(r, s, epl_now_s() - start_s);
            if (accuracy)
                accuracy[i] = s;
        }
    }
    return paper_ok(r);
}
