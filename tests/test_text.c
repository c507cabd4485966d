/* text: graphs printed and read back, errors of the reader, models in files. */
#include "common/check.h"

#include "graph/op.h"

static epl_graph *parse(epl_context *ctx, const char *text)
{
    return epl_graph_parse(ctx, text, strlen(text), "net.txt");
}

/* A text that the reader accepts prints to `expected`. */
static void check_prints(test *t, const char *text, const char *expected)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = parse(ctx, text);
    CHECK_OK(t, ctx, g);
    char *printed = epl_graph_print(g);
    CHECK_STR(t, printed, expected);
    epl_release(ctx, printed);
    epl_graph_free(g);
}

TEST(hand_written_text_is_normalised)
{
    check_prints(t,
                 "# a comment, with [ and \"\n"
                 "graph \"g\" { %in=Input(name=\"x\",shape=[N:2, 3], dtype = f32) %k = Constant(value=f32[3]{1,\n"
                 "  2, # one, two\n  3.5}) @a.b %s\n= Add(%in, %k) : f32[2,3] @\"odd name\"\n Output(%s,name=\"y\\\"\\n\\x01\")}",
                 "graph \"g\" {\n"
                 "  %0 = Input(name=\"x\", shape=[N:2, 3])\n"
                 "  %1 = Constant(value=f32[3]{1, 2, 3.5}) @a.b\n"
                 "  %2 = Add(%0, %1) : f32[2, 3] @\"odd name\"\n"
                 "  Output(%2, name=\"y\\\"\\n\\x01\")\n"
                 "}\n");
}

TEST(dimension_names_survive)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = parse(ctx, "graph \"g\" { %x = Input(name=\"x\", shape=[N:2, 3, T:5]) Output(%x) }");
    CHECK_OK(t, ctx, g && epl_graph_bind(g, "N", 7) && epl_graph_bind(g, "T", 4));
    CHECK(t, epl_shape_equal(epl_shape_of(epl_graph_input_at(g, 0)), EPL_SHAPE(7, 3, 4)));
    epl_graph_free(g);
}

/* Numbers of every type at the ends of their ranges. */
TEST(constants_keep_every_bit)
{
    check_prints(t,
                 "graph \"\" { %0 = Constant(value=u64[2]{18446744073709551615, 0}) %1 = Constant(value=i64[2]{"
                 "-9223372036854775808, 9223372036854775807}) %2 = Constant(value=f32[5]{0.1, -0, inf, -inf, 1e-45})"
                 "%3 = Constant(value=f64[1]{0.1}) %4 = Constant(value=f16[2]{0.099975586, 65504}) "
                 "%5 = Constant(value=bf16[1]{1.0078125}) %6 = Constant(value=bool[2]{1, 0}) %7 = Constant(value=f32[]{nan}) "
                 "%8 = Constant(value=i8[0, 4]{}) %9 = Constant(value=f32[1]{1e+30}) }",
                 "graph \"\" {\n"
                 "  %0 = Constant(value=u64[2]{18446744073709551615, 0})\n"
                 "  %1 = Constant(value=i64[2]{-9223372036854775808, 9223372036854775807})\n"
                 "  %2 = Constant(value=f32[5]{0.1, -0, inf, -inf, 1e-45})\n"
                 "  %3 = Constant(value=f64[1]{0.1})\n"
                 "  %4 = Constant(value=f16[2]{0.099975586, 65504})\n"
                 "  %5 = Constant(value=bf16[1]{1.0078125})\n"
                 "  %6 = Constant(value=bool[2]{1, 0})\n"
                 "  %7 = Constant(value=f32[]{nan})\n"
                 "  %8 = Constant(value=i8[0, 4]{})\n"
                 "  %9 = Constant(value=f32[1]{1e+30})\n"
                 "}\n");
}

/* One node of each operator of the table, drawn by the operator itself: printed, read, printed again. */
PROPERTY(every_operator_round_trips, epl_n_ops * 3)
{
    epl_context  *ctx = test_context(t);
    const epl_op *op = epl_op_at(t->index / 3);
    epl_graph    *g = epl_graph_new(ctx, op->name);
    if (!op->sample) {
        epl_graph_free(g);
        return;
    }
    epl_scope_push(g, "block%d", t->index % 3);
    const epl_node *n = op->sample(g, t->rng, EPL_F32);
    CHECK_OK(t, ctx, n);
    for (int i = 0; i < epl_node_n_outputs(n); i++)
        epl_output(g, "y", epl_node_output(n, i));
    CHECK_OK(t, ctx, epl_graph_finish(g));
    char      *text = epl_graph_print(g);
    epl_graph *again = parse(ctx, text);
    if (!again)
        FAIL(t, "%s: %s\n%s", op->name, epl_error_message(ctx), text);
    char *second = epl_graph_print(again);
    CHECK_STR(t, second, text);
    CHECK(t, epl_graph_hash(again) == epl_graph_hash(g));
    epl_release(ctx, text);
    epl_release(ctx, second);
    epl_graph_free(again);
    epl_graph_free(g);
}

/* What the reader says about texts that are wrong, one line each. */
TEST(error_sentences)
{
    static const char *const texts[] = {
        "",
        "grph \"g\" {}",
        "graph g {}",
        "graph \"g {}",
        "graph \"g\\q\" {}",
        "graph \"g\\x00\" {}",
        "graph \"g\" {",
        "graph \"g\" {} more",
        "graph \"g\" { %0 = Inptu(name=\"x\") }",
        "graph \"g\" { %0 = Input() }",
        "graph \"g\" { %0 = Input(name=\"x\", name=\"y\") }",
        "graph \"g\" { %0 = Input(name=\"x\", size=3) }",
        "graph \"g\" { %0 = Input(name=\"x\", dtype=f31) }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[1, -2]) }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[1, 2) }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[9223372036854775808]) }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[9223372036854775807, 9]) }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[1,1,1,1,1,1,1,1,1]) }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[2, 3])\n  Output(%1) }",
        "graph \"g\" { %0 = Input(name=\"x\")\n  %0 = Input(name=\"y\") }",
        "graph \"g\" { %0, %1 = Input(name=\"x\") }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[2, 3])\n  %1 = Relu(%0) : f32[2, 4] }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[2, 3])\n  %1 = Relu(%0) : f64[2, 3] }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[2, 3])\n  %1 = Relu(%0) : f32[2, 3], f32[2, 3] }",
        "graph \"g\" { %0 = Input(name=\"x\")\n  %1 = Add(%0) }",
        "graph \"g\" { %0 = Input(name=\"x\")\n  %1 = Add(%0, _) }",
        "graph \"g\" { %0 = Input(name=\"x\")\n  %1 = Relu(%0, %0) }",
        "graph \"g\" { %0 = Input(name=\"x\") {} }",
        "graph \"g\" { %0 = Input(name=\"x\", shape=[2])\n  %1 = Input(name=\"y\", shape=[3])\n  %2 = Add(%0, %1) @a.b }",
        "graph \"g\" { %0 = Constant(value=f32[2]{1}) }",
        "graph \"g\" { %0 = Constant(value=f32[1000000000000]{1}) }",
        "graph \"g\" { %0 = Constant(value=f32[1]{x}) }",
        "graph \"g\" { %0 = Constant(value=f32[1]{0x10}) }",
        "graph \"g\" { %0 = Constant(value=i8[1]{200}) }",
        "graph \"g\" { %0 = Constant(value=u64[1]{-1}) }",
        "graph \"g\" { %0 = Parameter(name=\"w\", init=random) }",
        "graph \"g\" { %0 = Parameter(name=\"w\", %0) }",
        "graph \"g\" { ! }",
        "graph \"g\" { \xff }",
    };
    epl_context *ctx = test_context(t);
    epl_text     all = EPL_TEXT(ctx);
    for (size_t i = 0; i < EPL_COUNT(texts); i++) {
        epl_graph *g = parse(ctx, texts[i]);
        if (g)
            FAIL(t, "accepted: %s", texts[i]);
        char shown[256] = "";
        for (const char *s = texts[i]; *s; s++) // the file stays plain text
            snprintf(shown + strlen(shown), sizeof shown - strlen(shown), *s == '\n' ? "\\n" : (unsigned char)*s > 126 ? "?" : "%c", *s);
        epl_text_addf(&all, "%s\n    %s\n", shown, epl_error_message(ctx));
        epl_error_clear(ctx);
    }
    CHECK_GOLDEN(t, "graph_text_errors.txt", epl_text_str(&all));
    epl_text_release(&all);
}

/* Every beginning of a text is refused or read, never more. */
TEST(truncated_texts_are_refused)
{
    static const char text[] = "graph \"g\" {\n  %0 = Input(name=\"x\", shape=[N:2, 3])\n  %1 = Constant(value=f32[3]{1, 2, 3})\n"
                               "  %2 = Add(%0, %1) : f32[2, 3] @a.b\n  Output(%2, name=\"y\")\n}";
    epl_context *ctx = test_context(t);
    for (size_t n = 0; n < sizeof text - 1; n++) {
        char *exact = malloc(n ? n : 1); // so that a sanitizer sees a step too far
        memcpy(exact, text, n);
        CHECK_FAILS(t, ctx, epl_graph_parse(ctx, exact, n, "cut"), EPL_ERR_FORMAT, "cut:");
        free(exact);
    }
}

TEST(deep_regions_are_refused)
{
    epl_context *ctx = test_context(t);
    epl_text     deep = EPL_TEXT(ctx);
    epl_text_add(&deep, "graph \"g\" {");
    for (int i = 0; i < 100; i++)
        epl_text_add(&deep, " %c = Input(name=\"c\", dtype=bool) %y = If(%c) {");
    CHECK_FAILS(t, ctx, parse(ctx, epl_text_str(&deep)), EPL_ERR_FORMAT, "deeper than 64");
    epl_text_release(&deep);
}

TEST(no_failed_allocation_is_missed)
{
    static const char text[] = "graph \"g\" { %0 = Input(name=\"x\", shape=[N:2, 3]) %1 = Constant(value=f32[3]{1, 2, 3}) "
                               "%2 = Add(%0, %1) @a.b Output(%2, name=\"y\") }";
    for (int n = 0, done = 0; !done; n++) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_graph   *g = parse(ctx, text);
        done = g != NULL;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_graph_free(g);
        CHECK_INT(t, test_live_bytes(ctx), 0);
    }
}

/* A graph with regions, written by hand, as the printer writes it. */
TEST(regions_print)
{
    epl_context *ctx = test_context(t);
    char        *text = test_read_file(t, EPL_SOURCE_DIR "/fuzz/seeds/graph_text/regions.txt", NULL);
    epl_graph   *g = parse(ctx, text);
    CHECK_OK(t, ctx, g);
    char *printed = epl_graph_print(g);
    CHECK_GOLDEN(t, "graph_regions.txt", printed);
    epl_graph *again = parse(ctx, printed);
    CHECK_OK(t, ctx, again);
    char *second = epl_graph_print(again);
    CHECK_STR(t, second, printed);
    epl_release(ctx, printed);
    epl_release(ctx, second);
    epl_graph_free(again);
    epl_graph_free(g);
    free(text);
}

/* A scope whose name holds dots is left whole. */
TEST(scopes_are_left_as_they_were_entered)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "scopes");
    epl_scope_push(g, "stage1.unit%d", 1);
    epl_scope_push(g, "conv");
    CHECK_STR(t, epl_scope(g), "stage1.unit1.conv");
    epl_scope_pop(g);
    CHECK_STR(t, epl_scope(g), "stage1.unit1");
    epl_scope_pop(g);
    CHECK_STR(t, epl_scope(g), "");
    epl_graph_free(g);
}
