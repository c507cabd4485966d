/* common: results, remarks, errors and progress, for all verbs. */
#include <errno.h>
#include <string.h>

#include "cli.h"

/* ---- errors and remarks ---- */

/* Names in messages come from files: nothing of them may steer a terminal, and an error is one line. */
static void put_line(const char *sentence)
{
    for (const unsigned char *s = (const unsigned char *)sentence; *s; s++)
        fputc(*s < 32 || *s == 127 ? (*s == '\n' || *s == '\t' ? ' ' : '?') : *s, stderr);
    fputc('\n', stderr);
}

int cli_status(cli *c)
{
    const epl_error code = epl_error_code(c->ctx);
    if (code == EPL_OK)
        return c->helped ? 0 : 1;
    fprintf(stderr, "espalier%s%s: ", c->verb ? " " : "", c->verb ? c->verb->name : "");
    put_line(epl_error_message(c->ctx));
    return code == EPL_ERR_ARGUMENT ? 2 : code == EPL_ERR_INTERRUPTED ? 130 : 1;
}

int cli_end(cli *c, bool ok)
{
    return ok && epl_error_code(c->ctx) == EPL_OK ? 0 : cli_status(c);
}

void cli_remark(const cli *c, const char *format, ...)
{
    if (c->quiet)
        return;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

bool cli_unknown(cli *c, const char *what, const char *word, const char *const *known, size_t n)
{
    const char *close = epl_closest(word, known, n);
    return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "no %s is named '%s'%s%s%s", what, word, close ? "; did you mean '" : "",
                    close ? close : "", close ? "'?" : "");
}

/* ---- progress ---- */

static bool report_nothing(void *user, const char *label, double done, double total)
{
    (void)user, (void)label, (void)done, (void)total;
    return !cli_stop;
}

epl_progress cli_progress(cli *c, const char *unit)
{
    if (c->quiet)
        return (epl_progress){ .report = report_nothing };
    c->meter = epl_meter_new(c->ctx, stderr, (epl_meter_opts){ .unit = unit, .stop = &cli_stop });
    return c->meter ? epl_meter_progress(c->meter) : (epl_progress){ .report = report_nothing };
}

void cli_progress_end(cli *c)
{
    epl_meter_free(c->meter);
    c->meter = NULL;
}

/* ---- results ---- */

bool cli_print_take(cli *c, char *text)
{
    if (!text)
        return false;
    const size_t n = strlen(text);
    bool ok = fputs(text, stdout) >= 0 && (n == 0 || text[n - 1] == '\n' || fputc('\n', stdout) != EOF);
    epl_release(c->ctx, text);
    return ok || epl_fail(c->ctx, EPL_ERR_IO, "the standard output: %s", strerror(errno));
}

bool cli_print_table(cli *c, epl_table *t)
{
    return cli_print_take(c, c->json ? epl_table_to_json(t) : epl_table_to_text(t, (epl_table_opts){ 0 }));
}

bool cli_write_take(cli *c, const char *path, char *text)
{
    if (!path || !text)
        return cli_print_take(c, text);
    const bool ok = epl_write_file(c->ctx, path, text, strlen(text));
    epl_release(c->ctx, text);
    return ok;
}
