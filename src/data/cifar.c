/* cifar: CIFAR-10 and CIFAR-100 in their "binary version": records of one or two label bytes and a picture 3 x 32 x 32,
 * which becomes 32 x 32 x 3 here. */
#include <stdio.h>
#include <string.h>

#include "data/kinds.h"

enum { PIXELS = 32 * 32, CHANNELS = 3 };

static void interleave(const unsigned char *planes, uint8_t *out)
{
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < CHANNELS; c++)
            out[p * CHANNELS + c] = planes[c * PIXELS + p];
}

typedef struct cifar_layout {
    const char *set;          /* folder name of the original archive */
    const char *test;         /* file name of the test part */
    int         n_train, label_bytes, label_at, n_classes;
    const char *names_file;
} cifar_layout;

/* Appends the records of one file to x and y, which have room for them. */
static bool read_records(epl_context *ctx, const cifar_layout *l, const char *path, const epl_map *file, uint8_t *x, uint8_t *y)
{
    const size_t record = (size_t)l->label_bytes + PIXELS * CHANNELS;
    for (size_t i = 0; i < file->size / record; i++) {
        const unsigned char *r = file->data + i * record;
        y[i]                   = r[l->label_at];
        if (y[i] >= l->n_classes)
            return epl_fail(ctx, EPL_ERR_FORMAT, "%s: record %zu has label %d, expected 0 to %d", path, i, y[i],
                            l->n_classes - 1);
        interleave(r + l->label_bytes, x + i * PIXELS * CHANNELS);
    }
    return true;
}

static bool open_file(epl_context *ctx, const cifar_layout *l, epl_dataset_opts o, int i, char **path, epl_map *file)
{
    char name[64];
    if (o.split == EPL_SPLIT_TEST)
        snprintf(name, sizeof name, "%s", l->test);
    else if (l->n_train == 1)
        snprintf(name, sizeof name, "train.bin");
    else
        snprintf(name, sizeof name, "data_batch_%d.bin", i + 1);
    if (!epl_data_find(ctx, o, l->set, NULL, name, "unpack the \"binary version\" of the data set there", path) ||
        !epl_map_open(ctx, *path, file))
        return false;
    const size_t record = (size_t)l->label_bytes + PIXELS * CHANNELS;
    return (file->size > 0 && file->size % record == 0) ||
           epl_fail(ctx, EPL_ERR_FORMAT, "%s: %zu bytes are not whole records of %zu: truncated?", *path, file->size, record);
}

/* Class names from the file beside the pictures, one per line; classes without a line keep their number. */
static bool read_names(epl_source *s, epl_context *ctx, const cifar_layout *l, const char *beside)
{
    enum { CLASSES = 100 };
    char        number[CLASSES][4];
    const char *names[CLASSES];
    char       *copy = NULL, *rest = NULL;
    epl_map     file = { 0 };
    epl_text    path = EPL_TEXT(ctx);

    for (int i = 0; i < l->n_classes; i++) {
        snprintf(number[i], sizeof number[i], "%d", i % CLASSES);
        names[i] = number[i];
    }
    epl_text_add_bytes(&path, beside, (size_t)(strrchr(beside, '/') - beside) + 1);
    epl_text_add(&path, l->names_file);
    if (epl_file_exists(epl_text_str(&path)) && epl_map_open(ctx, epl_text_str(&path), &file)) {
        copy = epl_alloc(ctx, file.size + 1);
        if (copy)
            memcpy(copy, file.data, file.size);
        char *line = copy ? strtok_r(copy, "\r\n", &rest) : NULL;
        for (int i = 0; line && i < l->n_classes; i++, line = strtok_r(NULL, "\r\n", &rest))
            names[i] = line;
    }
    const bool ok = epl_source_set_classes(s, names, l->n_classes);
    epl_map_close(&file);
    epl_release(ctx, copy);
    epl_text_release(&path);
    return ok;
}

static epl_source *open_cifar(epl_context *ctx, const cifar_layout *l, epl_dataset_opts o)
{
    enum { FILES_MAX = 5 };
    const int    n_files = o.split == EPL_SPLIT_TEST ? 1 : l->n_train;
    const size_t record  = (size_t)l->label_bytes + PIXELS * CHANNELS;
    char        *path[FILES_MAX] = { 0 };
    epl_map      file[FILES_MAX] = { 0 };
    epl_tensor  *x = NULL, *y = NULL;
    epl_source  *s = NULL;
    int64_t      count = 0, done_count = 0;
    bool         ok = true;

    for (int i = 0; ok && i < n_files; i++) {
        ok = open_file(ctx, l, o, i, &path[i], &file[i]);
        count += ok ? (int64_t)(file[i].size / record) : 0;
    }
    x  = ok ? epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(count, 32, 32, CHANNELS)) : NULL;
    y  = x ? epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(count)) : NULL;
    ok = ok && y;
    for (int i = 0; ok && i < n_files; i++) {
        ok = read_records(ctx, l, path[i], &file[i], (uint8_t *)x->data + done_count * PIXELS * CHANNELS,
                          (uint8_t *)y->data + done_count);
        done_count += (int64_t)(file[i].size / record);
    }
    s = ok ? epl_source_new(ctx, l->set) : NULL;
    if (s) {
        ok = epl_source_set_take(s, count, x, y) && read_names(s, ctx, l, path[0]);
        x = y = NULL;
    }
    if (s && !ok) {
        epl_source_free(s);
        s = NULL;
    }
    epl_tensor_free(x);
    epl_tensor_free(y);
    for (int i = 0; i < n_files; i++) {
        epl_map_close(&file[i]);
        epl_release(ctx, path[i]);
    }
    return s;
}

static epl_source *open_cifar10(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    (void)spec;
    static const cifar_layout l = { .set = "cifar-10-batches-bin", .test = "test_batch.bin",
                                    .n_train = 5, .label_bytes = 1, .label_at = 0, .n_classes = 10,
                                    .names_file = "batches.meta.txt" };
    return open_cifar(ctx, &l, o);
}

static epl_source *open_cifar100(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    const char *labels = epl_spec_text(spec, "labels");
    const bool  coarse = strcmp(labels, "coarse") == 0;
    if (!coarse && strcmp(labels, "fine") != 0) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "cifar100: labels=%s, expected fine or coarse", labels);
        return NULL;
    }
    const cifar_layout l = { .set = "cifar-100-binary", .test = "test.bin", .n_train = 1,
                             .label_bytes = 2, .label_at = coarse ? 0 : 1, .n_classes = coarse ? 20 : 100,
                             .names_file = coarse ? "coarse_label_names.txt" : "fine_label_names.txt" };
    return open_cifar(ctx, &l, o);
}

const epl_source_kind epl_kind_cifar10 = {
    .about = { "cifar10", "", "50 000 + 10 000 colour pictures 32x32, 10 classes (the binary version, in the data folder)" },
    .open  = open_cifar10,
};
const epl_source_kind epl_kind_cifar100 = {
    .about = { "cifar100", "labels=fine", "50 000 + 10 000 colour pictures 32x32, 100 classes or 20 coarse ones" },
    .open  = open_cifar100,
};
