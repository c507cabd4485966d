/* result: what a run found, as JSON (result.json), and that JSON as tables for people. Whatever shows a result - the command, the
 * READMEs - is made from the JSON alone, so that a recorded result and a fresh one look alike. */
#include "papers/common/results.h"
#include "papers/common/run.h"

#include <math.h>
#include <string.h>

/* ---- writing ---- */

static void put_check(epl_json_writer *w, const paper_checked *c)
{
    epl_json_open_object(w, NULL);
    epl_json_put_string(w, "name", c->name);
    if (c->kind != CHECK_TRUE) {
        epl_json_put_f64(w, "measured", c->measured);
        epl_json_put_string(w, "relation", paper_relation_sign(c));
        epl_json_put_f64(w, "bound", c->bound);
    }
    if (c->kind == CHECK_NEAR)
        epl_json_put_f64(w, "tolerance", c->tolerance);
    epl_json_put_bool(w, "passed", c->passed);
    epl_json_close(w);
}

static void put_series(epl_json_writer *w, const paper_series *s)
{
    epl_json_open_object(w, NULL);
    epl_json_put_string(w, "what", s->what);
    epl_json_put_string(w, "name", s->name);
    epl_json_put_string(w, "unit", s->unit);
    epl_json_put_f64(w, "mean", paper_mean(s));
    epl_json_put_f64(w, "std", paper_std(s));
    epl_json_open_array(w, "values");
    for (int i = 0; i < s->n; i++)
        epl_json_put_f64(w, NULL, s->value[i]);
    epl_json_close(w);
    epl_json_close(w);
}

static void put_machine(epl_json_writer *w, const epl_machine *m, int threads)
{
    epl_json_open_object(w, "machine");
    epl_json_put_string(w, "cpu", m->cpu);
    epl_json_put_string(w, "isa", m->isa);
    epl_json_put_i64(w, "cores", m->cores);
    epl_json_put_i64(w, "threads", threads);
    epl_json_close(w);
}

static void put_run(epl_json_writer *w, const paper_run *r, bool passed)
{
    epl_json_put_string(w, "paper", r->paper->slug);
    epl_json_put_string(w, "title", r->paper->title);
    epl_json_put_string(w, "claim", r->paper->claim);
    epl_json_put_string(w, "criterion", r->paper->criterion);
    epl_json_put_string(w, "part", r->o.quick ? "quick" : "full");
    epl_json_put_bool(w, "shortened", r->o.samples > 0 || r->o.epochs > 0);
    epl_json_put_i64(w, "seeds", paper_n_seeds(r));
    epl_json_put_bool(w, "passed", passed);
}

char *paper_result_json(const paper_run *r, bool passed)
{
    epl_machine machine;
    if (!epl_machine_of(r->ctx, &machine))
        return NULL;
    epl_text        out = EPL_TEXT(r->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, 1);
    epl_json_open_object(&w, NULL);
    put_run(&w, r, passed);
    epl_json_open_array(&w, "checks");
    for (size_t i = 0; i < r->n_checks; i++)
        put_check(&w, &r->checks[i]);
    epl_json_close(&w);
    epl_json_open_array(&w, "measured");
    for (size_t i = 0; i < r->n_series; i++)
        put_series(&w, r->series[i]);
    epl_json_close(&w);
    epl_json_open_array(&w, "remarks");
    for (size_t i = 0; i < r->n_remarks; i++)
        epl_json_put_string(&w, NULL, r->remarks[i]);
    epl_json_close(&w);
    epl_json_open_array(&w, "plots");
    for (size_t i = 0; i < r->n_plots; i++) {
        epl_json_open_object(&w, NULL);
        epl_json_put_string(&w, "file", r->plots[i].file);
        epl_json_put_string(&w, "caption", r->plots[i].caption);
        epl_json_close(&w);
    }
    epl_json_close(&w);
    epl_json_put_string(&w, "commit", paper_commit);
    put_machine(&w, &machine, epl_context_threads(r->ctx));
    epl_json_put_f64(&w, "seconds", epl_now_s() - r->start_s);
    epl_json_close(&w);
    epl_text_add(&out, "\n");
    return epl_text_detach(&out);
}

/* ---- showing ---- */

typedef struct view {
    epl_context    *ctx;
    const epl_json *result;
    bool            markdown;
    epl_text        out;
} view;

static double number_of(const epl_json *object, const char *key)
{
    double x = NAN;
    epl_json_f64(epl_json_get(object, key), &x);
    return x;
}

static const char *text_of(const epl_json *object, const char *key)
{
    const char *s = epl_json_string(epl_json_get(object, key));
    return s ? s : "";
}

static bool truth_of(const epl_json *object, const char *key)
{
    bool x = false;
    epl_json_bool(epl_json_get(object, key), &x);
    return x;
}

static void add_table_take(view *v, epl_table *t)
{
    char *text = v->markdown ? epl_table_to_markdown(t) : epl_table_to_text(t, (epl_table_opts){ 0 });
    if (text)
        epl_text_addf(&v->out, "%s\n", text);
    epl_release(v->ctx, text);
    epl_table_free(t);
}

/* Whole numbers whole: parameters and multiply-adds are exact. */
static const char *as_text(char out[64], double x)
{
    snprintf(out, 64, x == floor(x) && fabs(x) < 1e15 ? "%.0f" : "%.5g", x);
    return out;
}

static void add_checks(view *v)
{
    const epl_json *checks = epl_json_get(v->result, "checks");
    epl_table *t = epl_table_new(v->ctx, NULL);
    epl_table_column(t, "check", (epl_column_opts){ 0 });
    epl_table_column(t, "measured", (epl_column_opts){ 0 });
    epl_table_column(t, "asked for", (epl_column_opts){ 0 });
    epl_table_column(t, "", (epl_column_opts){ 0 });
    for (size_t i = 0; i < epl_json_length(checks); i++) {
        const epl_json *c    = epl_json_at(checks, i);
        const char     *sign = text_of(c, "relation");
        char            a[64], b[64];
        epl_table_row(t);
        epl_table_text(t, text_of(c, "name"));
        if (*sign)
            epl_table_text(t, as_text(a, number_of(c, "measured")));
        else
            epl_table_empty(t);
        if (strcmp(sign, "within") == 0)
            epl_table_textf(t, "%s +- %s", as_text(a, number_of(c, "bound")), as_text(b, number_of(c, "tolerance")));
        else if (*sign)
            epl_table_textf(t, "%s %s", sign, as_text(a, number_of(c, "bound")));
        else
            epl_table_empty(t);
        epl_table_text(t, truth_of(c, "passed") ? "holds" : "FAILS");
    }
    add_table_take(v, t);
}

/* The values of one series, apart by spaces; those of a single seed are the mean already. */
static void add_values(epl_table *t, const epl_json *values)
{
    char   text[512] = "";
    size_t used      = 0;
    for (size_t i = 0; i < epl_json_length(values) && used < sizeof text - 32; i++) {
        double x = NAN;
        epl_json_f64(epl_json_at(values, i), &x);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.5g", i ? " " : "", x);
    }
    if (epl_json_length(values) > 1)
        epl_table_text(t, text);
    else
        epl_table_empty(t);
}

/* All series of one `what`. */
static void add_measured(view *v, const epl_json *measured, const char *what)
{
    epl_table *t = epl_table_new(v->ctx, NULL);
    bool       spread = false;
    for (size_t i = 0; i < epl_json_length(measured); i++)
        spread = spread || (strcmp(text_of(epl_json_at(measured, i), "what"), what) == 0 &&
                            epl_json_length(epl_json_get(epl_json_at(measured, i), "values")) > 1);
    epl_table_column(t, what, (epl_column_opts){ 0 });
    epl_table_column(t, spread ? "mean" : "value", (epl_column_opts){ .align = EPL_ALIGN_RIGHT });
    if (spread) {
        epl_table_column(t, "std", (epl_column_opts){ .align = EPL_ALIGN_RIGHT });
        epl_table_column(t, "seeds", (epl_column_opts){ 0 });
    }
    for (size_t i = 0; i < epl_json_length(measured); i++) {
        const epl_json *s = epl_json_at(measured, i);
        char            mean[64];
        if (strcmp(text_of(s, "what"), what) != 0)
            continue;
        epl_table_row(t);
        epl_table_text(t, text_of(s, "name"));
        epl_table_textf(t, "%s%s%s", as_text(mean, number_of(s, "mean")), *text_of(s, "unit") ? " " : "", text_of(s, "unit"));
        if (spread) {
            epl_table_textf(t, "%.3g", number_of(s, "std"));
            add_values(t, epl_json_get(s, "values"));
        }
    }
    add_table_take(v, t);
}

static bool seen_before(const epl_json *measured, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(text_of(epl_json_at(measured, k), "what"), text_of(epl_json_at(measured, i), "what")) == 0)
            return true;
    return false;
}

static void add_head(view *v)
{
    const epl_json *machine = epl_json_get(v->result, "machine");
    const char     *bold = v->markdown ? "**" : "";
    const bool      passed = truth_of(v->result, "passed"), quick = strcmp(text_of(v->result, "part"), "quick") == 0;
    char            time[32];
    epl_format_seconds(time, number_of(v->result, "seconds"));
    if (quick)
        epl_text_addf(&v->out, "%s%s%s", bold, passed ? "Every exact check holds" : "Not every exact check holds", bold);
    else
        epl_text_addf(&v->out, "%s%s%s%s", bold, passed ? "Reproduced" : "Not reproduced", bold,
                      truth_of(v->result, "shortened") ? " by a shortened run" : "");
    epl_text_addf(&v->out, ": commit %s, %.0f seeds, %s with %.0f threads on %s.\n\n", text_of(v->result, "commit"),
                  number_of(v->result, "seeds"), time, number_of(machine, "threads"), text_of(machine, "cpu"));
}

static void add_rest(view *v)
{
    const epl_json *remarks = epl_json_get(v->result, "remarks"), *plots = epl_json_get(v->result, "plots");
    for (size_t i = 0; i < epl_json_length(remarks); i++)
        epl_text_addf(&v->out, "%s\n\n", epl_json_string(epl_json_at(remarks, i)));
    for (size_t i = 0; v->markdown && i < epl_json_length(plots); i++) {
        const epl_json *p = epl_json_at(plots, i);
        epl_text_addf(&v->out, "![%s](%s)\n\n%s\n\n", text_of(p, "caption"), text_of(p, "file"), text_of(p, "caption"));
    }
}

char *paper_result_text(epl_context *ctx, const char *result, bool markdown)
{
    epl_json *json = result ? epl_json_parse(ctx, result, strlen(result), "result.json") : NULL;
    view      v = { .ctx = ctx, .result = json, .markdown = markdown, .out = EPL_TEXT(ctx) };
    if (!json)
        return NULL;
    const epl_json *measured = epl_json_get(json, "measured");
    add_head(&v);
    add_checks(&v);
    for (size_t i = 0; i < epl_json_length(measured); i++)
        if (!seen_before(measured, i))
            add_measured(&v, measured, text_of(epl_json_at(measured, i), "what"));
    add_rest(&v);
    epl_json_free(json);
    return epl_text_detach(&v.out);
}
