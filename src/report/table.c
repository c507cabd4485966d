/* table: building a table and formatting its cells. The writers are in table_text.c and table_markup.c. */
#include "report/table.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

epl_table *epl_table_new(epl_context *ctx, const char *title)
{
    epl_table *t = epl_alloc(ctx, sizeof *t);
    if (!t)
        return NULL;
    t->ctx   = ctx;
    t->arena = epl_arena_new(ctx);
    if (t->arena && title)
        t->title = epl_arena_strdup(t->arena, title);
    if (!t->arena || (title && !t->title)) {
        epl_table_free(t);
        return NULL;
    }
    return t;
}

void epl_table_free(epl_table *t)
{
    if (!t)
        return;
    epl_release(t->ctx, t->columns);
    epl_release(t->ctx, t->rows);
    if (t->arena)
        epl_arena_free(t->arena);
    epl_release(t->ctx, t);
}

bool epl_table_usable(const epl_table *t)
{
    return t && !t->failed;
}

static const char *keep(epl_table *t, const char *s)
{
    const char *copy = s ? epl_arena_strdup(t->arena, s) : NULL;
    t->failed |= s && !copy;
    return copy;
}

void epl_table_column(epl_table *t, const char *name, epl_column_opts o)
{
    if (!epl_table_usable(t))
        return;
    if (t->n_rows) {
        t->failed = !epl_fail(t->ctx, EPL_ERR_ARGUMENT, "table: column '%s' is added after %zu rows", name, t->n_rows);
        return;
    }
    if (!epl_grow(t->ctx, &t->columns, t->n_columns, &t->columns_capacity, sizeof *t->columns)) {
        t->failed = true;
        return;
    }
    t->columns[t->n_columns++] = (table_column){ .name = keep(t, name),
                                                 .key  = keep(t, o.key ? o.key : name),
                                                 .unit = keep(t, o.unit),
                                                 .o    = o };
}

void epl_table_row(epl_table *t)
{
    if (!epl_table_usable(t))
        return;
    if (!epl_grow(t->ctx, &t->rows, t->n_rows, &t->rows_capacity, sizeof *t->rows)) {
        t->failed = true;
        return;
    }
    table_row *row = &t->rows[t->n_rows];
    row->cells   = epl_arena_alloc(t->arena, (t->n_columns + 1) * sizeof *row->cells);
    row->rule    = t->rule_next;
    t->rule_next = false;
    t->n_cells   = 0;
    if (row->cells)
        t->n_rows++;
    else
        t->failed = true;
}

void epl_table_rule(epl_table *t)
{
    if (epl_table_usable(t))
        t->rule_next = true;
}

static void add_cell(epl_table *t, table_cell cell)
{
    if (!epl_table_usable(t))
        return;
    if (!t->n_rows || t->n_cells == t->n_columns) {
        t->failed = !epl_fail(t->ctx, EPL_ERR_ARGUMENT, "table: cell %zu of row %zu, but there are %zu columns",
                              t->n_cells + 1, t->n_rows, t->n_columns);
        return;
    }
    t->rows[t->n_rows - 1].cells[t->n_cells++] = cell;
}

void epl_table_text(epl_table *t, const char *s)
{
    if (epl_table_usable(t))
        add_cell(t, (table_cell){ .kind = CELL_TEXT, .text = keep(t, s ? s : "") });
}

void epl_table_textf(epl_table *t, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    const int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0 && epl_table_usable(t))
        t->failed = !epl_fail(t->ctx, EPL_ERR_MEMORY, "table: no memory for a cell");
    if (n < 0)
        return;
    epl_table_text(t, text);
    free(text);
}

void epl_table_number(epl_table *t, double x)
{
    add_cell(t, (table_cell){ .kind = CELL_NUMBER, .number = x });
}

void epl_table_integer(epl_table *t, int64_t x)
{
    add_cell(t, (table_cell){ .kind = CELL_INTEGER, .integer = x, .number = (double)x });
}

void epl_table_empty(epl_table *t)
{
    add_cell(t, (table_cell){ .kind = CELL_EMPTY });
}

static int decimals_or(const epl_column_opts *o, int usual)
{
    const int d = o->decimals < 0 ? 0 : o->decimals ? o->decimals : usual;
    return d > 15 ? 15 : d;
}

static void format_plain(char out[CELL_TEXT_SIZE], const table_cell *c)
{
    if (c->kind == CELL_INTEGER)
        snprintf(out, CELL_TEXT_SIZE, "%lld", (long long)c->integer);
    else if (fabs(c->number) < 1e15 && c->number == floor(c->number))
        snprintf(out, CELL_TEXT_SIZE, "%.0f", c->number == 0 ? 0.0 : c->number); // no "-0"
    else
        snprintf(out, CELL_TEXT_SIZE, "%.6g", c->number);
}

static void format_number(char out[CELL_TEXT_SIZE], const table_cell *c, const epl_column_opts *o)
{
    const double x = c->number;
    if (isnan(x) || isinf(x)) {
        snprintf(out, CELL_TEXT_SIZE, "%s", isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return;
    }
    switch (o->format) {
    case EPL_FORMAT_FIXED:
        snprintf(out, CELL_TEXT_SIZE, fabs(x) < 1e15 ? "%.*f" : "%.*e", decimals_or(o, 2), x);
        break;
    case EPL_FORMAT_PERCENT:
        snprintf(out, CELL_TEXT_SIZE, fabs(x) < 1e13 ? "%.*f %%" : "%.*e %%", decimals_or(o, 1), 100 * x);
        break;
    case EPL_FORMAT_COUNT:   epl_format_count(out, x); break;
    case EPL_FORMAT_BYTES:   epl_format_bytes(out, x); break;
    case EPL_FORMAT_SECONDS: epl_format_seconds(out, x); break;
    default:                 format_plain(out, c);
    }
}

const char *epl_table_cell_text(const epl_table *t, size_t row, size_t column, char buffer[CELL_TEXT_SIZE])
{
    const table_cell *c = &t->rows[row].cells[column];
    if (c->kind == CELL_EMPTY)
        return "";
    if (c->kind == CELL_TEXT)
        return c->text;
    format_number(buffer, c, &t->columns[column].o);
    return buffer;
}

epl_align epl_table_align(const epl_table *t, size_t column)
{
    if (t->columns[column].o.align != EPL_ALIGN_AUTO)
        return t->columns[column].o.align;
    bool numbers = false;
    for (size_t r = 0; r < t->n_rows; r++) {
        const cell_kind kind = t->rows[r].cells[column].kind;
        if (kind == CELL_TEXT)
            return EPL_ALIGN_LEFT;
        numbers |= kind != CELL_EMPTY;
    }
    return numbers ? EPL_ALIGN_RIGHT : EPL_ALIGN_LEFT;
}
