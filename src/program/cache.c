/* cache: programs by graph, binding and options; see the public header. */
#include "program/program.h"

typedef struct entry {
    uint64_t     key;
    epl_program *program;
    int64_t      used; /* when, by the cache's own clock */
} entry;

struct epl_program_cache {
    epl_context *ctx;
    entry       *entries;
    int          n, capacity;
    int64_t      clock;
};

epl_program_cache *epl_program_cache_new(epl_context *ctx, int capacity)
{
    epl_program_cache *c = epl_alloc(ctx, sizeof *c);
    if (!c)
        return NULL;
    *c = (epl_program_cache){ .ctx = ctx, .capacity = capacity > 0 ? capacity : 1 };
    c->entries = epl_alloc_array(ctx, (size_t)c->capacity, sizeof *c->entries);
    if (!c->entries) {
        epl_release(ctx, c);
        return NULL;
    }
    return c;
}

void epl_program_cache_free(epl_program_cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->n; i++)
        epl_program_free(c->entries[i].program);
    epl_release(c->ctx, c->entries);
    epl_release(c->ctx, c);
}

static uint64_t key_of(const epl_graph *g, const epl_weights *w, const char *dim, int64_t size, epl_program_opts o)
{
    uint64_t h = epl_graph_hash(g);
    h = epl_hash(&w, sizeof(const epl_weights *), h); // a program writes to, and points into, one set of weights
    h = epl_hash(dim ? dim : "", strlen(dim ? dim : ""), h);
    h = epl_hash(&size, sizeof size, h);
    const uint64_t flags[] = { o.frozen, o.sparse, o.shifts, o.block_bytes, o.reference, o.no_fusion, o.plan_only, o.memory_limit,
                               (uint64_t)o.unroll, o.plain };
    h = epl_hash(flags, sizeof flags, h);
    return epl_hash(o.isa ? o.isa : "", strlen(o.isa ? o.isa : ""), h);
}

static entry *least_recently_used(epl_program_cache *c)
{
    entry *oldest = &c->entries[0];
    for (int i = 1; i < c->n; i++)
        if (c->entries[i].used < oldest->used)
            oldest = &c->entries[i];
    return oldest;
}

epl_program *epl_program_cached(epl_program_cache *c, const epl_graph *g, epl_weights *w, const char *dim, int64_t size,
                                epl_program_opts o)
{
    const uint64_t key = key_of(g, w, dim, size, o);
    for (int i = 0; i < c->n; i++)
        if (c->entries[i].key == key) {
            c->entries[i].used = ++c->clock;
            return c->entries[i].program;
        }
    epl_graph *bound = epl_graph_copy(g);
    if (!bound)
        return NULL;
    epl_program *p = NULL;
    if (dim && !epl_graph_bind(bound, dim, size))
        epl_fail(c->ctx, EPL_ERR_ARGUMENT, "graph '%s' has no input with a dimension named '%s'", epl_graph_name(g), dim);
    else
        p = epl_program_new(bound, w, o);
    epl_graph_free(bound);
    if (!p)
        return NULL;
    entry *at = c->n < c->capacity ? &c->entries[c->n++] : least_recently_used(c);
    epl_program_free(at->program);
    *at = (entry){ key, p, ++c->clock };
    return p;
}
