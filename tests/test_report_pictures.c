/* Plots, matrices, grids of pictures and diagrams: small pictures kept as golden files, and everything that is not a
 * number, not a name, or not there. A golden picture that changes should be looked at: rsvg-convert tests/golden/x.svg. */
#include "common/report.h"

#include <espalier/report.h>

static const char *const hostile = "</svg><script>alert(1)</script>\"'&\xff\x01";

static void check_svg(test *t, epl_context *ctx, const char *svg)
{
    CHECK_OK(t, ctx, svg);
    CHECK(t, strncmp(svg, "<svg ", 5) == 0);
    CHECK(t, strcmp(svg + strlen(svg) - 7, "</svg>\n") == 0);
    CHECK(t, !strstr(svg, "nan") && !strstr(svg, "inf") && !strstr(svg, "<script"));
    CHECK(t, !strstr(svg, "http://") || strstr(svg, "http://") == strstr(svg, "http://www.w3.org/2000/svg"));
    int open = 0; // elements are balanced
    for (const char *p = svg; *p; p++) {
        open += *p == '<' && p[1] != '/';
        open -= *p == '<' && p[1] == '/';
        open -= *p == '/' && p[1] == '>';
        CHECK(t, open >= 0 && (unsigned char)*p != 0xff && *p != '\x01');
    }
    CHECK_INT(t, open, 0);
}

static void golden_picture(test *t, epl_context *ctx, const char *name, char *svg)
{
    check_svg(t, ctx, svg);
    CHECK_GOLDEN(t, name, svg);
    epl_release(ctx, svg);
}

static char *finish(epl_plot *p)
{
    char *svg = epl_plot_svg(p);
    epl_plot_free(p);
    return svg;
}

TEST(lines_with_spread_gaps_and_marks)
{
    epl_context *ctx = test_context(t);
    const double y[] = { 2.3, 1.2, NAN, 0.8, 0.7, 0.65 }, low[] = { 2.1, 1.0, NAN, 0.7, 0.65, 0.6 };
    const double high[] = { 2.5, 1.5, NAN, 0.9, 0.8, 0.7 }, lone[] = { INFINITY, 1.9, NAN, NAN, 1.5, 1.4 };
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .title = "Loss", .x_label = "epoch", .y_label = "cross-entropy" });
    epl_plot_line(p, "train", NULL, y, 6, (epl_line_opts){ .low = low, .high = high });
    epl_plot_line(p, "teacher", NULL, lone, 6, (epl_line_opts){ .dashed = true });
    epl_plot_mark_x(p, 3, "learning rate / 10");
    epl_plot_mark_y(p, 0.5, "target");
    golden_picture(t, ctx, "report_line.svg", finish(p));
}

TEST(logarithmic_axes_leave_out_zero)
{
    epl_context *ctx = test_context(t);
    const double x[] = { 0, 1, 10, 100, 1000 }, y[] = { 1, 0, 1e-3, -4, 1e-6 };
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .title = "Logarithmic", .x_log = true, .y_log = true });
    epl_plot_line(p, "y", x, y, 5, (epl_line_opts){ .markers = true });
    char *svg = finish(p);
    CHECK_INT(t, count(svg, "<circle class=\"p f1\""), 2); // (10, 1e-3) and (1000, 1e-6) alone have both
    golden_picture(t, ctx, "report_log.svg", svg);
}

TEST(scatter_labels_do_not_collide)
{
    epl_context *ctx = test_context(t);
    const double x[] = { 0.1, 0.11, 0.12, 3 }, y[] = { 0.90, 0.901, 0.9, 0.93 };
    const char *const labels[] = { "resnet-8", "mobilenet ×0.5", NULL, "densenet-40" };
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .x_label = "latency [ms]", .x_log = true, .y_percent = true });
    epl_plot_scatter(p, "dense", x, y, 4, (epl_scatter_opts){ .labels = labels });
    golden_picture(t, ctx, "report_scatter.svg", finish(p));
}

TEST(bars_stand_or_lie)
{
    epl_context *ctx = test_context(t);
    const char *const names[] = { "conv1", "conv2", "fc" };
    const char *const long_names[] = { "stage1.block0.conv1.weight", "stage1.block0.conv2.weight", "stage1.block1.conv1.weight",
                                       "classifier.weight, the last of all and too long for its place beside the bars" };
    const double a[] = { 0.5, 0.93, -0.1, 0.2 }, b[] = { 0.4, NAN, 1.0, 0.3 }, e[] = { 0.05, 0.02, 0.03, NAN };
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .title = "Sparsity", .y_percent = true, .y_label = "zeros" });
    epl_plot_categories(p, names, 3);
    epl_plot_bars(p, "magnitude", a, e, 3);
    epl_plot_bars(p, "random", b, NULL, 3);
    epl_plot_mark_y(p, 0.9, "target");
    golden_picture(t, ctx, "report_bars.svg", finish(p));
    p = epl_plot_new(ctx, (epl_plot_opts){ .y_label = "zeros" });
    epl_plot_categories(p, long_names, 4);
    epl_plot_bars(p, NULL, a, e, 4);
    golden_picture(t, ctx, "report_bars_lying.svg", finish(p));
}

TEST(matrices)
{
    epl_context *ctx = test_context(t);
    const char *const names[] = { "coat", "ankle boot", "shirt" };
    const double counts[] = { 90, 0, 10, 2, 95, 3, 30, 5, 65 }, signs[] = { -1, 0, NAN, 0.5 };
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .title = "Confusion", .width = 320 });
    epl_plot_matrix(p, counts, 3, 3, (epl_matrix_opts){ .row_names = names, .column_names = names, .confusion = true });
    golden_picture(t, ctx, "report_confusion.svg", finish(p));
    p = epl_plot_new(ctx, (epl_plot_opts){ .width = 320 });
    epl_plot_matrix(p, signs, 2, 2, (epl_matrix_opts){ .diverging = true, .no_values = true });
    golden_picture(t, ctx, "report_heat.svg", finish(p));
}

TEST(large_matrix_is_averaged)
{
    epl_context *ctx = test_context(t);
    double *x = calloc(1000 * 300, sizeof *x);
    for (int i = 0; i < 1000 * 300; i++)
        x[i] = i % 300;
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ 0 });
    epl_plot_matrix(p, x, 1000, 300, (epl_matrix_opts){ 0 });
    free(x);
    char *svg = finish(p);
    check_svg(t, ctx, svg);
    CHECK(t, strlen(svg) < 1000000);
    epl_release(ctx, svg);
}

TEST(plots_of_nothing_say_so)
{
    epl_context *ctx = test_context(t);
    const double nothing[] = { NAN, -INFINITY, INFINITY };
    for (int i = 0; i < 6; i++) {
        epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .title = "Nothing", .y_log = i == 5 });
        if (i == 1)
            epl_plot_line(p, "empty", NULL, NULL, 0, (epl_line_opts){ 0 });
        if (i == 2 || i == 5)
            epl_plot_line(p, "not numbers", NULL, nothing, 3, (epl_line_opts){ .low = nothing, .high = nothing });
        if (i == 3)
            epl_plot_matrix(p, nothing, 1, 3, (epl_matrix_opts){ 0 });
        if (i == 4)
            epl_plot_categories(p, NULL, 0);
        char *svg = finish(p);
        check_svg(t, ctx, svg);
        CHECK_INT(t, count(svg, ">no data<"), 1);
        epl_release(ctx, svg);
    }
}

TEST(names_in_pictures_are_escaped)
{
    epl_context *ctx = test_context(t);
    const double v[] = { 1, 2 };
    const char *const names[] = { hostile, hostile };
    for (int i = 0; i < 3; i++) {
        epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .title = hostile, .x_label = hostile, .y_label = hostile });
        if (i == 0) {
            epl_plot_scatter(p, hostile, v, v, 2, (epl_scatter_opts){ .labels = names });
            epl_plot_mark_x(p, 1.5, hostile);
        } else if (i == 1) {
            epl_plot_categories(p, names, 2);
            epl_plot_bars(p, hostile, v, v, 2);
        } else {
            epl_plot_matrix(p, v, 1, 2, (epl_matrix_opts){ .row_names = names, .column_names = names });
        }
        char *svg = finish(p);
        check_svg(t, ctx, svg);
        epl_release(ctx, svg);
    }
}

/* Whatever the range - huge, tiny, constant, one point - every coordinate stays in or near the picture. */
PROPERTY(any_range_can_be_drawn, 200)
{
    epl_context *ctx = test_context(t);
    double x[20], y[20];
    const double size = pow(10, 600 * epl_rng_uniform_f64(t->rng) - 310), shift = t->index % 3 ? 0 : size * 1e3;
    const size_t n = 1 + epl_rng_below(t->rng, 20);
    for (size_t i = 0; i < n; i++) {
        x[i] = shift + size * epl_rng_normal(t->rng);
        y[i] = t->index % 7 ? shift + size * epl_rng_normal(t->rng) : size;
    }
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .x_log = t->index % 2, .y_log = t->index % 5 == 0, .x_label = "x",
                                                     .y_percent = t->index % 11 == 0 });
    epl_plot_line(p, "y", x, y, n, (epl_line_opts){ .markers = true });
    char *svg = finish(p);
    check_svg(t, ctx, svg);
    for (const char *c = strstr(svg, "cx=\""); c; c = strstr(c + 1, "cx=\""))
        CHECK(t, atof(c + 4) >= 0 && atof(c + 4) <= 640);
    epl_release(ctx, svg);
}

TEST(long_lines_are_thinned_and_keep_their_peaks)
{
    epl_context *ctx = test_context(t);
    const size_t n = 200000;
    double *y = calloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++)
        y[i] = sin((double)i / 900);
    y[77777] = 10; // one point among two hundred thousand
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ 0 });
    epl_plot_line(p, NULL, NULL, y, n, (epl_line_opts){ 0 });
    free(y);
    char *svg = finish(p);
    check_svg(t, ctx, svg);
    CHECK(t, strlen(svg) < 100000);
    const char *line = strstr(svg, "class=\"l s1\"");
    double highest = 1e9;
    for (const char *c = strchr(line, ','); c && c < strstr(line, "/>"); c = strchr(c + 1, ','))
        highest = fmin(highest, atof(c + 1));
    CHECK(t, highest < 30); // the top of the picture
    epl_release(ctx, svg);
}

TEST(plots_hold_one_kind)
{
    epl_context *ctx = test_context(t);
    const double v[] = { 1, 2 };
    const char *const names[] = { "a" };
    epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .title = "both" });
    epl_plot_line(p, "a", NULL, v, 2, (epl_line_opts){ 0 });
    epl_plot_categories(p, names, 1);
    CHECK_FAILS(t, ctx, finish(p), EPL_ERR_ARGUMENT, "'both' holds lines and points and cannot take bars");
    p = epl_plot_new(ctx, (epl_plot_opts){ 0 });
    epl_plot_categories(p, names, 1);
    epl_plot_bars(p, "a", v, NULL, 2);
    CHECK_FAILS(t, ctx, finish(p), EPL_ERR_ARGUMENT, "2 bars for 1 categories");
}

/* ---- pictures in a grid ---- */

/* A PNG file of one grey pixel. */
TEST(pictures_in_a_grid)
{
    epl_context *ctx = test_context(t);
    const epl_picture pictures[] = { { pixel, sizeof pixel, "right", 1 }, { pixel, sizeof pixel, hostile, 2 },
                                     { pixel, sizeof pixel, NULL, 0 } };
    golden_picture(t, ctx, "report_grid.svg", epl_pictures_svg(ctx, pictures, 3, (epl_pictures_opts){ .title = "Errors", .columns = 2 }));
    const epl_picture broken[] = { { pixel, sizeof pixel, NULL, 0 }, { pixel, 20, NULL, 0 } };
    CHECK_FAILS(t, ctx, epl_pictures_svg(ctx, broken, 2, (epl_pictures_opts){ 0 }), EPL_ERR_FORMAT, "picture 2 of 2 (20 bytes)");
}

/* ---- diagrams ---- */

static epl_diagram *residual(epl_context *ctx)
{
    epl_diagram *d = epl_diagram_new(ctx, (epl_diagram_opts){ .title = "Residual block" });
    const int block = epl_diagram_region(d, "block1", 0);
    const int in    = epl_diagram_node(d, "input\n[N, 8, 8, 16]", (epl_diagram_node_opts){ .rounded = true });
    const int conv  = epl_diagram_node(d, "conv1\nConv 3x3, 16", (epl_diagram_node_opts){ .region = block, .color = 1 });
    const int relu  = epl_diagram_node(d, "Relu", (epl_diagram_node_opts){ .region = block, .color = 3 });
    const int add   = epl_diagram_node(d, "Add", (epl_diagram_node_opts){ .region = block, .tooltip = hostile });
    const int out   = epl_diagram_node(d, "output", (epl_diagram_node_opts){ .rounded = true });
    epl_diagram_edge(d, in, conv, "[N, 8, 8, 16]");
    epl_diagram_edge(d, conv, relu, NULL);
    epl_diagram_edge(d, relu, add, NULL);
    epl_diagram_edge(d, in, add, hostile);
    epl_diagram_edge(d, add, out, NULL);
    return d;
}

TEST(diagram_of_a_residual_block)
{
    epl_context *ctx = test_context(t);
    epl_diagram *d = residual(ctx);
    golden_picture(t, ctx, "report_diagram.svg", epl_diagram_svg(d));
    golden_picture(t, ctx, "report_diagram.svg", epl_diagram_svg(d)); // drawing it again changes nothing
    epl_diagram_free(d);
}

TEST(diagram_mistakes)
{
    epl_context *ctx = test_context(t);
    epl_diagram *d = epl_diagram_new(ctx, (epl_diagram_opts){ 0 });
    epl_diagram_node(d, "a", (epl_diagram_node_opts){ 0 });
    epl_diagram_edge(d, 1, 2, NULL);
    CHECK_FAILS(t, ctx, epl_diagram_svg(d), EPL_ERR_ARGUMENT, "node 2, but they go from 1 to 1");
    epl_diagram_free(d);
    d = epl_diagram_new(ctx, (epl_diagram_opts){ 0 });
    CHECK_INT(t, epl_diagram_node(d, "a", (epl_diagram_node_opts){ .region = 1 }), -1);
    CHECK_FAILS(t, ctx, epl_diagram_svg(d), EPL_ERR_ARGUMENT, "region 1");
    epl_diagram_free(d);
}

typedef struct rectangle {
    double x, y, w, h;
} rectangle;

/* The boxes of all nodes, as drawn. */
static int node_boxes(const char *svg, rectangle *out, int most)
{
    int n = 0;
    for (const char *p = strstr(svg, "<rect class=\"n\""); p && n < most; p = strstr(p + 1, "<rect class=\"n\""), n++)
        sscanf(p, "<rect class=\"n\" x=\"%lf\" y=\"%lf\" width=\"%lf\" height=\"%lf\"", &out[n].x, &out[n].y, &out[n].w, &out[n].h);
    return n;
}

/* Any graph, with cycles, loops on one node, repeated edges and regions that depend on each other, is drawn with all its nodes,
 * none over another. */
PROPERTY(any_graph_can_be_drawn, 60)
{
    enum { MOST = 40 };
    epl_context *ctx = test_context(t);
    epl_diagram *d = epl_diagram_new(ctx, (epl_diagram_opts){ 0 });
    const int n = (int)epl_rng_below(t->rng, MOST), regions = (int)epl_rng_below(t->rng, 5);
    for (int i = 0; i < regions; i++)
        epl_diagram_region(d, i % 2 ? "region" : NULL, (int)epl_rng_below(t->rng, (uint64_t)i + 1));
    for (int i = 0; i < n; i++)
        epl_diagram_node(d, i % 3 ? "node" : "a wide node\nwith two lines",
                         (epl_diagram_node_opts){ .region = (int)epl_rng_below(t->rng, (uint64_t)regions + 1) });
    for (int i = 0; n && i < 2 * n; i++)
        epl_diagram_edge(d, 1 + (int)epl_rng_below(t->rng, (uint64_t)n), 1 + (int)epl_rng_below(t->rng, (uint64_t)n), NULL);
    char *svg = epl_diagram_svg(d);
    check_svg(t, ctx, svg);
    rectangle r[MOST];
    CHECK_INT(t, node_boxes(svg, r, MOST), n);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            CHECK(t, r[i].x + r[i].w < r[k].x + 1 || r[k].x + r[k].w < r[i].x + 1 || r[i].y + r[i].h < r[k].y + 1 ||
                         r[k].y + r[k].h < r[i].y + 1);
    epl_release(ctx, svg);
    epl_diagram_free(d);
}

/* A chain with shortcuts, as in residual networks: its nodes stand exactly under one another. */
TEST(diagram_keeps_the_main_path_straight)
{
    epl_context *ctx = test_context(t);
    epl_diagram *d = epl_diagram_new(ctx, (epl_diagram_opts){ 0 });
    int last = epl_diagram_node(d, "input", (epl_diagram_node_opts){ 0 });
    for (int i = 0; i < 19; i++) {
        const int a = epl_diagram_node(d, "Conv", (epl_diagram_node_opts){ 0 });
        const int b = epl_diagram_node(d, "Relu of some width", (epl_diagram_node_opts){ 0 });
        const int c = epl_diagram_node(d, "Add", (epl_diagram_node_opts){ 0 });
        epl_diagram_edge(d, last, a, NULL);
        epl_diagram_edge(d, a, b, NULL);
        epl_diagram_edge(d, b, c, NULL);
        epl_diagram_edge(d, last, c, NULL);
        last = c;
    }
    char *svg = epl_diagram_svg(d);
    check_svg(t, ctx, svg);
    rectangle r[64];
    CHECK_INT(t, node_boxes(svg, r, 64), 58);
    for (int i = 1; i < 58; i++) {
        CHECK_NEAR(t, r[i].x + r[i].w / 2, r[0].x + r[0].w / 2, .atol = 0.03);
        CHECK(t, r[i].y > r[i - 1].y + r[i - 1].h);
    }
    epl_release(ctx, svg);
    epl_diagram_free(d);
}

TEST(pictures_survive_every_failed_allocation)
{
    for (int n = 0, done = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        const double v[] = { 1, 2, 4 };
        const char *const labels[] = { "a", "b", "c" };
        epl_diagram *d = residual(ctx);
        epl_plot *p = epl_plot_new(ctx, (epl_plot_opts){ .title = "t" });
        epl_plot_scatter(p, "s", v, v, 3, (epl_scatter_opts){ .labels = labels });
        epl_plot_mark_y(p, 3, "three");
        char *a = epl_diagram_svg(d), *b = epl_plot_svg(p);
        done = a && b;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_release(ctx, a);
        epl_release(ctx, b);
        epl_diagram_free(d);
        epl_plot_free(p);
        CHECK_INT(t, test_live_bytes(ctx), 0);
    }
}
