/* table_markup: a table as Markdown (pipe table), JSON (a list of objects) and HTML. */
#include "base/escape.h"
#include "report/table.h"

#include <math.h>
#include <string.h>

/* Text inside a pipe table: pipes, backslashes and what would read as markup are escaped, line ends become spaces. */
static void add_markdown(epl_text *out, const char *s)
{
    const size_t n = s ? strlen(s) : 0;
    for (size_t i = 0, step; i < n; i += step) {
        const uint32_t c = epl_utf8_next(s + i, n - i, &step);
        if (c < 0x20 || c == 0x7F)
            epl_text_add(out, " ");
        else if (c < 0x80 && strchr("|\\`*_<>[]~", (int)c))
            epl_text_addf(out, "\\%c", (int)c);
        else
            epl_utf8_add(out, c);
    }
}

static void add_markdown_rule(epl_text *out, epl_align align)
{
    epl_text_add(out, align == EPL_ALIGN_RIGHT ? " ---: |" : align == EPL_ALIGN_CENTER ? " :---: |" : " --- |");
}

char *epl_table_to_markdown(const epl_table *t)
{
    if (!epl_table_usable(t))
        return NULL;
    char buffer[CELL_TEXT_SIZE];
    epl_text out = EPL_TEXT(t->ctx);
    if (t->title) {
        epl_text_add(&out, "**");
        add_markdown(&out, t->title);
        epl_text_add(&out, "**\n\n");
    }
    epl_text_add(&out, "|");
    for (size_t c = 0; c < t->n_columns; c++) {
        epl_text_add(&out, " ");
        add_markdown(&out, t->columns[c].name);
        if (t->columns[c].unit && *t->columns[c].unit) {
            epl_text_add(&out, " \\[");
            add_markdown(&out, t->columns[c].unit);
            epl_text_add(&out, "\\]");
        }
        epl_text_add(&out, " |");
    }
    epl_text_add(&out, "\n|");
    for (size_t c = 0; c < t->n_columns; c++)
        add_markdown_rule(&out, epl_table_align(t, c));
    for (size_t r = 0; r < t->n_rows; r++) {
        epl_text_add(&out, "\n|");
        for (size_t c = 0; c < t->n_columns; c++) {
            epl_text_add(&out, " ");
            add_markdown(&out, epl_table_cell_text(t, r, c, buffer));
            epl_text_add(&out, " |");
        }
    }
    epl_text_add(&out, "\n");
    return epl_text_detach(&out);
}

static void add_json_cell(epl_text *out, const table_cell *c)
{
    char number[32];
    if (c->kind == CELL_TEXT) {
        epl_escape_json(out, c->text);
    } else if (c->kind == CELL_INTEGER) {
        epl_text_addf(out, "%lld", (long long)c->integer);
    } else if (c->kind == CELL_NUMBER && isfinite(c->number)) {
        epl_format_f64(number, c->number);
        epl_text_add(out, number);
    } else {
        epl_text_add(out, "null");
    }
}

char *epl_table_to_json(const epl_table *t)
{
    if (!epl_table_usable(t))
        return NULL;
    epl_text out = EPL_TEXT(t->ctx);
    epl_text_add(&out, "[");
    for (size_t r = 0; r < t->n_rows; r++) {
        epl_text_add(&out, r ? ",\n  {" : "\n  {");
        for (size_t c = 0; c < t->n_columns; c++) {
            epl_text_add(&out, c ? ", " : "");
            epl_escape_json(&out, t->columns[c].key);
            epl_text_add(&out, ": ");
            add_json_cell(&out, &t->rows[r].cells[c]);
        }
        epl_text_add(&out, "}");
    }
    epl_text_add(&out, t->n_rows ? "\n]\n" : "]\n");
    return epl_text_detach(&out);
}

static const char *html_class(epl_align align)
{
    return align == EPL_ALIGN_RIGHT ? " class=\"epl-r\"" : align == EPL_ALIGN_CENTER ? " class=\"epl-m\"" : "";
}

static void add_html_header(epl_text *out, const epl_table *t)
{
    epl_text_add(out, "<thead><tr>");
    for (size_t c = 0; c < t->n_columns; c++) {
        epl_text_addf(out, "<th scope=\"col\"%s>", html_class(epl_table_align(t, c)));
        epl_escape_xml(out, t->columns[c].name);
        if (t->columns[c].unit && *t->columns[c].unit) {
            epl_text_add(out, " <span class=\"epl-unit\">[");
            epl_escape_xml(out, t->columns[c].unit);
            epl_text_add(out, "]</span>");
        }
        epl_text_add(out, "</th>");
    }
    epl_text_add(out, "</tr></thead>\n<tbody>\n");
}

char *epl_table_to_html(const epl_table *t)
{
    if (!epl_table_usable(t))
        return NULL;
    char buffer[CELL_TEXT_SIZE];
    epl_text out = EPL_TEXT(t->ctx);
    epl_text_add(&out, "<table class=\"epl-table\">\n");
    if (t->title) {
        epl_text_add(&out, "<caption>");
        epl_escape_xml(&out, t->title);
        epl_text_add(&out, "</caption>\n");
    }
    add_html_header(&out, t);
    for (size_t r = 0; r < t->n_rows; r++) {
        epl_text_add(&out, t->rows[r].rule ? "<tr class=\"epl-rule\">" : "<tr>");
        for (size_t c = 0; c < t->n_columns; c++) {
            epl_text_addf(&out, "<td%s>", html_class(epl_table_align(t, c)));
            epl_escape_xml(&out, epl_table_cell_text(t, r, c, buffer));
            epl_text_add(&out, "</td>");
        }
        epl_text_add(&out, "</tr>\n");
    }
    epl_text_add(&out, "</tbody></table>\n");
    return epl_text_detach(&out);
}
