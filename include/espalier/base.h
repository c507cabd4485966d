/* base: what every floor stands on - contexts, errors, memory, text, files, random numbers.
 *
 * Nothing here knows about tensors or networks. The library never prints, exits or aborts on a user's mistake:
 * a function that can fail returns false or NULL, and the reason waits in the context. */
#ifndef ESPALIER_BASE_H
#define ESPALIER_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EPL_VERSION_MAJOR 0
#define EPL_VERSION_MINOR 1
#define EPL_VERSION_PATCH 0

#define EPL_API __attribute__((visibility("default")))
#define EPL_PRINTF(string, first) __attribute__((__format__(__printf__, string, first)))
#define EPL_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The kinds of failure. The sentence in the context says the rest. */
typedef enum epl_error {
    EPL_OK = 0,
    EPL_ERR_MEMORY,      /* an allocation failed */
    EPL_ERR_ARGUMENT,    /* a caller's value is out of its range, or a name is unknown */
    EPL_ERR_SHAPE,       /* shapes that do not fit together */
    EPL_ERR_DTYPE,       /* an element type that the operation does not take */
    EPL_ERR_FORMAT,      /* a file or text that is not what it claims to be */
    EPL_ERR_IO,          /* the operating system refused: missing file, full disk */
    EPL_ERR_UNSUPPORTED, /* well-formed, but not implemented or not built in */
    EPL_ERR_LIMIT,       /* a limit given by the caller cannot be met */
    EPL_ERR_INTERRUPTED  /* a signal or a callback asked to stop */
} epl_error;

EPL_API const char *epl_error_name(epl_error e); /* "memory", "argument", ...; static */

/* ---- context -------------------------------------------------------------------------------------------------
 * Owns the allocator, the first error and the thread count. A context is used by one thread at a time; several
 * contexts may live side by side, the process itself has no mutable state of ours. */
typedef struct epl_context epl_context;

/* Memory for a context. `resize` acts as realloc (NULL in: allocate; size 0 is never asked). A NULL field in the
 * options means malloc, realloc and free. */
typedef struct epl_allocator {
    void *(*resize)(void *user, void *old, size_t bytes);
    void (*release)(void *user, void *p);
    void *user;
} epl_allocator;

typedef struct epl_context_opts {
    epl_allocator allocator; /* default: the C library's */
    int           n_threads; /* default: the number of cores this process may use */
} epl_context_opts;

/* Returns NULL only when memory is out. The caller owns the context and frees it after everything made with it. */
EPL_API epl_context *epl_context_new(epl_context_opts o);
EPL_API void         epl_context_free(epl_context *ctx);
EPL_API int          epl_context_threads(const epl_context *ctx);
EPL_API void         epl_context_set_threads(epl_context *ctx, int n_threads); /* below 1 means the default */

/* Records an error; the first one wins until it is cleared. Always returns false, so that `return epl_fail(...)`
 * reads well. The sentence says what is wrong, of what, with both numbers, and has no final newline. */
EPL_API bool epl_fail(epl_context *ctx, epl_error code, const char *format, ...) EPL_PRINTF(3, 4);
EPL_API bool epl_failv(epl_context *ctx, epl_error code, const char *format, va_list args) EPL_PRINTF(3, 0);

EPL_API epl_error   epl_error_code(const epl_context *ctx);
EPL_API const char *epl_error_message(const epl_context *ctx); /* "" without an error; lives until the next error */
EPL_API void        epl_error_clear(epl_context *ctx);

/* ---- memory --------------------------------------------------------------------------------------------------
 * All return NULL and record EPL_ERR_MEMORY on failure. Memory from epl_alloc* is zeroed and 16-byte aligned. */
EPL_API void *epl_alloc(epl_context *ctx, size_t bytes);
EPL_API void *epl_alloc_array(epl_context *ctx, size_t count, size_t size);            /* checks count * size */
EPL_API void *epl_resize(epl_context *ctx, void *p, size_t count, size_t size);        /* contents kept, tail raw */
EPL_API void  epl_release(epl_context *ctx, void *p);                                  /* accepts NULL */
EPL_API char *epl_strdup(epl_context *ctx, const char *s);
EPL_API void *epl_alloc_aligned(epl_context *ctx, size_t bytes);                       /* 64-byte aligned, zeroed */
EPL_API void  epl_release_aligned(epl_context *ctx, void *p);

/* Makes room for one more element in a growing array: `*array` has `count` elements of `size` bytes in use and room
 * for `*capacity`. Doubles when full. */
EPL_API bool epl_grow(epl_context *ctx, void *array, size_t count, size_t *capacity, size_t size);

EPL_API bool epl_mul_size(size_t a, size_t b, size_t *product);       /* false on overflow */
EPL_API bool epl_mul_i64(int64_t a, int64_t b, int64_t *product);     /* false on overflow */

/* An arena: allocations that die together. Zeroed, 16-byte aligned. */
typedef struct epl_arena epl_arena;
EPL_API epl_arena *epl_arena_new(epl_context *ctx);
EPL_API void       epl_arena_free(epl_arena *a);
EPL_API void      *epl_arena_alloc(epl_arena *a, size_t bytes);
EPL_API char      *epl_arena_strdup(epl_arena *a, const char *s);
EPL_API void      *epl_arena_copy(epl_arena *a, const void *data, size_t bytes);

/* ---- text ----------------------------------------------------------------------------------------------------
 * A growing string. Additions after a failed allocation do nothing, so a writer asks once at the end. Zero-initialise
 * with EPL_TEXT(ctx); `data` is NULL while empty, else terminated. */
typedef struct epl_text {
    epl_context *ctx;
    char        *data;
    size_t       length, capacity;
    bool         failed;
} epl_text;

#define EPL_TEXT(context) ((epl_text){ .ctx = (context) })

EPL_API void        epl_text_add(epl_text *t, const char *s);
EPL_API void        epl_text_add_bytes(epl_text *t, const void *data, size_t n);
EPL_API void        epl_text_addf(epl_text *t, const char *format, ...) EPL_PRINTF(2, 3);
EPL_API const char *epl_text_str(const epl_text *t);  /* "" while empty; lives until the next addition */
EPL_API char       *epl_text_detach(epl_text *t);     /* the caller owns it (epl_release); NULL if an addition failed */
EPL_API void        epl_text_release(epl_text *t);

/* The shortest decimal that reads back as exactly the same number ("0.1", "1e-05", "inf", "nan"). `out` holds 32. */
EPL_API void epl_format_f64(char out[32], double x);
EPL_API void epl_format_f32(char out[32], float x);
EPL_API void epl_format_count(char out[32], double x);   /* 1 234 567 -> "1.23 M"; for people */
EPL_API void epl_format_bytes(char out[32], double n);   /* 1536 -> "1.50 KiB" */
EPL_API void epl_format_seconds(char out[32], double s); /* "85 us", "1.24 s", "3 m 05 s" */

/* Does `name` match `pattern`? `*` stands for any run of characters, `?` for one; a comma separates alternatives. */
EPL_API bool epl_glob(const char *pattern, const char *name);

/* The closest of n candidates to a mistyped name, or NULL: edit distance (swapped neighbours count once, upper and lower case
 * are alike) at most a third of the length, rounded up. Names over 63 characters have no closest. */
EPL_API const char *epl_closest(const char *name, const char *const *candidates, size_t n);

/* ---- JSON, read ----------------------------------------------------------------------------------------------
 * A parsed document; every other epl_json is a part of one and dies with it. All questions accept NULL, which answers like a
 * value of another kind, so that a chain of look-ups is checked once at its end. */
typedef struct epl_json epl_json;

typedef enum epl_json_kind {
    EPL_JSON_NONE = 0, /* no value: a missing member */
    EPL_JSON_NULL, EPL_JSON_BOOL, EPL_JSON_INTEGER, EPL_JSON_REAL, EPL_JSON_STRING, EPL_JSON_ARRAY, EPL_JSON_OBJECT
} epl_json_kind;

/* Any value may be the document. Refused: repeated members, bytes after the value, U+0000 in strings, integers beyond 64 bits,
 * nesting deeper than 2048. `name` starts the message, which tells line and column. The caller owns the result. */
EPL_API epl_json *epl_json_parse(epl_context *ctx, const void *data, size_t bytes, const char *name);
EPL_API epl_json *epl_json_load(epl_context *ctx, const char *path);
EPL_API void      epl_json_free(epl_json *document); /* accepts NULL */

EPL_API epl_json_kind   epl_json_kind_of(const epl_json *j);
EPL_API size_t          epl_json_length(const epl_json *j);               /* elements or members; 0 for anything else */
EPL_API const epl_json *epl_json_at(const epl_json *array, size_t i);     /* NULL beyond the end */
EPL_API const epl_json *epl_json_get(const epl_json *object, const char *key);
EPL_API const char     *epl_json_string(const epl_json *j);               /* NULL if it is none */
EPL_API bool            epl_json_i64(const epl_json *j, int64_t *x);      /* integers only; else false and x stays */
EPL_API bool            epl_json_f64(const epl_json *j, double *x);       /* integers too */
EPL_API bool            epl_json_bool(const epl_json *j, bool *x);

/* Members in file order: for (epl_json_member m = epl_json_first(o); m.key; m = epl_json_next(o, m)) */
typedef struct epl_json_member {
    const char     *key;
    const epl_json *value;
    void           *place; /* private */
} epl_json_member;

EPL_API epl_json_member epl_json_first(const epl_json *object);
EPL_API epl_json_member epl_json_next(const epl_json *object, epl_json_member m);

/* ---- JSON, written ---------------------------------------------------------------------------------------------
 * Commas, line ends and escapes into a text. `key` is NULL inside arrays and at the top. At most 64 levels.
 *
 *     epl_json_writer w = epl_json_writer_at(&text, 2);
 *     epl_json_open_object(&w, NULL);
 *     epl_json_put_f64(&w, "accuracy", 0.93);
 *     epl_json_close(&w); */
typedef struct epl_json_writer {
    epl_text *out;
    int       indent;   /* spaces per level; 0 writes everything on one line */
    int       depth;
    uint64_t  is_array; /* one bit per open level */
    bool      not_first;
} epl_json_writer;

EPL_API epl_json_writer epl_json_writer_at(epl_text *out, int indent);
EPL_API void            epl_json_open_object(epl_json_writer *w, const char *key);
EPL_API void            epl_json_open_array(epl_json_writer *w, const char *key);
EPL_API void            epl_json_close(epl_json_writer *w); /* the innermost open level */
EPL_API void            epl_json_put_string(epl_json_writer *w, const char *key, const char *s); /* NULL: null */
EPL_API void            epl_json_put_f64(epl_json_writer *w, const char *key, double x);         /* NaN and infinity: null */
EPL_API void            epl_json_put_i64(epl_json_writer *w, const char *key, int64_t x);
EPL_API void            epl_json_put_bool(epl_json_writer *w, const char *key, bool x);
EPL_API void            epl_json_put_null(epl_json_writer *w, const char *key);

/* ---- files ---------------------------------------------------------------------------------------------------
 * Reading maps; writing goes to a file beside and renames, so that a crash or a full disk leaves the old file. */
typedef struct epl_map {
    const unsigned char *data;
    size_t               size;
} epl_map;

EPL_API bool epl_map_open(epl_context *ctx, const char *path, epl_map *out);
EPL_API void epl_map_close(epl_map *m); /* accepts a zero value */

typedef struct epl_writer epl_writer;
EPL_API epl_writer *epl_writer_open(epl_context *ctx, const char *path);
EPL_API bool        epl_writer_write(epl_writer *w, const void *data, size_t bytes); /* errors are kept for commit */
EPL_API bool        epl_writer_commit(epl_writer *w); /* flush, sync, rename; frees the writer either way */
EPL_API void        epl_writer_abandon(epl_writer *w);

EPL_API bool epl_write_file(epl_context *ctx, const char *path, const void *data, size_t bytes);
EPL_API bool epl_make_directories(epl_context *ctx, const char *path); /* as mkdir -p */
EPL_API bool epl_file_exists(const char *path);

static inline uint32_t epl_get_u32le(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t epl_get_u64le(const unsigned char *p)
{
    return (uint64_t)epl_get_u32le(p) | (uint64_t)epl_get_u32le(p + 4) << 32;
}

/* ---- random numbers ------------------------------------------------------------------------------------------
 * Philox 4x32-10 (Salmon et al. 2011): a pure function of counter and key, so every draw can be made by any thread,
 * in any order, and again after a crash. */
EPL_API void epl_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* A sequential view on one stream of it. Copy the struct to save the position. */
typedef struct epl_rng {
    uint64_t seed, stream, position; /* position counts 32-bit draws */
} epl_rng;

EPL_API epl_rng  epl_rng_at(uint64_t seed, uint64_t stream);
EPL_API uint32_t epl_rng_u32(epl_rng *r);
EPL_API uint64_t epl_rng_below(epl_rng *r, uint64_t n);  /* uniform in [0, n), unbiased; n > 0 */
EPL_API float    epl_rng_uniform(epl_rng *r);            /* [0, 1), 24 bits */
EPL_API double   epl_rng_uniform_f64(epl_rng *r);        /* [0, 1), 53 bits */
EPL_API float    epl_rng_normal(epl_rng *r);             /* Box-Muller; two draws each */
EPL_API void     epl_rng_shuffle(epl_rng *r, int64_t *items, size_t n);

EPL_API uint64_t epl_hash(const void *data, size_t bytes, uint64_t seed); /* XXH3-64; stable across machines */

/* ---- numbers in order ---------------------------------------------------------------------------------------- */
EPL_API void   epl_sort(double *x, int64_t n);   /* rising, in place; no NaN */
EPL_API double epl_median(double *x, int64_t n); /* sorts x; of an even number the mean of the middle two; NaN of none */

/* ---- time ---------------------------------------------------------------------------------------------------- */
EPL_API double epl_now_s(void); /* monotonic */

/* Progress of long work: `done` of `total` (0: unknown) at a label; the function decides what to show. The library
 * calls it at most about ten times a second. Return false to ask the work to stop at the next boundary. */
typedef struct epl_progress {
    bool (*report)(void *user, const char *label, double done, double total);
    void *user;
} epl_progress;

#ifdef __cplusplus
}
#endif
#endif
