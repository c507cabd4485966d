/* Papers: every quick part holds, and what the READMEs say of results is what was recorded.
 * EPL_UPDATE_GOLDEN=1 writes the results into papers/<slug>/README.md and the table into papers/README.md. */
#include "common/check.h"

#include "papers/common/paper.h"

/* ---- quick parts ---- */

/* The checks that failed, a line each. */
static char *failed_checks(epl_context *ctx, const char *result)
{
    epl_json *json = epl_json_parse(ctx, result, strlen(result), "result");
    const epl_json *checks = epl_json_get(json, "checks");
    epl_text  out = EPL_TEXT(ctx);
    for (size_t i = 0; i < epl_json_length(checks); i++) {
        const epl_json *c = epl_json_at(checks, i);
        bool   passed = false;
        double measured = NAN, bound = NAN;
        epl_json_bool(epl_json_get(c, "passed"), &passed);
        epl_json_f64(epl_json_get(c, "measured"), &measured);
        epl_json_f64(epl_json_get(c, "bound"), &bound);
        if (!passed)
            epl_text_addf(&out, "\n  %s: measured %.9g, bound %.9g", epl_json_string(epl_json_get(c, "name")), measured, bound);
    }
    epl_json_free(json);
    return epl_text_detach(&out);
}

PROPERTY(every_quick_part_holds, paper_count())
{
    const paper *p = paper_at(t->index);
    epl_context *ctx = test_context(t, .n_threads = 2);
    bool  passed = false;
    char *result = paper_reproduce(ctx, p, (paper_options){ .quick = true }, &passed);
    if (!result)
        FAIL(t, "%s: %s", p->slug, epl_error_message(ctx));
    char *failed = failed_checks(ctx, result);
    if (!passed)
        FAIL(t, "%s:%s", p->slug, failed ? failed : "");
    epl_release(ctx, failed);
    epl_release(ctx, result);
}

TEST(papers_are_known_by_their_folder)
{
    for (int i = 0; i < paper_count(); i++) {
        const paper *p = paper_at(i);
        char path[512];
        CHECK(t, paper_find(p->slug) == p);
        CHECK(t, p->title && p->source && p->kind && p->claim && p->criterion && p->quick && p->full);
        snprintf(path, sizeof path, EPL_SOURCE_DIR "/papers/%s/reproduce.c", p->slug);
        if (!epl_file_exists(path))
            FAIL(t, "the paper '%s' has no %s", p->slug, path);
    }
    CHECK(t, paper_find("no-such-paper") == NULL);
}

/* ---- what the pages say ---- */

/* The part of a page between <!-- result --> and <!-- /result --> is `text`, or becomes it. */
static void check_part(test *t, const char *path, const char *text)
{
    static const char from_mark[] = "<!-- result -->\n", to_mark[] = "<!-- /result -->";
    char *page = test_read_file(t, path, NULL);
    char *from = strstr(page, from_mark), *to = from ? strstr(from, to_mark) : NULL;
    if (!to)
        FAIL(t, "%s has no part between <!-- result --> and <!-- /result -->", path);
    from += strlen(from_mark);
    const bool same = (size_t)(to - from) == strlen(text) && strncmp(from, text, strlen(text)) == 0;
    if (!same && !getenv("EPL_UPDATE_GOLDEN"))
        FAIL(t, "%s does not show what was recorded (EPL_UPDATE_GOLDEN=1 writes it)", path);
    if (!same) {
        FILE *f = fopen(path, "w");
        CHECK(t, f != NULL);
        fprintf(f, "%.*s%s%s", (int)(from - page), page, text, to);
        CHECK_INT(t, fclose(f), 0);
    }
    free(page);
}

PROPERTY(readmes_show_the_recorded_result, paper_count())
{
    const paper *p = paper_at(t->index);
    epl_context *ctx = test_context(t);
    char         path[512];
    const char  *recorded = paper_recorded(p);
    char        *text = recorded ? paper_result_text(ctx, recorded, true) : epl_strdup(ctx, "Not run yet.\n");
    CHECK_OK(t, ctx, text);
    snprintf(path, sizeof path, EPL_SOURCE_DIR "/papers/%s/README.md", p->slug);
    check_part(t, path, text);
    epl_release(ctx, text);
}

PROPERTY(recorded_results_are_of_full_runs, paper_count())
{
    const char *recorded = paper_recorded(paper_at(t->index));
    if (!recorded)
        return;
    epl_context *ctx  = test_context(t);
    epl_json    *json = epl_json_parse(ctx, recorded, strlen(recorded), "result.json");
    bool         shortened = true;
    CHECK_OK(t, ctx, json);
    CHECK_STR(t, epl_json_string(epl_json_get(json, "part")), "full");
    CHECK(t, epl_json_bool(epl_json_get(json, "shortened"), &shortened) && !shortened);
    CHECK_STR(t, epl_json_string(epl_json_get(json, "paper")), paper_at(t->index)->slug);
    epl_json_free(json);
}

TEST(the_index_lists_every_paper)
{
    epl_context *ctx = test_context(t);
    epl_table   *table = epl_table_new(ctx, NULL);
    epl_table_column(table, "paper", (epl_column_opts){ 0 });
    epl_table_column(table, "claim", (epl_column_opts){ 0 });
    epl_table_column(table, "status", (epl_column_opts){ 0 });
    for (int i = 0; i < paper_count(); i++) {
        const paper *p = paper_at(i);
        epl_table_row(table);
        epl_table_textf(table, "%s", p->slug);
        epl_table_text(table, p->claim);
        epl_table_text(table, paper_status(ctx, p));
    }
    char *text = epl_table_to_markdown(table);
    CHECK_OK(t, ctx, text);
    check_part(t, EPL_SOURCE_DIR "/papers/README.md", text);
    epl_release(ctx, text);
    epl_table_free(table);
}

/* ---- the run itself ---- */

static void three_checks(paper_run *r)
{
    paper_check(r, "two", 2, PAPER_AT_LEAST, 2);
    paper_check_near(r, "three", 3.01, 3, 0.1);
    paper_check_refused(r, "zero", epl_fail(paper_context(r), EPL_ERR_ARGUMENT, "zero is too small"), "too small");
    for (int i = 0; i < 3; i++)
        paper_add(paper_series_named(r, "length", "a", "m"), i);
    paper_remark(r, "A remark of %d words.", 5);
}

static void false_checks(paper_run *r)
{
    three_checks(r);
    paper_check(r, "nothing", NAN, PAPER_AT_LEAST, -1e9);
}

static void no_checks(paper_run *r) { (void)r; }

static const paper made_up = { .slug = "made-up", .title = "T", .source = "S", .kind = "K", .claim = "C", .criterion = "R",
                               .quick = three_checks, .full = false_checks };

TEST(a_run_keeps_checks_and_measurements)
{
    epl_context *ctx = test_context(t);
    const char  *dir = test_temp(t, "made-up");
    char         path[600];
    bool         passed = false;
    char *quick = paper_reproduce(ctx, &made_up, (paper_options){ .quick = true, .out = dir }, &passed);
    CHECK_OK(t, ctx, quick && passed);
    snprintf(path, sizeof path, "%s/result.json", dir);
    char *file = test_read_file(t, path, NULL);
    CHECK_STR(t, file, quick);
    char *text = paper_result_text(ctx, quick, false);
    CHECK(t, strstr(text, "Every exact check holds") && strstr(text, "A remark of 5 words.") && strstr(text, "0 1 2"));
    epl_json *json = epl_json_parse(ctx, quick, strlen(quick), "result");
    CHECK_INT(t, epl_json_length(epl_json_get(json, "checks")), 3);
    epl_json_free(json);
    char *full = paper_reproduce(ctx, &made_up, (paper_options){ .n_seeds = 2 }, &passed);
    CHECK_OK(t, ctx, full && !passed);
    char *markdown = paper_result_text(ctx, full, true);
    CHECK(t, strstr(markdown, "**Not reproduced**") && strstr(markdown, "FAILS"));
    epl_release(ctx, markdown);
    epl_release(ctx, full);
    epl_release(ctx, text);
    epl_release(ctx, quick);
    free(file);
}

TEST(a_run_that_checks_nothing_or_is_stopped_has_no_result)
{
    epl_context *ctx = test_context(t);
    volatile sig_atomic_t stop = 1;
    const paper  idle = { .slug = "idle", .quick = no_checks, .full = no_checks };
    bool passed = true;
    CHECK_FAILS(t, ctx, paper_reproduce(ctx, &idle, (paper_options){ .quick = true }, &passed), EPL_ERR_UNSUPPORTED, "checks nothing");
    CHECK(t, !passed);
    CHECK_FAILS(t, ctx, paper_reproduce(ctx, &made_up, (paper_options){ .quick = true, .stop = &stop }, &passed), EPL_ERR_INTERRUPTED,
                "interrupted");
}

/* Two variants on generated data: a number for each seed, and Ctrl-C ends it. */
static bool remember_seed(paper_run *r, paper_training *training)
{
    (void)r;
    *(uint64_t *)training->user += training->seed + 1;
    return true;
}

static uint64_t began, ended;

static void trains(paper_run *r)
{
    const paper_variant variants[] = {
        { .name = "narrow", .model = "mlp:image=16,channels=3,width=4,classes=6", .begin = remember_seed, .user = &began },
        { .name = "wide", .model = "mlp:image=16,channels=3,width=32,classes=6", .end = remember_seed, .user = &ended },
    };
    const paper_series *accuracy[2];
    paper_train(r, variants, 2, (paper_recipe){ .data = "shapes:image=16", .samples = 64, .test = 32, .batch = 16 }, accuracy);
    if (!paper_ok(r))
        return;
    paper_check(r, "seeds", accuracy[0]->n + accuracy[1]->n, PAPER_EQUAL, 4);
    paper_check(r, "accuracy in percent", paper_mean_of(accuracy, 2), PAPER_AT_LEAST, 1);
}

TEST(variants_learn_with_every_seed)
{
    epl_context *ctx = test_context(t);
    const paper  p = { .slug = "trains", .quick = trains, .full = trains };
    bool  passed = false;
    char *result = paper_reproduce(ctx, &p, (paper_options){ .n_seeds = 2 }, &passed);
    CHECK_OK(t, ctx, result && passed);
    CHECK_INT(t, began, 3);
    CHECK_INT(t, ended, 3);
    epl_release(ctx, result);
}
