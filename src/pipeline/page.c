/* page: the report of a run - key figures, the table of before and after, curves, what the sparse layers look like, which
 * samples the smallest network gets wrong. */
#include "pipeline/pipeline.h"

#include <espalier/compress.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool makes_model(const epl_stage *s) { return s->kind != EPL_STAGE_COMPILE; }

/* The model that others are measured against: where it began. */
static const epl_stage *origin(const epl_stage *s)
{
    while (s->from)
        s = s->from;
    return s;
}

epl_table *epl_pipeline_table(const epl_pipeline *p)
{
    epl_table *t = epl_table_new(p->ctx, NULL);
    epl_table_column(t, "model", (epl_column_opts){ 0 });
    epl_table_column(t, "from", (epl_column_opts){ 0 });
    epl_table_column(t, "accuracy", (epl_column_opts){ .format = EPL_FORMAT_PERCENT, .decimals = 2 });
    epl_table_column(t, "parameters", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "non-zero", (epl_column_opts){ .key = "nonzero", .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "MACs", (epl_column_opts){ .key = "executed_macs", .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "file", (epl_column_opts){ .key = "file_bytes", .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "library", (epl_column_opts){ .key = "library_us", .unit = "us", .format = EPL_FORMAT_FIXED, .decimals = 1 });
    epl_table_column(t, "as C", (epl_column_opts){ .key = "compiled_us", .unit = "us", .format = EPL_FORMAT_FIXED, .decimals = 1 });
    epl_table_column(t, "C weights", (epl_column_opts){ .key = "compiled_bytes", .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "C differs by", (epl_column_opts){ .key = "max_abs_diff" });
    epl_table_column(t, "weights saved", (epl_column_opts){ .key = "saved", .format = EPL_FORMAT_PERCENT });
    for (int i = 0; i < p->n_stages; i++) {
        const epl_stage        *s = &p->stages[i];
        const epl_stage_result *r = &s->result;
        if (!makes_model(s))
            continue;
        epl_table_row(t);
        epl_table_text(t, s->name);
        epl_table_text(t, s->from ? s->from->name : s->teacher ? s->teacher->name : "");
        epl_table_number(t, r->accuracy);
        epl_table_integer(t, r->parameters);
        epl_table_integer(t, r->nonzero);
        epl_table_number(t, r->executed_macs);
        epl_table_integer(t, r->file_bytes);
        epl_table_number(t, r->library_us);
        if (r->compiled) {
            epl_table_number(t, r->compiled_us);
            epl_table_integer(t, r->compiled_bytes);
            epl_table_number(t, r->max_abs_diff);
        } else {
            for (int k = 0; k < 3; k++)
                epl_table_empty(t);
        }
        if (s->from)
            epl_table_number(t, 1 - (double)r->nonzero / (double)origin(s)->result.nonzero);
    }
    return t;
}

/* ---- curves ---- */

static void add_curve(epl_plot *plot, const epl_stage *s, bool accuracy)
{
    const int n = s->result.n_epochs;
    double   *x = malloc((size_t)(n + 1) * sizeof *x), *y = malloc((size_t)(n + 1) * sizeof *y);
    for (int i = 0; x && y && i < n; i++) {
        x[i] = (double)s->result.history[i].epoch;
        y[i] = accuracy ? s->result.history[i].val_accuracy : s->result.history[i].loss;
    }
    if (x && y && n)
        epl_plot_line(plot, s->name, x, y, (size_t)n, (epl_line_opts){ .markers = true });
    free(x);
    free(y);
}

static void add_curves(const epl_pipeline *p, epl_report *r)
{
    epl_plot *loss = epl_plot_new(p->ctx, (epl_plot_opts){ .title = "Training loss", .x_label = "epoch", .width = 520, .height = 320 });
    epl_plot *accuracy = epl_plot_new(p->ctx, (epl_plot_opts){ .title = "Test accuracy", .x_label = "epoch", .y_percent = true,
                                                               .width = 520, .height = 320 });
    for (int i = 0; i < p->n_stages; i++)
        if (makes_model(&p->stages[i])) {
            add_curve(loss, &p->stages[i], false);
            add_curve(accuracy, &p->stages[i], true);
        }
    epl_report_begin_columns(r);
    epl_report_plot(r, loss, "As each stage saw it: a distilled stage's loss is a mixture with the teacher's.");
    epl_report_plot(r, accuracy, NULL);
    epl_report_end_columns(r);
    epl_plot_free(loss);
    epl_plot_free(accuracy);
}

/* ---- accuracy against what it costs ---- */

static void add_costs(const epl_pipeline *p, epl_report *r)
{
    enum { MOST = 64 };
    const char *names[MOST];
    double      size[MOST], latency[MOST], accuracy[MOST];
    size_t      n = 0;
    for (int i = 0; i < p->n_stages && n < MOST; i++)
        if (makes_model(&p->stages[i])) {
            const epl_stage_result *s = &p->stages[i].result;
            names[n]    = p->stages[i].name;
            size[n]     = (double)s->nonzero;
            latency[n]  = s->compiled ? s->compiled_us : s->library_us;
            accuracy[n] = s->accuracy;
            n++;
        }
    epl_plot *by_size = epl_plot_new(p->ctx, (epl_plot_opts){ .title = "Accuracy against size", .x_label = "non-zero parameters",
                                                              .x_log = true, .y_percent = true, .width = 520, .height = 320 });
    epl_plot *by_time = epl_plot_new(p->ctx, (epl_plot_opts){ .title = "Accuracy against latency", .x_label = "one sample, one thread [us]",
                                                              .x_log = true, .y_percent = true, .width = 520, .height = 320 });
    epl_plot_scatter(by_size, NULL, size, accuracy, n, (epl_scatter_opts){ .labels = names, .radius = 5 });
    epl_plot_scatter(by_time, NULL, latency, accuracy, n, (epl_scatter_opts){ .labels = names, .radius = 5 });
    epl_report_begin_columns(r);
    epl_report_plot(r, by_size, NULL);
    epl_report_plot(r, by_time, "Compiled to C where the run compiled it, else in the library.");
    epl_report_end_columns(r);
    epl_plot_free(by_size);
    epl_plot_free(by_time);
}

/* ---- sparsity by layer ---- */

static void add_sparsity(const epl_pipeline *p, const epl_stage *s, epl_report *r)
{
    enum { MOST = 64 };
    const char *names[MOST];
    double      zeros[MOST];
    size_t      n = 0;
    epl_model  *m = epl_model_load(p->ctx, epl_stage_path(s, "model.safetensors"));
    for (const epl_node *node = m ? epl_first(m->graph) : NULL; node && n < MOST; node = epl_next(node)) {
        const epl_value *v = strcmp(epl_node_op_name(node), "Parameter") == 0 ? epl_node_output(node, 0) : NULL;
        if (!v || epl_rank(v) < 2)
            continue;
        const epl_tensor *t = epl_weights_find(m->weights, epl_value_name(v));
        int64_t count = 0;
        for (int64_t i = 0; i < epl_tensor_count(t); i++)
            count += epl_tensor_get(t, i) == 0;
        names[n]   = epl_value_name(v);
        zeros[n++] = (double)count / (double)epl_tensor_count(t);
    }
    epl_plot *plot = epl_plot_new(p->ctx, (epl_plot_opts){ .title = "Zero weights by layer",
                                                           .y_percent = true,
                                                           .y_max = 1,
                                                           .width = 900,
                                                           .height = 360 });
    epl_plot_categories(plot, names, n);
    epl_plot_bars(plot, NULL, zeros, NULL, n);
    epl_report_plot(r, plot, NULL);
    epl_plot_free(plot);
    epl_model_free(m);
}

/* ---- weights that are powers of two ---- */

static void add_codes(const epl_pipeline *p, const epl_stage *s, epl_report *r)
{
    epl_model *m = epl_model_load(p->ctx, epl_stage_path(s, "model.safetensors"));
    epl_table *t = m ? epl_shift_report(m) : NULL;
    if (t)
        epl_report_table(r, t);
    epl_report_text(r,
                    "Weights of the model `%s`: how many are negative, the shares of their magnitudes, and the entropy "
                    "of a code in bits.",
                    s->name);
    epl_table_free(t);
    epl_model_free(m);
}

/* ---- mistakes ---- */

typedef struct mistake {
    int64_t sample;
    int     truth, said;
    double  sure; /* the probability of the wrong class */
} mistake;

static int surest_first(const void *a, const void *b)
{
    const mistake *x = a, *y = b;
    return (x->sure < y->sure) - (x->sure > y->sure);
}

static mistake judge(const epl_tensor *logits, int64_t i, int64_t truth)
{
    const int64_t classes = logits->shape.dim[1];
    const float  *row     = (const float *)logits->data + i * classes;
    int     best = 0;
    double  sum  = 0;
    for (int64_t c = 1; c < classes; c++)
        if (row[c] > row[best])
            best = (int)c;
    for (int64_t c = 0; c < classes; c++)
        sum += exp((double)row[c] - (double)row[best]);
    return (mistake){ i, (int)truth, best, 1 / sum };
}

static void add_pictures(const epl_pipeline *p, const mistake *all, size_t n, epl_report *r)
{
    enum { SHOWN = 24 };
    epl_picture pictures[SHOWN];
    char        captions[SHOWN][96];
    const epl_dataset_info info = epl_dataset_info_of(p->test);
    size_t shown = 0;
    for (; shown < n && shown < SHOWN; shown++) {
        void       *png = NULL;
        size_t      bytes = 0;
        epl_tensor *image = epl_tensor_new(p->ctx, info.x_dtype, info.x_shape);
        const bool  ok = image && epl_dataset_fetch(p->test, all[shown].sample, image->data, NULL) &&
                        epl_image_encode_png(p->ctx, image, &png, &bytes);
        epl_tensor_free(image);
        if (!ok)
            break;
        snprintf(captions[shown], sizeof captions[shown], "%s, not %s (%.0f %%)", epl_dataset_class_name(p->test, all[shown].truth),
                 epl_dataset_class_name(p->test, all[shown].said), 100 * all[shown].sure);
        pictures[shown] = (epl_picture){ .png = png, .bytes = bytes, .caption = captions[shown], .mark = 2 };
    }
    epl_report_pictures(r, pictures, shown, (epl_pictures_opts){ .title = "The surest mistakes", .size = 112, .width = 900 });
    for (size_t i = 0; i < shown; i++)
        epl_release(p->ctx, (void *)(uintptr_t)pictures[i].png);
}

static bool is_picture(epl_dataset_info info)
{
    return info.x_shape.rank == 3 && info.x_dtype == EPL_U8 && (info.x_shape.dim[2] == 1 || info.x_shape.dim[2] == 3);
}

static bool add_mistakes(const epl_pipeline *p, const epl_stage *s, epl_report *r)
{
    epl_evaluation e = { 0 };
    epl_model     *m = epl_model_load(p->ctx, epl_stage_path(s, "model.safetensors"));
    bool ok = m && epl_evaluate(m, p->test, (epl_evaluate_opts){ .batch = 200, .keep_logits = true }, &e);
    const epl_dataset_info info = epl_dataset_info_of(p->test);
    if (ok && e.confusion) {
        const char **names = malloc((size_t)e.n_classes * sizeof *names);
        for (int c = 0; names && c < e.n_classes; c++)
            names[c] = epl_dataset_class_name(p->test, c);
        epl_plot *plot =
            epl_plot_new(p->ctx,
                         (epl_plot_opts){ .title = "Confusion: rows are the truth, columns what the network said",
                                          .width = 720 });
        epl_plot_matrix(plot, e.confusion, (size_t)e.n_classes, (size_t)e.n_classes,
                        (epl_matrix_opts){ .row_names = names, .column_names = names, .confusion = true });
        epl_report_plot(r, plot, NULL);
        epl_plot_free(plot);
        free(names);
    }
    epl_tensor *y = NULL;
    if (ok && e.logits && e.logits->shape.rank == 2 && is_picture(info) && (ok = epl_dataset_tensors(p->test, 0, info.count, NULL, &y))) {
        mistake *all = malloc((size_t)info.count * sizeof *all);
        size_t   n   = 0;
        for (int64_t i = 0; all && i < info.count; i++) {
            all[n] = judge(e.logits, i, epl_tensor_get_i64(y, i));
            n += all[n].said != all[n].truth;
        }
        if (all) {
            qsort(all, n, sizeof *all, surest_first);
            add_pictures(p, all, n, r);
        }
        free(all);
    }
    epl_tensor_free(y);
    epl_evaluation_release(p->ctx, &e);
    epl_model_free(m);
    return ok;
}

/* ---- the page ---- */

static void add_key(const epl_stage *s, epl_report *r)
{
    char value[64], remark[128], size[32];
    snprintf(value, sizeof value, "%.2f %%", 100 * s->result.accuracy);
    epl_format_count(size, (double)s->result.nonzero);
    if (s->result.compiled)
        snprintf(remark, sizeof remark, "%s weights, %.0f us as C", size, s->result.compiled_us);
    else
        snprintf(remark, sizeof remark, "%s weights", size);
    epl_report_key(r, s->name, value, remark);
}

static void add_times(const epl_pipeline *p, epl_report *r)
{
    epl_table *t = epl_table_new(p->ctx, NULL);
    epl_table_column(t, "stage", (epl_column_opts){ 0 });
    epl_table_column(t, "time", (epl_column_opts){ .format = EPL_FORMAT_SECONDS });
    epl_table_column(t, "", (epl_column_opts){ 0 });
    for (int i = 0; i < p->n_stages; i++) {
        epl_table_row(t);
        epl_table_text(t, p->stages[i].name);
        epl_table_number(t, p->stages[i].result.seconds);
        epl_table_text(t, p->stages[i].note ? p->stages[i].note : "");
    }
    epl_report_table(r, t);
    epl_table_free(t);
}

bool epl_pipeline_save_report(const epl_pipeline *p)
{
    char        path[4096], subtitle[512];
    snprintf(subtitle, sizeof subtitle, "%s, seed %llu", p->data, (unsigned long long)p->seed);
    epl_report *r = epl_report_new(p->ctx, p->title, (epl_report_opts){ .subtitle = subtitle, .footer = "Made by espalier run." });
    epl_table  *t = epl_pipeline_table(p);
    const epl_stage *last = NULL, *pruned = NULL, *shifted = NULL;
    for (int i = 0; i < p->n_stages; i++)
        if (makes_model(&p->stages[i])) {
            add_key(&p->stages[i], r);
            last   = &p->stages[i];
            pruned = p->stages[i].kind == EPL_STAGE_PRUNE ? last : pruned;
            shifted = p->stages[i].kind == EPL_STAGE_QUANTIZE ? last : shifted;
        }
    epl_report_section(r, "Before and after");
    epl_report_table(r, t);
    epl_report_text(r, "MACs leave out those with a zero weight. Latency is the median for one sample on one thread. "
                       "\"C differs by\" is the "
                       "largest difference of an output from the library's over the whole test set.");
    add_costs(p, r);
    epl_report_section(r, "Training");
    add_curves(p, r);
    add_times(p, r);
    if (pruned) {
        epl_report_section(r, "Sparsity");
        add_sparsity(p, pruned, r);
    }
    if (shifted) {
        epl_report_section(r, "Powers of two");
        add_codes(p, shifted, r);
    }
    bool ok = true;
    if (last) {
        epl_report_section(r, "What it gets wrong");
        epl_report_text(r, "The model `%s` on the test set.", (pruned ? pruned : last)->name);
        ok = add_mistakes(p, pruned ? pruned : last, r);
    }
    snprintf(path, sizeof path, "%s/report.html", p->dir);
    ok = ok && epl_report_save(r, path);
    epl_report_free(r);
    epl_table_free(t);
    return ok;
}
