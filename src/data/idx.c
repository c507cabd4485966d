/* idx: the format of MNIST's files - two zero bytes, element type, rank, dimensions (u32), data, all big-endian - plain or
 * gzipped. The file's own size bounds every allocation: what a header claims beyond it is refused first. */
#include <espalier/data.h>

#include <string.h>

#include "base/gunzip.h"

enum { HEADER_MAX = 4 + 4 * EPL_MAX_RANK };

/* The bytes of the file in order, wherever they come from. */
typedef struct idx_reader {
    epl_context         *ctx;
    const char          *name;
    const unsigned char *data; /* plain files: all of it */
    size_t               bytes, position;
    epl_gunzip          *gz;   /* gzipped files */
} idx_reader;

static bool idx_read(idx_reader *r, void *out, size_t n, size_t *n_read)
{
    if (r->gz)
        return epl_gunzip_read(r->gz, out, n, n_read);
    *n_read = n < r->bytes - r->position ? n : r->bytes - r->position;
    memcpy(out, r->data + r->position, *n_read);
    r->position += *n_read;
    return true;
}

static bool idx_read_header_part(idx_reader *r, unsigned char *out, size_t n)
{
    size_t got = 0;
    if (!idx_read(r, out, n, &got))
        return false;
    return got == n || epl_fail(r->ctx, EPL_ERR_FORMAT, "%s: truncated inside the IDX header", r->name);
}

static epl_dtype idx_dtype(unsigned char code)
{
    switch (code) {
    case 0x08: return EPL_U8;
    case 0x09: return EPL_I8;
    case 0x0b: return EPL_I16;
    case 0x0c: return EPL_I32;
    case 0x0d: return EPL_F32;
    case 0x0e: return EPL_F64;
    default:   return EPL_NO_DTYPE;
    }
}

static bool idx_read_header(idx_reader *r, epl_dtype *dtype, epl_shape *shape)
{
    unsigned char h[HEADER_MAX];
    if (!idx_read_header_part(r, h, 4))
        return false;
    *dtype = idx_dtype(h[2]);
    if (h[0] != 0 || h[1] != 0 || *dtype == EPL_NO_DTYPE)
        return epl_fail(r->ctx, EPL_ERR_FORMAT, "%s: not an IDX file (it begins %02x %02x %02x %02x)", r->name, h[0], h[1],
                        h[2], h[3]);
    if (h[3] < 1 || h[3] > EPL_MAX_RANK)
        return epl_fail(r->ctx, EPL_ERR_FORMAT, "%s: IDX rank %d, expected 1 to %d", r->name, h[3], EPL_MAX_RANK);
    shape->rank = h[3];
    if (!idx_read_header_part(r, h + 4, 4 * (size_t)shape->rank))
        return false;
    for (int i = 0; i < shape->rank; i++) {
        const unsigned char *p = h + 4 + 4 * i;
        shape->dim[i] = (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | (int64_t)p[3];
    }
    return true;
}

/* Could the file hold `wanted` bytes of data at all? */
static bool idx_size_is_possible(const idx_reader *r, epl_dtype dtype, epl_shape shape, size_t *wanted)
{
    const int64_t count = epl_shape_count(shape);
    char          text[192];
    if (count < 0 || !epl_mul_size((size_t)count, epl_dtype_bytes(dtype), wanted))
        return epl_fail(r->ctx, EPL_ERR_FORMAT, "%s: IDX dimensions %s overflow", r->name, epl_shape_text(text, shape));
    size_t most = r->bytes - r->position;
    if (r->gz && !epl_mul_size(r->bytes, EPL_GUNZIP_MAX_RATIO, &most))
        most = SIZE_MAX;
    if (*wanted > most)
        return epl_fail(r->ctx, EPL_ERR_FORMAT, "%s: truncated: the IDX header promises %s, %zu bytes, the file can hold %zu",
                        r->name, epl_shape_text(text, shape), *wanted, most);
    return true;
}

/* Big-endian elements become the machine's, which is little-endian. */
static void idx_swap(unsigned char *data, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++, data += size)
        for (size_t a = 0, b = size - 1; a < b; a++, b--) {
            const unsigned char t = data[a];
            data[a]               = data[b];
            data[b]               = t;
        }
}

static epl_tensor *idx_read_tensor(idx_reader *r)
{
    epl_dtype dtype  = EPL_NO_DTYPE;
    epl_shape shape  = { 0 };
    size_t    wanted = 0, got = 0, extra = 0;

    if (!idx_read_header(r, &dtype, &shape) || !idx_size_is_possible(r, dtype, shape, &wanted))
        return NULL;
    epl_tensor *t = epl_tensor_new(r->ctx, dtype, shape);
    if (!t)
        return NULL;
    unsigned char more;
    bool ok = idx_read(r, t->data, wanted, &got);
    if (ok && got < wanted)
        ok = epl_fail(r->ctx, EPL_ERR_FORMAT, "%s: truncated: %zu of %zu bytes of data", r->name, got, wanted);
    ok = ok && idx_read(r, &more, 1, &extra); // also lets gzip compare its checksum
    if (ok && extra > 0)
        ok = epl_fail(r->ctx, EPL_ERR_FORMAT, "%s: the file goes on after the %zu bytes that its IDX header promises", r->name,
                      wanted);
    if (!ok) {
        epl_tensor_free(t);
        return NULL;
    }
    if (epl_dtype_bytes(dtype) > 1)
        idx_swap(t->data, (size_t)epl_tensor_count(t), epl_dtype_bytes(dtype));
    return t;
}

epl_tensor *epl_idx_parse(epl_context *ctx, const void *data, size_t bytes, const char *name)
{
    idx_reader r = { .ctx = ctx, .name = name, .data = data, .bytes = bytes };
    if (epl_is_gzip(data, bytes)) {
        r.gz = epl_gunzip_new(ctx, data, bytes, name);
        if (!r.gz)
            return NULL;
    }
    epl_tensor *t = idx_read_tensor(&r);
    epl_gunzip_free(r.gz);
    return t;
}

epl_tensor *epl_idx_load(epl_context *ctx, const char *path)
{
    epl_map file = { 0 };
    if (!epl_map_open(ctx, path, &file))
        return NULL;
    epl_tensor *t = epl_idx_parse(ctx, file.data, file.size, path);
    epl_map_close(&file);
    return t;
}
