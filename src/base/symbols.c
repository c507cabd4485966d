/* symbols: see symbols.h. */
#include "base/symbols.h"

#include <string.h>

/* The slot that holds the name, or the free one where it would go. */
static epl_symbol *slot_of(const epl_symbols *t, const char *name, size_t length)
{
    size_t i = (size_t)epl_hash(name, length, 0) & (t->capacity - 1);
    while (t->slots[i].name && (t->slots[i].length != length || memcmp(t->slots[i].name, name, length) != 0))
        i = (i + 1) & (t->capacity - 1);
    return &t->slots[i];
}

static bool enlarge(epl_context *ctx, epl_symbols *t)
{
    epl_symbols bigger = { .capacity = t->capacity ? 2 * t->capacity : 64, .count = t->count };
    bigger.slots = epl_alloc_array(ctx, bigger.capacity, sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < t->capacity; i++)
        if (t->slots[i].name)
            *slot_of(&bigger, t->slots[i].name, t->slots[i].length) = t->slots[i];
    epl_release(ctx, t->slots);
    *t = bigger;
    return true;
}

epl_symbol *epl_symbols_find(const epl_symbols *t, const char *name, size_t length)
{
    epl_symbol *s = t->capacity ? slot_of(t, name, length) : NULL;
    return s && s->name ? s : NULL;
}

bool epl_symbols_put(epl_context *ctx, epl_symbols *t, const char *name, size_t length, void *value)
{
    if (2 * (t->count + 1) > t->capacity && !enlarge(ctx, t))
        return false;
    epl_symbol *s = slot_of(t, name, length);
    t->count += s->name == NULL;
    *s = (epl_symbol){ name, length, value };
    return true;
}

void epl_symbols_release(epl_context *ctx, epl_symbols *t)
{
    epl_release(ctx, t->slots);
    *t = (epl_symbols){ 0 };
}
