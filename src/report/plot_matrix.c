/* plot_matrix: a matrix as coloured cells; with counts and shares of the row it is a confusion matrix.
 *
 * A value is shown by how much of one colour covers the background, so the picture reads on light and dark pages alike.
 * Matrices of more than 128 rows or columns are averaged down to that. */
#include "report/plot.h"

#include <math.h>

enum { MOST_CELLS = 128, LABEL_SIZE = 11, VALUE_SIZE = 11 };
static const double LEAST_CELL = 4, LARGEST_CELL = 56, FAINTEST = 0.03;

typedef struct grid {
    canvas  c;
    size_t  rows, columns;        /* after averaging */
    size_t  row_stride, column_stride;
    double  w, h;                 /* of a cell */
    double  largest, least;       /* of what is shown */
    bool    turned, values;       /* column names turned; numbers printed */
} grid;

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* The mean of the matrix over one drawn cell; NaN if nothing there is finite. */
static double cell(const grid *g, size_t r, size_t c)
{
    const epl_plot *p = g->c.p;
    double sum = 0;
    size_t n = 0;
    for (size_t i = r * g->row_stride; i < p->n_rows && i < (r + 1) * g->row_stride; i++)
        for (size_t k = c * g->column_stride; k < p->n_columns && k < (c + 1) * g->column_stride; k++)
            if (isfinite(p->matrix[i * p->n_columns + k])) {
                sum += p->matrix[i * p->n_columns + k];
                n++;
            }
    return n ? sum / (double)n : NAN;
}

static double row_sum(const grid *g, size_t r)
{
    double sum = 0;
    for (size_t c = 0; c < g->columns; c++)
        sum += isfinite(cell(g, r, c)) ? fabs(cell(g, r, c)) : 0;
    return sum;
}

static void find_range(grid *g)
{
    g->largest = -INFINITY;
    g->least   = INFINITY;
    for (size_t r = 0; r < g->rows; r++)
        for (size_t c = 0; c < g->columns; c++)
            if (isfinite(cell(g, r, c))) {
                g->largest = fmax(g->largest, cell(g, r, c));
                g->least   = fmin(g->least, cell(g, r, c));
            }
}

/* How strongly a cell is coloured, 0..1; *color gets the palette entry. */
static double strength(const grid *g, double x, double sum, int *color)
{
    const epl_matrix_opts *o = &g->c.p->matrix_opts;
    *color = 1;
    if (o->confusion)
        return sum > 0 ? sqrt(fabs(x) / sum) : 0; // the root keeps rare confusions visible
    if (o->diverging) {
        const double size = fmax(fabs(g->largest), fabs(g->least));
        *color = x < 0 ? 2 : 1;
        return size > 0 ? fabs(x) / size : 0;
    }
    return g->largest > g->least ? (x - g->least) / (g->largest - g->least) : 0.5;
}

static void cell_text(const grid *g, double x, char out[SCALE_LABEL_SIZE])
{
    const epl_matrix_opts *o = &g->c.p->matrix_opts;
    if (o->decimals > 0 && fabs(x) < 1e6)
        snprintf(out, SCALE_LABEL_SIZE, "%.*f", o->decimals > 9 ? 9 : o->decimals, x);
    else
        epl_scale_value(out, x, false);
}

static const char *label(const char *const *names, size_t i, size_t stride, char buffer[24])
{
    if (names)
        return names[i * stride] ? names[i * stride] : "";
    snprintf(buffer, 24, "%zu", i * stride);
    return buffer;
}

static double widest(const char *const *names, size_t n, size_t stride)
{
    char   buffer[24];
    double w = 0;
    for (size_t i = 0; i < n; i++)
        w = fmax(w, epl_svg_text_width(label(names, i, stride, buffer), LABEL_SIZE));
    return w;
}

static bool values_fit(const grid *g)
{
    char text[SCALE_LABEL_SIZE];
    if (g->c.p->matrix_opts.no_values || g->h < 15)
        return false;
    for (size_t r = 0; r < g->rows; r++)
        for (size_t c = 0; c < g->columns; c++) {
            cell_text(g, cell(g, r, c), text);
            if (isfinite(cell(g, r, c)) && epl_svg_text_width(text, VALUE_SIZE) > g->w - 3)
                return false;
        }
    return true;
}

static const char *y_label(const epl_plot *p)
{
    return p->o.y_label ? p->o.y_label : p->matrix_opts.confusion ? "truth" : NULL;
}

static const char *x_label(const epl_plot *p)
{
    return p->o.x_label ? p->o.x_label : p->matrix_opts.confusion ? "prediction" : NULL;
}

static void lay_out(grid *g)
{
    const epl_plot *p = g->c.p;
    canvas *c = &g->c;
    const double names = fmin(widest(p->matrix_opts.row_names, g->rows, g->row_stride), c->width * 0.3);
    const double below = widest(p->matrix_opts.column_names, g->columns, g->column_stride);
    c->left = 18 + names + (y_label(p) ? 20 : 0);
    const double room = c->width - c->left - 16;
    g->w = fmin(LARGEST_CELL, fmax(LEAST_CELL, room / (double)g->columns));
    g->h = fmax(LEAST_CELL, fmin(g->w, g->rows > 40 ? 640 / (double)g->rows : 36));
    if (g->w < 22)
        g->h = fmin(g->w, fmax(LEAST_CELL, 640 / (double)g->rows));
    g->turned = below + 4 > g->w && p->matrix_opts.column_names;
    g->values = values_fit(g);
    c->top    = epl_canvas_heading(c, false) + 8;
    c->bottom = c->top + g->h * (double)g->rows;
    c->right  = c->left + g->w * (double)g->columns;
    c->height = c->bottom + (g->turned ? fmin(below, 140) * 0.71 + 18 : 22) + (x_label(p) ? 20 : 0) + (g->values ? 4 : 34);
}

static void begin_opacity(epl_text *t, double share)
{
    epl_text_add(t, "<g fill-opacity=\"");
    epl_svg_number(t, FAINTEST + share * (1 - FAINTEST));
    epl_text_add(t, "\">");
}

static void draw_cell(const grid *g, size_t r, size_t c, double sum)
{
    char   text[SCALE_LABEL_SIZE];
    int    color;
    const double x = cell(g, r, c), left = g->c.left + g->w * (double)c, top = g->c.top + g->h * (double)r;
    const double gap = g->w > 12 && g->h > 12 ? 1 : 0;
    if (!isfinite(x))
        return;
    const double share = fmin(1, fmax(0, strength(g, x, sum, &color)));
    char classes[8];
    snprintf(classes, sizeof classes, "f%d", color);
    begin_opacity(g->c.t, share);
    epl_svg_rect(g->c.t, classes, left, top, g->w - gap, g->h - gap, gap ? 2 : 0);
    epl_text_add(g->c.t, "</g>");
    if (!g->values || (g->c.p->matrix_opts.confusion && x == 0))
        return;
    cell_text(g, x, text);
    epl_svg_text(g->c.t, left + (g->w - gap) / 2, top + (g->h - gap) / 2 + 4, SVG_MIDDLE, share > 0.55 ? "x on" : "x", text);
}

/* Cells without numbers may be thousands: those of the same colour, in 32 steps, become one path. */
static void draw_cells_of(const grid *g, int wanted, int level)
{
    bool any = false;
    for (size_t r = 0; r < g->rows; r++) {
        const double sum = g->c.p->matrix_opts.confusion ? row_sum(g, r) : 0;
        for (size_t c = 0; c < g->columns; c++) {
            int color;
            const double x = cell(g, r, c);
            if (!isfinite(x) || lround(31 * fmin(1, strength(g, x, sum, &color))) != level || color != wanted)
                continue;
            if (!any)
                epl_text_addf(g->c.t,
                              "<path class=\"f%d\" shape-rendering=\"crispEdges\" fill-opacity=\"%d.%02d\" d=\"", color,
                              level == 31, level == 31 ? 0 : (int)(100 * (FAINTEST + (1 - FAINTEST) * level / 31)));
            any = true;
            epl_svg_point(g->c.t, 'M', g->c.left + g->w * (double)c, g->c.top + g->h * (double)r);
            epl_svg_point(g->c.t, 'l', g->w, 0);
            epl_svg_point(g->c.t, 'l', 0, g->h);
            epl_svg_point(g->c.t, 'l', -g->w, 0);
            epl_text_add(g->c.t, "z");
        }
    }
    epl_text_add(g->c.t, any ? "\"/>\n" : "");
}

static void draw_cells(const grid *g)
{
    if (!g->values) {
        for (int color = 1; color <= 2; color++)
            for (int level = 0; level < 32; level++)
                draw_cells_of(g, color, level);
        return;
    }
    for (size_t r = 0; r < g->rows; r++) {
        const double sum = g->c.p->matrix_opts.confusion ? row_sum(g, r) : 0;
        for (size_t c = 0; c < g->columns; c++)
            draw_cell(g, r, c, sum);
    }
}

static void draw_names(const grid *g)
{
    const epl_matrix_opts *o = &g->c.p->matrix_opts;
    const canvas *c = &g->c;
    const size_t row_step = (size_t)ceil(13 / g->h), column_step = g->turned ? (size_t)ceil(13 / g->w) :
                            (size_t)ceil((widest(o->column_names, g->columns, g->column_stride) + 6) / g->w);
    char buffer[24];
    for (size_t r = 0; r < g->rows; r += row_step ? row_step : 1) {
        epl_text name = EPL_TEXT(c->p->ctx);
        epl_svg_text_cut(&name, label(o->row_names, r, g->row_stride, buffer), LABEL_SIZE, c->width * 0.3);
        epl_svg_text(c->t, c->left - 6, c->top + g->h * ((double)r + 0.5) + 4, SVG_END, "x", epl_text_str(&name));
        epl_text_release(&name);
    }
    for (size_t k = 0; k < g->columns; k += column_step ? column_step : 1) {
        const double x = c->left + g->w * ((double)k + 0.5);
        epl_text name = EPL_TEXT(c->p->ctx);
        epl_svg_text_cut(&name, label(o->column_names, k, g->column_stride, buffer), LABEL_SIZE, g->turned ? 140 : 400);
        if (g->turned)
            epl_svg_text_turned(c->t, x + 4, c->bottom + 12, -45, SVG_END, "x", epl_text_str(&name));
        else
            epl_svg_text(c->t, x, c->bottom + 15, SVG_MIDDLE, "x", epl_text_str(&name));
        epl_text_release(&name);
    }
}

static void draw_diagonal(const grid *g)
{
    for (size_t i = 0; i < g->rows && i < g->columns && g->row_stride == 1 && g->column_stride == 1; i++)
        epl_svg_rect(g->c.t, "q", g->c.left + g->w * (double)i - 0.5, g->c.top + g->h * (double)i - 0.5, g->w, g->h, 2);
}

/* A bar of the colours from the least to the largest value, for cells without numbers. */
static void draw_key(const grid *g)
{
    enum { STEPS = 24 };
    char text[SCALE_LABEL_SIZE];
    const canvas *c = &g->c;
    const epl_matrix_opts *o = &c->p->matrix_opts;
    const double size = fmax(fabs(g->largest), fabs(g->least)), y = c->height - 22, w = 6, left = c->left + 44;
    const double low  = o->confusion ? 0 : o->diverging ? -size : g->least;
    const double high = o->confusion ? 1 : o->diverging ? size : g->largest;
    epl_scale_value(text, low, o->confusion);
    epl_svg_text(c->t, left - 6, y + 9, SVG_END, "m x", text);
    for (int i = 0; i < STEPS; i++) {
        int color;
        char classes[8];
        const double x = low + (high - low) * (i + 0.5) / STEPS;
        begin_opacity(c->t, fmin(1, strength(g, x, 1, &color)));
        snprintf(classes, sizeof classes, "f%d", color);
        epl_svg_rect(c->t, classes, left + w * i, y, w, 10, 0);
        epl_text_add(c->t, "</g>");
    }
    epl_scale_value(text, high, o->confusion);
    epl_svg_text(c->t, left + w * STEPS + 6, y + 9, SVG_START, "m x", text);
}

void epl_plot_draw_matrix(const epl_plot *p, epl_text *t)
{
    grid g = { .c = epl_canvas_new(p, t) };
    g.row_stride    = p->n_rows > MOST_CELLS ? ceil_div(p->n_rows, MOST_CELLS) : 1;
    g.column_stride = p->n_columns > MOST_CELLS ? ceil_div(p->n_columns, MOST_CELLS) : 1;
    g.rows          = ceil_div(p->n_rows, g.row_stride);
    g.columns       = ceil_div(p->n_columns, g.column_stride);
    find_range(&g);
    if (!g.rows || !g.columns || g.least > g.largest) {
        g.c.left = g.c.top = 0;
        g.c.right = g.c.width;
        g.c.bottom = g.c.height = 120;
        epl_svg_open(t, g.c.width, g.c.height, p->o.title);
        epl_canvas_heading(&g.c, true);
        epl_canvas_no_data(&g.c);
        epl_svg_close(t);
        return;
    }
    lay_out(&g);
    epl_svg_open(t, g.c.width, g.c.height, p->o.title);
    epl_canvas_heading(&g.c, true);
    draw_cells(&g);
    if (p->matrix_opts.confusion)
        draw_diagonal(&g);
    draw_names(&g);
    if (y_label(p))
        epl_svg_text_turned(t, 18, (g.c.top + g.c.bottom) / 2, -90, SVG_MIDDLE, "m", y_label(p));
    if (x_label(p))
        epl_svg_text(t, (g.c.left + g.c.right) / 2, g.c.height - (g.values ? 10 : 34), SVG_MIDDLE, "m", x_label(p));
    if (!g.values)
        draw_key(&g);
    epl_svg_close(t);
}
