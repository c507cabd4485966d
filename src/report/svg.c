/* svg: the helpers of svg.h. */
#include "report/svg.h"

#include "base/escape.h"

#include <math.h>
#include <string.h>

/* Kept short: every picture carries it. */
static const char style_sheet[] =
    "<style>"
    ".epl{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif}"
    ".epl text{fill:#2b303b}.epl .m{fill:#66707f}.epl .t{font-size:14px;font-weight:600}.epl .b{font-weight:600}"
    ".epl .x{font-size:11px}.epl .h{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}"
    ".epl .bg{fill:#fff}.epl .g{stroke:#e6e9ee}.epl .ax{stroke:#8a93a1}.epl .mk{stroke:#66707f;stroke-dasharray:4 3}"
    ".epl .l{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.epl .d{stroke-dasharray:7 5}"
    ".epl .a{fill-opacity:.17}.epl .p{stroke:#fff;stroke-width:1}.epl .on{fill:#fff}.epl .w{stroke:#2b303b;fill:none}"
    ".epl .q{fill:none;stroke:#8a93a1}.epl .e{fill:none;stroke:#9aa3b0;stroke-width:1.4}.epl .eh{fill:#9aa3b0}"
    ".epl .n{fill:#f4f6f9;stroke:#aab3c0}.epl .r{fill:#7d8896;fill-opacity:.07;stroke:#b9c1cc;stroke-dasharray:5 4}"
    ".epl .nc{fill-opacity:.14;stroke-width:1.2}"
    ".epl .f1{fill:#0072b2}.epl .f2{fill:#d55e00}.epl .f3{fill:#009e73}.epl .f4{fill:#b8578f}.epl .f5{fill:#e69f00}"
    ".epl .f6{fill:#56b4e9}.epl .f7{fill:#7a5c00}.epl .f8{fill:#77808c}"
    ".epl .s1{stroke:#0072b2}.epl .s2{stroke:#d55e00}.epl .s3{stroke:#009e73}.epl .s4{stroke:#b8578f}"
    ".epl .s5{stroke:#e69f00}.epl .s6{stroke:#56b4e9}.epl .s7{stroke:#7a5c00}.epl .s8{stroke:#77808c}"
    "@media screen and (prefers-color-scheme:dark){"
    ".epl text{fill:#e3e6eb}.epl .m{fill:#9aa4b2}.epl .h{stroke:#171a20}.epl .bg{fill:#171a20}.epl .g{stroke:#2a2f38}"
    ".epl .ax{stroke:#6d7685}.epl .mk{stroke:#9aa4b2}.epl .p{stroke:#171a20}.epl .on{fill:#0c0e12}.epl .w{stroke:#e3e6eb}"
    ".epl .e{stroke:#6d7685}.epl .eh{fill:#6d7685}.epl .n{fill:#22262e;stroke:#566071}.epl .r{stroke:#4a5361}"
    ".epl .nc{fill-opacity:.22}"
    ".epl .f1{fill:#4aa8e0}.epl .f2{fill:#ff8a4c}.epl .f3{fill:#2fc79a}.epl .f4{fill:#e59cc4}.epl .f5{fill:#f2b632}"
    ".epl .f6{fill:#9ad6f7}.epl .f7{fill:#c9a94a}.epl .f8{fill:#a0a8b4}"
    ".epl .s1{stroke:#4aa8e0}.epl .s2{stroke:#ff8a4c}.epl .s3{stroke:#2fc79a}.epl .s4{stroke:#e59cc4}"
    ".epl .s5{stroke:#f2b632}.epl .s6{stroke:#9ad6f7}.epl .s7{stroke:#c9a94a}.epl .s8{stroke:#a0a8b4}}"
    "</style>\n";

/* printf would follow the locale, and its output would have more digits than a screen has pixels. */
void epl_svg_number(epl_text *t, double x)
{
    const double limited = isnan(x) ? 0 : x > 1e9 ? 1e9 : x < -1e9 ? -1e9 : x;
    const int64_t hundredths = (int64_t)llround(limited * 100);
    const uint64_t size = (uint64_t)(hundredths < 0 ? -hundredths : hundredths);
    epl_text_addf(t, "%s%llu", hundredths < 0 ? "-" : "", (unsigned long long)(size / 100));
    if (size % 100)
        epl_text_addf(t, size % 10 ? ".%02u" : ".%u", (unsigned)(size % 10 ? size % 100 : size % 100 / 10));
}

void epl_svg_point(epl_text *t, char command, double x, double y)
{
    epl_text_add_bytes(t, &command, 1);
    epl_svg_number(t, x);
    epl_text_add(t, ",");
    epl_svg_number(t, y);
}

static void add_attribute(epl_text *t, const char *name, double x)
{
    epl_text_addf(t, " %s=\"", name);
    epl_svg_number(t, x);
    epl_text_add(t, "\"");
}

void epl_svg_open(epl_text *t, double width, double height, const char *title)
{
    epl_text_add(t, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"epl\" role=\"img\" viewBox=\"0 0 ");
    epl_svg_number(t, width);
    epl_text_add(t, " ");
    epl_svg_number(t, height);
    epl_text_add(t, "\"");
    add_attribute(t, "width", width);
    add_attribute(t, "height", height);
    epl_text_add(t, ">\n");
    if (title && *title) {
        epl_text_add(t, "<title>");
        epl_escape_xml(t, title);
        epl_text_add(t, "</title>");
    }
    epl_text_add(t, style_sheet);
    epl_svg_rect(t, "bg", 0, 0, width, height, 0);
}

const char *epl_svg_style_sheet(void)
{
    return style_sheet;
}

void epl_svg_close(epl_text *t)
{
    epl_text_add(t, "</svg>\n");
}

void epl_svg_line(epl_text *t, const char *classes, double x1, double y1, double x2, double y2)
{
    epl_text_addf(t, "<path class=\"%s\" d=\"", classes);
    epl_svg_point(t, 'M', x1, y1);
    epl_svg_point(t, 'L', x2, y2);
    epl_text_add(t, "\"/>\n");
}

void epl_svg_rect(epl_text *t, const char *classes, double x, double y, double w, double h, double radius)
{
    epl_text_addf(t, "<rect class=\"%s\"", classes);
    add_attribute(t, "x", x);
    add_attribute(t, "y", y);
    add_attribute(t, "width", w > 0 ? w : 0);
    add_attribute(t, "height", h > 0 ? h : 0);
    if (radius > 0)
        add_attribute(t, "rx", radius);
    epl_text_add(t, "/>\n");
}

void epl_svg_circle(epl_text *t, const char *classes, double x, double y, double r)
{
    epl_text_addf(t, "<circle class=\"%s\"", classes);
    add_attribute(t, "cx", x);
    add_attribute(t, "cy", y);
    add_attribute(t, "r", r);
    epl_text_add(t, "/>\n");
}

static void add_text(epl_text *t, svg_anchor anchor, const char *classes, const char *s)
{
    static const char *const anchors[] = { "", " text-anchor=\"middle\"", " text-anchor=\"end\"" };
    if (classes && *classes)
        epl_text_addf(t, " class=\"%s\"", classes);
    epl_text_addf(t, "%s>", anchors[anchor]);
    epl_escape_xml(t, s);
    epl_text_add(t, "</text>\n");
}

void epl_svg_text(epl_text *t, double x, double y, svg_anchor anchor, const char *classes, const char *s)
{
    epl_text_add(t, "<text");
    add_attribute(t, "x", x);
    add_attribute(t, "y", y);
    add_text(t, anchor, classes, s);
}

void epl_svg_text_turned(epl_text *t, double x, double y, double degrees, svg_anchor anchor, const char *classes,
                         const char *s)
{
    epl_text_add(t, "<text transform=\"translate(");
    epl_svg_number(t, x);
    epl_text_add(t, " ");
    epl_svg_number(t, y);
    epl_text_add(t, ") rotate(");
    epl_svg_number(t, degrees);
    epl_text_add(t, ")\"");
    add_text(t, anchor, classes, s);
}

/* Rough advance widths, in parts of the font's size, of sans-serif fonts. */
static double character_width(uint32_t c)
{
    if (c < 0x80 && strchr("ijl|!'.,:;I`", (int)c))
        return 0.30;
    if (c < 0x80 && strchr(" ftr()[]{}/\\-\"*", (int)c))
        return 0.38;
    if (c < 0x80 && strchr("mwMW@%&", (int)c))
        return 0.87;
    if (c >= 'A' && c <= 'Z')
        return 0.69;
    if (c >= 0x2070 && c <= 0x208E)
        return 0.40; // superscripts and subscripts
    return epl_utf8_width(c) == 0 ? 0 : epl_utf8_width(c) == 2 ? 1.0 : 0.57;
}

double epl_svg_text_width(const char *s, double size)
{
    const size_t n = s ? strlen(s) : 0;
    double width = 0;
    for (size_t i = 0, step; i < n; i += step)
        width += character_width(epl_utf8_next(s + i, n - i, &step));
    return width * size;
}

void epl_svg_text_cut(epl_text *out, const char *s, double size, double width)
{
    if (epl_svg_text_width(s, size) <= width) {
        epl_text_add(out, s);
        return;
    }
    const size_t n = s ? strlen(s) : 0;
    double used = character_width(0x2026) * size;
    for (size_t i = 0, step; i < n; i += step) {
        const uint32_t c = epl_utf8_next(s + i, n - i, &step);
        used += character_width(c) * size;
        if (used > width)
            break;
        epl_utf8_add(out, c);
    }
    epl_text_add(out, "…");
}

int epl_svg_color(int wanted, int next)
{
    return wanted >= 1 && wanted <= SVG_COLORS ? wanted : next % SVG_COLORS + 1;
}
