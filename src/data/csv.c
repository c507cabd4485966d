/* csv: numbers with the class in the last column, plain or gzipped. Lines that begin with neither a digit, a sign nor a
 * point are titles and are skipped; so are lines with a different number of columns at the very top (scikit-learn writes
 * counts there). Nothing is quoted. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/gunzip.h"
#include "data/kinds.h"

enum { COLUMNS_MAX = 1 << 20 };

static int64_t columns_of(const char *line)
{
    int64_t n = 1;
    for (; *line && *line != '\n' && *line != '\r'; line++)
        n += *line == ',';
    return n;
}

static bool is_numbers(const char *line)
{
    return *line && strchr("0123456789+-.", *line) != NULL;
}

static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');
    return end ? end + 1 : line + strlen(line);
}

/* The table's width is that of its last line of numbers; what comes before the first such line is titles. */
static bool measure(epl_context *ctx, const char *name, const char *text, const char **first, int64_t *rows, int64_t *columns)
{
    *rows = *columns = 0;
    for (const char *line = text; *line; line = next_line(line))
        if (is_numbers(line))
            *columns = columns_of(line);
    bool started = false;
    for (const char *line = text; *line; line = next_line(line)) {
        if (!is_numbers(line) || (!started && columns_of(line) != *columns))
            continue;
        if (!started)
            *first = line;
        started = true;
        if (columns_of(line) != *columns)
            return epl_fail(ctx, EPL_ERR_FORMAT, "%s: row %lld has %lld columns, the last has %lld", name, (long long)*rows + 1,
                            (long long)columns_of(line), (long long)*columns);
        ++*rows;
    }
    if (*rows == 0 || *columns < 2 || *columns > COLUMNS_MAX)
        return epl_fail(ctx, EPL_ERR_FORMAT, "%s: %lld rows of %lld columns, expected at least one row of two", name,
                        (long long)*rows, (long long)*columns);
    return true;
}

static bool bad_cell(epl_context *ctx, const char *name, int64_t row, int64_t column, const char *what)
{
    return epl_fail(ctx, EPL_ERR_FORMAT, "%s: row %lld, column %lld: expected %s", name, (long long)row + 1,
                    (long long)column + 1, what);
}

static bool read_row(epl_context *ctx, const char *name, const char *line, int64_t row, int64_t columns, float scale, float *x,
                     int64_t *y)
{
    for (int64_t c = 0; c < columns; c++) {
        char        *end = NULL;
        const double v   = strtod(line, &end);
        if (end == line || !strchr(c + 1 < columns ? "," : "\r\n", *end)) // the terminating zero ends a row too
            return bad_cell(ctx, name, row, c, "a number");
        if (c + 1 < columns)
            x[c] = (float)v * scale;
        else if (v >= 0 && v < 1 << 20 && v == floor(v))
            *y = (int64_t)v;
        else
            return bad_cell(ctx, name, row, c, "a class, 0, 1, ...");
        line = end + 1;
    }
    return true;
}

static epl_source *source_of_text(epl_context *ctx, const char *name, const char *text, double scale)
{
    int64_t     rows = 0, columns = 0;
    const char *line = text;
    if (!measure(ctx, name, text, &line, &rows, &columns))
        return NULL;
    epl_tensor *x  = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(rows, columns - 1));
    epl_tensor *y  = x ? epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(rows)) : NULL;
    bool        ok = y != NULL;
    for (int64_t r = 0; ok && r < rows; line = next_line(line)) {
        if (!is_numbers(line))
            continue;
        ok = read_row(ctx, name, line, r, columns, (float)scale, (float *)x->data + r * (columns - 1), (int64_t *)y->data + r);
        r++;
    }
    epl_source *s = ok ? epl_source_new(ctx, name) : NULL;
    if (!s) {
        epl_tensor_free(x);
        epl_tensor_free(y);
        return NULL;
    }
    if (!epl_source_set_take(s, rows, x, y)) {
        epl_source_free(s);
        return NULL;
    }
    return s;
}

static bool read_text(epl_context *ctx, const char *path, char **text)
{
    epl_map file = { 0 };
    size_t  n    = 0;
    *text        = NULL;
    if (!epl_map_open(ctx, path, &file))
        return false;
    if (epl_is_gzip(file.data, file.size)) {
        epl_gunzip_all(ctx, file.data, file.size, path, (size_t)1 << 30, text, &n);
    } else {
        *text = epl_alloc(ctx, file.size + 1);
        if (*text)
            memcpy(*text, file.data, file.size);
    }
    epl_map_close(&file);
    return *text != NULL;
}

static bool reshape(epl_source *s, const epl_spec *spec)
{
    epl_shape shape = { 0 };
    char      text[192];
    if (!*epl_spec_text(spec, "shape"))
        return true;
    if (!epl_spec_shape(spec, "shape", shape.dim, EPL_MAX_RANK - 1, &shape.rank))
        return false;
    if (epl_shape_count(shape) != s->x_shape.dim[0])
        return epl_fail(s->ctx, EPL_ERR_SHAPE, "%s: shape %s for rows of %lld numbers", s->name, epl_shape_text(text, shape),
                        (long long)s->x_shape.dim[0]);
    s->x_shape = shape;
    return true;
}

static epl_source *open_csv(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    const char *path  = epl_spec_text(spec, "path");
    double      scale = 1;
    char       *text  = NULL;
    if (!*path) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "csv: needs a file, csv:FILE");
        return NULL;
    }
    if (!epl_data_refuse_test(ctx, "csv", o.split) || !epl_spec_real(spec, "scale", -1e30, 1e30, &scale) ||
        !read_text(ctx, path, &text))
        return NULL;
    epl_source *s = source_of_text(ctx, path, text, scale);
    epl_release(ctx, text);
    if (s && !reshape(s, spec)) {
        epl_source_free(s);
        return NULL;
    }
    return s;
}

const epl_source_kind epl_kind_csv = {
    .about = { "csv", "path=,shape=,scale=1", "numbers in columns, the class in the last; .csv or .csv.gz" },
    .open  = open_csv,
};
