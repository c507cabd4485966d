/* memory: allocation through the context's allocator, checked products, arenas. */
#include "base/context.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LARGE_PAGE = 2 << 20, LARGE_BYTES = 4 * LARGE_PAGE };
enum { ALIGNMENT = 64, ARENA_FIRST_BYTES = 4096, ARENA_LARGEST_BYTES = 1 << 18 };

bool epl_mul_size(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

bool epl_mul_i64(int64_t a, int64_t b, int64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

static void *no_memory(epl_context *ctx, size_t bytes)
{
    epl_fail(ctx, EPL_ERR_MEMORY, "out of memory: %zu bytes asked for", bytes);
    return NULL;
}

/* A kernel that streams through a large tensor otherwise waits for the address of every 4 KiB of it. A wish: systems
 * may refuse it. */
static void wish_large_pages(void *p, size_t bytes)
{
#if defined(MADV_HUGEPAGE)
    const uintptr_t begin = ((uintptr_t)p + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE,
                    end = ((uintptr_t)p + bytes) / LARGE_PAGE * LARGE_PAGE;
    if (bytes >= LARGE_BYTES)
        madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)p, (void)bytes;
#endif
}

void *epl_alloc(epl_context *ctx, size_t bytes)
{
    const epl_allocator *a = &ctx->allocator;
    const size_t         n = bytes ? bytes : 1;
    void *p = a->resize ? a->resize(a->user, NULL, n) : calloc(1, n); // calloc leaves fresh pages untouched
    if (!p)
        return no_memory(ctx, n);
    if (a->resize)
        memset(p, 0, n);
    else
        wish_large_pages(p, n);
    return p;
}

void *epl_alloc_array(epl_context *ctx, size_t count, size_t size)
{
    size_t bytes;
    return epl_mul_size(count, size, &bytes) ? epl_alloc(ctx, bytes) : no_memory(ctx, SIZE_MAX);
}

void *epl_resize(epl_context *ctx, void *p, size_t count, size_t size)
{
    const epl_allocator *a = &ctx->allocator;
    size_t               bytes;
    if (!epl_mul_size(count, size, &bytes))
        return no_memory(ctx, SIZE_MAX);
    bytes = bytes ? bytes : 1;
    void *moved = a->resize ? a->resize(a->user, p, bytes) : realloc(p, bytes);
    return moved ? moved : no_memory(ctx, bytes);
}

void epl_release(epl_context *ctx, void *p)
{
    if (!p)
        return;
    if (ctx->allocator.release)
        ctx->allocator.release(ctx->allocator.user, p);
    else
        free(p);
}

char *epl_strdup(epl_context *ctx, const char *s)
{
    const size_t n = strlen(s) + 1;
    char        *copy = epl_alloc(ctx, n);
    return copy ? memcpy(copy, s, n) : NULL;
}

/* The block that was really allocated is remembered in the word before the aligned address. */
void *epl_alloc_aligned(epl_context *ctx, size_t bytes)
{
    if (bytes > SIZE_MAX - 2 * ALIGNMENT)
        return no_memory(ctx, bytes);
    unsigned char *block = epl_alloc(ctx, bytes + ALIGNMENT + sizeof(void *));
    if (!block)
        return NULL;
    const uintptr_t start = (uintptr_t)block + sizeof(void *);
    unsigned char  *p = block + sizeof(void *) + (ALIGNMENT - start % ALIGNMENT) % ALIGNMENT;
    memcpy(p - sizeof(void *), &block, sizeof block);
    return p;
}

void epl_release_aligned(epl_context *ctx, void *p)
{
    if (!p)
        return;
    void *block;
    memcpy(&block, (unsigned char *)p - sizeof(void *), sizeof block);
    epl_release(ctx, block);
}

bool epl_grow(epl_context *ctx, void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    if (count > SIZE_MAX / 2 - 8)
        return no_memory(ctx, SIZE_MAX) != NULL;
    const size_t wanted = count < 8 ? 8 : count * 2;
    void        *old;
    memcpy(&old, array, sizeof old); // `array` is a T **, whatever T is
    void *grown = epl_resize(ctx, old, wanted, size);
    if (!grown)
        return false;
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}

/* ---- arena: a list of blocks, the newest first; an allocation that does not fit starts another block ---- */
typedef struct block {
    struct block *next;
    size_t        used, size;
} block;

_Static_assert(sizeof(block) <= 32, "the header of a block keeps its contents 16-byte aligned");
enum { BLOCK_HEADER = 32 };

struct epl_arena {
    epl_context *ctx;
    block       *newest;
    size_t       next_bytes;
};

epl_arena *epl_arena_new(epl_context *ctx)
{
    epl_arena *a = epl_alloc(ctx, sizeof *a);
    if (a)
        *a = (epl_arena){ .ctx = ctx, .next_bytes = ARENA_FIRST_BYTES };
    return a;
}

void epl_arena_free(epl_arena *a)
{
    if (!a)
        return;
    for (block *b = a->newest, *next; b; b = next) {
        next = b->next;
        epl_release(a->ctx, b);
    }
    epl_release(a->ctx, a);
}

static block *add_block(epl_arena *a, size_t bytes)
{
    const size_t size = bytes > a->next_bytes ? bytes : a->next_bytes;
    block       *b = epl_alloc(a->ctx, size + BLOCK_HEADER);
    if (!b)
        return NULL;
    *b = (block){ .next = a->newest, .size = size };
    a->newest = b;
    if (a->next_bytes < ARENA_LARGEST_BYTES)
        a->next_bytes *= 2;
    return b;
}

void *epl_arena_alloc(epl_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return no_memory(a->ctx, bytes);
    const size_t n = (bytes + 15) / 16 * 16 + (bytes == 0) * 16;
    block       *b = a->newest;
    if (!b || b->size - b->used < n)
        b = add_block(a, n);
    if (!b)
        return NULL;
    void *p = (unsigned char *)b + BLOCK_HEADER + b->used;
    b->used += n;
    return p;
}

char *epl_arena_strdup(epl_arena *a, const char *s)
{
    return epl_arena_copy(a, s, strlen(s) + 1);
}

void *epl_arena_copy(epl_arena *a, const void *data, size_t bytes)
{
    void *p = epl_arena_alloc(a, bytes);
    if (p && bytes)
        memcpy(p, data, bytes);
    return p;
}
