/* jsonl: a log of one JSON object per line, continued after a crash from the step that was restored. */
#include "report/appender.h"

#include <espalier/report.h>

#include <string.h>

struct epl_jsonl {
    epl_context    *ctx;
    appender        file;
    epl_text        line;
    epl_json_writer writer;
    bool            open; /* between begin and end */
};

static bool line_step(epl_context *ctx, const char *path, size_t number, const unsigned char *data, size_t n, int64_t *step)
{
    epl_json  *line = epl_json_parse(ctx, data, n, path);
    const bool ok   = epl_json_i64(epl_json_get(line, "step"), step);
    epl_json_free(line);
    if (ok)
        return true;
    epl_error_clear(ctx);
    return epl_fail(ctx, EPL_ERR_FORMAT, "%s: line %zu is not a JSON object with an integer \"step\"; nothing was changed", path,
                    number);
}

/* How many leading bytes are whole lines of steps up to `last`. A line without an end was torn by a crash. */
static bool scan(epl_context *ctx, const char *path, const epl_map *file, int64_t last, size_t *keep)
{
    size_t number = 1;
    for (*keep = 0; *keep < file->size; number++) {
        const unsigned char *start = file->data + *keep;
        const unsigned char *end   = memchr(start, '\n', file->size - *keep);
        int64_t step;
        if (!end)
            return true;
        if (!line_step(ctx, path, number, start, (size_t)(end - start), &step))
            return false;
        if (step > last)
            return true;
        *keep += (size_t)(end - start) + 1;
    }
    return true;
}

static bool find_kept(epl_context *ctx, const char *path, int64_t last, size_t *keep)
{
    epl_map file = { 0 };
    if (!epl_file_exists(path))
        return true;
    if (!epl_map_open(ctx, path, &file))
        return false;
    const bool ok = scan(ctx, path, &file, last, keep);
    epl_map_close(&file);
    return ok;
}

epl_jsonl *epl_jsonl_open(epl_context *ctx, const char *path, epl_jsonl_opts o)
{
    size_t keep = 0;
    if (o.resume && !find_kept(ctx, path, o.resume_step, &keep))
        return NULL;
    epl_jsonl *l = epl_alloc(ctx, sizeof *l);
    if (!l)
        return NULL;
    l->ctx  = ctx;
    l->line = EPL_TEXT(ctx);
    if (epl_appender_open(&l->file, ctx, path, keep))
        return l;
    epl_jsonl_close(l);
    return NULL;
}

static bool writable(const epl_jsonl *l)
{
    return l && l->open && !l->file.failed;
}

void epl_jsonl_begin(epl_jsonl *l, int64_t step)
{
    if (!l || l->file.failed)
        return;
    epl_text_release(&l->line); // a line that was begun and not ended is dropped
    l->line   = EPL_TEXT(l->ctx);
    l->writer = epl_json_writer_at(&l->line, 0);
    l->open   = true;
    epl_json_open_object(&l->writer, NULL);
    epl_json_put_i64(&l->writer, "step", step);
}

void epl_jsonl_number(epl_jsonl *l, const char *name, double x)
{
    if (writable(l))
        epl_json_put_f64(&l->writer, name, x);
}

void epl_jsonl_integer(epl_jsonl *l, const char *name, int64_t x)
{
    if (writable(l))
        epl_json_put_i64(&l->writer, name, x);
}

void epl_jsonl_text(epl_jsonl *l, const char *name, const char *s)
{
    if (writable(l))
        epl_json_put_string(&l->writer, name, s);
}

bool epl_jsonl_end(epl_jsonl *l)
{
    if (!writable(l))
        return false;
    epl_json_close(&l->writer);
    if (l->line.length && l->line.data[l->line.length - 1] != '\n')
        epl_text_add(&l->line, "\n");
    l->open = false;
    l->file.failed |= l->line.failed;
    return epl_appender_write(&l->file, epl_text_str(&l->line), l->line.length);
}

bool epl_jsonl_close(epl_jsonl *l)
{
    if (!l)
        return true;
    const bool ok = epl_appender_close(&l->file);
    epl_text_release(&l->line);
    epl_release(l->ctx, l);
    return ok;
}
