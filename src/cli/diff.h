/* diff: how the difference of two networks is printed, for diff and for verify. */
#ifndef EPL_CLI_DIFF_H
#define EPL_CLI_DIFF_H

#include "cli.h"

typedef struct cli_diff_view {
    bool    structure; /* structure and weights, too: not for the outputs alone */
    bool    ran, layers;
    int64_t top;
} cli_diff_view;

bool cli_diff_print(cli *c, const epl_diff *d, cli_diff_view v);

#endif
