/* densenet-kimianet: slides of generated tissue have one label each. Do tiles that are rich in nuclei, under that label, teach a network that
 * was trained on other pictures to find slides of the same kind - the better, the more of its blocks learn? */
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
    if (slide && epl_dataset_fetch(d, 0, slide->data, NULL) && epl_mosaic_of(ctx, slide, (epl_mosaic_opts){ .tile = 24, .spatial = 0.5 }, &m)) {
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

enum { TILE = 32, SLIDES = 200, TEST_SLIDES = 100, BY_NUCLEI = 0, BY_CHANCE = 1 };
#define STANDARDISE "normalise:0.5:0.25"

/* Tiles of slides, chosen in one way. */
typedef struct tiles {
    epl_dataset *train, *test;
    int64_t     *slide; /* of the test tiles */
} tiles;

typedef struct study {
    tiles      tiles[PAPER_MAX_SEEDS][2];
    epl_model *source[PAPER_MAX_SEEDS];
    epl_dataset *garments, *test_garments; /* classes 0 to 4 of Fashion-MNIST */
    int64_t    n_slides;                   /* for training */
    int64_t    nearest[TEST_SLIDES][3];    /* of the last configuration, seed 0: for the picture */
} study;

/* A shortened run has fewer slides, too. */
static bool make_tiles(paper_run *r, study *s, int seed)
{
    for (int test = 0; test < 2 && paper_ok(r); test++) {
        const epl_dataset_opts o = { .seed = (uint64_t)seed, .split = test ? EPL_SPLIT_TEST : EPL_SPLIT_TRAIN };
        epl_dataset *slides = epl_dataset_open(paper_context(r), paper_textf(r, "tissue:count=%d,test=%d", (int)s->n_slides, TEST_SLIDES), o);
        for (int by = 0; by < 2 && slides; by++) {
            tiles *t = &s->tiles[seed][by];
            const epl_mosaic_opts m = { .tile = TILE, .clusters = 5, .spatial = 0.5, .top = 0.2, .seed = (uint64_t)seed,
                                        .score = by == BY_CHANCE ? EPL_SCORE_RANDOM : EPL_SCORE_CELLULARITY };
            *(test ? &t->test : &t->train) = epl_mosaic_dataset(slides, m, test ? &t->slide : NULL, NULL);
        }
        epl_dataset_free(slides);
    }
    return paper_ok(r);
}

/* The samples of classes 0 to 4. */
static epl_dataset *first_classes(paper_run *r, epl_dataset *d)
{
    const int64_t n = d ? epl_dataset_info_of(d).count : 0;
    int64_t *chosen = paper_alloc(r, (size_t)(n + 1) * sizeof *chosen), count = 0;
    for (int64_t i = 0; i < n && chosen; i++) {
        int64_t y;
        if (epl_dataset_fetch(d, i, NULL, &y) && y < 5)
            chosen[count++] = i;
    }
    return d && chosen ? epl_dataset_subset(d, chosen, count) : NULL;
}

static bool open_data(paper_run *r, const paper_recipe *recipe, study *s)
{
    epl_dataset *train = paper_train_data(r, recipe);
    s->garments      = first_classes(r, train);
    s->test_garments = first_classes(r, paper_test_data(r, recipe));
    if (!s->garments || !s->test_garments)
        return false;
    s->n_slides = SLIDES * epl_dataset_info_of(train).count / recipe->samples / 10 * 10;
    s->n_slides = s->n_slides < 20 ? 20 : s->n_slides;
    for (int seed = 0; seed < paper_n_seeds(r); seed++)
        if (!make_tiles(r, s, seed))
            return false;
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

/* ---- search ---- */

/* Where each test slide's tiles begin, their labels and patients. */
static void bags_of(const epl_dataset_info *info, const int64_t *slide, int64_t first[TEST_SLIDES + 1], int64_t label[TEST_SLIDES],
                    int64_t patient[TEST_SLIDES])
{
    int64_t at = 0;
    for (int64_t i = 0; i < TEST_SLIDES; i++) {
        first[i]   = at;
        patient[i] = i / 2; // the generator's rule, and its class
        label[i]   = i / 2 % 5;
        while (at < info->count && slide[at] == i)
            at++;
    }
    first[TEST_SLIDES] = at;
}

/* Asks every test slide about those of other patients; measures accuracy in percent by both distances. */
static bool search(paper_run *r, const epl_model *m, const tiles *t, const char *name, int64_t nearest[TEST_SLIDES][3])
{
    static const char *const what[] = { "retrieval accuracy, barcodes", "retrieval accuracy" };
    int64_t first[TEST_SLIDES + 1], label[TEST_SLIDES], patient[TEST_SLIDES];
    const epl_dataset_info info = epl_dataset_info_of(t->test);
    bags_of(&info, t->slide, first, label, patient);
    const epl_bags bags = { TEST_SLIDES, first, label, patient, NULL };
    epl_tensor    *f = epl_features(m, t->test, (epl_features_opts){ .augment = STANDARDISE });
    for (int k = 0; k < 2 && f && paper_ok(r); k++) {
        epl_retrieval found;
        if (!epl_retrieve(paper_context(r), f, &bags, (epl_retrieve_opts){ .distance = k ? EPL_DISTANCE_EUCLIDEAN : EPL_DISTANCE_BARCODE }, &found))
            break;
        paper_add(paper_series_named(r, what[k], name, "%"), 100 * found.accuracy);
        if (k && nearest)
            memcpy(nearest, found.nearest, sizeof(int64_t[TEST_SLIDES][3]));
        epl_retrieval_release(paper_context(r), &found);
    }
    epl_tensor_free(f);
    return paper_ok(r);
}

/* ---- training ---- */

enum { SOURCE, FIRST = 1, N_VARIANTS = FIRST + 9 }; // I to IV on nuclei, I to IV by chance, the tower
static const char *const configuration[] = { "I", "II", "III", "IV" };

typedef struct plan {
    study *s;
    int    by, blocks; /* blocks 0: from nothing */
} plan;

static bool use_garments(paper_run *r, paper_training *t)
{
    const plan *p = t->user;
    t->train = p->s->garments;
    t->test  = p->s->test_garments;
    return paper_ok(r);
}

static bool keep_source(paper_run *r, paper_training *t)
{
    const plan *p = t->user;
    if (!isfinite(t->accuracy))
        return false;
    p->s->source[t->seed] = epl_model_copy(t->model);
    paper_keep_model_take(r, p->s->source[t->seed]);
    return p->s->source[t->seed] && search(r, t->model, &p->s->tiles[t->seed][BY_NUCLEI], "source, nuclei", NULL) &&
           search(r, t->model, &p->s->tiles[t->seed][BY_CHANCE], "source, chance", NULL);
}

/* The source's weights but for the classifier, of which the last blocks may learn. */
static bool begin_from_source(paper_run *r, paper_training *t)
{
    const plan *p = t->user;
    t->train = p->s->tiles[t->seed][p->by].train;
    t->test  = p->s->tiles[t->seed][p->by].test;
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
    const bool  shown = t->seed == 0 && p->blocks == 4 && p->by == BY_NUCLEI;
    return isfinite(t->accuracy) && search(r, t->model, &p->s->tiles[t->seed][p->by], t->variant->name, shown ? p->s->nearest : NULL);
}

/* ---- what came of it ---- */

static double retrieval(paper_run *r, const char *name) { return paper_mean(paper_series_named(r, "retrieval accuracy", name, "%")); }

static const char *variant_name(paper_run *r, int blocks, int by)
{
    return paper_textf(r, "%s, %s", blocks ? configuration[blocks - 1] : "source", by == BY_NUCLEI ? "nuclei" : "chance");
}

static void compare(paper_run *r)
{
    const double source = retrieval(r, "source, nuclei"), one = retrieval(r, "I, nuclei"), four = retrieval(r, "IV, nuclei");
    for (int b = 1; b <= 4; b++) {
        const double nuclei = retrieval(r, variant_name(r, b, BY_NUCLEI)), chance = retrieval(r, variant_name(r, b, BY_CHANCE));
        paper_check(r, paper_textf(r, "%s - source, points", configuration[b - 1]), nuclei - source, PAPER_AT_LEAST, 15);
        paper_check(r, paper_textf(r, "%s: tiles by nuclei - by chance, points", configuration[b - 1]), nuclei - chance, PAPER_AT_LEAST, 10);
    }
    paper_check(r, "IV - I, points", four - one, PAPER_AT_LEAST, -2);
    paper_check(r, "IV - CBR-Tiny, points", four - retrieval(r, "CBR-Tiny, nuclei"), PAPER_AT_LEAST, 0);
}

static void plot_configurations(paper_run *r)
{
    epl_plot *p = epl_plot_new(paper_context(r), (epl_plot_opts){ .x_label = "blocks that learn (0: the source)", .y_label = "retrieval accuracy [%]" });
    for (int by = 0; by < 2; by++) {
        double y[5], low[5], high[5];
        for (int b = 0; b <= 4; b++) {
            const paper_series *s = paper_series_named(r, "retrieval accuracy", variant_name(r, b, by), "%");
            y[b]    = paper_mean(s);
            low[b]  = y[b] - paper_std(s);
            high[b] = y[b] + paper_std(s);
        }
        epl_plot_line(p, by == BY_NUCLEI ? "tiles by nuclei" : "tiles by chance", NULL, y, 5,
                      (epl_line_opts){ .low = low, .high = high, .markers = true });
    }
    epl_plot_mark_y(p, retrieval(r, "CBR-Tiny, nuclei"), "CBR-Tiny");
    paper_plot_take(r, "configurations", "Retrieval accuracy against the blocks that learn; the shade is a standard deviation.", p);
}

static epl_tensor *tile_of(paper_run *r, epl_dataset *d, int64_t i)
{
    epl_tensor *t = epl_tensor_new(paper_context(r), EPL_U8, EPL_SHAPE(TILE, TILE, 3));
    if (t)
        epl_dataset_fetch(d, i, t->data, NULL);
    return t;
}

/* The tiles that were kept of one slide for each class, by nuclei and by chance. */
static void plot_sheet(paper_run *r, study *s, int by)
{
    enum { COLUMNS = 5 };
    epl_tensor *x[5 * COLUMNS] = { NULL };
    const tiles *t = &s->tiles[0][by];
    const int64_t n = epl_dataset_info_of(t->test).count;
    int at = 0;
    for (int class = 0; class < 5; class++)
        for (int64_t i = 0, seen = 0; i < n && seen < COLUMNS; i++)
            if (t->slide[i] == 2 * class) {
                x[at++] = tile_of(r, t->test, i);
                seen++;
            }
    paper_plot_tiles(r, by == BY_NUCLEI ? "nuclei" : "chance", by == BY_NUCLEI ? "Tiles kept for their nuclei, one slide of each class a row."
                     : "Tiles kept by chance, one slide of each class a row.", (const epl_tensor *const *)x, NULL, at,
                     (epl_pictures_opts){ .columns = COLUMNS, .size = 64 });
    for (int i = 0; i < at; i++)
        epl_tensor_free(x[i]);
}

/* The first tile of a slide of each class, and those of the three slides that were found for it. */
static void plot_answers(paper_run *r, study *s)
{
    epl_tensor *x[20] = { NULL };
    const char *names[20];
    const tiles *t = &s->tiles[0][BY_NUCLEI];
    const epl_dataset_info info = epl_dataset_info_of(t->test);
    int64_t first[TEST_SLIDES + 1], label[TEST_SLIDES], patient[TEST_SLIDES];
    int at = 0;
    bags_of(&info, t->slide, first, label, patient);
    for (int class = 0; class < 5; class++)
        for (int k = -1; k < 3; k++) {
            const int64_t slide = k < 0 ? 2 * class : s->nearest[2 * class][k];
            if (slide < 0)
                continue;
            names[at] = k < 0 ? paper_textf(r, "asked: class %d", class) : paper_textf(r, "class %d", (int)label[slide]);
            x[at++]   = tile_of(r, t->test, first[slide]);
        }
    paper_plot_tiles(r, "answers", "Search with configuration IV, seed 0: a tile of the slide asked about, and of the three found.",
                     (const epl_tensor *const *)x, names, at, (epl_pictures_opts){ .columns = 4, .size = 72 });
    for (int i = 0; i < at; i++)
        epl_tensor_free(x[i]);
}

static void release(paper_run *r, study *s)
{
    for (int seed = 0; seed < paper_n_seeds(r); seed++)
        for (int by = 0; by < 2; by++) {
            epl_dataset_free(s->tiles[seed][by].train);
            epl_dataset_free(s->tiles[seed][by].test);
            epl_release(paper_context(r), s->tiles[seed][by].slide);
        }
    epl_dataset_free(s->garments);
    epl_dataset_free(s->test_garments);
}

static void full(paper_run *r)
{
    study *s     = paper_alloc(r, sizeof *s);
    plan  *plans = paper_alloc(r, N_VARIANTS * sizeof *plans);
    paper_variant v[N_VARIANTS] = { 0 };
    const paper_recipe garments = { .samples = 12000, .test = 2000, .epochs = 3, .augment = "rgb,resize:32,flip," STANDARDISE };
    const paper_recipe slides   = { .samples = 1000, .test = 500, .epochs = 12, .batch = 64, .augment = "flip," STANDARDISE };
    if (!s || !plans)
        return;
    for (int i = 0; i < N_VARIANTS; i++) {
        const int k = i - FIRST;
        plans[i] = (plan){ s, k / 4 % 2, i == SOURCE || k == 8 ? 0 : 1 + k % 4 };
        v[i] = (paper_variant){ .name = k == 8 ? "CBR-Tiny, nuclei" : variant_name(r, plans[i].blocks, plans[i].by), .build = small_densenet,
                                .begin = begin_from_source, .end = search_slides, .user = &plans[i] };
    }
    v[SOURCE].begin  = use_garments;
    v[SOURCE].end    = keep_source;
    v[SOURCE].name   = "source";
    v[SOURCE].recipe = &garments;
    v[N_VARIANTS - 1].build = NULL;
    v[N_VARIANTS - 1].model = "cbr:variant=tiny,image=32,classes=5";
    if (open_data(r, &garments, s) && paper_train(r, v, N_VARIANTS, slides, NULL)) {
        compare(r);
        plot_configurations(r);
        plot_sheet(r, s, BY_NUCLEI);
        plot_sheet(r, s, BY_CHANCE);
        plot_answers(r, s);
    }
    release(r, s);
}

const paper paper_densenet_kimianet = {
    .slug = "densenet-kimianet",
    .title = "Fine-Tuning and Training of DenseNet for Histopathology Image Representation Using TCGA Diagnostic Slides",
    .source = "Riasatian et al. 2021, arXiv:2101.07903; DenseNet: Huang et al. 2016, arXiv:1608.06993", .kind = "training",
    .claim = "a DenseNet that is fine-tuned on tiles rich in nuclei, each under its slide's label, finds slides of the same kind by its features, and "
             "does so better than the network that it came from, than one fine-tuned on any tiles, and than a small one trained from nothing",
    .criterion = "on slides of generated tissue, retrieval accuracy (Euclidean, median of the least distances, three nearest, other patients) of "
                 "every configuration I to IV is at least 15 points above the source network and 10 above the same on tiles chosen by chance, "
                 "IV at most 2 points below I, and not below CBR-Tiny trained from nothing",
    .quick = quick, .full = full,
};
