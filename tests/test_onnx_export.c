/* onnx_export: every model of the zoo goes to an ONNX file and comes back with the same outputs; an ordinary CNN has
 * one transpose, at its input; operators, control flow, named dimensions, external data; what is refused. With
 * EPL_EXPORT_DIR set, the zoo's files are left there with their inputs and an output each, for
 * tests/onnx/check_export.py. */
#include "common/sample.h"

#include <espalier/analysis.h>
#include <espalier/grad.h>
#include <espalier/nn.h>
#include <espalier/onnx.h>
#include "passes/passes.h"
#include <espalier/program.h>
#include <espalier/zoo.h>

#include "graph/op.h"
#include "onnx/import.h"

#include <sys/stat.h>

/* Beside every model's small form: options that change the kinds of operators. */
static const char *const variants[] = {
    "mlp:image=6,depth=2,width=8,activation=gelu", "mlp:image=6,depth=1,width=8,activation=silu,dropout=0.5",
    "resnet:depth=11,bottleneck=1,groups=2,group_width=0.5,width=16,image=8,se=1,drop_path=0.1",
    "vit:image=8,patch=4,width=16,depth=1,heads=4,hidden=24,pool=mean,dropout=0.1,layer_scale=0.1",
    "lstm:length=5,channels=3,width=4,layers=2", "lstm:length=5,channels=3,width=4,bidirectional=1",
    "lstm:length=4,channels=3,width=4,cell=gru", "vanillanet:depth=7,scale=0.015,image=32,act=1,classes=5,form=deploy",
};


/* Every vector differs from its start, so that a mixed-up one is seen. */
static void disturb(epl_weights *w, epl_rng *r)
{
    for (int i = 0; i < epl_weights_count(w); i++) {
        epl_tensor *t = epl_weights_at(w, i);
        const char *name = epl_weights_name(w, i);
        if (strstr(name, "running_var"))
            epl_tensor_fill_uniform(t, r, 0.5, 1.5);
        else if (t->dtype == EPL_F32 && t->shape.rank == 1)
            for (int64_t k = 0; k < epl_tensor_count(t); k++)
                ((float *)t->data)[k] += 0.1f * epl_rng_normal(r);
    }
}

static epl_model *model_of(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    CHECK_OK(t, ctx, g);
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 7));
    disturb(m->weights, t->rng);
    return m;
}

enum { MOST_INPUTS = 4 };

/* For every input of a graph: normal numbers, or the first of a vocabulary. */
static void draw_inputs(test *t, const epl_graph *g, epl_tensor *x[MOST_INPUTS])
{
    CHECK(t, epl_graph_n_inputs(g) <= MOST_INPUTS);
    for (int i = 0; i < epl_graph_n_inputs(g); i++) {
        const epl_value *v = epl_graph_input_at(g, i);
        x[i] = epl_tensor_new(g->ctx, v->dtype, v->shape);
        CHECK_OK(t, g->ctx, x[i]);
        if (epl_dtype_is_float(v->dtype))
            epl_tensor_fill_normal(x[i], t->rng, 0, 1);
        for (int64_t k = 0; !epl_dtype_is_float(v->dtype) && k < epl_tensor_count(x[i]); k++)
            epl_tensor_set_i64(x[i], k, (int64_t)epl_rng_below(t->rng, 5));
    }
}

/* The first output for these inputs; the caller owns it. */
static epl_tensor *run(test *t, const epl_model *m, epl_tensor *const *x)
{
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, m->ctx, p);
    for (int i = 0; i < epl_graph_n_inputs(m->graph); i++)
        memcpy(epl_program_input(p, i)->data, x[i]->data, epl_tensor_bytes(x[i]));
    CHECK_OK(t, m->ctx, epl_program_run(p));
    epl_tensor *y = epl_tensor_copy(m->ctx, epl_program_output(p, 0));
    epl_program_free(p);
    CHECK_OK(t, m->ctx, y);
    return y;
}

static int count_ops(const epl_graph *g, const char *op)
{
    int n = 0;
    for (const epl_node *k = epl_first(g); k; k = epl_next(k))
        n += strcmp(epl_node_op_name(k), op) == 0;
    return n;
}

static const char *path_for(test *t, const char *description, const char *ending)
{
    static char path[700];
    char        name[128];
    snprintf(name, sizeof name, "%s%s", description, ending);
    for (char *s = name; *s; s++)
        *s = *s == ':' || *s == ',' || *s == '=' ? '_' : *s;
    const char *dir = getenv("EPL_EXPORT_DIR");
    if (!dir)
        return test_temp(t, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* What an ONNX file says of a graph, in its normal form: no dropout, shapes rather than what they are taken from, constants
 * computed, transposes where the importer puts them, choices of samples as selections. */
static epl_graph *as_written(test *t, const epl_graph *g)
{
    epl_graph *copy = epl_graph_copy(g);
    CHECK_OK(t, g->ctx, copy);
    for (epl_node *n = copy->first, *next; n; n = next) {
        next = n->next;
        if (EPL_IS(n, dropout) || EPL_IS(n, drop_path)) {
            epl_replace(n->outputs[0], n->inputs[0]);
            epl_node_remove(n);
        }
    }
    CHECK_OK(t, g->ctx,
             epl_mask_choices(copy) && epl_trim_regions(copy, true) && epl_settle_shapes(copy) && epl_recognise(copy) &&
                 epl_simplify(copy) && epl_fold_control(copy, 0) && epl_move_transposes(copy) && epl_recognise(copy) &&
                 epl_simplify(copy) && epl_trim_regions(copy, true));
    epl_remove_dead(copy);
    return copy;
}

/* Up to names, the graph that was written. */
static void check_same_graph(test *t, const epl_graph *a, const epl_graph *b)
{
    epl_graph *x = as_written(t, a), *y = as_written(t, b);
    CHECK_OK(t, a->ctx, epl_graph_same(x, y));
    epl_graph_free(x);
    epl_graph_free(y);
}

PROPERTY(zoo_comes_back, epl_zoo_count() + (int)EPL_COUNT(variants))
{
    char         description[256];
    epl_context *ctx = test_context(t);
    const int    models = epl_zoo_count();
    if (t->index < models)
        snprintf(description, sizeof description, "%s:%s", epl_zoo_at(t->index)->name, epl_zoo_at(t->index)->small);
    else
        snprintf(description, sizeof description, "%s", variants[t->index - models]);
    epl_model *m = model_of(t, ctx, description);
    CHECK_OK(t, ctx, epl_onnx_export(m, path_for(t, description, ".onnx"), (epl_onnx_export_opts){ 0 }));
    epl_model *back = epl_onnx_load(ctx, path_for(t, description, ".onnx"), (epl_onnx_opts){ 0 });
    CHECK_OK(t, ctx, back && epl_graph_bind(m->graph, "N", 3) && epl_graph_bind(back->graph, "N", 3)); // the batch stays open
    epl_tensor *x[MOST_INPUTS];
    draw_inputs(t, m->graph, x);
    epl_tensor *expected = run(t, m, x), *found = run(t, back, x);
    CHECK_CLOSE(t, found, expected, .rtol = 1e-5, .atol = 1e-5);
    check_same_graph(t, m->graph, back->graph);
    CHECK_INT(t, epl_graph_n_parameters(back->graph), epl_graph_n_parameters(m->graph));
    if (getenv("EPL_EXPORT_DIR"))
        CHECK_OK(t, ctx, epl_npy_save(ctx, path_for(t, description, ".y.npy"), expected));
    for (int i = 0; i < epl_graph_n_inputs(m->graph); i++) {
        static const char *const endings[MOST_INPUTS] = { ".x.npy", ".x1.npy", ".x2.npy", ".x3.npy" };
        if (getenv("EPL_EXPORT_DIR"))
            CHECK_OK(t, ctx, epl_npy_save(ctx, path_for(t, description, endings[i]), x[i]));
        epl_tensor_free(x[i]);
    }
    epl_tensor_free(expected);
    epl_tensor_free(found);
    epl_model_free(back);
    epl_model_free(m);
}

/* For one sample choices are Ifs: the weights that their branches read stay what they are, and are there once. */
PROPERTY(choices_come_back, epl_zoo_count())
{
    char         description[256];
    epl_context *ctx = test_context(t);
    snprintf(description, sizeof description, "%s:%s", epl_zoo_at(t->index)->name, epl_zoo_at(t->index)->small);
    epl_model *m = model_of(t, ctx, description);
    CHECK_OK(t, ctx, epl_lower_exits(m->graph));
    if (count_ops(m->graph, "IfEach") + count_ops(m->graph, "Loop") == 0) {
        epl_model_free(m);
        return;
    }
    CHECK_OK(t, ctx, epl_graph_bind(m->graph, "N", 1) && epl_split_choices(m->graph, 0));
    epl_node_set_attr(epl_graph_input_at(m->graph, 0)->producer, 3, EPL_A_S("")); // this graph is for one sample alone
    CHECK_OK(t, ctx, epl_onnx_export(m, test_temp(t, "choice.onnx"), (epl_onnx_export_opts){ 0 }));
    epl_model *back = epl_onnx_load(ctx, test_temp(t, "choice.onnx"), (epl_onnx_opts){ 0 });
    CHECK_OK(t, ctx, back);
    CHECK(t, count_ops(back->graph, "If") + count_ops(back->graph, "Loop") > 0);
    check_same_graph(t, m->graph, back->graph);
    CHECK_INT(t, epl_graph_n_parameters(back->graph), epl_graph_n_parameters(m->graph));
    epl_model_free(back);
    epl_model_free(m);
}

/* ---- transposes ---- */
static const Onnx__GraphProto *graph_of(onnx_file *f) { return f->model->graph; }

static int count_in_file(test *t, epl_context *ctx, const char *path, const char *op)
{
    onnx_file f = { 0 };
    CHECK_OK(t, ctx, onnx_file_open(&f, ctx, path));
    int n = 0;
    for (size_t i = 0; i < graph_of(&f)->n_node; i++)
        n += strcmp(graph_of(&f)->node[i]->op_type, op) == 0;
    onnx_file_close(&f);
    return n;
}

TEST(convolutional_networks_have_one_transpose)
{
    static const char *const nets[] = { "resnet:depth=8,width=4,image=8,se=1", "cnn:image=12,width=4", "mobilenet-v2:image=32,width=0.1",
                                        "densenet:depth=10,growth=4,image=8", "densenet:depth=121,growth=4,image=32" };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(nets); i++) {
        epl_model *m = model_of(t, ctx, nets[i]);
        CHECK_OK(t, ctx, epl_onnx_export(m, test_temp(t, "net.onnx"), (epl_onnx_export_opts){ 0 }));
        CHECK_INT(t, count_in_file(t, ctx, test_temp(t, "net.onnx"), "Transpose"), 1);
        epl_model *back = epl_onnx_load(ctx, test_temp(t, "net.onnx"), (epl_onnx_opts){ 0 });
        CHECK_OK(t, ctx, back);
        CHECK_INT(t, count_ops(back->graph, "Transpose"), 0);
        CHECK_OK(t, ctx, epl_onnx_export(back, test_temp(t, "again.onnx"), (epl_onnx_export_opts){ 0 }));
        CHECK_INT(t, count_in_file(t, ctx, test_temp(t, "again.onnx"), "Transpose"), 1);
        epl_model_free(back);
        epl_model_free(m);
    }
}

/* A network as others write it: channels first at its input, images flattened behind an activation. */
TEST(flattened_images_leave_no_transpose)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "net");
    const int    to_last[] = { 0, 2, 3, 1 }, to_first[] = { 0, 3, 1, 2 };
    epl_value   *x = epl_transpose(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 3, 6, 5), "N,,,"), 4, to_last);
    x = epl_relu(g, epl_conv(g, x, (epl_conv_opts){ .name = "conv", .out = 4 }));
    x = epl_relu(g, epl_reshape(g, epl_transpose(g, x, 4, to_first), EPL_SHAPE(EPL_KEEP, -1)));
    epl_output(g, "y", epl_linear(g, x, (epl_linear_opts){ .name = "head", .out = 7 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    CHECK_OK(t, ctx, epl_onnx_export(m, test_temp(t, "flat.onnx"), (epl_onnx_export_opts){ 0 }));
    epl_model *back = epl_onnx_load(ctx, test_temp(t, "flat.onnx"), (epl_onnx_opts){ .dims = "N=2" });
    CHECK_OK(t, ctx, back);
    CHECK_INT(t, count_ops(back->graph, "Transpose"), 1); // at the input
    epl_tensor *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 3, 6, 5));
    epl_tensor_fill_normal(in, t->rng, 0, 1);
    CHECK_OK(t, ctx, epl_graph_bind(m->graph, "N", 2));
    epl_tensor *expected = run(t, m, &in), *found = run(t, back, &in);
    CHECK_CLOSE(t, found, expected, .rtol = 1e-5, .atol = 1e-5);
    epl_tensor_free(in);
    epl_tensor_free(expected);
    epl_tensor_free(found);
    epl_model_free(back);
    epl_model_free(m);
}

/* ---- operators ---- */

/* The graph of one sampled operator and, if it can be exported, its outputs against those of what comes back. */
static bool operator_comes_back(test *t, epl_context *ctx, const epl_op *op, int opset)
{
    enum { MOST = 16 };
    epl_tensor *values[MOST], *expected[MOST], *found[MOST];
    epl_graph  *g = epl_graph_new(ctx, op->name);
    epl_node   *n = op->sample(g, t->rng, EPL_F32);
    CHECK_OK(t, ctx, n);
    for (int i = 0; i < n->n_outputs; i++) {
        char name[16];
        snprintf(name, sizeof name, "y%d", i);
        epl_output(g, name, n->outputs[i]);
    }
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    const char *path = test_temp(t, "operator.onnx");
    if (!epl_onnx_export(m, path, (epl_onnx_export_opts){ .opset = opset })) {
        CHECK_INT(t, epl_error_code(ctx), EPL_ERR_UNSUPPORTED);
        CHECK(t, strstr(epl_error_message(ctx), "has no ONNX form: "));
        epl_error_clear(ctx);
        epl_model_free(m);
        return false;
    }
    sample_values(t, g, values);
    epl_weights *inputs = epl_weights_new(ctx); // for those that shapes follow from
    for (int i = 0; i < epl_graph_n_inputs(g); i++)
        epl_weights_put_take(inputs, epl_value_name(epl_graph_input_at(g, i)), epl_tensor_copy(ctx, values[i]));
    const bool counted = op == &epl_op_non_zero || op == &epl_op_unique || op == &epl_op_non_max_suppression; // the file says how many
    epl_model *back = epl_onnx_load(ctx, path, (epl_onnx_opts){ .inputs = counted ? NULL : inputs });
    if (!back)
        FAIL(t, "opset %d: %s\n%s", opset, epl_error_message(ctx), epl_graph_print(g));
    CHECK_OK(t, ctx, epl_interpret(g, m->weights, (const epl_tensor *const *)values, expected));
    CHECK_OK(t, ctx, epl_interpret(back->graph, back->weights, (const epl_tensor *const *)values, found));
    for (int i = 0; i < epl_graph_n_outputs(g); i++) {
        if (op->flags & EPL_OP_RANDOM) // draws are the reader's own
            CHECK(t, epl_shape_equal(found[i]->shape, expected[i]->shape) && found[i]->dtype == expected[i]->dtype);
        else
            CHECK_CLOSE(t, found[i], expected[i], .rtol = 2e-5, .atol = 2e-6);
        epl_tensor_free(found[i]);
        epl_tensor_free(expected[i]);
    }
    if (counted)
        CHECK_INT(t, count_ops(back->graph, "Slice") + count_ops(back->graph, "Pad") + count_ops(back->graph, "Where"), 0);
    for (int i = 0; i < epl_graph_n_inputs(g); i++)
        epl_tensor_free(values[i]);
    epl_weights_free(inputs);
    epl_model_free(back);
    epl_model_free(m);
    return true;
}

/* The newest opset for each operator, and an older one. */
PROPERTY(operators_come_back, epl_n_ops * 2)
{
    static const int older[] = { 13, 17, 20 };
    epl_context     *ctx = test_context(t);
    const epl_op    *op = epl_op_at(t->index / 2);
    if (op->sample)
        operator_comes_back(t, ctx, op, t->index % 2 ? 21 : older[t->index / 2 % 3]);
}

/* The operators that are refused in every draw: the list is committed, so that it can only shrink. */
TEST(refused_operators_are_listed)
{
    epl_context *ctx = test_context(t);
    epl_text     list = EPL_TEXT(ctx);
    int          refused = 0;
    for (int i = 0; i < epl_n_ops; i++) {
        bool exported = !epl_op_at(i)->sample;
        for (int draw = 0; draw < 16 && !exported; draw++)
            exported = operator_comes_back(t, ctx, epl_op_at(i), 21);
        refused += !exported;
        if (!exported)
            epl_text_addf(&list, "%s\n", epl_op_at(i)->name);
    }
    CHECK(t, refused <= 22); // EPL_UPDATE_GOLDEN does not make it longer
    CHECK_GOLDEN(t, "onnx_export_refused.txt", epl_text_str(&list));
    epl_text_release(&list);
}

/* ---- control flow, dimensions, files ---- */

/* x doubled until its sum passes the limit, and a stack of the partial results. */
static epl_graph *loop_graph(epl_context *ctx, bool stops)
{
    epl_graph *g = epl_graph_new(ctx, "loop");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2), NULL),
              *factor = epl_parameter(g, "factor", EPL_F32, EPL_SHAPE(2), EPL_INIT_CONSTANT, 1.5);
    epl_graph *body = epl_region_new(g);
    epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_value *again = epl_input(body, "again", EPL_BOOL, EPL_SCALAR, NULL), *c = epl_input(body, "c", EPL_F32, EPL_SHAPE(2), NULL);
    epl_value *next = epl_mul(body, c, epl_input(body, "factor", EPL_F32, EPL_SHAPE(2), NULL));
    epl_value *small = epl_less(body, epl_reduce_sum(body, next, (epl_reduce_opts){ 0 }), epl_scalar(body, EPL_F32, 20));
    epl_output(body, "again", stops ? small : again);
    epl_output(body, "c", next);
    if (!stops)
        epl_output(body, "each", next);
    epl_value *out[3] = { NULL };
    epl_loop(g, 5, NULL, 1, &x, body, 1, &factor, out);
    epl_output(g, "last", out[0]);
    epl_output(g, "count", out[stops ? 1 : 2]);
    if (!stops)
        epl_output(g, "each", out[1]);
    return g;
}

/* One sample, or each for itself: those that are sure leave in the middle. */
PROPERTY(early_exits_come_back, 2)
{
    enum { SAMPLES = 6, CLASSES = 3 };
    const int    samples = t->index ? SAMPLES : 1;
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "early");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(samples, CLASSES), t->index ? "N," : NULL);
    epl_value   *sure = epl_greater(g, epl_reduce_max(g, x, (epl_reduce_opts){ .axes = { 1 }, .n_axes = 1 }), epl_scalar(g, EPL_F32, 1));
    epl_value   *y = epl_tanh(g, x);
    epl_exit(g, t->index ? sure : epl_reshape(g, sure, EPL_SCALAR), 1, &y);
    epl_output(g, "y", epl_linear(g, y, (epl_linear_opts){ .name = "head", .out = CLASSES }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    CHECK_OK(t, ctx, epl_onnx_export(m, path_for(t, t->index ? "exits" : "exit", ".onnx"), (epl_onnx_export_opts){ 0 }));
    epl_model *back = epl_onnx_load(ctx, path_for(t, t->index ? "exits" : "exit", ".onnx"),
                                    (epl_onnx_opts){ .dims = t->index ? "N=6" : NULL });
    CHECK_OK(t, ctx, back);
    epl_tensor *in = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(samples, CLASSES));
    for (int sharp = 0; sharp < 2; sharp++) { // some leave, all go on
        epl_tensor_fill_normal(in, t->rng, 0, 1);
        epl_tensor_set(in, 0, sharp ? 5 : 0.5);
        epl_tensor *expected = run(t, m, &in), *found = run(t, back, &in);
        CHECK_CLOSE(t, found, expected, .rtol = 1e-6);
        CHECK(t, !sharp || fabs(epl_tensor_get(found, 0) - tanh(5)) < 1e-6);
        epl_tensor_free(expected);
        epl_tensor_free(found);
    }
    epl_tensor_free(in);
    epl_model_free(back);
    epl_model_free(m);
}

/* A Switch of three, an If in one of its regions; one convolution is in two of them. What is read inside is a weight of the
 * whole network, is there once, and has a gradient. */
static epl_graph *switch_graph(epl_context *ctx)
{
    const epl_conv_opts shared = { .name = "shared", .out = 4, .same = true, .no_bias = true };
    epl_graph *g = epl_graph_new(ctx, "switch"), *r[3], *inner[2];
    epl_value          *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 5, 6, 3), NULL),
              *index = epl_input(g, "index", EPL_I64, EPL_SCALAR, NULL), *y = NULL, *z = NULL;
    for (int k = 0; k < 3; k++) {
        r[k] = epl_region_new(g);
        epl_value *in = epl_input(r[k], "x", EPL_F32, EPL_SHAPE(1, 5, 6, 3), NULL), *out;
        out = epl_conv(r[k], in, k < 2 ? shared : (epl_conv_opts){ .name = "own", .out = 4, .kernel = 1 });
        if (k == 1) {
            epl_value *cond = epl_greater(r[k], epl_reduce_sum(r[k], in, (epl_reduce_opts){ 0 }),
                                          epl_scalar(r[k], EPL_F32, 0)),
                      *each = NULL;
            for (int i = 0; i < 2; i++) {
                inner[i] = epl_region_new(r[k]);
                epl_value *v = epl_input(inner[i], "v", EPL_F32, EPL_SHAPE(1, 5, 6, 4), NULL);
                epl_output(inner[i], "w",
                           i ? epl_relu(inner[i], v)
                             : epl_linear(inner[i], v, (epl_linear_opts){ .name = "deep", .out = 4 }));
            }
            epl_if(r[k], cond, inner[0], inner[1], 1, &out, &each);
            out = each;
        }
        epl_output(r[k], "y", out);
    }
    epl_switch(g, index, 3, r, 1, &x, &y);
    z = epl_linear(g, epl_global_average_pool(g, y), (epl_linear_opts){ .name = "head", .out = 2 });
    epl_output(g, "z", z);
    return g;
}

TEST(weights_of_regions_stay_weights)
{
    static const char *const names[] = { "shared.weight", "own.weight",  "own.bias", "deep.weight",
                                         "deep.bias",     "head.weight", "head.bias" };
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(switch_graph(ctx));
    CHECK_OK(t, ctx, m && epl_graph_finish(m->graph) && epl_model_init(m, 1));
    CHECK_OK(t, ctx, epl_onnx_export(m, path_for(t, "switch", ".onnx"), (epl_onnx_export_opts){ 0 }));
    epl_model *back = epl_onnx_load(ctx, path_for(t, "switch", ".onnx"), (epl_onnx_opts){ 0 });
    CHECK_OK(t, ctx, back);
    CHECK_INT(t, epl_weights_count(back->weights), EPL_COUNT(names));
    for (size_t i = 0; i < EPL_COUNT(names); i++)
        CHECK(t, epl_tensor_equal(epl_weights_find(back->weights, names[i]), epl_weights_find(m->weights, names[i])));
    epl_tensor *in[2] = { epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 5, 6, 3)), epl_tensor_new(ctx, EPL_I64, EPL_SCALAR) }, *a, *b;
    for (int k = 0; k < 6; k++) {
        epl_tensor_fill_normal(in[0], t->rng, k < 3 ? 1 : -1, 1);
        epl_tensor_set(in[1], 0, k % 3);
        CHECK_OK(t, ctx, epl_interpret(m->graph, m->weights, (const epl_tensor *const *)in, &a));
        CHECK_OK(t, ctx, epl_interpret(back->graph, back->weights, (const epl_tensor *const *)in, &b));
        CHECK_CLOSE(t, b, a, .rtol = 1e-6, .atol = 1e-6);
        epl_tensor_free(a);
        epl_tensor_free(b);
    }
    epl_value *weight = NULL, *gradient = NULL, *z = epl_graph_output_at(back->graph, 0);
    for (epl_node *n = back->graph->first; n && !weight; n = n->next)
        weight = EPL_IS(n, parameter) && strcmp(n->attrs[0].s, "deep.weight") == 0 ? n->outputs[0] : NULL;
    CHECK_OK(t, ctx, weight && epl_gradient(back->graph, epl_reduce_sum(back->graph, z, (epl_reduce_opts){ 0 }), 1, &weight, &gradient));
    CHECK(t, gradient && epl_shape_equal(epl_shape_of(gradient), EPL_SHAPE(4, 4)));
    epl_tensor_free(in[0]);
    epl_tensor_free(in[1]);
    epl_model_free(back);
    epl_model_free(m);
}

PROPERTY(loops_come_back, 2)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(loop_graph(ctx, t->index == 0));
    CHECK_OK(t, ctx, epl_graph_finish(m->graph) && epl_model_init(m, 1));
    CHECK_OK(t, ctx, epl_onnx_export(m, path_for(t, t->index ? "loop_all" : "loop_stops", ".onnx"), (epl_onnx_export_opts){ 0 }));
    epl_model *back = epl_onnx_load(ctx, path_for(t, t->index ? "loop_all" : "loop_stops", ".onnx"), (epl_onnx_opts){ 0 });
    CHECK_OK(t, ctx, back);
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2)), *expected[3], *found[3];
    epl_tensor_set(x, 0, 1);
    epl_tensor_set(x, 1, 3);
    const epl_tensor *const in[] = { x };
    CHECK_OK(t, ctx, epl_interpret(m->graph, m->weights, in, expected) && epl_interpret(back->graph, back->weights, in, found));
    CHECK_INT(t, epl_tensor_get_i64(expected[1], 0), t->index ? 5 : 4);
    for (int i = 0; i < epl_graph_n_outputs(m->graph); i++) {
        CHECK_CLOSE(t, found[i], expected[i], .rtol = 1e-6);
        epl_tensor_free(expected[i]);
        epl_tensor_free(found[i]);
    }
    epl_tensor_free(x);
    epl_model_free(back);
    epl_model_free(m);
}

TEST(named_dimensions_stay_named_or_are_fixed)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model_of(t, ctx, "resnet:depth=8,width=4,image=8");
    onnx_file    f = { 0 };
    CHECK_OK(t, ctx, epl_onnx_export(m, test_temp(t, "a.onnx"), (epl_onnx_export_opts){ 0 }));
    CHECK_OK(t, ctx, onnx_file_open(&f, ctx, test_temp(t, "a.onnx")));
    CHECK_STR(t, graph_of(&f)->input[0]->type->tensor_type->shape->dim[0]->dim_param, "N");
    CHECK_STR(t, graph_of(&f)->output[0]->type->tensor_type->shape->dim[0]->dim_param, "N");
    CHECK_INT(t, graph_of(&f)->output[0]->type->tensor_type->shape->dim[1]->dim_value, 10);
    onnx_file_close(&f);
    CHECK_OK(t, ctx, epl_onnx_export(m, test_temp(t, "b.onnx"), (epl_onnx_export_opts){ .dims = "N=4" }));
    CHECK_OK(t, ctx, onnx_file_open(&f, ctx, test_temp(t, "b.onnx")));
    CHECK_INT(t, graph_of(&f)->input[0]->type->tensor_type->shape->dim[0]->dim_value, 4);
    CHECK_INT(t, graph_of(&f)->output[0]->type->tensor_type->shape->dim[0]->dim_value, 4);
    onnx_file_close(&f);
    CHECK_FAILS(t, ctx, epl_onnx_export(m, test_temp(t, "c.onnx"), (epl_onnx_export_opts){ .dims = "M=4" }), EPL_ERR_ARGUMENT,
                "no input names the dimension 'M'");
    CHECK_FAILS(t, ctx, epl_onnx_export(m, test_temp(t, "c.onnx"), (epl_onnx_export_opts){ .dims = "N=x" }), EPL_ERR_ARGUMENT,
                "'N=x' is not of the form name=size");
    CHECK_FAILS(t, ctx, epl_onnx_export(m, test_temp(t, "c.onnx"), (epl_onnx_export_opts){ .opset = 9 }), EPL_ERR_ARGUMENT,
                "opset 9 cannot be written");
    epl_model_free(m);
}

TEST(weights_lie_beside_the_file_if_asked)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = model_of(t, ctx, "mlp:image=8,width=64");
    struct stat  file, data;
    CHECK_OK(t, ctx, epl_onnx_export(m, path_for(t, "external", ".onnx"), (epl_onnx_export_opts){ .external_data = true }));
    CHECK(t, stat(path_for(t, "external", ".onnx"), &file) == 0 && stat(path_for(t, "external", ".onnx.data"), &data) == 0);
    CHECK(t, file.st_size < 8192 && data.st_size > 4 * (64 * 64 + 64 * 64));
    epl_model *back = epl_onnx_load(ctx, path_for(t, "external", ".onnx"), (epl_onnx_opts){ 0 });
    CHECK_OK(t, ctx, back);
    CHECK(t, epl_tensor_equal(epl_weights_find(m->weights, "hidden1.weight"), epl_weights_find(back->weights, "hidden1.weight")));
    epl_model_free(back);
    epl_model_free(m);
}

TEST(memory_that_is_out_leaves_nothing_behind)
{
    for (int n = 0, done = 0; !done; n += 1 + n / 8) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_graph   *g = epl_zoo_build(ctx, "cnn:image=6,width=2,stages=1,depth=1");
        epl_model   *m = g ? epl_model_new_take(g) : NULL;
        done = m && epl_model_init(m, 1) && epl_onnx_export(m, test_temp(t, "m.onnx"), (epl_onnx_export_opts){ 0 });
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_model_free(m);
    }
}
