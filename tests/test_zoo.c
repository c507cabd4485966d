/* The zoo: parameters and multiply-adds against the published figures, options, and the named batch. */
#include "common/check.h"

#include <espalier/zoo.h>

/* Sources: the papers' tables and torchvision's model pages (parameters and GMACs of the weights they publish). */
static const struct {
    const char *description;
    int64_t     parameters;
    double      mmacs; /* 0: not published in that form */
} published[] = {
    { "resnet:stem=imagenet,depth=18,width=64,image=224,classes=1000", 11689512, 1814 },
    { "resnet:stem=imagenet,depth=34,width=64,image=224,classes=1000", 21797672, 3664 },
    { "resnet:stem=imagenet,depth=50,width=64,image=224,classes=1000", 25557032, 4089 },
    { "resnet:stem=imagenet,depth=101,width=64,image=224,classes=1000", 44549160, 7801 },
    { "resnet:stem=imagenet,depth=50,width=64,groups=32,group_width=0.0625,image=224,classes=1000", 25028904, 4230 },
    { "densenet:depth=121", 7978856, 2834 },
    { "densenet:depth=161,growth=48", 28681000, 7728 },
    { "densenet:depth=169", 14149480, 3360 },
    { "densenet:depth=201", 20013928, 4291 },
    { "mobilenet", 4231976, 568.740352 },
    { "mobilenet-v2", 3504872, 300.8 },
    { "vit", 86567656, 0 },
    { "lenet", 61706, 0.416520 },
};

PROPERTY(models_have_the_published_size, EPL_COUNT(published))
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, published[t->index].description);
    CHECK_OK(t, ctx, g != NULL);
    CHECK_INT(t, epl_graph_n_parameters(g), published[t->index].parameters);
    if (published[t->index].mmacs > 0)
        CHECK_NEAR(t, epl_graph_cost(g).macs / 1e6, published[t->index].mmacs, .rtol = 1e-3);
    epl_graph_free(g);
}

/* No builder bakes the batch: binding another one infers everything anew. */
PROPERTY(every_model_takes_any_batch, epl_zoo_count())
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, epl_zoo_at(t->index)->name);
    CHECK_OK(t, ctx, g != NULL);
    const epl_shape one = epl_shape_of(epl_graph_output_at(g, 0));
    CHECK_OK(t, ctx, epl_graph_bind(g, "N", 3) && epl_graph_verify(g));
    const epl_shape three = epl_shape_of(epl_graph_output_at(g, 0));
    CHECK_INT(t, three.dim[0], 3 * one.dim[0]);
    for (int i = 1; i < one.rank; i++)
        CHECK_INT(t, three.dim[i], one.dim[i]);
    epl_graph_free(g);
}

TEST(options_are_named_in_errors)
{
    epl_context *ctx = test_context(t);
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "resnett:depth=20"), EPL_ERR_ARGUMENT, "did you mean 'resnet'");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "resnet:dept=20"), EPL_ERR_ARGUMENT, "did you mean 'depth'");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "resnet:depth=21"), EPL_ERR_ARGUMENT, "6n + 2");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "resnet:depth=deep"), EPL_ERR_ARGUMENT, "'depth' is 'deep'");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "resnet:stem=tiny"), EPL_ERR_ARGUMENT, "small|imagenet");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "mlp:width=0"), EPL_ERR_ARGUMENT, "from 1 to 65536");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "mlp:width"), EPL_ERR_ARGUMENT, "name=value");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "vit:patch=15"), EPL_ERR_ARGUMENT, "does not divide");
}
