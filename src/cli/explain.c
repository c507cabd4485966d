/* explain: the prototypes of a network that classifies by distances to them, and which of them speak for an answer. */
#include <stdlib.h>
#include <string.h>

#include "samples.h"
#include "training.h"

/* ---- pictures ---- */

static bool encode(cli *c, const epl_tensor *drawn, int64_t j, epl_picture *out)
{
    const epl_shape one = EPL_SHAPE(drawn->shape.dim[1], drawn->shape.dim[2], drawn->shape.dim[3]);
    const int64_t   n = epl_shape_count(one);
    epl_tensor     *bytes = epl_tensor_new(c->ctx, EPL_U8, one);
    void           *png = NULL;
    for (int64_t i = 0; bytes && i < n; i++)
        epl_tensor_set(bytes, i, 255 * epl_tensor_get(drawn, j * n + i));
    const bool ok = bytes && epl_image_encode_png(c->ctx, bytes, &png, &out->bytes);
    out->png = png;
    epl_tensor_free(bytes);
    return ok;
}

/* All prototypes as one picture, in the order given. */
static bool write_sheet(cli *c, const epl_model *m, const char *path, const int *order, int n)
{
    epl_tensor  *drawn = epl_prototypes_draw(m);
    epl_picture *pictures = drawn ? epl_arena_alloc(c->arena, (size_t)n * sizeof *pictures) : NULL;
    bool         ok = pictures != NULL;
    if (ok && drawn->shape.rank != 4)
        ok = epl_fail(c->ctx, EPL_ERR_UNSUPPORTED, "the decoder draws no pictures");
    for (int j = 0; ok && j < n; j++) {
        char *caption = epl_arena_alloc(c->arena, 16);
        ok = caption && encode(c, drawn, order[j], &pictures[j]);
        if (ok) {
            snprintf(caption, 16, "%d", order[j]);
            pictures[j].caption = caption;
        }
    }
    ok = ok && cli_write_take(c, path, epl_pictures_svg(c->ctx, pictures, (size_t)n, (epl_pictures_opts){ .title = "prototypes" }));
    for (int j = 0; pictures && j < n; j++)
        epl_release(c->ctx, (void *)(uintptr_t)pictures[j].png);
    epl_tensor_free(drawn);
    return ok;
}

/* ---- one answer ---- */

static int nearer(const void *a, const void *b, void *distances)
{
    const double x = epl_tensor_get(distances, *(const int *)a), y = epl_tensor_get(distances, *(const int *)b);
    return (x > y) - (x < y);
}

static epl_table *answer_table(cli *c, const epl_explanation *e, const int *order, int n)
{
    const int64_t k = epl_tensor_count(e->logits);
    int64_t       said = 0;
    for (int64_t i = 1; i < k; i++)
        said = epl_tensor_get(e->logits, i) > epl_tensor_get(e->logits, said) ? i : said;
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "prototype", (epl_column_opts){ 0 });
    epl_table_column(t, "squared distance", (epl_column_opts){ .key = "distance" });
    for (int64_t i = 0; i < k; i++) {
        char *name = epl_arena_alloc(c->arena, 40);
        if (name) {
            snprintf(name, 40, "to class %lld%s", (long long)i, i == said ? " *" : "");
            epl_table_column(t, name, (epl_column_opts){ 0 });
        }
    }
    for (int j = 0; j <= n; j++) {
        if (j == n)
            epl_table_rule(t);
        epl_table_row(t);
        if (j < n) {
            epl_table_integer(t, order[j]);
            epl_table_number(t, epl_tensor_get(e->distances, order[j]));
        } else {
            epl_table_text(t, "logits");
            epl_table_empty(t);
        }
        for (int64_t i = 0; i < k; i++)
            epl_table_number(t, j < n ? epl_tensor_get(e->contributions, order[j] * k + i) : epl_tensor_get(e->logits, i));
    }
    return t;
}

static bool explain_file(cli *c, const epl_model *m, const char *file, const char *augment, const char *sheet)
{
    cli_samples     s = { 0 };
    const cli_words files = { 1, &file };
    epl_explanation e = { 0 };
    epl_shape       shape = epl_shape_of(epl_graph_input_at(m->graph, 0));
    shape.dim[0] = 1;
    bool        ok = cli_samples_load(c, m, &files, (cli_samples_opts){ .augment = augment, .layout = "nhwc", .batch = 1 }, &s);
    epl_tensor *x = ok ? epl_tensor_view(c->ctx, EPL_F32, shape, s.at[0].data) : NULL;
    ok = x && epl_explain(m, x, &e);
    const int n = ok ? (int)epl_tensor_count(e.distances) : 0;
    int *order = epl_arena_alloc(c->arena, (size_t)n * sizeof *order + 1);
    ok = ok && order;
    for (int j = 0; ok && j < n; j++)
        order[j] = j;
    if (ok) {
        qsort_r(order, (size_t)n, sizeof *order, nearer, e.distances);
        epl_table *t = answer_table(c, &e, order, n);
        ok = cli_print_table(c, t);
        epl_table_free(t);
    }
    ok = ok && (!sheet || write_sheet(c, m, sheet, order, n));
    epl_explanation_release(&e);
    epl_tensor_free(x);
    cli_samples_release(&s);
    return ok;
}

/* ---- all prototypes ---- */

static bool explain_prototypes(cli *c, const epl_model *m, epl_dataset *d, const char *sheet)
{
    epl_prototypes_report r;
    bool ok = epl_prototypes_of(m, d, cli_progress(c, "samples"), &r);
    cli_progress_end(c);
    int       *order = ok ? epl_arena_alloc(c->arena, (size_t)r.n * sizeof *order) : NULL;
    epl_table *t = order ? epl_table_new(c->ctx, NULL) : NULL;
    epl_table_column(t, "prototype", (epl_column_opts){ 0 });
    epl_table_column(t, "class", (epl_column_opts){ 0 });
    epl_table_column(t, "weight", (epl_column_opts){ 0 });
    epl_table_column(t, "nearest sample", (epl_column_opts){ .key = "nearest" });
    epl_table_column(t, "squared distance", (epl_column_opts){ .key = "distance" });
    for (int j = 0; order && j < r.n; j++) {
        order[j] = j;
        epl_table_row(t);
        epl_table_integer(t, j);
        epl_table_text(t, epl_dataset_class_name(d, r.at[j].cls));
        epl_table_number(t, r.at[j].weight);
        epl_table_integer(t, r.at[j].nearest);
        epl_table_number(t, r.at[j].distance);
    }
    ok = order && cli_print_table(c, t) && (!sheet || write_sheet(c, m, sheet, order, r.n));
    if (ok)
        cli_remark(c, "%d of %d classes own a prototype", r.n_owned, r.n_classes);
    epl_table_free(t);
    epl_prototypes_report_release(&r);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *file = NULL, *sheet = NULL, *augment = NULL;
    cli_data    data = { 0 };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_ARG_MAY("file", &file, "a PNG or JPEG picture, or .npy: which prototypes speak for the network's answer"),
        CLI_OPT_DATA(&data, false),
        EPL_OPT_PATH('o', "output", &sheet, "draw the prototypes, the nearest first: an SVG file"),
        EPL_OPT_TEXT(0, "augment", "WORDS", &augment, "how to prepare the picture (default: as the model says)"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model   *m = cli_model_load(c, in, NULL);
    epl_dataset *d = NULL;
    bool         ok = m != NULL;
    if (ok && !file && !data.name)
        ok = epl_fail(c->ctx, EPL_ERR_ARGUMENT, "a picture is needed, or --data to list the prototypes with their nearest samples");
    if (ok && file)
        ok = explain_file(c, m, file, augment, sheet);
    else if (ok)
        ok = (d = cli_data_open(c, &data, EPL_SPLIT_TRAIN, 0)) != NULL && explain_prototypes(c, m, d, sheet);
    epl_dataset_free(d);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_explain = {
    .name = "explain",
    .json = true,
    .run = run,
    .summary = "a network's prototypes, and which of them speak for an answer",
    .about = "For prototype-net and networks with head=prototype. With a picture: the squared distances of its code to "
             "the prototypes, the "
             "nearest first, and what each adds to each class (the columns' sums are the logits, * marks the answer). "
             "Without one: the class "
             "of each prototype and the training sample that is nearest to it.",
    .examples = "espalier explain p.safetensors shoe.png -o prototypes.svg\nespalier explain p.safetensors --data "
                "fashion-mnist --limit 5000",
};
