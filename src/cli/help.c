/* help: see help.h. */
#include "help.h"

#include <string.h>

enum { WIDTH = 100, HELP_COLUMN = 30 };

void cli_add_wrapped(epl_text *out, const char *text, int indent, int column)
{
    while (*text) {
        const int n = (int)strcspn(text, " \n");
        if (column > indent && column + 1 + n > WIDTH) {
            epl_text_addf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            epl_text_add(out, " ");
            column++;
        }
        epl_text_add_bytes(out, text, (size_t)n);
        column += n;
        text += n;
        if (*text == '\n') {
            epl_text_addf(out, "\n%*s", indent, "");
            column = indent;
        }
        text += *text != 0;
    }
    epl_text_add(out, "\n");
}

static bool is_argument(const cli_option *o) { return o->kind == CLI_ARG || o->kind == CLI_ARG_MAY || o->kind == CLI_ARG_REST; }

/* "MODEL" of "model": arguments stand in capitals. */
static void add_upper(epl_text *out, const char *name)
{
    for (; *name; name++) {
        const char upper = *name >= 'a' && *name <= 'z' ? (char)(*name - 32) : *name;
        epl_text_add_bytes(out, &upper, 1);
    }
}

static void add_usage(epl_text *out, const cli_verb *verb, const cli_table *t)
{
    epl_text_addf(out, "usage: espalier %s [OPTIONS]", verb->name);
    for (int i = 0; i < t->n; i++)
        if (t->option[i]->required)
            epl_text_addf(out, " %s%s %s", t->option[i]->letter ? (char[]){ '-', t->option[i]->letter, 0 } : "--",
                          t->option[i]->letter ? "" : t->option[i]->name, t->option[i]->value);
    for (int i = 0; i < t->n; i++) {
        const cli_option *o = t->option[i];
        if (!is_argument(o))
            continue;
        epl_text_add(out, o->kind == CLI_ARG_MAY ? " [" : " ");
        add_upper(out, o->name);
        epl_text_add(out, o->kind == CLI_ARG_MAY ? "]" : o->kind == CLI_ARG_REST ? "..." : "");
    }
    epl_text_add(out, "\n");
}

/* " (default 64)", from what the target holds. */
static void add_default(epl_text *out, const cli_option *o)
{
    char number[32];
    if (o->kind == CLI_INT && *(int64_t *)o->target)
        epl_text_addf(out, " (default %lld)", (long long)*(int64_t *)o->target);
    if (o->kind == CLI_REAL && *(double *)o->target != 0) {
        epl_format_f64(number, *(double *)o->target);
        epl_text_addf(out, " (default %s)", number);
    }
    const char *text = o->kind == CLI_TEXT || o->kind == CLI_CHOICE || o->kind == CLI_ARG_MAY ? *(const char **)o->target : NULL;
    if (text && *text)
        epl_text_addf(out, " (default %s)", text);
}

static void add_option(epl_text *out, const cli_option *o, epl_context *ctx)
{
    const size_t before = out->length;
    epl_text help = EPL_TEXT(ctx);
    if (is_argument(o)) {
        epl_text_add(out, "  ");
        add_upper(out, o->name);
    } else {
        epl_text_addf(out, o->letter ? "  -%c, " : "      ", o->letter);
        epl_text_addf(out, "--%s%s%s", o->name, o->kind == CLI_FLAG ? "" : " ", o->kind == CLI_FLAG ? "" : o->value);
    }
    const int column = (int)(out->length - before);
    if (column + 2 > HELP_COLUMN)
        epl_text_addf(out, "\n%*s", HELP_COLUMN, "");
    else
        epl_text_addf(out, "%*s", HELP_COLUMN - column, "");
    epl_text_add(&help, o->help);
    add_default(&help, o);
    if (o->kind == CLI_REPEATED && !strstr(o->help, "several"))
        epl_text_add(&help, "; may be given several times");
    cli_add_wrapped(out, epl_text_str(&help), HELP_COLUMN, HELP_COLUMN);
    epl_text_release(&help);
}

static void add_options(epl_text *out, const cli_table *t, epl_context *ctx)
{
    const char *heading = "";
    for (int i = 0; i < t->n; i++)
        if (is_argument(t->option[i]))
            add_option(out, t->option[i], ctx);
    for (int i = 0; i < t->n; i++) {
        if (is_argument(t->option[i]))
            continue;
        const char *own = t->heading[i] ? t->heading[i] : "options";
        if (strcmp(own, heading) != 0)
            epl_text_addf(out, "\n%s:\n", own);
        heading = own;
        add_option(out, t->option[i], ctx);
    }
}

bool cli_print_help(cli *c, const cli_table *t)
{
    epl_text out = EPL_TEXT(c->ctx);
    epl_text_addf(&out, "espalier %s: %s\n\n", c->verb->name, c->verb->summary);
    add_usage(&out, c->verb, t);
    epl_text_add(&out, "\n");
    if (c->verb->about) {
        cli_add_wrapped(&out, c->verb->about, 0, 0);
        epl_text_add(&out, "\n");
    }
    add_options(&out, t, c->ctx);
    epl_text_add(&out, "\nexamples:\n  ");
    for (const char *s = c->verb->examples; *s; s++) {
        epl_text_add_bytes(&out, s, 1);
        if (*s == '\n')
            epl_text_add(&out, "  ");
    }
    epl_text_add(&out, "\n");
    return cli_print_take(c, epl_text_detach(&out));
}

bool cli_print_overview(cli *c, const cli_verb *const *verbs, size_t n)
{
    epl_text out = EPL_TEXT(c->ctx);
    epl_text_add(&out, "espalier: trains, prunes and compiles neural networks\n\n"
                       "usage: espalier VERB [OPTIONS] [ARGUMENTS]\n\n");
    for (size_t i = 0; i < n; i++)
        epl_text_addf(&out, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    epl_text_add(&out, "\n`espalier VERB --help` tells the rest; `espalier --version` the version.\n");
    return cli_print_take(c, epl_text_detach(&out));
}
