/* samples: see samples.h. */
#include "samples.h"

#include <string.h>
#include <strings.h>

/* What a file has to become. */
typedef struct target {
    cli         *c;
    epl_dtype    dtype;
    epl_shape    shape;    /* of the input without its batch */
    epl_shape    picture;  /* the same, channels last */
    bool         channels_first;
    const char  *augment;
    cli_samples *samples;
} target;

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcasecmp(s + n - k, end) == 0;
}

static epl_shape without_first(epl_shape s)
{
    epl_shape r = { .rank = s.rank - 1 };
    for (int i = 0; i < r.rank; i++)
        r.dim[i] = s.dim[i + 1];
    return r;
}

/* Does the network take [C, H, W]? Pictures have 1, 3 or 4 channels and more pixels than that. */
static bool wants_channels_first(const char *layout, epl_shape s)
{
    if (strcmp(layout, "auto") != 0)
        return strcmp(layout, "nchw") == 0;
    const bool first = s.rank == 3 && (s.dim[0] == 1 || s.dim[0] == 3 || s.dim[0] == 4);
    const bool last  = s.rank == 3 && (s.dim[2] == 1 || s.dim[2] == 3 || s.dim[2] == 4);
    return first && !last;
}

static bool init_target(target *t, cli *c, const epl_model *m, cli_samples_opts o, cli_samples *s)
{
    if (epl_graph_n_inputs(m->graph) != 1)
        return epl_fail(c->ctx, EPL_ERR_UNSUPPORTED, "'%s' has %d inputs; predict takes networks with one", epl_graph_name(m->graph),
                        epl_graph_n_inputs(m->graph));
    const epl_value *x = epl_graph_input_at(m->graph, 0);
    if (epl_rank(x) == 0)
        return epl_fail(c->ctx, EPL_ERR_UNSUPPORTED, "input '%s' is one number; predict takes networks of batches", epl_value_name(x));
    const char *own = epl_weights_metadata(m->weights, "espalier.augment");
    *t = (target){ .c = c, .dtype = epl_dtype_of(x), .shape = without_first(epl_shape_of(x)), .samples = s,
                   .augment = o.augment ? o.augment : own ? own : "" };
    t->channels_first = wants_channels_first(o.layout, t->shape);
    t->picture = t->shape;
    if (t->channels_first && t->shape.rank == 3)
        t->picture = EPL_SHAPE(t->shape.dim[1], t->shape.dim[2], t->shape.dim[0]);
    return true;
}

/* ---- one sample ---- */

static cli_sample *add_sample(target *t, const char *name)
{
    cli_samples *s = t->samples;
    if (!epl_grow(s->ctx, &s->at, (size_t)s->n, &s->capacity, sizeof *s->at))
        return NULL;
    s->at[s->n] = (cli_sample){ epl_strdup(s->ctx, name),
                                epl_alloc_aligned(s->ctx, (size_t)epl_shape_count(t->shape) * epl_dtype_bytes(t->dtype)) };
    const cli_sample *fresh = &s->at[s->n++];
    return fresh->name && fresh->data ? &s->at[s->n - 1] : NULL;
}

/* Where element i of a picture goes. */
static int64_t place_of(const target *t, int64_t i)
{
    const int64_t pixels = t->channels_first ? t->picture.dim[0] * t->picture.dim[1] : 0,
                  channels = t->channels_first ? t->picture.dim[2] : 0;
    return t->channels_first ? i % channels * pixels + i / channels : i;
}

/* Real values of the picture's shape, through the words of augmentation. */
static bool put_f32(target *t, const char *name, const float *x, epl_shape shape)
{
    epl_context *ctx = t->c->ctx;
    epl_augment *a   = epl_augment_parse(ctx, t->augment, shape);
    if (!a)
        return false;
    char got[192], wanted[192], picture[192];
    if (!epl_shape_equal(epl_augment_shape(a), t->picture)) {
        epl_shape_text(picture, t->picture);
        epl_fail(ctx, EPL_ERR_SHAPE, "%s: a sample is %s, the network takes %s%s%s", name, epl_shape_text(got, epl_augment_shape(a)),
                 epl_shape_text(wanted, t->shape), t->channels_first ? ", of a picture " : "", t->channels_first ? picture : "");
        epl_augment_free(a);
        return false;
    }
    cli_sample *s = add_sample(t, name);
    void  *scratch  = epl_alloc(ctx, epl_augment_scratch_bytes(a) + 1);
    float *prepared = epl_alloc_array(ctx, (size_t)epl_shape_count(t->picture), sizeof *prepared);
    const bool ok = s && scratch && prepared;
    if (ok) {
        epl_augment_sample(a, (epl_draw){ 0 }, x, NULL, prepared, NULL, scratch);
        epl_tensor out = { .dtype = t->dtype, .shape = t->shape, .data = s->data };
        for (int64_t i = 0; i < epl_shape_count(t->picture); i++)
            epl_tensor_set(&out, place_of(t, i), (double)prepared[i]);
    }
    epl_release(ctx, prepared);
    epl_release(ctx, scratch);
    epl_augment_free(a);
    return ok;
}

/* Integers as they are; what the network's type does not hold is refused. */
static bool put_integers(target *t, const char *name, const epl_tensor *x, int64_t first, epl_shape shape)
{
    char got[192], wanted[192];
    if (!epl_shape_equal(shape, t->picture))
        return epl_fail(t->c->ctx, EPL_ERR_SHAPE, "%s: a sample is %s, the network takes %s", name, epl_shape_text(got, shape),
                        epl_shape_text(wanted, t->shape));
    const cli_sample *s = add_sample(t, name);
    epl_tensor        out = { .dtype = t->dtype, .shape = t->shape, .data = s ? s->data : NULL };
    for (int64_t i = 0; s && i < epl_shape_count(shape); i++) {
        epl_tensor_set_i64(&out, place_of(t, i), epl_tensor_get_i64(x, first + i));
        if (epl_tensor_get(&out, place_of(t, i)) != epl_tensor_get(x, first + i))
            return epl_fail(t->c->ctx, EPL_ERR_ARGUMENT, "%s: it holds %g, which is no %s", name,
                            epl_tensor_get(x, first + i), epl_dtype_name(t->dtype));
    }
    return s != NULL;
}

/* Any tensor of one sample: numbers as they are, bytes scaled to [0, 1]. */
static bool put_tensor(target *t, const char *name, const epl_tensor *x, int64_t first, epl_shape shape)
{
    const int64_t n = epl_shape_count(shape);
    if (!epl_dtype_is_float(t->dtype))
        return put_integers(t, name, x, first, shape);
    float *values = epl_alloc_array(t->c->ctx, (size_t)n + 1, sizeof *values);
    if (!values)
        return false;
    const double scale = x->dtype == EPL_U8 ? 1.0 / 255 : 1;
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)(epl_tensor_get(x, first + i) * scale);
    const bool ok = put_f32(t, name, values, shape);
    epl_release(t->c->ctx, values);
    return ok;
}

/* ---- files ---- */

/* The short side to the network's, then the middle; words that change sizes get the picture as it is. */
static epl_tensor *fit_picture(target *t, epl_tensor *image)
{
    epl_context *ctx = t->c->ctx;
    epl_augment *a   = epl_augment_parse(ctx, t->augment, image->shape);
    const bool fits = a && epl_shape_equal(epl_augment_shape(a), t->picture);
    epl_augment_free(a);
    epl_error_clear(ctx);
    if (fits)
        return image;
    const int64_t h = t->picture.dim[0], w = t->picture.dim[1];
    const double  scale = (double)h / (double)image->shape.dim[0] > (double)w / (double)image->shape.dim[1]
                              ? (double)h / (double)image->shape.dim[0] : (double)w / (double)image->shape.dim[1];
    const int64_t height = (int64_t)((double)image->shape.dim[0] * scale + 0.5),
                  width = (int64_t)((double)image->shape.dim[1] * scale + 0.5);
    epl_tensor *resized = epl_image_resize(ctx, image, height < h ? h : height, width < w ? w : width, (epl_image_resize_opts){ 0 });
    epl_tensor *middle  = resized ? epl_image_centre_crop(ctx, resized, h, w) : NULL;
    epl_tensor_free(resized);
    epl_tensor_free(image);
    return middle;
}

static bool load_picture(target *t, const char *path)
{
    if ((!epl_dtype_is_float(t->dtype) && t->dtype != EPL_U8) || t->picture.rank != 3)
        return epl_fail(t->c->ctx, EPL_ERR_SHAPE, "%s: the network takes samples of rank %d (%s), not pictures", path,
                        t->shape.rank, epl_dtype_name(t->dtype));
    const int64_t channels = t->picture.dim[2];
    if (channels != 1 && channels != 3 && channels != 4)
        return epl_fail(t->c->ctx, EPL_ERR_SHAPE, "%s: the network takes %lld channels, not a picture's", path, (long long)channels);
    epl_tensor *image = epl_image_load(t->c->ctx, path, (epl_image_opts){ .channels = (int)channels });
    image = image ? fit_picture(t, image) : NULL;
    const bool ok = image && put_tensor(t, path, image, 0, image->shape);
    epl_tensor_free(image);
    return ok;
}

static bool load_npy(target *t, const char *path)
{
    epl_tensor *x = epl_npy_load(t->c->ctx, path);
    if (!x)
        return false;
    bool      ok = true;
    epl_shape sample = x->shape;
    int64_t   n = 1;
    const bool gray = t->picture.rank == 3 && t->picture.dim[2] == 1 && !t->channels_first; // [H, W] may stand for [H, W, 1]
    if (x->shape.rank == t->shape.rank + 1 || (gray && x->shape.rank == 3 && x->shape.dim[2] != 1)) {
        n      = x->shape.dim[0];
        sample = without_first(x->shape);
    }
    if (gray && sample.rank == 2)
        sample = EPL_SHAPE(sample.dim[0], sample.dim[1], 1);
    if (t->channels_first && sample.rank == 3 && epl_shape_equal(sample, t->shape)) // arrays lie as the network wants them
        t->channels_first = false, t->picture = t->shape;
    for (int64_t i = 0; ok && i < n; i++) {
        epl_text name = EPL_TEXT(t->c->ctx);
        epl_text_addf(&name, n > 1 ? "%s[%lld]" : "%s", path, (long long)i);
        ok = put_tensor(t, epl_text_str(&name), x, i * epl_shape_count(sample), sample);
        epl_text_release(&name);
    }
    epl_tensor_free(x);
    return ok;
}

bool cli_samples_load(cli *c, const epl_model *m, const cli_words *files, cli_samples_opts o, cli_samples *s)
{
    target t;
    *s = (cli_samples){ .ctx = c->ctx };
    if (!init_target(&t, c, m, o, s))
        return false;
    for (int i = 0; i < files->n; i++) {
        target one = t;
        if (!(ends_with(files->at[i], ".npy") ? load_npy(&one, files->at[i]) : load_picture(&one, files->at[i])))
            return false;
    }
    s->batch = s->n < o.batch ? s->n : o.batch;
    return s->n > 0 || epl_fail(c->ctx, EPL_ERR_ARGUMENT, "%s: holds no sample", files->at[0]);
}

void cli_samples_release(cli_samples *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        epl_release(s->ctx, s->at[i].name);
        epl_release_aligned(s->ctx, s->at[i].data);
    }
    if (s->ctx)
        epl_release(s->ctx, s->at);
}

bool cli_samples_bind(cli *c, epl_model *m, const char *path, epl_model **out, cli_samples *s)
{
    char batch[64];
    if (!*cli_batch_dim(m->graph, batch))
        return true;
    if (!ends_with(path, ".onnx"))
        return epl_graph_bind(m->graph, batch, s->batch);
    const cli_dims d = { .batch = s->batch };
    epl_model *again = cli_model_load(c, path, &d);
    if (!again)
        return false;
    epl_model_free(m);
    *out = again;
    return true;
}
