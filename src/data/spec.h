/* spec: reads NAME:key=value,key=value against a list of keys with their defaults. Internal to the floor. */
#ifndef EPL_DATA_SPEC_H
#define EPL_DATA_SPEC_H

#include <espalier/base.h>

enum { EPL_SPEC_KEYS = 24 };

typedef struct epl_spec {
    epl_context *ctx;
    const char  *name; /* what it describes, for messages; borrowed */
    int          n;
    const char  *key[EPL_SPEC_KEYS], *value[EPL_SPEC_KEYS]; /* in the arena */
    epl_arena   *arena;
} epl_spec;

/* `keys` are the defaults, "count=2000,classes=4"; `text` is what the user gave for some of them, or NULL. A part without
 * '=' is the next value of the first key. Unknown keys are errors that list the known ones. Release it in any case. */
bool epl_spec_read(epl_spec *s, epl_context *ctx, const char *name, const char *keys, const char *text);
void epl_spec_release(epl_spec *s);

const char *epl_spec_text(const epl_spec *s, const char *key); /* "" where neither text nor default is given */
/* The value in [low, high], or an error that names key, value and bounds. */
bool epl_spec_int(const epl_spec *s, const char *key, int64_t low, int64_t high, int64_t *out);
bool epl_spec_real(const epl_spec *s, const char *key, double low, double high, double *out);
bool epl_spec_shape(const epl_spec *s, const char *key, int64_t *dim, int max_rank, int *rank); /* "8x8x1" */

/* Whole-text number, or false. */
bool epl_parse_i64(const char *text, int64_t *out);
bool epl_parse_f64(const char *text, double *out);

#endif
