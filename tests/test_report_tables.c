/* Tables: text that lines up, Markdown, JSON, HTML; strangers' bytes in each of them. */
#include "common/check.h"

#include <espalier/report.h>

static const char *const hostile = "<b onmouseover='x'>\"&\n\x1b[31m|`\\\xff\xc0\xaf\xed\xa0\x80 \xe2\x80\xae";

static epl_table *stages(epl_context *ctx)
{
    epl_table *t = epl_table_new(ctx, "Before and after");
    epl_table_column(t, "stage", (epl_column_opts){ 0 });
    epl_table_column(t, "parameters", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "size", (epl_column_opts){ .format = EPL_FORMAT_BYTES });
    epl_table_column(t, "accuracy", (epl_column_opts){ .format = EPL_FORMAT_PERCENT, .decimals = 2 });
    epl_table_column(t, "latency", (epl_column_opts){ .unit = "ms", .key = "latency_ms", .format = EPL_FORMAT_FIXED });
    epl_table_column(t, "n", (epl_column_opts){ 0 });
    epl_table_row(t);
    epl_table_text(t, "dense");
    epl_table_number(t, 77850);
    epl_table_number(t, 311400);
    epl_table_number(t, 0.9151);
    epl_table_number(t, 0.42);
    epl_table_integer(t, -3);
    epl_table_row(t);
    epl_table_textf(t, "pruned %d %% — für 蒸馏 e\xcc\x81", 70);
    epl_table_number(t, NAN);
    epl_table_number(t, INFINITY);
    epl_table_empty(t);
    epl_table_number(t, -1.0);
    epl_table_number(t, 0.000123456789);
    epl_table_rule(t);
    epl_table_row(t);
    epl_table_text(t, "sum");
    return t;
}

static char *golden_text(test *t, const char *name, char *text, epl_context *ctx)
{
    CHECK_OK(t, ctx, text);
    CHECK_GOLDEN(t, name, text);
    epl_release(ctx, text);
    return NULL;
}

TEST(table_in_four_forms)
{
    epl_context *ctx = test_context(t);
    epl_table *x = stages(ctx);
    golden_text(t, "report_table.txt", epl_table_to_text(x, (epl_table_opts){ 0 }), ctx);
    golden_text(t, "report_table.md", epl_table_to_markdown(x), ctx);
    golden_text(t, "report_table.json", epl_table_to_json(x), ctx);
    golden_text(t, "report_table.html", epl_table_to_html(x), ctx);
    epl_table_free(x);
}

/* Columns as a terminal counts them: combining marks take none, wide characters two. */
static int columns_of(const char *s, size_t n)
{
    int columns = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        columns += (c & 0xC0) != 0x80 && c != 0xCC;
        columns += c == 0xE8 || c == 0xE9; // the two wide characters of stages() start with these bytes
    }
    return columns;
}

TEST(table_keeps_a_width_limit)
{
    epl_context *ctx = test_context(t);
    epl_table *x = stages(ctx);
    for (int width = 64; width <= 90; width++)
        for (int ascii = 0; ascii < 2; ascii++) {
            char *text = epl_table_to_text(x, (epl_table_opts){ .width = width, .ascii = ascii });
            CHECK_OK(t, ctx, text);
            for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
                CHECK(t, columns_of(line, strcspn(line, "\n")) <= width);
            epl_release(ctx, text);
        }
    epl_table_free(x);
}

TEST(table_escapes_hostile_text)
{
    epl_context *ctx = test_context(t);
    epl_table *x = epl_table_new(ctx, hostile);
    epl_table_column(x, hostile, (epl_column_opts){ .unit = hostile });
    epl_table_row(x);
    epl_table_text(x, hostile);

    char *text = epl_table_to_text(x, (epl_table_opts){ 0 });
    CHECK_OK(t, ctx, text);
    CHECK(t, !strchr(text, '\x1b') && !strstr(text, "\xff") && !strstr(text, "\xe2\x80\xae"));
    epl_release(ctx, text);

    char *html = epl_table_to_html(x);
    CHECK_OK(t, ctx, html);
    CHECK(t, !strstr(html, "<b ") && !strstr(html, "\"&") && !strchr(html, '\x1b') && !strstr(html, "\xff"));
    CHECK(t, strstr(html, "&lt;b onmouseover=&#39;x&#39;&gt;&quot;&amp;"));
    epl_release(ctx, html);

    char *markdown = epl_table_to_markdown(x);
    CHECK_OK(t, ctx, markdown);
    CHECK(t, strstr(markdown, "\\<b onmouseover='x'\\>\"&  \\[31m\\|\\`\\\\"));
    epl_release(ctx, markdown);
    golden_text(t, "report_table_hostile.json", epl_table_to_json(x), ctx);
    epl_table_free(x);
}

TEST(table_refuses_cells_without_a_column)
{
    epl_context *ctx = test_context(t);
    epl_table *x = epl_table_new(ctx, NULL);
    epl_table_column(x, "a", (epl_column_opts){ 0 });
    epl_table_row(x);
    epl_table_number(x, 1);
    epl_table_number(x, 2);
    CHECK_FAILS(t, ctx, epl_table_to_text(x, (epl_table_opts){ 0 }), EPL_ERR_ARGUMENT, "cell 2 of row 1, but there are 1");
    epl_table_free(x);
    x = epl_table_new(ctx, NULL);
    epl_table_number(x, 1);
    CHECK_FAILS(t, ctx, epl_table_to_json(x), EPL_ERR_ARGUMENT, "cell 1 of row 0");
    epl_table_free(x);
}

TEST(table_without_rows)
{
    epl_context *ctx = test_context(t);
    epl_table *x = epl_table_new(ctx, NULL);
    epl_table_column(x, "a", (epl_column_opts){ 0 });
    char *json = epl_table_to_json(x), *text = epl_table_to_text(x, (epl_table_opts){ .ascii = true });
    CHECK_STR(t, json, "[]\n");
    CHECK_STR(t, text, "a\n-\n");
    epl_release(ctx, json);
    epl_release(ctx, text);
    epl_table_free(x);
}

TEST(table_survives_every_failed_allocation)
{
    for (int n = 0, done = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_table *x = stages(ctx);
        char *html = epl_table_to_html(x), *text = epl_table_to_text(x, (epl_table_opts){ .width = 50 });
        done = html && text;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_release(ctx, html);
        epl_release(ctx, text);
        epl_table_free(x);
        CHECK_INT(t, test_live_bytes(ctx), 0);
    }
}
