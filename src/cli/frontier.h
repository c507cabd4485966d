/* frontier: networks by size and quality, for `analyze`. */
#ifndef EPL_CLI_FRONTIER_H
#define EPL_CLI_FRONTIER_H

#include "training.h"

/* A row for each network, the smallest first; `out`: a plot, or NULL. */
bool cli_frontier(cli *c, const cli_words *files, const cli_data *data, int64_t batch, const char *out);

#endif
