/* wire: see wire.h. Leaves out: groups (wire types 3 and 4), which ONNX does not use. */
#include "onnx/wire.h"

#include <string.h>

/* ---- the schema, as far as the walk needs it: which fields are known, and which are messages ---- */
typedef enum message {
    NONE, LEAF, MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, FUNCTION, VALUE, TYPE, TYPE_TENSOR, TYPE_SHAPE, TYPE_WRAP,
    TRAINING, ANNOTATION, DIMENSION, PAIR, OPSET, N_MESSAGES
} message;

enum { N_FIELDS = 26 };

/* fields[m][n]: what field n of message m is; NONE: unknown, dropped. Field 1 of a map's type is its key, a number. */
static const unsigned char fields[N_MESSAGES][N_FIELDS] = {
    [MODEL] = { [1] = LEAF, [2] = LEAF, [3] = LEAF, [4] = LEAF, [5] = LEAF, [7] = GRAPH, [8] = OPSET, [14] = PAIR,
                [20] = TRAINING, [25] = FUNCTION },
    [GRAPH] = { [1] = NODE, [2] = LEAF, [5] = TENSOR, [11] = VALUE, [12] = VALUE, [13] = VALUE, [15] = SPARSE },
    [NODE] = { [1] = LEAF, [2] = LEAF, [3] = LEAF, [4] = LEAF, [5] = ATTRIBUTE, [7] = LEAF, [8] = LEAF },
    [ATTRIBUTE] = { [1] = LEAF, [2] = LEAF, [3] = LEAF, [4] = LEAF, [5] = TENSOR, [6] = GRAPH, [7] = LEAF, [8] = LEAF,
                    [9] = LEAF, [10] = TENSOR, [11] = GRAPH, [14] = TYPE, [15] = TYPE, [20] = LEAF, [21] = LEAF,
                    [22] = SPARSE, [23] = SPARSE },
    [TENSOR] = { [1] = LEAF, [2] = LEAF, [3] = LEAF, [4] = LEAF, [5] = LEAF, [6] = LEAF, [7] = LEAF, [8] = LEAF, [9] = LEAF,
                 [10] = LEAF, [11] = LEAF, [13] = PAIR, [14] = LEAF },
    [SPARSE] = { [1] = TENSOR, [2] = TENSOR, [3] = LEAF },
    [FUNCTION] = { [1] = LEAF, [4] = LEAF, [5] = LEAF, [6] = LEAF, [7] = NODE, [9] = OPSET, [10] = LEAF, [11] = ATTRIBUTE },
    [VALUE] = { [1] = LEAF, [2] = TYPE },
    [TYPE] = { [1] = TYPE_TENSOR, [4] = TYPE_WRAP, [5] = TYPE_WRAP, [8] = TYPE_TENSOR, [9] = TYPE_WRAP },
    [TYPE_TENSOR] = { [1] = LEAF, [2] = TYPE_SHAPE },
    [TYPE_SHAPE] = { [1] = DIMENSION },
    [TYPE_WRAP] = { [1] = TYPE, [2] = TYPE },
    [TRAINING] = { [1] = GRAPH, [2] = GRAPH, [3] = PAIR, [4] = PAIR },
    [DIMENSION] = { [1] = LEAF, [2] = LEAF },
    [PAIR] = { [1] = LEAF, [2] = LEAF },
    [OPSET] = { [1] = LEAF, [2] = LEAF },
};

/* Messages that may stand only once. protobuf-c would merge two, at a cost that grows with the square of their number. */
static const uint32_t single[N_MESSAGES] = {
    [MODEL] = 1u << 7, [ATTRIBUTE] = 1u << 5 | 1u << 6 | 1u << 14 | 1u << 22, [SPARSE] = 1u << 1 | 1u << 2, [VALUE] = 1u << 2,
    [TYPE] = 1u << 1 | 1u << 4 | 1u << 5 | 1u << 8 | 1u << 9, [TYPE_TENSOR] = 1u << 2, [TYPE_WRAP] = 1u << 1 | 1u << 2,
    [TRAINING] = 1u << 1 | 1u << 2,
};

typedef struct walk {
    onnx_wire           *w;
    const char          *name;
    const unsigned char *start; /* of the file */
    int                  depth, n_messages;
} walk;

static bool refuse(const walk *k, const unsigned char *at, const char *what)
{
    return epl_fail(k->w->ctx, EPL_ERR_FORMAT, "%s: not an ONNX file, or a damaged one: byte %zu: %s", k->name,
                    (size_t)(at - k->start), what);
}

bool onnx_varint(const unsigned char **p, const unsigned char *end, uint64_t *out)
{
    uint64_t x = 0;
    for (int shift = 0; shift < 64 && *p < end; shift += 7) {
        const unsigned char c = *(*p)++;
        if (shift == 63 && c > 1)
            return false;
        x |= (uint64_t)(c & 127) << shift;
        if (c < 128) {
            *out = x;
            return true;
        }
    }
    return false;
}

static void put_varint(epl_text *t, uint64_t x)
{
    unsigned char bytes[10];
    size_t        n = 0;
    for (; x >= 128; x >>= 7)
        bytes[n++] = (unsigned char)(x | 128);
    bytes[n++] = (unsigned char)x;
    epl_text_add_bytes(t, bytes, n);
}

/* A length that is filled in later takes five bytes; protobuf allows varints with leading zeros. */
static size_t reserve_length(epl_text *t)
{
    epl_text_add_bytes(t, "\0\0\0\0\0", 5);
    return t->length;
}

static void fill_length(epl_text *t, size_t start)
{
    if (t->failed)
        return;
    size_t n = t->length - start;
    for (int i = 0; i < 5; i++, n >>= 7)
        t->data[start - 5 + (size_t)i] = (char)((n & 127) | (i < 4 ? 128 : 0));
}

static bool is_payload(message m, unsigned field)
{
    return m == TENSOR && (field == 4 || field == 5 || field == 7 || field == 9 || field == 10 || field == 11);
}

static bool note_payload(walk *k, const unsigned char *at, unsigned field, const unsigned char *data, size_t size)
{
    onnx_wire *w = k->w;
    if (!epl_grow(w->ctx, &w->payloads, w->n_payloads, &w->cap_payloads, sizeof *w->payloads))
        return refuse(k, at, "out of memory");
    w->payloads[w->n_payloads++] = (onnx_payload){ (int)field, data, size };
    put_varint(&w->copy, (uint64_t)ONNX_PAYLOAD_FIELD << 3);
    put_varint(&w->copy, w->n_payloads);
    return true;
}

static bool walk_message(walk *k, message m, const unsigned char *p, const unsigned char *end);

static bool walk_child(walk *k, message m, uint64_t key, const unsigned char *p, const unsigned char *end)
{
    if (++k->n_messages > ONNX_MESSAGES)
        return refuse(k, p, "more than a million messages");
    if (++k->depth > ONNX_DEPTH)
        return refuse(k, p, "messages nested deeper than 64");
    put_varint(&k->w->copy, key);
    const size_t start = reserve_length(&k->w->copy);
    const bool   ok = walk_message(k, m, p, end);
    fill_length(&k->w->copy, start);
    k->depth--;
    return ok;
}

/* The end of the field that starts behind its key, or NULL. *body is where a length-delimited field's content starts. */
static const unsigned char *field_end(const unsigned char *p, const unsigned char *end, unsigned type, const unsigned char **body)
{
    uint64_t n = 0;
    *body = p;
    switch (type) {
    case 0:  return onnx_varint(&p, end, &n) ? p : NULL;
    case 1:  return end - p >= 8 ? p + 8 : NULL;
    case 5:  return end - p >= 4 ? p + 4 : NULL;
    case 2:
        if (!onnx_varint(&p, end, &n) || n > (uint64_t)(end - p))
            return NULL;
        *body = p;
        return p + n;
    default: return NULL;
    }
}

static bool walk_message(walk *k, message m, const unsigned char *p, const unsigned char *end)
{
    int      n_large = 0, n_data = 0; // pieces of a tensor's data
    uint32_t seen = 0;
    while (p < end) {
        const unsigned char *at = p, *body;
        uint64_t key;
        if (!onnx_varint(&p, end, &key) || key >> 32 || key < 8)
            return refuse(k, at, "not a field of an ONNX message");
        const unsigned field = (unsigned)(key >> 3), type = (unsigned)(key & 7);
        const unsigned char *next = field_end(p, end, type, &body);
        if (!next)
            return refuse(k, at, type == 2 ? "a length that goes beyond its message" : "a field that is cut off");
        const message child = field < N_FIELDS ? (message)fields[m][field] : NONE;
        const bool    data = is_payload(m, field), large = data && type == 2 && next - body > ONNX_PAYLOAD;
        n_data += data;
        n_large += large;
        if (n_large && n_data > 1)
            return refuse(k, at, "a large tensor in several pieces");
        p = next;
        if (child == NONE)
            continue;
        if (child != LEAF && type != 2)
            return refuse(k, at, "a message of the wrong wire type");
        if (seen & single[m] & 1u << field)
            return refuse(k, at, "a message that stands twice");
        seen |= 1u << field;
        if (child != LEAF && !walk_child(k, child, key, body, next))
            return false;
        if (large && !note_payload(k, at, field, body, (size_t)(next - body)))
            return false;
        if (child == LEAF && !large)
            epl_text_add_bytes(&k->w->copy, at, (size_t)(next - at));
        if (k->w->copy.failed)
            return false;
        if (k->w->copy.length > ONNX_COPY_BYTES)
            return refuse(k, at, "more than 256 MiB beside the data of large tensors");
    }
    return true;
}

bool onnx_wire_read(onnx_wire *w, epl_context *ctx, const unsigned char *data, size_t size, onnx_root root, const char *name)
{
    *w = (onnx_wire){ .ctx = ctx, .copy = EPL_TEXT(ctx) };
    walk k = { .w = w, .name = name, .start = data };
    return walk_message(&k, root == ONNX_ROOT_MODEL ? MODEL : TENSOR, data, data + size);
}

void onnx_wire_release(onnx_wire *w)
{
    epl_text_release(&w->copy);
    if (w->ctx)
        epl_release(w->ctx, w->payloads);
    *w = (onnx_wire){ 0 };
}
