/* Local learning: modules that no gradient leaves, heads that are counted, twins that follow, one module's activations at a time. */
#include "common/check.h"

#include <espalier/espalier.h>

#include "graph/op.h"

/* ---- sizes as published ---- */

static int64_t count_take(test *t, epl_context *ctx, epl_graph *g)
{
    CHECK_OK(t, ctx, g != NULL);
    const int64_t n = epl_graph_n_parameters(g);
    epl_graph_free(g);
    return n;
}

TEST(heads_have_the_published_numbers_of_parameters)
{
    static const struct { const char *aux; int64_t n[3]; } heads[] = {
        { "0c1f", { 170, 330, 650 } },        { "0c2f", { 3466, 5514, 9610 } },    { "1c1f", { 5002, 19210, 37642 } },
        { "1c2f", { 10186, 28170, 46602 } },  { "1c3f", { 26698, 44682, 63114 } }, { "2c2f", { 19466, 65162, 83594 } } };
    static const int64_t decoders[3] = { 2091, 3819, 7275 };
    epl_context *ctx = test_context(t);
    for (int i = 0; i < 3; i++) {
        const epl_shape like = EPL_SHAPE(2, 8, 8, 16 << i);
        for (size_t k = 0; k < EPL_COUNT(heads); k++)
            CHECK_INT(t, count_take(t, ctx, epl_local_classifier(ctx, like, heads[k].aux, 10)), heads[k].n[i]);
        CHECK_INT(t, count_take(t, ctx, epl_local_decoder(ctx, like, EPL_SHAPE(2, 32, 32, 3))), decoders[i]);
    }
    CHECK_FAILS(t, ctx, epl_local_classifier(ctx, EPL_SHAPE(2, 8, 8, 16), "4c2f", 10), EPL_ERR_ARGUMENT, "'4c2f'");
    CHECK_INT(t, count_take(t, ctx, epl_zoo_build(ctx, "resnet:depth=32")), 466906);
}

/* ---- cut points ---- */

TEST(cuts_stand_behind_blocks_and_not_inside)
{
    epl_context   *ctx = test_context(t);
    epl_graph     *g = epl_zoo_build(ctx, "resnet:depth=14,width=4,image=8");
    epl_cut_point *points;
    int            n;
    CHECK_OK(t, ctx, g && epl_cut_points(g, epl_graph_input_at(g, 0), epl_graph_output_at(g, 0), &points, &n));
    static const char *const names[] = { "stem",         "stage1.unit1", "stage1.unit2", "stage2.unit1",
                                         "stage2.unit2", "stage3.unit1", "stage3.unit2" };
    CHECK_INT(t, n, 7);
    for (int i = 0; i < n; i++)
        CHECK_STR(t, points[i].name, names[i]);
    epl_release(ctx, points);
    epl_graph_free(g);
}

/* ---- steps ---- */

typedef struct stepper {
    epl_model   *m;
    epl_program *p;
    epl_train_hook hook;
} stepper;

static const char *const NET = "resnet:depth=14,width=4,image=8,channels=1";

static bool stepper_init(epl_context *ctx, epl_local_opts o, epl_step_opts step, stepper *s)
{
    *s = (stepper){ .hook = epl_local_hook(ctx, o) };
    epl_graph *g = s->hook.user ? epl_zoo_build(ctx, NET) : NULL;
    s->m = g ? epl_model_new_take(g) : NULL;
    step.batch   = 6;
    step.hooks   = &s->hook;
    step.n_hooks = 1;
    g = s->m && epl_model_init(s->m, 3) ? epl_train_graph(s->m, s->m->weights, step, 3, NULL) : NULL;
    s->p = g ? epl_program_new(g, s->m->weights, (epl_program_opts){ 0 }) : NULL;
    epl_graph_free(g);
    if (!s->p)
        return false;
    epl_rng r = epl_rng_at(9, 9);
    epl_tensor_fill_normal(epl_program_input_named(s->p, "x"), &r, 0, 1);
    for (int64_t i = 0; i < step.batch; i++) {
        epl_tensor_set_i64(epl_program_input_named(s->p, "target"), i, i % 3);
        epl_tensor_set(epl_program_input_named(s->p, "weights"), i, 1);
    }
    epl_tensor_set(epl_program_input_named(s->p, "rate"), 0, 0.05);
    return true;
}

static void stepper_free(epl_context *ctx, stepper *s)
{
    epl_program_free(s->p);
    epl_model_free(s->m);
    epl_release(ctx, s->hook.user);
}

static const char *const kinds[] = { "dgl", "predsim", "infopro", "supcon" };

/* Every loss with every twin: finite, and it learns something in every module. */
PROPERTY(every_local_loss_trains_every_module, 16)
{
    epl_context *ctx = test_context(t);
    stepper      s;
    CHECK_OK(t, ctx, stepper_init(ctx, (epl_local_opts){ .modules = 3, .loss = kinds[t->index % 4], .man = (epl_man)(t->index / 4) },
                                  (epl_step_opts){ 0 }, &s));
    epl_weights *before = epl_weights_copy(ctx, s.m->weights);
    CHECK_OK(t, ctx, epl_program_run(s.p));
    CHECK(t, isfinite(epl_tensor_get(epl_program_output_named(s.p, "loss"), 0)));
    for (int i = 0; i < epl_weights_count(before); i++) {
        const char *name = epl_weights_name(before, i);
        if (epl_glob("*weight", name) && !epl_glob("*norm*", name)) {
            const bool same = epl_tensor_equal(epl_weights_at(before, i), epl_weights_find(s.m->weights, name));
            CHECK(t, !same || epl_glob("local?.ema.*", name));
        }
    }
    epl_weights_free(before);
    stepper_free(ctx, &s);
}

/* Gradients of each module's loss by all parameters: those of other modules and of twins that follow are exactly zero. */
TEST(no_gradient_leaves_a_module)
{
    epl_context *ctx = test_context(t);
    stepper      s;
    CHECK_OK(t, ctx, stepper_init(ctx, (epl_local_opts){ .modules = 3, .man = EPL_MAN_BLOCK }, (epl_step_opts){ 0 }, &s));
    static const char *const own[3] = { "stem.*,stage1.*,local1.bias.*,local1.aux.*",
                                        "stage2.*,local2.bias.*,local2.aux.*", "stage3.*,fc.*,classifier.*,head.*" };
    const epl_step_opts o = { .batch = 6, .hooks = &s.hook, .n_hooks = 1 };
    epl_weights *w = epl_weights_copy(ctx, s.m->weights);
    epl_graph   *g = epl_train_graph(s.m, w, o, 3, NULL);
    CHECK_OK(t, ctx, g != NULL);
    epl_value *params[256], *d[256];
    int        n = 0, reached = 0;
    for (const epl_node *k = g->first; k; k = k->next)
        if (EPL_IS(k, parameter))
            params[n++] = k->outputs[0];
    for (int j = 0; j < 2; j++) {
        char name[32];
        snprintf(name, sizeof name, "log.local%d", j + 1);
        epl_value *loss = NULL;
        for (int i = 0; i < epl_graph_n_outputs(g); i++)
            if (strcmp(epl_graph_output_name(g, i), name) == 0)
                loss = epl_graph_output_at(g, i);
        CHECK(t, loss != NULL);
        CHECK_OK(t, ctx, epl_vjp(g, 1, &loss, &(epl_value *){ epl_scalar(g, EPL_F32, 1) }, n, params, d));
        for (int i = 0; i < n; i++) {
            CHECK(t, (d[i] != NULL) == epl_glob(own[j], epl_value_name(params[i])));
            reached += d[i] != NULL;
        }
    }
    CHECK(t, reached > 20);
    epl_graph_free(g);
    epl_weights_free(w);
    stepper_free(ctx, &s);
}

/* The step with all losses together does what modules do whose losses stand alone: parameters of module 1 do not
 * notice the others. */
TEST(a_module_learns_as_if_it_were_alone)
{
    epl_context *ctx = test_context(t);
    stepper      two, four;
    const epl_step_opts o = { .optimizer = { .momentum = 0.9, .clip_norm = 0.01 } };
    CHECK_OK(t, ctx, stepper_init(ctx, (epl_local_opts){ .cuts = "stage1.unit1", .aux = "0c1f" }, o, &two));
    CHECK_OK(t, ctx, stepper_init(ctx, (epl_local_opts){ .cuts = "stage1.unit1,stage2.unit1,stage3.unit1", .aux = "0c1f" }, o, &four));
    for (int i = 0; i < 3; i++)
        CHECK_OK(t, ctx, epl_program_run(two.p) && epl_program_run(four.p));
    int compared = 0;
    for (int i = 0; i < epl_weights_count(two.m->weights); i++) {
        const char *name = epl_weights_name(two.m->weights, i);
        if (!epl_glob("stem.*,stage1.unit1.*,local1.*", name))
            continue;
        CHECK(t, epl_tensor_equal(epl_weights_at(two.m->weights, i), epl_weights_find(four.m->weights, name)));
        compared++;
    }
    CHECK(t, compared > 10);
    stepper_free(ctx, &two);
    stepper_free(ctx, &four);
}

static double distance(const epl_weights *w, const char *a, const char *b)
{
    const epl_tensor *x = epl_weights_find(w, a), *y = epl_weights_find(w, b);
    double sum = 0;
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        sum += fabs(epl_tensor_get(x, i) - epl_tensor_get(y, i));
    return sum;
}

#define TWIN "local1.ema.stage2.unit1.a.conv.weight"
#define NEXT "stage2.unit1.a.conv.weight"

/* Momentum 1: nothing; 0: the block as it was before the update; between: m^n of the distance is left while the block rests. */
TEST(twins_follow_the_next_block)
{
    epl_context *ctx = test_context(t);
    const epl_local_opts o = { .cuts = "stage1.unit2", .man = EPL_MAN_BLOCK };
    stepper s;
    for (int k = 0; k < 2; k++) {
        epl_local_opts with = o;
        with.forget = k == 0 ? -1 : 1;
        CHECK_OK(t, ctx, stepper_init(ctx, with, (epl_step_opts){ 0 }, &s));
        CHECK(t, distance(s.m->weights, TWIN, NEXT) == 0);
        CHECK_OK(t, ctx, epl_program_run(s.p));
        epl_tensor *next = epl_tensor_copy(ctx, epl_weights_find(s.m->weights, NEXT)),
                   *twin = epl_tensor_copy(ctx, epl_weights_find(s.m->weights, TWIN));
        CHECK_OK(t, ctx, epl_program_run(s.p));
        CHECK(t, epl_tensor_equal(epl_weights_find(s.m->weights, TWIN), k == 0 ? twin : next));
        epl_tensor_free(next);
        epl_tensor_free(twin);
        stepper_free(ctx, &s);
    }
    epl_local_opts fresh = o;
    fresh.fresh = true;
    const epl_optimizer_opts rests = { .groups = &(epl_parameter_group){ .pattern = "stage2.*", .freeze = true }, .n_groups = 1 };
    CHECK_OK(t, ctx, stepper_init(ctx, fresh, (epl_step_opts){ .optimizer = rests }, &s));
    const double before = distance(s.m->weights, TWIN, NEXT);
    for (int i = 0; i < 200; i++)
        CHECK_OK(t, ctx, epl_program_run(s.p));
    CHECK_NEAR(t, distance(s.m->weights, TWIN, NEXT) / before, pow(0.995, 200), .rtol = 1e-4);
    stepper_free(ctx, &s);
}

TEST(one_module_is_ordinary_training_to_the_bit)
{
    epl_context *ctx = test_context(t);
    stepper      one;
    CHECK_OK(t, ctx, stepper_init(ctx, (epl_local_opts){ .modules = 1, .man = EPL_MAN_BLOCK }, (epl_step_opts){ 0 }, &one));
    epl_model *plain = epl_model_new_take(epl_zoo_build(ctx, NET));
    CHECK_OK(t, ctx, plain && epl_model_init(plain, 3));
    epl_graph   *g = epl_train_graph(plain, plain->weights, (epl_step_opts){ .batch = 6 }, 3, NULL);
    epl_program *p = g ? epl_program_new(g, plain->weights, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, p != NULL);
    for (int i = 0; i < 4; i++)
        memcpy(epl_program_input(p, i)->data, epl_program_input(one.p, i)->data, epl_tensor_bytes(epl_program_input(p, i)));
    for (int i = 0; i < 3; i++)
        CHECK_OK(t, ctx, epl_program_run(p) && epl_program_run(one.p));
    CHECK_INT(t, epl_weights_count(plain->weights), epl_weights_count(one.m->weights));
    for (int i = 0; i < epl_weights_count(plain->weights); i++)
        CHECK(t, epl_tensor_equal(epl_weights_at(plain->weights, i),
                                  epl_weights_find(one.m->weights, epl_weights_name(plain->weights, i))));
    epl_program_free(p);
    epl_graph_free(g);
    epl_model_free(plain);
    stepper_free(ctx, &one);
}

/* ---- memory ---- */

static size_t planned(test *t, epl_context *ctx, epl_local_opts o)
{
    epl_model         *m = epl_model_new_take(epl_zoo_build(ctx, "resnet:depth=20,width=8,image=16,channels=1"));
    epl_train_hook     hook = epl_local_hook(ctx, o);
    epl_program_memory memory;
    CHECK_OK(t, ctx, m && hook.user && epl_model_init(m, 1));
    CHECK_OK(t, ctx, epl_train_memory(m, (epl_step_opts){ .batch = 32, .hooks = &hook, .n_hooks = 1 }, &memory));
    epl_release(ctx, hook.user);
    epl_model_free(m);
    return memory.arena;
}

/* The peak is that of the largest module, not of their sum. */
TEST(one_module_is_alive_at_a_time)
{
    epl_context *ctx = test_context(t);
    const size_t one = planned(t, ctx, (epl_local_opts){ .modules = 1 }),
                 three = planned(t, ctx, (epl_local_opts){ .modules = 3, .aux = "0c1f" });
    const size_t nine = planned(t, ctx, (epl_local_opts){ .modules = 9, .aux = "0c1f" });
    CHECK(t, (double)three < 0.7 * (double)one && (double)nine < 0.7 * (double)three);
    const size_t man = planned(t, ctx, (epl_local_opts){ .modules = 3, .aux = "0c1f", .man = EPL_MAN_BLOCK });
    CHECK(t, man > three && man < one);
}

/* Losses that share what they compare with - all decoders make the same picture - and whose heads are larger than a
 * module's blocks. */
PROPERTY(modules_with_decoders_leave_memory_too, 2)
{
    epl_context *ctx = test_context(t);
    const char  *loss = t->index ? "supcon" : "infopro";
    size_t       before = planned(t, ctx, (epl_local_opts){ .modules = 1 });
    for (int modules = 3; modules <= 9; modules += 3) {
        const size_t bytes = planned(t, ctx, (epl_local_opts){ .modules = modules, .loss = loss, .aux = "0c1f" });
        if (!((double)bytes < 0.9 * (double)before))
            FAIL(t, "%s: %zu bytes with %d modules, %zu with fewer", loss, bytes, modules, before);
        before = bytes;
    }
}

/* ---- the loop ---- */

static epl_dataset *noise(epl_context *ctx)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(24, 8, 8, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(24));
    epl_rng r = epl_rng_at(5, 1);
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        epl_tensor_set_i64(x, i, (int64_t)epl_rng_below(&r, 256));
    for (int64_t i = 0; i < 24; i++)
        epl_tensor_set_i64(y, i, i % 3);
    return epl_dataset_from_tensors_take(ctx, "noise", x, y);
}

/* Heads and twins go with the trainer; with accumulation updates are a graph of their own, which twins follow in, too. */
PROPERTY(what_was_added_leaves_the_model, 2)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(epl_zoo_build(ctx, NET));
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    const int      n = epl_weights_count(m->weights);
    epl_dataset   *d = noise(ctx);
    epl_train_hook hook = epl_local_hook(ctx, (epl_local_opts){ .modules = 3, .man = t->index ? EPL_MAN_PARAM : EPL_MAN_BLOCK });
    epl_trainer   *tr =
        epl_trainer_new(m, d, NULL,
                        (epl_trainer_opts){
                            .batch = 8, .epochs = 2, .accumulate = 1 + t->index, .hooks = &hook, .n_hooks = 1 });
    CHECK_OK(t, ctx, tr != NULL);
    CHECK(t, epl_weights_count(m->weights) > n);
    CHECK_OK(t, ctx, epl_trainer_run(tr));
    CHECK(t, distance(m->weights, "local1.ema.stage2.unit1.a.conv.weight", "stage2.unit1.a.conv.weight") > 0);
    epl_trainer_free(tr);
    CHECK_INT(t, epl_weights_count(m->weights), n);
    CHECK_OK(t, ctx, epl_model_check(m));
    epl_release(ctx, hook.user);
    epl_dataset_free(d);
    epl_model_free(m);
}

static epl_model *after_epochs(test *t, epl_context *ctx, epl_dataset *d, int epochs, const char *folder)
{
    epl_train_hook   hook = epl_local_hook(ctx, (epl_local_opts){ .modules = 3, .aux = "0c1f", .man = EPL_MAN_PARAM });
    epl_trainer_opts o = { .batch = 8, .epochs = epochs, .checkpoint = folder, .resume = true, .hooks = &hook, .n_hooks = 1,
                           .optimizer = { .rate = 0.05, .momentum = 0.9, .clip_norm = 1 } };
    epl_model *m = epl_model_new_take(epl_zoo_build(ctx, NET));
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    epl_trainer *tr = epl_trainer_new(m, d, NULL, o);
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    epl_trainer_free(tr);
    epl_release(ctx, hook.user);
    return m;
}

/* Heads and twins lie in the checkpoint with the rest. */
TEST(a_run_that_goes_on_ends_with_the_same_bits)
{
    epl_context *ctx = test_context(t);
    epl_dataset *d = noise(ctx);
    epl_model   *whole = after_epochs(t, ctx, d, 2, test_temp(t, "whole")), *parts = after_epochs(t, ctx, d, 1, test_temp(t, "parts"));
    epl_model_free(parts);
    parts = after_epochs(t, ctx, d, 2, test_temp(t, "parts"));
    for (int i = 0; i < epl_weights_count(whole->weights); i++)
        CHECK(t, epl_tensor_equal(epl_weights_at(whole->weights, i), epl_weights_at(parts->weights, i)));
    epl_model_free(whole);
    epl_model_free(parts);
    epl_dataset_free(d);
}

TEST(impossible_wishes_are_refused)
{
    epl_context *ctx = test_context(t);
    stepper      s;
#define REFUSED(words, ...)                                                                          \
    CHECK_FAILS(t, ctx, stepper_init(ctx, (epl_local_opts){ __VA_ARGS__ }, (epl_step_opts){ 0 }, &s), EPL_ERR_ARGUMENT, words); \
    stepper_free(ctx, &s)
    REFUSED("behind 'stage1.unit1.a': more than one tensor crosses", .cuts = "stage1.unit1.a");
    REFUSED("behind 'stage1.unit9'; did you mean", .cuts = "stage1.unit9");
    REFUSED("'stage1.unit1' comes before 'stage2.unit1'", .cuts = "stage2.unit1,stage1.unit1");
    REFUSED("has 6 blocks and a stem: it cannot be cut into 8 modules", .modules = 8);
    REFUSED("no local loss 'dg'", .modules = 2, .loss = "dg");
    REFUSED("auxiliary classifier '1c'", .modules = 2, .aux = "1c");
    REFUSED("a momentum of -1 is outside", .modules = 2, .forget = 2);
    REFUSED("module 2 of local learning has no loss", .modules = 3, .loss = "infopro", .classification = { 1, -1 });
}

/* Similar embeddings of one class: known values of both losses. */
TEST(losses_of_pairs_by_hand)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "pairs");
    epl_tensor  *in[2], *out[2];
    in[0] = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(3, 2));
    in[1] = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(3));
    const double z[6] = { 2, 0, 3, 0, 0, 1 };
    for (int i = 0; i < 6; i++)
        epl_tensor_set(in[0], i, z[i]);
    epl_tensor_set_i64(in[1], 2, 1);
    epl_value *x = epl_input(g, "z", EPL_F32, EPL_SHAPE(3, 2), NULL), *y = epl_input(g, "y", EPL_I64, EPL_SHAPE(3), NULL);
    epl_output(g, "supcon", epl_supcon_loss(g, x, y, 0.5));
    epl_output(g, "similarity", epl_similarity_loss(g, x, y, 2));
    CHECK_OK(t, ctx, epl_graph_finish(g) && epl_interpret(g, NULL, (const epl_tensor *const *)in, out));
    const double p = log(exp(2) / (exp(2) + 1));
    CHECK_CLOSE_F32(t, (const float *)out[0]->data, ((const float[]){ (float)-p, (float)-p, 0 }), 3, .atol = 1e-5);
    // centred rows of z: (1/3, -1/3), (4/3, -1/3), (-5/3, 2/3); of the labels: a, a, -a, with cosines 1, 1, -1
    const double c01 = 5 / sqrt(2 * 17.0), c02 = -7 / sqrt(2 * 29.0), c12 = -22 / sqrt(17.0 * 29);
    const double s01 = (c01 - 1) * (c01 - 1), s02 = (c02 + 1) * (c02 + 1), s12 = (c12 + 1) * (c12 + 1);
    CHECK_CLOSE_F32(t, (const float *)out[1]->data,
                    ((const float[]){ (float)((s01 + s02) / 3), (float)((s01 + s12) / 3), (float)((s02 + s12) / 3) }),
                    3, .atol = 1e-5);
    for (int i = 0; i < 2; i++) {
        epl_tensor_free(in[i]);
        epl_tensor_free(out[i]);
    }
    epl_graph_free(g);
}
