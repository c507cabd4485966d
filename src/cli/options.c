/* options: reading the words of a command line into the targets of a table, over getopt_long. --help is printed by help.c. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "help.h"

enum { LONG_VALUE = 256 }; // what getopt_long returns for the i-th entry: LONG_VALUE + i

/* ---- the table, flat ---- */

static bool flatten(cli_table *t, const cli_option *o, const char *heading)
{
    for (; o->kind != CLI_END; o++) {
        if (o->kind == CLI_GROUP) {
            if (!flatten(t, o->group, o->name))
                return false;
            continue;
        }
        if (t->n == CLI_MAX_OPTIONS)
            return false;
        t->heading[t->n]  = heading;
        t->option[t->n++] = o;
    }
    return true;
}

static bool is_argument(const cli_option *o) { return o->kind == CLI_ARG || o->kind == CLI_ARG_MAY || o->kind == CLI_ARG_REST; }

/* ---- one value ---- */

static bool wrong(cli *c, const cli_option *o, const char *text, const char *expected)
{
    return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--%s is '%s', but must be %s", o->name, text, expected);
}

static bool read_number(cli *c, const cli_option *o, const char *text)
{
    const bool whole = o->kind == CLI_INT;
    char *end = NULL, low[32], high[32], range[96];
    errno = 0;
    const long long i = whole ? strtoll(text, &end, 10) : 0;
    const double    x = whole ? (double)i : strtod(text, &end);
    if (end != text && !*end && errno == 0 && x >= o->low && x <= o->high) {
        if (whole)
            *(int64_t *)o->target = i;
        else
            *(double *)o->target = x;
        return true;
    }
    epl_format_f64(low, o->low);
    epl_format_f64(high, o->high);
    if (o->high >= 0x1p62)
        snprintf(range, sizeof range, "a whole number of at least %s", low);
    else
        snprintf(range, sizeof range, "a %s from %s to %s", whole ? "whole number" : "number", low, high);
    return wrong(c, o, text, range);
}

/* "1048576", "1M", "1.5GiB", "64MB": powers of 1024, however they are written. */
static bool read_bytes(cli *c, const cli_option *o, const char *text)
{
    static const char units[] = "KMGT";
    char        *end;
    const double x = strtod(text, &end);
    double       scale = 1;
    const char  *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (unit) {
        scale = exp2(10.0 * (double)(unit - units + 1));
        end += 1 + (end[1] == 'i');
    }
    end += *end == 'B';
    if (end == text || *end || !(x >= 0) || x * scale > 0x1p62)
        return wrong(c, o, text, "a number of bytes, such as 512K, 64MiB or 2G");
    *(size_t *)o->target = (size_t)(x * scale);
    return true;
}

/* The words of "a|b|c", copied to the arena. Returns how many. */
static size_t split_choice(cli *c, const char *choice, const char **out, size_t most)
{
    size_t n = 0;
    char  *at = epl_arena_strdup(c->arena, choice);
    for (char *word = at ? strtok_r(at, "|", &at) : NULL; word && n < most; word = strtok_r(NULL, "|", &at))
        out[n++] = word;
    return n;
}

static bool read_choice(cli *c, const cli_option *o, const char *text)
{
    const char  *words[32];
    const size_t n = split_choice(c, o->value, words, EPL_COUNT(words));
    for (size_t i = 0; i < n; i++)
        if (strcmp(words[i], text) == 0) {
            *(const char **)o->target = words[i];
            return true;
        }
    const char *close = epl_closest(text, words, n);
    return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--%s is '%s', but must be one of %s%s%s%s", o->name, text, o->value,
                    close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
}

static bool add_word(cli *c, cli_words *w, const char *text, int most)
{
    if (!w->at)
        w->at = epl_arena_alloc(c->arena, (size_t)most * sizeof *w->at);
    if (!w->at)
        return false;
    w->at[w->n++] = text;
    return true;
}

static bool read_value(cli *c, const cli_option *o, const char *text, int argc)
{
    switch (o->kind) {
    case CLI_FLAG:     *(bool *)o->target = true; return true;
    case CLI_INT:
    case CLI_REAL:     return read_number(c, o, text);
    case CLI_BYTES:    return read_bytes(c, o, text);
    case CLI_CHOICE:   return read_choice(c, o, text);
    case CLI_REPEATED:
    case CLI_ARG_REST: return add_word(c, o->target, text, argc);
    default:           *(const char **)o->target = text; return true;
    }
}

/* ---- the words ---- */

static bool unknown_option(cli *c, const cli_table *t, const char *given)
{
    char        name[64];
    const char *known[CLI_MAX_OPTIONS];
    size_t      n = 0;
    for (int i = 0; i < t->n; i++)
        if (!is_argument(t->option[i]))
            known[n++] = t->option[i]->name;
    given += strspn(given, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(given, "="), given);
    const char *close = epl_closest(name, known, n);
    return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "no option --%s%s%s%s (see `espalier %s --help`)", name, close ? "; did you mean --" : "",
                    close ? close : "", close ? "?" : "", c->verb->name);
}

static const cli_option *option_of(const cli_table *t, int value)
{
    if (value >= LONG_VALUE)
        return t->option[value - LONG_VALUE];
    for (int i = 0; i < t->n; i++)
        if (!is_argument(t->option[i]) && t->option[i]->letter && t->option[i]->letter == value)
            return t->option[i];
    return NULL;
}

static bool bad_option(cli *c, const cli_table *t, int kind, char **argv)
{
    const cli_option *o = option_of(t, optopt);
    if (o && kind == ':')
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--%s needs a value, %s", o->name, o->value);
    if (o)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--%s takes no value", o->name);
    if (optopt)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "no option -%c (see `espalier %s --help`)", optopt, c->verb->name);
    return unknown_option(c, t, argv[optind - 1]);
}

static bool read_options(cli *c, const cli_table *t, bool given[CLI_MAX_OPTIONS], int argc, char **argv)
{
    struct option names[CLI_MAX_OPTIONS + 1] = { 0 };
    char          letters[2 * CLI_MAX_OPTIONS + 2] = ":", *l = letters + 1;
    int           n = 0;
    for (int i = 0; i < t->n; i++) {
        const cli_option *o = t->option[i];
        if (is_argument(o))
            continue;
        names[n++] = (struct option){ o->name, o->kind == CLI_FLAG ? no_argument : required_argument, NULL, LONG_VALUE + i };
        if (o->letter) {
            *l++ = o->letter;
            if (o->kind != CLI_FLAG)
                *l++ = ':';
        }
    }
    *l     = 0;
    opterr = 0;
    optind = 0;
    for (int value = getopt_long(argc, argv, letters, names, NULL); value != -1;
         value = getopt_long(argc, argv, letters, names, NULL)) {
        const cli_option *o = value == '?' || value == ':' ? NULL : option_of(t, value);
        if (!o)
            return bad_option(c, t, value, argv);
        if (!read_value(c, o, optarg, argc))
            return false;
        for (int i = 0; i < t->n; i++)
            given[i] |= t->option[i] == o;
    }
    return true;
}

static bool read_arguments(cli *c, const cli_table *t, bool given[CLI_MAX_OPTIONS], int argc, char **argv)
{
    int at = optind;
    for (int i = 0; i < t->n; i++) {
        const cli_option *o = t->option[i];
        if (!is_argument(o))
            continue;
        for (; at < argc && (!given[i] || o->kind == CLI_ARG_REST); given[i] = true)
            if (!read_value(c, o, argv[at++], argc))
                return false;
    }
    return at == argc || epl_fail(c->ctx, EPL_ERR_ARGUMENT, "one word too many: '%s'", argv[at]);
}

static bool nothing_is_missing(cli *c, const cli_table *t, const bool given[CLI_MAX_OPTIONS])
{
    for (int i = 0; i < t->n; i++) {
        const cli_option *o = t->option[i];
        if (given[i])
            continue;
        if (o->kind == CLI_ARG || o->kind == CLI_ARG_REST)
            return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "%s is missing: %s (see `espalier %s --help`)", o->name, o->help, c->verb->name);
        if (o->required)
            return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--%s is missing: %s", o->name, o->help);
    }
    return true;
}

/* The word after which help is asked for, beside the option; "" where there is none; NULL if no help is asked for. */
static const char *help_subject(int argc, char **argv)
{
    const char *subject = "";
    bool        asked = false;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            asked = true;
        else if (argv[i][0] != '-' && !*subject)
            subject = argv[i];
    }
    return asked ? subject : NULL;
}

bool cli_parse(cli *c, const cli_option *options, int argc, char **argv)
{
    bool help = false;
    const cli_option common_json[] = { EPL_OPT_FLAG(0, "json", &c->json, "print results as JSON"), EPL_OPT_END };
    const cli_option common[] = {
        EPL_OPT_INT(0, "seed", &c->seed, 0, 0x1p62, "seed of everything random (default 0)"),
        EPL_OPT_INT(0, "threads", &c->n_threads, 0, 1024, "threads to use (default: the cores of this machine)"),
        EPL_OPT_FLAG('q', "quiet", &c->quiet, "no remarks and no progress"),
        EPL_OPT_FLAG('h', "help", &help, "this text"),
        EPL_OPT_END
    };
    cli_table t = { 0 };
    bool      given[CLI_MAX_OPTIONS] = { false };
    if (!flatten(&t, options, NULL) || (c->verb->json && !flatten(&t, common_json, "common options")) ||
        !flatten(&t, common, "common options"))
        return epl_fail(c->ctx, EPL_ERR_LIMIT, "more than %d options", CLI_MAX_OPTIONS);
    const char *subject = help_subject(argc, argv);
    if (subject) {
        c->helped = *subject && c->verb->help_about ? c->verb->help_about(c, subject) : cli_print_help(c, &t);
        return false;
    }
    if (!read_options(c, &t, given, argc, argv) || !read_arguments(c, &t, given, argc, argv) || !nothing_is_missing(c, &t, given))
        return false;
    epl_context_set_threads(c->ctx, (int)c->n_threads);
    return true;
}
