/* exits: the options of a rule by which samples leave a network early. */
#ifndef EPL_CLI_EXITS_H
#define EPL_CLI_EXITS_H

#include "cli.h"

typedef struct cli_exit_rule {
    double      threshold;
    bool        entropy, last;
    int64_t     patience;
} cli_exit_rule;

#define CLI_EXIT_RULE { .threshold = 0.9, .patience = 1 }

#define CLI_OPT_EXIT_RULE(r)                                                                                                   \
    EPL_OPT_REAL('t', "threshold", &(r)->threshold, 0, 1e9, "a sample leaves at the first exit whose confidence is at least this"), \
    EPL_OPT_FLAG(0, "entropy", &(r)->entropy, "the threshold is of the entropy, in nats, which has to be at most this"),       \
    EPL_OPT_INT(0, "exit-patience", &(r)->patience, 1, 1000, "and so many exits in a row have to agree"),                           \
    EPL_OPT_FLAG(0, "last", &(r)->last, "if no exit is sure the final classifier speaks, not the surest of all")

epl_exit_rule cli_exit_rule_of(const cli_exit_rule *r);

#endif
