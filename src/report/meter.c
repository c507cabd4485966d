/* meter: progress for people. One line redrawn in place on a terminal, plain lines elsewhere.
 *
 * A task is a run of reports whose `done` never falls and whose total stays; its label may change on the way (it can carry
 * the loss). The rate is a mean that forgets over about five seconds. Only "\r", "erase to the end of line" and a colour
 * are sent, so there is no state of the terminal to restore whenever the process ends. */
#include "base/escape.h"

#include <espalier/report.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double REDRAW_S = 0.1, FORGET_S = 5, PLAIN_S = 5;
enum { LABEL_SIZE = 160, LABEL_COLUMNS = 34, BAR_LEAST = 8, BAR_MOST = 28, DEFAULT_WIDTH = 80 };

struct epl_meter {
    epl_context   *ctx;
    FILE          *out;
    epl_meter_opts o;
    char           unit[32], label[LABEL_SIZE];
    bool           terminal, color, utf8;
    bool           active, finished, drawn;  /* a task runs; its last line is written; its line is on the screen */
    double         first, done, total;       /* of the task */
    double         start_s, shown_s;         /* when it began; when it was last shown */
    double         rate, rate_done, rate_s;  /* units per second; where it was last measured */
};

static double now(const epl_meter *m)
{
    return m->o.clock ? m->o.clock(m->o.clock_user) : epl_now_s();
}

static bool locale_is_utf8(void)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    for (size_t i = 0; i < EPL_COUNT(names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static bool is_terminal(FILE *out)
{
    const char *term = getenv("TERM");
    return isatty(fileno(out)) && !(term && strcmp(term, "dumb") == 0);
}

epl_meter *epl_meter_new(epl_context *ctx, FILE *out, epl_meter_opts o)
{
    epl_meter *m = epl_alloc(ctx, sizeof *m);
    if (!m)
        return NULL;
    const char *no_color = getenv("NO_COLOR");
    m->ctx      = ctx;
    m->out      = out;
    m->o        = o;
    m->terminal = o.style == 1 || (o.style == 0 && is_terminal(out));
    m->color    = m->terminal && !o.no_color && !(no_color && *no_color);
    m->utf8     = locale_is_utf8();
    snprintf(m->unit, sizeof m->unit, "%s", o.unit ? o.unit : "it");
    return m;
}

/* ---- the line ---- */

static int line_width(const epl_meter *m)
{
    struct winsize size;
    if (m->o.width > 0)
        return m->o.width;
    if (ioctl(fileno(m->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return DEFAULT_WIDTH;
}

static double elapsed(const epl_meter *m)
{
    return fmax(0, m->shown_s - m->start_s);
}

static double share(const epl_meter *m)
{
    return m->total > 0 ? fmax(0, fmin(1, m->done / m->total)) : 0;
}

/* The rate in the form that reads best: "412 images/s", or "8.31 s/epoch" when it is slow. */
static void add_rate(epl_text *t, const epl_meter *m, double rate)
{
    char number[32];
    if (!(rate > 0) || !isfinite(rate))
        return;
    if (rate < 0.5)
        epl_format_seconds(number, 1 / rate);
    else if (rate < 10)
        snprintf(number, sizeof number, "%.2f", rate);
    else
        epl_format_count(number, rate >= 1e3 ? rate : round(rate));
    epl_text_addf(t, rate < 0.5 ? "  %s/" : "  %s ", number);
    epl_escape_terminal_n(t, m->unit, 16);
    epl_text_add(t, rate < 0.5 ? "" : "/s");
}

static void add_remaining(epl_text *t, const epl_meter *m)
{
    char time[32];
    if (!(m->total > 0) || !(m->rate > 0) || m->done >= m->total)
        return;
    const double left = (m->total - m->done) / m->rate;
    epl_format_seconds(time, left < 1 ? 1 : round(left));
    epl_text_addf(t, "  %s left", time);
}

static void add_amount(epl_text *t, const epl_meter *m)
{
    char number[32];
    if (m->total > 0) {
        epl_text_addf(t, "%3.0f %%", floor(100 * share(m)));
        return;
    }
    epl_format_count(number, m->done);
    epl_text_addf(t, "%s ", number);
    epl_escape_terminal_n(t, m->unit, 16);
}

static void add_facts(epl_text *t, const epl_meter *m)
{
    char time[32];
    add_amount(t, m);
    if (!m->finished) {
        add_rate(t, m, m->rate);
        add_remaining(t, m);
        return;
    }
    if (!(elapsed(m) > 0))
        return; // reported once, at its end: nobody knows when it began
    add_rate(t, m, (m->done - m->first) / elapsed(m));
    epl_format_seconds(time, elapsed(m) < 10 ? elapsed(m) : round(elapsed(m)));
    epl_text_addf(t, "  in %s", time);
}

static void add_bar(epl_text *t, const epl_meter *m, int columns)
{
    const int full = (int)floor(share(m) * columns);
    epl_text_add(t, !m->color ? "" : share(m) < 1 ? "\033[36m" : "\033[32m");
    for (int i = 0; i < full; i++)
        epl_text_add(t, m->utf8 ? "━" : "#");
    epl_text_add(t, m->color ? "\033[90m" : "");
    for (int i = full; i < columns; i++)
        epl_text_add(t, !m->utf8 ? "." : m->color ? "━" : "─");
    epl_text_add(t, m->color ? "\033[0m" : "");
}

/* Label, bar, facts; what has no room goes: first the bar, then the end of the label, then the facts' end. */
static void draw(epl_meter *m)
{
    const int room = line_width(m) - 1; // the last column would wrap on some terminals
    epl_text facts = EPL_TEXT(m->ctx), line = EPL_TEXT(m->ctx);
    add_facts(&facts, m);
    const int facts_columns = epl_utf8_columns(epl_text_str(&facts));
    int label = epl_utf8_columns(m->label);
    label = label < LABEL_COLUMNS ? label : LABEL_COLUMNS;
    label = label < room - facts_columns - 2 ? label : room - facts_columns - 2;
    int bar = room - facts_columns - label - 4;
    bar = m->total > 0 && bar >= BAR_LEAST ? (bar < BAR_MOST ? bar : BAR_MOST) : 0;

    epl_text_add(&line, m->drawn ? "\r\033[K" : "");
    if (label > 0) {
        epl_escape_terminal_n(&line, m->label, label);
        epl_text_add(&line, "  ");
    }
    if (bar) {
        add_bar(&line, m, bar);
        epl_text_add(&line, "  ");
    }
    epl_escape_terminal_n(&line, epl_text_str(&facts), room);
    epl_text_add(&line, m->finished ? "\n" : "");
    fwrite(epl_text_str(&line), 1, line.length, m->out);
    fflush(m->out);
    m->drawn = !m->finished;
    epl_text_release(&facts);
    epl_text_release(&line);
}

static void write_plain(epl_meter *m)
{
    epl_text line = EPL_TEXT(m->ctx);
    epl_escape_terminal(&line, m->label);
    epl_text_add(&line, ": ");
    add_facts(&line, m);
    epl_text_add(&line, "\n");
    fwrite(epl_text_str(&line), 1, line.length, m->out);
    fflush(m->out);
    epl_text_release(&line);
}

static void show(epl_meter *m)
{
    if (m->terminal)
        draw(m);
    else
        write_plain(m);
}

/* ---- tasks ---- */

static void finish(epl_meter *m, double t)
{
    if (!m->active || m->finished)
        return;
    m->finished = true;
    m->shown_s  = t;
    show(m);
}

static void begin(epl_meter *m, double done, double total, double t)
{
    m->active  = true;
    m->first   = m->rate_done = done;
    m->total   = total;
    m->start_s = m->rate_s = t;
    m->rate    = 0;
    m->shown_s = m->terminal ? t - REDRAW_S : t;
    m->finished = m->drawn = false;
}

static void measure(epl_meter *m, double t)
{
    const double dt = t - m->rate_s;
    if (dt < REDRAW_S / 2)
        return;
    const double fresh = (m->done - m->rate_done) / dt, keep = m->rate > 0 ? exp(-dt / FORGET_S) : 0;
    m->rate      = m->rate * keep + fresh * (1 - keep);
    m->rate_done = m->done;
    m->rate_s    = t;
}

static bool report(void *user, const char *label, double done, double total)
{
    epl_meter *m = user;
    const double t = now(m);
    done  = isfinite(done) ? done : 0;
    total = isfinite(total) && total > 0 ? total : 0;
    const bool other = !m->active || done < m->done || total != m->total;
    if (other) {
        if (m->active && !m->finished && m->done > m->first)
            finish(m, t);
        begin(m, done, total, t);
    }
    if (!m->finished) {
        snprintf(m->label, sizeof m->label, "%s", label ? label : "");
        m->done = done;
        measure(m, t);
        const double pause = m->terminal ? REDRAW_S : m->o.every_s > 0 ? m->o.every_s : PLAIN_S;
        if (total > 0 && done >= total) {
            finish(m, t);
        } else if (t - m->shown_s >= pause * (1 - 1e-9)) {
            m->shown_s = t;
            show(m);
        }
    }
    return !(m->o.stop && *m->o.stop);
}

static bool show_nothing(void *user, const char *label, double done, double total)
{
    (void)user;
    (void)label;
    (void)done;
    (void)total;
    return true;
}

epl_progress epl_meter_progress(epl_meter *m)
{
    return m ? (epl_progress){ report, m } : (epl_progress){ show_nothing, NULL };
}

void epl_meter_print(epl_meter *m, const char *format, ...)
{
    char   *text = NULL;
    va_list args;
    if (!m)
        return;
    va_start(args, format);
    const int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        return;
    epl_text line = EPL_TEXT(m->ctx);
    epl_text_add(&line, m->drawn ? "\r\033[K" : "");
    epl_escape_terminal(&line, text);
    epl_text_add(&line, "\n");
    fwrite(epl_text_str(&line), 1, line.length, m->out);
    fflush(m->out);
    epl_text_release(&line);
    free(text);
    if (m->drawn)
        draw(m);
}

void epl_meter_free(epl_meter *m)
{
    if (!m)
        return;
    if (m->active && !m->finished && m->done > m->first)
        finish(m, now(m));
    else if (m->drawn)
        fputc('\n', m->out);
    fflush(m->out);
    epl_release(m->ctx, m);
}
