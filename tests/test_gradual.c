/* Gradual pruning beyond one schedule: sparsity that falls, layers with a sparsity of their own, recurrent weights;
 * models of language on text, and what sparse recurrent weights become in a program. */
#include <espalier/espalier.h>

#include <math.h>

#include "common/check.h"

static epl_model *model_of(test *t, epl_context *ctx, const char *description)
{
    epl_model *m = epl_model_new_take(epl_zoo_build(ctx, description));
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    return m;
}

static double density(test *t, const epl_model *m, const char *weight)
{
    char name[128];
    snprintf(name, sizeof name, "%s.mask", weight);
    const epl_tensor *mask = epl_weights_find(m->weights, name);
    double sum = 0;
    CHECK(t, mask != NULL);
    for (int64_t i = 0; i < epl_tensor_count(mask); i++)
        sum += epl_tensor_get(mask, i);
    return sum / (double)epl_tensor_count(mask);
}

typedef struct watch {
    test       *t;
    const char *weight[2];
    double      density[2][64]; /* after update i + 1 */
} watch;

static bool look(void *user, epl_trainer *trainer, int64_t step)
{
    watch *w = user;
    for (int i = 0; i < 2 && step <= 64; i++)
        w->density[i][step - 1] = density(w->t, epl_trainer_model(trainer), w->weight[i]);
    return true;
}

/* Twenty updates on text. */
static void train(test *t, epl_model *m, epl_pruner_opts o, watch *w)
{
    epl_context *ctx = m->ctx;
    epl_dataset *d = epl_dataset_open(ctx, "text:" EPL_SOURCE_DIR "/LICENSE,window=8", (epl_dataset_opts){ .limit = 160 });
    CHECK_OK(t, ctx, d);
    epl_train_hook hooks[] = { epl_pruner_hook(m, o), { .after_step = look, .user = w } };
    CHECK_OK(t, ctx, hooks[0].user);
    epl_trainer *trainer = epl_trainer_new(m, d, NULL, (epl_trainer_opts){ .batch = 8, .hooks = hooks, .n_hooks = 2 });
    CHECK_OK(t, ctx, trainer && epl_trainer_run(trainer));
    epl_trainer_free(trainer);
    epl_release(ctx, hooks[0].user);
    epl_dataset_free(d);
}

#define SMALL "lstm-lm:length=8,hidden=12,layers=1"

TEST(layers_go_the_same_part_of_their_way)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model_of(t, ctx, SMALL);
    const epl_layer_sparsity own = { "*.recurrent", 0.75 };
    watch w = { t, { "lstm.input", "lstm.recurrent" }, { { 0 } } };
    train(t, m,
          (epl_pruner_opts){ .prune = { .sparsity = 0.5, .layers = &own, .n_layers = 1 },
                             .begin_step = 5,
                             .end_step = 15,
                             .every = 5 },
          &w);
    CHECK(t, w.density[0][3] == 1 && w.density[1][3] == 1 && w.density[0][4] == 1);
    CHECK_NEAR(t, w.density[0][9], 1 - 0.5 * 0.875, .atol = 1e-3);
    CHECK_NEAR(t, w.density[1][9], 1 - 0.75 * 0.875, .atol = 1e-3);
    CHECK_NEAR(t, w.density[0][19], 0.5, .atol = 1e-9);
    CHECK_NEAR(t, w.density[1][19], 0.25, .atol = 1e-9);
    epl_model_free(m);
}

TEST(sparsity_falls_where_it_is_allowed)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model_of(t, ctx, SMALL);
    watch w = { t, { "lstm.input", "lstm.recurrent" }, { { 0 } } };
    epl_pruner_opts o = { .prune = { .sparsity = 0.25 },
                          .initial = 0.75,
                          .schedule = "linear",
                          .begin_step = 1,
                          .end_step = 11,
                          .every = 10 };
    CHECK_FAILS(t, ctx, epl_pruner_hook(m, o).user != NULL, EPL_ERR_ARGUMENT, "has to be allowed");
    o.allow_regrow = true;
    CHECK_FAILS(t, ctx, epl_pruner_hook(m, o).user != NULL, EPL_ERR_ARGUMENT, "frozen masks give nothing back");
    o.prune.gradient = EPL_MASK_STE;
    train(t, m, o, &w);
    CHECK_NEAR(t, w.density[1][0], 0.25, .atol = 1e-9);
    CHECK_NEAR(t, w.density[1][19], 0.75, .atol = 1e-9);
    const epl_layer_sparsity nobody = { "nobody.*", 0.5 };
    o = (epl_pruner_opts){ .prune = { .sparsity = 0.5, .layers = &nobody, .n_layers = 1 } };
    CHECK_FAILS(t, ctx, epl_pruner_hook(m, o).user != NULL, EPL_ERR_ARGUMENT, "there are embedding.weight");
    epl_model_free(m);
}

/* ---- programs ---- */

static int count(const char *text, const char *word)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, word)) != NULL; p += strlen(word))
        n++;
    return n;
}

static epl_program *program_of(test *t, const epl_model *m, bool sparse)
{
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .sparse = sparse });
    CHECK_OK(t, m->ctx, p);
    epl_tensor *x = epl_program_input(p, 0);
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        epl_tensor_set_i64(x, i, (7 * i + 3) % 96);
    CHECK_OK(t, m->ctx, epl_program_run(p));
    return p;
}

/* Every step of a sparse recurrent layer reads one packed list of what is not zero; the answers are those of the dense program. */
TEST(sparse_recurrence_is_packed_once)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model_of(t, ctx, "lstm-lm:length=6,hidden=256,layers=1");
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.95, .pattern = "lstm.*" }));
    epl_program *dense = program_of(t, m, false), *sparse = program_of(t, m, true);
    const epl_tensor *a = epl_program_output(dense, 0), *b = epl_program_output(sparse, 0);
    for (int64_t i = 0; i < epl_tensor_count(a); i++)
        CHECK_NEAR(t, epl_tensor_get(b, i), epl_tensor_get(a, i), .rtol = 1e-4, .atol = 1e-5);
    char *text = epl_program_print(sparse);
    CHECK_INT(t, count(text, "sparse_pack"), 2); // of the input's kernel and the recurrent one
    CHECK(t, count(text, "sparse_conv") >= 6);
    epl_release(ctx, text);
    epl_program_free(dense);
    epl_program_free(sparse);
    epl_model_free(m);
}

/* The table that the logits read too has one mask, and learns from both. */
TEST(a_tied_table_is_one_weight)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model_of(t, ctx, SMALL ",tie=1");
    CHECK(t, epl_weights_find(m->weights, "head.weight") == NULL);
    watch w = { t, { "embedding.weight", "lstm.recurrent" }, { { 0 } } };
    train(t, m, (epl_pruner_opts){ .prune.sparsity = 0.5, .begin_step = 1, .end_step = 1 }, &w);
    CHECK_NEAR(t, w.density[0][19], 0.5, .atol = 1e-9);
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, SMALL ",tie=1,embed=5"), EPL_ERR_ARGUMENT, "embed and hidden must be the same");
    epl_model_free(m);
}

/* A model of language is worth what its loss says: uniform guesses at first, better ones soon. */
TEST(text_is_learnt)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model_of(t, ctx, "lstm-lm:length=16,hidden=24,layers=1,init=0.01");
    epl_dataset *d = epl_dataset_open(ctx, "text:" EPL_SOURCE_DIR "/LICENSE,window=16", (epl_dataset_opts){ .limit = 320 });
    CHECK_OK(t, ctx, d);
    epl_evaluation e;
    CHECK_OK(t, ctx, epl_evaluate(m, d, (epl_evaluate_opts){ 0 }, &e));
    CHECK_NEAR(t, e.metrics.loss, log(96), .atol = 0.1);
    epl_evaluation_release(ctx, &e);
    epl_trainer *trainer =
        epl_trainer_new(m, d, NULL,
                        (epl_trainer_opts){
                            .epochs = 4, .batch = 16, .optimizer = { .kind = EPL_ADAM, .rate = 2e-2 } });
    CHECK_OK(t, ctx, trainer && epl_trainer_run(trainer));
    epl_trainer_free(trainer);
    CHECK_OK(t, ctx, epl_evaluate(m, d, (epl_evaluate_opts){ 0 }, &e));
    CHECK(t, e.metrics.loss < 3.2 && e.metrics.accuracy > 0.15 && e.n_classes == 96);
    epl_evaluation_release(ctx, &e);
    epl_dataset_free(d);
    epl_model_free(m);
}
