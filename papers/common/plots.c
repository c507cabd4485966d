/* plots: pictures of a result, as SVG files beside it. */
#include "papers/common/run.h"

#include <math.h>
#include <string.h>

static void write_svg_take(paper_run *r, const char *file, const char *caption, char *svg)
{
    char path[4096];
    const char *name = paper_textf(r, "%s.svg", file);
    snprintf(path, sizeof path, "%s/%s", r->o.out ? r->o.out : "", name);
    if (svg && r->o.out && paper_ok(r) && epl_write_file(r->ctx, path, svg, strlen(svg)) &&
        epl_grow(r->ctx, &r->plots, r->n_plots, &r->plots_room, sizeof *r->plots))
        r->plots[r->n_plots++] = (paper_plotted){ name, epl_arena_strdup(r->arena, caption) };
    epl_release(r->ctx, svg);
}

void paper_plot_take(paper_run *r, const char *file, const char *caption, epl_plot *p)
{
    write_svg_take(r, file, caption, p && paper_ok(r) ? epl_plot_svg(p) : NULL);
    epl_plot_free(p);
}

void paper_plot_series(paper_run *r, const char *file, const char *y_label, const paper_series *const *s, int n)
{
    const char **names = paper_alloc(r, (size_t)n * sizeof *names);
    double *mean = paper_alloc(r, (size_t)n * sizeof *mean), *std = paper_alloc(r, (size_t)n * sizeof *std);
    double  low = INFINITY, high = -INFINITY;
    if (!paper_ok(r) || !names || !mean || !std)
        return;
    for (int i = 0; i < n; i++) {
        names[i] = s[i] ? s[i]->name : "";
        mean[i]  = paper_mean(s[i]);
        std[i]   = paper_std(s[i]);
        low      = fmin(low, mean[i] - std[i]);
        high     = fmax(high, mean[i] + std[i]);
    }
    const double room = fmax(high - low, 0.01 * fabs(high)) / 4; // differences are what is looked at: the axis does not begin at 0
    epl_plot *p = epl_plot_new(r->ctx, (epl_plot_opts){ .y_label = y_label, .y_min = low - room, .y_max = high + room,
                                                        .width = 160 + 60 * n > 640 ? 160 + 60 * n : 640 });
    epl_plot_categories(p, names, (size_t)n);
    epl_plot_bars(p, NULL, mean, std, (size_t)n);
    paper_plot_take(r, file, paper_textf(r, "%s: mean and standard deviation of %d seeds. The axis does not begin at 0.", y_label,
                                         n && s[0] ? s[0]->n : 0), p);
}

/* ---- tiles ---- */

/* u8 pixels of a picture; f32 is stretched from its least to its largest value. The caller owns it. */
static epl_tensor *as_bytes(paper_run *r, const epl_tensor *t)
{
    double low = INFINITY, high = -INFINITY;
    if (t->dtype == EPL_U8)
        return epl_tensor_copy(r->ctx, t);
    epl_tensor *out = epl_tensor_new(r->ctx, EPL_U8, t->shape);
    for (int64_t i = 0; i < epl_tensor_count(t); i++) {
        low  = fmin(low, epl_tensor_get(t, i));
        high = fmax(high, epl_tensor_get(t, i));
    }
    for (int64_t i = 0; out && i < epl_tensor_count(t); i++)
        epl_tensor_set(out, i, high > low ? 255 * (epl_tensor_get(t, i) - low) / (high - low) : 128);
    return out;
}

static bool encode(paper_run *r, const epl_tensor *t, epl_picture *out)
{
    void       *png = NULL;
    epl_tensor *bytes = t ? as_bytes(r, t) : NULL;
    const bool  ok = bytes && epl_image_encode_png(r->ctx, bytes, &png, &out->bytes);
    out->png = png;
    epl_tensor_free(bytes);
    return ok;
}

void paper_plot_tiles(paper_run *r, const char *file, const char *caption, const epl_tensor *const *tiles, const char *const *names,
                      int n, epl_pictures_opts o)
{
    epl_picture *pictures = paper_ok(r) && r->o.out ? epl_alloc_array(r->ctx, (size_t)n, sizeof *pictures) : NULL;
    bool         ok = pictures != NULL;
    for (int i = 0; ok && i < n; i++) {
        pictures[i].caption = names ? names[i] : NULL;
        ok = encode(r, tiles[i], &pictures[i]);
    }
    if (ok)
        write_svg_take(r, file, caption, epl_pictures_svg(r->ctx, pictures, (size_t)n, o));
    for (int i = 0; pictures && i < n; i++)
        epl_release(r->ctx, (void *)(uintptr_t)pictures[i].png);
    epl_release(r->ctx, pictures);
}
