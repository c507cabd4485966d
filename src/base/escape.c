/* escape: the UTF-8 decoder and the writers of escape.h. Widths follow Unicode's East Asian Width in coarse ranges. */
#include "base/escape.h"

#include <string.h>

static bool is_tail(const char *s, size_t n, size_t i)
{
    return i < n && ((unsigned char)s[i] & 0xC0u) == 0x80u;
}

uint32_t epl_utf8_next(const char *s, size_t n, size_t *length)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 }; // smaller values are overlong forms
    const unsigned char first = (unsigned char)s[0];
    const size_t        bytes = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;

    *length = 1;
    if (bytes == 1)
        return first;
    if (first < 0xC2 || first > 0xF4)
        return 0xFFFD;
    uint32_t c = first & (0x7Fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if (!is_tail(s, n, i))
            return 0xFFFD;
        c = c << 6 | ((unsigned char)s[i] & 0x3Fu);
    }
    if (c < least[bytes] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0xFFFD;
    *length = bytes;
    return c;
}

typedef struct range {
    uint32_t first, last;
} range;

static bool in_ranges(uint32_t c, const range *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].first && c <= r[i].last)
            return true;
    return false;
}

int epl_utf8_width(uint32_t c)
{
    static const range zero[] = { { 0x300, 0x36F },   { 0x483, 0x489 },   { 0x591, 0x5BD },   { 0x610, 0x61A },
                                  { 0x64B, 0x65F },   { 0x1AB0, 0x1AFF }, { 0x1DC0, 0x1DFF }, { 0x200B, 0x200F },
                                  { 0x202A, 0x202E }, { 0x2060, 0x2064 }, { 0x20D0, 0x20FF }, { 0xFE00, 0xFE0F },
                                  { 0xFE20, 0xFE2F }, { 0xFEFF, 0xFEFF }, { 0xE0100, 0xE01EF } };
    static const range wide[] = { { 0x1100, 0x115F }, { 0x2E80, 0x303E }, { 0x3041, 0xA4CF },   { 0xA960, 0xA97C },
                                  { 0xAC00, 0xD7A3 }, { 0xF900, 0xFAFF }, { 0xFE30, 0xFE6F },   { 0xFF00, 0xFF60 },
                                  { 0xFFE0, 0xFFE6 }, { 0x1F300, 0x1F64F }, { 0x1F680, 0x1F6FF }, { 0x1F900, 0x1F9FF },
                                  { 0x20000, 0x3FFFD } };
    if (c < 0x300)
        return 1;
    if (in_ranges(c, zero, EPL_COUNT(zero)))
        return 0;
    return in_ranges(c, wide, EPL_COUNT(wide)) ? 2 : 1;
}

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0);
}

/* Characters that reorder a line of text: they would let a name pretend to be another. */
static bool is_reordering(uint32_t c)
{
    return (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

static uint32_t next_for_terminal(const char *s, size_t n, size_t *length)
{
    const uint32_t c = epl_utf8_next(s, n, length);
    return is_control(c) || is_reordering(c) ? 0xFFFD : c;
}

int epl_utf8_columns(const char *s)
{
    const size_t n = s ? strlen(s) : 0;
    int columns = 0;
    for (size_t i = 0, step; i < n; i += step)
        columns += epl_utf8_width(next_for_terminal(s + i, n - i, &step));
    return columns;
}

void epl_utf8_add(epl_text *t, uint32_t c)
{
    char out[4];
    if (c < 0x80) {
        out[0] = (char)c;
        epl_text_add_bytes(t, out, 1);
        return;
    }
    const int tails = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    out[0] = (char)((0xFF00u >> (tails + 1) & 0xFFu) | c >> (6 * tails));
    for (int i = 1; i <= tails; i++)
        out[i] = (char)(0x80u | (c >> (6 * (tails - i)) & 0x3Fu));
    epl_text_add_bytes(t, out, (size_t)tails + 1);
}

void epl_escape_terminal_n(epl_text *t, const char *s, int columns)
{
    const size_t n = s ? strlen(s) : 0;
    int used = 0;
    for (size_t i = 0, step; i < n; i += step) {
        const uint32_t c = next_for_terminal(s + i, n - i, &step);
        used += epl_utf8_width(c);
        if (used > columns)
            return;
        epl_utf8_add(t, c);
    }
}

void epl_escape_terminal(epl_text *t, const char *s)
{
    epl_escape_terminal_n(t, s, INT32_MAX);
}

void epl_escape_xml(epl_text *t, const char *s)
{
    const size_t n = s ? strlen(s) : 0;
    for (size_t i = 0, step; i < n; i += step) {
        const uint32_t c = epl_utf8_next(s + i, n - i, &step);
        switch (c) {
        case '&':  epl_text_add(t, "&amp;"); break;
        case '<':  epl_text_add(t, "&lt;"); break;
        case '>':  epl_text_add(t, "&gt;"); break;
        case '"':  epl_text_add(t, "&quot;"); break;
        case '\'': epl_text_add(t, "&#39;"); break;
        case '\n': case '\t': epl_utf8_add(t, c); break;
        default:   epl_utf8_add(t, is_control(c) || c == 0xFFFE || c == 0xFFFF ? 0xFFFD : c);
        }
    }
}

void epl_escape_json(epl_text *t, const char *s)
{
    const size_t n = s ? strlen(s) : 0;
    epl_text_add(t, "\"");
    for (size_t i = 0, step; i < n; i += step) {
        const uint32_t c = epl_utf8_next(s + i, n - i, &step);
        if (c == '"' || c == '\\')
            epl_text_addf(t, "\\%c", (int)c);
        else if (c == '\n')
            epl_text_add(t, "\\n");
        else if (c < 0x20 || c == 0x7F)
            epl_text_addf(t, "\\u%04x", (unsigned)c);
        else
            epl_utf8_add(t, c);
    }
    epl_text_add(t, "\"");
}
