/* file: opening, and tensors out of the map, out of the message or out of a file beside it. Leaves out: strings, complex numbers,
 * sparse tensors, segments. */
#include "onnx/file.h"
#include "onnx/narrow.h"

#include "tensor/permute.h"

#include <limits.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK = 1 << 20 }; /* bytes that are copied before their pages are given back */

/* ---- opening ----------------------------------------------------------------------------------------------------- */
static void *proto_alloc(void *ctx, size_t bytes) { return epl_alloc(ctx, bytes ? bytes : 1); }
static void  proto_free(void *ctx, void *p) { epl_release(ctx, p); }

static bool read_messages(onnx_file *f)
{
    f->allocator = (ProtobufCAllocator){ proto_alloc, proto_free, f->ctx };
    if (!onnx_wire_read(&f->wire, f->ctx, f->map.data, f->map.size, ONNX_ROOT_MODEL, f->name))
        return false;
    f->model = onnx__model_proto__unpack(&f->allocator, f->wire.copy.length, (const uint8_t *)epl_text_str(&f->wire.copy));
    return f->model || epl_fail(f->ctx, EPL_ERR_FORMAT, "%s: not an ONNX model", f->name);
}

bool onnx_file_open(onnx_file *f, epl_context *ctx, const char *path)
{
    *f = (onnx_file){ .ctx = ctx, .name = path, .mapped = true };
    const char *slash = strrchr(path, '/');
    f->folder = epl_strdup(ctx, slash ? path : ".");
    if (!f->folder)
        return false;
    if (slash)
        f->folder[slash == path ? 1 : slash - path] = 0;
    return epl_map_open(ctx, path, &f->map) && read_messages(f);
}

bool onnx_file_parse(onnx_file *f, epl_context *ctx, const void *data, size_t bytes, const char *name)
{
    *f = (onnx_file){ .ctx = ctx, .name = name, .map = { data, bytes } };
    return read_messages(f);
}

void onnx_file_close(onnx_file *f)
{
    if (f->model)
        onnx__model_proto__free_unpacked(f->model, &f->allocator);
    onnx_wire_release(&f->wire);
    if (f->mapped)
        epl_map_close(&f->map);
    if (f->ctx)
        epl_release(f->ctx, f->folder);
    *f = (onnx_file){ 0 };
}

/* ---- types ------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *name;
    epl_dtype   dtype;
} types[] = {
    { "undefined", EPL_NO_DTYPE }, { "float", EPL_F32 }, { "uint8", EPL_U8 }, { "int8", EPL_I8 }, { "uint16", EPL_U16 },
    { "int16", EPL_I16 }, { "int32", EPL_I32 }, { "int64", EPL_I64 }, { "string", EPL_NO_DTYPE }, { "bool", EPL_BOOL },
    { "float16", EPL_F16 }, { "double", EPL_F64 }, { "uint32", EPL_U32 }, { "uint64", EPL_U64 },
    { "complex64", EPL_NO_DTYPE }, { "complex128", EPL_NO_DTYPE }, { "bfloat16", EPL_BF16 },
};

epl_dtype onnx_dtype(int64_t t)
{
    return t > 0 && t < (int64_t)EPL_COUNT(types) ? types[t].dtype : EPL_NO_DTYPE;
}

const char *onnx_dtype_name(int64_t t)
{
    return onnx_narrow_type(t) ? onnx_narrow_type(t)->name : t > 0 && t < (int64_t)EPL_COUNT(types) ? types[t].name : "unknown";
}

/* ---- data -------------------------------------------------------------------------------------------------------- */
static bool wrong_size(onnx_file *f, const Onnx__TensorProto *p, epl_dtype dtype, epl_shape shape, size_t found, const char *unit)
{
    char text[192];
    return epl_fail(f->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' is %s%s but holds %zu %s", f->name, p->name ? p->name : "",
                    epl_dtype_name(dtype), epl_shape_text(text, shape), found, unit);
}

/* A payload that the pre-pass left in the file, or NULL. */
static const onnx_payload *payload_of(const onnx_file *f, const Onnx__TensorProto *p)
{
    for (unsigned i = 0; i < p->base.n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *u = &p->base.unknown_fields[i];
        const unsigned char *s = u->data;
        uint64_t index = 0;
        if (u->tag == ONNX_PAYLOAD_FIELD && onnx_varint(&s, u->data + u->len, &index) && index >= 1 && index <= f->wire.n_payloads)
            return &f->wire.payloads[index - 1];
    }
    return NULL;
}

static bool store_bits(epl_tensor *t, int64_t i, int64_t x) /* int32_data holds the bits of half floats */
{
    if (t->dtype == EPL_F16 || t->dtype == EPL_BF16)
        ((uint16_t *)t->data)[i] = (uint16_t)x;
    else
        epl_tensor_set_i64(t, i, x);
    return true;
}

/* Varints of a packed field that stayed in the file. */
static bool decode_varints(epl_tensor *t, const onnx_payload *d, size_t *found)
{
    const unsigned char *p = d->data, *end = d->data + d->size;
    const size_t n = (size_t)epl_tensor_count(t);
    uint64_t x;
    for (*found = 0; p < end; (*found)++) {
        if (!onnx_varint(&p, end, &x) || *found >= n)
            return false;
        store_bits(t, (int64_t)*found, d->field == 5 ? (int64_t)(int32_t)x : (int64_t)x);
    }
    return *found == n;
}

/* Gives back the pages of data that were copied, so that weights never take memory twice; the next reader finds them again in
 * the file. */
static void forget_bytes(const void *data, size_t size)
{
    const size_t    page = (size_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)data + page - 1) / page * page, end = ((uintptr_t)data + size) / page * page;
    if (end > begin)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

/* `mapped`: data lie in a map, whose pages are given back on the way. */
static bool copy_bytes(epl_tensor *t, const void *data, size_t bytes, bool mapped)
{
    if (bytes != epl_tensor_bytes(t))
        return false;
    for (size_t i = 0; i < bytes; i += BLOCK) {
        const size_t n = bytes - i < BLOCK ? bytes - i : BLOCK;
        memcpy((char *)t->data + i, (const char *)data + i, n);
        if (mapped)
            forget_bytes((const char *)data + i, n);
    }
    for (size_t i = 0; t->dtype == EPL_BOOL && i < bytes; i++) // any byte but 0 is true
        ((unsigned char *)t->data)[i] = ((unsigned char *)t->data)[i] != 0;
    return true;
}

/* The field that holds elements of a type, besides raw_data. */
static int field_of(epl_dtype t)
{
    return t == EPL_F32 ? 4 : t == EPL_I64 ? 7 : t == EPL_F64 ? 10 : t == EPL_U32 || t == EPL_U64 ? 11 : 5;
}

/* The elements that protobuf-c unpacked. */
static bool fill_from_message(epl_tensor *t, const Onnx__TensorProto *p, size_t *found)
{
    const size_t n = (size_t)epl_tensor_count(t);
    const int    field = field_of(t->dtype);
    *found = field == 4 ? p->n_float_data : field == 5 ? p->n_int32_data : field == 7 ? p->n_int64_data
             : field == 10 ? p->n_double_data : p->n_uint64_data;
    if (*found != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (field == 4 || field == 10)
            epl_tensor_set(t, (int64_t)i, field == 4 ? (double)p->float_data[i] : p->double_data[i]);
        else
            store_bits(t, (int64_t)i, field == 5   ? p->int32_data[i] : field == 7 ? p->int64_data[i] : (int64_t)p->uint64_data[i]);
    return true;
}

static bool fill(onnx_file *f, epl_tensor *t, const Onnx__TensorProto *p)
{
    const onnx_payload *d = payload_of(f, p);
    size_t found = 0;
    if (!d && p->has_raw_data)
        return copy_bytes(t, p->raw_data.data, p->raw_data.len, false) || wrong_size(f, p, t->dtype, t->shape, p->raw_data.len, "bytes");
    if (!d)
        return fill_from_message(t, p, &found) || wrong_size(f, p, t->dtype, t->shape, found, "elements");
    if (d->field != 9 && d->field != field_of(t->dtype))
        return epl_fail(f->ctx, EPL_ERR_FORMAT, "%s: tensor '%s': its data are in a field of another type than %s", f->name,
                        p->name ? p->name : "", epl_dtype_name(t->dtype));
    if (d->field == 9 || d->field == 4 || d->field == 10)
        return copy_bytes(t, d->data, d->size, f->mapped) || wrong_size(f, p, t->dtype, t->shape, d->size, "bytes");
    return decode_varints(t, d, &found) || wrong_size(f, p, t->dtype, t->shape, found, "elements or more");
}

/* ---- data in a file beside the model ----------------------------------------------------------------------------- */
static const char *external_value(const Onnx__TensorProto *p, const char *key)
{
    for (size_t i = 0; i < p->n_external_data; i++)
        if (p->external_data[i]->key && strcmp(p->external_data[i]->key, key) == 0)
            return p->external_data[i]->value;
    return NULL;
}

/* The path of a location within the model's folder; links may not lead out of it. */
static bool external_path(onnx_file *f, const char *location, char out[PATH_MAX])
{
    char joined[PATH_MAX], root[PATH_MAX];
    if (!f->folder)
        return epl_fail(f->ctx, EPL_ERR_UNSUPPORTED, "%s: external data '%s' of a model in memory", f->name, location);
    if (location[0] == '/')
        return epl_fail(f->ctx, EPL_ERR_FORMAT, "%s: external data '%s' is outside of the model's folder", f->name, location);
    const int n = snprintf(joined, sizeof joined, "%s/%s", f->folder, location);
    if (n < 0 || (size_t)n >= sizeof joined || !realpath(f->folder, root) || !realpath(joined, out))
        return epl_fail(f->ctx, EPL_ERR_IO, "%s: external data '%s' is missing", f->name, location);
    const size_t length = strlen(root);
    if (strncmp(out, root, length) != 0 || (out[length] != '/' && length > 1))
        return epl_fail(f->ctx, EPL_ERR_FORMAT, "%s: external data '%s' is outside of the model's folder", f->name, location);
    return true;
}

static bool read_number(const char *text, uint64_t otherwise, uint64_t *out)
{
    char *end = NULL;
    *out = otherwise;
    if (!text)
        return true;
    if (*text < '0' || *text > '9')
        return false;
    *out = strtoull(text, &end, 10);
    return *end == 0;
}

static bool fill_from_outside(onnx_file *f, epl_tensor *t, const Onnx__TensorProto *p)
{
    char        path[PATH_MAX];
    epl_map     map;
    uint64_t    offset, length;
    const char *location = external_value(p, "location"), *name = p->name ? p->name : "";
    if (!location || !*location)
        return epl_fail(f->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' does not say where its data are", f->name, name);
    if (!read_number(external_value(p, "offset"), 0, &offset))
        return epl_fail(f->ctx, EPL_ERR_FORMAT,
                        "%s: tensor '%s': its offset in '%s' is '%.40s', which is not a number of bytes", f->name, name,
                        location, external_value(p, "offset"));
    if (!external_path(f, location, path) || !epl_map_open(f->ctx, path, &map))
        return false;
    bool ok = offset <= map.size && read_number(external_value(p, "length"), epl_tensor_bytes(t), &length) &&
              length <= map.size - offset;
    if (!ok)
        epl_fail(f->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' reaches beyond the %zu bytes of '%s'", f->name, name, map.size, location);
    else if (!copy_bytes(t, map.data + offset, (size_t)length, true))
        ok = wrong_size(f, p, t->dtype, t->shape, (size_t)length, "bytes");
    epl_map_close(&map);
    return ok;
}

void onnx_tensor_forget(const onnx_file *f, const Onnx__TensorProto *p)
{
    const onnx_payload *d = f->mapped ? payload_of(f, p) : NULL;
    if (d)
        forget_bytes(d->data, d->size);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* What is there must be as large as what is claimed, before anything is allocated. */
static bool claims_too_much(const onnx_file *f, const Onnx__TensorProto *p, int64_t count)
{
    const onnx_payload *d = payload_of(f, p);
    const size_t there = (d ? d->size : 0) + p->raw_data.len +
                         8 * (p->n_float_data + p->n_int32_data + p->n_int64_data + p->n_double_data + p->n_uint64_data);
    return p->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL && (uint64_t)count > there;
}

/* Packed elements, the first in the lowest bits of the first byte, as what they are held as. */
static epl_tensor *narrow_tensor(onnx_file *f, const Onnx__TensorProto *p, const onnx_narrow *type, epl_shape shape)
{
    const int64_t count = epl_shape_count(shape), each = 8 / type->bits;
    epl_tensor   *packed = epl_tensor_new(f->ctx, EPL_U8, EPL_SHAPE((count + each - 1) / each));
    const bool    outside = p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    const bool    ok = packed && (outside ? fill_from_outside(f, packed, p) : fill(f, packed, p));
    epl_tensor   *t = ok ? epl_tensor_new(f->ctx, type->held, shape) : NULL;
    for (int64_t i = 0; t && i < count; i++)
        epl_tensor_set(t, i,
                       onnx_narrow_decode(type, ((const uint8_t *)packed->data)[i / each] >> (i % each * type->bits) &
                                                    ((1u << type->bits) - 1)));
    epl_tensor_free(packed);
    return t;
}

/* `align`: 0: a copy; 1: a view at any address, for readers that take bytes; 2: a view where elements lie as they
 * should, else a copy. */
static epl_tensor *tensor_of(onnx_file *f, const Onnx__TensorProto *p, size_t align)
{
    const char     *name = p->name ? p->name : "";
    const epl_dtype dtype = onnx_dtype(p->data_type);
    epl_shape       shape = { .rank = (int)p->n_dims };
    const onnx_narrow *narrow = onnx_narrow_type(p->data_type);
    if (dtype == EPL_NO_DTYPE && !narrow) {
        epl_fail(f->ctx, EPL_ERR_UNSUPPORTED, "%s: tensor '%s' has elements of type %s", f->name, name, onnx_dtype_name(p->data_type));
        return NULL;
    }
    if (p->n_dims > EPL_MAX_RANK) {
        epl_fail(f->ctx, EPL_ERR_UNSUPPORTED, "%s: tensor '%s' has %zu axes, the limit is %d", f->name, name, p->n_dims, EPL_MAX_RANK);
        return NULL;
    }
    for (size_t i = 0; i < p->n_dims; i++)
        shape.dim[i] = p->dims[i];
    const int64_t count = epl_shape_count(shape);
    if (count < 0 || claims_too_much(f, p, narrow ? count / (8 / narrow->bits) : count)) {
        char text[192];
        epl_fail(f->ctx, EPL_ERR_FORMAT, "%s: tensor '%s' claims the shape %s, its data are too short for that", f->name, name,
                 epl_shape_text(text, shape));
        return NULL;
    }
    if (narrow)
        return narrow_tensor(f, p, narrow, shape);
    const onnx_payload *d = payload_of(f, p);
    const bool outside = p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    const size_t bytes = epl_dtype_bytes(dtype);
    align = align > 1 ? bytes : align;
    if (align && f->mapped && !outside && d && d->field == 9 && d->size == (size_t)count * bytes && dtype != EPL_BOOL &&
        (uintptr_t)d->data % align == 0)
        return epl_tensor_view(f->ctx, dtype, shape, (void *)(uintptr_t)d->data); // the map is private and writable
    epl_tensor *t = epl_tensor_new(f->ctx, dtype, shape);
    if (t && !(outside ? fill_from_outside(f, t, p) : fill(f, t, p))) {
        epl_tensor_free(t);
        return NULL;
    }
    onnx_tensor_forget(f, p);
    return t;
}

epl_tensor *onnx_tensor(onnx_file *f, const Onnx__TensorProto *p, bool copy) { return tensor_of(f, p, copy ? 0 : 2); }

/* Writes rows [first, first + n) of `t`, whose first axis becomes the last, into `out`. */
static bool permute_rows(epl_context *ctx, const epl_tensor *t, epl_shape perm, int64_t first, int64_t n, epl_tensor *out)
{
    const size_t  size = epl_dtype_bytes(t->dtype), row = epl_tensor_bytes(t) / (size_t)t->shape.dim[0];
    const int64_t last = t->shape.dim[0], count = epl_tensor_count(t) / last;
    epl_tensor    rows = *t;
    rows.data = (char *)t->data + (size_t)first * row;
    rows.shape.dim[0] = n;
    epl_tensor *turned = epl_tensor_permuted(ctx, &rows, perm);
    for (int64_t i = 0; turned && i < count; i++)
        memcpy((char *)out->data + (size_t)(i * last + first) * size,
               (const char *)turned->data + (size_t)(i * n) * size, (size_t)n * size);
    epl_tensor_free(turned);
    return turned != NULL;
}

/* A large tensor in the map, block by block, each block's pages given back when it is done. */
static epl_tensor *permuted_by_blocks(onnx_file *f, const epl_tensor *t, epl_shape perm)
{
    epl_shape     shape = { .rank = perm.rank };
    const int64_t rows = t->shape.dim[0], row = (int64_t)epl_tensor_bytes(t) / rows, block = BLOCK / row < 16 ? 16 : BLOCK / row;
    for (int i = 0; i < perm.rank; i++)
        shape.dim[i] = t->shape.dim[perm.dim[i]];
    epl_tensor *out = epl_tensor_new(f->ctx, t->dtype, shape);
    for (int64_t i = 0; out && i < rows; i += block) {
        const int64_t n = rows - i < block ? rows - i : block;
        if (!permute_rows(f->ctx, t, perm, i, n, out)) {
            epl_tensor_free(out);
            return NULL;
        }
        forget_bytes((const char *)t->data + i * row, (size_t)(n * row));
    }
    return out;
}

epl_tensor *onnx_tensor_permuted(onnx_file *f, const Onnx__TensorProto *p, epl_shape perm)
{
    epl_tensor *t = tensor_of(f, p, 1);
    if (!t)
        return NULL;
    const bool  blocks = !t->owned && epl_tensor_bytes(t) > 2 * BLOCK && perm.dim[perm.rank - 1] == 0;
    epl_tensor *turned = blocks ? permuted_by_blocks(f, t, perm) : epl_tensor_permuted(f->ctx, t, perm);
    epl_tensor_free(t);
    return turned;
}
