/* events: TensorBoard's event files - scalars, texts and PNG images.
 *
 * A record is: length (u64 little-endian), masked CRC-32C of those 8 bytes, the Event message, masked CRC-32C of the
 * message (TFRecord). The few protobuf messages are written field by field; field numbers are those of event.proto,
 * summary.proto and tensor.proto of TensorFlow. Histograms and hyper-parameters are left out. */
#include "report/events.h"

#include "base/escape.h"
#include "report/appender.h"
#include "report/png.h"

#include <espalier/report.h>

#include <string.h>
#include <time.h>

struct epl_events {
    epl_context *ctx;
    appender     file;
    double       wall_time_s; /* 0: the clock */
};

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; // wire types
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_IMAGE = 4, VALUE_TENSOR = 8, VALUE_METADATA = 9 };
enum { IMAGE_HEIGHT = 1, IMAGE_WIDTH = 2, IMAGE_COLORSPACE = 3, IMAGE_ENCODED = 4 };
enum { TENSOR_DTYPE = 1, TENSOR_SHAPE = 2, TENSOR_STRING = 8, SHAPE_DIM = 2, DIM_SIZE = 1, DT_STRING = 7 };
enum { METADATA_PLUGIN = 1, PLUGIN_NAME = 1 };
enum { RECORD_HEAD = 12, RECORD_TAIL = 4 };

/* ---- checksums ---- */

/* CRC-32C (Castagnoli's polynomial, reflected: 0x82f63b78), four bits at a time. */
static uint32_t crc32c(const unsigned char *p, size_t n)
{
    static const uint32_t nibble[16] = { 0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                         0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                         0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75 };
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        c = c >> 4 ^ nibble[c & 15];
        c = c >> 4 ^ nibble[c & 15];
    }
    return ~c;
}

/* A checksum of bytes that hold checksums would be weak, so TFRecord turns and shifts it. */
static uint32_t masked_crc32c(const void *data, size_t n)
{
    const uint32_t c = crc32c(data, n);
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

/* ---- writing messages ---- */

static void put_le(epl_text *t, uint64_t x, int bytes)
{
    unsigned char out[8];
    for (int i = 0; i < bytes; i++)
        out[i] = (unsigned char)(x >> (8 * i));
    epl_text_add_bytes(t, out, (size_t)bytes);
}

static void put_varint(epl_text *t, uint64_t x)
{
    unsigned char out[10];
    size_t n = 0;
    for (; x >= 0x80; x >>= 7)
        out[n++] = (unsigned char)(x | 0x80);
    out[n++] = (unsigned char)x;
    epl_text_add_bytes(t, out, n);
}

static void put_key(epl_text *t, int field, int wire)
{
    put_varint(t, (uint64_t)field << 3 | (uint64_t)wire);
}

static void put_integer(epl_text *t, int field, uint64_t x)
{
    put_key(t, field, VARINT);
    put_varint(t, x);
}

static void put_bytes(epl_text *t, int field, const void *data, size_t n)
{
    put_key(t, field, BYTES);
    put_varint(t, n);
    epl_text_add_bytes(t, data, n);
}

static void put_string(epl_text *t, int field, const char *s)
{
    put_bytes(t, field, s, strlen(s));
}

/* Puts a message inside another and releases it. */
static void put_message(epl_text *t, int field, epl_text *message)
{
    put_bytes(t, field, epl_text_str(message), message->length);
    t->failed |= message->failed;
    epl_text_release(message);
}

/* Strings of protobuf must be UTF-8. */
static void put_utf8(epl_text *t, int field, const char *s)
{
    epl_text   clean = EPL_TEXT(t->ctx);
    const size_t n = s ? strlen(s) : 0;
    for (size_t i = 0, step; i < n; i += step)
        epl_utf8_add(&clean, epl_utf8_next(s + i, n - i, &step));
    put_message(t, field, &clean);
}

static double wall_time(const epl_events *e)
{
    struct timespec now = { 0 };
    if (e->wall_time_s != 0)
        return e->wall_time_s;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void begin_event(const epl_events *e, epl_text *event, int64_t step)
{
    const double now = wall_time(e);
    uint64_t bits;
    memcpy(&bits, &now, sizeof bits);
    put_key(event, EVENT_WALL_TIME, FIXED64);
    put_le(event, bits, 8);
    if (step)
        put_integer(event, EVENT_STEP, (uint64_t)step);
}

/* Writes the event as one record and releases it. */
static bool write_event(epl_events *e, epl_text *event)
{
    epl_text record = EPL_TEXT(e->ctx);
    put_le(&record, event->length, 8);
    put_le(&record, masked_crc32c(epl_text_str(&record), record.length), 4);
    epl_text_add_bytes(&record, epl_text_str(event), event->length);
    put_le(&record, masked_crc32c(epl_text_str(event), event->length), 4);
    const bool whole = !event->failed && !record.failed;
    e->file.failed |= !whole;
    const bool ok = whole && epl_appender_write(&e->file, record.data, record.length);
    epl_text_release(event);
    epl_text_release(&record);
    return ok;
}

static bool write_value(epl_events *e, int64_t step, epl_text *value)
{
    epl_text event = EPL_TEXT(e->ctx), summary = EPL_TEXT(e->ctx);
    begin_event(e, &event, step);
    put_message(&summary, SUMMARY_VALUE, value);
    put_message(&event, EVENT_SUMMARY, &summary);
    return write_event(e, &event);
}

/* ---- continuing a file ---- */

static bool get_varint(const unsigned char **p, const unsigned char *end, uint64_t *x)
{
    *x = 0;
    for (int shift = 0; shift < 64 && *p < end; shift += 7) {
        const unsigned char byte = *(*p)++;
        *x |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

bool epl_event_step(const unsigned char *p, size_t n, int64_t *step)
{
    const unsigned char *const end = p + n;
    *step = 0;
    while (p < end) {
        uint64_t key, x = 0;
        if (!get_varint(&p, end, &key))
            return false;
        const int wire = (int)(key & 7);
        if ((wire == VARINT || wire == BYTES) && !get_varint(&p, end, &x))
            return false;
        if (wire != VARINT && wire != BYTES && wire != FIXED64 && wire != FIXED32)
            return false;
        const uint64_t skip = wire == VARINT ? 0 : wire == BYTES ? x : wire == FIXED64 ? 8 : 4;
        if (skip > (uint64_t)(end - p))
            return false;
        p += skip;
        if (key >> 3 == EVENT_STEP && wire == VARINT)
            *step = (int64_t)x;
    }
    return true;
}

size_t epl_events_scan(const unsigned char *data, size_t size, int64_t last)
{
    size_t at = 0;
    while (size - at >= RECORD_HEAD + RECORD_TAIL) {
        const unsigned char *p = data + at;
        const uint64_t n = epl_get_u64le(p);
        int64_t step;
        if (n > size - at - RECORD_HEAD - RECORD_TAIL || masked_crc32c(p, 8) != epl_get_u32le(p + 8) ||
            masked_crc32c(p + RECORD_HEAD, (size_t)n) != epl_get_u32le(p + RECORD_HEAD + n) ||
            !epl_event_step(p + RECORD_HEAD, (size_t)n, &step) || step > last)
            break;
        at += RECORD_HEAD + (size_t)n + RECORD_TAIL;
    }
    return at;
}

static bool find_kept(epl_context *ctx, const char *path, int64_t last, size_t *keep)
{
    epl_map file = { 0 };
    *keep = 0;
    if (!epl_file_exists(path))
        return true;
    if (!epl_map_open(ctx, path, &file))
        return false;
    *keep = epl_events_scan(file.data, file.size, last < 0 ? 0 : last); // the first record, without a step, always stays
    const bool ok = *keep || !file.size;
    if (!ok)
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: %zu bytes that do not start as a TensorBoard event file; nothing was changed", path,
                 file.size);
    epl_map_close(&file);
    return ok;
}

epl_events *epl_events_open(epl_context *ctx, const char *path, epl_events_opts o)
{
    size_t keep = 0;
    if (o.resume && !find_kept(ctx, path, o.resume_step, &keep))
        return NULL;
    epl_events *e = epl_alloc(ctx, sizeof *e);
    if (!e)
        return NULL;
    e->ctx         = ctx;
    e->wall_time_s = o.wall_time_s;
    bool ok = epl_appender_open(&e->file, ctx, path, keep);
    if (ok && !keep) {
        epl_text event = EPL_TEXT(ctx);
        begin_event(e, &event, 0);
        put_string(&event, EVENT_FILE_VERSION, "brain.Event:2");
        ok = write_event(e, &event);
    }
    if (ok)
        return e;
    epl_events_close(e);
    return NULL;
}

bool epl_events_scalar(epl_events *e, const char *tag, int64_t step, double value)
{
    if (!e)
        return false;
    const float x = (float)value;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    epl_text v = EPL_TEXT(e->ctx);
    put_utf8(&v, VALUE_TAG, tag);
    put_key(&v, VALUE_SIMPLE, FIXED32);
    put_le(&v, bits, 4);
    return write_value(e, step, &v);
}

bool epl_events_text(epl_events *e, const char *tag, int64_t step, const char *markdown)
{
    if (!e)
        return false;
    epl_text v = EPL_TEXT(e->ctx), tensor = EPL_TEXT(e->ctx), shape = EPL_TEXT(e->ctx), dim = EPL_TEXT(e->ctx);
    epl_text metadata = EPL_TEXT(e->ctx), plugin = EPL_TEXT(e->ctx);
    put_utf8(&v, VALUE_TAG, tag);
    put_integer(&dim, DIM_SIZE, 1);
    put_message(&shape, SHAPE_DIM, &dim);
    put_integer(&tensor, TENSOR_DTYPE, DT_STRING);
    put_message(&tensor, TENSOR_SHAPE, &shape);
    put_utf8(&tensor, TENSOR_STRING, markdown);
    put_message(&v, VALUE_TENSOR, &tensor);
    put_string(&plugin, PLUGIN_NAME, "text");
    put_message(&metadata, METADATA_PLUGIN, &plugin);
    put_message(&v, VALUE_METADATA, &metadata);
    return write_value(e, step, &v);
}

bool epl_events_image(epl_events *e, const char *tag, int64_t step, const void *png, size_t bytes)
{
    uint32_t width, height, channels;
    if (!e)
        return false;
    if (!epl_png_size(png, bytes, &width, &height, &channels))
        return epl_fail(e->ctx, EPL_ERR_FORMAT, "image '%s': %zu bytes that are not a PNG file", tag ? tag : "", bytes);
    epl_text v = EPL_TEXT(e->ctx), image = EPL_TEXT(e->ctx);
    put_utf8(&v, VALUE_TAG, tag);
    put_integer(&image, IMAGE_HEIGHT, height);
    put_integer(&image, IMAGE_WIDTH, width);
    put_integer(&image, IMAGE_COLORSPACE, channels);
    put_bytes(&image, IMAGE_ENCODED, png, bytes);
    put_message(&v, VALUE_IMAGE, &image);
    return write_value(e, step, &v);
}

bool epl_events_close(epl_events *e)
{
    if (!e)
        return true;
    const bool ok = epl_appender_close(&e->file);
    epl_release(e->ctx, e);
    return ok;
}
