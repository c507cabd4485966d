/* plot: what epl_plot holds, and the frame (title, legend, axes) that its kinds share. */
#ifndef EPL_REPORT_PLOT_H
#define EPL_REPORT_PLOT_H

#include "report/scale.h"
#include "report/svg.h"

#include <espalier/report.h>

typedef enum plot_kind { PLOT_NONE = 0, PLOT_NUMBERS, PLOT_BARS, PLOT_MATRIX } plot_kind;
typedef enum series_kind { SERIES_LINE, SERIES_POINTS, SERIES_BARS } series_kind;

typedef struct plot_series {
    series_kind        kind;
    const char        *name;
    const double      *x, *y, *low, *high; /* bars: low holds the errors */
    const char *const *labels;
    size_t             n;
    int                color;
    double             radius;
    bool               dashed, markers, steps;
} plot_series;

typedef struct plot_mark {
    double      at;
    bool        across; /* at a y, from left to right */
    const char *label;
} plot_mark;

struct epl_plot {
    epl_context  *ctx;
    epl_arena    *arena;
    epl_plot_opts o;
    plot_kind     kind;
    bool          failed;
    plot_series  *series;
    plot_mark    *marks;
    size_t        n_series, series_capacity, n_marks, marks_capacity;

    const char *const *categories;
    size_t             n_categories;

    const double   *matrix;
    size_t          n_rows, n_columns;
    epl_matrix_opts matrix_opts;
};

/* A picture under construction: the rectangle between left..right and top..bottom (pixels, downwards) holds the data. */
typedef struct canvas {
    const epl_plot *p;
    epl_text       *t;
    double          width, height, left, right, top, bottom;
    scale           x, y;
} canvas;

canvas epl_canvas_new(const epl_plot *p, epl_text *t);
double epl_canvas_heading(const canvas *c, bool draw); /* title and legend; returns the y where they end */
void   epl_canvas_y_axis(canvas *c);                   /* grid lines and labels left of the rectangle */
double epl_canvas_tick_width(const scale *s);           /* of the widest label */
void   epl_canvas_no_data(const canvas *c);

void epl_plot_draw_numbers(const epl_plot *p, epl_text *t);
void epl_plot_draw_bars(const epl_plot *p, epl_text *t);
void epl_plot_draw_matrix(const epl_plot *p, epl_text *t);

#endif
