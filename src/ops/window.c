/* window: geometry of convolutions and pools (window.h). */
#include "ops/window.h"

static bool list_fits(const epl_node *n, const char *what, const epl_attr *list, int want, int64_t least)
{
    if (list->n != 0 && list->n != want)
        return epl_node_fail(n, EPL_ERR_ARGUMENT, "%s has %d entries, but %d are needed", what, list->n, want);
    for (int i = 0; i < list->n; i++)
        if (list->ints[i] < least || list->ints[i] > INT32_MAX)
            return epl_node_fail(n, EPL_ERR_ARGUMENT, "%s has the entry %lld; the least possible is %lld", what,
                                 (long long)list->ints[i], (long long)least);
    return true;
}

static int64_t window_count(const epl_ref_window *w, int i, bool ceil_mode)
{
    const int64_t room = w->in[i] + w->begin[i] + w->end[i] - w->dilation[i] * (w->kernel[i] - 1) - 1;
    if (room < 0)
        return 0;
    int64_t count = (room + (ceil_mode ? w->stride[i] - 1 : 0)) / w->stride[i] + 1;
    if (ceil_mode && (count - 1) * w->stride[i] >= w->in[i] + w->begin[i])
        count--;
    return count;
}

bool epl_window_infer(const epl_node *n, epl_shape in, const int64_t *kernel, const epl_attr *strides, const epl_attr *pads,
                      const epl_attr *dilations, bool ceil_mode, epl_ref_window *w)
{
    const int spatial = in.rank - 2;
    if (spatial < 1 || spatial > 3) {
        char text[192];
        return epl_node_fail(n, EPL_ERR_SHAPE, "the input %s has %d spatial axes, but 1 to 3 are possible",
                             epl_shape_text(text, in), spatial < 0 ? 0 : spatial);
    }
    const epl_attr size = EPL_A_INTS(spatial, kernel);
    if (!list_fits(n, "kernel", &size, spatial, 1) || !list_fits(n, "strides", strides, spatial, 1) ||
        !list_fits(n, "pads", pads, 2 * spatial, 0) || !list_fits(n, "dilations", dilations, spatial, 1))
        return false;
    const epl_view     view = { .rank = in.rank, .dim = { in.dim[0], in.dim[1], in.dim[2], in.dim[3], in.dim[4] } };
    const epl_ref_attr s = { .n = strides->n, .ints = strides->ints }, p = { .n = pads->n, .ints = pads->ints },
                       d = { .n = dilations->n, .ints = dilations->ints };
    *w = epl_ref_window_of(&view, &view, kernel, &s, &p, &d);
    for (int i = 3 - spatial; i < 3; i++) {
        w->out[i] = window_count(w, i, ceil_mode);
        if (w->out[i] < 1 && w->in[i] > 0)
            return epl_node_fail(n, EPL_ERR_SHAPE,
                                 "spatial axis %d has %lld elements and %lld of padding, but the window spans %lld",
                                 i - (3 - spatial), (long long)w->in[i], (long long)(w->begin[i] + w->end[i]),
                                 (long long)(w->dilation[i] * (w->kernel[i] - 1) + 1));
    }
    return true;
}

epl_shape epl_window_shape(epl_shape in, const epl_ref_window *w, int64_t channels)
{
    epl_shape out = in;
    for (int i = 1; i < in.rank - 1; i++)
        out.dim[i] = w->out[3 - (in.rank - 2) + i - 1];
    out.dim[in.rank - 1] = channels;
    return out;
}

void epl_window_fill(int64_t to[3], const int from[3], int64_t otherwise)
{
    for (int i = 0; i < 3; i++)
        to[i] = from[i] ? from[i] : i > 0 ? to[i - 1] : otherwise;
}

void epl_window_pads(epl_window_lists *l, epl_shape in, int pad, const int begin[3], const int end[3], bool same)
{
    for (int i = 0; i < l->spatial; i++) {
        l->pad[i] = pad + begin[i];
        l->pad[l->spatial + i] = pad + end[i];
        if (same) {
            const int64_t out = (in.dim[i + 1] + l->stride[i] - 1) / l->stride[i];
            const int64_t all = (out - 1) * l->stride[i] + l->dilation[i] * (l->kernel[i] - 1) + 1 - in.dim[i + 1];
            l->pad[i] = all > 0 ? all / 2 : 0;
            l->pad[l->spatial + i] = all > 0 ? all - all / 2 : 0;
        }
    }
}
