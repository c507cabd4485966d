/* appender: POSIX files behind appender.h. */
#include "report/appender.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool fail(appender *a, const char *what)
{
    a->failed = true;
    return epl_fail(a->ctx, EPL_ERR_IO, "%s: %s: %s", a->path ? a->path : "log", what, strerror(errno));
}

bool epl_appender_open(appender *a, epl_context *ctx, const char *path, size_t keep)
{
    *a = (appender){ .ctx = ctx, .path = epl_strdup(ctx, path), .fd = -1, .failed = true };
    if (!a->path)
        return false;
    a->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (a->fd < 0)
        return fail(a, "cannot be opened for writing");
    if (ftruncate(a->fd, (off_t)keep) != 0)
        return fail(a, "cannot be cut");
    a->failed = false;
    return true;
}

static bool write_all(int fd, const char *data, size_t bytes)
{
    while (bytes) {
        const ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        bytes -= (size_t)n;
    }
    return true;
}

bool epl_appender_write(appender *a, const void *data, size_t bytes)
{
    if (a->failed)
        return false;
    const off_t before = lseek(a->fd, 0, SEEK_END);
    if (write_all(a->fd, data, bytes))
        return true;
    fail(a, "cannot be written");
    if (before >= 0 && ftruncate(a->fd, before) != 0)
        return false; // the next resume cuts the torn record
    return false;
}

bool epl_appender_close(appender *a)
{
    if (a->fd >= 0 && close(a->fd) != 0 && !a->failed)
        fail(a, "cannot be closed");
    if (a->path)
        epl_release(a->ctx, a->path);
    a->fd = -1;
    return !a->failed;
}
