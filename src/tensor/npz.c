/* npz: a zip archive of .npy files, read into and written from a set of weights. */
#include "base/zip.h"
#include "tensor/npy.h"
#include "tensor/weights.h"

#include <string.h>

static bool add_member(epl_weights *w, const epl_zip *z, const epl_zip_member *m)
{
    const size_t n = strlen(m->name);
    epl_text     where = EPL_TEXT(w->ctx);
    if (n < 4 || strcmp(m->name + n - 4, ".npy") != 0)
        return epl_fail(w->ctx, EPL_ERR_FORMAT, "%s: member '%s' is not a .npy file", z->file, m->name);
    epl_text_addf(&where, "%s: %s", z->file, m->name);
    unsigned char *data = where.failed ? NULL : epl_zip_read(z, m);
    epl_tensor    *t = data ? epl_npy_parse(w->ctx, data, (size_t)m->bytes, where.data) : NULL;
    epl_release(w->ctx, data);
    epl_text_release(&where);
    m->name[n - 4] = 0;
    return epl_weights_put_take(w, m->name, t);
}

epl_weights *epl_npz_parse(epl_context *ctx, const void *data, size_t bytes, const char *name)
{
    epl_zip      z = { 0 };
    epl_weights *w = epl_weights_new(ctx);
    bool         ok = w && epl_zip_open(ctx, data, bytes, name, &z);
    for (size_t i = 0; ok && i < z.count; i++)
        ok = add_member(w, &z, &z.members[i]);
    epl_zip_close(&z);
    if (ok)
        return w;
    epl_weights_free(w);
    return NULL;
}

epl_weights *epl_npz_open(epl_context *ctx, const char *path)
{
    epl_map file;
    if (!epl_map_open(ctx, path, &file))
        return NULL;
    epl_weights *w = epl_npz_parse(ctx, file.data, file.size, path);
    epl_map_close(&file);
    return w;
}

static bool write_member(epl_zip_writer *z, epl_context *ctx, const epl_weights_entry *e)
{
    epl_tensor       *copy = NULL;
    const epl_tensor *t = epl_npy_storable(e->tensor, &copy);
    epl_text          name = EPL_TEXT(ctx), header = EPL_TEXT(ctx);
    bool              ok = false;
    if (t) {
        epl_text_addf(&name, "%s.npy", e->name);
        epl_npy_header(&header, t->dtype, t->shape);
    }
    if (t && !name.failed && !header.failed) {
        const size_t   bytes = epl_tensor_bytes(t);
        const uint32_t crc = epl_crc32(epl_crc32(0, header.data, header.length), t->data, bytes);
        ok = epl_zip_begin(z, ctx, name.data, header.length + bytes, crc);
    }
    if (ok) {
        epl_zip_write(z, header.data, header.length);
        epl_zip_write(z, t->data, epl_tensor_bytes(t));
    }
    epl_text_release(&name);
    epl_text_release(&header);
    epl_tensor_free(copy);
    return ok;
}

bool epl_npz_save(const epl_weights *w, const char *path)
{
    epl_zip_writer z = { .directory = EPL_TEXT(w->ctx), .file = epl_writer_open(w->ctx, path) };
    bool           ok = z.file != NULL;
    for (size_t i = 0; ok && i < w->count; i++)
        ok = write_member(&z, w->ctx, &w->entries[i]);
    ok = ok && epl_zip_finish(&z);
    if (ok)
        ok = epl_writer_commit(z.file);
    else
        epl_writer_abandon(z.file);
    epl_text_release(&z.directory);
    return ok;
}
