/* yaml: pipelines and search spaces as trees. A thin layer over libyaml's events, for files that nobody vouches for: at most
 * 1 MiB, nested at most 64 deep, one document, no aliases, no duplicate keys. Types come from who asks, so `no` stays text.
 * Every complaint names the file and the line. */
#ifndef EPL_BASE_YAML_H
#define EPL_BASE_YAML_H

#include <espalier/base.h>

typedef enum epl_yaml_kind { EPL_YAML_TEXT, EPL_YAML_LIST, EPL_YAML_MAP } epl_yaml_kind;

typedef struct epl_yaml {
    epl_yaml_kind    kind;
    const char      *key;  /* in a map; else NULL */
    const char      *text; /* of a scalar, terminated */
    int              line; /* from 1 */
    const char      *file;
    struct epl_yaml *first, *next;
    epl_context     *ctx;
} epl_yaml;

/* The document's root; it lives in the arena. NULL on failure; an empty document is a failure. */
epl_yaml *epl_yaml_parse(epl_context *ctx, epl_arena *arena, const char *text, size_t length, const char *name);

const epl_yaml *epl_yaml_get(const epl_yaml *map, const char *key); /* NULL without an error, also for map NULL */

/* These fail with "file:line: ..." if the node is not what is asked. A NULL node gives `otherwise` (or NULL: not required). */
bool epl_yaml_fail(const epl_yaml *y, const char *format, ...) EPL_PRINTF(2, 3); /* returns false */
bool epl_yaml_text(const epl_yaml *map, const char *key, const char **out, const char *otherwise);
bool epl_yaml_int(const epl_yaml *map, const char *key, int64_t low, int64_t high, int64_t *out, int64_t otherwise);
bool epl_yaml_real(const epl_yaml *map, const char *key, double low, double high, double *out, double otherwise);
bool epl_yaml_flag(const epl_yaml *map, const char *key, bool *out, bool otherwise); /* true, false, yes, no, on, off */

/* Every key of the map is one of the n names; else a sentence with the closest. */
bool epl_yaml_known(const epl_yaml *map, const char *const *names, size_t n);

#endif
