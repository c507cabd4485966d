/* zip: the reader and writer of zip.h, after PKWARE's APPNOTE 6.3; zlib does the inflating and the checksums. Nothing that the
 * archive says about sizes is believed before it is compared with the bytes that are there. */
#include "base/zip.h"

#include "base/gunzip.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR64_BYTES = 20,
    CENTRAL_BYTES = 46,
    LOCAL_BYTES = 30,
    END_MAGIC = 0x06054b50,
    END64_MAGIC = 0x06064b50,
    LOCATOR64_MAGIC = 0x07064b50,
    CENTRAL_MAGIC = 0x02014b50,
    LOCAL_MAGIC = 0x04034b50,
    ZIP64_EXTRA = 1,
    STORED = 0,
    DEFLATED = 8,
    ENCRYPTED = 1
};

static uint16_t get_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

typedef struct reader {
    epl_context         *ctx;
    const char          *file;
    const unsigned char *data;
    size_t               bytes;
    uint64_t             directory, directory_bytes, count; /* offset and size of the central directory */
} reader;

static bool broken(const reader *r, const char *what)
{
    return epl_fail(r->ctx, EPL_ERR_FORMAT, "%s: damaged zip archive: %s", r->file, what);
}

static bool inside(const reader *r, uint64_t offset, uint64_t n)
{
    return offset <= r->bytes && n <= r->bytes - offset;
}

/* The end record is the last thing in the file but for a comment of up to 65535 bytes, whose length must fit. */
static const unsigned char *find_end(const reader *r)
{
    if (r->bytes < END_BYTES)
        return NULL;
    const size_t last = r->bytes - END_BYTES, first = last > 65535 ? last - 65535 : 0;
    for (size_t at = last + 1; at-- > first;)
        if (epl_get_u32le(r->data + at) == END_MAGIC && get_u16(r->data + at + 20) == last - at)
            return r->data + at;
    return NULL;
}

static bool find_directory(reader *r)
{
    const unsigned char *end = find_end(r);
    if (!end)
        return epl_fail(r->ctx, EPL_ERR_FORMAT, "%s: not a zip archive, or cut off (%zu bytes)", r->file, r->bytes);
    r->count = get_u16(end + 10);
    r->directory_bytes = epl_get_u32le(end + 12);
    r->directory = epl_get_u32le(end + 16);
    const size_t at = (size_t)(end - r->data);
    if (at >= LOCATOR64_BYTES && epl_get_u32le(end - LOCATOR64_BYTES) == LOCATOR64_MAGIC) {
        const uint64_t end64 = epl_get_u64le(end - LOCATOR64_BYTES + 8);
        if (!inside(r, end64, END64_BYTES) || epl_get_u32le(r->data + end64) != END64_MAGIC)
            return broken(r, "the zip64 end record is not where it should be");
        r->count = epl_get_u64le(r->data + end64 + 32);
        r->directory_bytes = epl_get_u64le(r->data + end64 + 40);
        r->directory = epl_get_u64le(r->data + end64 + 48);
    }
    if (!inside(r, r->directory, r->directory_bytes) || r->count > r->directory_bytes / CENTRAL_BYTES)
        return broken(r, "the directory does not fit into the file");
    return true;
}

/* Sizes and the offset that did not fit 32 bits stand in an extra field, in this order, only those that are needed. */
static bool read_zip64(const unsigned char *extra, size_t n, uint64_t *const values[3])
{
    bool needed = false;
    for (int i = 0; i < 3; i++)
        needed = needed || *values[i] == UINT32_MAX;
    if (!needed)
        return true;
    while (n >= 4) {
        const size_t size = get_u16(extra + 2);
        if (size > n - 4)
            return false;
        if (get_u16(extra) == ZIP64_EXTRA) {
            size_t at = 0;
            for (int i = 0; i < 3; i++)
                if (*values[i] == UINT32_MAX) {
                    if (at + 8 > size)
                        return false;
                    *values[i] = epl_get_u64le(extra + 4 + at);
                    at += 8;
                }
            return true;
        }
        extra += 4 + size;
        n -= 4 + size;
    }
    return false;
}

/* The member's data follow its local header, whose name and extra field may differ in length from the directory's. */
static bool locate_data(const reader *r, uint64_t local, epl_zip_member *m)
{
    if (!inside(r, local, LOCAL_BYTES) || epl_get_u32le(r->data + local) != LOCAL_MAGIC)
        return broken(r, "a member is not where the directory says");
    const uint64_t start = local + LOCAL_BYTES + get_u16(r->data + local + 26) + get_u16(r->data + local + 28);
    if (!inside(r, start, m->packed_bytes) || start + m->packed_bytes > r->directory)
        return broken(r, "a member reaches beyond the file");
    m->data = r->data + start;
    if (m->deflated ? m->bytes / EPL_GUNZIP_MAX_RATIO > m->packed_bytes : m->bytes != m->packed_bytes)
        return broken(r, "a member claims a size that it cannot have");
    return true;
}

/* Reads the directory's entry at `at`, where `left` bytes are left; *used gets its length. */
static bool read_entry(const reader *r, const unsigned char *at, uint64_t left, epl_zip_member *m, uint64_t *used)
{
    if (left < CENTRAL_BYTES || epl_get_u32le(at) != CENTRAL_MAGIC)
        return broken(r, "an entry of the directory is not one");
    const size_t name = get_u16(at + 28), extra = get_u16(at + 30), comment = get_u16(at + 32);
    *used = CENTRAL_BYTES + name + extra + comment;
    if (*used > left)
        return broken(r, "an entry of the directory is cut off");
    if (get_u16(at + 8) & ENCRYPTED)
        return epl_fail(r->ctx, EPL_ERR_UNSUPPORTED, "%s: encrypted archives are not supported", r->file);
    const unsigned method = get_u16(at + 10);
    if (method != STORED && method != DEFLATED)
        return epl_fail(r->ctx, EPL_ERR_UNSUPPORTED, "%s: compression method %u is not supported", r->file, method);
    if (memchr(at + CENTRAL_BYTES, 0, name))
        return broken(r, "a name holds a zero byte");
    uint64_t local = epl_get_u32le(at + 42);
    m->deflated = method == DEFLATED;
    m->crc = epl_get_u32le(at + 16);
    m->packed_bytes = epl_get_u32le(at + 20);
    m->bytes = epl_get_u32le(at + 24);
    uint64_t *const values[3] = { &m->bytes, &m->packed_bytes, &local };
    if (!read_zip64(at + CENTRAL_BYTES + name, extra, values))
        return broken(r, "a size is missing");
    if (!locate_data(r, local, m))
        return false;
    m->name = epl_alloc(r->ctx, name + 1);
    if (!m->name)
        return false;
    memcpy(m->name, at + CENTRAL_BYTES, name);
    return true;
}

static int by_data(const void *a, const void *b)
{
    const epl_zip_member *x = *(epl_zip_member *const *)a, *y = *(epl_zip_member *const *)b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->packed_bytes > y->packed_bytes) - (x->packed_bytes < y->packed_bytes);
}

static int by_name(const void *a, const void *b)
{
    const epl_zip_member *x = *(epl_zip_member *const *)a, *y = *(epl_zip_member *const *)b;
    return strcmp(x->name, y->name);
}

/* Overlapping members are how a small archive claims endless content. */
static bool check_members(const reader *r, const epl_zip *z)
{
    epl_zip_member **sorted = epl_alloc_array(r->ctx, z->count, sizeof *sorted);
    if (!sorted)
        return false;
    for (size_t i = 0; i < z->count; i++)
        sorted[i] = &z->members[i];
    bool ok = true;
    qsort(sorted, z->count, sizeof *sorted, by_data);
    for (size_t i = 1; ok && i < z->count; i++)
        if (sorted[i]->data < sorted[i - 1]->data + sorted[i - 1]->packed_bytes)
            ok = broken(r, "two members overlap");
    qsort(sorted, z->count, sizeof *sorted, by_name);
    for (size_t i = 1; ok && i < z->count; i++)
        if (strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
            ok = broken(r, "two members have the same name");
    epl_release(r->ctx, sorted);
    return ok;
}

static bool read_directory(const reader *r, epl_zip *z)
{
    uint64_t done = 0, used = 0;
    z->members = epl_alloc_array(r->ctx, (size_t)r->count, sizeof *z->members);
    if (!z->members)
        return false;
    for (z->count = 0; z->count < r->count; z->count++, done += used)
        if (!read_entry(r, r->data + r->directory + done, r->directory_bytes - done, &z->members[z->count], &used))
            return false;
    return check_members(r, z);
}

bool epl_zip_open(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_zip *out)
{
    reader r = { .ctx = ctx, .file = name, .data = data, .bytes = bytes };
    *out = (epl_zip){ .ctx = ctx, .file = name };
    if (find_directory(&r) && read_directory(&r, out))
        return true;
    epl_zip_close(out);
    return false;
}

void epl_zip_close(epl_zip *z)
{
    for (size_t i = 0; i < z->count; i++)
        epl_release(z->ctx, z->members[i].name);
    if (z->ctx)
        epl_release(z->ctx, z->members);
    *z = (epl_zip){ 0 };
}

/* zlib counts in 32 bits: input and output are handed over in pieces. True if the stream gives exactly m->bytes. */
static bool inflate_member(const epl_zip_member *m, unsigned char *out)
{
    z_stream s = { 0 };
    uint64_t in_left = m->packed_bytes, out_left = m->bytes;
    int      result = Z_OK;
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK) // negative: no header around the stream
        return false;
    s.next_in = (unsigned char *)(uintptr_t)m->data; // zlib only reads it
    s.next_out = out;
    while (result == Z_OK) {
        const uInt n_in = in_left < UINT_MAX ? (uInt)in_left : UINT_MAX,
                   n_out = out_left < UINT_MAX ? (uInt)out_left : UINT_MAX;
        s.avail_in = n_in;
        s.avail_out = n_out;
        result = inflate(&s, Z_NO_FLUSH);
        in_left -= n_in - s.avail_in;
        out_left -= n_out - s.avail_out;
    }
    inflateEnd(&s);
    return result == Z_STREAM_END && out_left == 0;
}

unsigned char *epl_zip_read(const epl_zip *z, const epl_zip_member *m)
{
    unsigned char *out = m->bytes < SIZE_MAX ? epl_alloc(z->ctx, (size_t)m->bytes) : NULL;
    if (!out)
        return NULL;
    bool ok = true;
    if (m->deflated)
        ok = inflate_member(m, out);
    else if (m->bytes)
        memcpy(out, m->data, (size_t)m->bytes);
    if (ok && epl_crc32(0, out, (size_t)m->bytes) == m->crc)
        return out;
    epl_fail(z->ctx, EPL_ERR_FORMAT, "%s: damaged zip archive: '%s' does not unpack to what its checksum says", z->file,
             m->name);
    epl_release(z->ctx, out);
    return NULL;
}

/* ---- writing ---- */
uint32_t epl_crc32(uint32_t so_far, const void *data, size_t bytes)
{
    return bytes ? (uint32_t)crc32_z(so_far, data, bytes) : so_far; // zlib starts anew where the data is NULL
}

static size_t put_u16(unsigned char *p, unsigned x)
{
    p[0] = (unsigned char)x;
    p[1] = (unsigned char)(x >> 8);
    return 2;
}

static size_t put_u32(unsigned char *p, uint64_t x)
{
    put_u16(p, (unsigned)(x & 0xffff));
    put_u16(p + 2, (unsigned)(x >> 16 & 0xffff));
    return 4;
}

/* What local header and directory have in common: version needed, flags (names are UTF-8), method, time and date (1980-01-01, so
 * that the same tensors give the same file), checksum, sizes, length of the name. */
static size_t put_member(unsigned char *p, size_t name_bytes, uint64_t bytes, uint32_t crc)
{
    size_t n = put_u16(p, 20);
    n += put_u16(p + n, 0x800);
    n += put_u16(p + n, STORED);
    n += put_u32(p + n, 0x00210000);
    n += put_u32(p + n, crc);
    n += put_u32(p + n, bytes);
    n += put_u32(p + n, bytes);
    return n + put_u16(p + n, (unsigned)name_bytes);
}

bool epl_zip_begin(epl_zip_writer *z, epl_context *ctx, const char *name, uint64_t bytes, uint32_t crc)
{
    const size_t name_bytes = strlen(name);
    if (bytes >= UINT32_MAX || z->offset + bytes >= UINT32_MAX - 65536 || z->count == 65535 || name_bytes > 32767)
        return epl_fail(ctx, EPL_ERR_UNSUPPORTED,
                        "'%s' does not fit: zip archives of 4 GiB or 65535 members are not written", name);
    unsigned char local[LOCAL_BYTES] = { 0 }, central[CENTRAL_BYTES] = { 0 };
    put_u32(local, LOCAL_MAGIC);
    put_member(local + 4, name_bytes, bytes, crc);
    put_u32(central, CENTRAL_MAGIC);
    put_u16(central + 4, 20); // made by version 2.0, MS-DOS attributes
    put_member(central + 6, name_bytes, bytes, crc);
    put_u32(central + 42, z->offset);
    epl_text_add_bytes(&z->directory, central, sizeof central);
    epl_text_add_bytes(&z->directory, name, name_bytes);
    epl_writer_write(z->file, local, sizeof local);
    epl_writer_write(z->file, name, name_bytes);
    z->offset += sizeof local + name_bytes + bytes;
    z->count++;
    return !z->directory.failed;
}

void epl_zip_write(epl_zip_writer *z, const void *data, size_t bytes)
{
    epl_writer_write(z->file, data, bytes);
}

bool epl_zip_finish(epl_zip_writer *z)
{
    unsigned char end[END_BYTES] = { 0 };
    if (z->directory.failed)
        return false;
    if (z->directory.length >= UINT32_MAX)
        return epl_fail(z->directory.ctx, EPL_ERR_UNSUPPORTED, "a zip directory of %zu bytes is not written",
                        z->directory.length);
    put_u32(end, END_MAGIC);
    put_u16(end + 8, z->count);
    put_u16(end + 10, z->count);
    put_u32(end + 12, z->directory.length);
    put_u32(end + 16, z->offset);
    epl_writer_write(z->file, epl_text_str(&z->directory), z->directory.length);
    epl_writer_write(z->file, end, sizeof end);
    return true;
}
