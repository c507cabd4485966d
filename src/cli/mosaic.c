/* mosaic: a few tiles of a large picture, those richest in cell nuclei. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* Writes the kept tiles as <dir>/<top>_<left>.png. */
static bool write_tiles(cli *c, const epl_tensor *slide, const epl_mosaic *m, const char *dir)
{
    bool ok = epl_make_directories(c->ctx, dir);
    for (int64_t i = 0; ok && i < m->n; i++) {
        const epl_slide_tile *t = &m->tiles[i];
        char        path[1024];
        epl_tensor *x = t->kept ? epl_image_tile(c->ctx, slide, t->top, t->left, m->tile, m->tile) : NULL;
        snprintf(path, sizeof path, "%s/%lld_%lld.png", dir, (long long)t->top, (long long)t->left);
        ok = !t->kept || (x && epl_image_save_png(c->ctx, path, x));
        epl_tensor_free(x);
    }
    return ok;
}

static bool show(cli *c, const epl_mosaic *m)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    static const char *const names[] = { "top", "left", "cluster", "tissue", "score", "kept" };
    for (size_t i = 0; i < EPL_COUNT(names); i++)
        epl_table_column(t, names[i], (epl_column_opts){ .format = i == 3 ? EPL_FORMAT_PERCENT : EPL_FORMAT_PLAIN });
    for (int64_t i = 0; i < m->n; i++) {
        if (!m->tiles[i].in_mosaic)
            continue;
        epl_table_row(t);
        epl_table_integer(t, m->tiles[i].top);
        epl_table_integer(t, m->tiles[i].left);
        epl_table_integer(t, m->tiles[i].cluster);
        epl_table_number(t, m->tiles[i].tissue);
        epl_table_number(t, m->tiles[i].score);
        epl_table_integer(t, m->tiles[i].kept);
    }
    const bool ok = cli_print_table(c, t);
    epl_table_free(t);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char     *in = NULL, *dir = NULL, *score = "nuclei";
    int64_t         clusters = 9, pixels = INT64_C(1) << 32;
    epl_mosaic_opts o = { .tile = 1000, .tissue = 0.5, .spatial = 0.15, .top = 0.2 };
    const cli_option options[] = {
        EPL_ARG("picture", &in, "the slide: PNG or JPEG"),
        EPL_OPT_DIR('o', "output", &dir, "folder for the tiles that are kept (default: none is written)"),
        EPL_OPT_INT(0, "tile", &o.tile, 2, 1 << 20, "pixels of a tile, both ways"),
        EPL_OPT_REAL(0, "tissue", &o.tissue, 1e-6, 1, "least share of tissue in a tile"),
        EPL_OPT_INT(0, "clusters", &clusters, 1, 1 << 16, "groups of tiles by their colour"),
        EPL_OPT_REAL(0, "spatial", &o.spatial, 1e-6, 1, "share of a group that stays, spread over the slide"),
        EPL_OPT_REAL(0, "top", &o.top, 1e-6, 1, "share of what stays that is kept, by score"),
        EPL_OPT_CHOICE(0, "score", "nuclei|random", &score, "nuclei: the share of pixels that haematoxylin stains"),
        EPL_OPT_INT(0, "max-pixels", &pixels, 1, 1e15, "larger pictures are refused"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    o.clusters = (int)clusters;
    o.seed     = (uint64_t)c->seed;
    o.score    = strcmp(score, "random") == 0 ? EPL_SCORE_RANDOM : EPL_SCORE_CELLULARITY;
    epl_mosaic  m = { 0 };
    epl_tensor *slide = epl_image_load(c->ctx, in, (epl_image_opts){ .channels = 3, .max_pixels = pixels });
    bool ok = slide && epl_mosaic_of(c->ctx, slide, o, &m) && (!dir || write_tiles(c, slide, &m, dir)) && show(c, &m);
    if (ok && m.n == 0)
        cli_remark(c, "%s: no tile has enough tissue", in);
    epl_mosaic_release(c->ctx, &m);
    epl_tensor_free(slide);
    return cli_end(c, ok);
}

const cli_verb cli_verb_mosaic = {
    .name = "mosaic",
    .json = true,
    .run = run,
    .summary = "a few tiles of a large picture of tissue, those richest in nuclei",
    .about = "Tiles with enough tissue are grouped by colour; of each group some stay, spread over the slide (Kalra et "
             "al. 2020, arXiv:1911.08748), and of "
             "these the richest in cell nuclei are kept (Riasatian et al. 2021, arXiv:2101.07903). The table lists "
             "what stayed.",
    .examples = "espalier mosaic slide.png -o tiles --tile 500",
};
