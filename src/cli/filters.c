/* filters: banks of filters - made, measured, drawn. */
#include "training.h"

#include <string.h>

typedef struct request {
    const char *subject, *out, *picture, *layer;
    int64_t     size, channels, number, patches;
    bool        no_whitening, no_fold, even;
    cli_data    data;
} request;

/* ---- where the filters come from ---- */

static bool is_method(const char *subject)
{
    const size_t n = strcspn(subject, ":");
    for (int i = 0; i < epl_filters_method_count(); i++)
        if (strlen(epl_filters_method_at(i)) == n && strncmp(epl_filters_method_at(i), subject, n) == 0)
            return true;
    return false;
}

static epl_tensor *make(cli *c, const request *r)
{
    epl_dataset *d = r->data.name ? cli_data_open(c, &r->data, EPL_SPLIT_TRAIN, 0) : NULL;
    const epl_shape sample = d ? epl_dataset_info_of(d).x_shape : EPL_SCALAR;
    const int channels = r->channels ? (int)r->channels : sample.rank == 3 ? (int)sample.dim[2] : 1;
    epl_tensor *t = r->data.name && !d ? NULL
        : epl_filters_make(c->ctx, (epl_filters_opts){ .method = r->subject, .kernel = (int)r->size, .number = (int)r->number, .data = d,
                                                       .channels = channels, .patches = r->patches, .seed = (uint64_t)c->seed,
                                                       .no_whitening = r->no_whitening, .no_fold = r->no_fold, .even = r->even });
    epl_dataset_free(d);
    return t;
}

/* The first tensor of the file that can be a bank, or the one whose name matches --layer. */
static epl_tensor *load(cli *c, const request *r)
{
    epl_weights *w = epl_weights_open(c->ctx, r->subject);
    epl_tensor  *t = NULL;
    for (int i = 0; w && !t && i < epl_weights_count(w); i++) {
        const epl_tensor *at = epl_weights_at(w, i);
        if (at->dtype == EPL_F32 && at->shape.rank == 4 && (!r->layer || epl_glob(r->layer, epl_weights_name(w, i)))) {
            t = epl_tensor_copy(c->ctx, at);
            cli_remark(c, "%s: %s", r->subject, epl_weights_name(w, i));
        }
    }
    if (w && !t && epl_error_code(c->ctx) == EPL_OK)
        epl_fail(c->ctx, EPL_ERR_ARGUMENT, "%s has no f32 tensor of rank 4%s%s%s", r->subject, r->layer ? " named '" : "",
                 r->layer ? r->layer : "", r->layer ? "'" : "");
    epl_weights_free(w);
    return t;
}

/* ---- what is shown ---- */

static bool print_measures(cli *c, const epl_tensor *t)
{
    epl_filters_measures m;
    if (!epl_filters_measure(c->ctx, t, &m))
        return false;
    const struct {
        const char *key, *what;
        double      value;
    } rows[] = {
        { "coherence_max", "coherence, largest", m.coherence_max },
        { "coherence_mean", "coherence, mean", m.coherence_mean },
        { "shift_coherence", "coherence over shifts, most similar one", m.shift_coherence },
        { "effective_rank", "effective rank", m.effective_rank },
        { "orthogonality", "distance from orthogonal", m.orthogonality },
        { "spectral_norm", "spectral norm", m.spectral_norm },
        { "dc", "energy of the mean", m.dc },
        { "bandwidth", "frequencies with half of the energy", m.bandwidth },
        { "smoothness", "total variation / length", m.smoothness },
    };
    epl_table *table = epl_table_new(c->ctx, NULL);
    epl_table_column(table, "measure", (epl_column_opts){ 0 });
    epl_table_column(table, "value", (epl_column_opts){ 0 });
    for (size_t i = 0; i < EPL_COUNT(rows); i++) {
        epl_table_row(table);
        epl_table_text(table, c->json ? rows[i].key : rows[i].what);
        epl_table_number(table, rows[i].value);
    }
    const bool ok = cli_print_table(c, table);
    epl_table_free(table);
    return ok;
}

static bool draw(cli *c, const epl_tensor *t, const char *path)
{
    const size_t n = (size_t)t->shape.dim[3];
    epl_picture *pictures = epl_alloc_array(c->ctx, n, sizeof *pictures);
    bool         ok = pictures != NULL;
    for (size_t j = 0; ok && j < n; j++) {
        epl_tensor *tile = epl_filters_tile(c->ctx, t, (int)j);
        void       *png  = NULL;
        ok = tile && epl_image_encode_png(c->ctx, tile, &png, &pictures[j].bytes);
        pictures[j].png = png;
        epl_tensor_free(tile);
    }
    ok = ok && cli_write_take(c, path, epl_pictures_svg(c->ctx, pictures, n, (epl_pictures_opts){ .size = 48 }));
    for (size_t j = 0; pictures && j < n; j++)
        epl_release(c->ctx, (void *)(uintptr_t)pictures[j].png);
    epl_release(c->ctx, pictures);
    return ok;
}

static bool save(cli *c, const epl_tensor *t, const char *path)
{
    epl_weights *w  = epl_weights_new(c->ctx);
    const bool   ok = w && epl_weights_put_take(w, "filters", epl_tensor_copy(c->ctx, t)) && epl_weights_save(w, path);
    epl_weights_free(w);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    request r = { .size = 7, .number = 32 };
    const cli_option making[] = {
        EPL_OPT_INT(0, "size", &r.size, 1, 64, "pixels of a side"),
        EPL_OPT_INT(0, "number", &r.number, 1, 65536, "filters"),
        EPL_OPT_INT(0, "channels", &r.channels, 0, 4096, "channels (0: those of the data, else 1)"),
        EPL_OPT_INT(0, "patches", &r.patches, 0, 1e8, "patches to learn from (0: 10000)"),
        EPL_OPT_FLAG(0, "no-whitening", &r.no_whitening, "learn from patches that are not whitened"),
        EPL_OPT_FLAG(0, "no-fold", &r.no_fold, "keep filters as they were learned, for whitened input"),
        EPL_OPT_FLAG(0, "even", &r.even, "one factor for all: they answer the data as strongly as filters drawn by `he`"),
        CLI_OPT_DATA(&r.data, false),
        EPL_OPT_END
    };
    const cli_option options[] = {
        EPL_ARG("subject", &r.subject, "a method, such as gabor or kmeans, or a .safetensors file"),
        EPL_OPT_PATH('o', "output", &r.out, "write the filters as the tensor 'filters' of a .safetensors file"),
        EPL_OPT_PATH(0, "picture", &r.picture, "draw the filters (.svg)"),
        EPL_OPT_TEXT(0, "layer", "NAME", &r.layer, "of a file: the weight to look at (default: the first of rank 4)"),
        EPL_OPT_GROUP("making filters", making),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_tensor *t = is_method(r.subject) ? make(c, &r) : load(c, &r);
    const bool ok = t && (!r.out || save(c, t, r.out)) && (!r.picture || draw(c, t, r.picture)) && print_measures(c, t);
    epl_tensor_free(t);
    return cli_end(c, ok);
}

const cli_verb cli_verb_filters = {
    .name = "filters",
    .json = true,
    .run = run,
    .summary = "makes filters, or measures and draws those of a file",
    .about = "Methods: constant, zero, normal, lecun, lecun-2.4, xavier, xavier-normal, he, he-uniform, trunc-normal "
             "and orthogonal are drawn; "
             "gabor, dct and delta-orthogonal are computed; patches, pca, kmeans, kmeans-plain, kmeans-euclidean, "
             "conv-kmeans, som, "
             "hebb-wta, sanger, sparse, ae and rbm are learned from patches of --data; file:PATH takes stored ones. "
             "include/espalier/analysis.h says what each does.",
    .examples =
        "espalier filters kmeans --size 7 --number 32 --data fashion-mnist -o bank.safetensors --picture bank.svg\n"
        "espalier filters trained.safetensors --layer conv1.weight\nespalier filters gabor --size 11 --number 64",
};
