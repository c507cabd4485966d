/* metrics: what logits say about labels - accuracy, top-5, confusion - counted on the host, from a batch at a time. */
#include "train/train.h"

#include <math.h>
#include <string.h>

enum { MAX_CONFUSION = 4096 };

bool epl_tally_init(epl_context *ctx, epl_tally *t, int n_classes)
{
    *t = (epl_tally){ .ctx = ctx, .n_classes = n_classes };
    if (n_classes > 0 && n_classes <= MAX_CONFUSION)
        t->confusion = epl_alloc_array(ctx, (size_t)n_classes * (size_t)n_classes, sizeof(double));
    return !(n_classes > 0 && n_classes <= MAX_CONFUSION) || t->confusion;
}

void epl_tally_release(epl_tally *t)
{
    epl_release(t->ctx, t->confusion);
    *t = (epl_tally){ 0 };
}

void epl_tally_clear(epl_tally *t)
{
    t->samples = t->rows = t->correct = t->top5 = 0;
    t->loss = 0;
    if (t->confusion)
        memset(t->confusion, 0, (size_t)t->n_classes * (size_t)t->n_classes * sizeof(double));
}

/* The class that a row of logits chooses; with one channel 1 means above 0. NaN is never chosen, so a row of NaN is class 0. */
static int64_t choice(const float *row, int64_t channels)
{
    if (channels == 1)
        return row[0] > 0;
    int64_t best = 0;
    for (int64_t c = 1; c < channels; c++)
        if (row[c] > row[best])
            best = c;
    return best;
}

/* How many classes stand before `label`: larger, or equal with a smaller index. */
static int64_t rank_of(const float *row, int64_t channels, int64_t label)
{
    int64_t before = 0;
    for (int64_t c = 0; c < channels; c++)
        before += row[c] > row[label] || (row[c] == row[label] && c < label);
    return before;
}

static void count_row(epl_tally *t, const float *row, int64_t channels, int64_t label)
{
    if (label < 0 || (channels > 1 && label >= channels) || (channels == 1 && label > 1))
        return; // an ignored pixel
    const int64_t chosen = choice(row, channels);
    t->rows++;
    t->correct += chosen == label;
    t->top5 += channels == 1 ? chosen == label : rank_of(row, channels, label) < 5;
    if (t->confusion && label < t->n_classes && chosen < t->n_classes)
        t->confusion[label * t->n_classes + chosen]++;
}

void epl_tally_add(epl_tally *t, double loss, const epl_tensor *logits, const epl_tensor *labels, int64_t n_valid)
{
    t->samples += n_valid;
    t->loss += loss * (double)n_valid;
    if (t->n_classes == 0 || labels->dtype != EPL_I64 || logits->dtype != EPL_F32 || logits->shape.rank < 1)
        return;
    const int64_t channels = logits->shape.dim[logits->shape.rank - 1], batch = logits->shape.dim[0];
    const int64_t rows = batch && channels ? epl_tensor_count(logits) / batch / channels : 0; // per sample
    if (epl_tensor_count(labels) != batch * rows)
        return;
    for (int64_t i = 0; i < n_valid * rows; i++)
        count_row(t, (const float *)logits->data + i * channels, channels, ((const int64_t *)labels->data)[i]);
}

static double mean_iou(const epl_tally *t)
{
    double sum = 0;
    int    n   = 0;
    for (int c = 0; t->confusion && c < t->n_classes; c++) {
        double in = 0, out = 0, both = t->confusion[c * t->n_classes + c];
        for (int k = 0; k < t->n_classes; k++) {
            in += t->confusion[c * t->n_classes + k];
            out += t->confusion[k * t->n_classes + c];
        }
        if (in > 0) {
            sum += both / (in + out - both);
            n++;
        }
    }
    return n ? sum / n : (double)NAN;
}

epl_metrics epl_tally_metrics(const epl_tally *t)
{
    const double rows = (double)t->rows;
    return (epl_metrics){ .count = t->samples, .loss = t->samples ? t->loss / (double)t->samples : (double)NAN,
                          .accuracy = t->rows ? (double)t->correct / rows : (double)NAN,
                          .top5 = t->rows ? (double)t->top5 / rows : (double)NAN, .mean_iou = mean_iou(t) };
}
