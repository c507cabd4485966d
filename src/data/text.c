/* text: characters of files as windows of symbols, each with the symbol that comes next; for models of language.
 *
 * The alphabet is fixed, so that a model fits any text: newline, and the printable characters of ASCII. No tokens of words or
 * parts of words. */
#include <string.h>
#include <sys/stat.h>

#include "data/kinds.h"

#define MANUAL "/usr/share/cmake-3.25/Help" /* of Debian 12's package cmake-data, which cmake needs */

enum { SYMBOLS = 96, CHARACTERS_MAX = 1 << 28, DEPTH_MAX = 16 };

typedef struct text_state {
    uint8_t *symbol; /* one after the other */
    size_t   n, capacity;
    int64_t  window;
    double   test;   /* share of each file */
    bool     is_test;
} text_state;

static uint8_t symbol_of(unsigned char c)
{
    if (c == '\n')
        return 0;
    return (uint8_t)(c >= ' ' && c <= '~' ? c - ' ' + 1 : c == '\t' ? 1 : '?' - ' ' + 1);
}

/* A carriage return is part of the line's end, and what follows a character's first byte in UTF-8 is part of it. */
static bool is_silent(unsigned char c) { return c == '\r' || (c & 0xc0) == 0x80; }

static bool append(epl_source *s, text_state *t, const unsigned char *from, const unsigned char *end)
{
    if ((size_t)(end - from) > CHARACTERS_MAX - t->n)
        return epl_fail(s->ctx, EPL_ERR_FORMAT, "%s: more than %d characters", s->name, CHARACTERS_MAX);
    const size_t most = t->n + (size_t)(end - from);
    if (most > t->capacity) {
        const size_t   room  = most + most / 2;
        uint8_t *const grown = epl_resize(s->ctx, t->symbol, room, 1);
        if (!grown)
            return false;
        t->symbol   = grown;
        t->capacity = room;
    }
    for (; from < end; from++)
        if (!is_silent(*from))
            t->symbol[t->n++] = symbol_of(*from);
    return true;
}

/* The part of a file that belongs to the split: all but the last tenth, or that. */
static bool add_file(epl_source *s, text_state *t, const char *path)
{
    epl_map file = { 0 };
    if (!epl_map_open(s->ctx, path, &file))
        return false;
    const unsigned char *data = file.data;
    const size_t         cut  = file.size - (size_t)((double)file.size * t->test);
    const bool           ok   = file.size == 0 || append(s, t, data + (t->is_test ? cut : 0), data + (t->is_test ? file.size : cut));
    epl_map_close(&file);
    return ok;
}

/* Ordinary files, and folders that are no links: those could lead in circles. */
static bool is_read(const char *path)
{
    struct stat st;
    return (stat(path, &st) == 0 && S_ISREG(st.st_mode)) || (lstat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

static bool add_folder(epl_source *s, text_state *t, const char *folder, int depth)
{
    epl_path_list inside;
    if (depth > DEPTH_MAX)
        return epl_fail(s->ctx, EPL_ERR_IO, "%s: folders in folders, more than %d deep", folder, DEPTH_MAX);
    bool ok = epl_data_list(s, folder, is_read, &inside);
    for (size_t i = 0; ok && i < inside.n; i++)
        ok = epl_data_is_folder(inside.name[i]) ? add_folder(s, t, inside.name[i], depth + 1) : add_file(s, t, inside.name[i]);
    epl_release(s->ctx, inside.name);
    return ok;
}

static bool read_all(epl_source *s, text_state *t, const char *path)
{
    if (!epl_file_exists(path) && strcmp(path, MANUAL) == 0)
        return epl_fail(
            s->ctx, EPL_ERR_IO,
            "text: there is no %s: install Debian's package cmake-data, or name a file or folder, text:PATH", path);
    return epl_data_is_folder(path) ? add_folder(s, t, path, 0) : add_file(s, t, path);
}

static bool fetch(const epl_source *s, epl_context *ctx, int64_t i, void *x)
{
    const text_state *t = s->state;
    const uint8_t    *from = t->symbol + i * t->window;
    (void)ctx;
    for (int64_t k = 0; k < t->window; k++)
        ((int64_t *)x)[k] = from[k];
    return true;
}

static bool name_symbols(epl_source *s)
{
    char        text[SYMBOLS][2] = { "" };
    const char *names[SYMBOLS] = { "newline", "space" };
    for (int i = 2; i < SYMBOLS; i++) {
        text[i][0] = (char)(' ' + i - 1);
        names[i]   = text[i];
    }
    return epl_source_set_classes(s, names, SYMBOLS);
}

/* y is x one symbol later. */
static bool cut_windows(epl_source *s, text_state *t)
{
    const int64_t count = t->n > 0 ? ((int64_t)t->n - 1) / t->window : 0;
    if (count < 1)
        return epl_fail(s->ctx, EPL_ERR_FORMAT, "%s: %zu characters in the %s part, a window of %lld and the character after it need "
                        "%lld", s->name, t->n, t->is_test ? "test" : "training", (long long)t->window, (long long)t->window + 1);
    epl_tensor *y = epl_tensor_new(s->ctx, EPL_U8, EPL_SHAPE(count, t->window));
    if (!y)
        return false;
    memcpy(y->data, t->symbol + 1, (size_t)(count * t->window));
    s->x_dtype = EPL_I64;
    s->x_shape = EPL_SHAPE(t->window);
    s->fetch_x = fetch;
    s->state   = t;
    return epl_source_set_take(s, count, NULL, y) && name_symbols(s);
}

static bool keep_symbols(epl_source *s, text_state *t)
{
    uint8_t *symbol = t->n ? epl_arena_copy(s->arena, t->symbol, t->n) : NULL;
    epl_release(s->ctx, t->symbol);
    t->symbol = symbol;
    return symbol || t->n == 0;
}

static epl_source *open_text(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    text_state  read = { .is_test = o.split == EPL_SPLIT_TEST };
    const char *path = epl_spec_text(spec, "path");
    if (!epl_spec_int(spec, "window", 2, 1 << 20, &read.window) || !epl_spec_real(spec, "test", 0, 0.9, &read.test))
        return NULL;
    epl_source *s = epl_source_new(ctx, path);
    text_state *t = s ? epl_arena_copy(s->arena, &read, sizeof read) : NULL;
    bool        ok = t && read_all(s, t, path);
    ok = t && keep_symbols(s, t) && ok && cut_windows(s, t);
    if (!ok) {
        epl_source_free(s);
        return NULL;
    }
    return s;
}

const epl_source_kind epl_kind_text = {
    .about = { "text", "path=" MANUAL ",window=64,test=0.1",
               "characters of a file or folder, and which comes next; default: CMake's manual" },
    .open = open_text,
};
