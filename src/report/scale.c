/* scale: ranges, nice ticks (steps of 1, 2 or 5 times a power of ten; decades on a logarithmic axis) and their labels. */
#include "report/scale.h"

#include <espalier/base.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double LARGEST = 1e290, SMALLEST = 1e-290; // differences and steps stay finite and normal inside

scale epl_scale_new(bool log)
{
    return (scale){ .log = log, .empty = true, .whole = true };
}

bool epl_scale_drawable(const scale *s, double x)
{
    return isfinite(x) && fabs(x) <= LARGEST && (!s->log || x >= SMALLEST);
}

void epl_scale_see(scale *s, double x)
{
    if (!epl_scale_drawable(s, x))
        return;
    s->low   = s->empty || x < s->low ? x : s->low;
    s->high  = s->empty || x > s->high ? x : s->high;
    s->whole = s->whole && x == floor(x);
    s->empty = false;
}

void epl_scale_fix(scale *s, double low, double high)
{
    if (low == high || !epl_scale_drawable(s, low) || !epl_scale_drawable(s, high))
        return;
    s->low   = fmin(low, high);
    s->high  = fmax(low, high);
    s->empty = false;
}

void epl_scale_pad(scale *s, double share)
{
    if (s->empty)
        return;
    if (s->log) {
        const double factor = pow(s->high / s->low, share);
        s->low /= factor;
        s->high *= factor;
        return;
    }
    const double pad = share * (s->high - s->low), low = s->low, high = s->high;
    s->low  = low >= 0 && low < pad ? 0 : low - pad;
    s->high = high <= 0 && -high < pad ? 0 : s->percent && high <= 1 && high + pad > 1 ? 1 : high + pad;
}

static void open_range(scale *s)
{
    if (s->empty) {
        s->low  = s->log ? 0.1 : 0;
        s->high = 1;
    }
    const double size = fmax(fabs(s->low), fabs(s->high));
    if (s->log && s->high / s->low < 1 + 1e-9) {
        s->low /= 2;
        s->high *= 2;
    } else if (!s->log && s->high - s->low <= size * 1e-12) {
        const double half = size > SMALLEST * 1e3 ? size * 0.1 : 1;
        s->low -= s->whole ? ceil(half) : half;
        s->high += s->whole ? ceil(half) : half;
    } else if (!s->log && s->high - s->low < SMALLEST) {
        s->low  = -1;
        s->high = 1;
    }
}

static double nice_step(double span, int n)
{
    const double raw   = span / (n > 1 ? n : 1);
    const double power = pow(10, floor(log10(raw)));
    const double share = raw / power;
    return power * (share <= 1.0000001 ? 1 : share <= 2.0000001 ? 2 : share <= 5.0000001 ? 5 : 10);
}

static void linear_ticks(scale *s, int n, bool nice)
{
    s->step = nice_step(s->high - s->low, n);
    if (s->whole && s->step < 1)
        s->step = 1;
    if (nice) {
        s->low  = floor(s->low / s->step + 1e-9) * s->step;
        s->high = ceil(s->high / s->step - 1e-9) * s->step;
    }
    const double first = ceil(s->low / s->step - 1e-9);
    for (s->n_ticks = 0; s->n_ticks < SCALE_MAX_TICKS; s->n_ticks++) {
        const double x = (first + s->n_ticks) * s->step;
        if (x > s->high + 1e-9 * s->step)
            break;
        s->tick[s->n_ticks] = fabs(x) < s->step * 1e-6 ? 0 : x;
    }
}

/* The ticks m * 10^e inside the range, for m in 1 (and 2, 5 on short ranges) and every `stride`-th e. */
static void add_decades(scale *s, int stride, bool between)
{
    static const double parts[] = { 1, 2, 5 };
    const int first = (int)floor(log10(s->low) - 1e-9), last = (int)ceil(log10(s->high) + 1e-9);
    s->n_ticks = 0;
    for (int e = first; e <= last; e++)
        for (size_t m = 0; m < (between ? EPL_COUNT(parts) : 1); m++) {
            const double x = parts[m] * pow(10, e);
            const bool   inside = x >= s->low * (1 - 1e-9) && x <= s->high * (1 + 1e-9);
            if (inside && ((e % stride) + stride) % stride == 0 && s->n_ticks < SCALE_MAX_TICKS)
                s->tick[s->n_ticks++] = x;
        }
}

/* The largest (smallest) of 1, 2, 5 times a power of ten that is at most (at least) x. */
static double nice_log_bound(double x, bool up)
{
    static const double parts[] = { 1, 2, 5, 10 };
    const double power = pow(10, floor(log10(x) + 1e-9));
    double best = up ? 10 * power : power;
    for (size_t i = 0; i < EPL_COUNT(parts); i++) {
        const double c = parts[i] * power;
        if (up ? c >= x * (1 - 1e-9) && c < best : c <= x * (1 + 1e-9) && c > best)
            best = c;
    }
    return best;
}

static void log_ticks(scale *s, int n, bool nice)
{
    const double decades = log10(s->high / s->low);
    if (nice) {
        s->low  = nice_log_bound(s->low, false);
        s->high = nice_log_bound(s->high, true);
    }
    const int stride = decades > n ? (int)ceil(decades / n) : 1;
    add_decades(s, stride, decades * 3 <= n + 1);
    if (s->n_ticks < 2 && stride == 1)
        add_decades(s, 1, true);
    if (s->n_ticks < 2) {
        s->n_ticks = 2;
        s->tick[0] = s->low;
        s->tick[1] = s->high;
    }
}

void epl_scale_finish(scale *s, int n, bool nice)
{
    open_range(s);
    if (s->log)
        log_ticks(s, n < 2 ? 2 : n, nice);
    else
        linear_ticks(s, n < 2 ? 2 : n, nice);
}

double epl_scale_pixel(const scale *s, double x)
{
    const double share = s->log ? log(x / s->low) / log(s->high / s->low) : (x - s->low) / (s->high - s->low);
    return s->start + share * (s->end - s->start);
}

static void use_minus(char out[SCALE_LABEL_SIZE])
{
    const size_t n = strlen(out);
    if (out[0] == '-' && n + 3 <= SCALE_LABEL_SIZE) { // a true minus sign is as wide as a digit
        memmove(out + 3, out + 1, n);
        memcpy(out, "\xE2\x88\x92", 3);
    }
}

static void power_label(char out[SCALE_LABEL_SIZE], int e)
{
    static const char *const digits[] = { "⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹" };
    char plain[16];
    snprintf(plain, sizeof plain, "%d", e);
    snprintf(out, SCALE_LABEL_SIZE, "10");
    for (const char *p = plain; *p; p++)
        strncat(out, *p == '-' ? "⁻" : digits[*p - '0'], SCALE_LABEL_SIZE - strlen(out) - 1);
}

static void thousands(char out[SCALE_LABEL_SIZE], double x)
{
    static const char *const units[] = { "", "k", "M", "G", "T" };
    size_t u = 0;
    for (; fabs(x) >= 999.5 && u + 1 < EPL_COUNT(units); u++)
        x /= 1000;
    snprintf(out, SCALE_LABEL_SIZE, "%.3g%s", x, units[u]);
}

static void log_label(double x, char out[SCALE_LABEL_SIZE])
{
    const double e = log10(x);
    if (fabs(e - round(e)) < 1e-9 && (e < -3.5 || e > 4.5))
        power_label(out, (int)round(e));
    else if (x >= 1e3)
        thousands(out, x);
    else
        snprintf(out, SCALE_LABEL_SIZE, "%.3g", x);
}

static void linear_label(const scale *s, double x, char out[SCALE_LABEL_SIZE])
{
    static const struct { double unit; const char *name; } units[] = { { 1e12, "T" }, { 1e9, "G" }, { 1e6, "M" },
                                                                       { 1e3, "k" }, { 1, "" } };
    const double size = fmax(fabs(s->low), fabs(s->high));
    size_t u = EPL_COUNT(units) - 1;
    if (size >= 1e4)
        for (u = 0; units[u].unit > size; u++)
            ;
    if (size >= 1e16 || size < 1e-3 || s->step / units[u].unit < 1e-6) {
        snprintf(out, SCALE_LABEL_SIZE, "%.4g", x);
        return;
    }
    const double places = -floor(log10(s->step / units[u].unit) + 1e-9);
    snprintf(out, SCALE_LABEL_SIZE, "%.*f%s", places > 0 ? (int)places : 0, x / units[u].unit, x == 0 ? "" : units[u].name);
}

void epl_scale_label(const scale *s, int tick, char out[SCALE_LABEL_SIZE])
{
    const double x = s->tick[tick];
    if (s->percent && s->log) {
        snprintf(out, SCALE_LABEL_SIZE, "%.3g %%", 100 * x);
    } else if (s->percent) {
        const double places = -floor(log10(100 * s->step) + 1e-9);
        snprintf(out, SCALE_LABEL_SIZE, "%.*f %%", places > 0 ? (int)fmin(places, 9) : 0, 100 * x);
    } else if (s->log) {
        log_label(x, out);
    } else {
        linear_label(s, x, out);
    }
    use_minus(out);
}

void epl_scale_value(char out[SCALE_LABEL_SIZE], double x, bool percent)
{
    const double size = fabs(x);
    if (!isfinite(x))
        snprintf(out, SCALE_LABEL_SIZE, isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
    else if (percent)
        snprintf(out, SCALE_LABEL_SIZE, size < 0.0995 ? "%.2g %%" : "%.3g %%", 100 * x);
    else if (size >= 999.5 && size < 1e4)
        snprintf(out, SCALE_LABEL_SIZE, "%.0f", x);
    else if (size >= 1e4 && size < 999.5e12)
        thousands(out, x);
    else
        snprintf(out, SCALE_LABEL_SIZE, "%.3g", x);
    use_minus(out);
}
