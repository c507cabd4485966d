/* The cycle model of N:M training against the table of its description. */
#include "common/check.h"

#include <espalier/espalier.h>

static double cycles(test *t, epl_context *ctx, const char *network, epl_sat_opts o, double *dense)
{
    epl_graph     *g = epl_zoo_build(ctx, network);
    epl_sat_result r = { 0 };
    CHECK_OK(t, ctx, g && epl_sat_simulate(g, o, &r));
    const double all = r.cycles;
    *dense = r.dense_cycles;
    epl_sat_release(ctx, &r);
    epl_graph_free(g);
    return all;
}

TEST(cycles_of_four_networks)
{
    static const struct {
        const char *network;
        int64_t     batch;
        double      dense, speedup[5];
    } nets[] = {
        { "resnet9", 512, 606682182, { 1.304, 1.304, 1.452, 1.875, 2.195 } },
        { "vgg:depth=19,image=32,classes=100,hidden=0,norm=1", 512, 632202536, { 1.307, 1.307, 1.457, 1.888, 2.215 } },
        { "resnet:stem=imagenet,depth=18,width=64,image=224,classes=1000", 64, 367477918, { 1.274, 1.274, 1.402, 1.753, 2.000 } },
        { "resnet:stem=imagenet,depth=50,width=64,image=224,classes=1000", 64, 901353520, { 1.241, 1.241, 1.368, 1.636, 1.778 } },
    };
    static const struct {
        epl_nm_mode mode;
        int         m;
    } columns[] = { { EPL_NM_SRSTE, 8 }, { EPL_NM_SDWP, 8 }, { EPL_NM_BDWP, 4 }, { EPL_NM_BDWP, 8 }, { EPL_NM_BDWP, 16 } };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(nets); i++)
        for (size_t k = 0; k < EPL_COUNT(columns); k++) {
            double dense;
            const double all = cycles(t, ctx, nets[i].network, (epl_sat_opts){ .n = 2, .m = columns[k].m, .mode = columns[k].mode,
                                                                               .batch = nets[i].batch }, &dense);
            CHECK_NEAR(t, dense, nets[i].dense, 0);
            CHECK_NEAR(t, dense / all, nets[i].speedup[k], .atol = 5.01e-4);
        }
}

TEST(stalls_and_late_masks_cost_cycles)
{
    epl_context *ctx = test_context(t);
    double       dense;
    const double all  = cycles(t, ctx, "resnet9", (epl_sat_opts){ .n = 2, .m = 8, .batch = 8 }, &dense);
    const double late = cycles(t, ctx, "resnet9", (epl_sat_opts){ .n = 2, .m = 8, .batch = 8, .no_pregen = true }, &dense);
    const double stalled = cycles(t, ctx, "resnet9", (epl_sat_opts){ .n = 2, .m = 8, .batch = 8, .no_interleave = true }, &dense);
    CHECK_NEAR(t, late - all, 2 * 6561792 / 32.0, 0); /* both masks of the weights of seven convolutions */
    CHECK(t, stalled > all);
    CHECK_NEAR(t, cycles(t, ctx, "resnet9", (epl_sat_opts){ .n = 1, .m = 1, .batch = 8 }, &dense), dense, 0);
    epl_graph *g = epl_zoo_build(ctx, "resnet9");
    epl_sat_result r;
    CHECK_FAILS(t, ctx, epl_sat_simulate(g, (epl_sat_opts){ .n = 3, .m = 2 }, &r), EPL_ERR_ARGUMENT, "3 of 2");
    epl_sat_opts o = { .n = 2, .m = 8 };
    CHECK_OK(t, ctx, epl_sat_simulate(g, o, &r));
    epl_table *table = epl_sat_report(ctx, &r, o);
    CHECK(t, table && r.n == 9);
    epl_table_free(table);
    epl_sat_release(ctx, &r);
    epl_graph_free(g);
}
