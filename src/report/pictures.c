/* pictures: PNG files in a grid, each with a caption and a frame that says right or wrong, as one SVG. */
#include "base/escape.h"
#include "report/png.h"
#include "report/svg.h"

#include <espalier/report.h>

#include <math.h>

enum { CAPTION_SIZE = 11, CAPTION_HEIGHT = 17, GAP = 10, MARGIN = 12 };

static bool all_are_png(epl_context *ctx, const epl_picture *pictures, size_t n)
{
    uint32_t w, h, channels;
    for (size_t i = 0; i < n; i++)
        if (!epl_png_size(pictures[i].png, pictures[i].bytes, &w, &h, &channels))
            return epl_fail(ctx, EPL_ERR_FORMAT, "picture %zu of %zu (%zu bytes) is not a PNG file", i + 1, n,
                            pictures[i].bytes);
    return true;
}

static void add_number(epl_text *t, const char *name, double x)
{
    epl_text_addf(t, " %s=\"", name);
    epl_svg_number(t, x);
    epl_text_add(t, "\"");
}

static void draw_picture(epl_context *ctx, epl_text *t, const epl_picture *p, double x, double y, double size)
{
    uint32_t w = 1, h = 1, channels;
    epl_png_size(p->png, p->bytes, &w, &h, &channels);
    epl_text_add(t, "<image");
    add_number(t, "x", x);
    add_number(t, "y", y);
    add_number(t, "width", size);
    add_number(t, "height", size);
    if (fmax(w, h) * 1.5 < size)
        epl_text_add(t, " style=\"image-rendering:pixelated\"");
    epl_text_add(t, " href=\"");
    epl_png_address(t, p->png, p->bytes);
    epl_text_add(t, "\"/>\n");
    if (p->mark == 1 || p->mark == 2) {
        epl_text_add(t, "<g fill=\"none\" stroke-width=\"2.5\">");
        epl_svg_rect(t, p->mark == 1 ? "s3" : "s2", x - 1, y - 1, size + 2, size + 2, 2);
        epl_text_add(t, "</g>");
    }
    if (p->caption && *p->caption) {
        epl_text caption = EPL_TEXT(ctx);
        epl_svg_text_cut(&caption, p->caption, CAPTION_SIZE, size + GAP - 2);
        epl_svg_text(t, x + size / 2, y + size + 14, SVG_MIDDLE, "x", epl_text_str(&caption));
        epl_text_release(&caption);
    }
}

char *epl_pictures_svg(epl_context *ctx, const epl_picture *pictures, size_t n, epl_pictures_opts o)
{
    if (!all_are_png(ctx, pictures, n))
        return NULL;
    bool captions = false;
    for (size_t i = 0; i < n; i++)
        captions |= pictures[i].caption && *pictures[i].caption;
    const double width = o.width > 0 ? o.width : 640, room = width - 2 * MARGIN + GAP;
    double size = o.size > 0 ? o.size : 96;
    size = fmin(size, width - 2 * MARGIN);
    if (o.columns > 0)
        size = fmin(size, fmax(8, room / o.columns - GAP));
    const size_t fit     = (size_t)fmax(1, floor(room / (size + GAP)));
    const size_t columns = o.columns > 0 ? (size_t)o.columns : fit;
    const double row     = size + GAP + (captions ? CAPTION_HEIGHT : 0);
    const double top     = o.title && *o.title ? 40 : MARGIN;
    const size_t rows    = (n + columns - 1) / columns;

    epl_text t = EPL_TEXT(ctx);
    epl_svg_open(&t, width, top + row * (double)rows + (rows ? MARGIN - GAP : 0), o.title);
    if (o.title && *o.title)
        epl_svg_text(&t, MARGIN, 24, SVG_START, "t", o.title);
    for (size_t i = 0; i < n; i++)
        draw_picture(ctx, &t, &pictures[i], MARGIN + (size + GAP) * (double)(i % columns), top + row * (double)(i / columns),
                     size);
    epl_svg_close(&t);
    return epl_text_detach(&t);
}
