/* appender: a file that grows by whole records and may be continued after a crash. Each record is one write at the end of
 * the file; if the disk refuses part of it, what was written of it is taken back. */
#ifndef EPL_REPORT_APPENDER_H
#define EPL_REPORT_APPENDER_H

#include <espalier/base.h>

typedef struct appender {
    epl_context *ctx;
    char        *path;
    int          fd;     /* -1: not open */
    bool         failed;
} appender;

/* Opens or creates the file and cuts it to its first `keep` bytes. After a failure the appender can only be closed. */
bool epl_appender_open(appender *a, epl_context *ctx, const char *path, size_t keep);
bool epl_appender_write(appender *a, const void *data, size_t bytes);
bool epl_appender_close(appender *a); /* false if anything failed since it was opened */

#endif
