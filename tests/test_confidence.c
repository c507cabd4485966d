/* Confidence: likelihood and calibration against their definitions, other data; gradient flow against gradients that are known. */
#include <math.h>

#include <espalier/espalier.h>

#include "common/check.h"

/* Labels drawn from the stated probabilities: such a predictor is calibrated. */
TEST(a_calibrated_predictor_has_no_calibration_error)
{
    enum { N = 1000000, CLASSES = 3 };
    epl_context *ctx = test_context(t);
    epl_tensor  *logits = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(N, CLASSES)), *labels = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(N));
    CHECK_OK(t, ctx, logits && labels);
    epl_rng r = epl_rng_at(5, 0);
    for (int64_t i = 0; i < N; i++) {
        float *x = (float *)logits->data + i * CLASSES;
        double p[CLASSES], sum = 0, draw = epl_rng_uniform_f64(&r);
        for (int c = 0; c < CLASSES; c++) {
            x[c] = 3 * epl_rng_uniform(&r);
            sum += p[c] = exp((double)x[c]);
        }
        int64_t label = 0;
        for (double below = p[0] / sum; label < CLASSES - 1 && draw >= below; below += p[label] / sum)
            label++;
        ((int64_t *)labels->data)[i] = label;
    }
    epl_calibration c;
    CHECK_OK(t, ctx, epl_calibration_of(ctx, logits, labels, 0, &c));
    CHECK(t, c.ece < 0.003 && c.n == N && c.n_bins == 15);
    CHECK(t, c.nll > 0.8 && c.nll < log(3));
    for (int64_t i = 0; i < N; i++) // all right, but no surer: the error is what confidence lacks
        ((int64_t *)labels->data)[i] = 0, ((float *)logits->data)[i * CLASSES] = 5;
    CHECK_OK(t, ctx, epl_calibration_of(ctx, logits, labels, 10, &c));
    CHECK(t, c.accuracy == 1 && c.ece > 0.02 && c.ece < 0.2 && fabs(c.right[9] - 1) < 1e-12);
    ((int64_t *)labels->data)[7] = 3;
    CHECK_FAILS(t, ctx, epl_calibration_of(ctx, logits, labels, 0, &c), EPL_ERR_ARGUMENT, "label 3 of sample 7, the logits have 3 classes");
    CHECK_FAILS(t, ctx, epl_calibration_of(ctx, logits, labels, 65, &c), EPL_ERR_ARGUMENT, "65 bins");
    CHECK_FAILS(t, ctx, epl_calibration_of(ctx, labels, labels, 0, &c), EPL_ERR_SHAPE, "logits of [1000000]: f32 [n, classes]");
    epl_tensor_free(logits);
    epl_tensor_free(labels);
}

/* Pictures of another size and colour reach the network; one that never saw them is no surer of noise than of itself. */
TEST(foreign_pictures_are_fitted)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(epl_zoo_build(ctx, "cnn:image=16,channels=1,width=4,classes=3"));
    epl_dataset *in = epl_dataset_open(ctx, "shapes:image=16,channels=1,classes=3,count=60", (epl_dataset_opts){ 0 });
    epl_dataset *out = epl_dataset_open(ctx, "noise:image=20,channels=3,count=50", (epl_dataset_opts){ 0 });
    CHECK_OK(t, ctx, m && in && out && epl_model_init(m, 2));
    const double area = epl_ood_auroc(m, in, out);
    CHECK_OK(t, ctx, area >= 0 && area <= 1);
    CHECK(t, epl_ood_auroc(m, in, in) == 0.5);
    epl_plot *p = NULL;
    epl_tensor *x = NULL, *y = NULL, *logits = epl_logits_of(m, in, (epl_progress){ 0 });
    epl_calibration c;
    CHECK_OK(t, ctx, logits && epl_dataset_tensors(in, 0, 60, &x, &y) && epl_calibration_of(ctx, logits, y, 0, &c));
    p = epl_reliability_plot(ctx, &c);
    char *svg = epl_plot_svg(p);
    CHECK(t, svg && strstr(svg, "Reliability"));
    epl_release(ctx, svg);
    epl_plot_free(p);
    epl_tensor_free(x);
    epl_tensor_free(y);
    epl_tensor_free(logits);
    epl_dataset_free(in);
    epl_dataset_free(out);
    epl_model_free(m);
}

/* A linear layer under the mean square: the gradient can be written down. What a mask hides has none. */
TEST(gradient_flow_of_a_linear_layer)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "line");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 2), "N,");
    epl_output(g, "logits", epl_linear(g, x, (epl_linear_opts){ .name = "l", .out = 1 }));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 0));
    epl_tensor *w = epl_weights_find(m->weights, "l.weight"), *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 2));
    epl_tensor *to = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 1));
    epl_tensor_set(w, 0, 1), epl_tensor_set(w, 1, -2);
    const double xs[4] = { 1, 2, 3, -1 }, ys[2] = { 0.5, 1 };
    for (int i = 0; i < 4; i++)
        epl_tensor_set(in, i, xs[i]);
    for (int i = 0; i < 2; i++)
        epl_tensor_set(to, i, ys[i]);
    double d[2], dw[2] = { 0 }, db = 0, total = 0; // d mean (y - t)^2: 2 (y - t) / 2 each
    for (int i = 0; i < 2; i++) {
        d[i] = xs[2 * i] - 2 * xs[2 * i + 1] - ys[i];
        dw[0] += d[i] * xs[2 * i], dw[1] += d[i] * xs[2 * i + 1], db += d[i];
    }
    epl_table *table = epl_gradient_flow(m, in, to, (epl_loss_opts){ .name = "mse" }, &total);
    CHECK_OK(t, ctx, table);
    CHECK(t, fabs(total - (dw[0] * dw[0] + dw[1] * dw[1] + db * db)) < 1e-4);
    epl_table_free(table);
    CHECK_OK(t, ctx, epl_prune_weights(m, (epl_prune_opts){ .sparsity = 0.5 })); // the first weight, the smaller one, goes
    for (int i = 0; i < 2; i++)
        d[i] = -2 * xs[2 * i + 1] - ys[i];
    dw[1] = d[0] * xs[1] + d[1] * xs[3], db = d[0] + d[1];
    table = epl_gradient_flow(m, in, to, (epl_loss_opts){ .name = "mse" }, &total);
    CHECK_OK(t, ctx, table);
    CHECK(t, fabs(total - (dw[1] * dw[1] + db * db)) < 1e-4);
    CHECK(t, epl_weights_find(m->weights, "train.sum.l.weight") == NULL); // the model is as it was
    epl_table_free(table);
    epl_tensor_free(in);
    epl_tensor_free(to);
    epl_model_free(m);
}
