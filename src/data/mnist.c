/* mnist: the kinds made of IDX files - Fashion-MNIST as Debian packs it, MNIST, and any pair of files. */
#include <string.h>

#include "data/kinds.h"

static const char *const FASHION_CLASSES[] = { "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                               "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot" };
static const char *const DIGIT_CLASSES[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" };

static epl_source *source_of_files(epl_context *ctx, const char *name, const char *images_path, const char *labels_path)
{
    epl_tensor *x = epl_idx_load(ctx, images_path);
    epl_tensor *y = x ? epl_idx_load(ctx, labels_path) : NULL;
    epl_source *s = y ? epl_source_new(ctx, name) : NULL;
    if (!s) {
        epl_tensor_free(x);
        epl_tensor_free(y);
        return NULL;
    }
    if (!epl_source_set_take(s, x->shape.dim[0], x, y)) {
        epl_source_free(s);
        return NULL;
    }
    return s;
}

/* Says once more what went wrong, with the way out of it. */
static void add_advice(epl_context *ctx, const char *advice)
{
    const epl_error code = epl_error_code(ctx);
    char           *message = code == EPL_ERR_FORMAT || code == EPL_ERR_SHAPE ? epl_strdup(ctx, epl_error_message(ctx)) : NULL;
    if (!message)
        return;
    epl_error_clear(ctx);
    epl_fail(ctx, code, "%s: %s", message, advice);
    epl_release(ctx, message);
}

static epl_source *open_four_files(epl_context *ctx, epl_dataset_opts o, const char *name, const char *usual,
                                   const char *missing, const char *damaged, const char *const *classes)
{
    const bool  test   = o.split == EPL_SPLIT_TEST;
    char       *images = NULL, *labels = NULL;
    epl_source *s = NULL;

    if (epl_data_find(ctx, o, name, usual, test ? "t10k-images-idx3-ubyte" : "train-images-idx3-ubyte", missing, &images) &&
        epl_data_find(ctx, o, name, usual, test ? "t10k-labels-idx1-ubyte" : "train-labels-idx1-ubyte", missing, &labels)) {
        s = source_of_files(ctx, name, images, labels);
        if (!s)
            add_advice(ctx, damaged);
    }
    epl_release(ctx, images);
    epl_release(ctx, labels);
    if (s && !epl_source_set_classes(s, classes, 10)) {
        epl_source_free(s);
        return NULL;
    }
    return s;
}

static epl_source *open_fashion_mnist(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    return open_four_files(ctx, o, spec->name, "/usr/share/datasets/fashion-mnist",
                           "install the Debian package dataset-fashion-mnist",
                           "reinstall the Debian package dataset-fashion-mnist", FASHION_CLASSES);
}

static epl_source *open_mnist(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    return open_four_files(ctx, o, spec->name, NULL, "fetch the four files of MNIST and name their folder",
                           "fetch the file again", DIGIT_CLASSES);
}

static epl_source *open_idx(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    const char *images = epl_spec_text(spec, "images"), *labels = epl_spec_text(spec, "labels");
    if (!*images || !*labels) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "idx: needs images=FILE,labels=FILE");
        return NULL;
    }
    return epl_data_refuse_test(ctx, "idx", o.split) ? source_of_files(ctx, "idx", images, labels) : NULL;
}

const epl_source_kind epl_kind_fashion_mnist = {
    .about = { "fashion-mnist", "", "60 000 + 10 000 grey pictures 28x28 of clothes, 10 classes (Debian: dataset-fashion-mnist)" },
    .open  = open_fashion_mnist,
};
const epl_source_kind epl_kind_mnist = {
    .about = { "mnist", "", "60 000 + 10 000 grey pictures 28x28 of digits, 10 classes (IDX files in the data folder)" },
    .open  = open_mnist,
};
const epl_source_kind epl_kind_idx = {
    .about = { "idx", "images=,labels=", "a pair of IDX files, gzipped or not" },
    .open  = open_idx,
};
