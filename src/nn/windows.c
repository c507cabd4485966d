/* windows: attention within squares of an image, as in Liu et al. 2021 (arXiv:2103.14030); see the public header. */
#include <espalier/nn.h>

/* Windows lie [N, H/size, size, W/size, size, C] in the image and [N, H/size, W/size, size, size, C] when cut. */
static epl_value *swap_inner(epl_graph *g, epl_value *x) { return epl_swap_axes(g, x, 2, 3); }

epl_value *epl_windows(epl_graph *g, epl_value *x, int size)
{
    if (!x)
        return NULL;
    const int64_t h = epl_dim(x, 1), w = epl_dim(x, 2), c = epl_channels(x);
    if (epl_rank(x) != 4 || size < 1 || h % size || w % size)
        return epl_graph_fail(g, EPL_ERR_SHAPE, "windows: %d does not divide the map of %lld x %lld", size, (long long)h, (long long)w);
    x = swap_inner(g, epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, h / size, size, w / size, size, c)));
    return epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, h / size * (w / size), size * size, c));
}

epl_value *epl_unwindow(epl_graph *g, epl_value *windows, int size, int64_t height, int64_t width)
{
    if (!windows)
        return NULL;
    const int64_t c = epl_channels(windows);
    epl_value *x = epl_reshape(g, windows, EPL_SHAPE(EPL_KEEP, height / size, width / size, size, size, c));
    return epl_reshape(g, swap_inner(g, x), EPL_SHAPE(EPL_KEEP, height, width, c));
}

epl_value *epl_roll(epl_graph *g, epl_value *x, int axis, int64_t by)
{
    if (!x)
        return NULL;
    const int64_t n = epl_dim(x, axis), tail = n ? (by % n + n) % n : 0;
    if (tail == 0)
        return x;
    return epl_concat(g, 2, (epl_value *[]){ epl_slice_axis(g, x, axis, n - tail, n), epl_slice_axis(g, x, axis, 0, n - tail) }, axis);
}

/* Constants are small vectors, from which the graph makes the large tables: the text of a model stays short. */
static epl_value *integers(epl_graph *g, epl_shape shape, int64_t (*at)(int64_t i, const int64_t *o), const int64_t *o)
{
    epl_tensor *t = epl_tensor_new(epl_graph_context(g), EPL_I64, shape);
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++)
        ((int64_t *)t->data)[i] = at(i, o);
    epl_value *v = t ? epl_constant(g, t) : NULL;
    epl_tensor_free(t);
    return v;
}

/* Which of the three strips that a rolled axis consists of: before the last window, its part that stays, the part rolled in. */
static int64_t strip(int64_t i, int64_t n, int64_t size, int64_t shift) { return i < n - size ? 0 : i < n - shift ? 1 : 2; }

/* The part of the image that element k of [windows, size^2] came from; o: height, width, size, shift. */
static int64_t part_of(int64_t k, const int64_t *o)
{
    const int64_t size = o[2], columns = o[1] / size, window = k / (size * size), at = k % (size * size);
    return 3 * strip(window / columns * size + at / size, o[0], size, o[3]) + strip(window % columns * size + at % size, o[1], size, o[3]);
}

epl_value *epl_shifted_window_mask(epl_graph *g, int64_t height, int64_t width, int size, int shift)
{
    const int64_t o[] = { height, width, size, shift }, n = height / size * (width / size), length = (int64_t)size * size;
    epl_value *query = integers(g, EPL_SHAPE(n, 1, length, 1), part_of, o), *key = epl_swap_axes(g, query, 2, 3);
    return epl_affine(g, epl_cast(g, epl_not_equal(g, query, key), EPL_F32), -100, 0);
}

/* Position k of a window of width o[0], in a numbering whose differences tell all offsets apart. */
static int64_t place_of(int64_t k, const int64_t *o) { return k / o[0] * (2 * o[0] - 1) + k % o[0]; }

/* The parameter for a window of learned x learned, and, where that is another one, as if drawn for h x w. */
static epl_value *bias_table(epl_graph *g, const char *name, int64_t learned, int64_t h, int64_t w, int heads)
{
    const int64_t rows = 2 * (learned ? learned : h) - 1, columns = 2 * (learned ? learned : w) - 1;
    epl_value *table = epl_parameter(g, name, EPL_F32, EPL_SHAPE(rows * columns, heads), EPL_INIT_TRUNC_NORMAL, 0.02);
    if (rows == 2 * h - 1 && columns == 2 * w - 1)
        return table;
    table = epl_reshape(g, table, EPL_SHAPE(1, rows, columns, heads));
    table = epl_resample(g, table, (epl_resize_opts){ .size = { 2 * h - 1, 2 * w - 1 }, .mode = EPL_LINEAR });
    return epl_reshape(g, table, EPL_SHAPE((2 * h - 1) * (2 * w - 1), heads));
}

epl_value *epl_relative_bias(epl_graph *g, epl_relative_bias_opts o)
{
    const int64_t h = o.height, w = o.width, center = (h - 1) * (2 * w - 1) + w - 1;
    if (h < 1 || w < 1 || o.heads < 1 || o.learned < 0)
        return epl_graph_fail(g, EPL_ERR_ARGUMENT, "relative_bias: a window of %d x %d with %d heads", o.height, o.width, o.heads);
    epl_value *place = integers(g, EPL_SHAPE(h * w), place_of, &w);
    epl_value *offset = epl_sub(g, epl_unsqueeze(g, place, 1, (int[]){ 1 }), place);
    epl_value *index  = epl_add(g, offset, epl_scalar(g, EPL_I64, (double)center));
    epl_value *table  = bias_table(g, o.name ? o.name : "relative_bias", o.learned, h, w, o.heads);
    return epl_permute(g, epl_gather(g, table, index, 0), EPL_SHAPE(2, 0, 1));
}

epl_value *epl_window_attention(epl_graph *g, epl_value *x, epl_window_attention_opts o)
{
    if (!x)
        return NULL;
    const int64_t h = epl_dim(x, 1), w = epl_dim(x, 2), c = epl_channels(x);
    const int     heads = o.heads ? o.heads : 8, rows = o.window ? o.window : (int)h, columns = o.window ? o.window : (int)w;
    epl_value    *mask = o.mask;
    if (!o.no_bias) {
        epl_value *bias =
            epl_relative_bias(g, (epl_relative_bias_opts){
                                     .height = rows, .width = columns, .heads = heads, .learned = o.learned });
        mask = mask ? epl_add(g, bias, mask) : bias;
    }
    x = o.window ? epl_windows(g, x, o.window) : epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, h * w, c));
    x = epl_attention(g, x, (epl_attention_opts){ .heads = heads, .mask = mask, .init = o.init });
    return o.window ? epl_unwindow(g, x, o.window, h, w) : epl_reshape(g, x, EPL_SHAPE(EPL_KEEP, h, w, c));
}

epl_value *epl_mix_windows(epl_graph *g, epl_value *x, const void *o)
{
    return epl_window_attention(g, x, *(const epl_window_attention_opts *)o);
}
