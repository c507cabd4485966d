/* plot_bars: groups of bars over categories. They stand upright while the categories' names fit under them, and lie
 * (one row per category, the picture as high as that needs) when they do not. */
#include "report/plot.h"

#include <math.h>

static const double GROUP_SHARE = 0.78;                   // of a category's room that its bars take
enum { NAME_SIZE = 11, VALUE_SIZE = 11, MOST_VALUES = 60 }; // more numbers than that are noise

static const char *category(const epl_plot *p, size_t i)
{
    return p->categories && p->categories[i] ? p->categories[i] : "";
}

static double widest_category(const epl_plot *p)
{
    double widest = 0;
    for (size_t i = 0; i < p->n_categories; i++)
        widest = fmax(widest, epl_svg_text_width(category(p, i), NAME_SIZE));
    return widest;
}

static void make_value_scale(scale *s, const epl_plot *p, int n_ticks)
{
    if (!s->log)
        epl_scale_see(s, 0);
    for (size_t k = 0; k < p->n_series; k++)
        for (size_t i = 0; i < p->series[k].n; i++) {
            const double y = p->series[k].y[i], e = p->series[k].low ? p->series[k].low[i] : 0;
            epl_scale_see(s, y);
            epl_scale_see(s, y + e);
            epl_scale_see(s, y - e);
        }
    for (size_t i = 0; i < p->n_marks; i++)
        if (p->marks[i].across)
            epl_scale_see(s, p->marks[i].at);
    s->whole = s->whole && !s->percent;
    epl_scale_fix(s, p->o.y_min, p->o.y_max);
    epl_scale_finish(s, n_ticks, p->o.y_min == p->o.y_max);
}

static bool has_data(const epl_plot *p, const scale *s)
{
    for (size_t k = 0; k < p->n_series; k++)
        for (size_t i = 0; i < p->series[k].n; i++)
            if (epl_scale_drawable(s, p->series[k].y[i]))
                return true;
    return false;
}

/* A bar lies along the value axis from a to b; `at` and `thick` say where across it. */
static void draw_bar(const canvas *c, int color, bool lying, double a, double b, double at, double thick)
{
    char classes[8];
    const double from = fmin(a, b), length = fabs(b - a), radius = fmin(2, thick / 4);
    snprintf(classes, sizeof classes, "f%d", color);
    if (lying)
        epl_svg_rect(c->t, classes, from, at, length, thick, radius);
    else
        epl_svg_rect(c->t, classes, at, from, thick, length, radius);
}

static void draw_whisker(const canvas *c, bool lying, double a, double b, double middle)
{
    const double cap = 3;
    epl_text_add(c->t, "<path class=\"w\" d=\"");
    for (int i = 0; i < 3; i++) { // the two caps and the line between them
        const double along = i == 1 ? b : a, end = i == 2 ? b : along;
        const double from = i == 2 ? middle : middle - cap, to = i == 2 ? middle : middle + cap;
        epl_svg_point(c->t, 'M', lying ? along : from, lying ? from : along);
        epl_svg_point(c->t, 'L', lying ? end : to, lying ? to : end);
    }
    epl_text_add(c->t, "\"/>\n");
}

static double clamp_to(const scale *s, double x)
{
    return fmax(s->low, fmin(s->high, x));
}

static void draw_value(const canvas *c, const scale *s, bool lying, double x, double end, double base, double middle,
                       double room)
{
    char text[SCALE_LABEL_SIZE];
    epl_scale_value(text, x, s->percent);
    const double w = epl_svg_text_width(text, VALUE_SIZE);
    if (lying && room >= 9)
        epl_svg_text(c->t, end < base ? end - 5 : end + 5, middle + 4, end < base ? SVG_END : SVG_START, "x h", text);
    else if (!lying && w <= room)
        epl_svg_text(c->t, middle, end > base ? end + 13 : end - 5, SVG_MIDDLE, "x h", text);
}

/* The bars of one category, whose room starts at `start` and is `room` wide. */
static void draw_group(const canvas *c, const scale *s, bool lying, size_t index, double start, double room)
{
    const epl_plot *p = c->p;
    const double base  = epl_scale_pixel(s, clamp_to(s, s->log ? s->low : 0));
    const double each  = room * GROUP_SHARE / (double)p->n_series;
    const double first = start + room * (1 - GROUP_SHARE) / 2;
    const bool   print = p->n_categories * p->n_series <= MOST_VALUES;
    for (size_t k = 0; k < p->n_series; k++) {
        const plot_series *one = &p->series[k];
        const double x = one->n ? one->y[index] : NAN, at = first + each * (double)k;
        if (!epl_scale_drawable(s, x))
            continue;
        const double end = epl_scale_pixel(s, clamp_to(s, x)), middle = at + each / 2;
        const double e   = one->low ? one->low[index] : 0;
        double beyond = end;
        draw_bar(c, one->color, lying, base, end, at + each * 0.04, each * 0.92);
        if (e > 0 && isfinite(e)) {
            const double a = epl_scale_pixel(s, clamp_to(s, x - e)), b = epl_scale_pixel(s, clamp_to(s, x + e));
            draw_whisker(c, lying, a, b, middle);
            beyond = (x < 0) != lying ? fmax(a, b) : fmin(a, b);
            beyond = lying ? (x < 0 ? fmin(a, b) : fmax(a, b)) : beyond;
        }
        if (print)
            draw_value(c, s, lying, x, beyond, base, middle, lying ? each : room / (double)p->n_series);
    }
}

static void draw_marks(const canvas *c, const scale *s, bool lying)
{
    for (size_t i = 0; i < c->p->n_marks; i++) {
        const plot_mark *m = &c->p->marks[i];
        if (!m->across || !epl_scale_drawable(s, m->at) || m->at < s->low || m->at > s->high)
            continue;
        const double at = epl_scale_pixel(s, m->at);
        if (lying) {
            epl_svg_line(c->t, "mk", at, c->top, at, c->bottom);
            epl_svg_text(c->t, at + 5, c->bottom - 6, SVG_START, "m x h", m->label ? m->label : "");
        } else {
            epl_svg_line(c->t, "mk", c->left, at, c->right, at);
            epl_svg_text(c->t, c->right, at - 5, SVG_END, "m x h", m->label ? m->label : "");
        }
    }
}

static void draw_standing(canvas *c)
{
    const epl_plot *p = c->p;
    const double slot = (c->right - c->left) / (double)(p->n_categories ? p->n_categories : 1);
    epl_svg_open(c->t, c->width, c->height, p->o.title);
    epl_canvas_heading(c, true);
    epl_canvas_y_axis(c);
    if (p->o.y_label)
        epl_svg_text(c->t, 12, c->top - 12, SVG_START, "m", p->o.y_label);
    if (p->o.x_label)
        epl_svg_text(c->t, (c->left + c->right) / 2, c->bottom + 35, SVG_MIDDLE, "m", p->o.x_label);
    for (size_t i = 0; i < p->n_categories; i++) {
        draw_group(c, &c->y, false, i, c->left + slot * (double)i, slot);
        epl_svg_text(c->t, c->left + slot * ((double)i + 0.5), c->bottom + 17, SVG_MIDDLE, "x", category(p, i));
    }
    const double base = epl_scale_pixel(&c->y, clamp_to(&c->y, c->y.log ? c->y.low : 0));
    epl_svg_line(c->t, "ax", c->left, base, c->right, base);
    draw_marks(c, &c->y, false);
}

static void draw_lying_axis(const canvas *c)
{
    char label[SCALE_LABEL_SIZE];
    for (int i = 0; i < c->x.n_ticks; i++) {
        const double x = epl_scale_pixel(&c->x, c->x.tick[i]);
        epl_svg_line(c->t, "g", x, c->top, x, c->bottom);
        epl_scale_label(&c->x, i, label);
        epl_svg_text(c->t, x, c->bottom + 17, SVG_MIDDLE, "m x", label);
    }
    if (c->p->o.y_label)
        epl_svg_text(c->t, (c->left + c->right) / 2, c->bottom + 35, SVG_MIDDLE, "m", c->p->o.y_label);
}

static void draw_lying(canvas *c)
{
    const epl_plot *p = c->p;
    const double slot = (c->bottom - c->top) / (double)p->n_categories;
    epl_svg_open(c->t, c->width, c->height, p->o.title);
    epl_canvas_heading(c, true);
    draw_lying_axis(c);
    for (size_t i = 0; i < p->n_categories; i++) {
        epl_text name = EPL_TEXT(p->ctx);
        epl_svg_text_cut(&name, category(p, i), NAME_SIZE, c->left - 18);
        draw_group(c, &c->x, true, i, c->top + slot * (double)i, slot);
        epl_svg_text(c->t, c->left - 8, c->top + slot * ((double)i + 0.5) + 4, SVG_END, "x", epl_text_str(&name));
        epl_text_release(&name);
    }
    const double base = epl_scale_pixel(&c->x, clamp_to(&c->x, c->x.log ? c->x.low : 0));
    epl_svg_line(c->t, "ax", base, c->top, base, c->bottom);
    draw_marks(c, &c->x, true);
}

static void lay_standing(canvas *c)
{
    const epl_plot_opts *o = &c->p->o;
    c->top    = epl_canvas_heading(c, false) + (o->y_label ? 24 : 8);
    c->bottom = c->height - (o->x_label ? 42 : 26);
    c->right  = c->width - 14;
    make_value_scale(&c->y, c->p, (int)((c->bottom - c->top) / 48));
    c->left    = 20 + epl_canvas_tick_width(&c->y);
    c->y.start = c->bottom;
    c->y.end   = c->top;
}

static void lay_lying(canvas *c)
{
    const epl_plot *p = c->p;
    const double row = fmax(20, 13 * (double)p->n_series / GROUP_SHARE);
    c->x = epl_scale_new(p->o.y_log);
    c->x.percent = p->o.y_percent;
    c->left   = 20 + fmin(widest_category(p), c->width * 0.4);
    c->right  = c->width - 44; // a value stands behind the longest bar
    c->top    = epl_canvas_heading(c, false) + 6;
    c->bottom = c->top + row * (double)p->n_categories;
    c->height = c->bottom + (p->o.y_label ? 44 : 28);
    make_value_scale(&c->x, p, (int)((c->right - c->left) / 78));
    c->x.start = c->left;
    c->x.end   = c->right;
}

void epl_plot_draw_bars(const epl_plot *p, epl_text *t)
{
    canvas c = epl_canvas_new(p, t);
    lay_standing(&c);
    const bool lying = p->n_categories &&
                       widest_category(p) + 6 > (c.right - c.left) / (double)p->n_categories;
    if (lying) {
        c = epl_canvas_new(p, t);
        lay_lying(&c);
        draw_lying(&c);
    } else {
        draw_standing(&c);
    }
    if (!has_data(p, lying ? &c.x : &c.y))
        epl_canvas_no_data(&c);
    epl_svg_close(t);
}
