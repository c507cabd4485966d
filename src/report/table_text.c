/* table_text: a table as plain text for terminals and logs. Two spaces part the columns; one rule lies under the header
 * and one over each marked row. Where the text would pass the width limit, the widest text columns are cut. */
#include "base/escape.h"
#include "report/table.h"


enum { GAP = 2, LEAST_CUT = 6 }; // columns between columns; the narrowest a cut column becomes

typedef struct layout {
    const epl_table *t;
    epl_table_opts   o;
    int             *width; // per column
} layout;

static void add_header(epl_text *out, const table_column *c)
{
    epl_text_add(out, c->name);
    if (c->unit && *c->unit)
        epl_text_addf(out, " [%s]", c->unit);
}

static int header_columns(const epl_table *t, size_t column)
{
    epl_text name = EPL_TEXT(t->ctx);
    add_header(&name, &t->columns[column]);
    const int n = epl_utf8_columns(epl_text_str(&name));
    epl_text_release(&name);
    return n;
}

static bool is_cuttable(const epl_table *t, size_t column)
{
    for (size_t r = 0; r < t->n_rows; r++)
        if (t->rows[r].cells[column].kind == CELL_TEXT)
            return true;
    return false;
}

/* Takes one column of text at a time from the widest column that holds text, until the line fits or nothing gives. */
static void fit(layout *l)
{
    const epl_table *t = l->t;
    int total = t->n_columns ? GAP * ((int)t->n_columns - 1) : 0;
    for (size_t c = 0; c < t->n_columns; c++)
        total += l->width[c];
    while (l->o.width > 0 && total > l->o.width) {
        size_t widest = t->n_columns;
        for (size_t c = 0; c < t->n_columns; c++)
            if (l->width[c] > LEAST_CUT && is_cuttable(t, c) &&
                (widest == t->n_columns || l->width[c] > l->width[widest]))
                widest = c;
        if (widest == t->n_columns)
            return;
        l->width[widest]--;
        total--;
    }
}

static void measure(layout *l)
{
    char buffer[CELL_TEXT_SIZE];
    for (size_t c = 0; c < l->t->n_columns; c++) {
        l->width[c] = header_columns(l->t, c);
        for (size_t r = 0; r < l->t->n_rows; r++) {
            const int n = epl_utf8_columns(epl_table_cell_text(l->t, r, c, buffer));
            l->width[c] = n > l->width[c] ? n : l->width[c];
        }
    }
    fit(l);
}

static void add_spaces(epl_text *out, int n)
{
    for (; n > 0; n--)
        epl_text_add_bytes(out, " ", 1);
}

static void add_padded(epl_text *out, const layout *l, size_t column, const char *s)
{
    const int  width = l->width[column];
    const int  full  = epl_utf8_columns(s);
    const int  room  = full > width ? 0 : width - full;
    const bool last  = column + 1 == l->t->n_columns;
    const epl_align align = epl_table_align(l->t, column);
    const int  left  = align == EPL_ALIGN_RIGHT ? room : align == EPL_ALIGN_CENTER ? room / 2 : 0;

    add_spaces(out, left);
    if (full > width) {
        const char *cut   = l->o.ascii ? "..." : "…";
        const int   taken = width - (l->o.ascii ? 3 : 1);
        const size_t before = out->length;
        epl_escape_terminal_n(out, s, taken);
        if (!out->failed && out->length >= before && out->data)
            add_spaces(out, taken - epl_utf8_columns(out->data + before)); // a wide character may not have fitted
        epl_text_add(out, cut);
    } else {
        epl_escape_terminal(out, s);
    }
    if (!last)
        add_spaces(out, room - left + GAP);
}

static void add_rule(epl_text *out, const layout *l)
{
    for (size_t c = 0; c < l->t->n_columns; c++) {
        for (int i = 0; i < l->width[c]; i++)
            epl_text_add(out, l->o.ascii ? "-" : "─");
        add_spaces(out, c + 1 < l->t->n_columns ? GAP : 0);
    }
    epl_text_add(out, "\n");
}

/* Lines carry no blanks at their end. */
static void end_line(epl_text *out)
{
    while (!out->failed && out->length && out->data[out->length - 1] == ' ')
        out->data[--out->length] = '\0';
    epl_text_add(out, "\n");
}

static void add_table(epl_text *out, const layout *l)
{
    const epl_table *t = l->t;
    char buffer[CELL_TEXT_SIZE];
    if (t->title) {
        epl_escape_terminal(out, t->title);
        epl_text_add(out, "\n\n");
    }
    for (size_t c = 0; c < t->n_columns; c++) {
        epl_text name = EPL_TEXT(t->ctx);
        add_header(&name, &t->columns[c]);
        add_padded(out, l, c, epl_text_str(&name));
        epl_text_release(&name);
    }
    end_line(out);
    add_rule(out, l);
    for (size_t r = 0; r < t->n_rows; r++) {
        if (t->rows[r].rule)
            add_rule(out, l);
        for (size_t c = 0; c < t->n_columns; c++)
            add_padded(out, l, c, epl_table_cell_text(t, r, c, buffer));
        end_line(out);
    }
}

char *epl_table_to_text(const epl_table *t, epl_table_opts o)
{
    if (!epl_table_usable(t))
        return NULL;
    layout l = { .t = t, .o = o, .width = epl_alloc_array(t->ctx, t->n_columns + 1, sizeof(int)) };
    if (!l.width)
        return NULL;
    epl_text out = EPL_TEXT(t->ctx);
    measure(&l);
    add_table(&out, &l);
    epl_release(t->ctx, l.width);
    return epl_text_detach(&out);
}
