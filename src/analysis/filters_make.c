/* filters_make: banks of filters by the name of the method - drawn, computed, learned from patches, or from a file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/filters.h"

typedef struct maker {
    epl_context     *ctx;
    epl_filters_opts o;
    char             name[64];   /* the method without its parameter */
    const char      *parameter;  /* behind the colon, or NULL */
    int              p;          /* numbers of a filter */
} maker;

typedef enum origin { DRAWN, COMPUTED, LEARNED, STORED } origin;

static const struct {
    const char *name;
    origin      from;
    bool        whitened; /* of learned ones */
} methods[] = {
    { "constant", DRAWN, 0 },       { "zero", DRAWN, 0 },         { "normal", DRAWN, 0 },        { "lecun", DRAWN, 0 },
    { "lecun-2.4", DRAWN, 0 },      { "xavier", DRAWN, 0 },       { "xavier-normal", DRAWN, 0 }, { "he", DRAWN, 0 },
    { "he-uniform", DRAWN, 0 },     { "trunc-normal", DRAWN, 0 }, { "orthogonal", DRAWN, 0 },    { "delta-orthogonal", COMPUTED, 0 },
    { "gabor", COMPUTED, 0 },       { "dct", COMPUTED, 0 },       { "patches", LEARNED, true },  { "pca", LEARNED, false },
    { "kmeans", LEARNED, true },    { "kmeans-plain", LEARNED, false }, { "kmeans-euclidean", LEARNED, true },
    { "conv-kmeans", LEARNED, true }, { "som", LEARNED, true },   { "hebb-wta", LEARNED, true }, { "sanger", LEARNED, false },
    { "hebb", LEARNED, false },     { "sparse", LEARNED, true },  { "ae", LEARNED, true },       { "rbm", LEARNED, true },
    { "file", STORED, 0 },
};

int         epl_filters_method_count(void) { return (int)EPL_COUNT(methods); }
const char *epl_filters_method_at(int i) { return methods[i].name; }

static int find_method(epl_context *ctx, const char *name)
{
    const char *names[EPL_COUNT(methods)];
    for (size_t i = 0; i < EPL_COUNT(methods); i++) {
        names[i] = methods[i].name;
        if (strcmp(names[i], name) == 0)
            return (int)i;
    }
    const char *close = epl_closest(name, names, EPL_COUNT(methods));
    epl_fail(ctx, EPL_ERR_ARGUMENT, "no filters are made by '%s'%s%s%s", name, close ? "; did you mean '" : "", close ? close : "",
             close ? "'?" : "");
    return -1;
}

/* ---- drawn: any shape whose last axis counts the filters ---- */

epl_tensor *epl_filters_draw(epl_context *ctx, const char *method, epl_shape shape, double fan_in, double fan_out, uint64_t seed)
{
    const char  *colon = strchr(method, ':');
    const size_t n = strcspn(method, ":");
    const double given = colon ? strtod(colon + 1, NULL) : 0, gain = colon ? given : 1;
    const struct {
        const char *name;
        epl_init    init;
        double      a;
    } draws[] = {
        { "constant", EPL_INIT_CONSTANT, colon ? given : 0.01 },
        { "zero", EPL_INIT_ZEROS, 0 },
        { "normal", EPL_INIT_NORMAL, colon ? given : 0.01 },
        { "lecun", EPL_INIT_NORMAL, sqrt(1 / fan_in) },
        { "lecun-2.4", EPL_INIT_UNIFORM, 2.4 / fan_in },
        { "xavier", EPL_INIT_UNIFORM, gain * sqrt(6 / (fan_in + fan_out)) },
        { "xavier-normal", EPL_INIT_NORMAL, gain * sqrt(2 / (fan_in + fan_out)) },
        { "he", EPL_INIT_NORMAL, sqrt(2 / ((1 + given * given) * fan_in)) },
        { "he-uniform", EPL_INIT_UNIFORM, sqrt(6 / fan_in) },
        { "trunc-normal", EPL_INIT_TRUNC_NORMAL, colon ? given : 0.02 },
        { "orthogonal", EPL_INIT_ORTHOGONAL, gain },
    };
    for (size_t i = 0; i < EPL_COUNT(draws); i++) {
        if (strlen(draws[i].name) != n || strncmp(draws[i].name, method, n) != 0)
            continue;
        epl_graph *g = epl_graph_new(ctx, "draw"); // how weights of models start, without a model
        epl_parameter(g, "w", EPL_F32, shape, draws[i].init, draws[i].a);
        epl_model  *m = g ? epl_model_new_take(g) : NULL;
        epl_tensor *t = m && epl_model_init(m, seed) ? epl_tensor_copy(ctx, epl_weights_find(m->weights, "w")) : NULL;
        epl_model_free(m);
        return t;
    }
    epl_fail(ctx, EPL_ERR_ARGUMENT, "'%s' is not made for a weight of rank %d: it needs the square kernel of a two-dimensional convolution",
             method, shape.rank);
    return NULL;
}

static epl_shape shape_of(const maker *m) { return EPL_SHAPE(m->o.kernel, m->o.kernel, m->o.channels, m->o.number); }

static epl_tensor *draw(const maker *m, const char *method)
{
    const double taps = (double)m->o.kernel * m->o.kernel;
    return epl_filters_draw(m->ctx, method, shape_of(m), taps * m->o.channels, taps * m->o.number, m->o.seed);
}

/* ---- computed: planes [n, kernel * kernel], repeated over the channels ---- */

enum { GABORS = 8 * 4 * 2 };

static void gabor_plane(float *out, int k, int index)
{
    static const double lengths[] = { 3, 4.5, 6, 8 };
    const double pi = acos(-1), t = index % 8 * pi / 8, lambda = lengths[index / 16] * k / 7, psi = index / 8 % 2 * pi / 2;
    const double s = 0.5 * lambda, gamma = 0.5, centre = (k - 1) / 2.0;
    double mean = 0;
    for (int i = 0; i < k * k; i++) {
        const double y = i / k - centre, x = i % k - centre;
        const double u = x * cos(t) + y * sin(t), v = -x * sin(t) + y * cos(t);
        out[i] = (float)(exp(-(u * u + gamma * gamma * v * v) / (2 * s * s)) * cos(2 * pi * u / lambda + psi));
        mean += (double)out[i] / (k * k);
    }
    for (int i = 0; i < k * k; i++)
        out[i] -= (float)mean;
}

/* DCT-II, in the order of u + v, then u. */
static void dct_plane(float *out, int k, int index)
{
    const double pi = acos(-1);
    int u = 0, v = 0;
    for (int sum = 0, at = -1; at < index; sum++)
        for (int a = 0; a <= sum && at < index; a++)
            if (a < k && sum - a < k) {
                at++;
                u = a;
                v = sum - a;
            }
    for (int i = 0; i < k * k; i++)
        out[i] = (float)(sqrt((u ? 2.0 : 1.0) / k) * cos(pi * (i / k + 0.5) * u / k) * sqrt((v ? 2.0 : 1.0) / k) *
                         cos(pi * (i % k + 0.5) * v / k));
}

static epl_tensor *compute_planes(const maker *m)
{
    const int  k = m->o.kernel, d = m->o.channels;
    const bool gabor = strcmp(m->name, "gabor") == 0;
    const int  all = gabor ? GABORS : k * k, n = m->o.number < all ? m->o.number : all;
    float     *plane = epl_alloc_array(m->ctx, (size_t)k * (size_t)k, sizeof *plane);
    epl_tensor *rows = k > 1 ? epl_tensor_new(m->ctx, EPL_F32, EPL_SHAPE(n, m->p)) : NULL;
    if (k < 2)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "'%s' needs a kernel of at least 2, not %d", m->name, k);
    for (int j = 0; plane && rows && j < n; j++) {
        (gabor ? gabor_plane : dct_plane)(plane, k, j); // few Gabor filters: all angles and phases before other wavelengths
        for (int i = 0; i < m->p; i++)
            ((float *)rows->data)[(int64_t)j * m->p + i] = plane[i / d] * (float)(1 / sqrt(d));
    }
    epl_release(m->ctx, plane);
    return rows;
}

/* An orthogonal matrix [channels, number] at the centre tap. */
static epl_tensor *delta_orthogonal(const maker *m)
{
    const int    k = m->o.kernel, d = m->o.channels, z = m->o.number;
    epl_tensor  *q = epl_filters_draw(m->ctx, "orthogonal", EPL_SHAPE(d, z), d, z, m->o.seed);
    epl_tensor  *t = q ? epl_tensor_new(m->ctx, EPL_F32, shape_of(m)) : NULL;
    const size_t centre = ((size_t)(k / 2) * (size_t)k + (size_t)(k / 2)) * (size_t)d * (size_t)z;
    if (t)
        memcpy((float *)t->data + centre, q->data, epl_tensor_bytes(q));
    epl_tensor_free(q);
    return t;
}

/* ---- learned: patches, contrast, whitening ---- */

typedef struct sampler {
    const maker *m;
    epl_dataset_info info;
    int    h, w, d, window, group; /* side of what is cut out; patches in it */
    bool   plain;                  /* as they are, empty ones too */
    float *image;
    unsigned char *raw;
    epl_rng rng;
} sampler;

static bool fetch_image(sampler *s, int64_t i)
{
    const int64_t n = epl_shape_count(s->info.x_shape);
    if (s->info.x_dtype == EPL_F32)
        return epl_dataset_fetch(s->m->o.data, i, s->image, NULL);
    if (!epl_dataset_fetch(s->m->o.data, i, s->raw, NULL))
        return false;
    for (int64_t k = 0; k < n; k++)
        s->image[k] = (float)s->raw[k] / 255;
    return true;
}

/* (x - mean) / sqrt(variance + c): c is 10 for bytes, as in Coates & Ng; returns the variance. */
static double normalise_contrast(float *x, int p, double c)
{
    double mean = 0, variance = 0;
    for (int i = 0; i < p; i++)
        mean += (double)x[i] / p;
    for (int i = 0; i < p; i++)
        variance += ((double)x[i] - mean) * ((double)x[i] - mean) / p;
    for (int i = 0; i < p; i++)
        x[i] = (float)(((double)x[i] - mean) / sqrt(variance + c));
    return variance;
}

static double cut_patch(const sampler *s, int y, int x, float *out)
{
    const int k = s->m->o.kernel;
    for (int i = 0; i < k; i++)
        memcpy(out + (int64_t)i * k * s->d, s->image + ((int64_t)(y + i) * s->w + x) * s->d, (size_t)(k * s->d) * sizeof *out);
    return s->plain ? 1 : normalise_contrast(out, s->m->p, s->info.x_dtype == EPL_F32 ? 0.1 : 10.0 / (255 * 255));
}

/* The patches of one window at a random place; empty ones are drawn again. */
static bool sample_window(sampler *s, float *out)
{
    for (int tries = 0; tries < 50; tries++) {
        if (!fetch_image(s, (int64_t)epl_rng_below(&s->rng, (uint64_t)s->info.count)))
            return false;
        const int y = (int)epl_rng_below(&s->rng, (uint64_t)(s->h - s->window + 1));
        const int x = (int)epl_rng_below(&s->rng, (uint64_t)(s->w - s->window + 1));
        const int across = s->window - s->m->o.kernel + 1;
        double    most = 0;
        for (int g = 0; g < s->group; g++)
            most = fmax(most, cut_patch(s, y + g / across, x + g % across, out + (int64_t)g * s->m->p));
        if (most > 1e-3)
            break;
    }
    return true;
}

static bool check_data(const maker *m, const epl_dataset_info *info, int window)
{
    if (!m->o.data)
        return epl_fail(m->ctx, EPL_ERR_ARGUMENT, "'%s' learns from pictures, or is scaled by them: a data set is needed", m->name);
    if (info->x_shape.rank != 3 || info->x_shape.dim[2] != m->o.channels || (info->x_dtype != EPL_F32 && info->x_dtype != EPL_U8)) {
        char shape[192];
        return epl_fail(m->ctx, EPL_ERR_SHAPE, "'%s' is to learn filters of %d channels, but samples of '%s' are %s",
                        m->name, m->o.channels, info->name, epl_shape_text(shape, info->x_shape));
    }
    return (info->x_shape.dim[0] >= window && info->x_shape.dim[1] >= window) ||
           epl_fail(m->ctx, EPL_ERR_SHAPE, "pictures of %lld x %lld have no windows of %d", (long long)info->x_shape.dim[0],
                    (long long)info->x_shape.dim[1], window);
}

/* Rows of patches, as many as asked for; conv-kmeans: all those of windows. */
static epl_tensor *sample_patches(const maker *m, bool plain, int *group)
{
    const bool windows = !plain && strcmp(m->name, "conv-kmeans") == 0;
    sampler    s = { .m = m, .rng = epl_rng_at(m->o.seed, 0x9A7C4), .window = windows ? 2 * m->o.kernel : m->o.kernel, .plain = plain };
    s.info = m->o.data ? epl_dataset_info_of(m->o.data) : (epl_dataset_info){ 0 };
    if (windows && s.info.x_shape.rank == 3 && s.info.x_shape.dim[0] >= m->o.kernel && s.window > s.info.x_shape.dim[0])
        s.window = (int)s.info.x_shape.dim[0];
    if (!check_data(m, &s.info, s.window))
        return NULL;
    s.h = (int)s.info.x_shape.dim[0], s.w = (int)s.info.x_shape.dim[1], s.d = (int)s.info.x_shape.dim[2];
    s.group = *group = (s.window - m->o.kernel + 1) * (s.window - m->o.kernel + 1);
    const int64_t asked = m->o.patches > 0 ? m->o.patches : 10000, n = windows ? (asked + 9) / 10 : asked,
                  pixels = epl_shape_count(s.info.x_shape);
    s.image = epl_alloc_array(m->ctx, (size_t)pixels, sizeof *s.image);
    s.raw   = epl_alloc_array(m->ctx, (size_t)pixels, 1);
    epl_tensor *rows = s.image && s.raw ? epl_tensor_new(m->ctx, EPL_F32, EPL_SHAPE(n * s.group, m->p)) : NULL;
    for (int64_t i = 0; rows && i < n; i++)
        if (!sample_window(&s, (float *)rows->data + i * s.group * m->p)) {
            epl_tensor_free(rows);
            rows = NULL;
        }
    epl_release(m->ctx, s.image);
    epl_release(m->ctx, s.raw);
    return rows;
}

/* rows := (rows - mean) matrix, where mean may be NULL. The matrix is symmetric. */
static bool multiply(epl_context *ctx, epl_tensor *rows, const epl_tensor *mean, const epl_tensor *matrix)
{
    const int p = (int)rows->shape.dim[1];
    float    *x = epl_alloc_array(ctx, (size_t)p, sizeof *x);
    for (int64_t i = 0; x && i < rows->shape.dim[0]; i++) {
        float *row = (float *)rows->data + i * p;
        for (int k = 0; k < p; k++)
            x[k] = row[k] - (mean ? ((const float *)mean->data)[k] : 0);
        for (int k = 0; k < p; k++)
            row[k] = epl_rows_dot((const float *)matrix->data + (int64_t)k * p, x, p);
    }
    epl_release(ctx, x);
    return x != NULL;
}

/* Lengths towards 1, those below the usual one less so: where the best of many positions is taken, it should not be
 * the one of most contrast. */
static void even_out(epl_tensor *rows)
{
    const int p = (int)rows->shape.dim[1];
    double    mean = 0;
    for (int64_t i = 0; i < rows->shape.dim[0]; i++)
        mean += (double)epl_rows_dot((float *)rows->data + i * p, (float *)rows->data + i * p, p) / (double)rows->shape.dim[0];
    for (int64_t i = 0; i < rows->shape.dim[0]; i++) {
        float      *x = (float *)rows->data + i * p;
        const float length = sqrtf(epl_rows_dot(x, x, p) + (float)mean);
        for (int k = 0; length > 0 && k < p; k++)
            x[k] /= length;
    }
}

static epl_tensor *learn(const maker *m, bool whitened)
{
    int         group = 1;
    epl_tensor *rows = sample_patches(m, false, &group), *mean = NULL, *matrix = NULL, *filters = NULL;
    bool        ok = rows != NULL;
    if (ok && whitened && !m->o.no_whitening)
        ok = epl_whitening(m->ctx, rows, 0.1, &mean, &matrix) && multiply(m->ctx, rows, mean, matrix);
    if (ok && group > 1)
        even_out(rows);
    if (ok)
        filters = epl_filters_learn(m->ctx, rows, (epl_learn_opts){ .method = m->name, .number = m->o.number, .rounds = m->o.rounds,
                                                                    .group = group, .seed = m->o.seed });
    if (filters && matrix && !m->o.no_fold && !multiply(m->ctx, filters, NULL, matrix)) {
        epl_tensor_free(filters);
        filters = NULL;
    }
    epl_tensor_free(rows);
    epl_tensor_free(mean);
    epl_tensor_free(matrix);
    return filters;
}

/* ---- from a file ---- */

/* The bank's tensor, or of a network the first weight of a convolution. */
static const epl_tensor *bank_of(const epl_weights *w)
{
    const epl_tensor *t = epl_weights_find(w, "filters");
    for (int i = 0; !t && i < epl_weights_count(w); i++)
        if (epl_weights_at(w, i)->shape.rank == 4)
            t = epl_weights_at(w, i);
    return t;
}

static epl_tensor *stored(const maker *m)
{
    char is[192], want[192];
    if (!m->parameter) {
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "'file' needs a path: file:bank.safetensors");
        return NULL;
    }
    epl_weights *w = epl_weights_open(m->ctx, m->parameter);
    const epl_tensor *t = w ? bank_of(w) : NULL;
    epl_tensor *out = NULL;
    if (w && !t)
        epl_fail(m->ctx, EPL_ERR_FORMAT, "%s has %d tensors, but none named 'filters' and none of rank 4", m->parameter,
                 epl_weights_count(w));
    else if (w && (t->dtype != EPL_F32 || !epl_shape_equal(t->shape, shape_of(m))))
        epl_fail(m->ctx, EPL_ERR_SHAPE, "%s holds filters %s%s, but %s are needed", m->parameter, epl_dtype_name(t->dtype),
                 epl_shape_text(is, t->shape), epl_shape_text(want, shape_of(m)));
    else if (w)
        out = epl_tensor_copy(m->ctx, t);
    epl_weights_free(w);
    return out;
}

/* ---- from rows to a bank ---- */

/* Rows of length sqrt 2 as the first filters of `bank`, which is full of others. */
static void place_rows(const maker *m, epl_tensor *rows, epl_tensor *bank)
{
    const int n = (int)rows->shape.dim[0], z = m->o.number;
    for (int j = 0; j < n && j < z; j++) {
        float *row = (float *)rows->data + (int64_t)j * m->p;
        if (epl_rows_normalise(row, m->p) == 0)
            continue;
        for (int i = 0; i < m->p; i++)
            ((float *)bank->data)[(int64_t)i * z + j] = (float)sqrt(2) * row[i];
    }
}

static epl_tensor *bank_take(const maker *m, epl_tensor *rows)
{
    epl_tensor *bank = NULL;
    if (rows && rows->shape.dim[0] < m->o.number && m->o.no_fill)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "'%s' makes %lld filters of %d numbers, %d are asked for", m->name,
                 (long long)rows->shape.dim[0], m->p, m->o.number);
    else if (rows)
        bank = draw(m, "he");
    if (bank)
        place_rows(m, rows, bank);
    epl_tensor_free(rows);
    return bank;
}

/* One factor for the whole bank: it then answers pictures as strongly as filters drawn by `he` do, whose mean square
 * answer to x is 2 |x|^2 / p. */
static bool even_bank(const maker *m, epl_tensor *bank)
{
    const int   z = m->o.number;
    int         group;
    epl_tensor *rows = sample_patches(m, true, &group);
    double      wanted = 0, answers = 0;
    for (int64_t i = 0; rows && i < rows->shape.dim[0]; i++) {
        const float *x = (const float *)rows->data + i * m->p;
        wanted += 2 * (double)epl_rows_dot(x, x, m->p) / m->p;
        for (int j = 0; j < z; j++) {
            double y = 0;
            for (int k = 0; k < m->p; k++)
                y += (double)(x[k] * ((const float *)bank->data)[(int64_t)k * z + j]);
            answers += y * y / z;
        }
    }
    for (int64_t i = 0; answers > 0 && i < epl_tensor_count(bank); i++)
        ((float *)bank->data)[i] *= (float)sqrt(wanted / answers);
    epl_tensor_free(rows);
    return rows != NULL;
}

static epl_tensor *make(const maker *m, int method)
{
    switch (methods[method].from) {
    case DRAWN: return draw(m, m->o.method);
    case STORED: return stored(m);
    case LEARNED: return bank_take(m, learn(m, methods[method].whitened));
    case COMPUTED: break;
    }
    return strcmp(m->name, "delta-orthogonal") == 0 ? delta_orthogonal(m) : bank_take(m, compute_planes(m));
}

epl_tensor *epl_filters_make(epl_context *ctx, epl_filters_opts o)
{
    maker m = { .ctx = ctx, .o = o };
    const char *colon = strchr(o.method, ':');
    snprintf(m.name, sizeof m.name, "%.*s", (int)strcspn(o.method, ":"), o.method);
    m.parameter  = colon ? colon + 1 : NULL;
    m.o.channels = o.channels > 0 ? o.channels : 1;
    m.p          = o.kernel * o.kernel * m.o.channels;
    const int i  = find_method(ctx, m.name);
    if (i < 0)
        return NULL;
    if (o.kernel < 1 || o.kernel > 64 || o.number < 1 || m.p > 4096) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "%d filters with a kernel of %d and %d channels: 1 to 64 pixels and at most 4096 numbers a filter",
                 o.number, o.kernel, m.o.channels);
        return NULL;
    }
    epl_tensor *bank = make(&m, i);
    if (!bank || !o.even || even_bank(&m, bank))
        return bank;
    epl_tensor_free(bank);
    return NULL;
}
