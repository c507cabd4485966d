/* folder: pictures in a sub-folder per class, decoded when they are asked for. Classes and files are taken in the order of
 * their names. */
#include <string.h>
#include <strings.h>

#include "data/kinds.h"

typedef struct folder_state {
    const char **path; /* per sample */
    int64_t      image;
    int          channels;
} folder_state;

static bool is_picture(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg")) && !epl_data_is_folder(path);
}

static epl_tensor *load_picture(const folder_state *f, epl_context *ctx, const char *path)
{
    epl_tensor *t = epl_image_load(ctx, path, (epl_image_opts){ .channels = f->channels });
    if (!t || f->image == 0)
        return t;
    const int64_t h = t->shape.dim[0], w = t->shape.dim[1], shorter = h < w ? h : w;
    epl_tensor   *r = epl_image_resize(ctx, t, (h * f->image + shorter / 2) / shorter, (w * f->image + shorter / 2) / shorter,
                                       (epl_image_resize_opts){ 0 });
    epl_tensor   *c = r ? epl_image_centre_crop(ctx, r, f->image, f->image) : NULL;
    epl_tensor_free(t);
    epl_tensor_free(r);
    return c;
}

static bool fetch(const epl_source *s, epl_context *ctx, int64_t i, void *x)
{
    const folder_state *f = s->state;
    epl_tensor         *t = load_picture(f, ctx, f->path[i]);
    if (!t)
        return false;
    char       have[192], want[192];
    const bool ok = epl_shape_equal(t->shape, s->x_shape) ||
                    epl_fail(ctx, EPL_ERR_SHAPE, "%s: a picture of %s, the data set's first is %s: give image=SIZE", f->path[i],
                             epl_shape_text(have, t->shape), epl_shape_text(want, s->x_shape));
    if (ok)
        memcpy(x, t->data, epl_tensor_bytes(t));
    epl_tensor_free(t);
    return ok;
}

/* Adds a class's pictures to `all` and their labels to *labels. */
static bool add_class(epl_source *s, const char *folder, int64_t label, epl_path_list *all, int64_t **labels, size_t *label_room)
{
    epl_path_list files;
    bool      ok = epl_data_list(s, folder, is_picture, &files);
    for (size_t i = 0; ok && i < files.n; i++) {
        ok = epl_grow(s->ctx, &all->name, all->n, &all->capacity, sizeof *all->name) &&
             epl_grow(s->ctx, labels, all->n, label_room, sizeof **labels);
        if (ok) {
            (*labels)[all->n]    = label;
            all->name[all->n++] = files.name[i];
        }
    }
    epl_release(s->ctx, files.name);
    return ok;
}

static bool keep_paths(epl_source *s, folder_state *f, const epl_path_list *all)
{
    f->path = epl_arena_copy(s->arena, all->name, all->n * sizeof *all->name);
    return f->path != NULL;
}

static bool set_shape(epl_source *s, folder_state *f)
{
    epl_tensor *first = load_picture(f, s->ctx, f->path[0]);
    if (!first)
        return false;
    s->x_dtype  = EPL_U8;
    s->x_shape  = first->shape;
    f->channels = (int)first->shape.dim[2]; // the others follow the first
    s->fetch_x  = fetch;
    s->state    = f;
    epl_tensor_free(first);
    return true;
}

/* Class names are the sub-folders', without the path. */
static bool name_classes(epl_source *s, epl_path_list *classes)
{
    for (size_t i = 0; i < classes->n; i++)
        classes->name[i] = strrchr(classes->name[i], '/') + 1;
    return epl_source_set_classes(s, classes->name, (int)classes->n);
}

static bool fill(epl_source *s, const char *root, folder_state *f)
{
    epl_path_list   classes = { 0 }, all = { 0 };
    int64_t    *labels = NULL;
    size_t      label_room = 0;
    epl_tensor *y  = NULL;
    bool        ok = epl_data_list(s, root, epl_data_is_folder, &classes);

    for (size_t c = 0; ok && c < classes.n; c++)
        ok = add_class(s, classes.name[c], (int64_t)c, &all, &labels, &label_room);
    if (ok && all.n == 0)
        ok = epl_fail(s->ctx, EPL_ERR_FORMAT, "%s: no PNG or JPEG pictures in its %zu sub-folders", root, classes.n);
    ok = ok && keep_paths(s, f, &all) && set_shape(s, f);
    y  = ok ? epl_tensor_new(s->ctx, EPL_I64, EPL_SHAPE((int64_t)all.n)) : NULL;
    if (y) {
        memcpy(y->data, labels, all.n * sizeof *labels);
        ok = epl_source_set_take(s, (int64_t)all.n, NULL, y) && name_classes(s, &classes);
    }
    epl_release(s->ctx, classes.name);
    epl_release(s->ctx, all.name);
    epl_release(s->ctx, labels);
    return ok && y;
}

static epl_source *open_folder(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o)
{
    static const char *const part_names[] = { "train", "test", "val" };
    const char *path = epl_spec_text(spec, "path");
    int64_t     image = 0, channels = 0;
    if (!*path) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "folder: needs a path, folder:DIR");
        return NULL;
    }
    if (!epl_spec_int(spec, "image", 0, 16384, &image) || !epl_spec_int(spec, "channels", 0, 3, &channels))
        return NULL;
    epl_source   *s = epl_source_new(ctx, path);
    folder_state *f = s ? epl_arena_alloc(s->arena, sizeof *f) : NULL;
    bool          ok = f != NULL;
    if (ok) {
        *f = (folder_state){ .image = image, .channels = (int)channels };
        const char *train = epl_data_join(s, path, "train"), *part = epl_data_join(s, path, part_names[o.split]);
        const char *val = epl_data_join(s, path, "val");
        ok = train && part && val;
        const bool parted = ok && epl_data_is_folder(train);
        s->val_is_apart   = parted && epl_data_is_folder(val);
        if (ok && o.split == EPL_SPLIT_TEST && !parted)
            ok = epl_data_refuse_test(ctx, path, o.split);
        ok = ok && fill(s, !parted ? path : o.split == EPL_SPLIT_VAL && !s->val_is_apart ? train : part, f);
    }
    if (!ok) {
        epl_source_free(s);
        return NULL;
    }
    return s;
}

const epl_source_kind epl_kind_folder = {
    .about = { "folder", "path=,image=0,channels=0", "PNG and JPEG pictures in a sub-folder per class" },
    .open  = open_folder,
};
