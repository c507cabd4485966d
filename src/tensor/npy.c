/* npy: "\x93NUMPY", version, length, a Python dictionary with 'descr', 'fortran_order' and 'shape', then the elements
 * (numpy/lib/format.py). The dictionary is read by a parser of exactly what such a header may hold. */
#include "tensor/npy.h"

#include <string.h>

static const struct {
    const char *descr;
    epl_dtype   dtype;
} descriptions[] = {
    // the first of a type is the one that is written
    { "<f4", EPL_F32 }, { "<f8", EPL_F64 },  { "<f2", EPL_F16 }, { "|i1", EPL_I8 },  { "|u1", EPL_U8 },
    { "<i2", EPL_I16 }, { "<u2", EPL_U16 },  { "<i4", EPL_I32 }, { "<u4", EPL_U32 }, { "<i8", EPL_I64 },
    { "<u8", EPL_U64 }, { "|b1", EPL_BOOL }, { "<i1", EPL_I8 },  { "<u1", EPL_U8 },  { "<b1", EPL_BOOL },
};

typedef struct parser {
    epl_context *ctx;
    const char  *name;
    const char  *at, *end;
    epl_dtype    dtype;
    epl_shape    shape;
    bool         fortran, has_descr, has_order, has_shape;
} parser;

static bool bad_header(const parser *p, const char *what)
{
    return epl_fail(p->ctx, EPL_ERR_FORMAT, "%s: not a .npy header: %s", p->name, what);
}

static void skip_space(parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
}

static bool accept(parser *p, char c)
{
    skip_space(p);
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

static bool accept_word(parser *p, const char *word)
{
    const size_t n = strlen(word);
    skip_space(p);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, word, n) != 0)
        return false;
    p->at += n;
    return true;
}

/* A quoted string without escapes: names and type codes need none. */
static bool read_string(parser *p, char out[32])
{
    skip_space(p);
    if (p->at == p->end || (*p->at != '\'' && *p->at != '"'))
        return false;
    const char  quote = *p->at++;
    const char *close = memchr(p->at, quote, (size_t)(p->end - p->at));
    if (!close || close - p->at > 31 || memchr(p->at, '\\', (size_t)(close - p->at)))
        return false;
    memcpy(out, p->at, (size_t)(close - p->at));
    out[close - p->at] = 0;
    p->at = close + 1;
    return true;
}

static bool read_size(parser *p, int64_t *out)
{
    skip_space(p);
    const char *start = p->at;
    int64_t     x = 0;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        if (!epl_mul_i64(x, 10, &x) || __builtin_add_overflow(x, *p->at - '0', &x))
            return false;
    *out = x;
    accept_word(p, "L"); // Python 2 wrote long integers so
    return p->at > start;
}

static bool read_descr(parser *p)
{
    char text[32];
    if (!read_string(p, text))
        return epl_fail(p->ctx, EPL_ERR_UNSUPPORTED, "%s: structured elements are not supported", p->name);
    for (size_t i = 0; i < EPL_COUNT(descriptions); i++)
        if (strcmp(descriptions[i].descr, text) == 0) {
            p->dtype = descriptions[i].dtype;
            p->has_descr = true;
            return true;
        }
    return epl_fail(p->ctx, EPL_ERR_UNSUPPORTED, "%s: elements of type '%s' are not supported", p->name, text);
}

static bool read_order(parser *p)
{
    p->has_order = true;
    p->fortran = accept_word(p, "True");
    return p->fortran || accept_word(p, "False") || bad_header(p, "fortran_order is neither True nor False");
}

static bool read_shape(parser *p)
{
    if (!accept(p, '('))
        return bad_header(p, "shape is not a tuple");
    p->shape = EPL_SCALAR;
    p->has_shape = true;
    while (!accept(p, ')')) {
        int64_t size;
        if (!read_size(p, &size))
            return bad_header(p, "shape holds something that is not a size");
        if (p->shape.rank == EPL_MAX_RANK)
            return epl_fail(p->ctx, EPL_ERR_UNSUPPORTED, "%s: more than %d dimensions are not supported", p->name,
                            EPL_MAX_RANK);
        p->shape.dim[p->shape.rank++] = size;
        if (!accept(p, ',')) {
            if (p->shape.rank == 1 ||
                !accept(p, ')')) // Python writes (3,): without the comma it is a number in brackets
                return bad_header(p, "shape is not a tuple");
            break;
        }
    }
    return true;
}

static bool read_dictionary(parser *p)
{
    if (!accept(p, '{'))
        return bad_header(p, "no dictionary");
    while (!accept(p, '}')) {
        char key[32];
        if (!read_string(p, key) || !accept(p, ':'))
            return bad_header(p, "a key is missing");
        const bool known = strcmp(key, "descr") == 0           ? read_descr(p)
                           : strcmp(key, "fortran_order") == 0 ? read_order(p)
                           : strcmp(key, "shape") == 0         ? read_shape(p)
                                                               : bad_header(p, "an unknown key");
        if (!known)
            return false;
        if (accept(p, ','))
            continue;
        if (!accept(p, '}'))
            return bad_header(p, "the dictionary is not closed");
        break;
    }
    skip_space(p);
    if (p->at != p->end)
        return bad_header(p, "something follows the dictionary");
    return (p->has_descr && p->has_order && p->has_shape) || bad_header(p, "descr, fortran_order or shape is missing");
}

/* In Fortran order the first index runs fastest: walk the result in C order and keep the source's offset beside. */
static void copy_fortran(epl_tensor *t, const unsigned char *from)
{
    const size_t   size = epl_dtype_bytes(t->dtype);
    const int64_t  n = epl_tensor_count(t);
    const int      rank = t->shape.rank;
    int64_t        stride[EPL_MAX_RANK] = { 0 }, index[EPL_MAX_RANK] = { 0 }, offset = 0;
    unsigned char *to = t->data;
    for (int k = 0; k < rank; k++)
        stride[k] = k ? stride[k - 1] * t->shape.dim[k - 1] : 1;
    for (int64_t i = 0; i < n; i++, to += size) {
        memcpy(to, from + (size_t)offset * size, size);
        for (int k = rank - 1; k >= 0; k--) {
            offset += stride[k];
            if (++index[k] < t->shape.dim[k])
                break;
            offset -= stride[k] * t->shape.dim[k];
            index[k] = 0;
        }
    }
}

static epl_tensor *read_elements(const parser *p, const unsigned char *data, size_t bytes)
{
    char          text[192];
    size_t        wanted;
    const int64_t count = epl_shape_count(p->shape);
    if (count < 0 || !epl_mul_size((size_t)count, epl_dtype_bytes(p->dtype), &wanted) || wanted != bytes) {
        epl_fail(p->ctx, EPL_ERR_FORMAT, "%s: %zu bytes of data, but %s %s", p->name, bytes, epl_dtype_name(p->dtype),
                 epl_shape_text(text, p->shape));
        return NULL;
    }
    epl_tensor *t = epl_tensor_new(p->ctx, p->dtype, p->shape);
    if (t && bytes && p->fortran) // an empty one may have strides beyond all numbers
        copy_fortran(t, data);
    else if (t && bytes)
        memcpy(t->data, data, bytes);
    return t;
}

epl_tensor *epl_npy_parse(epl_context *ctx, const void *data, size_t bytes, const char *name)
{
    const unsigned char *file = data;
    if (bytes < 12 || memcmp(file, "\x93NUMPY", 6) != 0 || file[6] < 1 || file[6] > 3) {
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: not a .npy file of version 1 to 3 (%zu bytes)", name, bytes);
        return NULL;
    }
    const size_t start = file[6] == 1 ? 10 : 12;
    const size_t n = file[6] == 1 ? (size_t)(file[8] | file[9] << 8) : (size_t)epl_get_u32le(file + 8);
    if (n > bytes - start) {
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: a .npy header of %zu bytes in a file of %zu", name, n, bytes);
        return NULL;
    }
    const char *text = (const char *)file + start;
    parser      p = { .ctx = ctx, .name = name, .at = text, .end = text + n };
    return read_dictionary(&p) ? read_elements(&p, file + start + n, bytes - start - n) : NULL;
}

epl_tensor *epl_npy_load(epl_context *ctx, const char *path)
{
    epl_map file;
    if (!epl_map_open(ctx, path, &file))
        return NULL;
    epl_tensor *t = epl_npy_parse(ctx, file.data, file.size, path);
    epl_map_close(&file);
    return t;
}

/* ---- writing ---- */
static const char *description(epl_dtype dtype)
{
    for (size_t i = 0; i < EPL_COUNT(descriptions); i++)
        if (descriptions[i].dtype == dtype)
            return descriptions[i].descr;
    return NULL;
}

void epl_npy_header(epl_text *out, epl_dtype dtype, epl_shape shape)
{
    const size_t start = out->length;
    epl_text_add_bytes(out, "\x93NUMPY\x01\x00\x00\x00", 10);
    epl_text_addf(out, "{'descr': '%s', 'fortran_order': False, 'shape': (", description(dtype));
    for (int i = 0; i < shape.rank; i++)
        epl_text_addf(out, "%s%lld%s", i ? " " : "", (long long)shape.dim[i], i + 1 < shape.rank || i == 0 ? "," : "");
    epl_text_add(out, "), }");
    while ((out->length - start) % 64 != 63 && !out->failed)
        epl_text_add(out, " ");
    epl_text_add(out, "\n");
    if (out->failed)
        return;
    const size_t n = out->length - start - 10;
    out->data[start + 8] = (char)(n & 0xff);
    out->data[start + 9] = (char)(n >> 8);
}

const epl_tensor *epl_npy_storable(const epl_tensor *t, epl_tensor **copy)
{
    *copy = NULL;
    if (t->dtype != EPL_BF16)
        return t;
    *copy = epl_tensor_cast(t->ctx, t, EPL_F32);
    return *copy;
}

bool epl_npy_save(epl_context *ctx, const char *path, const epl_tensor *t)
{
    epl_tensor       *copy = NULL;
    const epl_tensor *stored = epl_npy_storable(t, &copy);
    epl_text          header = EPL_TEXT(ctx);
    bool              ok = false;
    if (stored)
        epl_npy_header(&header, stored->dtype, stored->shape);
    epl_writer *w = stored && !header.failed ? epl_writer_open(ctx, path) : NULL;
    if (w) {
        epl_writer_write(w, header.data, header.length);
        epl_writer_write(w, stored->data, epl_tensor_bytes(stored));
        ok = epl_writer_commit(w);
    }
    epl_text_release(&header);
    epl_tensor_free(copy);
    return ok;
}
