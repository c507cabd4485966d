/* Densely connected networks, KimiaNet and the small towers: published sizes and shapes, memory access. */
#include "common/check.h"

#include <espalier/espalier.h>

static const struct {
    const char *description;
    int64_t     parameters;
    double      macs; /* 0: not published */
} published[] = {
    { "densenet:depth=121", 7978856, 2834161664 }, { "densenet:depth=169", 14149480, 3359843328 },
    { "densenet:depth=201", 20013928, 4291365888 }, { "densenet:depth=161,growth=48", 28681000, 7727907072 },
    { "densenet:depth=264", 33337704, 5751653376 },
    { "kimianet", 6984606, 0 }, { "kimianet:classes=0", 6953856, 0 },
    { "densenet:depth=40,growth=12,plain=1,image=32,classes=10", 1019722, 0 },
    { "densenet:depth=40,growth=12,plain=1,image=32,classes=100", 1060132, 0 },
    { "densenet:depth=100,growth=12,plain=1,image=32,classes=10", 6979642, 0 },
    { "densenet:depth=100,growth=24,plain=1,image=32,classes=10", 27249082, 0 },
    { "densenet:depth=100,growth=24,plain=1,image=32,classes=100", 27457972, 0 },
    { "densenet:depth=100,growth=12,image=32,classes=10", 769162, 0 },
    { "densenet:depth=100,growth=12,image=32,classes=100", 800032, 0 },
    { "densenet:depth=250,growth=24,image=32,classes=10", 15324406, 0 },
    { "densenet:depth=250,growth=24,image=32,classes=100", 15480556, 0 },
    { "densenet:depth=190,growth=40,image=32,classes=10", 25624430, 0 },
    { "densenet:depth=190,growth=40,image=32,classes=100", 25821620, 0 },
    { "densenet:depth=22,growth=12,image=28,channels=1,classes=10", 71254, 0 },
    { "densenet:depth=40,growth=12,image=28,channels=1,classes=10", 175690, 0 },
    { "cbr:variant=large-t", 8551998, 0 }, { "cbr:variant=large-w", 8456286, 0 },
    { "cbr:variant=small", 2120766, 0 }, { "cbr:variant=tiny", 1086270, 0 },
};

PROPERTY(networks_have_the_published_size, EPL_COUNT(published))
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, published[t->index].description);
    CHECK_OK(t, ctx, g != NULL);
    CHECK_INT(t, epl_graph_n_parameters(g), published[t->index].parameters);
    if (published[t->index].macs > 0)
        CHECK_INT(t, epl_graph_cost(g).macs, published[t->index].macs);
    epl_graph_free(g);
}

TEST(kimianet_sees_31_by_31_features_and_keeps_their_sign)
{
    epl_context *ctx = test_context(t);
    for (int relu = 0; relu < 2; relu++) {
        epl_graph *g = epl_zoo_build(ctx, relu ? "kimianet:final_relu=1" : "kimianet");
        CHECK_OK(t, ctx, g != NULL);
        const epl_node *pool = epl_first(g);
        while (strcmp(epl_node_op_name(pool), "GlobalAveragePool") != 0 && strcmp(epl_node_op_name(pool), "ReduceMean") != 0)
            pool = epl_next(pool);
        CHECK_INT(t, epl_dim(epl_node_input(pool, 0), 1), 31);
        CHECK_INT(t, epl_channels(epl_node_input(pool, 0)), 1024);
        CHECK_STR(t, epl_node_op_name(epl_producer(epl_node_input(pool, 0))), relu ? "Relu" : "BatchNorm");
        epl_graph_free(g);
    }
}

/* Dense layers and transitions of depth 40 without bottlenecks read and write 3.65 M elements: the 3.7 M of Lee et al. 2019
 * (arXiv:1904.09730), sec. 3. */
TEST(plain_depth_40_moves_what_the_literature_says)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, "densenet:depth=40,growth=12,plain=1,image=32,classes=10");
    CHECK_OK(t, ctx, g != NULL);
    double elements = 0;
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        if (strcmp(epl_node_op_name(n), "Conv") == 0 && !epl_glob("stem*", epl_node_scope(n)))
            elements += epl_node_cost(n).bytes / 4;
    CHECK_NEAR(t, elements, 3.65e6, .rtol = 3e-3);
    epl_graph_free(g);
}

TEST(depths_that_do_not_divide_are_refused)
{
    epl_context *ctx = test_context(t);
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "densenet:depth=41"), EPL_ERR_ARGUMENT,
                "'depth' is 41, but it is 121, 161, 169, 201, 264 or 6n + 4");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "densenet:depth=41,plain=1"), EPL_ERR_ARGUMENT, "with plain=1 it is 3n + 4");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "densenet:compression=0"), EPL_ERR_ARGUMENT, "'compression' is 0");
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "densenet:compression=1.1"), EPL_ERR_ARGUMENT, "'compression' is 1.1");
}
