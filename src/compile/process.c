/* See process.h. */
#include "compile/process.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool start(epl_context *ctx, const char *dir, const char *const *argv, int output, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return epl_fail(ctx, EPL_ERR_MEMORY, "%s cannot be started", argv[0]);
    int error = posix_spawn_file_actions_addchdir_np(&actions, dir);
    error = error ? error : posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    error = error ? error : posix_spawn_file_actions_adddup2(&actions, output, 1);
    error = error ? error : posix_spawn_file_actions_adddup2(&actions, output, 2);
    error = error ? error : posix_spawnp(pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return !error || epl_fail(ctx, EPL_ERR_IO, "%s cannot be started in %s: %s", argv[0], dir, strerror(error));
}

static void read_all(int from, epl_text *to)
{
    char buffer[4096];
    for (;;) {
        const ssize_t n = read(from, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        epl_text_add_bytes(to, buffer, (size_t)n);
    }
}

static bool finish(epl_context *ctx, const char *const *argv, pid_t pid, const epl_text *said)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    const char *text = epl_text_str(said);
    const size_t skip = said->length > 1500 ? said->length - 1500 : 0;
    return WIFSIGNALED(status) ? epl_fail(ctx, EPL_ERR_IO, "%s was ended by signal %d: %s", argv[0], WTERMSIG(status), text + skip)
                               : epl_fail(ctx, EPL_ERR_IO, "%s ended with status %d: %s", argv[0], WEXITSTATUS(status), text + skip);
}

bool epl_process_run(epl_context *ctx, const char *dir, const char *const *argv, epl_text *output)
{
    int pipe_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC) != 0)
        return epl_fail(ctx, EPL_ERR_IO, "no pipe for %s: %s", argv[0], strerror(errno));
    pid_t      pid;
    epl_text   said    = EPL_TEXT(ctx);
    const bool started = start(ctx, dir, argv, pipe_ends[1], &pid);
    close(pipe_ends[1]);
    if (started)
        read_all(pipe_ends[0], &said);
    close(pipe_ends[0]);
    const bool ok = started && finish(ctx, argv, pid, &said);
    if (output)
        epl_text_add_bytes(output, epl_text_str(&said), said.length);
    epl_text_release(&said);
    return ok;
}
