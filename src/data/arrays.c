/* arrays: the kinds made of NumPy files, .npz and .npy pairs. */
#include <string.h>

#include "data/kinds.h"

static epl_source *source_of_tensors_take(epl_context *ctx, const char *name, epl_tensor *x, epl_tensor *y)
{
    epl_source *s = epl_source_new(ctx, name);
    if (!s) {
        epl_tensor_free(x);
        epl_tensor_free(y);
        return NULL;
    }
    if (!epl_source_set_take(s, x->shape.rank ? x->shape.dim[0] : 0, x, y)) {
        epl_source_free(s);
        return NULL;
    }
    return s;
}

/* The member "<base>_<part>", or for a file without parts "<base>". */
static epl_tensor *member(const epl_weights *w, const char *base, bool test, bool *has_parts)
{
    char        name[16] = { *base };
    strcat(name, "_train");
    *has_parts = epl_weights_find(w, name) != NULL;
    if (test)
        strcpy(name + 1, "_test");
    return epl_weights_find(w, *has_parts || test ? name : base);
}

static epl_source *open_npz(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    const char *path = epl_spec_text(spec, "path");
    const bool  test = o.split == EPL_SPLIT_TEST;
    if (!*path) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "npz: needs a file, npz:FILE");
        return NULL;
    }
    epl_weights *w = epl_npz_open(ctx, path);
    if (!w)
        return NULL;
    bool              parts = false;
    const epl_tensor *x = member(w, "x", test, &parts), *y = member(w, "y", test, &parts);
    epl_source       *s = NULL;
    if (x && y) {
        epl_tensor *cx = epl_tensor_copy(ctx, x), *cy = cx ? epl_tensor_copy(ctx, y) : NULL;
        if (cy)
            s = source_of_tensors_take(ctx, path, cx, cy);
        else
            epl_tensor_free(cx);
    } else {
        epl_fail(ctx, EPL_ERR_FORMAT, "%s: no arrays %s", path, test ? "x_test and y_test" : "x and y, or x_train and y_train");
    }
    epl_weights_free(w);
    return s;
}

static epl_source *open_npy(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    const char *x_path = epl_spec_text(spec, "x"), *y_path = epl_spec_text(spec, "y");
    if (!*x_path || !*y_path) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "npy: needs x=FILE,y=FILE");
        return NULL;
    }
    if (!epl_data_refuse_test(ctx, "npy", o.split))
        return NULL;
    epl_tensor *x = epl_npy_load(ctx, x_path), *y = x ? epl_npy_load(ctx, y_path) : NULL;
    if (!y) {
        epl_tensor_free(x);
        return NULL;
    }
    return source_of_tensors_take(ctx, x_path, x, y);
}

const epl_source_kind epl_kind_npz = {
    .about = { "npz", "path=", "a NumPy archive with x and y, or x_train, y_train, x_test, y_test" },
    .open  = open_npz,
};
const epl_source_kind epl_kind_npy = {
    .about = { "npy", "x=,y=", "a pair of NumPy arrays" },
    .open  = open_npy,
};
