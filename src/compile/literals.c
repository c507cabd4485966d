/* Numbers as C constants that read back as exactly the same bits; names, which may come from anybody's file, without what
 * could end a comment or a string. */
#include "compile/emit.h"

#include <ctype.h>
#include <math.h>

static bool is_special(char out[48], double x)
{
    if (isnan(x) || isinf(x))
        strcpy(out, isnan(x) ? "NAN" : x > 0 ? "INFINITY" : "-INFINITY");
    return isnan(x) || isinf(x);
}

static void finish(char out[48], const char *digits, const char *suffix)
{
    snprintf(out, 48, "%s%s%s", digits, strpbrk(digits, ".e") ? "" : ".0", suffix);
}

void epl_literal_f64(char out[48], double x)
{
    char digits[32];
    if (is_special(out, x))
        return;
    epl_format_f64(digits, x);
    finish(out, digits, "");
}

void epl_literal_f32(char out[48], float x)
{
    char digits[32];
    if (is_special(out, x))
        return;
    epl_format_f32(digits, x);
    finish(out, digits, "f");
}

void epl_literal_i64(char out[48], int64_t x)
{
    if (x == INT64_MIN)
        strcpy(out, "INT64_MIN");
    else if (x >= INT32_MIN && x <= INT32_MAX)
        snprintf(out, 48, "%lld", (long long)x);
    else
        snprintf(out, 48, "INT64_C(%lld)", (long long)x);
}

const char *epl_emit_clean(char out[96], const char *name)
{
    size_t n = 0;
    for (; name[n] && n < 95; n++)
        out[n] = isalnum((unsigned char)name[n]) || strchr("._-/ :[],=", name[n]) ? name[n] : '_';
    out[n] = 0;
    return out;
}
