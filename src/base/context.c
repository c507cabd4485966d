/* context: allocator, first error and thread count. Messages longer than the buffer are cut. */
#include "base/context.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const error_names[] = {
    [EPL_OK] = "ok",
    [EPL_ERR_MEMORY] = "memory",
    [EPL_ERR_ARGUMENT] = "argument",
    [EPL_ERR_SHAPE] = "shape",
    [EPL_ERR_DTYPE] = "dtype",
    [EPL_ERR_FORMAT] = "format",
    [EPL_ERR_IO] = "io",
    [EPL_ERR_UNSUPPORTED] = "unsupported",
    [EPL_ERR_LIMIT] = "limit",
    [EPL_ERR_INTERRUPTED] = "interrupted",
};

const char *epl_error_name(epl_error e)
{
    return (size_t)e < EPL_COUNT(error_names) ? error_names[e] : "unknown";
}

/* The cores that this process may use, which is fewer than the machine has inside a container or under taskset. */
static int usable_cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    const int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    return n > 0 ? n : 1;
}

epl_context *epl_context_new(epl_context_opts o)
{
    const bool   own = o.allocator.resize && o.allocator.release;
    epl_context *ctx = own ? o.allocator.resize(o.allocator.user, NULL, sizeof *ctx) : malloc(sizeof *ctx);
    if (!ctx)
        return NULL;
    memset(ctx, 0, sizeof *ctx);
    if (own)
        ctx->allocator = o.allocator;
    epl_context_set_threads(ctx, o.n_threads);
    return ctx;
}

void epl_context_free(epl_context *ctx)
{
    if (!ctx)
        return;
    if (ctx->allocator.release)
        ctx->allocator.release(ctx->allocator.user, ctx);
    else
        free(ctx);
}

int epl_context_threads(const epl_context *ctx)
{
    return ctx->n_threads;
}

void epl_context_set_threads(epl_context *ctx, int n_threads)
{
    ctx->n_threads = n_threads >= 1 ? n_threads : usable_cores();
}

bool epl_fail(epl_context *ctx, epl_error code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    epl_failv(ctx, code, format, args);
    va_end(args);
    return false;
}

bool epl_failv(epl_context *ctx, epl_error code, const char *format, va_list args)
{
    if (!ctx || ctx->error != EPL_OK)
        return false;
    ctx->error = code;
    vsnprintf(ctx->message, sizeof ctx->message, format, args);
    return false;
}

epl_error epl_error_code(const epl_context *ctx)
{
    return ctx->error;
}

const char *epl_error_message(const epl_context *ctx)
{
    return ctx->error == EPL_OK ? "" : ctx->message;
}

void epl_error_clear(epl_context *ctx)
{
    ctx->error = EPL_OK;
    ctx->message[0] = 0;
}
