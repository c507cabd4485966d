/* confidence: what a classifier's probabilities are worth - likelihood, calibration, and whether it is less sure
 * about what it has never seen. */
#include <espalier/analysis.h>

#include <math.h>
#include <stdio.h>

/* The softmax of a row: its largest value, where it is, and -log of the label's. */
typedef struct softmax_row {
    double  confidence, nll;
    int64_t chosen;
} softmax_row;

static softmax_row row_of(const float *x, int64_t classes, int64_t label)
{
    softmax_row r = { 0 };
    double sum = 0;
    for (int64_t c = 1; c < classes; c++)
        r.chosen = x[c] > x[r.chosen] ? c : r.chosen;
    for (int64_t c = 0; c < classes; c++)
        sum += exp((double)x[c] - (double)x[r.chosen]);
    r.confidence = 1 / sum;
    r.nll        = log(sum) + (double)x[r.chosen] - (double)x[label];
    return r;
}

static bool check_logits(epl_context *ctx, const epl_tensor *logits)
{
    char is[192];
    return (logits->dtype == EPL_F32 && logits->shape.rank == 2 && logits->shape.dim[0] > 0 &&
            logits->shape.dim[1] > 1) ||
           epl_fail(ctx, EPL_ERR_SHAPE, "logits of %s: f32 [n, classes] with at least two classes are needed",
                    epl_shape_text(is, logits->shape));
}

static bool check_labels(epl_context *ctx, const epl_tensor *logits, const epl_tensor *labels)
{
    const int64_t n = logits->shape.dim[0], classes = logits->shape.dim[1];
    if (labels->dtype != EPL_I64 || epl_tensor_count(labels) != n)
        return epl_fail(ctx, EPL_ERR_SHAPE, "%lld labels of %s for the logits of %lld samples", (long long)epl_tensor_count(labels),
                        epl_dtype_name(labels->dtype), (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (epl_tensor_get_i64(labels, i) < 0 || epl_tensor_get_i64(labels, i) >= classes)
            return epl_fail(ctx, EPL_ERR_ARGUMENT, "label %lld of sample %lld, the logits have %lld classes",
                            (long long)epl_tensor_get_i64(labels, i), (long long)i, (long long)classes);
    return true;
}

bool epl_calibration_of(epl_context *ctx, const epl_tensor *logits, const epl_tensor *labels, int bins, epl_calibration *out)
{
    *out = (epl_calibration){ .n_bins = bins ? bins : 15 };
    if (bins < 0 || bins > EPL_MAX_BINS)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "%d bins of confidence, from 1 to %d are possible", bins, EPL_MAX_BINS);
    if (!check_logits(ctx, logits) || !check_labels(ctx, logits, labels))
        return false;
    const int64_t classes = logits->shape.dim[1];
    out->n = logits->shape.dim[0];
    for (int64_t i = 0; i < out->n; i++) {
        const int64_t     label = epl_tensor_get_i64(labels, i);
        const softmax_row r = row_of((const float *)logits->data + i * classes, classes, label);
        int b = (int)ceil(r.confidence * out->n_bins) - 1; // bins are (low, high]
        b = b < 0 ? 0 : b >= out->n_bins ? out->n_bins - 1 : b;
        out->count[b]++;
        out->confidence[b] += r.confidence;
        out->right[b] += r.chosen == label;
        out->accuracy += r.chosen == label;
        out->nll += r.nll;
    }
    for (int b = 0; b < out->n_bins; b++) {
        out->ece += fabs(out->right[b] - out->confidence[b]) / (double)out->n;
        out->right[b] /= out->count[b] > 0 ? out->count[b] : 1;
        out->confidence[b] /= out->count[b] > 0 ? out->count[b] : 1;
    }
    out->accuracy /= (double)out->n;
    out->nll /= (double)out->n;
    return true;
}

bool epl_confidences(epl_context *ctx, const epl_tensor *logits, double *out)
{
    if (!check_logits(ctx, logits))
        return false;
    for (int64_t i = 0, classes = logits->shape.dim[1]; i < logits->shape.dim[0]; i++)
        out[i] = row_of((const float *)logits->data + i * classes, classes, 0).confidence;
    return true;
}

/* ---- telling apart ---- */

/* Pictures of other sizes and colours become such as the network takes; then what the model says that its inputs need. */
static bool words_for(const epl_model *m, epl_dataset *d, epl_text *words)
{
    const epl_dataset_info info = epl_dataset_info_of(d);
    const epl_value *in  = epl_graph_input_at(m->graph, 0);
    const char      *own = epl_weights_metadata(m->weights, "espalier.augment");
    const epl_shape  is = info.x_shape, want = in ? epl_shape_of(in) : EPL_SCALAR;
    if (is.rank == 3 && want.rank == 4) {
        if (is.dim[2] != want.dim[3])
            epl_text_addf(words, "%s,", want.dim[3] == 1 ? "gray" : "rgb");
        if (is.dim[0] != want.dim[1] || is.dim[1] != want.dim[2])
            epl_text_addf(words, "resize:%lld:%lld,", (long long)want.dim[1], (long long)want.dim[2]);
    }
    epl_text_add(words, own ? own : "");
    return !words->failed;
}

epl_tensor *epl_logits_of(const epl_model *m, epl_dataset *d, epl_progress progress)
{
    epl_text    words = EPL_TEXT(m->ctx);
    epl_tensor *y = words_for(m, d, &words)
                        ? epl_features(m, d,
                                       (epl_features_opts){ .layer = epl_graph_output_name(m->graph, 0),
                                                            .augment = epl_text_str(&words),
                                                            .progress = progress })
                        : NULL;
    epl_text_release(&words);
    return y;
}

static double *confidences_of(const epl_model *m, epl_dataset *d, int64_t *n)
{
    epl_tensor *logits = epl_logits_of(m, d, (epl_progress){ 0 });
    *n = logits ? logits->shape.dim[0] : 0;
    double *c = logits ? epl_alloc_array(m->ctx, (size_t)*n, sizeof *c) : NULL;
    if (c && !epl_confidences(m->ctx, logits, c)) {
        epl_release(m->ctx, c);
        c = NULL;
    }
    epl_tensor_free(logits);
    return c;
}

double epl_ood_auroc(const epl_model *m, epl_dataset *in, epl_dataset *out)
{
    int64_t n_in = 0, n_out = 0;
    double *a = confidences_of(m, in, &n_in), *b = a ? confidences_of(m, out, &n_out) : NULL;
    const double y = b ? epl_auroc(m->ctx, a, n_in, b, n_out) : (double)NAN;
    epl_release(m->ctx, a);
    epl_release(m->ctx, b);
    return y;
}

/* ---- the picture ---- */

epl_plot *epl_reliability_plot(epl_context *ctx, const epl_calibration *c)
{
    double    right[EPL_MAX_BINS], sure[EPL_MAX_BINS];
    char      text[EPL_MAX_BINS][16];
    const char *names[EPL_MAX_BINS];
    epl_plot   *p =
        epl_plot_new(ctx,
                     (epl_plot_opts){
                         .title = "Reliability", .x_label = "confidence up to, %", .y_percent = true, .y_max = 1 });
    for (int b = 0; b < c->n_bins; b++) {
        snprintf(text[b], sizeof text[b], "%.0f", 100.0 * (b + 1) / c->n_bins);
        names[b] = text[b];
        right[b] = c->count[b] > 0 ? c->right[b] : (double)NAN;
        sure[b]  = c->count[b] > 0 ? c->confidence[b] : (double)NAN;
    }
    epl_plot_categories(p, names, (size_t)c->n_bins);
    epl_plot_bars(p, "accuracy", right, NULL, (size_t)c->n_bins);
    epl_plot_bars(p, "confidence", sure, NULL, (size_t)c->n_bins);
    return p;
}
