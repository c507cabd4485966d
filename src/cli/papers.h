/* papers: what the verbs about papers share. */
#ifndef EPL_CLI_PAPERS_H
#define EPL_CLI_PAPERS_H

#include "cli.h"

#include "papers/common/paper.h"

/* The paper of that name; false with the closest one if there is none. */
bool cli_find_paper(cli *c, const char *slug, const paper **out);

#endif
