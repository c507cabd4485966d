/* onnx: what the importer refuses and how it says so, where weights lie, external data, and transposes around convolutions. The
 * operators themselves are held to the ONNX project's tests by `conformance`. Files are written here, field by field. */
#include "common/check.h"

#include <espalier/onnx.h>

#include "graph/op.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a writer of messages ---- */
typedef struct message {
    unsigned char *data;
    size_t         length, capacity;
} message;

static void put(message *m, const void *data, size_t n)
{
    if (m->length + n > m->capacity) {
        m->capacity = 2 * m->capacity + n + 64;
        m->data = realloc(m->data, m->capacity);
    }
    if (n)
        memcpy(m->data + m->length, data, n);
    m->length += n;
}

static void put_varint(message *m, uint64_t x)
{
    do {
        const unsigned char c = (unsigned char)((x & 127) | (x > 127 ? 128 : 0));
        put(m, &c, 1);
        x >>= 7;
    } while (x);
}

static void put_int(message *m, unsigned field, int64_t x)
{
    put_varint(m, field << 3);
    put_varint(m, (uint64_t)x);
}

static void put_bytes(message *m, unsigned field, const void *data, size_t n)
{
    put_varint(m, field << 3 | 2);
    put_varint(m, n);
    put(m, data, n);
}

static void put_text(message *m, unsigned field, const char *s) { put_bytes(m, field, s, strlen(s)); }

static void put_take(message *m, unsigned field, message inner)
{
    put_bytes(m, field, inner.data, inner.length);
    free(inner.data);
}

static message tensor_of(const char *name, int type, int n_dims, const int64_t *dims, const void *raw, size_t bytes)
{
    message t = { 0 };
    for (int i = 0; i < n_dims; i++)
        put_int(&t, 1, dims[i]);
    put_int(&t, 2, type);
    put_text(&t, 8, name);
    if (raw)
        put_bytes(&t, 9, raw, bytes);
    return t;
}

static message value_info(const char *name, int n_dims, const int64_t *dims)
{
    message shape = { 0 }, tensor = { 0 }, type = { 0 }, value = { 0 };
    for (int i = 0; i < n_dims; i++) {
        message d = { 0 };
        if (dims[i] >= 0)
            put_int(&d, 1, dims[i]);
        else
            put_text(&d, 2, "batch");
        put_take(&shape, 1, d);
    }
    put_int(&tensor, 1, 1);
    put_take(&tensor, 2, shape);
    put_take(&type, 1, tensor);
    put_text(&value, 1, name);
    put_take(&value, 2, type);
    return value;
}

static message node_of(const char *op, const char *name, int n_in, const char *const *in, const char *out)
{
    message n = { 0 };
    for (int i = 0; i < n_in; i++)
        put_text(&n, 1, in[i]);
    put_text(&n, 2, out);
    put_text(&n, 3, name);
    put_text(&n, 4, op);
    return n;
}

static void put_attribute(message *node, const char *name, int64_t x)
{
    message a = { 0 };
    put_text(&a, 1, name);
    put_int(&a, 3, x);
    put_int(&a, 20, 2);
    put_take(node, 5, a);
}

static message model_of(message graph, int64_t opset)
{
    message m = { 0 }, id = { 0 };
    put_int(&m, 1, 8);
    put_int(&id, 2, opset);
    put_take(&m, 8, id);
    put_take(&m, 7, graph);
    return m;
}

#define NAMES(...) (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)), (const char *[]){ __VA_ARGS__ }
#define DIMS(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }

/* x -> Conv -> Relu -> (+ bias) -> Conv -> y, channels first. */
static message small_network(void)
{
    float   w[3 * 3 * 9];
    message g = { 0 };
    for (size_t i = 0; i < EPL_COUNT(w); i++)
        w[i] = (float)i / 81 - 0.5f;
    put_take(&g, 1, node_of("Conv", "one", NAMES("x", "w"), "a"));
    put_take(&g, 1, node_of("Relu", "two", NAMES("a"), "b"));
    put_take(&g, 1, node_of("Add", "three", NAMES("b", "bias"), "c"));
    put_take(&g, 1, node_of("Conv", "four", NAMES("c", "w2"), "y"));
    put_text(&g, 2, "small");
    put_take(&g, 5, tensor_of("w", 1, DIMS(3, 3, 3, 3), w, sizeof w));
    put_take(&g, 5, tensor_of("w2", 1, DIMS(3, 3, 3, 3), w, sizeof w));
    put_take(&g, 5, tensor_of("bias", 1, DIMS(3, 1, 1), w, 12));
    put_take(&g, 11, value_info("x", DIMS(-1, 3, 8, 8)));
    put_take(&g, 12, value_info("y", 0, NULL));
    return model_of(g, 13);
}

static int count_op(const epl_graph *g, const epl_op *op)
{
    int n = 0;
    for (const epl_node *k = g->first; k; k = k->next)
        n += k->op == op;
    return n;
}

TEST(transposes_stay_at_the_ends)
{
    epl_context *ctx = test_context(t);
    message      file = small_network();
    epl_model   *m = epl_onnx_parse(ctx, file.data, file.length, "small.onnx", (epl_onnx_opts){ .dims = "batch=2" });
    CHECK_OK(t, ctx, m && epl_model_check(m));
    CHECK_INT(t, count_op(m->graph, &epl_op_transpose), 2);
    CHECK(t, EPL_IS(epl_graph_output_at(m->graph, 0)->producer, transpose));
    CHECK(t, epl_shape_equal(epl_shape_of(epl_graph_output_at(m->graph, 0)), EPL_SHAPE(2, 3, 4, 4)));
    CHECK_OK(t, ctx, epl_graph_bind(m->graph, "batch", 5));
    CHECK(t, epl_shape_equal(epl_shape_of(epl_graph_output_at(m->graph, 0)), EPL_SHAPE(5, 3, 4, 4)));
    CHECK_STR(t, epl_onnx_fixed_inputs(m), "");
    epl_model_free(m);
    free(file.data);
}

/* ---- what is refused ---- */
static message one_node(message node, int64_t opset)
{
    message g = { 0 };
    put_take(&g, 1, node);
    put_take(&g, 11, value_info("x", DIMS(2, 3)));
    put_take(&g, 12, value_info("y", 0, NULL));
    return model_of(g, opset);
}

static void check_refused(test *t, message file, epl_error code, const char *words)
{
    epl_context *ctx = test_context(t);
    CHECK_FAILS(t, ctx, epl_onnx_parse(ctx, file.data, file.length, "m.onnx", (epl_onnx_opts){ 0 }), code, words);
    CHECK_INT(t, test_live_bytes(ctx), 0);
    free(file.data);
}

TEST(refusals_name_operator_node_and_opset)
{
    message odd = node_of("Relu", "act", NAMES("x"), "y"), graph = { 0 };
    put_attribute(&odd, "slope", 3);
    check_refused(t, one_node(odd, 13), EPL_ERR_UNSUPPORTED, "m.onnx: Relu 'act' (opset 13): its attribute 'slope' is not known");
    check_refused(t, one_node(node_of("Frobnicate", "f", NAMES("x"), "y"), 13), EPL_ERR_UNSUPPORTED,
                  "m.onnx: Frobnicate 'f' (opset 13): this operator is not known");
    check_refused(t, one_node(node_of("Relu", "act", NAMES("x", "x"), "y"), 13), EPL_ERR_UNSUPPORTED,
                  "Relu 'act' (opset 13): its input 1 is not known");
    check_refused(t, one_node(node_of("Relu", "act", NAMES("z"), "y"), 13), EPL_ERR_FORMAT,
                  "Relu 'act' (opset 13): input 0, 'z', is not defined before this node");
    check_refused(t, one_node(node_of("Relu", "act", NAMES("x"), "x"), 13), EPL_ERR_FORMAT, "the name 'x' is defined twice");
    check_refused(t, one_node(node_of("Relu", "act", NAMES("x"), "z"), 13), EPL_ERR_FORMAT, "the graph's result 'y' is not computed");
    check_refused(t, one_node(node_of("Relu", "act", NAMES("x"), "y"), 99), EPL_ERR_UNSUPPORTED, "m.onnx: opset 99; this library knows");
    check_refused(t, one_node(node_of("Reshape", "r", NAMES("x", "x"), "y"), 13), EPL_ERR_UNSUPPORTED,
                  "Reshape 'r' (opset 13): shape ('x') must be known when the network is imported");
    put_take(&graph, 5, tensor_of("w", 1, DIMS(2, 2), "12345678", 8));
    put_take(&graph, 1, node_of("Relu", "act", NAMES("w"), "y"));
    put_take(&graph, 12, value_info("y", 0, NULL));
    check_refused(t, model_of(graph, 13), EPL_ERR_FORMAT, "tensor 'w' is f32[2, 2] but holds 8 bytes");
}

/* Types narrower than ours: what they are held as has exactly their numbers, and an operator that would not know is refused. */
TEST(narrow_types_are_held_exactly)
{
    static const struct {
        int         type, n;
        const char *raw;
        epl_dtype   held;
        double      values[6];
    } cases[] = {
        { 22, 6, "\x8f\x70\x21", EPL_I8, { -1, -8, 0, 7, 1, 2 } },                    // int4, the first in the low half
        { 21, 3, "\x8f\x07", EPL_U8, { 15, 8, 7 } },                                 // uint4
        { 26, 4, "\xe4", EPL_I8, { 0, 1, -2, -1 } },                                 // int2
        { 17, 5, "\x38\xfe\x01\x7f\x08", EPL_F32, { 1, -448, 0x1p-9, NAN, 0x1p-6 } }, // float8e4m3fn
        { 19, 4, "\x3c\x7c\xfb\x01", EPL_F32, { 1, INFINITY, -57344, 0x1p-16 } },     // float8e5m2
        { 23, 4, "\xf7\x21", EPL_F32, { 6, -6, 0.5, 1 } },                           // float4e2m1
    };
    for (size_t k = 0; k < EPL_COUNT(cases); k++) {
        message      graph = { 0 };
        epl_context *ctx = test_context(t);
        put_take(&graph, 5, tensor_of("w", cases[k].type, DIMS(cases[k].n), cases[k].raw, strlen(cases[k].raw)));
        put_take(&graph, 1, node_of("Identity", "same", NAMES("w"), "y"));
        put_take(&graph, 12, value_info("y", 0, NULL));
        message     file = model_of(graph, 24);
        epl_model  *m = epl_onnx_parse(ctx, file.data, file.length, "m.onnx", (epl_onnx_opts){ 0 });
        epl_tensor *y = NULL;
        CHECK_OK(t, ctx, m && epl_interpret(m->graph, m->weights, NULL, &y));
        CHECK_INT(t, y->dtype, cases[k].held);
        for (int i = 0; i < cases[k].n; i++)
            CHECK(t, epl_tensor_get(y, i) == cases[k].values[i] || (isnan(cases[k].values[i]) && isnan(epl_tensor_get(y, i))));
        epl_tensor_free(y);
        epl_model_free(m);
        free(file.data);
    }
    message graph = { 0 };
    put_take(&graph, 5, tensor_of("w", 22, DIMS(2), "\x12", 1));
    put_take(&graph, 1, node_of("Add", "sum", NAMES("w", "w"), "y"));
    put_take(&graph, 12, value_info("y", 0, NULL));
    check_refused(t, model_of(graph, 24), EPL_ERR_UNSUPPORTED, "m.onnx: Add 'sum' (opset 24): its input 0 has elements of type int4");
    message shorter = { 0 };
    put_take(&shorter, 5, tensor_of("w", 22, DIMS(5), "\x12\x34", 2));
    put_take(&shorter, 1, node_of("Identity", "same", NAMES("w"), "y"));
    put_take(&shorter, 12, value_info("y", 0, NULL));
    check_refused(t, model_of(shorter, 24), EPL_ERR_FORMAT, "but holds 2 bytes");
}

/* A file of a hundred bytes that claims much: refused before anything of that size is asked for. */
TEST(claimed_sizes_allocate_nothing)
{
    message graph = { 0 }, cut = { 0 };
    put_take(&graph, 5, tensor_of("w", 1, DIMS(1 << 15, 1 << 14), "1234", 4));
    put_take(&graph, 1, node_of("Relu", "act", NAMES("w"), "y"));
    put_take(&graph, 12, value_info("y", 0, NULL));
    message file = model_of(graph, 13);
    epl_context *ctx = test_context(t);
    CHECK_FAILS(t, ctx, epl_onnx_parse(ctx, file.data, file.length, "m.onnx", (epl_onnx_opts){ 0 }), EPL_ERR_FORMAT,
                "tensor 'w' claims the shape [32768, 16384]");
    CHECK(t, test_peak_bytes(ctx) < 100000);
    free(file.data);
    put_varint(&cut, 7 << 3 | 2);
    put_varint(&cut, 2000000000);
    CHECK_FAILS(t, ctx, epl_onnx_parse(ctx, cut.data, cut.length, "m.onnx", (epl_onnx_opts){ 0 }), EPL_ERR_FORMAT,
                "m.onnx: not an ONNX file, or a damaged one: byte 0: a length that goes beyond its message");
    CHECK(t, test_peak_bytes(ctx) < 100000);
    free(cut.data);
}

/* The inputs and results of a sub-graph without names. */
TEST(names_may_be_missing)
{
    message body = { 0 }, attribute = { 0 }, node = node_of("Scan", "s", NAMES("x"), "y");
    put_bytes(&body, 11, "", 0);
    put_bytes(&body, 12, "", 0);
    put_text(&attribute, 1, "body");
    put_take(&attribute, 6, body);
    put_int(&attribute, 20, 5);
    put_take(&node, 5, attribute);
    put_attribute(&node, "num_scan_inputs", 1);
    check_refused(t, one_node(node, 13), EPL_ERR_UNSUPPORTED, "m.onnx: Scan 's' (opset 13)");
    message g = { 0 }, nameless = { 0 }; // a node without an operator that reads what the sizes follow from
    put_take(&g, 1, node_of("NonZero", "n", NAMES("x"), "z"));
    put_text(&nameless, 1, "z");
    put_text(&nameless, 2, "y");
    put_take(&g, 1, nameless);
    put_take(&g, 11, value_info("x", DIMS(2, 3)));
    put_take(&g, 12, value_info("y", 0, NULL));
    check_refused(t, model_of(g, 13), EPL_ERR_UNSUPPORTED, "m.onnx: NonZero 'n' (opset 13)");
}

/* 20 000 graphs within graphs. */
TEST(nesting_is_bounded)
{
    message inner = { 0 };
    for (int i = 0; i < 20000; i++) {
        message a = { 0 }, n = { 0 }, g = { 0 };
        put_take(&a, 6, inner);
        put_take(&n, 5, a);
        put_take(&g, 1, n);
        inner = g;
        if (inner.length > 400000)
            break;
    }
    check_refused(t, model_of(inner, 13), EPL_ERR_FORMAT, "messages nested deeper than 64");
}

TEST(messages_that_stand_once_stand_once)
{
    message m = small_network(), g = { 0 };
    put_take(&m, 7, g);
    check_refused(t, m, EPL_ERR_FORMAT, "a message that stands twice");
}

TEST(truncated_models_are_refused)
{
    message whole = small_network();
    epl_context *ctx = test_context(t);
    for (size_t n = 0; n < whole.length; n++) {
        unsigned char *exact = malloc(n ? n : 1);
        memcpy(exact, whole.data, n);
        epl_model *m = epl_onnx_parse(ctx, exact, n, "cut.onnx", (epl_onnx_opts){ 0 });
        CHECK(t, !m && epl_error_code(ctx) != EPL_OK);
        epl_error_clear(ctx);
        free(exact);
    }
    free(whole.data);
}

/* One byte changed at a time: read or refused, nothing else. */
PROPERTY(changed_models_do_no_harm, 2000)
{
    message file = small_network();
    for (uint64_t k = 1 + epl_rng_below(t->rng, 3); k; k--)
        file.data[epl_rng_below(t->rng, file.length)] = (unsigned char)epl_rng_u32(t->rng);
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_onnx_parse(ctx, file.data, file.length, "changed.onnx", (epl_onnx_opts){ 0 });
    CHECK(t, m || epl_error_code(ctx) != EPL_OK);
    epl_model_free(m);
    free(file.data);
}

TEST(no_failed_allocation_is_missed)
{
    message file = small_network();
    for (int n = 0, done = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_model   *m = epl_onnx_parse(ctx, file.data, file.length, "small.onnx", (epl_onnx_opts){ 0 });
        done = m != NULL;
        CHECK(t, done || epl_error_code(ctx) != EPL_OK);
        epl_model_free(m);
        CHECK_INT(t, test_live_bytes(ctx), 0);
    }
    free(file.data);
}

/* ---- where weights lie ---- */
static message large_model(size_t elements, const char *pad)
{
    message g = { 0 };
    float  *w = calloc(elements, sizeof *w);
    w[elements - 1] = 5;
    put_text(&g, 2, pad);
    put_take(&g, 1, node_of("Mul", "scale", NAMES("x", "w"), "y"));
    put_take(&g, 5, tensor_of("w", 1, DIMS((int64_t)elements), w, elements * sizeof *w));
    put_take(&g, 11, value_info("x", 0, NULL));
    put_take(&g, 12, value_info("y", 0, NULL));
    free(w);
    return model_of(g, 13);
}

/* The weights are held at most once beside the mapped file; where the file aligns them, not at all. */
TEST(large_weights_are_not_copied_twice)
{
    static const char *const pads[] = { "", "1", "12", "123" };
    const size_t elements = 1 << 22;
    const char  *path = test_temp(t, "large.onnx");
    int          mapped = 0;
    for (size_t i = 0; i < EPL_COUNT(pads); i++) {
        epl_context *ctx = test_context(t);
        message      file = large_model(elements, pads[i]);
        CHECK_OK(t, ctx, epl_write_file(ctx, path, file.data, file.length));
        const size_t before = test_peak_bytes(ctx);
        epl_model   *m = epl_onnx_load(ctx, path, (epl_onnx_opts){ 0 });
        CHECK_OK(t, ctx, m);
        CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "w"), (int64_t)elements - 1), 5, .atol = 0);
        CHECK(t, test_peak_bytes(ctx) < before + file.length + file.length / 10);
        mapped += test_peak_bytes(ctx) < before + file.length / 10;
        epl_model_free(m);
        free(file.data);
    }
    CHECK_INT(t, mapped, 1);
}

static message external_model(const char *location, const char *length)
{
    message g = { 0 }, w = tensor_of("w", 1, DIMS(3), NULL, 0);
    const char *const pairs[][2] = { { "location", location }, { "offset", "4" }, { "length", length } };
    for (size_t i = 0; i < EPL_COUNT(pairs); i++) {
        message p = { 0 };
        put_text(&p, 1, pairs[i][0]);
        put_text(&p, 2, pairs[i][1]);
        put_take(&w, 13, p);
    }
    put_int(&w, 14, 1);
    put_take(&g, 5, w);
    put_take(&g, 1, node_of("Mul", "scale", NAMES("x", "w"), "y"));
    put_take(&g, 11, value_info("x", 0, NULL));
    put_take(&g, 12, value_info("y", 0, NULL));
    return model_of(g, 13);
}

TEST(external_data_stay_in_the_folder)
{
    static const float   values[] = { 0, 1, 2, 3 };
    static const struct {
        const char *location, *length, *words;
        epl_error   code;
    } bad[] = {
        { "../outside.bin", "12", "is outside of the model's folder", EPL_ERR_FORMAT },
        { "link.bin", "12", "is outside of the model's folder", EPL_ERR_FORMAT },
        { "/w.bin", "12", "Mul 'scale' (opset 13): external data '/w.bin' is outside of the model's folder", EPL_ERR_FORMAT },
        { "", "12", "tensor 'w' does not say where its data are", EPL_ERR_FORMAT },
        { "none.bin", "12", "'none.bin' is missing", EPL_ERR_IO },
        { "w.bin", "13", "tensor 'w' reaches beyond the 16 bytes", EPL_ERR_FORMAT },
        { "w.bin", "8", "tensor 'w' is f32[3] but holds 8 bytes", EPL_ERR_FORMAT },
        { "w.bin", "x", "tensor 'w' reaches beyond", EPL_ERR_FORMAT },
    };
    epl_context *ctx = test_context(t);
    char         folder[512], path[600], data[600], outside[600], link[600];
    snprintf(folder, sizeof folder, "%s", test_temp(t, "model"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, folder));
    snprintf(path, sizeof path, "%s/m.onnx", folder);
    snprintf(data, sizeof data, "%s/w.bin", folder);
    snprintf(link, sizeof link, "%s/link.bin", folder);
    snprintf(outside, sizeof outside, "%s", test_temp(t, "outside.bin"));
    CHECK_OK(t, ctx, epl_write_file(ctx, data, values, sizeof values) && epl_write_file(ctx, outside, values, sizeof values));
    unlink(link);
    CHECK_INT(t, symlink(outside, link), 0);
    message good = external_model("w.bin", "12");
    CHECK_OK(t, ctx, epl_write_file(ctx, path, good.data, good.length));
    epl_model *m = epl_onnx_load(ctx, path, (epl_onnx_opts){ 0 });
    CHECK_OK(t, ctx, m);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(m->weights, "w"), 2), 3, .atol = 0);
    epl_model_free(m);
    CHECK_FAILS(t, ctx, epl_onnx_parse(ctx, good.data, good.length, "m", (epl_onnx_opts){ 0 }), EPL_ERR_UNSUPPORTED,
                "of a model in memory");
    free(good.data);
    for (size_t i = 0; i < EPL_COUNT(bad); i++) {
        message file = external_model(bad[i].location, bad[i].length);
        CHECK_OK(t, ctx, epl_write_file(ctx, path, file.data, file.length));
        CHECK_FAILS(t, ctx, epl_onnx_load(ctx, path, (epl_onnx_opts){ 0 }), bad[i].code, bad[i].words);
        free(file.data);
    }
    unlink(link);
    unlink(data);
    unlink(path);
    rmdir(folder);
}
