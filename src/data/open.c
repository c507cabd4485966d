/* open: from a description to a data set - the table of kinds, where files lie, the validation part. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/kinds.h"

static const epl_source_kind *const kinds[] = {
    &epl_kind_fashion_mnist, &epl_kind_mnist, &epl_kind_idx,   &epl_kind_cifar10, &epl_kind_cifar100, &epl_kind_folder,
    &epl_kind_npz,           &epl_kind_npy,   &epl_kind_csv,   &epl_kind_blobs,   &epl_kind_moons,    &epl_kind_spirals,
    &epl_kind_shapes,        &epl_kind_shapes_masks,           &epl_kind_waves,   &epl_kind_order,    &epl_kind_adding,
    &epl_kind_tissue,        &epl_kind_text,  &epl_kind_noise,
};

int epl_dataset_kind_count(void)
{
    return (int)EPL_COUNT(kinds);
}

const epl_dataset_kind *epl_dataset_kind_at(int i)
{
    return i >= 0 && i < epl_dataset_kind_count() ? &kinds[i]->about : NULL;
}

bool epl_data_split_from_name(epl_context *ctx, const char *name, epl_data_split *out)
{
    static const char *const names[] = { "train", "test", "val" };
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (epl_data_split)i;
            return true;
        }
    return epl_fail(ctx, EPL_ERR_ARGUMENT, "no split '%s', expected train, test or val", name);
}

/* Is root/sub/file or root/sub/file.gz there? */
static bool find_in(epl_context *ctx, const char *root, const char *sub, const char *file, epl_text *tried, char **out)
{
    epl_text_addf(tried, "%s%s%s%s", tried->length ? " or " : "", root, *sub ? "/" : "", sub);
    for (int zipped = 0; zipped < 2 && !*out; zipped++) {
        epl_text path = EPL_TEXT(ctx);
        epl_text_addf(&path, "%s%s%s/%s%s", root, *sub ? "/" : "", sub, file, zipped ? ".gz" : "");
        if (!path.failed && epl_file_exists(epl_text_str(&path)))
            *out = epl_text_detach(&path);
        epl_text_release(&path);
    }
    return *out != NULL;
}

bool epl_data_find(epl_context *ctx, epl_dataset_opts o, const char *set, const char *usual, const char *file,
                   const char *advice, char **out)
{
    const char *env   = getenv("ESPALIER_DATA");
    const char *root  = o.dir ? o.dir : env && *env ? env : NULL;
    epl_text    tried = EPL_TEXT(ctx);

    *out = NULL;
    const bool found = (root && find_in(ctx, root, "", file, &tried, out)) ||
                       (root && find_in(ctx, root, set, file, &tried, out)) ||
                       (!o.dir && usual && find_in(ctx, usual, "", file, &tried, out));
    if (!found)
        epl_fail(ctx, EPL_ERR_IO, "%s: no file %s in %s: %s", set, file,
                 tried.length ? epl_text_str(&tried) : "the folder of ESPALIER_DATA, which is not set", advice);
    epl_text_release(&tried);
    return found;
}

bool epl_data_refuse_test(epl_context *ctx, const char *name, epl_data_split split)
{
    return split != EPL_SPLIT_TEST ||
           epl_fail(ctx, EPL_ERR_ARGUMENT, "%s has no test part: open it as train or val", name);
}

/* ---- which kind ---- */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), k = strlen(end);
    return n >= k && strcasecmp(text + n - k, end) == 0;
}

static const epl_source_kind *kind_of_path(const char *path)
{
    if (epl_data_is_folder(path))
        return &epl_kind_folder;
    if (ends_with(path, ".npz"))
        return &epl_kind_npz;
    if (ends_with(path, ".csv") || ends_with(path, ".csv.gz"))
        return &epl_kind_csv;
    if (ends_with(path, ".txt"))
        return &epl_kind_text;
    return NULL;
}

static const epl_source_kind *kind_of_name(const char *name, size_t n)
{
    for (size_t i = 0; i < EPL_COUNT(kinds); i++)
        if (strlen(kinds[i]->about.name) == n && memcmp(kinds[i]->about.name, name, n) == 0)
            return kinds[i];
    return NULL;
}

static bool unknown_kind(epl_context *ctx, const char *description, size_t n)
{
    const char *names[EPL_COUNT(kinds)];
    for (size_t i = 0; i < EPL_COUNT(kinds); i++)
        names[i] = kinds[i]->about.name;
    char word[64] = { 0 };
    memcpy(word, description, n < sizeof word - 1 ? n : sizeof word - 1);
    const char *close = epl_closest(word, names, EPL_COUNT(names));
    if (close)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "no data set '%s', did you mean '%s'?", word, close);
    epl_text list = EPL_TEXT(ctx);
    for (size_t i = 0; i < EPL_COUNT(names); i++)
        epl_text_addf(&list, "%s%s", i ? ", " : "", names[i]);
    epl_fail(ctx, EPL_ERR_ARGUMENT, "no data set '%s': expected a folder, a .npz, .csv or .txt file, or one of %s", word,
             epl_text_str(&list));
    epl_text_release(&list);
    return false;
}

static epl_source *open_source(epl_context *ctx, const char *description, epl_dataset_opts o)
{
    const size_t           n    = strcspn(description, ":");
    const epl_source_kind *kind = kind_of_name(description, n);
    const char            *text = description[n] ? description + n + 1 : NULL;
    if (!kind) {
        kind = kind_of_path(description);
        text = description;
    }
    if (!kind) {
        unknown_kind(ctx, description, n);
        return NULL;
    }
    epl_spec    spec;
    epl_source *s = NULL;
    if (epl_spec_read(&spec, ctx, kind->about.name, kind->about.keys, text))
        s = kind->open(ctx, &spec, o);
    epl_spec_release(&spec);
    return s;
}

/* Leaves in *d what o.split means of the training part. */
static bool cut_validation(epl_context *ctx, epl_dataset **d, epl_dataset_opts o)
{
    epl_dataset *rest = NULL, *part = NULL;
    if (o.split == EPL_SPLIT_TEST || (*d)->source->val_is_apart || (o.split == EPL_SPLIT_TRAIN && o.val_fraction == 0))
        return true;
    if (!(o.val_fraction > 0 && o.val_fraction < 1))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "data set '%s': val_fraction is %g, a validation part needs it between 0 and 1",
                        (*d)->source->name, o.val_fraction);
    if (!epl_dataset_cut(*d, o.val_fraction, o.seed, &rest, &part))
        return false;
    epl_dataset_free(*d);
    *d = o.split == EPL_SPLIT_VAL ? part : rest;
    epl_dataset_free(o.split == EPL_SPLIT_VAL ? rest : part);
    return true;
}

epl_dataset *epl_dataset_open(epl_context *ctx, const char *description, epl_dataset_opts o)
{
    epl_source *s = open_source(ctx, description, o);
    if (!s)
        return NULL;
    epl_dataset *d  = epl_dataset_of_take(s);
    bool         ok = d && cut_validation(ctx, &d, o);
    if (ok && o.limit > 0 && o.limit < d->count) {
        epl_dataset *head = epl_dataset_range(d, 0, o.limit);
        epl_dataset_free(d);
        return head;
    }
    if (!ok) {
        epl_dataset_free(d);
        return NULL;
    }
    return d;
}
