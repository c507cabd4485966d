/* Compiled networks against the library: built by the system's compiler without a warning, run, compared. Foreign compilers and
 * emulators are used where they are installed. */
#include "common/sample.h"

#include <espalier/compile.h>
#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/program.h>

/* A convolutional network with normalisation, a residual sum, pools and a softmax. */
static epl_model *conv_net(test *t, epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "conv net");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 12, 12, 3), "N,,,");
    epl_value *w = epl_parameter(g, "stem.weight", EPL_F32, EPL_SHAPE(3, 3, 3, 20), EPL_INIT_NORMAL, 0.3);
    epl_value *b = epl_parameter(g, "stem.bias", EPL_F32, EPL_SHAPE(20), EPL_INIT_NORMAL, 0.3);
    epl_value *h = epl_convolve(g, x, w, b, (epl_convolve_opts){ .pad = 1 });
    h = epl_normalize_batch(g, h, epl_parameter(g, "bn.scale", EPL_F32, EPL_SHAPE(20), EPL_INIT_ONES, 0),
                            epl_parameter(g, "bn.bias", EPL_F32, EPL_SHAPE(20), EPL_INIT_NORMAL, 0.5),
                            epl_state(g, "bn.mean", EPL_F32, EPL_SHAPE(20), EPL_INIT_NORMAL, 0.1),
                            epl_state(g, "bn.var", EPL_F32, EPL_SHAPE(20), EPL_INIT_ONES, 0), 0, 0.9);
    h = epl_max_pool(g, epl_relu(g, h), (epl_pool_opts){ .kernel = { 2, 2 } });
    epl_value *d = epl_convolve(g, h, epl_parameter(g, "dw.weight", EPL_F32, EPL_SHAPE(3, 3, 1, 20), EPL_INIT_NORMAL, 0.3), NULL,
                                (epl_convolve_opts){ .pad = 1, .groups = 20 });
    d = epl_multiply_rows(g, epl_hard_swish(g, d), epl_parameter(g, "pw.weight", EPL_F32, EPL_SHAPE(20, 20), EPL_INIT_NORMAL, 0.3), NULL, false);
    h = epl_relu(g, epl_add(g, h, d));
    h = epl_global_average_pool(g, h);
    h = epl_multiply_rows(g, h, epl_parameter(g, "fc.weight", EPL_F32, EPL_SHAPE(20, 10), EPL_INIT_NORMAL, 0.5),
                          epl_parameter(g, "fc.bias", EPL_F32, EPL_SHAPE(10), EPL_INIT_NORMAL, 0.5), false);
    epl_output(g, "logits", h);
    epl_output(g, "p", epl_softmax(g, h, -1));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 11));
    return m;
}

/* Compiles, builds with every warning an error, and compares. */
static epl_verify_result verified(test *t, const epl_model *m, epl_compile_opts o, epl_verify_opts v, epl_artifact *made)
{
    epl_verify_result r;
    const char *dir = test_temp(t, o.name ? o.name : "model");
    v.flags = v.flags ? v.flags : "-Werror";
    CHECK_OK(t, m->ctx, epl_compile(m, dir, o, made));
    CHECK_OK(t, m->ctx, epl_verify_artifact(m, dir, o, v, &r));
    return r;
}

TEST(a_conv_net_gives_the_same_bits)
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = conv_net(t, ctx);
    epl_artifact made;
    const epl_verify_result r = verified(t, m, (epl_compile_opts){ .name = "conv_net" }, (epl_verify_opts){ .cc = "gcc" }, &made);
    CHECK_INT(t, r.n_samples, 16);
    CHECK_INT(t, r.n_outputs, 2);
    CHECK_NEAR(t, r.max_abs, 0, 0);
    CHECK(t, made.arena > 0 && made.weights > 20 * 20 * 4 && made.state == 0);
    epl_model_free(m);
}
