/* run: the life of a reproduction - its checks, its measurements, its remarks. */
#include "papers/common/run.h"

#include <math.h>
#include <string.h>

epl_context *paper_context(const paper_run *r) { return r->ctx; }

epl_tensor *paper_draw(const paper_run *r, epl_shape shape, uint64_t seed, uint64_t stream)
{
    epl_tensor *t   = epl_tensor_new(r->ctx, EPL_F32, shape);
    epl_rng     rng = epl_rng_at(seed, stream);
    if (t)
        epl_tensor_fill_normal(t, &rng, 0, 1);
    return t;
}

bool paper_ok(const paper_run *r)
{
    if (r->o.stop && *r->o.stop && epl_error_code(r->ctx) == EPL_OK)
        epl_fail(r->ctx, EPL_ERR_INTERRUPTED, "%s: interrupted", r->paper->slug);
    return epl_error_code(r->ctx) == EPL_OK;
}

int paper_n_seeds(const paper_run *r)
{
    const int n = r->o.quick ? 1 : r->o.n_seeds > 0 ? r->o.n_seeds : r->paper->n_seeds > 0 ? r->paper->n_seeds : 3;
    return n < PAPER_MAX_SEEDS ? n : PAPER_MAX_SEEDS;
}

int paper_epochs(const paper_run *r, int epochs) { return r->o.epochs > 0 && r->o.epochs < epochs ? r->o.epochs : epochs; }

void *paper_alloc(paper_run *r, size_t bytes) { return epl_arena_alloc(r->arena, bytes); }

static const char *keep_textv(paper_run *r, const char *format, va_list args)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, args);
    const char *kept = epl_arena_strdup(r->arena, text);
    return kept ? kept : "";
}

const char *paper_textf(paper_run *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = keep_textv(r, format, args);
    va_end(args);
    return text;
}

static bool nobody_listens(void *user, const char *label, double done, double total)
{
    const paper_run *r = user;
    (void)label, (void)done, (void)total;
    return !r->o.stop || !*r->o.stop;
}

epl_progress paper_progress(paper_run *r)
{
    return r->o.progress.report ? r->o.progress : (epl_progress){ .report = nobody_listens, .user = r };
}

/* ---- checks ---- */

static const char *const signs[] = { [PAPER_AT_LEAST] = ">=", [PAPER_AT_MOST] = "<=", [PAPER_ABOVE] = ">", [PAPER_BELOW] = "<",
                                     [PAPER_EQUAL] = "=" };

const char *paper_relation_sign(const paper_checked *c)
{
    return c->kind == CHECK_NEAR ? "within" : c->kind == CHECK_TRUE ? "holds" : signs[c->relation];
}

static bool holds(const paper_checked *c)
{
    if (!isfinite(c->measured))
        return false;
    if (c->kind == CHECK_NEAR)
        return fabs(c->measured - c->bound) <= c->tolerance;
    switch (c->relation) {
    case PAPER_AT_LEAST: return c->measured >= c->bound;
    case PAPER_AT_MOST: return c->measured <= c->bound;
    case PAPER_ABOVE: return c->measured > c->bound;
    case PAPER_BELOW: return c->measured < c->bound;
    case PAPER_EQUAL: return c->measured == c->bound;
    }
    return false;
}

static void add_check(paper_run *r, const char *name, paper_checked c)
{
    if (!paper_ok(r) || !epl_grow(r->ctx, &r->checks, r->n_checks, &r->checks_room, sizeof *r->checks))
        return;
    c.name   = epl_arena_strdup(r->arena, name);
    c.passed = holds(&c);
    r->checks[r->n_checks++] = c;
}

void paper_check(paper_run *r, const char *name, double measured, paper_relation relation, double bound)
{
    add_check(r, name, (paper_checked){ .relation = relation, .measured = measured, .bound = bound });
}

void paper_check_near(paper_run *r, const char *name, double measured, double expected, double tolerance)
{
    add_check(r, name, (paper_checked){ .kind = CHECK_NEAR, .measured = measured, .bound = expected, .tolerance = tolerance });
}

void paper_check_true(paper_run *r, const char *name, bool is)
{
    add_check(r, name, (paper_checked){ .kind = CHECK_TRUE, .relation = PAPER_EQUAL, .measured = is, .bound = 1 });
}

void paper_check_refused(paper_run *r, const char *name, bool succeeded, const char *words)
{
    const epl_error code = epl_error_code(r->ctx);
    if (code == EPL_ERR_MEMORY || code == EPL_ERR_INTERRUPTED)
        return;
    const bool refused = !succeeded && strstr(epl_error_message(r->ctx), words) != NULL;
    const char *said   = refused || succeeded ? "" : paper_textf(r, ", but: %s", epl_error_message(r->ctx));
    epl_error_clear(r->ctx);
    paper_check_true(r, paper_textf(r, "%s is refused with \"%s\"%s", name, words, said), refused);
}

void paper_check_model(paper_run *r, const char *description, int64_t parameters, double macs)
{
    epl_graph *g = paper_ok(r) ? epl_zoo_build(r->ctx, description) : NULL;
    if (g && parameters)
        paper_check(r, paper_textf(r, "parameters of %s", description), (double)epl_graph_n_parameters(g), PAPER_EQUAL,
                    (double)parameters);
    if (g && macs > 0)
        paper_check(r, paper_textf(r, "multiply-adds of %s", description), epl_graph_cost(g).macs, PAPER_EQUAL, macs);
    epl_graph_free(g);
}

void paper_check_model_refused(paper_run *r, const char *description, const char *words)
{
    if (!paper_ok(r))
        return;
    epl_graph *g = epl_zoo_build(r->ctx, description);
    paper_check_refused(r, description, g != NULL, words);
    epl_graph_free(g);
}

/* ---- measurements ---- */

paper_series *paper_series_named(paper_run *r, const char *what, const char *name, const char *unit)
{
    for (size_t i = 0; i < r->n_series; i++)
        if (strcmp(r->series[i]->what, what) == 0 && strcmp(r->series[i]->name, name) == 0)
            return r->series[i];
    paper_series *s = paper_ok(r) ? paper_alloc(r, sizeof *s) : NULL;
    if (!s || !epl_grow(r->ctx, &r->series, r->n_series, &r->series_room, sizeof *r->series))
        return NULL;
    *s = (paper_series){ .what = epl_arena_strdup(r->arena, what), .name = epl_arena_strdup(r->arena, name),
                         .unit = epl_arena_strdup(r->arena, unit ? unit : "") };
    return r->series[r->n_series++] = s;
}

void paper_add(paper_series *s, double value)
{
    if (s && s->n < PAPER_MAX_SEEDS)
        s->value[s->n++] = value;
}

double paper_mean(const paper_series *s)
{
    double sum = 0;
    for (int i = 0; s && i < s->n; i++)
        sum += s->value[i];
    return s && s->n ? sum / s->n : NAN;
}

double paper_std(const paper_series *s)
{
    const double mean = paper_mean(s);
    double       sum  = 0;
    for (int i = 0; s && i < s->n; i++)
        sum += (s->value[i] - mean) * (s->value[i] - mean);
    return !s || !s->n ? NAN : s->n > 1 ? sqrt(sum / (s->n - 1)) : 0;
}

double paper_mean_of(const paper_series *const *s, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += paper_mean(s[i]);
    return n ? sum / n : NAN;
}

void paper_remark(paper_run *r, const char *format, ...)
{
    if (!paper_ok(r) || !epl_grow(r->ctx, &r->remarks, r->n_remarks, &r->remarks_room, sizeof *r->remarks))
        return;
    va_list args;
    va_start(args, format);
    r->remarks[r->n_remarks++] = keep_textv(r, format, args);
    va_end(args);
}

/* ---- from beginning to end ---- */

static void release(paper_run *r)
{
    for (size_t i = 0; i < r->n_models; i++)
        epl_model_free(r->models[i]);
    for (size_t i = 0; i < r->n_data; i++)
        epl_dataset_free(r->data[i].data);
    epl_release(r->ctx, r->models);
    epl_release(r->ctx, r->data);
    epl_release(r->ctx, r->checks);
    epl_release(r->ctx, r->series);
    epl_release(r->ctx, r->plots);
    epl_release(r->ctx, r->remarks);
    epl_arena_free(r->arena);
}

static bool write_result(const paper_run *r, const char *text)
{
    char path[4096];
    if (!r->o.out)
        return true;
    snprintf(path, sizeof path, "%s/result.json", r->o.out);
    return epl_write_file(r->ctx, path, text, strlen(text));
}

char *paper_reproduce(epl_context *ctx, const paper *p, paper_options o, bool *passed)
{
    paper_run r = { .ctx = ctx, .arena = epl_arena_new(ctx), .paper = p, .o = o, .start_s = epl_now_s() };
    char     *text = NULL;
    *passed = false;
    if (r.arena && (!o.out || epl_make_directories(ctx, o.out))) {
        (o.quick ? p->quick : p->full)(&r);
        if (paper_ok(&r) && r.n_checks == 0)
            epl_fail(ctx, EPL_ERR_UNSUPPORTED, "%s: this part checks nothing", p->slug);
        *passed = paper_ok(&r);
        for (size_t i = 0; i < r.n_checks; i++)
            *passed = *passed && r.checks[i].passed;
        text = paper_ok(&r) ? paper_result_json(&r, *passed) : NULL;
    }
    if (text && !write_result(&r, text)) {
        epl_release(ctx, text);
        text = NULL;
    }
    release(&r);
    return text;
}
