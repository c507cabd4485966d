/* json: jansson behind base.h for reading; writing is direct. jansson allocates with malloc, not through the context. */
#include <espalier/base.h>

#include "base/escape.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>

static const json_t *as_jansson(const epl_json *j)
{
    return (const json_t *)(const void *)j;
}

static const epl_json *from_jansson(const json_t *j)
{
    return (const epl_json *)(const void *)j;
}

epl_json *epl_json_parse(epl_context *ctx, const void *data, size_t bytes, const char *name)
{
    json_error_t error;
    json_t      *j = json_loadb(data, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!j && json_error_code(&error) == json_error_out_of_memory)
        epl_fail(ctx, EPL_ERR_MEMORY, "%s: out of memory for %zu bytes of JSON", name, bytes);
    else if (!j)
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: JSON, line %d, column %d: %s", name, error.line, error.column, error.text);
    return (epl_json *)(void *)j;
}

epl_json *epl_json_load(epl_context *ctx, const char *path)
{
    epl_map file;
    if (!epl_map_open(ctx, path, &file))
        return NULL;
    epl_json *j = epl_json_parse(ctx, file.data, file.size, path);
    epl_map_close(&file);
    return j;
}

void epl_json_free(epl_json *document)
{
    json_decref((json_t *)(void *)document);
}

epl_json_kind epl_json_kind_of(const epl_json *j)
{
    if (!j)
        return EPL_JSON_NONE;
    switch (json_typeof(as_jansson(j))) {
    case JSON_NULL: return EPL_JSON_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return EPL_JSON_BOOL;
    case JSON_INTEGER: return EPL_JSON_INTEGER;
    case JSON_REAL: return EPL_JSON_REAL;
    case JSON_STRING: return EPL_JSON_STRING;
    case JSON_ARRAY: return EPL_JSON_ARRAY;
    case JSON_OBJECT: return EPL_JSON_OBJECT;
    }
    return EPL_JSON_NONE;
}

size_t epl_json_length(const epl_json *j)
{
    return json_is_object(as_jansson(j)) ? json_object_size(as_jansson(j)) : json_array_size(as_jansson(j));
}

const epl_json *epl_json_at(const epl_json *array, size_t i)
{
    return from_jansson(json_array_get(as_jansson(array), i));
}

const epl_json *epl_json_get(const epl_json *object, const char *key)
{
    return from_jansson(json_object_get(as_jansson(object), key));
}

const char *epl_json_string(const epl_json *j)
{
    return json_string_value(as_jansson(j));
}

bool epl_json_i64(const epl_json *j, int64_t *x)
{
    if (!json_is_integer(as_jansson(j)))
        return false;
    *x = json_integer_value(as_jansson(j));
    return true;
}

bool epl_json_f64(const epl_json *j, double *x)
{
    if (!json_is_number(as_jansson(j)))
        return false;
    *x = json_number_value(as_jansson(j));
    return true;
}

bool epl_json_bool(const epl_json *j, bool *x)
{
    if (!json_is_boolean(as_jansson(j)))
        return false;
    *x = json_is_true(as_jansson(j));
    return true;
}

static epl_json_member member_at(void *place)
{
    if (!place)
        return (epl_json_member){ 0 };
    return (epl_json_member){ json_object_iter_key(place), from_jansson(json_object_iter_value(place)), place };
}

epl_json_member epl_json_first(const epl_json *object)
{
    return member_at(json_object_iter((json_t *)(uintptr_t)object)); // iterating changes nothing
}

epl_json_member epl_json_next(const epl_json *object, epl_json_member m)
{
    return member_at(json_object_iter_next((json_t *)(uintptr_t)object, m.place));
}

/* ---- writing ---- */
epl_json_writer epl_json_writer_at(epl_text *out, int indent)
{
    return (epl_json_writer){ .out = out, .indent = indent };
}

static void new_line(epl_json_writer *w)
{
    if (w->indent > 0 && w->depth > 0)
        epl_text_addf(w->out, "\n%*s", w->indent * w->depth, "");
    else if (w->indent > 0)
        epl_text_add(w->out, "\n");
}

static void start_value(epl_json_writer *w, const char *key)
{
    if (w->not_first)
        epl_text_add(w->out, w->indent > 0 ? "," : ", ");
    if (w->depth > 0)
        new_line(w);
    if (key) {
        epl_escape_json(w->out, key);
        epl_text_add(w->out, ": ");
    }
    w->not_first = true;
}

static void open_level(epl_json_writer *w, const char *key, bool is_array)
{
    assert(w->depth < 64);
    start_value(w, key);
    const uint64_t bit = (uint64_t)1 << w->depth;
    w->is_array = is_array ? w->is_array | bit : w->is_array & ~bit;
    w->depth++;
    w->not_first = false;
    epl_text_add(w->out, is_array ? "[" : "{");
}

void epl_json_open_object(epl_json_writer *w, const char *key)
{
    open_level(w, key, false);
}

void epl_json_open_array(epl_json_writer *w, const char *key)
{
    open_level(w, key, true);
}

void epl_json_close(epl_json_writer *w)
{
    assert(w->depth > 0);
    w->depth--;
    if (w->not_first)
        new_line(w);
    epl_text_add(w->out, w->is_array >> w->depth & 1 ? "]" : "}");
    w->not_first = true;
}

void epl_json_put_string(epl_json_writer *w, const char *key, const char *s)
{
    start_value(w, key);
    if (s)
        epl_escape_json(w->out, s);
    else
        epl_text_add(w->out, "null");
}

void epl_json_put_f64(epl_json_writer *w, const char *key, double x)
{
    char number[32];
    start_value(w, key);
    epl_format_f64(number, x);
    epl_text_add(w->out, isfinite(x) ? number : "null");
}

void epl_json_put_i64(epl_json_writer *w, const char *key, int64_t x)
{
    start_value(w, key);
    epl_text_addf(w->out, "%lld", (long long)x);
}

void epl_json_put_bool(epl_json_writer *w, const char *key, bool x)
{
    start_value(w, key);
    epl_text_add(w->out, x ? "true" : "false");
}

void epl_json_put_null(epl_json_writer *w, const char *key)
{
    epl_json_put_string(w, key, NULL);
}
