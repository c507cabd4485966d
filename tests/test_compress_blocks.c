/* Residual blocks removed: which, how many, and that the rest computes as if the branch gave 0. */
#include "common/check.h"
#include "common/outputs.h"

#include <espalier/espalier.h>

#include "compress/compress.h"

static epl_model *zoo(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_model_init(m, 11));
    return m;
}

static bool has(const epl_model *m, const char *pattern)
{
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        if (epl_glob(pattern, epl_weights_name(m->weights, i)))
            return true;
    return false;
}

/* The block whose last norm is nothing goes first, and nothing changes. */
PROPERTY(the_weakest_block_goes, 2)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, t->index ? "resnet:depth=20,width=4,image=8,pre=1" : "resnet:depth=20,width=4,image=8");
    const char  *block = t->index ? "stage2.unit3.*" : "stage3.unit2.*";
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        epl_tensor *w = epl_weights_at(m->weights, i);
        const bool  norm = epl_glob("*norm.weight", epl_weights_name(m->weights, i)), conv = w->shape.rank > 1;
        for (int64_t k = 0; epl_glob(block, epl_weights_name(m->weights, i)) && (norm || conv) && k < epl_tensor_count(w); k++)
            epl_tensor_set(w, k, 0);
    }
    epl_tensor        *want = test_outputs(t, m, 3);
    epl_channel_result r;
    CHECK_OK(t, ctx, epl_prune_blocks(m, (epl_block_opts){ .ratio = 0.15 }, &r) && epl_model_check(m) && epl_graph_verify(m->graph));
    epl_tensor *got = test_outputs(t, m, 3);
    CHECK_CLOSE(t, got, want, .rtol = 1e-5, .atol = 1e-5);
    CHECK_INT(t, r.units, 7); // of nine, two have a projection
    CHECK_INT(t, r.removed, 1);
    CHECK(t, !has(m, block) && has(m, "stage2.unit1.*"));
    CHECK_INT(t, epl_graph_n_parameters(m->graph), r.params_after);
    epl_tensor_free(want);
    epl_tensor_free(got);
    epl_model_free(m);
}

TEST(blocks_go_until_the_target_is_met)
{
    epl_context *ctx = test_context(t);
    static const char *const nets[] = { "resnet:depth=20,width=4,image=8", "mobilenet-v2:width=0.25,image=32,classes=10",
                                        "vit:image=16,patch=4,width=32,depth=2,heads=4,hidden=64,classes=10" };
    static const char *const criteria[] = { "bn-gamma", "l1", "random" };
    for (int i = 0; i < 3; i++) {
        epl_model         *m = zoo(t, ctx, nets[i]);
        epl_channel_result r;
        CHECK_OK(t, ctx, epl_prune_blocks(m, (epl_block_opts){ .macs = 0.8, .criterion = criteria[i] }, &r) && epl_model_check(m));
        CHECK(t, r.removed > 0 && r.removed < r.units && r.macs_after <= 0.8 * r.macs_before);
        epl_tensor *y = test_outputs(t, m, 3);
        CHECK(t, isfinite(epl_tensor_get(y, 0)));
        epl_tensor_free(y);
        epl_model_free(m);
    }
}

TEST(mistakes_are_named)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = zoo(t, ctx, "mlp:width=8,image=4"), *r = zoo(t, ctx, "resnet:depth=8,width=4,image=8");
    CHECK_FAILS(t, ctx, epl_prune_blocks(m, (epl_block_opts){ .ratio = 0.5 }, NULL), EPL_ERR_ARGUMENT, "no residual block");
    CHECK_FAILS(t, ctx, epl_prune_blocks(r, (epl_block_opts){ .macs = 0.1 }, NULL), EPL_ERR_LIMIT, "the target is 0.1");
    CHECK_FAILS(t, ctx, epl_prune_blocks(r, (epl_block_opts){ .criterion = "l3" }, NULL), EPL_ERR_ARGUMENT, "criterion for blocks");
    epl_model_free(m);
    epl_model_free(r);
}
