/* files: mapping for reading; writing beside and renaming. Leaves out: other processes that shorten a mapped file while it is
 * being read (the system then ends this one). */
#include <espalier/base.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool fail_errno(epl_context *ctx, const char *doing, const char *path)
{
    const int code = errno;
    return epl_fail(ctx, EPL_ERR_IO, "cannot %s '%s': %s", doing, path, strerror(code));
}

static bool map_descriptor(epl_context *ctx, const char *path, int fd, epl_map *out)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return fail_errno(ctx, "read", path);
    if (!S_ISREG(info.st_mode))
        return epl_fail(ctx, EPL_ERR_IO, "cannot read '%s': it is %s", path,
                        S_ISDIR(info.st_mode) ? "a folder" : "not a regular file");
    if (info.st_size == 0) {
        *out = (epl_map){ .data = (const unsigned char *)"" };
        return true;
    }
    // Private and writable, so that tensors may lie in the mapping; only pages that are written cost memory.
    void *p = mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED)
        return fail_errno(ctx, "map", path);
    *out = (epl_map){ .data = p, .size = (size_t)info.st_size };
    return true;
}

bool epl_map_open(epl_context *ctx, const char *path, epl_map *out)
{
    *out = (epl_map){ 0 };
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe must not make the open itself wait
    if (fd < 0)
        return fail_errno(ctx, "open", path);
    const bool ok = map_descriptor(ctx, path, fd, out);
    close(fd);
    return ok;
}

void epl_map_close(epl_map *m)
{
    if (m->size)
        munmap((void *)(uintptr_t)m->data, m->size);
    *m = (epl_map){ 0 };
}

/* ---- writing ---- */
enum { WRITER_BUFFER = 1 << 16 };

struct epl_writer {
    epl_context  *ctx;
    char         *path, *beside; /* beside is NULL where the target is a device or a pipe, written directly */
    int           fd;
    int           failed; /* errno of the first failure */
    size_t        used;
    unsigned char buffer[WRITER_BUFFER];
};

static void writer_free(epl_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        close(w->fd);
    epl_release(w->ctx, w->path);
    epl_release(w->ctx, w->beside);
    epl_release(w->ctx, w);
}

/* A new file beside the target, with the target's permissions if it exists. */
static bool open_beside(epl_writer *w, const struct stat *old)
{
    epl_text name = EPL_TEXT(w->ctx);
    for (int try = 0; try < 100; try++) {
        epl_text_release(&name);
        epl_text_addf(&name, "%s.part-%ld-%d", w->path, (long)getpid(), try);
        if (name.failed)
            break;
        w->fd = open(name.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd >= 0 || errno != EEXIST)
            break;
    }
    if (w->fd < 0 && !name.failed)
        fail_errno(w->ctx, "write", w->path);
    if (w->fd < 0) {
        epl_text_release(&name);
        return false;
    }
    if (old && fchmod(w->fd, old->st_mode & 0777) != 0)
        w->failed = errno;
    w->beside = name.data; // the text's memory is now the writer's
    return true;
}

static bool writer_open_target(epl_writer *w)
{
    struct stat info;
    const bool  exists = stat(w->path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode))
        return epl_fail(w->ctx, EPL_ERR_IO, "cannot write '%s': it is a directory", w->path);
    if (!exists || S_ISREG(info.st_mode))
        return open_beside(w, exists ? &info : NULL);
    w->fd = open(w->path, O_WRONLY | O_CLOEXEC);
    return w->fd >= 0 || fail_errno(w->ctx, "write", w->path);
}

epl_writer *epl_writer_open(epl_context *ctx, const char *path)
{
    epl_writer *w = epl_alloc(ctx, sizeof *w);
    if (!w)
        return NULL;
    w->ctx = ctx;
    w->fd = -1;
    char *resolved = realpath(path, NULL); // a symbolic link stays, its target is replaced
    w->path = epl_strdup(ctx, resolved ? resolved : path);
    free(resolved);
    if (w->path && writer_open_target(w))
        return w;
    writer_free(w);
    return NULL;
}

static void write_all(epl_writer *w, const unsigned char *data, size_t bytes)
{
    while (bytes > 0 && !w->failed) {
        const ssize_t n = write(w->fd, data, bytes);
        if (n > 0) {
            data += n;
            bytes -= (size_t)n;
        } else if (n < 0 && errno != EINTR) {
            w->failed = errno;
        }
    }
}

bool epl_writer_write(epl_writer *w, const void *data, size_t bytes)
{
    if (bytes > sizeof w->buffer - w->used) {
        write_all(w, w->buffer, w->used);
        w->used = 0;
    }
    if (bytes > sizeof w->buffer) {
        write_all(w, data, bytes);
    } else if (bytes > 0) {
        memcpy(w->buffer + w->used, data, bytes);
        w->used += bytes;
    }
    return !w->failed;
}

bool epl_writer_commit(epl_writer *w)
{
    write_all(w, w->buffer, w->used);
    if (!w->failed && w->beside && fsync(w->fd) != 0)
        w->failed = errno;
    if (close(w->fd) != 0 && !w->failed)
        w->failed = errno;
    w->fd = -1;
    if (!w->failed && w->beside && rename(w->beside, w->path) != 0)
        w->failed = errno;
    const bool ok = !w->failed;
    if (!ok) {
        errno = w->failed;
        fail_errno(w->ctx, "write", w->path);
        if (w->beside)
            unlink(w->beside);
    }
    writer_free(w);
    return ok;
}

void epl_writer_abandon(epl_writer *w)
{
    if (w && w->beside)
        unlink(w->beside);
    writer_free(w);
}

bool epl_write_file(epl_context *ctx, const char *path, const void *data, size_t bytes)
{
    epl_writer *w = epl_writer_open(ctx, path);
    if (!w)
        return false;
    epl_writer_write(w, data, bytes);
    return epl_writer_commit(w);
}

bool epl_make_directories(epl_context *ctx, const char *path)
{
    char *copy = epl_strdup(ctx, path);
    if (!copy)
        return false;
    bool ok = true;
    for (char *p = copy; ok && *p; p++) {
        if (p[1] != '/' && p[1] != 0)
            continue;
        const char kept = p[1];
        p[1] = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            ok = fail_errno(ctx, "create directory", copy);
        p[1] = kept;
    }
    struct stat info;
    if (ok && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)))
        ok = epl_fail(ctx, EPL_ERR_IO, "cannot create directory '%s': a file of that name is in the way", path);
    epl_release(ctx, copy);
    return ok;
}

bool epl_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
