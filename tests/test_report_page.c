/* The HTML page: a small one kept as a golden file, hostile text in every place, mistakes in nesting. */
#include "common/report.h"

#include <espalier/report.h>

static const char *const hostile = "</style></title><img src=x onerror=alert(1)>\"'&`\xff";

static epl_report *page(epl_context *ctx, const char *s)
{
    epl_report *r = epl_report_new(ctx, s, (epl_report_opts){ .subtitle = s, .footer = s });
    epl_report_key(r, s, "91.2 %", s);
    epl_report_section(r, s);
    epl_report_text(r, "Trained for **%d epochs** with `--seed %d`; 2 * 3 and a lone ` stay. %s", 60, 1, s);
    epl_report_note(r, EPL_NOTE_WARNING, "Take care of **%s**", s);
    epl_table *t = epl_table_new(ctx, s);
    epl_table_column(t, s, (epl_column_opts){ 0 });
    epl_table_row(t);
    epl_table_text(t, s);
    epl_report_table(r, t);
    epl_table_free(t);
    epl_report_section(r, "Pictures");
    epl_report_begin_columns(r);
    const double y[] = { 3, 2, 1 };
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .title = s, .width = 320, .height = 200 });
    epl_plot_line(p, s, NULL, y, 3, (epl_line_opts){ 0 });
    epl_report_plot(r, p, s);
    epl_plot_free(p);
    epl_diagram *d = epl_diagram_new(ctx, (epl_diagram_opts){ .title = s });
    epl_diagram_node(d, s, (epl_diagram_node_opts){ .tooltip = s });
    epl_report_diagram(r, d, NULL);
    epl_diagram_free(d);
    epl_report_end_columns(r);
    const epl_picture pictures[] = { { pixel, sizeof pixel, s, 1 }, { pixel, sizeof pixel, NULL, 2 } };
    epl_report_pictures(r, pictures, 2, (epl_pictures_opts){ .title = s });
    epl_report_begin_details(r, s);
    epl_report_code(r, s);
    epl_report_end_details(r);
    return r;
}

TEST(page_as_it_was)
{
    epl_context *ctx = test_context(t);
    epl_report *r = page(ctx, "a name");
    char *html = epl_report_html(r);
    CHECK_OK(t, ctx, html);
    CHECK_GOLDEN(t, "report_page.html", html);
    char path[TEMP];
    temp_path(t, path, "page.html");
    CHECK_OK(t, ctx, epl_report_save(r, path));
    char *saved = test_read_file(t, path, NULL);
    CHECK_STR(t, saved, html);
    free(saved);
    epl_release(ctx, html);
    epl_report_free(r);
}

TEST(page_escapes_hostile_text)
{
    epl_context *ctx = test_context(t);
    epl_report *r = page(ctx, hostile);
    char *html = epl_report_html(r);
    CHECK_OK(t, ctx, html);
    CHECK(t, !strstr(html, "<img src=x") && !strchr(html, '\xff'));
    CHECK(t, !strstr(html, "</title><img"));
    int styles = 0; // the page's and the pictures', closed once each
    for (const char *p = strstr(html, "</style>"); p; p = strstr(p + 1, "</style>"))
        styles++;
    CHECK_INT(t, styles, 2);
    for (const char *p = strstr(html, "http"); p; p = strstr(p + 1, "http")) // nothing from outside
        CHECK(t, strncmp(p, "http://www.w3.org/2000/svg", 26) == 0 || strncmp(p, "http-equiv", 10) == 0);
    epl_release(ctx, html);
    epl_report_free(r);
}

TEST(page_nesting_must_match)
{
    epl_context *ctx = test_context(t);
    epl_report *r = epl_report_new(ctx, "t", (epl_report_opts){ 0 });
    epl_report_begin_details(r, "open");
    CHECK_FAILS(t, ctx, epl_report_html(r), EPL_ERR_ARGUMENT, "1 details or columns are still open");
    epl_report_end_columns(r);
    CHECK_FAILS(t, ctx, epl_report_html(r), EPL_ERR_ARGUMENT, "the end of columns");
    epl_report_free(r);
    r = epl_report_new(ctx, "t", (epl_report_opts){ 0 });
    epl_report_plot(r, NULL, NULL);
    CHECK_FAILS(t, ctx, epl_report_html(r), EPL_ERR_ARGUMENT, "does not exist");
    epl_report_free(r);
}

TEST(page_survives_every_failed_allocation)
{
    for (int n = 0, done = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_report *r = page(ctx, "x");
        char *html = epl_report_html(r);
        done = html != NULL;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_release(ctx, html);
        epl_report_free(r);
        CHECK_INT(t, test_live_bytes(ctx), 0);
    }
}
