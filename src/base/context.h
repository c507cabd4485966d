/* context.h: what a context holds; for the base floor only. */
#ifndef EPL_BASE_CONTEXT_H
#define EPL_BASE_CONTEXT_H

#include <espalier/base.h>

#define EPL_MESSAGE_BYTES 1024

struct epl_context {
    epl_allocator allocator; /* resize is NULL for the C library's */
    int           n_threads;
    epl_error     error;
    char          message[EPL_MESSAGE_BYTES]; /* in place: reporting that memory is out needs no memory */
};

#endif
