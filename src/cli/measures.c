/* measures: likelihood, calibration, whether a network is less sure about other data, and what attacks leave of it, by name. */
#include "measures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = { "accuracy", "nll", "ece", "ood", "fgsm", "pgd" };

/* Which word the part of a list begins with, up to its ':'; -1: none. */
static int word_at(const char *part, size_t n)
{
    const char  *colon  = memchr(part, ':', n);
    const size_t length = colon ? (size_t)(colon - part) : n;
    for (size_t i = 0; i < EPL_COUNT(words); i++)
        if (strlen(words[i]) == length && memcmp(words[i], part, length) == 0)
            return (int)i;
    return -1;
}

/* "8/255", "0.03"; what is behind it goes to *rest. */
static bool read_eps(const char *text, double *out, const char **rest)
{
    char *end = NULL, *slash;
    *out  = strtod(text, &end);
    slash = end;
    if (end != text && *slash == '/') {
        const double below = strtod(slash + 1, &end);
        *out = end != slash + 1 && below > 0 ? *out / below : (double)NAN;
    }
    *rest = end;
    return end != text && *out >= 0 && *out <= 1;
}

/* Of "fgsm:EPS" and "pgd:EPS:STEPS" what stands behind the first colon. */
static bool read_attack(cli *c, cli_measure *item)
{
    const char *rest = "", *from = strchr(item->text, ':') + 1;
    long steps = item->kind == CLI_PGD ? 0 : 1;
    bool ok = read_eps(from, &item->attack.eps, &rest);
    if (ok && item->kind == CLI_PGD && *rest == ':') {
        char *end;
        steps = strtol(rest + 1, &end, 10);
        rest  = end;
    }
    item->attack.kind  = item->kind == CLI_PGD ? EPL_ATTACK_PGD : EPL_ATTACK_FGSM;
    item->attack.steps = (int)steps;
    item->attack.seed  = (uint64_t)c->seed;
    return (ok && *rest == 0 && steps >= 1 && steps <= 1000000) ||
           epl_fail(c->ctx, EPL_ERR_ARGUMENT, "measure '%s': expected %s, with EPS from 0 to 1, such as 8/255", item->text,
                    item->kind == CLI_PGD ? "pgd:EPS:STEPS" : "fgsm:EPS");
}

static bool add(cli *c, const char *part, size_t n, int word, cli_measures *out)
{
    char *text = epl_arena_alloc(c->arena, n + 1);
    if (!text || out->n == CLI_MEASURES)
        return text && epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--measures names more than %d", CLI_MEASURES);
    memcpy(text, part, n);
    text[n] = 0;
    if ((word >= CLI_OOD) != (strchr(text, ':') != NULL))
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, word >= CLI_OOD ? "measure '%s' needs more, as in ood:noise, fgsm:8/255, pgd:8/255:10"
                                                                  : "measure '%s' takes nothing behind a colon", text);
    cli_measure *item = &out->item[out->n++];
    *item = (cli_measure){ .kind = (cli_measure_kind)word, .text = text, .value = (double)NAN };
    return word < CLI_FGSM || read_attack(c, item);
}

bool cli_measures_parse(cli *c, const char *list, cli_measures *out)
{
    *out = (cli_measures){ 0 };
    for (const char *p = list ? list : ""; *p;) {
        size_t    n = strcspn(p, ",");
        const int word = word_at(p, n);
        if (word < 0) {
            char part[64];
            snprintf(part, sizeof part, "%.*s", (int)strcspn(p, ",:"), p);
            return cli_unknown(c, "measure", part, words, EPL_COUNT(words));
        }
        while (word == CLI_OOD && p[n] && word_at(p + n + 1, strcspn(p + n + 1, ",")) < 0) // the data's own commas
            n += 1 + strcspn(p + n + 1, ",");
        if (!add(c, p, n, word, out))
            return false;
        p += n + (p[n] == ',');
    }
    return true;
}

/* The data's test part, or all of it where it has none. */
static bool ood(cli *c, const epl_model *m, epl_dataset *in, const cli_data *data, cli_measure *item)
{
    cli_data     other = { .name = strchr(item->text, ':') + 1, .dir = data->dir, .limit = data->limit };
    epl_dataset *d = cli_data_open(c, &other, EPL_SPLIT_TEST, 0);
    if (!d && epl_error_code(c->ctx) == EPL_ERR_ARGUMENT && strstr(epl_error_message(c->ctx), "has no test part")) {
        epl_error_clear(c->ctx);
        d = cli_data_open(c, &other, EPL_SPLIT_TRAIN, 0);
    }
    item->value = d ? epl_ood_auroc(m, in, d) : (double)NAN;
    epl_dataset_free(d);
    return isfinite(item->value);
}

/* Accuracy of what an attack makes of the data. */
static bool attacked(const epl_model *m, epl_dataset *d, cli_measure *item)
{
    epl_attack_result r = { 0 };
    const bool ok = epl_attack(m, d, item->attack, &r);
    item->value = ok ? r.attacked.accuracy : (double)NAN;
    epl_attack_result_release(&r);
    return ok;
}

bool cli_measures_take(cli *c, const epl_model *m, epl_dataset *d, const epl_tensor *logits, const cli_data *data, cli_measures *ms)
{
    const epl_dataset_info info = epl_dataset_info_of(d);
    epl_tensor *labels = NULL;
    if (info.n_classes == 0 || info.y_shape.rank > 0)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--measures are for samples of one class each, '%s' has %s", info.name,
                        info.n_classes ? "several" : "none");
    bool ok = epl_dataset_tensors(d, 0, info.count, NULL, &labels) && epl_calibration_of(c->ctx, logits, labels, 0, &ms->calibration);
    for (int i = 0; ok && i < ms->n; i++) {
        cli_measure *item = &ms->item[i];
        if (item->kind == CLI_OOD)
            ok = ood(c, m, d, data, item);
        else if (item->kind > CLI_OOD)
            ok = attacked(m, d, item);
        else
            item->value = item->kind == CLI_NLL   ? ms->calibration.nll
                          : item->kind == CLI_ECE ? ms->calibration.ece
                                                  : ms->calibration.accuracy;
    }
    epl_tensor_free(labels);
    return ok;
}

bool cli_measures_report(cli *c, const cli_measures *ms, const char *model, const char *data, const char *path)
{
    epl_report *r = epl_report_new(c->ctx, "Evaluation", (epl_report_opts){ 0 });
    epl_table  *t = epl_table_new(c->ctx, NULL);
    epl_plot   *p = epl_reliability_plot(c->ctx, &ms->calibration);
    epl_report_text(r, "%s on %s, %lld samples.", model, data, (long long)ms->calibration.n);
    epl_table_column(t, "measure", (epl_column_opts){ 0 });
    epl_table_column(t, "value", (epl_column_opts){ 0 });
    for (int i = 0; i < ms->n; i++) {
        epl_table_row(t);
        epl_table_text(t, ms->item[i].text);
        epl_table_number(t, ms->item[i].value);
    }
    epl_report_table(r, t);
    epl_report_plot(r, p,
                    "Accuracy and mean confidence of samples by their confidence. They are the same where a network "
                    "knows what it knows.");
    const bool ok = epl_report_save(r, path);
    epl_plot_free(p);
    epl_table_free(t);
    epl_report_free(r);
    return ok;
}
