/* filter-design: does it matter where the filters of the first layer come from - drawn, computed, or learned without
 * labels - when they stay as they are, and when they learn on? */
#include "papers/common/paper.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- quick: drawn filters ---- */

static epl_tensor *make(paper_run *r, const char *method, int kernel, int channels, int number)
{
    return paper_ok(r) ? epl_filters_make(paper_context(r), (epl_filters_opts){ .method = method, .kernel = kernel, .channels = channels,
                                                                                .number = number, .seed = 3 }) : NULL;
}

static void check_variance(paper_run *r, const char *method, double expected)
{
    epl_tensor *t = make(r, method, 3, 128, 256);
    double      sum = 0, most = 0;
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++) {
        sum += epl_tensor_get(t, i) * epl_tensor_get(t, i);
        most = fmax(most, fabs(epl_tensor_get(t, i)));
    }
    if (t && strcmp(method, "lecun-2.4") == 0)
        paper_check_near(r, "lecun-2.4: largest weight, of 2.4 / 1152", most, expected, 1e-4 * expected);
    else if (t)
        paper_check_near(r, paper_textf(r, "%s: variance / formula", method), sum / (double)epl_tensor_count(t) / expected, 1, 0.02);
    epl_tensor_free(t);
}

/* The largest difference of W W^T (rows are filters; W^T W where there are more of them than numbers) from `square`
 * times the identity. */
static double from_identity(const epl_tensor *t, double square)
{
    const int64_t z = t->shape.dim[t->shape.rank - 1], p = epl_tensor_count(t) / z, n = z < p ? z : p;
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < z + p - n; k++)
                sum += z <= p ? epl_tensor_get(t, k * z + i) * epl_tensor_get(t, k * z + j)
                              : epl_tensor_get(t, i * z + k) * epl_tensor_get(t, j * z + k);
            most = fmax(most, fabs(sum - (i == j ? square : 0)));
        }
    return most;
}

static void check_orthogonal(paper_run *r)
{
    epl_tensor *wide = make(r, "orthogonal:1.5", 3, 4, 20), *tall = make(r, "orthogonal:1.5", 2, 2, 20), *dct = make(r, "dct", 5, 1, 25);
    if (wide && tall && dct) {
        paper_check(r, "orthogonal, fewer filters than numbers: |W W^T - g^2 I|", from_identity(wide, 2.25), PAPER_AT_MOST, 1e-5);
        paper_check(r, "orthogonal, more filters than numbers: |W^T W - g^2 I|", from_identity(tall, 2.25), PAPER_AT_MOST, 1e-5);
        paper_check(r, "dct, times sqrt 2: |W W^T - 2 I|", from_identity(dct, 2), PAPER_AT_MOST, 2e-6);
        double apart = 0; // from the constant 1 / k of the first filter
        for (int i = 0; i < 25; i++)
            apart = fmax(apart, fabs(epl_tensor_get(dct, i * 25) - sqrt(2) / 5));
        paper_check(r, "dct: the first filter is constant", apart, PAPER_AT_MOST, 1e-6);
    }
    epl_tensor_free(wide);
    epl_tensor_free(tall);
    epl_tensor_free(dct);
}

/* |conv(x)| / |x| of a delta-orthogonal bank: with the centre tap alone, padding of any kind adds nothing. */
static void check_delta_orthogonal(paper_run *r)
{
    enum { C = 8 };
    epl_tensor *w = make(r, "delta-orthogonal", 3, C, C);
    epl_graph  *g = w ? epl_graph_new(paper_context(r), "delta") : NULL;
    if (g) {
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 6, 6, C), NULL);
        epl_output(g, "y",
                   epl_convolve(g, x, epl_parameter(g, "w", EPL_F32, w->shape, EPL_INIT_ZEROS, 0), NULL,
                                (epl_convolve_opts){ .pad = 1 }));
    }
    epl_model *m = g && epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
    paper_keep_model_take(r, m);
    epl_program *p = m && epl_weights_put_take(m->weights, "w", epl_tensor_copy(paper_context(r), w))
                         ? epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 }) : NULL;
    epl_rng rng = epl_rng_at(1, 1);
    if (p)
        epl_tensor_fill_normal(epl_program_input(p, 0), &rng, 0, 1);
    if (p && epl_program_run(p)) {
        double in = 0, out = 0;
        for (int64_t i = 0; i < epl_tensor_count(epl_program_input(p, 0)); i++) {
            in += pow(epl_tensor_get(epl_program_input(p, 0), i), 2);
            out += pow(epl_tensor_get(epl_program_output(p, 0), i), 2);
        }
        paper_check_near(r, "delta-orthogonal: |conv(x)| / |x|", sqrt(out / in), 1, 1e-5);
    }
    epl_program_free(p);
    epl_tensor_free(w);
}

/* ---- quick: computed filters ---- */

static void check_gabor(paper_run *r)
{
    enum { K = 11, N = 64 };
    epl_tensor *t = make(r, "gabor", K, 1, N);
    double      sum = 0, turned = 0;
    for (int j = 0; t && j < N; j++) {
        double mean = 0, cycles, degrees;
        for (int i = 0; i < K * K; i++)
            mean += epl_tensor_get(t, i * N + j);
        sum = fmax(sum, fabs(mean));
        if (j < 48 && epl_filters_wave(paper_context(r), t, j, &cycles, &degrees)) { // waves that fit into the kernel
            const double apart = fabs(degrees - 22.5 * (j % 8));
            turned = fmax(turned, fmin(apart, 180 - apart));
        }
    }
    if (t) {
        paper_check(r, "gabor: largest |sum| of a filter", sum, PAPER_AT_MOST, 1e-5);
        paper_check(r, "gabor: measured direction - built one, degrees", turned, PAPER_AT_MOST, 360.0 / 32);
    }
    epl_tensor_free(t);
}

/* ---- quick: networks that start so ---- */

static epl_graph *relu_stack(epl_context *ctx, int layers)
{
    epl_graph *g = epl_graph_new(ctx, "stack");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 512), "N,");
    for (int i = 0; i < layers; i++) {
        epl_scope_push(g, "layer%d", i + 1);
        x = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .out = 512 }));
        epl_scope_pop(g);
    }
    epl_output(g, "y", x);
    return g;
}

/* log2 of E[y^2] / E[x^2] behind 20 layers. */
static double passed_on(paper_run *r, const char *method)
{
    epl_graph *g = paper_ok(r) ? relu_stack(paper_context(r), 20) : NULL;
    epl_model *m = g && epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
    paper_keep_model_take(r, m);
    epl_tensor *x = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(16, 512)), *y = NULL;
    epl_rng     rng = epl_rng_at(4, 0);
    if (x)
        epl_tensor_fill_normal(x, &rng, 0, 1);
    if (m && x && epl_model_init(m, 0) && epl_init_weights(m, paper_textf(r, "*=%s", method), NULL, 5) == 20)
        y = paper_logits(r, m, x);
    double sum = y ? 0 : NAN;
    for (int64_t i = 0; y && i < epl_tensor_count(y); i++)
        sum += pow(epl_tensor_get(y, i), 2) / (double)epl_tensor_count(y);
    epl_tensor_free(x);
    epl_tensor_free(y);
    return log2(sum);
}

/* A table's column as numbers; returns how many. */
static int column_of(paper_run *r, epl_table *t, const char *key, double *out, int most)
{
    char     *text = t ? epl_table_to_json(t) : NULL;
    epl_json *json = text ? epl_json_parse(paper_context(r), text, strlen(text), "table") : NULL;
    int       n = 0;
    for (; n < most && n < (int)epl_json_length(json); n++) {
        out[n] = NAN;
        epl_json_f64(epl_json_get(epl_json_at(json, (size_t)n), key), &out[n]);
    }
    epl_json_free(json);
    epl_release(paper_context(r), text);
    return n;
}

static void check_starts(paper_run *r)
{
    paper_check_near(r, "he: log2 of E[y^2] / E[x^2] behind 20 relu layers", passed_on(r, "he"), 0, 1);
    paper_check_near(r, "xavier: the same", passed_on(r, "xavier"), -20, 1);
    paper_check(r, "normal(0.01): the same", passed_on(r, "normal:0.01"), PAPER_AT_MOST, -80);
    epl_model  *m = paper_model(r, "cnn:width=8,depth=2,image=16,channels=3", 0);
    epl_tensor *x = m ? epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(32, 16, 16, 3)) : NULL;
    epl_rng     rng = epl_rng_at(6, 0);
    if (!x)
        return;
    epl_tensor_fill_uniform(x, &rng, 0, 1);
    double     variance[32];
    epl_table *t = epl_init_lsuv(m, x, 7) ? epl_init_report(m, x, NULL) : NULL;
    const int  n = column_of(r, t, "variance", variance, 32);
    double     low = INFINITY, high = 0;
    for (int i = 0; i < n; i++) {
        low  = fmin(low, variance[i]);
        high = fmax(high, variance[i]);
    }
    paper_check(r, "lsuv: layers", n, PAPER_EQUAL, 7);
    paper_check(r, "lsuv: least variance of a layer", low, PAPER_AT_LEAST, 0.9);
    paper_check(r, "lsuv: largest variance of a layer", high, PAPER_AT_MOST, 1.1);
    epl_table_free(t);
    epl_tensor_free(x);
}

/* The network of the experiment: the first layer is what is compared. */
typedef struct design {
    const char *method;
    int         kernel, number;
    const char *tiles; /* file of the first seed's filters, or NULL */
} design;

static epl_graph *network(epl_context *ctx, void *user)
{
    const design *d = user;
    epl_graph *g = epl_graph_new(ctx, "filters");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 28, 28, 1), "N,,,");
    x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "conv1", .out = d->number, .kernel = d->kernel, .pad = d->kernel / 2 }));
    x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
    x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "conv2", .out = 32, .pad = 1 }));
    x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 2 } });
    epl_output(g, "logits", epl_linear(g, epl_flatten(g, x, 1), (epl_linear_opts){ .name = "head", .out = 10 }));
    return g;
}

/* All layers constant: every filter of a layer gets the same gradient, for ever. */
static void check_constant(paper_run *r)
{
    design       d = { .method = "constant", .kernel = 3, .number = 4 };
    epl_graph   *g = paper_ok(r) ? network(paper_context(r), &d) : NULL;
    epl_model   *m = g && epl_graph_finish(g) ? epl_model_new_take(g) : NULL;
    epl_tensor  *x = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(64, 28, 28, 1)),
               *y = epl_tensor_new(paper_context(r), EPL_I64, EPL_SHAPE(64));
    epl_rng      rng = epl_rng_at(8, 0);
    paper_keep_model_take(r, m);
    for (int i = 0; y && i < 64; i++)
        epl_tensor_set_i64(y, i, i % 10);
    if (x)
        epl_tensor_fill_uniform(x, &rng, 0, 1);
    epl_dataset *data = x && y ? epl_dataset_from_tensors_take(paper_context(r), "noise", x, y) : NULL;
    epl_trainer *t = m && data && epl_model_init(m, 0) && epl_init_weights(m, "*=constant:0.05", NULL, 0) == 3
        ? epl_trainer_new(m, data, NULL, (epl_trainer_opts){ .epochs = 5, .batch = 16, .optimizer = { .kind = EPL_ADAM } }) : NULL;
    double apart = NAN, moved = NAN;
    if (t && epl_trainer_run(t)) {
        const epl_tensor *w = epl_weights_find(m->weights, "conv1.weight");
        apart = moved = 0;
        for (int64_t i = 0; i < epl_tensor_count(w); i++) {
            apart = fmax(apart, fabs(epl_tensor_get(w, i) - epl_tensor_get(w, i / 4 * 4)));
            moved = fmax(moved, fabs(epl_tensor_get(w, i) - 0.05));
        }
    }
    epl_trainer_free(t);
    epl_dataset_free(data);
    paper_check(r, "constant: how far weights moved in 20 steps", moved, PAPER_AT_LEAST, 1e-3);
    paper_check(r, "constant: difference of filters after them", apart, PAPER_AT_MOST, 1e-6);
}

/* ---- quick: learners on vectors whose structure is known ---- */

static epl_tensor *gaussian(paper_run *r, int n, double std0, double std1)
{
    epl_tensor *x = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(n, 2));
    epl_rng     rng = epl_rng_at(10, 0);
    for (int i = 0; x && i < 2 * n; i++)
        epl_tensor_set(x, i, (i % 2 ? std1 : std0) * (double)epl_rng_normal(&rng));
    return x;
}

static void check_components(paper_run *r)
{
    epl_tensor *x = gaussian(r, 4000, 2, 1);
    epl_tensor *oja = x ? epl_filters_learn(paper_context(r), x, (epl_learn_opts){ .method = "oja", .number = 1 }) : NULL;
    epl_tensor *both = x ? epl_filters_learn(paper_context(r), x, (epl_learn_opts){ .method = "sanger", .number = 2 }) : NULL;
    if (oja && both) {
        const double a = epl_tensor_get(oja, 0), b = epl_tensor_get(oja, 1), length = sqrt(a * a + b * b);
        paper_check(r, "oja: |cos| with the first component", fabs(a) / length, PAPER_ABOVE, 0.99);
        paper_check_near(r, "oja: length", length, 1, 0.05);
        for (int i = 0; i < 2; i++) {
            const double u = epl_tensor_get(both, 2 * i), v = epl_tensor_get(both, 2 * i + 1);
            paper_check(r, paper_textf(r, "sanger: |cos| of filter %d with component %d", i + 1, i + 1),
                        fabs(i ? v : u) / sqrt(u * u + v * v), PAPER_ABOVE, 0.99);
        }
    }
    epl_tensor_free(x);
    epl_tensor_free(oja);
    epl_tensor_free(both);
}

static void check_clusters(paper_run *r)
{
    static const double centre[3][2] = { { 5, 0 }, { -4, 4 }, { 0, -6 } };
    epl_tensor *x = gaussian(r, 900, 0.3, 0.3);
    for (int i = 0; x && i < 1800; i++)
        epl_tensor_set(x, i, epl_tensor_get(x, i) + centre[i / 2 % 3][i % 2]);
    epl_tensor *d = x ? epl_filters_learn(paper_context(r), x, (epl_learn_opts){ .method = "kmeans-euclidean", .number = 3 }) : NULL;
    double      farthest = d ? 0 : NAN;
    for (int b = 0; d && b < 3; b++) {
        double nearest = INFINITY;
        for (int j = 0; j < 3; j++)
            nearest = fmin(nearest, hypot(epl_tensor_get(d, 2 * j) - centre[b][0], epl_tensor_get(d, 2 * j + 1) - centre[b][1]));
        farthest = fmax(farthest, nearest);
    }
    paper_check(r, "k-means: distance of a blob to its centre", farthest, PAPER_AT_MOST, 0.1);
    epl_tensor_free(x);
    epl_tensor_free(d);
}

/* The share of points whose two nearest units are no neighbours on the grid. */
static double topographic_error(const epl_tensor *d, int side)
{
    epl_rng rng = epl_rng_at(12, 0);
    int     torn = 0;
    for (int i = 0; i < 1000; i++) {
        const double x = (double)epl_rng_uniform(&rng), y = (double)epl_rng_uniform(&rng);
        double least[2] = { INFINITY, INFINITY };
        int    unit[2] = { 0, 0 };
        for (int j = 0; j < side * side; j++) {
            const double h = hypot(epl_tensor_get(d, 2 * j) - x, epl_tensor_get(d, 2 * j + 1) - y);
            const int    place = h < least[0] ? 0 : h < least[1] ? 1 : 2;
            if (place == 0)
                least[1] = least[0], unit[1] = unit[0];
            if (place < 2)
                least[place] = h, unit[place] = j;
        }
        const int rows = abs(unit[0] / side - unit[1] / side), columns = abs(unit[0] % side - unit[1] % side);
        torn += rows > 1 || columns > 1;
    }
    return torn / 1000.0;
}

static void check_map(paper_run *r)
{
    epl_tensor *x = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(3000, 2));
    epl_rng     rng = epl_rng_at(11, 0);
    if (x)
        epl_tensor_fill_uniform(x, &rng, 0, 1);
    epl_tensor *d = x ? epl_filters_learn(paper_context(r), x, (epl_learn_opts){ .method = "som", .number = 25 }) : NULL;
    if (d)
        paper_check(r, "som: topographic error on a square", topographic_error(d, 5), PAPER_BELOW, 0.05);
    epl_tensor_free(x);
    epl_tensor_free(d);
}

/* cov(whitened) = U diag(S / (S + epsilon)) U^T = C (C + epsilon I)^-1, so cov(whitened) (C + epsilon I) - C is zero. */
static void check_whitening(paper_run *r)
{
    epl_tensor *x = gaussian(r, 2000, 2, 0.7), *mean = NULL, *w = NULL;
    for (int i = 0; x && i < 2000; i++) // correlated
        epl_tensor_set(x, 2 * i, epl_tensor_get(x, 2 * i) + 0.8 * epl_tensor_get(x, 2 * i + 1));
    double m[2] = { 0 }, c[2][2] = { { 0 } }, white[2][2] = { { 0 } }, most = 0;
    if (x && epl_whitening(paper_context(r), x, 0.1, &mean, &w)) {
        for (int i = 0; i < 4000; i++)
            m[i % 2] += epl_tensor_get(x, i) / 2000;
        for (int i = 0; i < 2000; i++) {
            const double v[2] = { epl_tensor_get(x, 2 * i) - m[0], epl_tensor_get(x, 2 * i + 1) - m[1] };
            const double u[2] = { v[0] * epl_tensor_get(w, 0) + v[1] * epl_tensor_get(w, 2),
                                  v[0] * epl_tensor_get(w, 1) + v[1] * epl_tensor_get(w, 3) };
            for (int a = 0; a < 2; a++)
                for (int b = 0; b < 2; b++) {
                    c[a][b] += v[a] * v[b] / 2000;
                    white[a][b] += u[a] * u[b] / 2000;
                }
        }
        for (int a = 0; a < 2; a++)
            for (int b = 0; b < 2; b++)
                most = fmax(most, fabs(white[a][0] * (c[0][b] + 0.1 * (b == 0)) + white[a][1] * (c[1][b] + 0.1 * (b == 1)) - c[a][b]));
        paper_check(r, "zca: cov(whitened) - U diag(S / (S + eps)) U^T", most, PAPER_AT_MOST, 1e-4);
    }
    epl_tensor_free(x);
    epl_tensor_free(mean);
    epl_tensor_free(w);
}

static void check_refused(paper_run *r, const char *name, epl_filters_opts o, const char *words)
{
    epl_tensor *t = paper_ok(r) ? epl_filters_make(paper_context(r), o) : NULL;
    paper_check_refused(r, name, t != NULL, words);
    epl_tensor_free(t);
}

static void check_errors(paper_run *r)
{
    epl_dataset *d = paper_ok(r) ? epl_dataset_open(paper_context(r), "shapes:image=16,channels=1",
                                                    (epl_dataset_opts){ .limit = 50 })
                                 : NULL;
    check_refused(r, "gabor of one pixel", (epl_filters_opts){ .method = "gabor", .kernel = 1, .number = 4 }, "at least 2");
    check_refused(r, "dct of one pixel", (epl_filters_opts){ .method = "dct", .kernel = 1, .number = 1 }, "at least 2");
    check_refused(r, "more dct filters than numbers",
                  (epl_filters_opts){ .method = "dct", .kernel = 3, .number = 10, .no_fill = true }, "9 filters");
    check_refused(r, "fewer patches than filters",
                  (epl_filters_opts){ .method = "kmeans", .kernel = 3, .number = 30, .patches = 20, .data = d },
                  "30 filters from 20");
    check_refused(r, "more components than numbers",
                  (epl_filters_opts){ .method = "pca", .kernel = 2, .number = 5, .data = d, .no_fill = true },
                  "4 filters");
    check_refused(r, "learning without pictures", (epl_filters_opts){ .method = "kmeans", .kernel = 3, .number = 5 }, "data set is needed");
    check_refused(r, "filters of other channels",
                  (epl_filters_opts){ .method = "kmeans", .kernel = 3, .channels = 3, .number = 5, .data = d },
                  "3 channels");
    check_refused(r, "an unknown method", (epl_filters_opts){ .method = "gabbor", .kernel = 3, .number = 5 }, "'gabor'");
    epl_dataset_free(d);
}

static void quick(paper_run *r)
{
    check_variance(r, "he", 2.0 / 1152);
    check_variance(r, "xavier", 2.0 / (1152 + 2304));
    check_variance(r, "lecun", 1.0 / 1152);
    check_variance(r, "lecun-2.4", 2.4 / 1152);
    check_orthogonal(r);
    check_delta_orthogonal(r);
    check_gabor(r);
    check_starts(r);
    check_constant(r);
    check_components(r);
    check_clusters(r);
    check_map(r);
    check_whitening(r);
    check_errors(r);
}

/* ---- full ---- */

static const char *const methods[] = { "constant", "normal", "lecun-2.4", "xavier", "he", "orthogonal", "dct", "gabor", "patches", "pca",
                                       "kmeans", "kmeans-plain", "conv-kmeans", "som", "hebb-wta", "sanger", "sparse", "ae", "rbm" };
enum { N_METHODS = EPL_COUNT(methods), N_SIZES = 4, N_NUMBERS = 3, N_SWEPT = 3, N_SWEEPS = N_SWEPT * (N_SIZES + N_NUMBERS) };
static const char *const swept[N_SWEPT] = { "he", "kmeans", "conv-kmeans" };
static const int sizes[N_SIZES] = { 3, 5, 9, 11 }, numbers[N_NUMBERS] = { 8, 16, 64 }; /* 7 and 32 are the comparison's own */

static void draw_tiles(paper_run *r, const design *d, const epl_tensor *bank)
{
    epl_tensor *tiles[64] = { NULL };
    const int   n = d->number < 64 ? d->number : 64;
    for (int j = 0; j < n; j++)
        tiles[j] = epl_filters_tile(paper_context(r), bank, j);
    paper_plot_tiles(r, d->tiles, paper_textf(r, "Filters of the first layer by %s.", d->method), (const epl_tensor *const *)tiles, NULL, n,
                     (epl_pictures_opts){ .columns = 16, .size = 32 });
    for (int j = 0; j < n; j++)
        epl_tensor_free(tiles[j]);
}

/* Drawn ones keep their scale, which is what they differ by; of the others the shape is compared. */
static bool is_drawn(const char *method) { return epl_glob("constant,normal,lecun*,xavier,he,orthogonal", method); }

/* Puts the filters into the first layer; what they are like is measured on the way. */
static bool begin(paper_run *r, paper_training *t)
{
    const design *d = t->user;
    epl_tensor          *bank = epl_filters_make(paper_context(r), (epl_filters_opts){ .method = d->method,
                                                                                       .kernel = d->kernel,
                                                                                       .number = d->number,
                                                                                       .seed = t->seed,
                                                                                       .data = t->train,
                                                                                       .patches = 5000,
                                                                                       .even = !is_drawn(d->method) });
    epl_filters_measures m;
    bool ok = bank != NULL;
    if (ok && d->tiles && epl_filters_measure(paper_context(r), bank, &m)) { // the comparison's own, when they are first made
        paper_add(paper_series_named(r, "coherence over shifts", d->method, ""), m.shift_coherence);
        paper_add(paper_series_named(r, "effective rank", d->method, ""), m.effective_rank);
        if (t->seed == 0)
            draw_tiles(r, d, bank);
    }
    ok = ok && paper_ok(r);
    if (ok)
        return epl_weights_put_take(t->model->weights, "conv1.weight", bank);
    epl_tensor_free(bank);
    return false;
}

static int index_of(const char *method)
{
    for (int i = 0; i < N_METHODS; i++)
        if (strcmp(methods[i], method) == 0)
            return i;
    return -1;
}

/* The mean accuracy of some methods. */
static double group_mean(const paper_series *const *s, const char *const *group, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += paper_mean(s[index_of(group[i])]);
    return sum / n;
}

/* The standard deviation of methods' means. */
static double spread_of(const paper_series *const *s)
{
    const double mean = paper_mean_of(s, N_METHODS);
    double       sum  = 0;
    for (int i = 0; i < N_METHODS; i++)
        sum += pow(paper_mean(s[i]) - mean, 2);
    return sqrt(sum / (N_METHODS - 1));
}

static bool compare(paper_run *r, const paper_series **frozen, const paper_series **trained)
{
    static design designs[N_METHODS], again[N_METHODS];
    paper_variant rest[N_METHODS] = { 0 }, all[N_METHODS] = { 0 };
    const paper_recipe recipe = { .samples = 5000, .test = 5000, .epochs = 2, .freeze = "conv1.*" };
    paper_recipe       longer = { .samples = 5000, .test = 5000, .epochs = 3 };
    for (int i = 0; i < N_METHODS; i++) {
        designs[i] = (design){ .method = methods[i], .kernel = 7, .number = 32, .tiles = paper_textf(r, "filters-%s", methods[i]) };
        again[i]   = (design){ .method = methods[i], .kernel = 7, .number = 32 };
        rest[i] = (paper_variant){ .name = methods[i], .build = network, .begin = begin, .user = &designs[i],
                                   .what = "test accuracy, first layer frozen" };
        all[i]  = (paper_variant){ .name = methods[i], .build = network, .begin = begin, .user = &again[i],
                                   .what = "test accuracy, all layers trained" };
    }
    return paper_train(r, rest, N_METHODS, recipe, frozen) && paper_train(r, all, N_METHODS, longer, trained);
}

/* sweep[0 .. N_SIZES) sizes, then numbers, for each swept method. */
static bool sweep(paper_run *r, const paper_series **accuracy)
{
    static design designs[N_SWEEPS];
    paper_variant variants[N_SWEEPS] = { 0 };
    for (int i = 0; i < N_SWEEPS; i++) {
        const int  at = i % (N_SIZES + N_NUMBERS);
        const bool size = at < N_SIZES;
        designs[i] = (design){ .method = swept[i / (N_SIZES + N_NUMBERS)],
                               .kernel = size ? sizes[at] : 7,
                               .number = size ? 32 : numbers[at - N_SIZES] };
        variants[i] = (paper_variant){ .build = network,
                                       .begin = begin,
                                       .user = &designs[i],
                                       .what = "test accuracy by size and number, frozen",
                                       .name = paper_textf(r, "%s, %d filters of %d x %d", designs[i].method,
                                                           designs[i].number, designs[i].kernel, designs[i].kernel) };
    }
    return paper_train(r, variants, N_SWEEPS, (paper_recipe){ .samples = 5000, .test = 5000, .epochs = 2, .freeze = "conv1.*" }, accuracy);
}

/* A line for each swept method over sizes or numbers; the point in the middle is the comparison's. */
static void plot_sweep(paper_run *r, bool by_size, const paper_series *const *accuracy, const paper_series *const *frozen)
{
    static const double x_sizes[] = { 3, 5, 7, 9, 11 }, x_numbers[] = { 8, 16, 32, 64 };
    const int n = by_size ? N_SIZES + 1 : N_NUMBERS + 1;
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = by_size ? "kernel" : "filters", .y_label = "test accuracy [%]",
                                                                  .x_log = !by_size, .height = 300 });
    for (int m = 0; m < N_SWEPT; m++) {
        double y[N_SIZES + 1];
        for (int i = 0; i < n; i++) {
            const int middle = 2, at = m * (N_SIZES + N_NUMBERS) + (by_size ? 0 : N_SIZES) + (i > middle ? i - 1 : i);
            y[i] = i == middle ? paper_mean(frozen[index_of(swept[m])]) : paper_mean(accuracy[at]);
        }
        epl_plot_line(p, swept[m], by_size ? x_sizes : x_numbers, y, (size_t)n, (epl_line_opts){ .markers = true });
    }
    paper_plot_take(r, by_size ? "sizes" : "numbers", by_size ? "Accuracy over the size of 32 frozen filters." :
                    "Accuracy over the number of frozen 7x7 filters.", p);
}

/* Accuracy never falls by more than a point with more k-means filters: the largest fall. */
static double largest_fall(const paper_series *const *accuracy, const paper_series *const *frozen)
{
    const paper_series *const *kmeans = accuracy + 1 * (N_SIZES + N_NUMBERS) + N_SIZES;
    const double y[] = { paper_mean(kmeans[0]), paper_mean(kmeans[1]), paper_mean(frozen[index_of("kmeans")]), paper_mean(kmeans[2]) };
    double fall = -INFINITY;
    for (int i = 1; i < 4; i++)
        fall = fmax(fall, y[i - 1] - y[i]);
    return fall;
}

static void check_claims(paper_run *r, const paper_series *const *frozen, const paper_series *const *trained,
                         const paper_series *const *swept_accuracy)
{
    static const char *const designed[] = { "gabor", "pca", "kmeans", "hebb-wta", "sanger" };
    static const char *const drawn[] = { "lecun-2.4", "xavier", "he", "orthogonal" };
    double least = INFINITY; // of all but the two that should be the worst
    for (int i = 2; i < N_METHODS; i++)
        least = fmin(least, paper_mean(frozen[i]));
    paper_check(r, "frozen: gabor, pca, kmeans, hebb-wta, sanger - lecun-2.4, xavier, he, orthogonal, points",
                group_mean(frozen, designed, 5) - group_mean(frozen, drawn, 4), PAPER_AT_LEAST, 1);
    paper_check(r, "frozen: the worst of the others - the better of constant and normal(0.01), points",
                least - fmax(paper_mean(frozen[0]), paper_mean(frozen[1])), PAPER_AT_LEAST, 0);
    paper_check(r, "frozen: kmeans - kmeans without whitening, points",
                paper_mean(frozen[index_of("kmeans")]) - paper_mean(frozen[index_of("kmeans-plain")]), PAPER_ABOVE, 0);
    paper_check(r, "coherence over shifts: kmeans - conv-kmeans", paper_mean(paper_series_named(r, "coherence over shifts", "kmeans", "")) -
                paper_mean(paper_series_named(r, "coherence over shifts", "conv-kmeans", "")), PAPER_ABOVE, 0);
    paper_check(r, "frozen kmeans: largest fall with more filters, points", largest_fall(swept_accuracy, frozen), PAPER_AT_MOST, 1);
    paper_check(r, "spread of methods, trained / frozen", spread_of(trained) / spread_of(frozen), PAPER_BELOW, 1);
}

static void full(paper_run *r)
{
    const paper_series *frozen[N_METHODS], *trained[N_METHODS], *swept_accuracy[N_SWEEPS];
    if (!compare(r, frozen, trained) || !sweep(r, swept_accuracy))
        return;
    check_claims(r, frozen, trained, swept_accuracy);
    paper_plot_series(r, "frozen", "test accuracy, first layer frozen [%]", frozen, N_METHODS);
    paper_plot_series(r, "trained", "test accuracy, all layers trained [%]", trained, N_METHODS);
    plot_sweep(r, true, swept_accuracy, frozen);
    plot_sweep(r, false, swept_accuracy, frozen);
}

const paper paper_filter_design = {
    .slug = "filter-design",
    .title = "On filter design in deep convolutional neural network",
    .source = "Hirani and Abdulla 2024",
    .kind = "initialisers, unsupervised filters, analysis of filters",
    .claim = "where a network's filters come from matters, and most while they cannot learn: filters that are computed "
             "or learned without labels "
             "beat random ones, and bad scales beat nobody",
    .criterion = "with a frozen first layer the mean of gabor, pca, kmeans, hebb-wta and sanger is at least a point "
                 "above that of lecun-2.4, "
                 "xavier, he and orthogonal; constant and normal(0.01) are the two worst; whitening helps k-means; "
                 "convolutional k-means "
                 "repeats itself less; more filters do not hurt; training the first layer brings the methods together",
    .quick = quick,
    .full = full,
};
