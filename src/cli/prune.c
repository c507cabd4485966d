/* prune: weights set to zero under masks, at once or little by little while training; or whole channels removed. */
#include <stdlib.h>
#include <string.h>

#include "training.h"

typedef struct pruning {
    epl_pruner_opts o;
    epl_channel_opts channels;
    bool            by_channels; /* whole channels, or blocks, not weights */
    const char     *blocks;      /* by this criterion */
    const char     *preset;      /* a published sparse network: what goes, and how much */
    const char     *teacher, *pruning, *gradient, *n_of_m, *block;
    bool            bake, report, compact, pack;
    int64_t         recalibrate; /* batches; instead of training */
    int64_t         rounds, rewind_to;
    int64_t         every, gradient_samples, round_to;
    epl_distill_opts distill;
    const char     *regrow, *drop_schedule; /* weights go and come back while training */
    double          drop_fraction;
    epl_regrow_result regrown;
    cli_words       layers; /* "NAMES=S" */
} pruning;

/* "2:4" or "1x16" into two numbers. */
static bool read_pair(cli *c, const char *option, const char *text, char between, int *a, int *b)
{
    char rest, middle;
    if (!text || (sscanf(text, "%d%c%d%c", a, &middle, b, &rest) == 3 && middle == between && *a > 0 && *b > 0))
        return true;
    return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--%s is '%s', but must be two numbers as in %s", option, text,
                    between == ':' ? "2:4" : "1x16");
}

/* --layer: names, the last '=', a number. */
static bool read_layers(cli *c, const cli_words *words, epl_prune_opts *o)
{
    epl_layer_sparsity *list = epl_arena_alloc(c->arena, (size_t)(words->n + 1) * sizeof *list);
    for (int i = 0; list && i < words->n; i++) {
        char  *names = epl_arena_strdup(c->arena, words->at[i]), *equals = names ? strrchr(names, '=') : NULL, *end = NULL;
        const double x = equals ? strtod(equals + 1, &end) : -1;
        if (!equals || end == equals + 1 || *end || !(x >= 0 && x < 1))
            return epl_fail(
                c->ctx, EPL_ERR_ARGUMENT,
                "--layer is '%s', but must be names and a sparsity of at least 0 and below 1, as in head.weight=0.5",
                words->at[i]);
        *equals = 0;
        list[i] = (epl_layer_sparsity){ names, x };
    }
    o->layers   = list;
    o->n_layers = words->n;
    return list != NULL;
}

static epl_mask_gradient gradient_of(const char *name)
{
    return strcmp(name, "ste") == 0 ? EPL_MASK_STE : strcmp(name, "srste") == 0 ? EPL_MASK_SRSTE : EPL_MASK_FROZEN;
}

/* ---- criteria that look at gradients ---- */

/* What is scored once, as the network comes, and not again while it trains. */
static bool is_once(const char *criterion)
{
    return criterion && (epl_criterion_needs_data(criterion) || strcmp(criterion, "synflow") == 0);
}

static bool at_once(const epl_prune_opts *o) { return is_once(o->criterion) || is_once(o->ratios_of) || o->macs > 0; }

typedef struct one_batch {
    epl_dataset *d;
    char        *words;
    epl_loader  *l;
    epl_batch    b;
} one_batch;

static bool batch_open(cli *c, const cli_training *t, int64_t samples, one_batch *o)
{
    *o = (one_batch){ .d = cli_data_open(c, &t->data, EPL_SPLIT_TRAIN, t->val_fraction) };
    const int64_t count = o->d ? epl_dataset_info_of(o->d).count : 0;
    o->words = o->d ? epl_augment_fixed_words(c->ctx, t->augment ? t->augment : "") : NULL;
    const epl_loader_opts lo = { .batch = samples < count ? samples : count,
                                 .shuffle = true,
                                 .seed = (uint64_t)c->seed,
                                 .augment = o->words,
                                 .no_prefetch = true };
    o->l = o->words ? epl_loader_new(c->ctx, o->d, lo) : NULL;
    return o->l && epl_loader_next(o->l, &o->b);
}

static void batch_close(cli *c, one_batch *o)
{
    epl_loader_free(o->l);
    epl_release(c->ctx, o->words);
    epl_dataset_free(o->d);
}

static epl_weights *evidence(cli *c, const epl_model *m, const char *criterion, const cli_training *t, int64_t samples)
{
    one_batch o;
    const epl_loss_opts loss = { .name = t->loss, .smoothing = t->smoothing };
    epl_weights *g = batch_open(c, t, samples, &o) ? epl_prune_evidence(m, criterion, o.b.x, o.b.labels, loss) : NULL;
    batch_close(c, &o);
    return g;
}

/* ---- the ways of pruning ---- */

/* What the criterion looks at; *out is NULL where it needs nothing. The caller owns it. */
static bool evidence_for(cli *c, const char *criterion, const epl_model *m, const pruning *p, const cli_training *t, epl_weights **out)
{
    double degree;
    *out = NULL;
    if (criterion && strcmp(criterion, "synflow") == 0) {
        *out = epl_synflow_scores(m, &p->o.prune, &degree);
        if (*out && (degree < 0.999 || degree > 1.001))
            cli_remark(c, "synflow is made for networks whose output doubles with their input; this one's grows %.3g-fold", 2 * degree);
        return *out != NULL;
    }
    if (!criterion || !epl_criterion_needs_data(criterion))
        return true;
    if (!t->data.name)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "the criterion '%s' looks at gradients: say --data", criterion);
    *out = evidence(c, m, criterion, t, p->gradient_samples);
    return *out != NULL;
}

/* Into the options; the caller frees both. */
static bool all_evidence(cli *c, const epl_model *m, const pruning *p, const cli_training *t, epl_prune_opts *o, epl_weights *g[2])
{
    g[0] = g[1] = NULL;
    const bool ok = evidence_for(c, o->criterion, m, p, t, &g[0]) && evidence_for(c, o->ratios_of, m, p, t, &g[1]);
    o->gradients       = g[0];
    o->ratio_gradients = g[1];
    return ok;
}

static bool prune_at_once(cli *c, epl_model *m, const pruning *p, const cli_training *t)
{
    epl_prune_opts o = p->o.prune;
    epl_weights   *g[2];
    if (p->preset)
        return epl_sparse_preset_prune(m, epl_sparse_preset_find(p->preset));
    const bool     ok = all_evidence(c, m, p, t, &o, g) && epl_prune_weights(m, o);
    epl_weights_free(g[0]);
    epl_weights_free(g[1]);
    return ok;
}

static bool remove_blocks(cli *c, epl_model *m, const pruning *p)
{
    epl_channel_result r = { 0 };
    if (!epl_prune_blocks(m, (epl_block_opts){ p->blocks, p->channels.ratio, p->channels.macs, (uint64_t)c->seed }, &r))
        return false;
    cli_remark(c,
               "removed %lld of %lld residual blocks: %.1f %% of the multiply-adds and %.1f %% of the parameters left",
               (long long)r.removed, (long long)r.units, 100 * r.macs_after / r.macs_before,
               100 * (double)r.params_after / (double)r.params_before);
    return true;
}

static bool remove_channels(cli *c, epl_model *m, const pruning *p, const cli_training *t)
{
    if (p->blocks)
        return remove_blocks(c, m, p);
    epl_channel_opts   o = p->channels;
    epl_channel_result r = { 0 };
    epl_weights       *g = NULL;
    one_batch          batch = { 0 };
    const bool         listens = strcmp(o.criterion, "act-mean") == 0 || strcmp(o.criterion, "apoz") == 0;
    bool               ok = listens && !t->data.name ? epl_fail(c->ctx, EPL_ERR_ARGUMENT,
                                                                "the criterion '%s' looks at activations: say --data", o.criterion)
                            : listens                ? batch_open(c, t, p->gradient_samples, &batch)
                                                     : evidence_for(c, o.criterion, m, p, t, &g);
    o.gradients = g;
    o.samples   = batch.b.x;
    ok = ok && epl_prune_channels(m, o, &r);
    epl_weights_free(g);
    batch_close(c, &batch);
    if (ok)
        cli_remark(c, "removed %lld of %lld channels in %d groups: %.1f %% of the multiply-adds and %.1f %% of the parameters left",
                   (long long)r.removed, (long long)r.units, r.groups, 100 * r.macs_after / r.macs_before,
                   100 * (double)r.params_after / (double)r.params_before);
    return ok;
}

static bool is_masked(const epl_model *m)
{
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        if (epl_glob("*.mask", epl_weights_name(m->weights, i)))
            return true;
    return false;
}

/* The first masks: the network's own if it has any, else chosen, which may need gradients. */
static bool begin_regrowth(cli *c, epl_model *m, const pruning *p, const cli_training *t, epl_train_hook *hook)
{
    epl_regrow_opts o = { .prune = p->o.prune, .method = p->regrow, .schedule = p->drop_schedule, .fraction = p->drop_fraction,
                          .every = p->every, .end = p->o.end };
    epl_weights *g[2] = { NULL, NULL };
    const bool   masked = is_masked(m), ok = masked || all_evidence(c, m, p, t, &o.prune, g);
    o.prune.sparsity = masked ? 0 : o.prune.sparsity;
    if (ok)
        *hook = epl_regrow_hook(m, o);
    epl_weights_free(g[0]);
    epl_weights_free(g[1]);
    return ok && hook->user != NULL;
}

/* A pruner; of a preset one or two, whose names are the caller's. Returns how many; 0 on failure. */
static int make_pruners(epl_model *m, const pruning *p, epl_train_hook hooks[2], char **names)
{
    epl_prune_opts parts[2] = { p->o.prune };
    const int n = p->preset ? epl_sparse_preset_opts(m, epl_sparse_preset_find(p->preset), parts, names) : 1;
    bool ok = n > 0;
    for (int i = 0; ok && i < n; i++) {
        epl_pruner_opts o = p->o;
        o.prune          = parts[i];
        o.prune.gradient = p->o.prune.gradient;
        hooks[i] = epl_pruner_hook(m, o);
        ok = hooks[i].user != NULL;
    }
    return ok ? n : 0;
}

/* Training with the pruner or with regrowth, and the teacher if there is one, as hooks. Channels, and what is scored once, come
 * before it. */
static bool prune_while_training(cli *c, epl_model *m, pruning *p, const cli_training *t, const char *out)
{
    epl_train_hook hooks[3] = { 0 };
    int            n = 0;
    char          *names = NULL;
    epl_model     *teacher = p->teacher ? cli_model_load(c, p->teacher, NULL) : NULL;
    bool ok = teacher || !p->teacher;
    if (ok && p->by_channels) {
        ok = remove_channels(c, m, p, t);
    } else if (ok && p->regrow) {
        ok = begin_regrowth(c, m, p, t, &hooks[n++]);
    } else if (ok && at_once(&p->o.prune)) {
        ok = prune_at_once(c, m, p, t);
    } else if (ok) {
        n  = make_pruners(m, p, hooks, &names);
        ok = n > 0;
    }
    if (ok && teacher) {
        hooks[n] = epl_distill_hook(teacher, p->distill);
        ok = hooks[n++].user != NULL;
    }
    ok = ok && cli_train(c, m, t, out, hooks, n);
    if (ok && p->regrow)
        p->regrown = epl_regrow_result_of(&hooks[0]);
    for (int i = 0; i < (int)(sizeof hooks / sizeof *hooks); i++)
        epl_release(c->ctx, hooks[i].user);
    epl_release(c->ctx, names);
    epl_model_free(teacher);
    return ok;
}

/* Lottery tickets: train, prune, back to the weights of an early update, train again; the last time without pruning after it. */
static bool prune_in_rounds(cli *c, epl_model *m, const pruning *p, const cli_training *t, const char *out)
{
    epl_rewinder  *r = epl_model_init(m, (uint64_t)c->seed) ? epl_rewinder_new(m, p->rewind_to) : NULL;
    epl_train_hook hook = r ? epl_rewinder_hook(r) : (epl_train_hook){ 0 };
    bool ok = r != NULL;
    for (int round = 1; ok && round <= p->rounds; round++) {
        pruning of_round = *p;
        of_round.o.prune.sparsity = epl_round_sparsity(p->o.prune.sparsity, round, (int)p->rounds);
        cli_remark(c, "round %d of %lld: training, then pruning to a sparsity of %.4g", round, (long long)p->rounds,
                   of_round.o.prune.sparsity);
        ok = cli_train(c, m, t, out, &hook, 1) && prune_at_once(c, m, &of_round, t) && epl_rewind(m, r);
    }
    ok = ok && cli_train(c, m, t, out, NULL, 0);
    epl_rewinder_free(r);
    return ok;
}

/* ---- what came of it ---- */

static char *as_json(cli *c, const epl_sparsity *s, const pruning *p, const char *out)
{
    epl_text        text = EPL_TEXT(c->ctx);
    epl_json_writer w    = epl_json_writer_at(&text, 2);
    epl_json_open_object(&w, NULL);
    epl_json_put_string(&w, "output", out);
    epl_json_put_i64(&w, "weights", s->weights);
    epl_json_put_i64(&w, "nonzero", s->nonzero);
    epl_json_put_i64(&w, "parameters", s->parameters);
    epl_json_put_i64(&w, "parameters_nonzero", s->parameters_nonzero);
    epl_json_put_f64(&w, "macs", s->macs);
    epl_json_put_f64(&w, "macs_nonzero", s->macs_nonzero);
    if (p->regrow) {
        epl_json_put_f64(&w, "itop", p->regrown.itop);
        epl_json_put_f64(&w, "overlap", p->regrown.overlap);
    }
    epl_json_close(&w);
    return epl_text_detach(&text);
}

static bool print_sparsity(cli *c, const epl_model *m, const pruning *p, const char *out)
{
    epl_sparsity s;
    if (!epl_sparsity_of(m, &s))
        return false;
    if (s.empty_rows + s.empty_columns > 0)
        cli_remark(c, "%lld outputs and %lld inputs of weights have nothing but zeros (--compact removes what makes no difference)",
                   (long long)s.empty_rows, (long long)s.empty_columns);
    if (p->report) {
        epl_table *t = epl_sparsity_report(m);
        const bool ok = t && cli_print_table(c, t);
        epl_table_free(t);
        return ok;
    }
    if (c->json)
        return cli_print_take(c, as_json(c, &s, p, out));
    epl_text text = EPL_TEXT(c->ctx);
    char     macs[32], left[32];
    epl_format_count(macs, s.macs);
    epl_format_count(left, s.macs_nonzero);
    epl_text_addf(&text, "%s: %lld of %lld weights left (%.2f %% zero), %s of %s multiply-adds\n", out, (long long)s.nonzero,
                  (long long)s.weights, s.weights ? 100.0 * (double)(s.weights - s.nonzero) / (double)s.weights : 0, left, macs);
    if (p->regrow)
        epl_text_addf(&text, "%.1f %% of the masked weights were active at some time, %.1f %% of those of now from the beginning\n",
                      100 * p->regrown.itop, 100 * p->regrown.overlap);
    return cli_print_take(c, epl_text_detach(&text));
}

static bool recalibrate(cli *c, epl_model *m, const pruning *p, const cli_training *t)
{
    epl_dataset *d = cli_data_open(c, &t->data, EPL_SPLIT_TRAIN, t->val_fraction);
    const bool   ok = d && epl_recalibrate_norms(m, d, (epl_recalibrate_opts){ .batches = (int)p->recalibrate, .batch = t->batch,
                                                                              .augment = t->augment, .seed = (uint64_t)c->seed });
    epl_dataset_free(d);
    return ok;
}

static bool compact(cli *c, epl_model *m)
{
    epl_channel_result r;
    if (!epl_compact(m, &r))
        return false;
    cli_remark(c, "%lld of %lld units made no difference and are gone: %.1f %% of the parameters left",
               (long long)r.removed, (long long)r.units, 100 * (double)r.params_after / (double)r.params_before);
    return true;
}

/* The options against each other. */
static bool agree(cli *c, const pruning *p, const cli_training *t)
{
    const char *needs = p->teacher ? "--teacher teaches" : p->regrow ? "--regrow works" : p->rounds ? "--rounds prunes" : NULL;
    if (p->rounds && (p->teacher || p->regrow || p->by_channels || t->resume))
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--rounds prunes weights between runs: no --teacher, --regrow, --channels or --resume");
    if (needs && !t->data.name)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "%s while training: say --data", needs);
    if (p->recalibrate && (needs || !t->data.name))
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--recalibrate-bn takes --data and does not train: %s",
                        needs ? needs : "there is no data");
    if (p->pack && !p->n_of_m)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--pack stores weights that are N of M: say --n-of-m");
    return !p->regrow || !p->by_channels ||
           epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--regrow brings back weights, not channels: --channels does not go with it");
}

static bool prune(cli *c, const char *in, const char *out, pruning *p, const cli_training *t)
{
    const bool train = t->data.name && !p->recalibrate;
    epl_model *m = agree(c, p, t) ? cli_model_load(c, in, NULL) : NULL;
    bool ok = m != NULL;
    if (ok)
        ok = p->rounds        ? prune_in_rounds(c, m, p, t, out)
             : train          ? prune_while_training(c, m, p, t, out)
             : p->by_channels ? remove_channels(c, m, p, t)
                              : prune_at_once(c, m, p, t);
    if (ok && p->recalibrate)
        ok = recalibrate(c, m, p, t);
    if (ok && p->compact)
        ok = compact(c, m);
    else if (ok && p->bake)
        ok = epl_bake(m);
    if (ok && p->pack)
        ok = epl_nm_pack(m, (epl_nm_opts){ .n = p->o.prune.n, .m = p->o.prune.m }) >= 0;
    if (ok && (p->compact || p->bake || p->pack || !train))
        ok = epl_model_save(m, out);
    ok = ok && (!p->pack || epl_nm_unpack(m) >= 0) && print_sparsity(c, m, p, out);
    epl_model_free(m);
    return ok;
}

/* Which weights and how many is the preset's. */
static bool check_preset(cli *c, const pruning *p)
{
    const epl_prune_opts *o = &p->o.prune;
    epl_text list = EPL_TEXT(c->ctx);
    if (!p->preset)
        return true;
    if (p->by_channels || p->regrow || p->rounds || p->n_of_m || p->block || p->layers.n || o->skip || o->ratios_of || o->macs > 0 ||
        strcmp(o->pattern, "*") != 0 || strcmp(o->unit, "element") != 0)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT,
                        "--preset says which weights go, and how many: no --channels, --blocks, --regrow, --rounds, "
                        "--n-of-m, --block, --unit, --layer, --pattern, --skip, --ratios-of or --macs");
    if (epl_sparse_preset_find(p->preset))
        return true;
    for (int i = 0; i < epl_sparse_n_presets(); i++)
        epl_text_addf(&list, "%s%s", i ? ", " : "", epl_sparse_preset_at(i)->name);
    epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--preset is '%s', but must be one of %s", p->preset, epl_text_str(&list));
    epl_text_release(&list);
    return false;
}

static bool settle(cli *c, pruning *p)
{
    epl_prune_opts *o = &p->o.prune;
    o->seed      = (uint64_t)c->seed;
    o->gradient  = gradient_of(p->gradient);
    p->o.schedule = p->pruning;
    p->o.every    = p->every;
    p->by_channels       = p->channels.criterion || p->blocks;
    p->channels.pattern  = o->pattern;
    p->channels.skip     = o->skip;
    p->channels.seed     = o->seed;
    p->channels.round_to = (int)p->round_to;
    o->macs = p->by_channels ? 0 : p->channels.macs;
    const int targets = (p->channels.ratio > 0) + (p->channels.params > 0) + (p->by_channels && p->channels.macs > 0);
    if (p->blocks && (p->channels.criterion || p->channels.params > 0))
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--blocks goes with --ratio or --macs, and not with --channels");
    if (p->by_channels ? targets != 1 : targets != 0)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, p->by_channels ? p->blocks ? "--blocks needs one of --ratio and --macs, not %d of them"
                            : "--channels needs one of --ratio, --macs and --params, not %d of them"
                                                                 : "--ratio and --params go with --channels (%d given)", targets);
    return check_preset(c, p) && read_layers(c, &p->layers, o) &&
           read_pair(c, "n-of-m", p->n_of_m, ':', &o->n, &o->m) &&
           read_pair(c, "block", p->block, 'x', &o->block_rows, &o->block_columns);
}

static int run(cli *c, int argc, char **argv)
{
    const char  *in = NULL, *out = NULL;
    cli_training t = CLI_TRAINING;
    pruning          p = { .o = { .prune = { .pattern = "*",
                                             .criterion = "magnitude",
                                             .distribution = "uniform",
                                             .sparsity = 0.5,
                                             .unit = "element" },
                                  .begin = 0,
                                  .end = 0.75 },
                           .pruning = "cubic",
                           .gradient = "frozen",
                           .gradient_samples = 256,
                           .distill = { 4, 0.9 },
                           .drop_fraction = 0.3,
                           .drop_schedule = "cosine" };
    const cli_option training[] = { CLI_OPT_TRAINING(&t, false), EPL_OPT_END };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the model to write"),
        EPL_OPT_REAL('s', "sparsity", &p.o.prune.sparsity, 0, 0.99999, "share of the weights to set to zero"),
        EPL_OPT_CHOICE(0, "criterion", "magnitude|random|bernoulli|lamp|gradient|taylor|snip|grasp|obd|obs|synflow",
                       &p.o.prune.criterion, "what decides which weights stay"),
        EPL_OPT_CHOICE(0, "distribution", "uniform|uniform+|er|erk|erk+|global", &p.o.prune.distribution,
                       "how dense each layer becomes"),
        EPL_OPT_TEXT(0, "ratios-of", "CRITERION", &p.o.prune.ratios_of,
                     "instead: as dense as one ranking of all weights by this criterion leaves it"),
        EPL_OPT_REAL(0, "power", &p.o.prune.power, 0, 10, "of er, erk, erk+ (0: 1)"),
        EPL_OPT_CHOICE(0, "unit", "element|row|column|kernel", &p.o.prune.unit,
                       "what goes as a whole: a row is an output, a column an input"),
        EPL_OPT_TEXT(0, "n-of-m", "N:M", &p.n_of_m, "keep the N best of every M input channels instead, as in 2:4"),
        EPL_OPT_FLAG(0, "transposable", &p.o.prune.transposable, "with --n-of-m: of every M output channels, too"),
        EPL_OPT_FLAG(0, "pack", &p.pack,
                     "with --n-of-m: bake, and store weights as values and places (also: convert --pack)"),
        EPL_OPT_TEXT(0, "preset", "NAME", &p.preset,
                     "the weights and the sparsity of a network of Fast Sparse ConvNets, as in fsc-mbv1-1.0-90"),
        EPL_OPT_TEXT(0, "block", "RxC", &p.block,
                     "whole blocks of the weight as a matrix [inputs, outputs], as in 1x16"),
        EPL_OPT_CHOICE(0, "channels", "l2|l1|bn-gamma|fpgm|taylor|act-mean|apoz|random", &p.channels.criterion,
                       "remove whole channels instead, the lowest of these scores first, with all that hangs on them"),
        EPL_OPT_CHOICE(0, "blocks", "l2|l1|bn-gamma|random", &p.blocks, "remove whole residual blocks instead"),
        EPL_OPT_REAL(0, "ratio", &p.channels.ratio, 0, 0.999, "with --channels and --blocks: the share to remove"),
        EPL_OPT_REAL(0, "macs", &p.channels.macs, 0, 0.999,
                     "the share of multiply-adds to leave, instead of --sparsity or --ratio"),
        EPL_OPT_REAL(0, "params", &p.channels.params, 0, 0.999, "with --channels: the share of parameters to leave"),
        EPL_OPT_FLAG(0, "rank-globally", &p.channels.global,
                     "with --channels: one ranking, not the same share of each group"),
        EPL_OPT_INT(0, "round-to", &p.round_to, 0, 1 << 16, "with --channels: leave multiples of N"),
        EPL_OPT_TEXT(0, "pattern", "NAMES", &p.o.prune.pattern, "which weights"),
        EPL_OPT_TEXT(0, "skip", "NAMES", &p.o.prune.skip, "which weights not; also first, last, depthwise"),
        EPL_OPT_REPEATED(0, "layer", "NAMES=S", &p.layers,
                         "a sparsity of their own for these weights; may be given several times"),
        EPL_OPT_FLAG(0, "bake", &p.bake, "multiply the masks in and drop them: the zeros are no longer held"),
        EPL_OPT_FLAG(0, "compact", &p.compact,
                     "bake, and remove the units that make no difference: the network becomes a smaller one"),
        EPL_OPT_INT(0, "recalibrate-bn", &p.recalibrate, 0, 1e9,
                    "with --data: do not train, but measure the statistics of batch norms anew over N batches"),
        EPL_OPT_FLAG(0, "report", &p.report, "print a line for every weight"),
        EPL_OPT_CHOICE(0, "pruning", "cubic|linear|exponential|oneshot", &p.pruning,
                       "with --data: how sparsity grows while training"),
        EPL_OPT_REAL(0, "exponent", &p.o.exponent, 0, 100, "of cubic (0: 3)"),
        EPL_OPT_REAL(0, "initial", &p.o.initial, 0, 0.99999, "with --data: the sparsity at the begin"),
        EPL_OPT_FLAG(0, "allow-regrow", &p.o.allow_regrow,
                     "--initial may be above --sparsity: weights come back, with --mask-gradient ste or srste"),
        EPL_OPT_REAL(0, "begin", &p.o.begin, 0, 1, "with --data: where in the run pruning begins"),
        EPL_OPT_REAL(0, "end", &p.o.end, 1e-6, 1, "with --data: where it ends; the rest is for recovery"),
        EPL_OPT_INT(0, "every", &p.every, 0, 1e12,
                    "with --data: updates between prunings (0: a fiftieth of the time between, 100 with --regrow)"),
        EPL_OPT_CHOICE(0, "mask-gradient", "frozen|ste|srste", &p.gradient, "how the gradient passes the masks"),
        EPL_OPT_INT(0, "rounds", &p.rounds, 0, 1000,
                    "with --data: N times train, prune the same part of what is left, and go back; then train (lottery "
                    "ticket)"),
        EPL_OPT_INT(0, "rewind-to", &p.rewind_to, 0, 1e12,
                    "with --rounds: go back to the weights after this update (0: the first)"),
        EPL_OPT_CHOICE(
            0, "regrow", "set|rigl|snfs", &p.regrow,
            "with --data: sparse from the beginning, and the smallest weights go and others come back instead"),
        EPL_OPT_REAL(0, "drop-fraction", &p.drop_fraction, 0.001, 0.999,
                     "with --regrow: the share of active weights that goes each time"),
        EPL_OPT_CHOICE(0, "drop-schedule", "cosine|constant|exp", &p.drop_schedule,
                       "with --regrow: how that share falls until --end"),
        EPL_OPT_INT(0, "gradient-samples", &p.gradient_samples, 1, 1e9, "of criteria that look at gradients"),
        EPL_OPT_TEXT(0, "teacher", "MODEL", &p.teacher, "with --data: distil from this network meanwhile"),
        EPL_OPT_REAL(0, "temperature", &p.distill.temperature, 1e-3, 1e3, "of the distillation"),
        EPL_OPT_REAL(0, "alpha", &p.distill.alpha, 1e-3, 1, "share of the teacher in the loss"),
        EPL_OPT_GROUP("training, if --data is given", training),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    t.no_results = c->json || p.report; // one document
    return cli_end(c, settle(c, &p) && prune(c, in, out, &p, &t));
}

const cli_verb cli_verb_prune = {
    .name = "prune",
    .json = true,
    .run = run,
    .summary = "sets weights to zero, or removes channels, at once or while training",
    .about = "Without --data the weights are pruned at once. With --data the network trains while its sparsity grows "
             "to the end "
             "(Zhu & Gupta 2017, arXiv:1710.01878). The masks stay in the model, so that further training keeps the "
             "zeros; --bake "
             "takes them out. --regrow trains a sparse network whose zeros move (SET, RigL, SNFS). --channels removes "
             "whole channels, before the training, and the network becomes a smaller one.",
    .examples =
        "espalier prune t.safetensors -o p.safetensors --sparsity 0.5\n"
        "espalier prune t.safetensors -o p.safetensors --sparsity 0.9 --data fashion-mnist --epochs 6 --skip first\n"
        "espalier prune t.safetensors -o p.safetensors --n-of-m 2:4 --report\n"
        "espalier prune resnet:depth=20 -o p.safetensors --regrow rigl -s 0.9 --distribution erk --data cifar10 "
        "--epochs 20\n"
        "espalier prune t.safetensors -o p.safetensors --channels l2 --macs 0.5 --data fashion-mnist --epochs 3",
};
