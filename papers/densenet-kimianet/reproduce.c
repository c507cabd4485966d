/* densenet-kimianet: slides have one label each, and most of a slide says nothing about it. Do the tiles that are
 * rich in content, under that label, teach a network that was trained on other pictures to find slides of the same
 * kind - the better, the more of its blocks learn? */
#include "papers/common/paper.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- quick: published sizes, the mosaic's and the search's exact rules ---- */

static void check_sizes(paper_run *r)
{
    static const struct {
        const char *model;
        int64_t     parameters;
        double      macs;
    } sizes[] = {
        { "densenet:depth=121", 7978856, 2834161664 }, { "densenet:depth=169", 14149480, 3359843328 }, { "densenet:depth=201", 20013928, 4291365888 },
        { "densenet:depth=161,growth=48", 28681000, 7727907072 }, { "densenet:depth=264", 33337704, 5751653376 },
        { "kimianet", 6984606, 0 }, { "kimianet:classes=0", 6953856, 0 },
        { "densenet:depth=40,growth=12,plain=1,image=32,classes=10", 1019722, 0 }, { "densenet:depth=100,growth=12,plain=1,image=32,classes=10", 6979642, 0 },
        { "densenet:depth=100,growth=24,plain=1,image=32,classes=10", 27249082, 0 }, { "densenet:depth=100,growth=12,image=32,classes=10", 769162, 0 },
        { "densenet:depth=250,growth=24,image=32,classes=10", 15324406, 0 }, { "densenet:depth=190,growth=40,image=32,classes=10", 25624430, 0 },
        { "cbr:variant=large-t", 8551998, 0 }, { "cbr:variant=large-w", 8456286, 0 }, { "cbr:variant=small", 2120766, 0 },
        { "cbr:variant=tiny", 1086270, 0 },
    };
    for (size_t i = 0; i < EPL_COUNT(sizes); i++)
        paper_check_model(r, sizes[i].model, sizes[i].parameters, sizes[i].macs);
    paper_check_model_refused(r, "densenet:depth=41", "6n + 4");
}

/* Every block more is more to learn; the rest is named by a pattern. */
static void check_configurations(paper_run *r)
{
    epl_graph *g = epl_zoo_build(paper_context(r), "kimianet");
    double     last = 0;
    for (int blocks = 1; g && blocks <= 4; blocks++) {
        char  *resting = epl_finetune_pattern(g, blocks);
        double n = 0;
        for (const epl_node *k = epl_first(g); k && resting; k = epl_next(k))
            if (epl_glob("Parameter", epl_node_op_name(k)) && !epl_glob(resting, epl_value_name(epl_node_output(k, 0))))
                n += (double)epl_shape_count(epl_shape_of(epl_node_output(k, 0)));
        paper_check(r, paper_textf(r, "parameters that learn with the last %d blocks", blocks), n, PAPER_ABOVE, last);
        last = n;
        epl_release(paper_context(r), resting);
    }
    paper_check(r, "parameters that learn with all blocks", last, PAPER_EQUAL, 6984606);
    epl_graph_free(g);
}

static void check_mosaic(paper_run *r)
{
    epl_context *ctx = paper_context(r);
    epl_dataset *d = epl_dataset_open(ctx, "tissue:image=192,count=1", (epl_dataset_opts){ 0 });
    epl_tensor  *slide = d ? epl_tensor_new(ctx, EPL_U8, epl_dataset_info_of(d).x_shape) : NULL;
    epl_mosaic   m = { 0 };
    if (slide && epl_dataset_fetch(d, 0, slide->data, NULL) &&
        epl_mosaic_of(ctx, slide, (epl_mosaic_opts){ .tile = 24, .spatial = 0.5 }, &m)) {
        double n = 0, least = INFINITY, most = -INFINITY;
        for (int64_t i = 0; i < m.n; i++) {
            const epl_slide_tile *t = &m.tiles[i];
            n += t->in_mosaic;
            least = t->kept ? fmin(least, t->score) : least;
            most  = t->in_mosaic && !t->kept ? fmax(most, t->score) : most;
        }
        paper_check(r, "tiles kept of the mosaic", (double)m.n_kept, PAPER_EQUAL, fmax(1, floor(0.2 * n)));
        paper_check(r, "the least score kept, above the highest dropped by", least - most, PAPER_AT_LEAST, 0);
    }
    epl_mosaic_release(ctx, &m);
    epl_tensor_free(slide);
    epl_dataset_free(d);
}

static void check_search(paper_run *r)
{
    static const float   x[] = { 0, 1, 9, 0, 9, 10, 12 }; // one feature each, three bags
    static const int64_t first[] = { 0, 3, 5, 7 }, label[] = { 0, 0, 1 };
    const epl_bags bags = { 3, first, label, NULL, NULL };
    epl_tensor    *f = epl_tensor_new(paper_context(r), EPL_F32, EPL_SHAPE(7, 1));
    double d[3] = { NAN, NAN, NAN };
    if (!f)
        return;
    memcpy(f->data, x, sizeof x);
    if (epl_bag_distance(paper_context(r), f, &bags, 0, 0, EPL_DISTANCE_EUCLIDEAN, &d[0]) &&
        epl_bag_distance(paper_context(r), f, &bags, 0, 2, EPL_DISTANCE_EUCLIDEAN, &d[1]) &&
        epl_bag_distance(paper_context(r), f, &bags, 2, 0, EPL_DISTANCE_EUCLIDEAN, &d[2])) {
        paper_check(r, "distance of a bag from itself", d[0], PAPER_EQUAL, 0);
        paper_check(r, "distance of {0, 1, 9} to {10, 12}", d[1], PAPER_EQUAL, 9);
        paper_check(r, "distance of {10, 12} to {0, 1, 9}", d[2], PAPER_EQUAL, 2);
    }
    epl_tensor_free(f);
}

static void quick(paper_run *r)
{
    check_sizes(r);
    check_configurations(r);
    check_mosaic(r);
    check_search(r);
}

/* ---- full: the data ---- */

/* Two kinds of slides: of garments, 20 patches of which six show the class and the rest are remains of anything; of
 * tissue, pictures. */
enum { GARMENTS, TISSUE, N_KINDS };
enum { RICH, CHANCE };
enum { SIDE = 28, PIXELS = SIDE * SIDE, TILE = 32, PATCHES = 20, OF_CLASS = 6, KEPT = 4, SLIDES = 200, TEST_SLIDES = 100 };
#define STANDARDISE "normalise:0.5:0.25"
static const char *const words[N_KINDS] = { "rgb,resize:32," STANDARDISE, STANDARDISE }; // to what the network sees

/* What is kept of the slides of one part, and the slide of each of its tiles. */
typedef struct tiles {
    epl_dataset *train, *test;
    int64_t     *slide; /* of the test tiles */
} tiles;

typedef struct study {
    tiles        tiles[PAPER_MAX_SEEDS][N_KINDS][2];
    epl_model   *source[PAPER_MAX_SEEDS];
    epl_dataset *garments[2];           /* classes 0 to 4 of Fashion-MNIST: what the source learns, and its test */
    int64_t      n_slides;              /* for training */
    int64_t      nearest[TEST_SLIDES][3]; /* of tissue, the last configuration, seed 0: for the picture */
} study;

/* A field of soft hills in [0, 1]: random heights at the corners of cells x cells squares, between them straight lines. */
static void draw_hills(epl_rng *r, int cells, float out[PIXELS])
{
    enum { MOST = 8 };
    float height[(MOST + 1) * (MOST + 1)];
    for (int i = 0; i < (cells + 1) * (cells + 1); i++)
        height[i] = epl_rng_uniform(r);
    for (int i = 0; i < PIXELS; i++) {
        const float y = (float)(i / SIDE * cells) / SIDE, x = (float)(i % SIDE * cells) / SIDE, v = y - floorf(y), u = x - floorf(x);
        const float *h = height + (cells + 1) * (int)y + (int)x, *below = h + cells + 1;
        out[i] = (1 - v) * ((1 - u) * h[0] + u * h[1]) + v * ((1 - u) * below[0] + u * below[1]);
    }
}

/* Every pixel becomes the mean of the 5 x 5 about it. */
static void blur(float x[PIXELS])
{
    float out[PIXELS];
    for (int i = 0; i < PIXELS; i++) {
        float sum = 0;
        for (int k = 0; k < 25; k++) {
            const int py = i / SIDE + k / 5 - 2, px = i % SIDE + k % 5 - 2;
            sum += py >= 0 && px >= 0 && py < SIDE && px < SIDE ? x[py * SIDE + px] : 0;
        }
        out[i] = sum / 25;
    }
    memcpy(x, out, sizeof out);
}

/* What is left of a picture: some places of it, faded and blurred. */
static void leave_remains(epl_rng *r, float x[PIXELS])
{
    float hills[PIXELS];
    draw_hills(r, 3, hills);
    for (int i = 0; i < PIXELS; i++)
        x[i] *= hills[i] > 0.55f ? 0.35f : 0;
    blur(x);
    blur(x);
}

/* Dark on bright, under uneven light. */
static void stain(epl_rng *r, const float x[PIXELS], uint8_t *out)
{
    float hills[PIXELS];
    draw_hills(r, 7, hills);
    for (int i = 0; i < PIXELS; i++)
        out[i] = (uint8_t)(255 * (1 - x[i]) * (0.3f + 0.7f * hills[i]) + 0.5f);
}

/* A slide's patches: `content` is the share of each that is something, before the stain. */
static bool draw_slide(epl_dataset *d, const int64_t *of_class[10], const int64_t n[10], int class, epl_rng *r, uint8_t *patches,
                       double content[PATCHES])
{
    for (int k = 0; k < PATCHES; k++) {
        const int c = k < OF_CLASS ? class : 5 + (int)epl_rng_below(r, 5);
        uint8_t   raw[PIXELS];
        float     x[PIXELS];
        if (!epl_dataset_fetch(d, of_class[c][epl_rng_below(r, (uint64_t)n[c])], raw, NULL))
            return false;
        for (int i = 0; i < PIXELS; i++)
            x[i] = (float)raw[i] / 255;
        if (k >= OF_CLASS)
            leave_remains(r, x);
        content[k] = 0;
        for (int i = 0; i < PIXELS; i++)
            content[k] += (x[i] > 0.25f) / (double)PIXELS;
        stain(r, x, patches + k * PIXELS);
    }
    return true;
}

/* The `KEPT` patches of the highest score, or any. */
static void choose_patches(const double *content, int by, epl_rng *r, bool kept[PATCHES])
{
    double score[PATCHES];
    for (int k = 0; k < PATCHES; k++) {
        score[k] = by == RICH ? content[k] : epl_rng_uniform_f64(r);
        kept[k]  = false;
    }
    for (int i = 0; i < KEPT; i++) {
        int best = -1;
        for (int k = 0; k < PATCHES; k++)
            if (!kept[k] && (best < 0 || score[k] > score[best]))
                best = k;
        kept[best] = true;
    }
}

/* Slides of garments, classes 5 to 9 as 0 to 4; what is kept of them in both ways. */
static bool make_garment_slides(paper_run *r, epl_dataset *d, int64_t n_slides, uint64_t seed, bool test, tiles out[2])
{
    epl_context  *ctx = paper_context(r);
    const int64_t count = epl_dataset_info_of(d).count;
    int64_t *of_class[10], n[10] = { 0 };
    for (int c = 0; c < 10; c++)
        of_class[c] = paper_alloc(r, (size_t)(count + 1) * sizeof(int64_t));
    for (int64_t i = 0, y; i < count && paper_ok(r) && epl_dataset_fetch(d, i, NULL, &y); i++)
        of_class[y][n[y]++] = i;
    epl_tensor *x[2], *y[2];
    uint8_t    *patches = paper_alloc(r, PATCHES * PIXELS);
    for (int by = 0; by < 2; by++) {
        x[by] = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(n_slides * KEPT, SIDE, SIDE, 1));
        y[by] = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(n_slides * KEPT));
        if (test)
            out[by].slide = epl_alloc_array(ctx, (size_t)(n_slides * KEPT), sizeof(int64_t));
    }
    for (int64_t i = 0; i < n_slides && paper_ok(r); i++) {
        epl_rng rng = epl_rng_at(seed * 2 + test, (uint64_t)i);
        double  content[PATCHES];
        bool    kept[PATCHES];
        if (!draw_slide(d, (const int64_t **)of_class, n, 5 + (int)(i % 5), &rng, patches, content))
            break;
        for (int by = 0; by < 2; by++) {
            choose_patches(content, by, &rng, kept);
            for (int k = 0, at = (int)i * KEPT; k < PATCHES; k++)
                if (kept[k]) {
                    memcpy((uint8_t *)x[by]->data + at * PIXELS, patches + k * PIXELS, PIXELS);
                    epl_tensor_set_i64(y[by], at, i % 5);
                    if (test)
                        out[by].slide[at] = i;
                    at++;
                }
        }
    }
    for (int by = 0; by < 2; by++)
        *(test ? &out[by].test : &out[by].train) = epl_dataset_from_tensors_take(ctx, "garment slides", x[by], y[by]);
    return paper_ok(r);
}

/* Slides of tissue: mosaics of five clusters, half of each spread over the slide, of those a fifth. */
static bool make_tissue_slides(paper_run *r, int64_t n_slides, uint64_t seed, bool test, tiles out[2])
{
    const epl_dataset_opts o = { .seed = seed, .split = test ? EPL_SPLIT_TEST : EPL_SPLIT_TRAIN };
    epl_dataset *slides = epl_dataset_open(paper_context(r), paper_textf(r, "tissue:count=%d,test=%d", (int)n_slides, TEST_SLIDES), o);
    for (int by = 0; by < 2 && slides; by++) {
        const epl_mosaic_opts m = { .tile = TILE, .clusters = 5, .spatial = 0.5, .top = 0.2, .seed = seed,
                                    .score = by == CHANCE ? EPL_SCORE_RANDOM : EPL_SCORE_CELLULARITY };
        *(test ? &out[by].test : &out[by].train) = epl_mosaic_dataset(slides, m, test ? &out[by].slide : NULL, NULL);
    }
    epl_dataset_free(slides);
    return paper_ok(r);
}

/* The samples of classes 0 to 4. */
static epl_dataset *first_classes(paper_run *r, epl_dataset *d)
{
    const int64_t n = d ? epl_dataset_info_of(d).count : 0;
    int64_t *chosen = paper_alloc(r, (size_t)(n + 1) * sizeof *chosen), count = 0;
    for (int64_t i = 0, y; i < n && chosen && epl_dataset_fetch(d, i, NULL, &y); i++)
        if (y < 5)
            chosen[count++] = i;
    return d && chosen ? epl_dataset_subset(d, chosen, count) : NULL;
}

/* A shortened run has fewer slides, too. */
static bool open_data(paper_run *r, const paper_recipe *recipe, study *s)
{
    epl_dataset *d[2] = { paper_train_data(r, recipe), paper_test_data(r, recipe) };
    for (int test = 0; test < 2; test++) {
        s->garments[test] = first_classes(r, d[test]);
        if (!s->garments[test])
            return false;
    }
    s->n_slides = SLIDES * epl_dataset_info_of(d[0]).count / recipe->samples / 10 * 10;
    s->n_slides = s->n_slides < 20 ? 20 : s->n_slides;
    for (int seed = 0; seed < paper_n_seeds(r); seed++)
        for (int test = 0; test < 2; test++) {
            const int64_t n = test ? TEST_SLIDES : s->n_slides;
            if (!make_garment_slides(r, d[test], n, (uint64_t)seed, test, s->tiles[seed][GARMENTS]) ||
                !make_tissue_slides(r, n, (uint64_t)seed, test, s->tiles[seed][TISSUE]))
                return false;
        }
    return true;
}

/* ---- the network: a small DenseNet-BC of four blocks, averaged without a last ReLU ---- */

static epl_graph *small_densenet(epl_context *ctx, void *user)
{
    (void)user;
    epl_graph *g = epl_graph_new(ctx, "densenet");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, TILE, TILE, 3), "N,,,");
    x = epl_conv(g, x, (epl_conv_opts){ .name = "stem", .out = 16, .stride = 2, .pad = 1, .no_bias = true });
    for (int b = 1; b <= 4; b++) {
        for (int i = 1; i <= 2; i++) {
            epl_scope_push(g, "block%d.layer%d", b, i);
            x = epl_dense_layer(g, x, (epl_dense_layer_opts){ .growth = 8 });
            epl_scope_pop(g);
        }
        char name[32];
        snprintf(name, sizeof name, "transition%d", b);
        if (b < 4)
            x = epl_average_pool(g, epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = name, .pre = true,
                                                                               .conv = { .out = (int)epl_channels(x) / 2, .kernel = 1 } }),
                                 (epl_pool_opts){ .kernel = { 2 } });
    }
    x = epl_batch_norm(g, x, (epl_norm_opts){ .name = "norm" });
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 5 }));
    return g;
}

/* CBR-Tiny an eighth as wide: about as many parameters as the network above. */
static epl_graph *small_tower(epl_context *ctx, void *user)
{
    (void)user;
    static const char *const names[] = { "unit1", "unit2", "unit3", "unit4" };
    epl_graph *g = epl_graph_new(ctx, "tower");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, TILE, TILE, 3), "N,,,");
    for (int i = 0; i < 4; i++) {
        x = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = names[i], .conv = { .out = 4 << i, .kernel = 5 } });
        x = epl_max_pool(g, x, (epl_pool_opts){ .kernel = { 3 }, .stride = { 2 }, .pad = 1 });
    }
    epl_output(g, "logits", epl_classifier(g, x, (epl_classifier_opts){ .classes = 5 }));
    return g;
}

/* ---- search ---- */

/* Where each test slide's tiles begin, their labels and patients: two slides of tissue are one patient's. */
typedef struct bags {
    int64_t first[TEST_SLIDES + 1], label[TEST_SLIDES], patient[TEST_SLIDES];
} bags;

static void bags_of(const tiles *t, int kind, bags *b)
{
    const int64_t n = epl_dataset_info_of(t->test).count;
    int64_t at = 0;
    for (int64_t i = 0; i < TEST_SLIDES; i++) {
        b->first[i]   = at;
        b->patient[i] = kind == TISSUE ? i / 2 : i;
        b->label[i]   = b->patient[i] % 5;
        while (at < n && t->slide[at] == i)
            at++;
    }
    b->first[TEST_SLIDES] = at;
}

/* Asks every test slide about those of other patients; measures accuracy in percent by both distances. */
static bool search(paper_run *r, const epl_model *m, const tiles *t, int kind, const char *name, int64_t nearest[TEST_SLIDES][3])
{
    static const char *const what[] = { "retrieval accuracy", "retrieval accuracy, Euclidean" };
    bags b;
    bags_of(t, kind, &b);
    const epl_bags all = { TEST_SLIDES, b.first, b.label, b.patient, NULL };
    epl_tensor    *f = epl_features(m, t->test, (epl_features_opts){ .augment = words[kind] });
    for (int k = 0; k < 2 && f && paper_ok(r); k++) {
        epl_retrieval found;
        if (!epl_retrieve(paper_context(r), f, &all,
                          (epl_retrieve_opts){ .distance = k ? EPL_DISTANCE_EUCLIDEAN : EPL_DISTANCE_BARCODE }, &found))
            break;
        paper_add(paper_series_named(r, what[k], name, "%"), 100 * found.accuracy);
        if (k == 0 && nearest)
            memcpy(nearest, found.nearest, sizeof(int64_t[TEST_SLIDES][3]));
        epl_retrieval_release(paper_context(r), &found);
    }
    epl_tensor_free(f);
    return paper_ok(r);
}

/* ---- training ---- */

typedef struct plan {
    study *s;
    int    kind, by, blocks; /* blocks 0: from nothing */
} plan;

static const char *variant_name(paper_run *r, int kind, int blocks, int by)
{
    static const char *const configuration[] = { "source", "I", "II", "III", "IV" };
    return paper_textf(r, "%s%s, %s", kind == TISSUE ? "tissue: " : "", configuration[blocks], by == RICH ? "rich tiles" : "any tiles");
}

static bool use_garments(paper_run *r, paper_training *t)
{
    const plan *p = t->user;
    t->train = p->s->garments[0];
    t->test  = p->s->garments[1];
    return paper_ok(r);
}

static bool keep_source(paper_run *r, paper_training *t)
{
    const plan *p = t->user;
    if (!isfinite(t->accuracy))
        return false;
    p->s->source[t->seed] = epl_model_copy(t->model);
    paper_keep_model_take(r, p->s->source[t->seed]);
    bool ok = p->s->source[t->seed] != NULL;
    for (int i = 0; i < 2 * N_KINDS && ok; i++)
        ok = search(r, t->model, &p->s->tiles[t->seed][i / 2][i % 2], i / 2, variant_name(r, i / 2, 0, i % 2), NULL);
    return ok;
}

/* The source's weights but for the classifier, of which the last blocks may learn. */
static bool begin_from_source(paper_run *r, paper_training *t)
{
    const plan *p = t->user;
    t->train = p->s->tiles[t->seed][p->kind][p->by].train;
    t->test  = p->s->tiles[t->seed][p->kind][p->by].test;
    t->recipe.augment = paper_textf(r, "flip,%s", words[p->kind]);
    if (p->blocks == 0)
        return paper_ok(r);
    const epl_weights *w = p->s->source[t->seed]->weights;
    for (int i = 0; i < epl_weights_count(w); i++) {
        epl_tensor *mine = epl_weights_find(t->model->weights, epl_weights_name(w, i));
        if (mine && !epl_glob("head.*", epl_weights_name(w, i)))
            memcpy(mine->data, epl_weights_at(w, i)->data, epl_tensor_bytes(mine));
    }
    char *resting = epl_finetune_pattern(t->model->graph, p->blocks);
    t->recipe.freeze = resting && resting[0] ? paper_textf(r, "%s", resting) : NULL;
    epl_release(paper_context(r), resting);
    return paper_ok(r);
}

static bool search_slides(paper_run *r, paper_training *t)
{
    const plan *p = t->user;
    const bool  shown = t->seed == 0 && p->kind == TISSUE && p->by == RICH;
    if (t->seed == 0 && (p->blocks == 0 || p->blocks == 4) && p->kind == GARMENTS && p->by == RICH)
        paper_add(paper_series_named(r, "parameters", t->variant->name, ""), (double)epl_graph_n_parameters(t->model->graph));
    return isfinite(t->accuracy) &&
           search(r, t->model, &p->s->tiles[t->seed][p->kind][p->by], p->kind, t->variant->name, shown ? p->s->nearest : NULL);
}

/* ---- what came of it ---- */

static const char tower[] = "CBR as small, rich tiles", large_tower[] = "CBR-Tiny, rich tiles";

static double retrieval(paper_run *r, const char *name) { return paper_mean(paper_series_named(r, "retrieval accuracy", name, "%")); }
static double of_variant(paper_run *r, int kind, int blocks, int by) { return retrieval(r, variant_name(r, kind, blocks, by)); }

static void compare(paper_run *r)
{
    const double source = of_variant(r, GARMENTS, 0, RICH);
    for (int b = 1; b <= 4; b++) {
        const double rich = of_variant(r, GARMENTS, b, RICH);
        paper_check(r, paper_textf(r, "%d blocks learn: above the source, points", b), rich - source, PAPER_AT_LEAST, 15);
        paper_check(r, paper_textf(r, "%d blocks learn: rich tiles above any tiles, points", b),
                    rich - of_variant(r, GARMENTS, b, CHANCE), PAPER_AT_LEAST, 10);
    }
    paper_check(r, "IV above I, points", of_variant(r, GARMENTS, 4, RICH) - of_variant(r, GARMENTS, 1, RICH), PAPER_AT_LEAST, -2);
    paper_check(r, "IV above a CBR as small, points", of_variant(r, GARMENTS, 4, RICH) - retrieval(r, tower), PAPER_AT_LEAST, 0);
    const double tissue = of_variant(r, TISSUE, 4, RICH);
    paper_remark(r, "CBR-Tiny itself, with %.0f times as many parameters as this DenseNet, is %+.1f points from IV.",
                 paper_mean(paper_series_named(r, "parameters", large_tower, "")) /
                     paper_mean(paper_series_named(r, "parameters", variant_name(r, GARMENTS, 4, RICH), "")),
                 retrieval(r, large_tower) - of_variant(r, GARMENTS, 4, RICH));
    paper_check(r, "tissue: IV above the source, points", tissue - of_variant(r, TISSUE, 0, RICH), PAPER_AT_LEAST, 15);
    paper_check(r, "tissue: rich tiles above any tiles, points", tissue - of_variant(r, TISSUE, 4, CHANCE), PAPER_AT_LEAST, 10);
}

static void plot_configurations(paper_run *r)
{
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "blocks that learn (0: the source)",
                                                                  .y_label = "retrieval accuracy [%]" });
    for (int by = 0; by < 2; by++) {
        double y[5], low[5], high[5];
        for (int b = 0; b <= 4; b++) {
            const paper_series *s = paper_series_named(r, "retrieval accuracy", variant_name(r, GARMENTS, b, by), "%");
            y[b]    = paper_mean(s);
            low[b]  = y[b] - paper_std(s);
            high[b] = y[b] + paper_std(s);
        }
        epl_plot_line(p, by == RICH ? "rich tiles" : "any tiles", NULL, y, 5, (epl_line_opts){ .low = low, .high = high, .markers = true });
    }
    epl_plot_mark_y(p, retrieval(r, tower), "CBR as small");
    paper_plot_take(r, "configurations", "Retrieval accuracy against the blocks that learn; the shade is a standard deviation.", p);
}

static epl_tensor *tile_of(paper_run *r, epl_dataset *d, int64_t i)
{
    epl_tensor *t = epl_tensor_new(paper_context(r), EPL_U8, epl_dataset_info_of(d).x_shape);
    if (t)
        epl_dataset_fetch(d, i, t->data, NULL);
    return t;
}

/* What was kept of one test slide for each class, a row each. */
static void plot_sheet(paper_run *r, const study *s, int kind, int by)
{
    enum { COLUMNS = 4 };
    epl_tensor  *x[5 * COLUMNS] = { NULL };
    const tiles *t = &s->tiles[0][kind][by];
    bags b;
    int  at = 0;
    bags_of(t, kind, &b);
    for (int class = 0; class < 5; class++) {
        const int64_t slide = kind == TISSUE ? 2 * class : class;
        for (int64_t i = b.first[slide]; i < b.first[slide + 1] && i < b.first[slide] + COLUMNS; i++)
            x[at++] = tile_of(r, t->test, i);
    }
    const char *kinds[] = { "garments", "tissue" }, *ways[] = { "rich", "any" };
    paper_plot_tiles(r, paper_textf(r, "%s-%s", kinds[kind], ways[by]),
                     paper_textf(r, "Slides of %s: tiles that were kept %s, one slide of each class a row.", kinds[kind],
                                 by == RICH ? "because they are rich" : "by chance"),
                     (const epl_tensor *const *)x, NULL, at, (epl_pictures_opts){ .columns = COLUMNS, .size = 64 });
    for (int i = 0; i < at; i++)
        epl_tensor_free(x[i]);
}

/* The first tile of a slide of tissue of each class, and those of the three slides that were found for it. */
static void plot_answers(paper_run *r, const study *s)
{
    epl_tensor  *x[20] = { NULL };
    const char  *names[20];
    const tiles *t = &s->tiles[0][TISSUE][RICH];
    bags b;
    int  at = 0;
    bags_of(t, TISSUE, &b);
    for (int class = 0; class < 5; class++)
        for (int k = -1; k < 3; k++) {
            const int64_t slide = k < 0 ? 2 * class : s->nearest[2 * class][k];
            if (slide < 0)
                continue;
            names[at] = k < 0 ? paper_textf(r, "asked: class %d", class) : paper_textf(r, "class %d", (int)b.label[slide]);
            x[at++]   = tile_of(r, t->test, b.first[slide]);
        }
    paper_plot_tiles(r, "answers",
                     "Search among slides of tissue with configuration IV, seed 0: a tile of the slide asked about, "
                     "and of the three found.",
                     (const epl_tensor *const *)x, names, at, (epl_pictures_opts){ .columns = 4, .size = 72 });
    for (int i = 0; i < at; i++)
        epl_tensor_free(x[i]);
}

static void release(paper_run *r, study *s)
{
    for (int i = 0; i < paper_n_seeds(r) * 2 * N_KINDS; i++) {
        tiles *t = &s->tiles[i / (2 * N_KINDS)][i / 2 % N_KINDS][i % 2];
        epl_dataset_free(t->train);
        epl_dataset_free(t->test);
        epl_release(paper_context(r), t->slide);
    }
    epl_dataset_free(s->garments[0]);
    epl_dataset_free(s->garments[1]);
}

/* The source; I to IV on rich and on any tiles; the towers; IV on tissue. */
enum { SOURCE, FIRST, TOWER = FIRST + 8, LARGE_TOWER, ON_TISSUE, N_VARIANTS = ON_TISSUE + 2 };

static void full(paper_run *r)
{
    study *s     = paper_alloc(r, sizeof *s);
    plan  *plans = paper_alloc(r, N_VARIANTS * sizeof *plans);
    paper_variant v[N_VARIANTS] = { 0 };
    const paper_recipe garments = { .samples = 60000, .test = 4000, .epochs = 3, .augment = paper_textf(r, "flip,%s", words[GARMENTS]) };
    const paper_recipe slides   = { .samples = 1000, .test = 500, .epochs = 12, .batch = 64 };
    if (!s || !plans)
        return;
    for (int i = 0; i < N_VARIANTS; i++) {
        const int k = i - FIRST;
        plans[i] = i >= ON_TISSUE                                  ? (plan){ s, TISSUE, i - ON_TISSUE, 4 }
                   : i == SOURCE || i == TOWER || i == LARGE_TOWER ? (plan){ s, GARMENTS, RICH, 0 }
                                                                   : (plan){ s, GARMENTS, k / 4, 1 + k % 4 };
        v[i] = (paper_variant){ .name = variant_name(r, plans[i].kind, plans[i].blocks, plans[i].by), .build = small_densenet,
                                .begin = begin_from_source, .end = search_slides, .user = &plans[i] };
    }
    v[SOURCE] = (paper_variant){ .name = "source",
                                 .build = small_densenet,
                                 .begin = use_garments,
                                 .end = keep_source,
                                 .user = &plans[SOURCE],
                                 .recipe = &garments };
    v[TOWER].build = small_tower;
    v[TOWER].name  = tower;
    v[LARGE_TOWER].build = NULL;
    v[LARGE_TOWER].name  = large_tower;
    v[LARGE_TOWER].model = "cbr:variant=tiny,image=32,classes=5";
    if (open_data(r, &garments, s) && paper_train(r, v, N_VARIANTS, slides, NULL)) {
        compare(r);
        plot_configurations(r);
        for (int i = 0; i < 2 * N_KINDS; i++)
            plot_sheet(r, s, i / 2, i % 2);
        plot_answers(r, s);
    }
    release(r, s);
}

const paper paper_densenet_kimianet = {
    .slug = "densenet-kimianet",
    .title =
        "Fine-Tuning and Training of DenseNet for Histopathology Image Representation Using TCGA Diagnostic Slides",
    .source = "Riasatian et al. 2021, arXiv:2101.07903; DenseNet: Huang et al. 2016, arXiv:1608.06993",
    .kind = "training",
    .claim = "a DenseNet that is fine-tuned on tiles rich in content, each under its slide's label, finds slides of "
             "the same kind by its features, and "
             "does so better than the network that it came from, than one fine-tuned on any tiles, and than a small "
             "one trained from nothing",
    .criterion = "on slides of garments, retrieval accuracy (barcodes, median of the least distances, three nearest) "
                 "of every configuration I to IV is "
                 "at least 15 points above the source network and 10 above the same on any tiles, IV at most 2 points "
                 "below I, and not below a "
                 "CBR network of about as many parameters trained from nothing; on slides of generated tissue IV is at "
                 "least 15 points above the "
                 "source and 10 above any tiles",
    .quick = quick,
    .full = full,
};
