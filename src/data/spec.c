/* spec: NAME:key=value,key=value. */
#include "data/spec.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool epl_parse_i64(const char *text, int64_t *out)
{
    char *end = NULL;
    errno     = 0;
    *out      = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0;
}

bool epl_parse_f64(const char *text, double *out)
{
    char *end = NULL;
    *out      = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*out);
}

static int find(const epl_spec *s, const char *key)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->key[i], key) == 0)
            return i;
    return -1;
}

static bool add_default(epl_spec *s, char *part)
{
    char *equals = strchr(part, '=');
    *equals      = '\0';
    s->key[s->n]   = part;
    s->value[s->n] = equals + 1;
    s->n++;
    return true;
}

static bool set_value(epl_spec *s, char *part)
{
    char *equals = strchr(part, '=');
    if (s->n == 0)
        return epl_fail(s->ctx, EPL_ERR_ARGUMENT, "%s takes no options, got '%s'", s->name, part);
    if (!equals) {
        s->value[0] = part;
        return true;
    }
    *equals     = '\0';
    const int i = find(s, part);
    if (i >= 0) {
        s->value[i] = equals + 1;
        return true;
    }
    epl_text known = EPL_TEXT(s->ctx);
    for (int k = 0; k < s->n; k++)
        epl_text_addf(&known, "%s%s", k ? ", " : "", s->key[k]);
    epl_fail(s->ctx, EPL_ERR_ARGUMENT, "%s has no option '%s', expected one of %s", s->name, part, epl_text_str(&known));
    epl_text_release(&known);
    return false;
}

static bool each_part(epl_spec *s, const char *text, bool (*use)(epl_spec *, char *))
{
    char *copy = epl_arena_strdup(s->arena, text);
    char *rest = NULL;
    bool  ok   = copy != NULL;
    for (char *part = ok ? strtok_r(copy, ",", &rest) : NULL; ok && part; part = strtok_r(NULL, ",", &rest))
        ok = use(s, part);
    return ok;
}

bool epl_spec_read(epl_spec *s, epl_context *ctx, const char *name, const char *keys, const char *text)
{
    *s = (epl_spec){ .ctx = ctx, .name = name, .arena = epl_arena_new(ctx) };
    return s->arena && each_part(s, keys, add_default) && (!text || each_part(s, text, set_value));
}

void epl_spec_release(epl_spec *s)
{
    epl_arena_free(s->arena);
    *s = (epl_spec){ 0 };
}

const char *epl_spec_text(const epl_spec *s, const char *key)
{
    const int i = find(s, key);
    return i >= 0 ? s->value[i] : "";
}

bool epl_spec_int(const epl_spec *s, const char *key, int64_t low, int64_t high, int64_t *out)
{
    const char *text = epl_spec_text(s, key);
    if (epl_parse_i64(text, out) && *out >= low && *out <= high)
        return true;
    return epl_fail(s->ctx, EPL_ERR_ARGUMENT, "%s: %s=%s, expected a whole number from %" PRId64 " to %" PRId64, s->name, key,
                    text, low, high);
}

bool epl_spec_real(const epl_spec *s, const char *key, double low, double high, double *out)
{
    const char *text = epl_spec_text(s, key);
    if (epl_parse_f64(text, out) && *out >= low && *out <= high)
        return true;
    return epl_fail(s->ctx, EPL_ERR_ARGUMENT, "%s: %s=%s, expected a number from %g to %g", s->name, key, text, low, high);
}

bool epl_spec_shape(const epl_spec *s, const char *key, int64_t *dim, int max_rank, int *rank)
{
    const char *text = epl_spec_text(s, key);
    const char *p    = text;
    for (*rank = 0; *rank < max_rank; p++) {
        char *end = NULL;
        errno     = 0;
        dim[*rank] = strtoll(p, &end, 10);
        if (end == p || errno || dim[*rank] < 1)
            break;
        ++*rank;
        p = end;
        if (*p == '\0')
            return true;
        if (*p != 'x')
            break;
    }
    return epl_fail(s->ctx, EPL_ERR_ARGUMENT, "%s: %s=%s, expected up to %d sizes like 8x8x1", s->name, key, text, max_rank);
}
