/* The zoo: parameters and multiply-adds against the published figures; every model, in its small form, through what
 * can be done with a network here: printed and read back, another batch, a training step (other tests export, prune
 * and compile them all); options and what is said of bad ones. */
#include "common/check.h"

#include "graph/op.h"

#include <espalier/espalier.h>

/* ---- published figures ---------------------------------------------------------------------------------------------------
 * Parameters to the unit, multiply-adds to the last one, of torchvision 0.29 (the pages of its weights print both, rounded, as
 * num_params and GFLOPS) and timm 1.0 (counted by torch.utils.flop_counter, halved), unless a paper is named. */
static const struct {
    const char *description;
    int64_t     parameters;
    double      mmacs; /* 0: not published in that form */
} published[] = {
    /* torchvision */
    { "resnet:stem=imagenet,depth=18,width=64,image=224,classes=1000", 11689512, 1814.073344 },
    { "resnet:stem=imagenet,depth=34,width=64,image=224,classes=1000", 21797672, 3663.761408 },
    { "resnet:stem=imagenet,depth=50,width=64,image=224,classes=1000", 25557032, 4089.184256 },
    { "resnet:stem=imagenet,depth=101,width=64,image=224,classes=1000", 44549160, 7801.405440 },
    { "resnet:stem=imagenet,depth=152,width=64,image=224,classes=1000", 60192808, 11513.626624 },
    { "resnet:stem=imagenet,depth=50,width=64,group_width=2,image=224,classes=1000", 68883240, 11398.021120 },
    { "resnet:stem=imagenet,depth=101,width=64,group_width=2,image=224,classes=1000", 126886696, 22753.050624 },
    { "resnext", 25028904, 4230.479872 },
    { "resnext:depth=101,group_width=8", 88791336, 16414.015488 },
    { "resnext:depth=101,cardinality=64", 83455272, 15460.270080 },
    { "densenet:depth=121", 7978856, 2834.161664 },
    { "densenet:depth=161,growth=48", 28681000, 7727.907072 },
    { "densenet:depth=169", 14149480, 3359.843328 },
    { "densenet:depth=201", 20013928, 4291.365888 },
    { "vgg:depth=11", 132863336, 7609.090048 },
    { "vgg:depth=13", 133047848, 11308.466176 },
    { "vgg:depth=16", 138357544, 15470.264320 },
    { "vgg:depth=19", 143667240, 19632.062464 },
    { "vgg:depth=11,norm=1", 132868840, 7609.090048 },
    { "vgg:depth=13,norm=1", 133053736, 11308.466176 },
    { "vgg:depth=16,norm=1", 138365992, 15470.264320 },
    { "vgg:depth=19,norm=1", 143678248, 19632.062464 },
    { "resnet9", 6573130, 0 }, /* without biases before normalisation; with them 6575370, as usually quoted */
    { "mobilenet-v2", 3504872, 300.774272 },
    { "mobilenet-v3", 5483032, 216.589760 },
    { "mobilenet-v3:variant=small", 2542856, 56.510400 },
    { "efficientnet", 5288548, 385.814752 },
    { "efficientnet:variant=b1", 7794184, 686.802832 },
    { "efficientnet:variant=b2,image=288", 9109994, 1087.529456 },
    { "efficientnet:variant=b3", 12233232, 1827.141392 },
    { "efficientnet:variant=b4", 19341616, 4393.771024 },
    { "efficientnet:variant=b5", 30389784, 10266.384752 },
    { "efficientnet:variant=b6", 43040704, 19067.593536 },
    { "efficientnet:variant=b7", 66347960, 37745.884192 },
    { "shufflenet:width=x0.5", 1366792, 40.476448 },
    { "shufflenet:width=x1.0", 2278604, 144.907992 },
    { "shufflenet:width=x1.5", 3503624, 295.759392 },
    { "shufflenet:width=x2.0", 7393996, 583.253464 },
    { "squeezenet:version=1.0", 1248424, 818.924576 },
    { "squeezenet:version=1.1", 1235496, 349.151936 },
    { "convnext:variant=t", 28589128, 4455.531264 },
    { "convnext:variant=s", 50223688, 8683.712256 },
    { "convnext:variant=b", 88591464, 15354.729472 },
    { "convnext:variant=l", 197767336, 34361.433600 },
    { "vit:variant=b", 86567656, 17563.828224 },
    { "vit:variant=b,patch=32", 88224232, 4409.186304 },
    { "vit:variant=l", 304326632, 61554.712576 },
    { "swin:variant=t", 28288354, 4490.566656 },
    { "swin:variant=s", 49606258, 8740.875264 },
    { "swin:variant=b", 87768224, 15430.946816 },
    /* timm */
    { "mobilenet", 4231976, 568.740352 },
    { "senet:depth=18", 11778592, 1814.160384 },
    { "senet:depth=34", 21958868, 0 },
    { "senet:depth=50", 28088024, 4091.699200 },
    { "senet:depth=101", 49326872, 7806.148608 },
    { "senet:depth=152", 66821848, 11520.204800 },
    { "senet:depth=154", 115088984, 20688.363520 },
    { "vit:variant=ti", 5717416, 1253.683200 },
    { "vit:variant=s", 22050664, 4598.882304 },
    { "deit:variant=ti", 5717416, 1253.683200 },
    { "deit:variant=b", 86567656, 17563.828224 },
    { "deit:variant=ti,distilled=1", 5910800, 1261.003776 },
    { "deit:variant=s,distilled=1", 22436432, 4624.140288 },
    { "deit:variant=b,distilled=1", 87338192, 17656.811520 },
    { "mixer:variant=s,patch=32", 19104624, 1002.426368 },
    { "mixer:variant=s,patch=16", 18528264, 3776.958464 },
    { "mixer:variant=b,patch=32", 60293428, 3237.722112 },
    { "mixer:variant=b,patch=16", 59880472, 12601.767936 },
    { "mixer:variant=l,patch=16", 208196168, 44547.678208 },
    /* papers: 36.5 M, 8.9 M, 11.0 M (arXiv:1605.07146, table 4); 34.4 M (arXiv:1611.05431, table 7); figure 1 of
     * arXiv:1505.04597; figure 2 of LeCun et al. 1998, with full connections */
    { "wide-resnet:depth=28,widen=10", 36479194, 0 },
    { "wide-resnet:depth=40,widen=4", 8949210, 0 },
    { "wide-resnet:depth=16,widen=8", 10961370, 0 },
    { "resnext:stem=small,depth=29,cardinality=8,group_width=64,image=32,classes=10", 34426698, 0 },
    { "unet:norm=0", 31030658, 0 },
    { "lenet", 61706, 0.416520 },
    /* Zaremba et al. 2014: V h + 2 (4h 2h + 4h) + h V + V; Zhu & Gupta 2017's translation, with attention 2 h^2 + h */
    { "lstm-lm:preset=ptb-small", 4651600, 0 },
    { "lstm-lm:preset=ptb-medium", 19775200, 0 },
    { "lstm-lm:preset=ptb-large", 66022000, 0 },
    { "lstm-lm:preset=ptb-small,tie=1", 2651600, 0 },
    { "seq2seq-lstm:source=2,target=2", 210916036, 0 },
    { "seq2seq-lstm:source=2,target=2,attention=none", 208817860, 0 },
};

PROPERTY(models_have_the_published_size, EPL_COUNT(published))
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, published[t->index].description);
    CHECK_OK(t, ctx, g != NULL);
    CHECK_INT(t, epl_graph_n_parameters(g), published[t->index].parameters);
    if (published[t->index].mmacs > 0)
        CHECK_NEAR(t, epl_graph_cost(g).macs / 1e6, published[t->index].mmacs, .rtol = 1e-9);
    epl_graph_free(g);
}

/* ---- every model ------------------------------------------------------------------------------------------------- */

static epl_model *small_model(test *t, epl_context *ctx)
{
    epl_model *m = epl_model_new_take(epl_zoo_build_small(ctx, t->index));
    CHECK_OK(t, ctx, m && epl_model_init(m, 7));
    return m;
}

/* The defaults build, the small form is small, reads back from its text, and takes another batch: no builder bakes it. */
PROPERTY(every_model_prints_and_takes_any_batch, epl_zoo_count())
{
    enum { MOST_MMACS = 500 };
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, epl_zoo_at(t->index)->name);
    CHECK_OK(t, ctx, g);
    epl_graph_free(g);
    g = epl_zoo_build_small(ctx, t->index);
    CHECK_OK(t, ctx, g);
    if (epl_graph_cost(g).macs > MOST_MMACS * 1e6)
        FAIL(t, "the small %s takes %g million multiply-adds, more than %d", epl_zoo_at(t->index)->name,
             epl_graph_cost(g).macs / 1e6, MOST_MMACS);
    char      *text = epl_graph_print(g);
    epl_graph *back = epl_graph_parse(ctx, text, strlen(text), "text");
    CHECK_OK(t, ctx, back);
    char *again = epl_graph_print(back);
    CHECK_STR(t, again, text);
    const epl_shape one = epl_shape_of(epl_graph_output_at(back, 0));
    CHECK_OK(t, ctx, epl_graph_bind(back, "N", 3) && epl_graph_verify(back));
    const epl_shape three = epl_shape_of(epl_graph_output_at(back, 0));
    CHECK_INT(t, three.dim[0], 3 * one.dim[0]);
    for (int i = 1; i < one.rank; i++)
        CHECK_INT(t, three.dim[i], one.dim[i]);
    epl_release(ctx, text);
    epl_release(ctx, again);
    epl_graph_free(back);
    epl_graph_free(g);
}

/* Does output 0, which the loss is made of, depend on what the node computes? A decoder learns by an objective of its own. */
static bool feeds_logits(const epl_graph *g, const epl_node *n)
{
    if (n == epl_graph_output_at(g, 0)->producer)
        return true;
    for (const epl_node *reader = n->next; reader; reader = reader->next)
        for (int i = 0; i < reader->n_inputs; i++)
            if (reader->inputs[i] && reader->inputs[i]->producer == n && reader->n_outputs > 0 && feeds_logits(g, reader))
                return true;
    return false;
}

/* A step gives every parameter that is trained a gradient: each moves, and none becomes NaN. */
PROPERTY(every_model_learns, epl_zoo_count())
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = small_model(t, ctx);
    epl_weights *before = epl_weights_copy(ctx, m->weights);
    epl_graph   *g = epl_train_graph(m, m->weights, (epl_step_opts){ .batch = 4, .optimizer = { .kind = EPL_ADAM } }, 3, NULL);
    CHECK_OK(t, ctx, g);
    epl_program *p = epl_program_new(g, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    for (int i = 0; i < epl_program_n_inputs(p); i++) {
        epl_tensor *x = epl_program_input(p, i);
        if (x->dtype == EPL_F32 && x->shape.rank > 1)
            epl_tensor_fill_normal(x, t->rng, 0, 1);
        for (int64_t k = 0; (x->dtype != EPL_F32 || x->shape.rank < 2) && k < epl_tensor_count(x); k++)
            epl_tensor_set(x, k, x->shape.rank == 0 ? 1e-3 : 1); // the rate; weights and labels
    }
    CHECK_OK(t, ctx, epl_program_run(p));
    for (const epl_node *n = epl_first(m->graph); n; n = epl_next(n)) {
        if (strcmp(epl_node_op_name(n), "Parameter") != 0)
            continue;
        const char       *name = epl_value_name(epl_node_output(n, 0));
        const epl_tensor *now = epl_weights_find(m->weights, name);
        for (int64_t i = 0; i < epl_tensor_count(now); i++)
            if (!isfinite(epl_tensor_get(now, i)))
                FAIL(t, "%s: '%s' is not finite after a step", epl_zoo_at(t->index)->name, name);
        if (epl_tensor_equal(now, epl_weights_find(before, name)) && feeds_logits(m->graph, n))
            FAIL(t, "%s: '%s' is as before the step", epl_zoo_at(t->index)->name, name);
    }
    epl_program_free(p);
    epl_graph_free(g);
    epl_weights_free(before);
    epl_model_free(m);
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

TEST(options_are_named_in_errors)
{
    static const struct {
        const char *description, *words;
    } wrong[] = {
        { "resnett:depth=20", "did you mean 'resnet'" },
        { "resnet:dept=20", "did you mean 'depth'" },
        { "resnet:depth=21", "option 'depth' is 21, but for small images it is 6n + 2" },
        { "resnet:depth=20,stem=imagenet", "option 'depth' is 20, but for ImageNet it is 18, 34, 50, 101 or 152" },
        { "resnet:depth=deep", "'depth' is 'deep'" },
        { "resnet:stem=tiny", "small|imagenet" },
        { "mlp:width=0", "from 1 to 65536" },
        { "mlp:width", "name=value" },
        { "vit:patch=15", "vit: option 'patch' is 15 and does not divide 'image', which is 224" },
        { "vit:heads=5", "vit: option 'heads' is 5 and does not divide 'width', which is 768" },
        { "swin:image=200", "swin: option 'image' is 200, but it must be a multiple of 32: patches and three merges" },
        { "swin:image=192", "swin: option 'window' is 7 and does not divide the side of a stage's map, which is 48" },
        { "vgg:image=31", "vgg: option 'image' is 31, but at least 32 is needed: five pools halve it" },
        { "vgg:depth=12", "vgg: option 'depth' is 12, but it must be 11, 13, 16 or 19" },
        { "resnext:depth=34", "resnext: option 'depth' is 34, but it must be 50, 101 or 152, which have bottlenecks" },
        { "densenet:image=31", "densenet: option 'image' is 31, but at least 32 is needed" },
        { "unet:image=40", "unet: option 'image' is 40, but it must be a multiple of 16: each level halves it" },
        { "unet:classes=0", "unet: option 'classes' is 0" },
    };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(wrong); i++)
        CHECK_FAILS(t, ctx, epl_zoo_build(ctx, wrong[i].description), EPL_ERR_ARGUMENT, wrong[i].words);
}

/* What a model cannot be is said in terms of its options, never of a convolution inside. */
static void builds_or_names_an_option(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    if (!g && !(epl_error_code(ctx) == EPL_ERR_ARGUMENT && strstr(epl_error_message(ctx), "option '")))
        FAIL(t, "%s: %s", description, epl_error_message(ctx));
    epl_error_clear(ctx);
    epl_graph_free(g);
}

PROPERTY(impossible_options_are_named, epl_zoo_count())
{
    epl_context *ctx = test_context(t);
    const epl_zoo_entry *e = epl_zoo_at(t->index);
    char description[400];
    for (int i = 0; i < EPL_ZOO_MAX_OPTIONS && e->options[i].name; i++) {
        const epl_zoo_option *o = &e->options[i];
        if (o->choices)
            continue;
        snprintf(description, sizeof description, "%s:%s,%s=%.17g", e->name, e->small, o->name, o->low);
        builds_or_names_an_option(t, ctx, description);
        snprintf(description, sizeof description, "%s:%s=%.17g", e->name, o->name, o->low);
        builds_or_names_an_option(t, ctx, description);
    }
    for (int image = 1; image < 36 && strcmp(e->options[1].name, "image") == 0; image++) {
        snprintf(description, sizeof description, "%s:%s,image=%d", e->name, e->small, image);
        builds_or_names_an_option(t, ctx, description);
    }
}

/* ---- the same weights in another network ------------------------------------------------------------------------- */

TEST(a_network_is_rebuilt_for_another_image)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(epl_zoo_build(ctx, "cnn:image=28,channels=1"));
    CHECK_OK(t, ctx, m && epl_model_init(m, 7));
    epl_model *larger = epl_zoo_rebuild(m, "image=40");
    CHECK_OK(t, ctx, larger);
    CHECK_INT(t, epl_dim(epl_graph_input_at(larger->graph, 0), 1), 40);
    CHECK_INT(t, epl_weights_count(larger->weights), epl_weights_count(m->weights));
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        if (!epl_tensor_equal(epl_weights_at(m->weights, i), epl_weights_find(larger->weights, epl_weights_name(m->weights, i))))
            FAIL(t, "'%s' is another one", epl_weights_name(m->weights, i));
    CHECK_FAILS(t, ctx, epl_zoo_rebuild(m, "imag=40"), EPL_ERR_ARGUMENT, "did you mean 'image'");
    CHECK_FAILS(t, ctx, epl_zoo_rebuild(m, "classes=7"), EPL_ERR_SHAPE, "weight");
    epl_model_free(larger);
    epl_model_free(m);
}
