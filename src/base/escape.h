/* escape: UTF-8 from strangers into pages, pictures, JSON and terminals.
 *
 * Each writer passes whole characters on and puts U+FFFD for bytes that are not UTF-8 (overlong forms and surrogates
 * included) and for control characters that the target does not allow. NULL is read as "". */
#ifndef EPL_BASE_ESCAPE_H
#define EPL_BASE_ESCAPE_H

#include <espalier/base.h>

/* The character at s, which holds n > 0 bytes; *length gets the bytes it takes. A bad byte is U+FFFD, one byte long. */
uint32_t epl_utf8_next(const char *s, size_t n, size_t *length);

int  epl_utf8_width(uint32_t c);          /* terminal columns: 0 for combining marks, 2 for wide East Asian, else 1 */
int  epl_utf8_columns(const char *s);     /* of a whole string as epl_escape_terminal writes it */
void epl_utf8_add(epl_text *t, uint32_t c);

void epl_escape_xml(epl_text *t, const char *s);      /* text and quoted attributes of HTML and SVG */
void epl_escape_json(epl_text *t, const char *s);     /* with the quotes */
void epl_escape_terminal(epl_text *t, const char *s); /* one line: control characters, newlines too, are replaced */
void epl_escape_terminal_n(epl_text *t, const char *s, int columns); /* stops before passing that many columns */

#endif
