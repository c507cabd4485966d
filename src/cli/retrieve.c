/* retrieve: search by features - whose label do the nearest have? */
#include <string.h>

#include "cli.h"

/* Bags from a column of numbers that does not fall: rows of one number are one bag. */
typedef struct bags {
    epl_bags bags;
    int64_t *first, *label, *group;
} bags;

static bool read_bags(cli *c, const epl_weights *w, int64_t rows, bags *b)
{
    const epl_tensor *labels = epl_weights_find(w, "labels"), *bag = epl_weights_find(w, "bags"), *group = epl_weights_find(w, "groups");
    const epl_tensor *columns[] = { labels, bag, group };
    for (int i = 0; i < 3; i++)
        if (columns[i] ? columns[i]->shape.rank != 1 || columns[i]->shape.dim[0] != rows : i == 0)
            return epl_fail(c->ctx, EPL_ERR_FORMAT,
                            "the file needs 'labels' [%lld], and 'bags' and 'groups' of that size where they are",
                            (long long)rows);
    b->first = epl_arena_alloc(c->arena, (size_t)(rows + 1) * sizeof *b->first);
    b->label = epl_arena_alloc(c->arena, (size_t)(rows + 1) * sizeof *b->label);
    b->group = epl_arena_alloc(c->arena, (size_t)(rows + 1) * sizeof *b->group);
    if (!b->first || !b->label || !b->group)
        return false;
    int64_t n = 0;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t step = i == 0 ? 1 : bag ? epl_tensor_get_i64(bag, i) - epl_tensor_get_i64(bag, i - 1) : 1;
        if (step < 0)
            return epl_fail(c->ctx, EPL_ERR_FORMAT, "'bags' falls at row %lld: the rows of a bag have to stand together", (long long)i);
        if (step > 0) {
            b->first[n] = i;
            b->label[n] = epl_tensor_get_i64(labels, i);
            b->group[n] = group ? epl_tensor_get_i64(group, i) : n;
            if (b->label[n] < 0)
                return epl_fail(c->ctx, EPL_ERR_FORMAT, "'labels' is %lld at row %lld", (long long)b->label[n], (long long)i);
            n++;
        }
    }
    b->first[n] = rows;
    b->bags = (epl_bags){ n, b->first, b->label, b->group, NULL };
    return true;
}

static char *as_json(cli *c, const epl_retrieval *r)
{
    epl_text        text = EPL_TEXT(c->ctx);
    epl_json_writer w    = epl_json_writer_at(&text, 2);
    epl_json_open_object(&w, NULL);
    epl_json_put_i64(&w, "asked", r->asked);
    epl_json_put_f64(&w, "accuracy", r->accuracy);
    epl_json_put_f64(&w, "macro_f1", r->macro_f1);
    epl_json_open_array(&w, "f1");
    for (int64_t i = 0; i < r->n_classes; i++)
        epl_json_put_f64(&w, NULL, r->f1[i]);
    epl_json_close(&w);
    epl_json_close(&w);
    return epl_text_detach(&text);
}

static char *as_text(cli *c, const epl_retrieval *r)
{
    epl_text text = EPL_TEXT(c->ctx);
    epl_text_addf(&text, "asked      %lld\naccuracy   %.2f %%\nmacro F1   %.4f\nF1         ", (long long)r->asked,
                  100 * r->accuracy, r->macro_f1);
    for (int64_t i = 0; i < r->n_classes; i++)
        epl_text_addf(&text, "%s%.4f", i ? ", " : "", r->f1[i]);
    return epl_text_detach(&text);
}

/* A linear classifier on the rows. */
static bool probe(cli *c, const epl_weights *w, const epl_tensor *f, int folds)
{
    const epl_tensor *labels = epl_weights_find(w, "labels");
    double accuracy = 0;
    if (!labels || !epl_probe(c->ctx, f, labels, (epl_probe_opts){ .folds = folds, .seed = (uint64_t)c->seed }, &accuracy))
        return labels != NULL ? false : epl_fail(c->ctx, EPL_ERR_FORMAT, "there is no tensor 'labels'");
    epl_text text = EPL_TEXT(c->ctx);
    epl_text_addf(&text, c->json ? "{ \"folds\": %d, \"accuracy\": %.6f }" : "linear classifier, %d folds: accuracy %.4f", folds, accuracy);
    return cli_print_take(c, epl_text_detach(&text));
}

static bool search(cli *c, const epl_weights *w, const epl_tensor *f, epl_retrieve_opts o)
{
    epl_retrieval r = { 0 };
    bags          b = { 0 };
    const bool ok = read_bags(c, w, f->shape.dim[0], &b) && epl_retrieve(c->ctx, f, &b.bags, o, &r) &&
                    cli_print_take(c, c->json ? as_json(c, &r) : as_text(c, &r));
    epl_retrieval_release(c->ctx, &r);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *distance = "euclidean";
    int64_t     top = 3, folds = 0;
    const cli_option options[] = {
        EPL_ARG("features", &in, "tensors 'features' [n, D] and 'labels' [n], perhaps 'bags' and 'groups' [n] (.safetensors)"),
        EPL_OPT_CHOICE(0, "distance", "euclidean|cosine|barcode", &distance, "of two rows"),
        EPL_OPT_INT(0, "top", &top, 1, 1 << 20, "the nearest so many vote"),
        EPL_OPT_INT(0, "probe", &folds, 0, 1000, "instead: accuracy of a linear classifier on the rows, by so many folds (0: search)"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    const epl_retrieve_opts o = { .top = (int)top,
                                  .distance = strcmp(distance, "cosine") == 0    ? EPL_DISTANCE_COSINE
                                              : strcmp(distance, "barcode") == 0 ? EPL_DISTANCE_BARCODE
                                                                                 : EPL_DISTANCE_EUCLIDEAN };
    epl_weights      *w = epl_weights_open(c->ctx, in);
    const epl_tensor *f = w ? epl_weights_find(w, "features") : NULL;
    bool ok = w && (f || epl_fail(c->ctx, EPL_ERR_FORMAT, "%s: there is no tensor 'features'", in));
    if (ok && (f->shape.rank != 2 || !epl_dtype_is_float(f->dtype)))
        ok = epl_fail(c->ctx, EPL_ERR_FORMAT, "%s: 'features' is %s of rank %d, but must be numbers [n, D]", in,
                      epl_dtype_name(f->dtype), f->shape.rank);
    if (ok && folds == 1)
        ok = epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--probe 1 leaves nothing to learn from: at least 2 folds");
    ok = ok && (folds > 0 ? probe(c, w, f, (int)folds) : search(c, w, f, o));
    epl_weights_free(w);
    return cli_end(c, ok);
}

const cli_verb cli_verb_retrieve = {
    .name = "retrieve",
    .json = true,
    .run = run,
    .summary = "search by features: how often do the nearest have the same label?",
    .about = "Every bag of rows (without 'bags': every row) is asked about all others but those of its group (a "
             "patient): the nearest vote. The distance of "
             "bags is the median of the least distances of their rows (Kalra et al. 2020, arXiv:1911.08748).",
    .examples = "espalier features t.safetensors --data fashion-mnist --limit 1000 -o f.safetensors\nespalier retrieve "
                "f.safetensors --distance barcode",
};
