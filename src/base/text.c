/* text: growing strings. */
#include <espalier/base.h>

#include <stdio.h>
#include <string.h>

/* Room for n more bytes and the terminator. */
static bool reserve(epl_text *t, size_t n)
{
    if (t->failed)
        return false;
    if (n < t->capacity - t->length)
        return true;
    size_t wanted = t->capacity ? t->capacity : 64;
    while (wanted - t->length <= n && wanted <= SIZE_MAX / 4)
        wanted *= 2;
    char *data = wanted - t->length > n ? epl_resize(t->ctx, t->data, wanted, 1) : NULL;
    if (!data) {
        epl_fail(t->ctx, EPL_ERR_MEMORY, "out of memory: a text of %zu bytes cannot grow by %zu", t->length, n);
        t->failed = true;
        return false;
    }
    t->data = data;
    t->capacity = wanted;
    return true;
}

void epl_text_add_bytes(epl_text *t, const void *data, size_t n)
{
    if (!reserve(t, n))
        return;
    if (n)
        memcpy(t->data + t->length, data, n);
    t->length += n;
    t->data[t->length] = 0;
}

void epl_text_add(epl_text *t, const char *s)
{
    epl_text_add_bytes(t, s, strlen(s));
}

void epl_text_addf(epl_text *t, const char *format, ...)
{
    char    small[256];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (n < 0)
        return;
    if ((size_t)n < sizeof small) {
        epl_text_add_bytes(t, small, (size_t)n);
        return;
    }
    if (!reserve(t, (size_t)n))
        return;
    va_start(args, format);
    vsnprintf(t->data + t->length, (size_t)n + 1, format, args);
    va_end(args);
    t->length += (size_t)n;
}

const char *epl_text_str(const epl_text *t)
{
    return t->data ? t->data : "";
}

char *epl_text_detach(epl_text *t)
{
    epl_text_add_bytes(t, "", 0); // an empty text still becomes a string of its own
    char *data = t->failed ? NULL : t->data;
    if (t->failed)
        epl_release(t->ctx, t->data);
    *t = EPL_TEXT(t->ctx);
    return data;
}

void epl_text_release(epl_text *t)
{
    if (t->ctx)
        epl_release(t->ctx, t->data);
    *t = EPL_TEXT(t->ctx);
}
