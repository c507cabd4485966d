/* ninformer: does a gate made by a small mixer learn better than attention, and no worse than the mixer alone? */
#include "papers/common/paper.h"

#include <math.h>
#include <string.h>

/* ---- quick: sizes ---- */

/* P(d, f, n) of a block, and of a mixer block: by hand. */
static int64_t mixer_block(int64_t d, int64_t f, int64_t n) { return 2 * d + (n * f + f + f * n + n) + 2 * d + (d * f + f + f * d + d); }
static int64_t block(int64_t d, int64_t f, int64_t n) { return 2 * d + mixer_block(d, f, n) + (d * d + d) + (d * f + f + f * d + d); }

static void check_sizes(paper_run *r)
{
    static const struct {
        const char *options;
        int64_t     ninformer, mixer;
    } nets[] = {
        { "width=256,hidden=512", 2652170, 1335306 }, { "width=256,hidden=512,classes=100", 2675300, 1358436 },
        { "width=256,hidden=512,image=28,channels=1", 2582478, 1265614 }, { "width=64,hidden=128,image=28,channels=1", 203406, 119950 },
        { "width=128,hidden=256,image=28,channels=1", 701518, 370766 },
    };
    for (size_t i = 0; i < EPL_COUNT(nets); i++) {
        const int hidden = i < 3 ? 512 : i == 3 ? 128 : 256;
        const char *c10 = strstr(nets[i].options, "classes") ? "" : ",classes=10";
        paper_check_model(r, paper_textf(r, "ninformer:%s", nets[i].options), nets[i].ninformer, 0);
        paper_check_model(r, paper_textf(r, "mixer:%s%s,token_hidden=%d,depth=4,patch=4,final_norm=0%s", nets[i].options, c10, hidden,
                                         strstr(nets[i].options, "image") ? "" : ",image=32"), nets[i].mixer, 0);
    }
    paper_check_model(r, "ninformer", 2652170, 218892800);
    paper_check_model(r, "ninformer:shared_norm=0", 2652170 + 4 * 2 * 256, 0);
    paper_check(r, "parameters of a block of width 256", (double)block(256, 512, 64), PAPER_EQUAL, 659264);
    paper_check(r, "of its mixer", (double)mixer_block(256, 512, 64), PAPER_EQUAL, 330048);
    for (int depth = 1; depth <= 2; depth++)
        paper_check_model(r, paper_textf(r, "ninformer:depth=%d", depth), 256 * 48 + 256 + 2570 + depth * block(256, 512, 64),
                          54525952.0 * depth + 64 * 48 * 256 + 2560);
    paper_check_model_refused(r, "ninformer:image=30", "does not divide");
    paper_check_model_refused(r, "ninformer:image=28,patch=8", "does not divide");
}

/* ---- quick: what the gate computes ---- */

enum { TOKENS = 9, WIDTH = 6 };

/* A gate alone, and its output for x. */
static epl_model *gate_alone(paper_run *r, uint64_t seed)
{
    epl_graph *g = epl_graph_new(paper_context(r), "gate");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, TOKENS, WIDTH), "N,,");
    epl_output(g, "y", epl_mixer_gate(g, x, (epl_mixer_gate_opts){ .hidden = 8 }));
    epl_model *m = epl_model_new_take(g);
    paper_keep_model_take(r, m);
    return m && epl_model_init(m, seed) ? m : NULL;
}

/* Every weight whose name matches becomes x. */
static void set_all(epl_model *m, const char *pattern, double x)
{
    for (int i = 0; m && i < epl_weights_count(m->weights); i++)
        for (int64_t k = 0; epl_glob(pattern, epl_weights_name(m->weights, i)) && k < epl_tensor_count(epl_weights_at(m->weights, i)); k++)
            epl_tensor_set(epl_weights_at(m->weights, i), k, x);
}

static double largest_difference(const epl_tensor *a, const epl_tensor *b, double factor)
{
    double most = a && b ? 0 : NAN;
    for (int64_t i = 0; a && b && i < epl_tensor_count(a); i++)
        most = fmax(most, fabs(factor * epl_tensor_get(a, i) - epl_tensor_get(b, i)));
    return most;
}

/* Perceptrons that end in zeros leave the mixer the identity: gate(x) = project(x) x, and gate(c x) = c^2 gate(x) without a bias. */
static void check_degree(paper_run *r)
{
    epl_model  *m = gate_alone(r, 1);
    epl_tensor *x = paper_draw(r, EPL_SHAPE(1, TOKENS, WIDTH), 9, 0), *twice = paper_draw(r, EPL_SHAPE(1, TOKENS, WIDTH), 9, 0);
    set_all(m, "*tokens2.*,*mlp2.*,*project.bias", 0);
    const epl_tensor *w = m ? epl_weights_find(m->weights, "gate.project.weight") : NULL;
    epl_tensor *y = m ? paper_logits(r, m, x) : NULL, *by_hand = y ? epl_tensor_copy(paper_context(r), y) : NULL;
    for (int i = 0; by_hand && w && i < TOKENS * WIDTH; i++) {
        double sum = 0;
        for (int k = 0; k < WIDTH; k++)
            sum += epl_tensor_get(x, i / WIDTH * WIDTH + k) * epl_tensor_get(w, k * WIDTH + i % WIDTH);
        epl_tensor_set(by_hand, i, sum * epl_tensor_get(x, i));
    }
    for (int i = 0; i < TOKENS * WIDTH; i++)
        epl_tensor_set(twice, i, 2 * epl_tensor_get(x, i));
    epl_tensor *y2 = m ? paper_logits(r, m, twice) : NULL;
    paper_check(r, "gate without perceptrons - project(x) x, largest", largest_difference(by_hand, y, 1), PAPER_AT_MOST, 1e-5);
    paper_check(r, "gate(2 x) - 4 gate(x), largest", largest_difference(y, y2, 4), PAPER_AT_MOST, 1e-4);
    epl_tensor_free(x);
    epl_tensor_free(twice);
    epl_tensor_free(y);
    epl_tensor_free(y2);
    epl_tensor_free(by_hand);
}

/* A projection of weight 0 and bias 1 leaves the mixer alone; and one of 0 leaves nothing. */
static void check_special_cases(paper_run *r)
{
    epl_model  *m = gate_alone(r, 2);
    epl_graph  *g = epl_graph_new(paper_context(r), "mixer");
    epl_value  *in = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, TOKENS, WIDTH), "N,,");
    const epl_mix_tokens_opts tokens = { .hidden = 8 };
    epl_scope_push(g, "gate");
    epl_output(g, "y",
               epl_transformer_block(g, in,
                                     (epl_transformer_opts){
                                         .name = "inner", .hidden = 8, .mix = epl_mix_tokens, .mix_opts = &tokens }));
    epl_scope_pop(g);
    epl_model *alone = epl_model_new_take(g);
    paper_keep_model_take(r, alone);
    set_all(m, "*project.weight", 0);
    set_all(m, "*project.bias", 1);
    for (int i = 0; m && alone && i < epl_weights_count(m->weights); i++)
        if (!strstr(epl_weights_name(m->weights, i), "project"))
            epl_weights_put_take(alone->weights, epl_weights_name(m->weights, i),
                                 epl_tensor_copy(paper_context(r), epl_weights_at(m->weights, i)));
    epl_tensor *x = paper_draw(r, EPL_SHAPE(2, TOKENS, WIDTH), 9, 1);
    paper_check(r, "gate with a projection to 1 - mixer block, relative",
                alone && epl_model_check(alone) ? paper_relative_difference(r, m, alone, x) : NAN, PAPER_AT_MOST, 1e-5);
    set_all(m, "*project.*", 0);
    epl_tensor *zero = m ? paper_logits(r, m, x) : NULL;
    paper_check(r, "gate with a projection to 0, largest", largest_difference(zero, zero, 2), PAPER_EQUAL, 0);
    epl_tensor_free(zero);
    epl_tensor_free(x);
}

/* The two halves of an image exchanged: a different order of tokens. */
static epl_tensor *halves_exchanged(paper_run *r, const epl_tensor *x)
{
    epl_tensor   *y = epl_tensor_copy(paper_context(r), x);
    const int64_t half = epl_tensor_count(x) / 2;
    for (int64_t i = 0; y && i < 2 * half; i++)
        epl_tensor_set(y, (i + half) % (2 * half), epl_tensor_get(x, i));
    return y;
}

static void check_order_of_tokens(paper_run *r)
{
    static const char *const nets[] = { "ninformer:image=8,patch=4,channels=1,width=16,hidden=16,depth=2",
                                        "vit:image=8,patch=4,channels=1,width=16,hidden=16,depth=2,heads=2,pool=mean,classes=10" };
    epl_tensor *x = paper_draw(r, EPL_SHAPE(1, 8, 8, 1), 9, 2), *y = x ? halves_exchanged(r, x) : NULL;
    for (int i = 0; i < 2 && paper_ok(r); i++) {
        epl_model *m = paper_model(r, nets[i], 3);
        if (i == 1)
            set_all(m, "positions", 0);
        epl_tensor  *a = paper_logits(r, m, x), *b = paper_logits(r, m, y);
        const double d = largest_difference(a, b, 1);
        if (i == 0)
            paper_check(r, "ninformer: logits change with the order of patches by", d, PAPER_ABOVE, 1e-3);
        else
            paper_check(r, "transformer without positions: they do not", d, PAPER_AT_MOST, 1e-5);
        epl_tensor_free(a);
        epl_tensor_free(b);
    }
    epl_model  *m = paper_model(r, nets[0], 3);
    epl_tensor *wide = paper_draw(r, EPL_SHAPE(1, 12, 12, 1), 9, 2), *none = m ? paper_logits(r, m, wide) : NULL;
    paper_check_refused(r, "an image of more patches than the network has", none != NULL, "the batch is [1, 12, 12, 1]");
    epl_tensor_free(none);
    epl_tensor_free(wide);
    epl_tensor_free(x);
    epl_tensor_free(y);
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_degree(r);
    check_special_cases(r);
    check_order_of_tokens(r);
}

/* ---- full ---- */

#define SMALL "image=28,channels=1,patch=4,width=64,hidden=128,dropout=0.1,classes=10,depth="

enum { NINFORMER, MIXER, MIXER_EQUAL, VIT, LOCAL_VIT, N_NETWORKS, MAX_EPOCHS = 64 };

/* Accuracy on test images after each epoch, over seeds. */
typedef struct curve {
    double sum[MAX_EPOCHS];
    int    n[MAX_EPOCHS];
} curve;

static bool note_epoch(void *user, epl_trainer *t, int64_t epoch)
{
    curve *c = user;
    int    n = 0;
    const epl_epoch_record *e = epl_trainer_history(t, &n);
    if (n > 0 && epoch <= MAX_EPOCHS && isfinite(e[n - 1].accuracy)) {
        c->sum[epoch - 1] += 100 * e[n - 1].accuracy;
        c->n[epoch - 1]++;
    }
    return true;
}

static bool weigh(paper_run *r, paper_training *t)
{
    if (t->seed == 0) {
        paper_add(paper_series_named(r, "parameters", t->variant->name, ""), (double)epl_graph_n_parameters(t->model->graph));
        paper_add(paper_series_named(r, "multiply-adds", t->variant->name, ""), epl_graph_cost(t->model->graph).macs);
    }
    return paper_ok(r);
}

/* Each variant's hook writes into its own curve. */
static bool watch(paper_run *r, paper_training *t)
{
    epl_train_hook *hook = paper_alloc(r, sizeof *hook);
    if (!hook)
        return false;
    *hook = (epl_train_hook){ .after_epoch = note_epoch, .user = t->user };
    t->recipe.hooks   = hook;
    t->recipe.n_hooks = 1;
    return true;
}

static void plot_curves(paper_run *r, const paper_variant *v, const curve *curves)
{
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "epoch", .y_label = "accuracy while training [%]" });
    for (int i = 0; i < N_NETWORKS; i++) {
        double x[MAX_EPOCHS], y[MAX_EPOCHS];
        size_t n = 0;
        for (; n < MAX_EPOCHS && curves[i].n[n]; n++) {
            x[n] = (double)n + 1;
            y[n] = curves[i].sum[n] / curves[i].n[n];
        }
        epl_plot_line(p, v[i].name, x, y, n, (epl_line_opts){ .markers = true });
    }
    paper_plot_take(r, "epochs", "Accuracy on the training images of each epoch, with dropout; mean of seeds.", p);
}

static void full(paper_run *r)
{
    curve *curves = paper_alloc(r, N_NETWORKS * sizeof *curves);
    if (!curves)
        return;
    const paper_variant networks[N_NETWORKS] = {
        [NINFORMER] = { .name = "ninformer",
                        .model = "ninformer:" SMALL "4",
                        .begin = watch,
                        .end = weigh,
                        .user = &curves[0] },
        [MIXER] = { .name = "mixer, 4 blocks",
                    .model = "mixer:token_hidden=128,final_norm=0," SMALL "4",
                    .begin = watch,
                    .end = weigh,
                    .user = &curves[1] },
        [MIXER_EQUAL] = { .name = "mixer, 7 blocks",
                          .model = "mixer:token_hidden=128,final_norm=0," SMALL "7",
                          .begin = watch,
                          .end = weigh,
                          .user = &curves[2] },
        [VIT] = { .name = "vit",
                  .model = "vit:heads=4,pool=mean," SMALL "4",
                  .begin = watch,
                  .end = weigh,
                  .user = &curves[3] },
        [LOCAL_VIT] = { .name = "local-vit",
                        .model = "local-vit:heads=4," SMALL "4",
                        .begin = watch,
                        .end = weigh,
                        .user = &curves[4] },
    };
    const paper_series *accuracy[N_NETWORKS];
    paper_train(r, networks, N_NETWORKS,
                (paper_recipe){ .samples = 5000,
                                .epochs = 5,
                                .test = 3000,
                                .optimizer = "adam:rate=1e-3,clip_norm=1",
                                .schedule = "constant" },
                accuracy);
    paper_timed timed[N_NETWORKS];
    for (int i = 0; i < N_NETWORKS; i++)
        timed[i] = (paper_timed){ .name = networks[i].name, .model = paper_model(r, networks[i].model, 0) };
    if (!paper_ok(r) || !paper_latency(r, timed, N_NETWORKS, 8))
        return;
    const double ours = paper_mean(accuracy[NINFORMER]);
    paper_check(r, "ninformer - vit, points", ours - paper_mean(accuracy[VIT]), PAPER_AT_LEAST, 2);
    paper_check(r, "ninformer - mixer of equal depth, points", ours - paper_mean(accuracy[MIXER]), PAPER_AT_LEAST, -1.5);
    paper_check(r, "latency of ninformer / mixer of equal depth", timed[NINFORMER].seconds / timed[MIXER].seconds, PAPER_AT_MOST, 3);
    paper_remark(r,
                 "ninformer - mixer of equal depth: %+.2f points; - mixer of equal size: %+.2f points; - local-vit: "
                 "%+.2f points. The paper, "
                 "with 100 epochs, says that it is better than all of them but does not compare at equal size.",
                 ours - paper_mean(accuracy[MIXER]), ours - paper_mean(accuracy[MIXER_EQUAL]),
                 ours - paper_mean(accuracy[LOCAL_VIT]));
    paper_plot_series(r, "accuracy", "test accuracy [%]", accuracy, N_NETWORKS);
    plot_curves(r, networks, curves);
}

const paper paper_ninformer = {
    .slug = "ninformer",
    .title = "NiNformer: A Network in Network Transformer with Token Mixing Generated Gating Function",
    .source = "Abdullah 2024, Neural Computing & Applications 2025",
    .kind = "block",
    .claim = "a transformer whose attention is an element-wise gate made by a small mixer is more accurate than one "
             "with attention, "
             "than MLP-Mixer and than a local transformer, at a latency little above MLP-Mixer's",
    .criterion = "mean accuracy on Fashion-MNIST at least 2 points above the vision transformer's and at most 1.5 "
                 "below that of the mixer of equal "
                 "depth; latency at most 3 times that of this mixer",
    .quick = quick,
    .full = full,
};
