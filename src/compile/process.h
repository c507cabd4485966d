/* process: runs a program to its end. */
#ifndef EPL_PROCESS_H
#define EPL_PROCESS_H

#include <espalier/base.h>

/* argv ends with NULL and argv[0] is looked up in PATH; `dir` is where it runs. What it prints, to both streams, goes to
 * `output` (NULL: is dropped). False if it cannot be started or does not end with status 0; the sentence then holds the end of
 * what it printed. */
bool epl_process_run(epl_context *ctx, const char *dir, const char *const *argv, epl_text *output);

#endif
