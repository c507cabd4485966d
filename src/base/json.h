/* json: reading JSON. The only place that knows the JSON library. Writing is public: espalier/base.h. */
#ifndef EPL_BASE_JSON_H
#define EPL_BASE_JSON_H

#include <espalier/base.h>

/* ---- reading ----
 * A parsed document; every other epl_json is a part of one and dies with it. All questions accept NULL, which answers like a
 * value of another kind, so that a chain of look-ups is checked once at its end. */
typedef struct epl_json epl_json;

typedef enum epl_json_kind {
    EPL_JSON_NONE = 0, /* no value: a missing member */
    EPL_JSON_NULL, EPL_JSON_BOOL, EPL_JSON_INTEGER, EPL_JSON_REAL, EPL_JSON_STRING, EPL_JSON_ARRAY, EPL_JSON_OBJECT
} epl_json_kind;

/* Any value may be the document. Refused: repeated members, bytes after the value, U+0000 in strings, integers beyond 64 bits,
 * nesting deeper than 2048. `name` starts the message, which tells line and column. The caller owns the result. */
epl_json *epl_json_parse(epl_context *ctx, const void *data, size_t bytes, const char *name);
epl_json *epl_json_load(epl_context *ctx, const char *path);
void      epl_json_free(epl_json *document); /* accepts NULL */

epl_json_kind   epl_json_kind_of(const epl_json *j);
size_t          epl_json_length(const epl_json *j);               /* elements or members; 0 for anything else */
const epl_json *epl_json_at(const epl_json *array, size_t i);     /* NULL beyond the end */
const epl_json *epl_json_get(const epl_json *object, const char *key);
const char     *epl_json_string(const epl_json *j);               /* NULL if it is none */
bool            epl_json_i64(const epl_json *j, int64_t *x);      /* integers only; else false and x stays */
bool            epl_json_f64(const epl_json *j, double *x);       /* integers too */
bool            epl_json_bool(const epl_json *j, bool *x);

/* Members in file order: for (epl_json_member m = epl_json_first(o); m.key; m = epl_json_next(o, m)) */
typedef struct epl_json_member {
    const char     *key;
    const epl_json *value;
    void           *place; /* private */
} epl_json_member;

epl_json_member epl_json_first(const epl_json *object);
epl_json_member epl_json_next(const epl_json *object, epl_json_member m);

#endif
