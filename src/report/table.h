/* table: the parts of epl_table that its writers share. */
#ifndef EPL_REPORT_TABLE_H
#define EPL_REPORT_TABLE_H

#include <espalier/report.h>

typedef enum cell_kind { CELL_EMPTY = 0, CELL_TEXT, CELL_NUMBER, CELL_INTEGER } cell_kind;

typedef struct table_cell {
    cell_kind   kind;
    const char *text;
    double      number;
    int64_t     integer;
} table_cell;

typedef struct table_column {
    const char *name, *key, *unit;
    epl_column_opts o;
} table_column;

typedef struct table_row {
    table_cell *cells; /* one per column */
    bool        rule;  /* a line above this row */
} table_row;

struct epl_table {
    epl_context  *ctx;
    epl_arena    *arena;
    const char   *title;
    table_column *columns;
    table_row    *rows;
    size_t n_columns, columns_capacity, n_rows, rows_capacity, n_cells; /* n_cells: filled in the last row */
    bool   failed, rule_next;
};

enum { CELL_TEXT_SIZE = 48 };

/* What a cell shows: its own text, or the number formatted into `buffer`. */
const char *epl_table_cell_text(const epl_table *t, size_t row, size_t column, char buffer[CELL_TEXT_SIZE]);
epl_align   epl_table_align(const epl_table *t, size_t column); /* never AUTO */
bool        epl_table_usable(const epl_table *t);

#endif
