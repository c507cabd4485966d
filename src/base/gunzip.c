/* gunzip: zlib behind a small door. One member only; what follows it is an error. */
#include "base/gunzip.h"

#include <limits.h>
#include <zlib.h>

struct epl_gunzip {
    epl_context *ctx;
    const char  *name;
    z_stream     z;
    size_t       left; /* input not yet given to zlib, whose counters are 32 bits wide */
    size_t       total_bytes;
    bool         ended;
};

bool epl_is_gzip(const void *data, size_t bytes)
{
    const unsigned char *p = data;
    return bytes >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

epl_gunzip *epl_gunzip_new(epl_context *ctx, const void *data, size_t bytes, const char *name)
{
    epl_gunzip *g = epl_alloc(ctx, sizeof *g);
    if (!g)
        return NULL;
    *g = (epl_gunzip){ .ctx = ctx, .name = name, .left = bytes, .total_bytes = bytes };
    g->z.next_in = (unsigned char *)(uintptr_t)data; // zlib only reads it
    if (inflateInit2(&g->z, 15 + 16) != Z_OK) {      // 16: a gzip header and checksum
        epl_release(ctx, g);
        epl_fail(ctx, EPL_ERR_MEMORY, "%s: out of memory for unpacking", name);
        return NULL;
    }
    return g;
}

void epl_gunzip_free(epl_gunzip *g)
{
    if (!g)
        return;
    inflateEnd(&g->z);
    epl_release(g->ctx, g);
}

static bool at_end(epl_gunzip *g)
{
    const size_t trailing = g->left + g->z.avail_in;
    g->ended              = true;
    if (trailing > 0)
        return epl_fail(g->ctx, EPL_ERR_FORMAT, "%s: %zu bytes follow the end of the gzip data", g->name, trailing);
    return true;
}

/* One step of zlib into [out, out + n); *n_made bytes came. */
static bool step(epl_gunzip *g, unsigned char *out, size_t n, size_t *n_made)
{
    if (g->z.avail_in == 0) {
        g->z.avail_in = g->left < UINT_MAX ? (unsigned)g->left : UINT_MAX;
        g->left -= g->z.avail_in;
    }
    const unsigned room = n < UINT_MAX ? (unsigned)n : UINT_MAX;
    g->z.next_out       = out;
    g->z.avail_out      = room;
    const int code      = inflate(&g->z, Z_NO_FLUSH);
    *n_made             = room - g->z.avail_out;
    if (code == Z_STREAM_END)
        return at_end(g);
    if (code == Z_MEM_ERROR)
        return epl_fail(g->ctx, EPL_ERR_MEMORY, "%s: out of memory for unpacking", g->name);
    const size_t used = g->total_bytes - g->left - g->z.avail_in;
    if (code == Z_BUF_ERROR || (code == Z_OK && *n_made == 0 && used == g->total_bytes))
        return epl_fail(g->ctx, EPL_ERR_FORMAT, "%s: truncated: the gzip data breaks off after %zu bytes", g->name,
                        g->total_bytes);
    if (code != Z_OK)
        return epl_fail(g->ctx, EPL_ERR_FORMAT, "%s: damaged gzip data near byte %zu of %zu (%s)", g->name, used,
                        g->total_bytes, g->z.msg ? g->z.msg : "unexpected code");
    return true;
}

bool epl_gunzip_read(epl_gunzip *g, void *out, size_t n, size_t *n_read)
{
    unsigned char *p = out;
    *n_read          = 0;
    while (*n_read < n && !g->ended) {
        size_t made = 0;
        if (!step(g, p + *n_read, n - *n_read, &made))
            return false;
        *n_read += made;
    }
    return true;
}

bool epl_gunzip_all(epl_context *ctx, const void *data, size_t bytes, const char *name, size_t limit, char **out,
                    size_t *n_out)
{
    epl_gunzip *g    = epl_gunzip_new(ctx, data, bytes, name);
    epl_text    text = EPL_TEXT(ctx);
    bool        ok   = g != NULL;

    for (size_t n = 1; ok && n > 0;) {
        char piece[16384];
        ok = epl_gunzip_read(g, piece, sizeof piece, &n);
        if (ok && n > limit - text.length)
            ok = epl_fail(ctx, EPL_ERR_LIMIT, "%s: unpacks to more than %zu bytes", name, limit);
        if (ok)
            epl_text_add_bytes(&text, piece, n);
    }
    epl_gunzip_free(g);
    *n_out = text.length;
    *out   = ok ? epl_text_detach(&text) : NULL;
    if (!ok)
        epl_text_release(&text);
    else if (!*out && !text.failed)
        *out = epl_strdup(ctx, ""); // an empty text has no memory to hand over
    return *out != NULL;
}
