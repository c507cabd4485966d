/* svg: what all our pictures share - numbers without a locale, text and its width, the palette and the style sheet.
 *
 * Colours are classes: f1..f8 fill and s1..s8 stroke with an entry of the palette (Okabe and Ito's colours, which people
 * with any common colour blindness tell apart, with a second set for dark pages). No ids are used, so that any number of
 * pictures can stand in one page. */
#ifndef EPL_REPORT_SVG_H
#define EPL_REPORT_SVG_H

#include <espalier/base.h>

enum { SVG_COLORS = 8, SVG_TEXT_SIZE = 12 };

void epl_svg_open(epl_text *t, double width, double height, const char *title); /* with style sheet and background */
void epl_svg_close(epl_text *t);
const char *epl_svg_style_sheet(void); /* the <style> element of every picture; a page needs it once */

void epl_svg_number(epl_text *t, double x); /* two decimals at most; what is not finite or beyond 1e9 is cut */
void epl_svg_point(epl_text *t, char command, double x, double y); /* "M3,4": a step of a path */
void epl_svg_line(epl_text *t, const char *classes, double x1, double y1, double x2, double y2);
void epl_svg_rect(epl_text *t, const char *classes, double x, double y, double w, double h, double radius);
void epl_svg_circle(epl_text *t, const char *classes, double x, double y, double r);

typedef enum svg_anchor { SVG_START = 0, SVG_MIDDLE, SVG_END } svg_anchor;

/* One line of text with its baseline at y. `classes` may name "t" (title), "m" (muted), "b" (bold), "h" (a halo that
 * keeps it readable over lines), "x" (small). */
void epl_svg_text(epl_text *t, double x, double y, svg_anchor anchor, const char *classes, const char *s);
/* The same, turned by `degrees` around (x, y). */
void epl_svg_text_turned(epl_text *t, double x, double y, double degrees, svg_anchor anchor, const char *classes,
                         const char *s);

/* An estimate of a line's width in a sans-serif font, on the wide side. */
double epl_svg_text_width(const char *s, double size);
/* s cut with an ellipsis to fit the width. */
void epl_svg_text_cut(epl_text *out, const char *s, double size, double width);

int epl_svg_color(int wanted, int next); /* 1..8: `wanted` if it is one of them, else the entry after `next` others */

#endif
