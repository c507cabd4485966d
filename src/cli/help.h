/* help: the text of --help, made from a verb's table of options. */
#ifndef EPL_CLI_HELP_H
#define EPL_CLI_HELP_H

#include "cli.h"

enum { CLI_MAX_OPTIONS = 96 };

/* All options of a verb, groups opened; the heading of those in no group is NULL. */
typedef struct cli_table {
    int               n;
    const cli_option *option[CLI_MAX_OPTIONS];
    const char       *heading[CLI_MAX_OPTIONS];
} cli_table;

bool cli_print_help(cli *c, const cli_table *t);

/* The list of verbs: what `espalier help` prints. */
bool cli_print_overview(cli *c, const cli_verb *const *verbs, size_t n);

/* Adds a text in lines of at most 100 columns, all but the first indented; `column` is where the first begins. */
void cli_add_wrapped(epl_text *out, const char *text, int indent, int column);

#endif
