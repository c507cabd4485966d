/* eval: how well a network does on a data set. */
#include <math.h>
#include <string.h>

#include "measures.h"

static epl_table *confusion_table(cli *c, epl_dataset *d, const epl_evaluation *e)
{
    epl_table *t = epl_table_new(c->ctx, "truth \\ predicted");
    epl_table_column(t, "", (epl_column_opts){ .key = "truth" });
    for (int k = 0; k < e->n_classes; k++)
        epl_table_column(t, epl_dataset_class_name(d, k), (epl_column_opts){ 0 });
    for (int i = 0; i < e->n_classes; i++) {
        epl_table_row(t);
        epl_table_text(t, epl_dataset_class_name(d, i));
        for (int k = 0; k < e->n_classes; k++)
            epl_table_number(t, e->confusion[i * e->n_classes + k]);
    }
    return t;
}

/* Data of tokens have a class for each of them: the loss is that of one token. */
static bool is_language(epl_dataset *d)
{
    const epl_dataset_info info = epl_dataset_info_of(d);
    return info.x_dtype == EPL_I64 && info.n_classes > 0 && info.y_shape.rank == 1;
}

typedef struct wish {
    const char  *loss;
    bool         confusion;
    cli_measures measures;
    const char  *report;
    const char  *model;
    cli_data     data;
} wish;

static char *as_json(cli *c, epl_dataset *d, const epl_evaluation *e, double seconds, const wish *wishes)
{
    epl_text        out = EPL_TEXT(c->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, wishes->confusion ? 0 : 2);
    epl_json_open_object(&w, NULL);
    epl_json_put_i64(&w, "count", e->metrics.count);
    epl_json_put_f64(&w, "loss", e->metrics.loss);
    epl_json_put_f64(&w, "accuracy", e->metrics.accuracy);
    epl_json_put_f64(&w, "top5", e->metrics.top5);
    epl_json_put_f64(&w, "mean_iou", e->metrics.mean_iou);
    if (is_language(d)) {
        epl_json_put_f64(&w, "perplexity", exp(e->metrics.loss));
        epl_json_put_f64(&w, "bits", e->metrics.loss / log(2));
    }
    epl_json_put_f64(&w, "seconds", seconds);
    for (int i = 0; i < wishes->measures.n; i++)
        if (wishes->measures.item[i].kind != CLI_ACCURACY) // stands there
            epl_json_put_f64(&w, wishes->measures.item[i].text, wishes->measures.item[i].value);
    if (wishes->confusion && e->confusion) {
        epl_json_open_array(&w, "confusion");
        for (int i = 0; i < e->n_classes; i++) {
            epl_json_open_array(&w, NULL);
            for (int k = 0; k < e->n_classes; k++)
                epl_json_put_f64(&w, NULL, e->confusion[i * e->n_classes + k]);
            epl_json_close(&w);
        }
        epl_json_close(&w);
    }
    epl_json_close(&w);
    return epl_text_detach(&out);
}

static char *as_text(cli *c, epl_dataset *d, const epl_evaluation *e, double seconds, const wish *wishes)
{
    epl_text out = EPL_TEXT(c->ctx);
    char     time[32];
    epl_format_seconds(time, seconds);
    epl_text_addf(&out, "samples    %lld in %s, %.0f a second\nloss       %.6f\n", (long long)e->metrics.count, time,
                  (double)e->metrics.count / seconds, e->metrics.loss);
    if (is_language(d) && strcmp(wishes->loss, "cross-entropy") == 0)
        epl_text_addf(&out, "perplexity %.4f, %.4f bits a token\n", exp(e->metrics.loss), e->metrics.loss / log(2));
    if (isfinite(e->metrics.accuracy))
        epl_text_addf(&out, "accuracy   %.2f %%\n", 100 * e->metrics.accuracy);
    if (isfinite(e->metrics.top5) && e->n_classes > 5)
        epl_text_addf(&out, "top 5      %.2f %%\n", 100 * e->metrics.top5);
    if (isfinite(e->metrics.mean_iou) && epl_dataset_info_of(d).y_shape.rank > 0 && !is_language(d))
        epl_text_addf(&out, "mean IoU   %.4f\n", e->metrics.mean_iou);
    for (int i = 0; i < wishes->measures.n; i++)
        if (wishes->measures.item[i].kind != CLI_ACCURACY)
            epl_text_addf(&out, "%-10s %.4f\n", wishes->measures.item[i].text, wishes->measures.item[i].value);
    if (wishes->confusion && e->confusion) {
        epl_table *t = confusion_table(c, d, e);
        char *text = epl_table_to_text(t, (epl_table_opts){ 0 });
        epl_text_addf(&out, "\n%s", text ? text : "");
        epl_release(c->ctx, text);
        epl_table_free(t);
    }
    return epl_text_detach(&out);
}

static bool evaluate(cli *c, const epl_model *m, epl_dataset *d, epl_evaluate_opts o, wish *w)
{
    epl_evaluation e = { 0 };
    const double start = epl_now_s();
    o.progress    = cli_progress(c, "samples");
    o.keep_logits = w->measures.n > 0 || w->report;
    bool ok = epl_evaluate(m, d, o, &e);
    cli_progress_end(c);
    const double seconds = epl_now_s() - start;
    if (ok && o.keep_logits)
        ok = cli_measures_take(c, m, d, e.logits, &w->data, &w->measures);
    if (ok && w->report)
        ok = cli_measures_report(c, &w->measures, w->model, w->data.name, w->report);
    if (ok)
        ok = cli_print_take(c, c->json ? as_json(c, d, &e, seconds, w) : as_text(c, d, &e, seconds, w));
    epl_evaluation_release(c->ctx, &e);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *split_name = "test", *measures = NULL;
    wish        w = { 0 };
    double      val_fraction = 0;
    int64_t     batch = 0;
    epl_evaluate_opts o = { .loss.name = "cross-entropy" };
    epl_data_split    split = EPL_SPLIT_TEST;
    const cli_option  options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        CLI_OPT_DATA(&w.data, true),
        EPL_OPT_CHOICE(0, "split", "train|test|val", &split_name, "which part of the data set"),
        EPL_OPT_REAL(0, "val-fraction", &val_fraction, 0, 0.99, "share of the training part that is its val part"),
        EPL_OPT_INT('b', "batch", &batch, 0, 1 << 24, "samples of a step (0: as the network has it, 64 if it takes any)"),
        EPL_OPT_TEXT(0, "loss", "NAME", &o.loss.name, "cross-entropy, mse, l1, huber, bce, focal, dice or kl"),
        EPL_OPT_TEXT(0, "augment", "WORDS", &o.augment, "how to prepare inputs (default: as the model says)"),
        EPL_OPT_FLAG(0, "averaged", &o.averaged, "with the averaged weights that a checkpoint holds"),
        EPL_OPT_TEXT(0, "measures", "LIST", &measures, CLI_MEASURES_HELP),
        EPL_OPT_PATH(0, "report", &w.report, "a page with the measures and the reliability diagram"),
        EPL_OPT_FLAG(0, "confusion", &w.confusion, "print how often each class was taken for each"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !epl_data_split_from_name(c->ctx, split_name, &split) ||
        !cli_measures_parse(c, measures, &w.measures))
        return cli_status(c);
    o.batch = batch;
    w.loss  = o.loss.name;
    w.model = in;
    epl_model   *m = cli_model_load(c, in, NULL);
    epl_dataset *d = m ? cli_data_open(c, &w.data, split, val_fraction) : NULL;
    const bool   ok = d && evaluate(c, m, d, o, &w);
    epl_dataset_free(d);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_eval = {
    .name = "eval", .json = true, .run = run,
    .summary  = "loss and accuracy of a network on a data set",
    .examples = "espalier eval t.safetensors --data fashion-mnist\nespalier eval t.safetensors --data fashion-mnist --confusion\n"
                "espalier eval t.safetensors --data fashion-mnist --measures nll,ece,ood:noise --report t.html",
};
