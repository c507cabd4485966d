/* plot_numbers: lines with spreads, points with labels, marks, over two numeric axes. */
#include "report/plot.h"

#include <math.h>
#include <stdio.h>

static double x_of(const plot_series *s, size_t i)
{
    return s->x ? s->x[i] : (double)i;
}

static bool drawable(const canvas *c, double x, double y)
{
    return epl_scale_drawable(&c->x, x) && epl_scale_drawable(&c->y, y);
}

/* ---- the axes ---- */

/* What stands outside the visible x range does not stretch y. */
static void see_values(canvas *c, const scale *window)
{
    for (size_t k = 0; k < c->p->n_series; k++) {
        const plot_series *s = &c->p->series[k];
        for (size_t i = 0; i < s->n; i++) {
            const double x = x_of(s, i);
            if (!drawable(c, x, s->y[i]) || (!window->empty && (x < window->low || x > window->high)))
                continue;
            epl_scale_see(&c->x, x);
            epl_scale_see(&c->y, s->y[i]);
            if (s->low) {
                epl_scale_see(&c->y, s->low[i]);
                epl_scale_see(&c->y, s->high[i]);
            }
        }
    }
}

static bool has_points(const epl_plot *p)
{
    for (size_t k = 0; k < p->n_series; k++)
        if (p->series[k].kind == SERIES_POINTS)
            return true;
    return false;
}

/* Marks widen the axes too: a limit that is not seen says nothing. */
static void see_marks(canvas *c)
{
    for (size_t i = 0; i < c->p->n_marks; i++)
        if (!c->x.empty)
            epl_scale_see(c->p->marks[i].across ? &c->y : &c->x, c->p->marks[i].at);
}

static void make_axes(canvas *c)
{
    const epl_plot_opts *o = &c->p->o;
    const bool y_fixed = o->y_min != o->y_max;
    scale window = epl_scale_new(o->x_log);
    epl_scale_fix(&window, o->x_min, o->x_max);
    see_values(c, &window);
    see_marks(c);
    if (has_points(c->p)) {
        epl_scale_pad(&c->x, 0.04);
        epl_scale_pad(&c->y, 0.04);
    }
    epl_scale_fix(&c->y, o->y_min, o->y_max);
    epl_scale_fix(&c->x, o->x_min, o->x_max);

    c->top    = epl_canvas_heading(c, false) + (o->y_label ? 24 : 6);
    c->bottom = c->height - (o->x_label ? 42 : 26);
    c->right  = c->width - 18;
    epl_scale_finish(&c->y, (int)((c->bottom - c->top) / 48), !y_fixed);
    c->left = 20 + epl_canvas_tick_width(&c->y);
    epl_scale_finish(&c->x, (int)((c->right - c->left) / 78), window.empty && !c->x.log && has_points(c->p));
    c->y.start = c->bottom;
    c->y.end   = c->top;
    c->x.start = c->left;
    c->x.end   = c->right;
}

static void draw_axes(canvas *c)
{
    char   label[SCALE_LABEL_SIZE];
    double taken = -1e9;
    epl_canvas_y_axis(c);
    for (int i = 0; i < c->x.n_ticks; i++) {
        const double x = epl_scale_pixel(&c->x, c->x.tick[i]);
        epl_scale_label(&c->x, i, label);
        const double half = epl_svg_text_width(label, 11) / 2;
        epl_svg_line(c->t, "g", x, c->top, x, c->bottom);
        if (x - half < taken + 6)
            continue; // labels of a logarithmic axis may crowd
        epl_svg_text(c->t, x, c->bottom + 17, SVG_MIDDLE, "m x", label);
        taken = x + half;
    }
    epl_svg_line(c->t, "ax", c->left, c->bottom, c->right, c->bottom);
    if (c->p->o.y_label)
        epl_svg_text(c->t, 12, c->top - 12, SVG_START, "m", c->p->o.y_label);
    if (c->p->o.x_label)
        epl_svg_text(c->t, (c->left + c->right) / 2, c->bottom + 35, SVG_MIDDLE, "m", c->p->o.x_label);
}

/* ---- lines ---- */

typedef struct pen {
    const canvas *c;
    bool   down, steps;
    double column, first, least, most, last; /* the pixel column being gathered, and its y */
    double x, previous_y;                     /* where the column's last point lies; the last y drawn */
    size_t n;
} pen;

static void pen_to(pen *p, double x, double y)
{
    if (p->down && p->steps)
        epl_svg_point(p->c->t, 'L', x, p->previous_y);
    epl_svg_point(p->c->t, p->down ? 'L' : 'M', x, y);
    p->down       = true;
    p->previous_y = y;
}

/* One half pixel holds at most four points of a line: its first, its extremes, its last. */
static void pen_flush(pen *p)
{
    if (p->n) {
        pen_to(p, p->x, p->first);
        if (p->n > 2 && (p->least < fmin(p->first, p->last) || p->most > fmax(p->first, p->last))) {
            pen_to(p, p->x, p->least);
            pen_to(p, p->x, p->most);
        }
        if (p->n > 1)
            pen_to(p, p->x, p->last);
    }
    p->n = 0;
}

static void pen_see(pen *p, double x, double y)
{
    const double column = floor(x * 2);
    if (p->n && column != p->column)
        pen_flush(p);
    if (!p->n) {
        p->column = column;
        p->first  = p->least = p->most = y;
    }
    p->least = fmin(p->least, y);
    p->most  = fmax(p->most, y);
    p->last  = y;
    p->x     = x;
    p->n++;
}

static void pen_lift(pen *p)
{
    pen_flush(p);
    p->down = false;
}

/* A point between two gaps would be invisible as a line. */
static bool is_alone(const canvas *c, const plot_series *s, size_t i)
{
    const bool before = i > 0 && drawable(c, x_of(s, i - 1), s->y[i - 1]);
    const bool after  = i + 1 < s->n && drawable(c, x_of(s, i + 1), s->y[i + 1]);
    return !before && !after;
}

static void draw_line(const canvas *c, const plot_series *s)
{
    char classes[24];
    pen  p = { .c = c, .steps = s->steps };
    epl_text_addf(c->t, "<path class=\"l s%d%s\" d=\"", s->color, s->dashed ? " d" : "");
    for (size_t i = 0; i < s->n; i++) {
        if (drawable(c, x_of(s, i), s->y[i]))
            pen_see(&p, epl_scale_pixel(&c->x, x_of(s, i)), epl_scale_pixel(&c->y, s->y[i]));
        else
            pen_lift(&p);
    }
    pen_lift(&p);
    epl_text_add(c->t, "\"/>\n");
    snprintf(classes, sizeof classes, "p f%d", s->color);
    for (size_t i = 0; i < s->n; i++)
        if (drawable(c, x_of(s, i), s->y[i]) && (s->markers || is_alone(c, s, i)))
            epl_svg_circle(c->t, classes, epl_scale_pixel(&c->x, x_of(s, i)), epl_scale_pixel(&c->y, s->y[i]), 3.5);
}

static bool has_spread(const canvas *c, const plot_series *s, size_t i)
{
    return drawable(c, x_of(s, i), s->low[i]) && drawable(c, x_of(s, i), s->high[i]);
}

/* One closed shape per run of points that have a spread: along the upper edge, back along the lower. */
static void draw_spread(const canvas *c, const plot_series *s)
{
    for (size_t i = 0, end; i < s->n; i = end + 1) {
        for (end = i; end < s->n && has_spread(c, s, end); end++)
            ;
        if (end == i)
            continue;
        const size_t stride = 1 + (end - i) / (size_t)(4 * c->width); // a shape does not need every point of thousands
        epl_text_addf(c->t, "<path class=\"a f%d\" d=\"", s->color);
        for (size_t k = i; k < end; k += stride)
            epl_svg_point(c->t, k == i ? 'M' : 'L', epl_scale_pixel(&c->x, x_of(s, k)), epl_scale_pixel(&c->y, s->high[k]));
        for (size_t k = i + (end - 1 - i) / stride * stride + stride; k > i; k -= stride)
            epl_svg_point(c->t, 'L', epl_scale_pixel(&c->x, x_of(s, k - stride)),
                          epl_scale_pixel(&c->y, s->low[k - stride]));
        epl_text_add(c->t, "Z\"/>\n");
    }
}

static void draw_points(const canvas *c, const plot_series *s)
{
    char classes[24];
    snprintf(classes, sizeof classes, "p f%d", s->color);
    for (size_t i = 0; i < s->n; i++)
        if (drawable(c, x_of(s, i), s->y[i]))
            epl_svg_circle(c->t, classes, epl_scale_pixel(&c->x, x_of(s, i)), epl_scale_pixel(&c->y, s->y[i]), s->radius);
}

/* ---- labels: each takes the first place around its point where it covers nothing: eight beside it, then farther out,
 * where a thin line leads back to the point ---- */

typedef struct box {
    double x, y, w, h;
} box;

enum { MAX_LABELS = 400 };

typedef struct label_field {
    const canvas *c;
    box           taken[MAX_LABELS];
    size_t        n;
} label_field;

static double overlap(box a, box b)
{
    const double w = fmin(a.x + a.w, b.x + b.w) - fmax(a.x, b.x);
    const double h = fmin(a.y + a.h, b.y + b.h) - fmax(a.y, b.y);
    return w > 0 && h > 0 ? w * h : 0;
}

static double outside(const canvas *c, box b)
{
    const double x = fmax(0, c->left - b.x) + fmax(0, b.x + b.w - c->width);
    const double y = fmax(0, c->top - 8 - b.y) + fmax(0, b.y + b.h - c->bottom);
    return x * b.h + y * b.w;
}

static double cost_of(const label_field *f, box b)
{
    const canvas *c = f->c;
    double cost = 4 * outside(c, b);
    for (size_t i = 0; i < f->n; i++)
        cost += overlap(f->taken[i], b);
    for (size_t k = 0; k < c->p->n_series; k++) {
        const plot_series *s = &c->p->series[k];
        for (size_t i = 0; s->kind == SERIES_POINTS && s->n <= MAX_LABELS && i < s->n; i++) {
            const double r = s->radius;
            if (drawable(c, x_of(s, i), s->y[i]))
                cost += 6 * overlap(b, (box){ epl_scale_pixel(&c->x, x_of(s, i)) - r,
                                              epl_scale_pixel(&c->y, s->y[i]) - r, 2 * r, 2 * r });
        }
    }
    return cost;
}

static box box_at(double x, double y, double w, double reach, const double direction[2])
{
    const double h = 12, dx = direction[0], dy = direction[1];
    const double d = dx != 0 && dy != 0 ? 0.6 * reach : reach;
    return (box){ x + (dx > 0 ? d : dx < 0 ? -d - w : -w / 2), y + (dy > 0 ? d : dy < 0 ? -d - h : -h / 2), w, h };
}

static void place_label(label_field *f, double x, double y, double radius, const char *s)
{
    static const double around[8][2] = { { 1, 0 }, { 1, -1 }, { 0, -1 }, { 1, 1 }, { 0, 1 }, { -1, 0 }, { -1, -1 }, { -1, 1 } };
    enum { RINGS = 4 };
    box    best      = { 0 };
    double best_cost = INFINITY, best_reach = 0;
    for (size_t i = 0; i < RINGS * EPL_COUNT(around) && best_cost > 0; i++) {
        const double reach = radius + 3 + 14 * (double)(i / EPL_COUNT(around));
        const box    b     = box_at(x, y, epl_svg_text_width(s, 11), reach, around[i % EPL_COUNT(around)]);
        const double cost  = cost_of(f, b);
        if (cost < best_cost) {
            best       = b;
            best_cost  = cost;
            best_reach = reach;
        }
    }
    if (best_reach > radius + 3)
        epl_svg_line(f->c->t, "ax", x, y, fmax(best.x, fmin(best.x + best.w, x)), fmax(best.y + 2, fmin(best.y + best.h, y)));
    epl_svg_text(f->c->t, best.x, best.y + 10, SVG_START, "x h", s);
    if (f->n < MAX_LABELS)
        f->taken[f->n++] = best;
}

static void draw_labels(const canvas *c)
{
    label_field f = { .c = c };
    for (size_t k = 0; k < c->p->n_series; k++) {
        const plot_series *s = &c->p->series[k];
        for (size_t i = 0; s->labels && i < s->n; i++)
            if (s->labels[i] && *s->labels[i] && drawable(c, x_of(s, i), s->y[i]))
                place_label(&f, epl_scale_pixel(&c->x, x_of(s, i)), epl_scale_pixel(&c->y, s->y[i]), s->radius,
                            s->labels[i]);
    }
}

static void draw_marks(const canvas *c)
{
    for (size_t i = 0; i < c->p->n_marks; i++) {
        const plot_mark *m     = &c->p->marks[i];
        const scale     *s     = m->across ? &c->y : &c->x;
        const char      *label = m->label ? m->label : "";
        if (!epl_scale_drawable(s, m->at) || m->at < s->low || m->at > s->high)
            continue;
        const double at   = epl_scale_pixel(s, m->at);
        const bool   flip = !m->across && at + 4 + epl_svg_text_width(label, 11) > c->right;
        if (m->across)
            epl_svg_line(c->t, "mk", c->left, at, c->right, at);
        else
            epl_svg_line(c->t, "mk", at, c->top, at, c->bottom);
        if (m->across)
            epl_svg_text(c->t, c->right, at - 5, SVG_END, "m x h", label);
        else
            epl_svg_text(c->t, flip ? at - 5 : at + 5, c->top + 11, flip ? SVG_END : SVG_START, "m x h", label);
    }
}

/* A picture inside the picture cuts what lies outside the axes, without an id. */
static void begin_clip(const canvas *c)
{
    const double v[4] = { c->left - 4, c->top - 4, c->right - c->left + 8, c->bottom - c->top + 8 };
    static const char *const names[4] = { "x", "y", "width", "height" };
    epl_text_add(c->t, "<svg");
    for (int i = 0; i < 4; i++) {
        epl_text_addf(c->t, " %s=\"", names[i]);
        epl_svg_number(c->t, fmax(v[i], 0));
        epl_text_add(c->t, "\"");
    }
    epl_text_add(c->t, " overflow=\"hidden\" viewBox=\"");
    for (int i = 0; i < 4; i++) {
        epl_svg_number(c->t, fmax(v[i], 0));
        epl_text_add(c->t, i < 3 ? " " : "\">\n");
    }
}

void epl_plot_draw_numbers(const epl_plot *p, epl_text *t)
{
    canvas c = epl_canvas_new(p, t);
    make_axes(&c);
    epl_svg_open(t, c.width, c.height, p->o.title);
    epl_canvas_heading(&c, true);
    draw_axes(&c);
    if (c.x.empty || c.y.empty)
        epl_canvas_no_data(&c);
    begin_clip(&c);
    for (size_t i = 0; i < p->n_series; i++)
        if (p->series[i].low)
            draw_spread(&c, &p->series[i]);
    for (size_t i = 0; i < p->n_series; i++)
        if (p->series[i].kind == SERIES_LINE)
            draw_line(&c, &p->series[i]);
    for (size_t i = 0; i < p->n_series; i++)
        if (p->series[i].kind == SERIES_POINTS)
            draw_points(&c, &p->series[i]);
    epl_text_add(t, "</svg>\n");
    draw_marks(&c);
    draw_labels(&c);
    epl_svg_close(t);
}
