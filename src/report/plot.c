/* plot: collecting what a plot shows (everything is copied), and the frame that all kinds share. */
#include "report/plot.h"

#include <math.h>
#include <string.h>

static const char *keep(epl_plot *p, const char *s)
{
    const char *copy = s ? epl_arena_strdup(p->arena, s) : NULL;
    p->failed |= s && !copy;
    return copy;
}

static const double *keep_numbers(epl_plot *p, const double *x, size_t n)
{
    size_t bytes;
    if (!x || !n)
        return NULL;
    const double *copy = epl_mul_size(n, sizeof *x, &bytes) ? epl_arena_copy(p->arena, x, bytes) : NULL;
    p->failed |= !copy;
    return copy;
}

static const char *const *keep_names(epl_plot *p, const char *const *names, size_t n)
{
    size_t bytes;
    if (!names || !n)
        return NULL;
    const char **copy = epl_mul_size(n, sizeof *names, &bytes) ? epl_arena_alloc(p->arena, bytes) : NULL;
    p->failed |= !copy;
    for (size_t i = 0; copy && i < n; i++)
        copy[i] = keep(p, names[i]);
    return copy;
}

epl_plot *epl_plot_new(epl_context *ctx, epl_plot_opts o)
{
    epl_plot *p = epl_alloc(ctx, sizeof *p);
    if (!p)
        return NULL;
    p->ctx   = ctx;
    p->arena = epl_arena_new(ctx);
    p->o     = o;
    if (p->arena) {
        p->o.title   = keep(p, o.title);
        p->o.x_label = keep(p, o.x_label);
        p->o.y_label = keep(p, o.y_label);
    }
    if (!p->arena || p->failed) {
        epl_plot_free(p);
        return NULL;
    }
    p->o.width  = o.width > 0 ? o.width : 640;
    p->o.height = o.height > 0 ? o.height : 400;
    return p;
}

void epl_plot_free(epl_plot *p)
{
    if (!p)
        return;
    epl_release(p->ctx, p->series);
    epl_release(p->ctx, p->marks);
    if (p->arena)
        epl_arena_free(p->arena);
    epl_release(p->ctx, p);
}

/* A plot is of the kind of its first content; another kind is a mistake. */
static bool becomes(epl_plot *p, plot_kind kind)
{
    static const char *const names[] = { "nothing", "lines and points", "bars", "a matrix" };
    if (!p || p->failed)
        return false;
    if (p->kind != PLOT_NONE && (p->kind != kind || kind == PLOT_MATRIX)) {
        p->failed = !epl_fail(p->ctx, EPL_ERR_ARGUMENT, "plot '%s' holds %s and cannot take %s too",
                              p->o.title ? p->o.title : "", names[p->kind], names[kind]);
        return false;
    }
    p->kind = kind;
    return true;
}

static void add_series(epl_plot *p, plot_series s)
{
    if (p->failed || !epl_grow(p->ctx, &p->series, p->n_series, &p->series_capacity, sizeof s))
        p->failed = true;
    else
        p->series[p->n_series++] = s;
}

void epl_plot_line(epl_plot *p, const char *name, const double *x, const double *y, size_t n, epl_line_opts o)
{
    if (!becomes(p, PLOT_NUMBERS))
        return;
    const bool spread = o.low && o.high;
    add_series(p, (plot_series){ .kind    = SERIES_LINE,
                                 .name    = keep(p, name),
                                 .x       = keep_numbers(p, x, n),
                                 .y       = keep_numbers(p, y, n),
                                 .low     = spread ? keep_numbers(p, o.low, n) : NULL,
                                 .high    = spread ? keep_numbers(p, o.high, n) : NULL,
                                 .n       = y ? n : 0,
                                 .color   = epl_svg_color(o.color, (int)(p->n_series % SVG_COLORS)),
                                 .dashed  = o.dashed,
                                 .markers = o.markers,
                                 .steps   = o.steps });
}

void epl_plot_scatter(epl_plot *p, const char *name, const double *x, const double *y, size_t n, epl_scatter_opts o)
{
    if (!becomes(p, PLOT_NUMBERS))
        return;
    add_series(p, (plot_series){ .kind   = SERIES_POINTS,
                                 .name   = keep(p, name),
                                 .x      = keep_numbers(p, x, n),
                                 .y      = keep_numbers(p, y, n),
                                 .labels = keep_names(p, o.labels, n),
                                 .n      = y ? n : 0,
                                 .color  = epl_svg_color(o.color, (int)(p->n_series % SVG_COLORS)),
                                 .radius = o.radius > 0 ? o.radius : 3.5 });
}

static void add_mark(epl_plot *p, double at, bool across, const char *label)
{
    if (!p || p->failed)
        return;
    if (!epl_grow(p->ctx, &p->marks, p->n_marks, &p->marks_capacity, sizeof *p->marks))
        p->failed = true;
    else
        p->marks[p->n_marks++] = (plot_mark){ .at = at, .across = across, .label = keep(p, label) };
}

void epl_plot_mark_x(epl_plot *p, double x, const char *label)
{
    add_mark(p, x, false, label);
}

void epl_plot_mark_y(epl_plot *p, double y, const char *label)
{
    add_mark(p, y, true, label);
}

void epl_plot_categories(epl_plot *p, const char *const *names, size_t n)
{
    if (!becomes(p, PLOT_BARS))
        return;
    p->categories   = keep_names(p, names, n);
    p->n_categories = names ? n : 0;
}

void epl_plot_bars(epl_plot *p, const char *name, const double *values, const double *error, size_t n)
{
    if (!becomes(p, PLOT_BARS))
        return;
    if (n != p->n_categories) {
        p->failed = !epl_fail(p->ctx, EPL_ERR_ARGUMENT, "plot '%s': %zu bars for %zu categories",
                              p->o.title ? p->o.title : "", n, p->n_categories);
        return;
    }
    add_series(p, (plot_series){ .kind  = SERIES_BARS,
                                 .name  = keep(p, name),
                                 .y     = keep_numbers(p, values, n),
                                 .low   = keep_numbers(p, error, n),
                                 .n     = values ? n : 0,
                                 .color = epl_svg_color(0, (int)(p->n_series % SVG_COLORS)) });
}

void epl_plot_matrix(epl_plot *p, const double *values, size_t rows, size_t columns, epl_matrix_opts o)
{
    size_t n;
    if (!becomes(p, PLOT_MATRIX))
        return;
    if (!epl_mul_size(rows, columns, &n)) {
        p->failed = !epl_fail(p->ctx, EPL_ERR_ARGUMENT, "plot: a matrix of %zu x %zu values", rows, columns);
        return;
    }
    p->matrix      = keep_numbers(p, values, n);
    p->n_rows      = p->matrix ? rows : 0;
    p->n_columns   = p->matrix ? columns : 0;
    p->matrix_opts = o;
    p->matrix_opts.row_names    = keep_names(p, o.row_names, p->n_rows);
    p->matrix_opts.column_names = keep_names(p, o.column_names, p->n_columns);
}

char *epl_plot_svg(const epl_plot *p)
{
    if (!p || p->failed)
        return NULL;
    epl_text t = EPL_TEXT(p->ctx);
    if (p->kind == PLOT_BARS)
        epl_plot_draw_bars(p, &t);
    else if (p->kind == PLOT_MATRIX)
        epl_plot_draw_matrix(p, &t);
    else
        epl_plot_draw_numbers(p, &t);
    return epl_text_detach(&t);
}

/* ---- the frame ---- */

canvas epl_canvas_new(const epl_plot *p, epl_text *t)
{
    canvas c = { .p = p, .t = t, .width = p->o.width, .height = p->o.height };
    c.x = epl_scale_new(p->o.x_log && p->kind != PLOT_BARS);
    c.y = epl_scale_new(p->o.y_log);
    c.y.percent = p->o.y_percent;
    return c;
}

static void legend_sample(const canvas *c, const plot_series *s, double x, double y)
{
    char classes[24];
    if (s->kind == SERIES_LINE) {
        snprintf(classes, sizeof classes, "l s%d%s", s->color, s->dashed ? " d" : "");
        epl_svg_line(c->t, classes, x, y, x + 18, y);
    }
    snprintf(classes, sizeof classes, "f%d", s->color);
    if (s->kind == SERIES_POINTS || s->markers)
        epl_svg_circle(c->t, classes, x + 9, y, s->kind == SERIES_POINTS ? 4 : 3);
    if (s->kind == SERIES_BARS)
        epl_svg_rect(c->t, classes, x + 4, y - 5, 10, 10, 2);
}

double epl_canvas_heading(const canvas *c, bool draw)
{
    const double left = 12, sample = 24, gap = 18;
    double x = left, y = 10;
    if (c->p->o.title && *c->p->o.title) {
        epl_text title = EPL_TEXT(c->p->ctx);
        epl_svg_text_cut(&title, c->p->o.title, 15, c->width - 2 * left);
        y += 14;
        if (draw)
            epl_svg_text(c->t, left, y, SVG_START, "t", epl_text_str(&title));
        epl_text_release(&title);
        y += 6;
    }
    bool any = false;
    for (size_t i = 0; i < c->p->n_series; i++) {
        const plot_series *s = &c->p->series[i];
        if (!s->name || !*s->name)
            continue;
        epl_text name = EPL_TEXT(c->p->ctx);
        epl_svg_text_cut(&name, s->name, SVG_TEXT_SIZE, c->width - 2 * left - sample);
        const double w = sample + epl_svg_text_width(epl_text_str(&name), SVG_TEXT_SIZE);
        if (any && x + w > c->width - left) {
            x = left;
            y += 18;
        }
        if (draw) {
            legend_sample(c, s, x, y + 9);
            epl_svg_text(c->t, x + sample, y + 13, SVG_START, "", epl_text_str(&name));
        }
        epl_text_release(&name);
        x += w + gap;
        any = true;
    }
    return any ? y + 20 : y;
}

double epl_canvas_tick_width(const scale *s)
{
    char   label[SCALE_LABEL_SIZE];
    double widest = 0;
    for (int i = 0; i < s->n_ticks; i++) {
        epl_scale_label(s, i, label);
        widest = fmax(widest, epl_svg_text_width(label, 11));
    }
    return widest;
}

void epl_canvas_y_axis(canvas *c)
{
    char label[SCALE_LABEL_SIZE];
    for (int i = 0; i < c->y.n_ticks; i++) {
        const double y = epl_scale_pixel(&c->y, c->y.tick[i]);
        epl_svg_line(c->t, "g", c->left, y, c->right, y);
        epl_scale_label(&c->y, i, label);
        epl_svg_text(c->t, c->left - 8, y + 4, SVG_END, "m x", label);
    }
}

void epl_canvas_no_data(const canvas *c)
{
    epl_svg_text(c->t, (c->left + c->right) / 2, (c->top + c->bottom) / 2, SVG_MIDDLE, "m", "no data");
}
