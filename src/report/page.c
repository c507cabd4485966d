/* page: an HTML report in one file. Parts are written to the body as they come; the head, the key figures and the contents
 * are put before it at the end. The page allows itself nothing but inline styles and data: pictures (its content security
 * policy says so), so nothing in it can load or run anything. */
#include "report/page.h"

#include "base/escape.h"
#include "report/png.h"
#include "report/svg.h"

#include <espalier/report.h>

#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 32, LEAST_CONTENTS = 2 };

struct epl_report {
    epl_context *ctx;
    epl_text     title, subtitle, footer, keys, contents, body; /* escaped */
    int          n_sections, depth;
    char         open[DEEPEST]; /* 'd' details, 'c' columns */
    bool         failed;
};

epl_report *epl_report_new(epl_context *ctx, const char *title, epl_report_opts o)
{
    epl_report *r = epl_alloc(ctx, sizeof *r);
    if (!r)
        return NULL;
    r->ctx = ctx;
    r->title = r->subtitle = r->footer = r->keys = r->contents = r->body = EPL_TEXT(ctx);
    epl_escape_xml(&r->title, title);
    epl_escape_xml(&r->subtitle, o.subtitle);
    epl_escape_xml(&r->footer, o.footer);
    return r;
}

void epl_report_free(epl_report *r)
{
    if (!r)
        return;
    epl_text *const all[] = { &r->title, &r->subtitle, &r->footer, &r->keys, &r->contents, &r->body };
    for (size_t i = 0; i < EPL_COUNT(all); i++)
        epl_text_release(all[i]);
    epl_release(r->ctx, r);
}

static bool usable(const epl_report *r)
{
    return r && !r->failed;
}

void epl_report_key(epl_report *r, const char *label, const char *value, const char *remark)
{
    if (!usable(r))
        return;
    epl_text_add(&r->keys, "<div class=\"key\"><div class=\"l\">");
    epl_escape_xml(&r->keys, label);
    epl_text_add(&r->keys, "</div><div class=\"v\">");
    epl_escape_xml(&r->keys, value);
    epl_text_add(&r->keys, "</div>");
    if (remark && *remark) {
        epl_text_add(&r->keys, "<div class=\"r\">");
        epl_escape_xml(&r->keys, remark);
        epl_text_add(&r->keys, "</div>");
    }
    epl_text_add(&r->keys, "</div>\n");
}

void epl_report_section(epl_report *r, const char *title)
{
    if (!usable(r))
        return;
    r->n_sections++;
    epl_text_addf(&r->contents, "<li><a href=\"#s%d\">", r->n_sections);
    epl_escape_xml(&r->contents, title);
    epl_text_add(&r->contents, "</a></li>\n");
    epl_text_addf(&r->body, "<h2 id=\"s%d\">", r->n_sections);
    epl_escape_xml(&r->body, title);
    epl_text_add(&r->body, "</h2>\n");
}

void epl_report_subsection(epl_report *r, const char *title)
{
    if (!usable(r))
        return;
    epl_text_add(&r->body, "<h3>");
    epl_escape_xml(&r->body, title);
    epl_text_add(&r->body, "</h3>\n");
}

/* ---- paragraphs ---- */

static void escape_part(epl_text *t, const char *s, size_t n)
{
    epl_text part = EPL_TEXT(t->ctx);
    epl_text_add_bytes(&part, s, n);
    epl_escape_xml(t, epl_text_str(&part));
    t->failed |= part.failed;
    epl_text_release(&part);
}

/* Writes the text between a pair of marks inside an element; returns what follows the pair, or NULL if there is none. */
static const char *add_pair(epl_text *t, const char *s, const char *mark, const char *element)
{
    const size_t m   = strlen(mark);
    const char  *end = strncmp(s, mark, m) == 0 ? strstr(s + m, mark) : NULL;
    if (!end || end == s + m)
        return NULL;
    epl_text_addf(t, "<%s>", element);
    escape_part(t, s + m, (size_t)(end - s) - m);
    epl_text_addf(t, "</%s>", element);
    return end + m;
}

static void add_marked(epl_text *t, const char *s)
{
    while (*s) {
        const char *after = add_pair(t, s, "`", "code");
        if (!after)
            after = add_pair(t, s, "**", "strong");
        if (!after) {
            after = s + 1 + strcspn(s + 1, "`*"); // a mark that opens nothing stands for itself
            escape_part(t, s, (size_t)(after - s));
        }
        s = after;
    }
}

static void add_formatted(epl_report *r, const char *before, const char *after, const char *format, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) {
        r->failed = !epl_fail(r->ctx, EPL_ERR_MEMORY, "report: no memory for a paragraph");
        return;
    }
    epl_text_add(&r->body, before);
    add_marked(&r->body, text);
    epl_text_add(&r->body, after);
    free(text);
}

void epl_report_text(epl_report *r, const char *format, ...)
{
    va_list args;
    if (!usable(r))
        return;
    va_start(args, format);
    add_formatted(r, "<p>", "</p>\n", format, args);
    va_end(args);
}

void epl_report_note(epl_report *r, epl_note kind, const char *format, ...)
{
    static const char *const before[] = { "<div class=\"note\">", "<div class=\"note g\">", "<div class=\"note w\">",
                                          "<div class=\"note x\">" };
    va_list args;
    if (!usable(r))
        return;
    va_start(args, format);
    add_formatted(r, before[kind >= EPL_NOTE_INFO && kind <= EPL_NOTE_BAD ? kind : EPL_NOTE_INFO], "</div>\n", format, args);
    va_end(args);
}

void epl_report_code(epl_report *r, const char *text)
{
    if (!usable(r))
        return;
    epl_text_add(&r->body, "<pre>");
    epl_escape_xml(&r->body, text);
    epl_text_add(&r->body, "</pre>\n");
}

/* ---- tables and pictures ---- */

/* Adds a rendered part between two texts and releases it; NULL means that rendering failed. */
static void add_part(epl_report *r, const char *before, char *part, const char *after)
{
    if (!part) {
        r->failed = true;
        if (epl_error_code(r->ctx) == EPL_OK)
            epl_fail(r->ctx, EPL_ERR_ARGUMENT, "report: a table, plot or diagram that does not exist");
        return;
    }
    epl_text_add(&r->body, before);
    epl_text_add(&r->body, part);
    epl_text_add(&r->body, after);
    epl_release(r->ctx, part);
}

void epl_report_table(epl_report *r, const epl_table *t)
{
    if (usable(r))
        add_part(r, "<div class=\"scroll\">\n", epl_table_to_html(t), "</div>\n");
}

/* The page has the pictures' style sheet in its head. */
static char *without_style(char *svg)
{
    const char *style = epl_svg_style_sheet();
    char *at = svg ? strstr(svg, style) : NULL;
    if (at)
        memmove(at, at + strlen(style), strlen(at + strlen(style)) + 1);
    return svg;
}

static void add_figure(epl_report *r, const char *open, char *svg, const char *caption)
{
    add_part(r, open, without_style(svg), "");
    if (r->failed)
        return;
    if (caption && *caption) {
        epl_text_add(&r->body, "<figcaption>");
        add_marked(&r->body, caption);
        epl_text_add(&r->body, "</figcaption>");
    }
    epl_text_add(&r->body, "</figure>\n");
}

void epl_report_plot(epl_report *r, const epl_plot *p, const char *caption)
{
    if (usable(r))
        add_figure(r, "<figure>", epl_plot_svg(p), caption);
}

void epl_report_diagram(epl_report *r, epl_diagram *d, const char *caption)
{
    if (usable(r))
        add_figure(r, "<figure class=\"tall\">", epl_diagram_svg(d), caption);
}

static void add_picture(epl_report *r, const epl_picture *p, int size)
{
    uint32_t w, h, channels;
    if (!epl_png_size(p->png, p->bytes, &w, &h, &channels)) {
        r->failed = !epl_fail(r->ctx, EPL_ERR_FORMAT, "report: a picture of %zu bytes is not a PNG file", p->bytes);
        return;
    }
    const bool small = (w > h ? w : h) * 3 < (uint32_t)size * 2;
    epl_text_addf(&r->body, "<figure class=\"pic\"><img class=\"%s%s\" alt=\"", small ? "px" : "",
                  p->mark == 1 ? " ok" : p->mark == 2 ? " no" : "");
    epl_escape_xml(&r->body, p->caption);
    epl_text_add(&r->body, "\" src=\"");
    epl_png_address(&r->body, p->png, p->bytes);
    epl_text_add(&r->body, "\">");
    epl_escape_xml(&r->body, p->caption);
    epl_text_add(&r->body, "</figure>\n");
}

void epl_report_pictures(epl_report *r, const epl_picture *pictures, size_t n, epl_pictures_opts o)
{
    if (!usable(r))
        return;
    const int size = o.size > 0 ? o.size : 96;
    if (o.title && *o.title)
        epl_report_subsection(r, o.title);
    if (o.columns > 0)
        epl_text_addf(&r->body, "<div class=\"pics\" style=\"grid-template-columns:repeat(%d,minmax(0,%dpx))\">\n", o.columns,
                      size);
    else
        epl_text_addf(&r->body, "<div class=\"pics\" style=\"grid-template-columns:repeat(auto-fill,%dpx)\">\n", size);
    for (size_t i = 0; i < n && !r->failed; i++)
        add_picture(r, &pictures[i], size);
    epl_text_add(&r->body, "</div>\n");
}

/* ---- nesting ---- */

static bool push(epl_report *r, char kind)
{
    if (!usable(r))
        return false;
    if (r->depth == DEEPEST) {
        r->failed = !epl_fail(r->ctx, EPL_ERR_LIMIT, "report: parts nested deeper than %d", (int)DEEPEST);
        return false;
    }
    r->open[r->depth++] = kind;
    return true;
}

static bool pop(epl_report *r, char kind, const char *name)
{
    if (!usable(r))
        return false;
    if (!r->depth || r->open[r->depth - 1] != kind) {
        r->failed = !epl_fail(r->ctx, EPL_ERR_ARGUMENT, "report: the end of %s that were not the last to begin", name);
        return false;
    }
    r->depth--;
    return true;
}

void epl_report_begin_details(epl_report *r, const char *summary)
{
    if (!push(r, 'd'))
        return;
    epl_text_add(&r->body, "<details><summary>");
    epl_escape_xml(&r->body, summary);
    epl_text_add(&r->body, "</summary>\n");
}

void epl_report_end_details(epl_report *r)
{
    if (pop(r, 'd', "details"))
        epl_text_add(&r->body, "</details>\n");
}

void epl_report_begin_columns(epl_report *r)
{
    if (push(r, 'c'))
        epl_text_add(&r->body, "<div class=\"cols\">\n");
}

void epl_report_end_columns(epl_report *r)
{
    if (pop(r, 'c', "columns"))
        epl_text_add(&r->body, "</div>\n");
}

/* ---- the whole ---- */

static void add_filled(epl_text *t, const char *before, const epl_text *part, const char *after)
{
    if (!part->length)
        return;
    epl_text_add(t, before);
    epl_text_add_bytes(t, part->data, part->length);
    epl_text_add(t, after);
}

static void add_head(epl_text *t, const epl_report *r)
{
    epl_text_add(t, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                    "<meta name=\"color-scheme\" content=\"light dark\">\n"
                    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
                    "img-src data:\">\n<title>");
    epl_text_add(t, epl_text_str(&r->title));
    epl_text_add(t, "</title>\n<style>\n");
    epl_text_add(t, epl_page_style);
    epl_text_add(t, "</style>\n");
    epl_text_add(t, epl_svg_style_sheet());
    epl_text_add(t, "</head>\n<body>\n");
}

char *epl_report_html(const epl_report *r)
{
    if (!usable(r))
        return NULL;
    if (r->depth) {
        epl_fail(r->ctx, EPL_ERR_ARGUMENT, "report: %d details or columns are still open", r->depth);
        return NULL;
    }
    const epl_text *const all[] = { &r->title, &r->subtitle, &r->footer, &r->keys, &r->contents, &r->body };
    for (size_t i = 0; i < EPL_COUNT(all); i++)
        if (all[i]->failed)
            return NULL;
    epl_text t = EPL_TEXT(r->ctx);
    add_head(&t, r);
    epl_text_add(&t, "<header>\n");
    add_filled(&t, "<h1>", &r->title, "</h1>\n");
    add_filled(&t, "<p class=\"sub\">", &r->subtitle, "</p>\n");
    add_filled(&t, "<div class=\"keys\">\n", &r->keys, "</div>\n");
    epl_text_add(&t, "</header>\n");
    if (r->n_sections >= LEAST_CONTENTS)
        add_filled(&t, "<nav><ol>\n", &r->contents, "</ol></nav>\n");
    add_filled(&t, "<main>\n", &r->body, "</main>\n");
    add_filled(&t, "<footer>", &r->footer, "</footer>\n");
    epl_text_add(&t, "</body>\n</html>\n");
    return epl_text_detach(&t);
}

bool epl_report_save(const epl_report *r, const char *path)
{
    char *html = epl_report_html(r);
    const bool ok = html && epl_write_file(r->ctx, path, html, strlen(html));
    if (html)
        epl_release(r->ctx, html);
    return ok;
}
