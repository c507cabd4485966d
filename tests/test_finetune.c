/* Fine-tuning the last blocks: which parameters rest, and that they and their statistics do not change by a bit. */
#include "common/check.h"

#include <espalier/espalier.h>

static epl_dataset *noise(epl_context *ctx, int64_t n)
{
    epl_tensor *x = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(n, 32, 32, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(n));
    epl_rng r = epl_rng_at(5, 1);
    for (int64_t i = 0; i < epl_tensor_count(x); i++)
        epl_tensor_set_i64(x, i, (int64_t)epl_rng_below(&r, 256));
    for (int64_t i = 0; i < n; i++)
        epl_tensor_set_i64(y, i, i % 3);
    return epl_dataset_from_tensors_take(ctx, "noise", x, y);
}

/* Four blocks of one layer, as in KimiaNet: configurations I to IV. */
static epl_model *network(test *t, epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "dense");
    epl_value *x = epl_stem(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 32, 32, 1), "N,,,"), (epl_stem_opts){ .out = 8 });
    for (int b = 1; b <= 4; b++) {
        epl_scope_push(g, "block%d.layer1", b);
        x = epl_dense_layer(g, x, (epl_dense_layer_opts){ .growth = 4 });
        epl_scope_pop(g);
        char name[16];
        snprintf(name, sizeof name, "transition%d", b);
        if (b < 4)
            x = epl_average_pool(g, epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .conv = { .out = 6, .kernel = 1 } }),
                                 (epl_pool_opts){ .kernel = { 2 } });
    }
    x = epl_batch_norm(g, x, (epl_norm_opts){ .name = "norm" });
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 3 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 2));
    return m;
}

PROPERTY(what_rests_keeps_every_bit, 4)
{
    static const char *const resting[4] = { "stem.*,block1.*,transition1.*,block2.*,transition2.*,block3.*",
                                            "stem.*,block1.*,transition1.*,block2.*", "stem.*,block1.*", "" };
    epl_context *ctx = test_context(t);
    epl_model   *m = network(t, ctx), *before = epl_model_copy(m);
    epl_dataset *d = noise(ctx, 24);
    char        *pattern = epl_finetune_pattern(m->graph, t->index + 1);
    CHECK_STR(t, pattern, resting[t->index]);
    const epl_parameter_group group = { .pattern = pattern, .freeze = true };
    epl_trainer *tr = epl_trainer_new(m, d, NULL, (epl_trainer_opts){ .batch = 8, .optimizer = { .kind = EPL_ADAM, .groups = &group,
                                                                                                .n_groups = 1 } });
    CHECK_OK(t, ctx, tr && epl_trainer_run(tr));
    epl_trainer_free(tr);
    int changed = 0;
    for (int i = 0; i < epl_weights_count(before->weights); i++) {
        const char *name = epl_weights_name(before->weights, i);
        const bool  same = epl_tensor_equal(epl_weights_at(before->weights, i), epl_weights_find(m->weights, name));
        CHECK(t, same == epl_glob(pattern, name)); // running means and variances, too
        changed += !same;
    }
    CHECK(t, changed > 0);
    epl_release(ctx, pattern);
    epl_dataset_free(d);
    epl_model_free(before);
    epl_model_free(m);
}

TEST(more_blocks_mean_more_parameters)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, "kimianet");
    int64_t      last = 0;
    for (int blocks = 1; blocks <= 4; blocks++) {
        char   *pattern = epl_finetune_pattern(g, blocks);
        int64_t trained = 0;
        for (epl_node *n = epl_first(g); n; n = epl_next(n))
            if (strcmp(epl_node_op_name(n), "Parameter") == 0 && !epl_glob(pattern, epl_value_name(epl_node_output(n, 0))))
                trained += epl_shape_count(epl_shape_of(epl_node_output(n, 0)));
        CHECK(t, trained > last);
        last = trained;
        epl_release(ctx, pattern);
    }
    CHECK_INT(t, last, epl_graph_n_parameters(g));
    CHECK_FAILS(t, ctx, epl_finetune_pattern(g, 5), EPL_ERR_ARGUMENT, "has 4 blocks 'block', 5 cannot");
    CHECK_FAILS(t, ctx, epl_finetune_pattern(g, 0), EPL_ERR_ARGUMENT, "0 cannot");
    epl_graph_free(g);
    g = epl_zoo_build(ctx, "lenet"); // conv1, conv2, fc1, ...: the linear layers hold most
    char *pattern = epl_finetune_pattern(g, 1);
    CHECK_STR(t, pattern, "conv1.*,conv2.*,fc1.*,fc2.*");
    epl_release(ctx, pattern);
    epl_graph_free(g);
}
