/* attack: adversarial images, and what they do to a network. */
#include <math.h>

#include "exits.h"
#include "training.h"

static epl_table *exit_table(cli *c, const epl_attack_result *r)
{
    const epl_column_opts percent = { .format = EPL_FORMAT_PERCENT, .decimals = 2 };
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "classifier", (epl_column_opts){ 0 });
    epl_table_column(t, "accuracy", percent);
    epl_table_column(t, "attacked", percent);
    epl_table_column(t, "leave here", (epl_column_opts){ .key = "leave", .format = EPL_FORMAT_PERCENT, .decimals = 2 });
    epl_table_column(t, "attacked ", (epl_column_opts){ .key = "leave_attacked", .format = EPL_FORMAT_PERCENT, .decimals = 2 });
    epl_table_column(t, "multiply-adds", (epl_column_opts){ .key = "macs", .format = EPL_FORMAT_COUNT });
    for (int e = 0; e < r->clean.n_exits; e++) {
        epl_table_row(t);
        if (e + 1 < r->clean.n_exits)
            epl_table_textf(t, "exit %d", e + 1);
        else
            epl_table_text(t, "final");
        epl_table_number(t, r->clean.exit_accuracy[e]);
        epl_table_number(t, r->attacked.exit_accuracy[e]);
        epl_table_number(t, r->clean.leave[e]);
        epl_table_number(t, r->attacked.leave[e]);
        epl_table_number(t, r->clean.macs[e]);
    }
    return t;
}

static char *as_json(cli *c, const epl_attack_result *r)
{
    epl_text        out = EPL_TEXT(c->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, 2);
    const struct {
        const char *key;
        double      value;
    } numbers[] = {
        { "accuracy", r->clean.accuracy }, { "accuracy_attacked", r->attacked.accuracy }, { "success", r->success },
        { "wrong_exit", r->wrong_exit }, { "linf", r->linf }, { "l2", r->l2 }, { "rms", r->rms }, { "exit_shift", r->exit_shift },
        { "mean_macs", r->clean.mean_macs }, { "mean_macs_attacked", r->attacked.mean_macs }, { "cost_ratio", r->cost_ratio },
        { "gradients", r->backward }, { "seconds", r->seconds },
    };
    epl_json_open_object(&w, NULL);
    epl_json_put_i64(&w, "count", r->n);
    for (size_t i = 0; i < EPL_COUNT(numbers); i++)
        epl_json_put_f64(&w, numbers[i].key, numbers[i].value);
    epl_json_open_array(&w, "exits");
    for (int e = 0; e < r->clean.n_exits; e++) {
        epl_json_open_object(&w, NULL);
        epl_json_put_f64(&w, "accuracy", r->clean.exit_accuracy[e]);
        epl_json_put_f64(&w, "accuracy_attacked", r->attacked.exit_accuracy[e]);
        epl_json_put_f64(&w, "leave", r->clean.leave[e]);
        epl_json_put_f64(&w, "leave_attacked", r->attacked.leave[e]);
        epl_json_put_f64(&w, "macs", r->clean.macs[e]);
        epl_json_close(&w);
    }
    epl_json_close(&w);
    epl_json_close(&w);
    return epl_text_detach(&out);
}

static char *as_text(cli *c, const epl_attack_result *r)
{
    epl_text out = EPL_TEXT(c->ctx);
    char     time[32];
    epl_format_seconds(time, r->seconds);
    epl_text_addf(&out, "images     %lld in %s, %.4g gradients each\n", (long long)r->n, time, r->backward);
    epl_text_addf(&out, "accuracy   %.2f %%, attacked %.2f %%\n", 100 * r->clean.accuracy, 100 * r->attacked.accuracy);
    if (isfinite(r->success))
        epl_text_addf(&out, "success    %.2f %%", 100 * r->success);
    if (isfinite(r->success) && isfinite(r->wrong_exit))
        epl_text_addf(
            &out, " at all early exits, %.2f %% where samples leave, while the final classifier stands by its answer",
            100 * r->wrong_exit);
    epl_text_addf(&out, "\nchange     %.4f at most; a pixel %.4f (root mean square), an image %.3f\n", r->linf, r->rms, r->l2);
    if (r->clean.n_exits > 1) {
        epl_table *t = exit_table(c, r);
        char *text = epl_table_to_text(t, (epl_table_opts){ 0 });
        epl_text_addf(&out, "cost       %.4g multiply-adds, attacked %.4g (times %.3f), exits %+.3f\n\n%s", r->clean.mean_macs,
                      r->attacked.mean_macs, r->cost_ratio, r->exit_shift, text ? text : "");
        epl_release(c->ctx, text);
        epl_table_free(t);
    }
    return epl_text_detach(&out);
}

/* As a data set: x are the adversarial images, y the labels; the originals stand beside as "clean". */
static bool save(cli *c, epl_attack_result *r, const char *path)
{
    epl_weights *w  = epl_weights_new(c->ctx);
    epl_tensor  *x = epl_tensor_copy(c->ctx, r->adversarial), *y = epl_tensor_copy(c->ctx, r->labels),
               *clean = epl_tensor_copy(c->ctx, r->x);
    bool ok = w && x && y && clean;
    ok = ok && epl_weights_put_take(w, "x", x) && epl_weights_put_take(w, "y", y) && epl_weights_put_take(w, "clean", clean) &&
         epl_npz_save(w, path);
    epl_weights_free(w);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char   *in = NULL, *out = NULL, *method = "pgd", *loss = "sum", *split_name = "test";
    cli_data      data = { 0 };
    cli_exit_rule rule = CLI_EXIT_RULE;
    int64_t       batch = 64, steps = 0, least = 200;
    epl_attack_opts o = { .eps = 8.0 / 255, .c = 50, .alpha = 1 };
    epl_data_split  split = EPL_SPLIT_TEST;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        CLI_OPT_DATA(&data, true),
        EPL_OPT_PATH('o', "output", &out, "write the adversarial images: a .npz with x, y, and the originals as clean"),
        EPL_OPT_CHOICE(0, "split", "train|test|val", &split_name, "which part of the data set"),
        EPL_OPT_CHOICE('m', "method", "fgsm|pgd|early", &method,
                       "along the gradient once, step by step, or against early exits alone"),
        EPL_OPT_REAL(0, "eps", &o.eps, 0, 1, "fgsm, pgd: the largest change of a pixel"),
        EPL_OPT_INT(0, "steps", &steps, 0, 1e6, "of pgd (0: 20), of early at most (0: 1000)"),
        EPL_OPT_REAL(0, "step-size", &o.step_size, 0, 1e3, "of pgd (0: 2/255); early: Adam's rate (0: 0.01)"),
        EPL_OPT_FLAG(0, "random-start", &o.random_start,
                     "pgd: begin somewhere within eps; early: begin at noise, not at the image"),
        EPL_OPT_CHOICE(0, "exit-loss", "sum|final|taken", &loss,
                       "whose loss rises: of all classifiers, the final one, the one that is taken"),
        EPL_OPT_REAL(0, "c", &o.c, 1e-6, 1e9, "early: weight of the classifiers against the distance"),
        EPL_OPT_REAL(0, "alpha", &o.alpha, 1e-9, 1e9, "early: weight of the final classifier's margin"),
        EPL_OPT_INT(0, "least", &least, 1, 1e6, "early: steps before an image may be done"),
        CLI_OPT_EXIT_RULE(&rule),
        EPL_OPT_INT('b', "batch", &batch, 1, 1 << 24, "images at once"),
        EPL_OPT_TEXT(0, "augment", "WORDS", &o.run.augment, "how to prepare images (default: as the model says)"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !epl_data_split_from_name(c->ctx, split_name, &split) ||
        !epl_attack_kind_from_name(c->ctx, method, &o.kind) || !epl_attack_loss_from_name(c->ctx, loss, &o.loss))
        return cli_status(c);
    o.steps     = (int)steps;
    o.least     = (int)least;
    o.rule      = cli_exit_rule_of(&rule);
    o.run.batch = batch;
    o.seed      = (uint64_t)c->seed;
    epl_attack_result r = { 0 };
    epl_model   *m = cli_model_load(c, in, NULL);
    epl_dataset *d = m ? cli_data_open(c, &data, split, 0) : NULL;
    o.run.progress = cli_progress(c, "images");
    bool ok = d && epl_attack(m, d, o, &r);
    cli_progress_end(c);
    ok = ok && cli_print_take(c, c->json ? as_json(c, &r) : as_text(c, &r)) && (!out || save(c, &r, out));
    epl_attack_result_release(&r);
    epl_dataset_free(d);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_attack = {
    .name = "attack",
    .json = true,
    .run = run,
    .summary = "adversarial images, and what they do to a network",
    .about = "Works on any network that classifies images in [0, 1]; eps counts in these, whatever normalisation "
             "follows. Of a network with early "
             "exits also where samples leave, before and after, and what that costs: an attack on the cost shows "
             "there. The method `early` "
             "makes every early exit wrong while the final classifier stands by its answer.",
    .examples =
        "espalier attack t.safetensors --data fashion-mnist --limit 500 --eps 0.1 --step-size 0.02 -o adversarial.npz\n"
        "espalier eval other.safetensors --data npz:adversarial.npz --split train",
};
