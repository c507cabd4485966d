/* NiNformer: the shared norm's gradient, every gate, what is refused; MLP-Mixer with its options. */
#include "common/check.h"

#include <espalier/espalier.h>

/* The sum of squares of the block's output, its value and its gradient by the named parameters, for weights that
 * depend on the part of a name after the scope of norms: norm, norm1 and norm2 get the same. */
static double run(test *t, epl_context *ctx, bool two_norms, const char *const *names, int n, float out[][6])
{
    enum { L = 4, C = 6 };
    epl_graph *g = epl_graph_new(ctx, "block");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2, L, C), NULL), *of[4], *grad[4];
    epl_value *y = epl_ninformer(g, x, (epl_ninformer_opts){ .two_norms = two_norms, .gate = { .hidden = 5 } });
    epl_value *loss = epl_reduce_sum_square(g, y, (epl_reduce_opts){ 0 });
    for (int i = 0; i < n; i++)
        of[i] = epl_graph_find(g, names[i]);
    CHECK_OK(t, ctx, epl_gradient(g, loss, n, of, grad));
    epl_output(g, "loss", loss);
    for (int i = 0; i < n; i++)
        epl_output(g, names[i], grad[i]);
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 4)); // draws depend on names, and norms start at 1 and 0
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    epl_rng r = epl_rng_at(8, 0);
    epl_tensor_fill_normal(epl_program_input(p, 0), &r, 0, 1);
    CHECK_OK(t, ctx, epl_program_run(p));
    const double value = epl_tensor_get(epl_program_output(p, 0), 0);
    for (int i = 0; i < n; i++)
        memcpy(out[i], epl_program_output(p, i + 1)->data, sizeof out[i]);
    epl_program_free(p);
    epl_model_free(m);
    return value;
}

TEST(a_shared_norm_gets_the_gradients_of_both_uses)
{
    epl_context *ctx = test_context(t);
    static const char *const one[] = { "block.norm.weight", "block.norm.bias" };
    static const char *const two[] = { "block.norm1.weight", "block.norm1.bias", "block.norm2.weight", "block.norm2.bias" };
    float shared[2][6], apart[4][6];
    CHECK_NEAR(t, run(t, ctx, false, one, 2, shared), run(t, ctx, true, two, 4, apart), .rtol = 1e-6);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 6; i++)
            CHECK_NEAR(t, shared[k][i], (double)apart[k][i] + (double)apart[k + 2][i], .rtol = 1e-4, .atol = 1e-4);
}

/* Weights of the projection and both perceptrons, by differences of the loss. */
TEST(gradients_agree_with_differences)
{
    epl_context *ctx = test_context(t);
    static const char *const names[] = { "block.gate.project.weight", "block.gate.inner.tokens1.weight", "block.gate.inner.mlp2.weight",
                                         "block.mlp1.weight", "block.norm.weight" };
    epl_graph *g = epl_graph_new(ctx, "block");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4, 6), NULL), *of[5], *grad[5];
    epl_value               *loss =
        epl_reduce_mean(g, epl_square(g, epl_ninformer(g, x, (epl_ninformer_opts){ .gate = { .hidden = 5 } })),
                        (epl_reduce_opts){ 0 });
    for (int i = 0; i < 5; i++)
        of[i] = epl_graph_find(g, names[i]);
    CHECK_OK(t, ctx, epl_gradient(g, loss, 5, of, grad));
    epl_output(g, "loss", loss);
    for (int i = 0; i < 5; i++)
        epl_output(g, names[i], grad[i]);
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 4));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    epl_tensor_fill_normal(epl_program_input(p, 0), t->rng, 0, 1);
    for (int i = 0; i < 5; i++) {
        epl_tensor  *w = epl_weights_find(m->weights, names[i]);
        const double at = epl_tensor_get(w, 2), h = 1e-2;
        CHECK_OK(t, ctx, epl_program_run(p));
        const double slope = epl_tensor_get(epl_program_output(p, i + 1), 2);
        epl_tensor_set(w, 2, at + h);
        CHECK_OK(t, ctx, epl_program_run(p));
        const double above = epl_tensor_get(epl_program_output(p, 0), 0);
        epl_tensor_set(w, 2, at - h);
        CHECK_OK(t, ctx, epl_program_run(p));
        const double below = epl_tensor_get(epl_program_output(p, 0), 0);
        epl_tensor_set(w, 2, at);
        CHECK_NEAR(t, slope, (above - below) / (2 * h), .rtol = 2e-2, .atol = 1e-3);
    }
    epl_program_free(p);
    epl_model_free(m);
}

/* The transform by its sums. */
TEST(the_gate_of_fourier_is_the_transform)
{
    enum { L = 4, C = 3 };
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "gate");
    epl_value   *in  = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, L, C), NULL);
    epl_output(g, "y", epl_mixer_gate(g, in, (epl_mixer_gate_opts){ .gate = EPL_GATE_FOURIER, .hidden = 4 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    for (int i = 0; i < epl_weights_count(m->weights); i++) { // projection to 1, no perceptron, norms that give numbers apart
        const char *name = epl_weights_name(m->weights, i);
        for (int64_t k = 0; k < epl_tensor_count(epl_weights_at(m->weights, i)); k++)
            if (epl_glob("*project.weight,*mlp2.*", name))
                epl_tensor_set(epl_weights_at(m->weights, i), k, 0);
            else if (epl_glob("*project.bias", name))
                epl_tensor_set(epl_weights_at(m->weights, i), k, 1);
    }
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    epl_tensor_fill_normal(epl_program_input(p, 0), t->rng, 0, 1);
    CHECK_OK(t, ctx, epl_program_run(p));
    double x[L][C], n[L][C];
    for (int i = 0; i < L; i++) {
        double mean = 0, var = 0;
        for (int c = 0; c < C; c++)
            mean += (x[i][c] = epl_tensor_get(epl_program_input(p, 0), i * C + c)) / C;
        for (int c = 0; c < C; c++)
            var += pow(x[i][c] - mean, 2) / C;
        for (int c = 0; c < C; c++)
            n[i][c] = (x[i][c] - mean) / sqrt(var + 1e-5);
    }
    for (int k = 0; k < L; k++)
        for (int l = 0; l < C; l++) {
            double sum = x[k][l];
            for (int i = 0; i < L; i++)
                for (int c = 0; c < C; c++)
                    sum += n[i][c] * cos(2 * acos(-1) * ((double)i * k / L + (double)c * l / C));
            CHECK_NEAR(t, epl_tensor_get(epl_program_output(p, 0), k * C + l), sum, .atol = 1e-4);
        }
    epl_program_free(p);
    epl_model_free(m);
}

PROPERTY(every_gate_makes_a_network, 4)
{
    static const char *const gates[] = { "mixer", "token", "conv", "fourier" };
    epl_context *ctx = test_context(t);
    char         text[128];
    snprintf(text, sizeof text, "ninformer:image=8,patch=2,width=12,hidden=16,depth=2,gate=%s", gates[t->index]);
    epl_graph *g = epl_zoo_build(ctx, text);
    CHECK_OK(t, ctx, g && epl_graph_bind(g, "N", 3) && epl_graph_verify(g));
    epl_graph_free(g);
}

TEST(what_does_not_fit_is_refused)
{
    epl_context *ctx = test_context(t);
    CHECK_FAILS(t, ctx, epl_zoo_build(ctx, "ninformer:image=30"), EPL_ERR_ARGUMENT,
                "option 'patch' is 4 and does not divide 'image', which is 30");
    epl_graph *g = epl_graph_new(ctx, "gate"); // two by three patches
    epl_mixer_gate(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 6, 4), NULL), (epl_mixer_gate_opts){ .gate = EPL_GATE_CONV });
    CHECK_FAILS(t, ctx, epl_graph_finish(g), EPL_ERR_SHAPE, "6 positions are no square");
    epl_graph_free(g);
}
