/* symbols: a table from names to pointers. Names are borrowed and need no terminator. Zero-initialise. */
#ifndef EPL_BASE_SYMBOLS_H
#define EPL_BASE_SYMBOLS_H

#include <espalier/base.h>

typedef struct epl_symbol {
    const char *name; /* NULL: a free slot */
    size_t      length;
    void       *value;
} epl_symbol;

typedef struct epl_symbols {
    epl_symbol *slots; /* open addressing; capacity is a power of two, at most half full */
    size_t      count, capacity;
} epl_symbols;

epl_symbol *epl_symbols_find(const epl_symbols *t, const char *name, size_t length); /* NULL if it is not there */
bool        epl_symbols_put(epl_context *ctx, epl_symbols *t, const char *name, size_t length, void *value); /* or replaces;
                                                                                          false when memory is out */
void        epl_symbols_release(epl_context *ctx, epl_symbols *t);

#endif
