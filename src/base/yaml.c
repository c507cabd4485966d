/* yaml: see yaml.h. */
#include "base/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = 64 };

typedef struct reader {
    epl_context  *ctx;
    epl_arena    *arena;
    const char   *name;
    yaml_parser_t parser;
} reader;

static bool fail_at(const reader *r, size_t line, const char *what)
{
    return epl_fail(r->ctx, EPL_ERR_FORMAT, "%s:%zu: %s", r->name, line + 1, what);
}

static bool next_event(reader *r, yaml_event_t *e)
{
    if (yaml_parser_parse(&r->parser, e))
        return true;
    return fail_at(r, r->parser.problem_mark.line, r->parser.problem ? r->parser.problem : "this is not YAML");
}

static epl_yaml *node_new(reader *r, epl_yaml_kind kind, const yaml_event_t *e)
{
    epl_yaml *y = epl_arena_alloc(r->arena, sizeof *y);
    if (y)
        *y = (epl_yaml){ .kind = kind, .line = (int)e->start_mark.line + 1, .file = r->name, .ctx = r->ctx };
    return y;
}

static epl_yaml *read_node(reader *r, yaml_event_t *e, int depth);

static bool has_key(const epl_yaml *map, const char *key)
{
    for (const epl_yaml *y = map->first; y; y = y->next)
        if (strcmp(y->key, key) == 0)
            return true;
    return false;
}

/* The items of a list, or the keys and values of a map, up to its end. */
static bool read_items(reader *r, epl_yaml *parent, int depth)
{
    epl_yaml **end = &parent->first;
    for (;;) {
        yaml_event_t e;
        const char  *key = NULL;
        if (!next_event(r, &e))
            return false;
        if (e.type == YAML_SEQUENCE_END_EVENT || e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return true;
        }
        if (parent->kind == EPL_YAML_MAP) {
            const size_t line = e.start_mark.line;
            if (e.type == YAML_SCALAR_EVENT)
                key = epl_arena_strdup(r->arena, (const char *)e.data.scalar.value);
            yaml_event_delete(&e);
            if (!key)
                return fail_at(r, line, "a key must be plain text");
            if (has_key(parent, key))
                return epl_fail(r->ctx, EPL_ERR_FORMAT, "%s:%zu: the key '%s' is there twice", r->name, line + 1, key);
            if (!next_event(r, &e))
                return false;
        }
        epl_yaml *y = read_node(r, &e, depth + 1);
        if (!y)
            return false;
        y->key = key;
        *end   = y;
        end    = &y->next;
    }
}

/* The node that begins with *e, which is consumed. */
static epl_yaml *read_node(reader *r, yaml_event_t *e, int depth)
{
    epl_yaml *y  = NULL;
    bool      ok = false;
    if (depth > MAX_DEPTH) {
        fail_at(r, e->start_mark.line, "nested more than 64 deep");
    } else if (e->type == YAML_SCALAR_EVENT) {
        y = node_new(r, EPL_YAML_TEXT, e);
        if (y)
            y->text = epl_arena_strdup(r->arena, (const char *)e->data.scalar.value);
        ok = y && y->text;
    } else if (e->type == YAML_SEQUENCE_START_EVENT || e->type == YAML_MAPPING_START_EVENT) {
        y  = node_new(r, e->type == YAML_SEQUENCE_START_EVENT ? EPL_YAML_LIST : EPL_YAML_MAP, e);
        ok = y && read_items(r, y, depth);
    } else {
        fail_at(r, e->start_mark.line, e->type == YAML_ALIAS_EVENT ? "aliases are not allowed" : "a value is missing");
    }
    yaml_event_delete(e);
    return ok ? y : NULL;
}

epl_yaml *epl_yaml_parse(epl_context *ctx, epl_arena *arena, const char *text, size_t length, const char *name)
{
    reader    r    = { .ctx = ctx, .arena = arena, .name = epl_arena_strdup(arena, name) };
    epl_yaml *root = NULL;
    if (length > MAX_BYTES) {
        epl_fail(ctx, EPL_ERR_LIMIT, "%s: %zu bytes, at most %d are read", name, length, MAX_BYTES);
        return NULL;
    }
    if (!r.name || !yaml_parser_initialize(&r.parser))
        return NULL;
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
    yaml_event_t e;
    while (next_event(&r, &e)) {
        if (e.type == YAML_STREAM_START_EVENT || e.type == YAML_DOCUMENT_START_EVENT) {
            yaml_event_delete(&e);
            continue;
        }
        if (e.type == YAML_STREAM_END_EVENT || e.type == YAML_DOCUMENT_END_EVENT) {
            fail_at(&r, e.start_mark.line, "the file is empty");
            yaml_event_delete(&e);
            break;
        }
        root = read_node(&r, &e, 0);
        break;
    }
    yaml_parser_delete(&r.parser);
    return root;
}

/* ---- asking ---- */

const epl_yaml *epl_yaml_get(const epl_yaml *map, const char *key)
{
    for (const epl_yaml *y = map && map->kind == EPL_YAML_MAP ? map->first : NULL; y; y = y->next)
        if (strcmp(y->key, key) == 0)
            return y;
    return NULL;
}

bool epl_yaml_fail(const epl_yaml *y, const char *format, ...)
{
    char    sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return epl_fail(y->ctx, EPL_ERR_FORMAT, "%s:%d: %s", y->file, y->line, sentence);
}

bool epl_yaml_text(const epl_yaml *map, const char *key, const char **out, const char *otherwise)
{
    const epl_yaml *y = epl_yaml_get(map, key);
    if (y && y->kind != EPL_YAML_TEXT)
        return epl_yaml_fail(y, "'%s' must be plain text", key);
    *out = y ? y->text : otherwise;
    return true;
}

bool epl_yaml_real(const epl_yaml *map, const char *key, double low, double high, double *out, double otherwise)
{
    const epl_yaml *y = epl_yaml_get(map, key);
    *out = otherwise;
    if (!y)
        return true;
    char *end = NULL;
    errno = 0;
    const double x = y->kind == EPL_YAML_TEXT ? strtod(y->text, &end) : 0;
    if (!end || end == y->text || *end || !isfinite(x))
        return epl_yaml_fail(y, "'%s' is '%s', but must be a number", key, y->kind == EPL_YAML_TEXT ? y->text : "...");
    if (x < low || x > high)
        return epl_yaml_fail(y, "'%s' is %g, but must be from %g to %g", key, x, low, high);
    *out = x;
    return true;
}

bool epl_yaml_int(const epl_yaml *map, const char *key, int64_t low, int64_t high, int64_t *out, int64_t otherwise)
{
    double x;
    if (!epl_yaml_real(map, key, (double)low, (double)high, &x, (double)otherwise))
        return false;
    if (x != floor(x))
        return epl_yaml_fail(epl_yaml_get(map, key), "'%s' is %g, but must be a whole number", key, x);
    *out = epl_yaml_get(map, key) ? (int64_t)x : otherwise;
    return true;
}

bool epl_yaml_flag(const epl_yaml *map, const char *key, bool *out, bool otherwise)
{
    static const char *const words[] = { "false", "no", "off", "true", "yes", "on" };
    const epl_yaml *y = epl_yaml_get(map, key);
    *out = otherwise;
    if (!y)
        return true;
    for (size_t i = 0; y->kind == EPL_YAML_TEXT && i < EPL_COUNT(words); i++)
        if (strcmp(y->text, words[i]) == 0) {
            *out = i >= 3;
            return true;
        }
    return epl_yaml_fail(y, "'%s' must be true or false", key);
}

bool epl_yaml_known(const epl_yaml *map, const char *const *names, size_t n)
{
    for (const epl_yaml *y = map->first; y; y = y->next) {
        bool known = false;
        for (size_t i = 0; i < n && !known; i++)
            known = strcmp(names[i], y->key) == 0;
        if (known)
            continue;
        const char *close = epl_closest(y->key, names, n);
        return epl_yaml_fail(y, "the key '%s' is not known here%s%s%s", y->key, close ? "; did you mean '" : "", close ? close : "",
                             close ? "'?" : "");
    }
    return true;
}
