/* format: numbers as text, exactly for machines and shortly for people; whatever the locale, the point is a point. */
#include <espalier/base.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Non-finite numbers, and zero with its sign; true when `out` is written. */
static bool format_special(char out[32], double x)
{
    if (isfinite(x) && x != 0)
        return false;
    const char *text = isnan(x) ? "nan" : isinf(x) ? "inf" : "0";
    snprintf(out, 32, "%s%s", signbit(x) && !isnan(x) ? "-" : "", text);
    return true;
}

/* A locale may write a decimal comma, or a mark of several bytes. */
static void use_point(char *s)
{
    char *mark = s + strspn(s, "+-0123456789");
    if (*mark == 0 || *mark == 'e' || *mark == ' ')
        return;
    char *rest = mark + 1;
    while (*rest && !strchr("0123456789e ", *rest))
        rest++;
    *mark = '.';
    memmove(mark + 1, rest, strlen(rest) + 1);
}

/* Fifteen digits (six for float) survive a round trip, so if they give the number back, dropping their final zeros gives the
 * shortest text. Subnormal numbers hold fewer digits and start from one. */
void epl_format_f64(char out[32], double x)
{
    if (format_special(out, x))
        return;
    for (int digits = fpclassify(x) == FP_SUBNORMAL ? 1 : 15; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, x);
        if (strtod(out, NULL) == x)
            break;
    }
    use_point(out);
}

void epl_format_f32(char out[32], float x)
{
    if (format_special(out, (double)x))
        return;
    for (int digits = fpclassify(x) == FP_SUBNORMAL ? 1 : 6; digits <= 9; digits++) {
        snprintf(out, 32, "%.*g", digits, (double)x);
        if (strtof(out, NULL) == x)
            break;
    }
    use_point(out);
}

/* Three significant digits and the unit that leaves 1 <= x < step before the point. */
static void format_scaled(char out[32], double x, double step, const char *const *units, size_t n_units)
{
    size_t unit = 0;
    while (unit + 1 < n_units && fabs(x) >= step * 0.9995) {
        x /= step;
        unit++;
    }
    if (unit == 0 && (x == floor(x) || fabs(x) >= 100))
        snprintf(out, 32, "%.0f %s", x, units[unit]);
    else
        snprintf(out, 32, "%.*f %s", fabs(x) < 9.995 ? 2 : fabs(x) < 99.95 ? 1 : 0, x, units[unit]);
    const size_t n = strlen(out);
    if (out[n - 1] == ' ')
        out[n - 1] = 0;
    use_point(out);
}

void epl_format_count(char out[32], double x)
{
    static const char *const units[] = { "", "k", "M", "G", "T", "P", "E" };
    if (!isfinite(x))
        format_special(out, x);
    else if (fabs(x) >= 1e21)
        snprintf(out, 32, "%.2e", x);
    else
        format_scaled(out, x, 1000, units, EPL_COUNT(units));
}

void epl_format_bytes(char out[32], double n)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    if (!isfinite(n))
        format_special(out, n);
    else if (fabs(n) >= 1e21)
        snprintf(out, 32, "%.2e B", n);
    else
        format_scaled(out, n, 1024, units, EPL_COUNT(units));
}

void epl_format_seconds(char out[32], double s)
{
    const double size = fabs(s);
    if (!isfinite(s))
        format_special(out, s);
    else if (size < 0.9995e-6)
        snprintf(out, 32, "%.3g ns", s * 1e9);
    else if (size < 0.9995e-3)
        snprintf(out, 32, "%.3g us", s * 1e6);
    else if (size < 0.9995)
        snprintf(out, 32, "%.3g ms", s * 1e3);
    else if (size < 59.95)
        snprintf(out, 32, "%.3g s", s);
    else if (size < 3599.5)
        snprintf(out, 32, "%.0f m %02.0f s", floor(round(s) / 60), fmod(round(s), 60));
    else if (size < 1e9)
        snprintf(out, 32, "%.0f h %02.0f m", floor(round(s / 60) / 60), fmod(round(s / 60), 60));
    else
        snprintf(out, 32, "%.2e s", s);
    use_point(out);
}
