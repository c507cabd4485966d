/* Dynamic networks compiled, cut into parts, and checked path by path. */
#include "common/compiled.h"

#include <espalier/ops.h>
#include <espalier/passes.h>
#include <espalier/zoo.h>

#include "graph/op.h"

static epl_model *small(test *t, epl_context *ctx, const char *description)
{
    epl_graph *g = epl_zoo_build(ctx, description);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    return m;
}

/* Every combination of choices against reference kernels, then against the library's kernels to the bit. */
TEST(forced_paths_equal_the_interpreter)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small(t, ctx, "skipnet-ff:depth=8,width=4,image=8");
    epl_paths   *p = epl_check_paths(m, (epl_paths_opts){ .dir = test_temp(t, "paths"),
                                                          .cc = compiled_cc("gcc"),
                                                          .flags = "-Werror",
                                                          .n_samples = 9 });
    CHECK_OK(t, ctx, p);
    CHECK_INT(t, p->n_regions, 6);
    CHECK_INT(t, p->n_reached, 6);
    CHECK_INT(t, p->n_forced, 8);
    CHECK(t, p->n_compared >= 8 + 4 && p->max_abs <= 1e-5);
    CHECK_INT(t, p->labels_different, 0);
    int64_t samples = 0;
    for (size_t i = 0; i < p->n_paths; i++)
        samples += p->paths[i].samples;
    CHECK_INT(t, samples, 9);
    enum { RUNS = 8 };
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(RUNS, 8, 8, 3)), *force = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(RUNS, 3));
    epl_rng     r = epl_rng_at(1, 1);
    epl_tensor_draw(x, &r);
    for (int i = 0; i < 3 * RUNS; i++)
        epl_tensor_set_i64(force, i, i / 3 >> i % 3 & 1);
    const epl_tensor *const inputs[] = { x, force };
    const epl_verify_result v = compiled_check(t, p->model, (epl_compile_opts){ 0 },
                                               (epl_verify_opts){ .n_inputs = 2, .inputs = inputs }, NULL);
    CHECK_INT(t, v.n_samples, RUNS);
    CHECK_INT(t, v.outputs[0].n_different, 0);
    epl_tensor_free(x);
    epl_tensor_free(force);
    epl_paths_free(p);
    epl_model_free(m);
}

TEST(thresholds_decide_how_far_samples_go)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small(t, ctx, "blockdrop:depth=8,width=4,image=8,policy_width=4");
    for (int all = 0; all < 2; all++) {
        for (int i = 0; i < epl_weights_count(m->weights); i++)
            if (epl_glob("*.threshold", epl_weights_name(m->weights, i)))
                epl_tensor_set(epl_weights_at(m->weights, i), 0, all ? 0 : 2);
        epl_paths *p = epl_check_paths(m, (epl_paths_opts){ .n_samples = 5 });
        CHECK_OK(t, ctx, p);
        CHECK_INT(t, p->n_covered, 3);
        for (int i = 0; i < p->n_regions; i++)
            CHECK_INT(t, p->runs[i], epl_program_region(p->program, i).region == !all ? 5 : 0);
        CHECK(t, all == (p->expected_macs > 50e3));
        epl_paths_free(p);
    }
    epl_model_free(m);
}

/* At most 5 times c := tanh(c w), scanned, while the largest is above 0.3; of another loop nobody can say how often it runs. */
static epl_graph *ending_loop(epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "ending");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(6), NULL),
              *w = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(6), EPL_INIT_CONSTANT, 0.9);
    for (int fixed = 0; fixed < 2; fixed++) {
        epl_graph *body = epl_region_new(g);
        epl_value *out[3] = { NULL };
        epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL);
        epl_value *go = epl_input(body, "go", EPL_BOOL, EPL_SCALAR, NULL), *c = epl_input(body, "c", EPL_F32, EPL_SHAPE(6), NULL);
        epl_value *next = epl_tanh(body, epl_mul(body, c, epl_input(body, "w", EPL_F32, EPL_SHAPE(6), NULL)));
        epl_output(body, "go",
                   fixed ? go
                         : epl_greater(body, epl_reduce_max(body, next, (epl_reduce_opts){ 0 }),
                                       epl_scalar(body, EPL_F32, 0.3)));
        epl_output(body, "c", next);
        epl_output(body, "scan", c);
        epl_loop(g, 5, NULL, 1, &x, body, 1, &w, out);
        x = out[0];
        epl_output(g, "scan", out[1]);
        epl_output(g, "n", out[2]);
    }
    epl_output(g, "y", x);
    return g;
}

TEST(loops_are_forced_not_to_begin_to_end_at_once_and_to_go_on)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(ending_loop(ctx));
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    for (int64_t most = 1; most <= 64; most += 63) { // alone, and in all combinations
        epl_paths *p = epl_check_paths(m, (epl_paths_opts){ .dir = test_temp(t, "loops"),
                                                            .cc = compiled_cc("gcc"),
                                                            .flags = "-Werror",
                                                            .n_samples = 3,
                                                            .most = most,
                                                            .compile = { .unroll = -1 } });
        CHECK_OK(t, ctx, p);
        CHECK_INT(t, p->n_forced, 3);
        static const char *const names[] = { "x0 x5", "x1 x5", "x5 x5" };
        for (size_t i = 0; i < EPL_COUNT(names); i++) {
            int64_t forced = 0;
            for (size_t k = 0; k < p->n_paths; k++)
                forced += strcmp(p->paths[k].name, names[i]) == 0 ? p->paths[k].forced : 0;
            CHECK_INT(t, forced, 1);
        }
        CHECK(t, p->n_compared >= 4 && p->max_abs <= 1e-5);
        epl_paths_free(p);
    }
    epl_model_free(m);
}

/* ---- what is written ---- */

/* If(cond) conv(x, w) else relu(conv(x, w)): one weight. */
static epl_graph *shared_weight(epl_context *ctx, int convolutions)
{
    epl_graph *g = epl_graph_new(ctx, "shared"), *regions[2];
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 6, 6, 16), NULL), *y = NULL;
    for (int k = 0; k < 2; k++) {
        epl_graph *q = regions[k] = epl_region_new(g);
        epl_value *in = epl_input(q, "x", EPL_F32, EPL_SHAPE(1, 6, 6, 16), NULL);
        if (k < convolutions)
            in = epl_convolve(q, in, epl_parameter(q, "/w", EPL_F32, EPL_SHAPE(3, 3, 16, 16), EPL_INIT_NORMAL, 0.1),
                              NULL, (epl_convolve_opts){ .pad = 1 });
        epl_output(q, "y", k ? epl_relu(q, in) : in);
    }
    epl_if(g, epl_input(g, "cond", EPL_BOOL, EPL_SCALAR, NULL), regions[0], regions[1], 1, &x, &y);
    epl_output(g, "y", y);
    return g;
}

TEST(weights_appear_once)
{
    epl_context *ctx = test_context(t);
    size_t       bytes[2];
    for (int k = 0; k < 2; k++) {
        epl_model   *m = epl_model_new_take(shared_weight(ctx, 1 + k));
        epl_artifact a;
        CHECK_OK(t, ctx, m && epl_model_init(m, 1) && epl_compile(m, test_temp(t, "shared"), (epl_compile_opts){ 0 }, &a));
        bytes[k] = a.weights;
        epl_model_free(m);
    }
    CHECK_INT(t, bytes[1], bytes[0]);
}

TEST(loops_without_a_limit_are_given_one)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = epl_graph_new(ctx, "endless"), *body = epl_region_new(g);
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL), *out[2] = { NULL };
    epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_input(body, "go", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *c = epl_input(body, "c", EPL_F32, EPL_SHAPE(4), NULL);
    epl_output(body, "go", epl_less(body, epl_reduce_sum(body, c, (epl_reduce_opts){ 0 }), epl_scalar(body, EPL_F32, 100)));
    epl_output(body, "c", epl_add(body, c, epl_exp(body, c)));
    epl_loop(g, EPL_LOOP_UNLIMITED, NULL, 1, &x, body, 0, NULL, out);
    epl_output(g, "y", out[0]);
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    CHECK_FAILS(t, ctx, epl_compile(m, test_temp(t, "endless"), (epl_compile_opts){ 0 }, NULL), EPL_ERR_ARGUMENT,
                "Loop has no limit to its iterations: say one with --max-trip (max_trip)");
    CHECK_OK(t, ctx, epl_compile(m, test_temp(t, "endless"), (epl_compile_opts){ .max_trip = 50 }, NULL));
    epl_model_free(m);
}

/* ---- parts ---- */

/* a = f(x), t = g(a); if t > 0 then y = h(a) else y = x. */
static epl_graph *liveness_example(epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "liveness"), *yes = epl_region_new(g), *no = epl_region_new(g);
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4), NULL), *w = epl_parameter(g, "w", EPL_F32, EPL_SHAPE(4), EPL_INIT_NORMAL, 1);
    epl_value *a = epl_exp(g, epl_mul(g, x, w)), *y = NULL;
    epl_value *s = epl_reduce_sum(g, epl_sub(g, a, epl_scalar(g, EPL_F32, 1)), (epl_reduce_opts){ 0 }), *in[] = { a, x };
    epl_output(yes, "y", epl_tanh(yes, epl_input(yes, "a", EPL_F32, EPL_SHAPE(4), NULL)));
    epl_input(yes, "x", EPL_F32, EPL_SHAPE(4), NULL);
    epl_input(no, "a", EPL_F32, EPL_SHAPE(4), NULL);
    epl_output(no, "y", epl_input(no, "x", EPL_F32, EPL_SHAPE(4), NULL));
    epl_if(g, epl_greater(g, s, epl_scalar(g, EPL_F32, 0)), yes, no, 2, in, &y);
    epl_output(g, "y", y);
    return g;
}

static const char *path_in(test *t, const char *dir, const char *file)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", test_temp(t, dir), file);
    return path;
}

TEST(parts_take_and_give_what_is_live)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(liveness_example(ctx));
    epl_partition_result r;
    CHECK_OK(t, ctx, m && epl_model_init(m, 1) && epl_partition(m, test_temp(t, "parts"), (epl_partition_opts){ 0 }, &r));
    CHECK_INT(t, r.networks, 2);
    CHECK_INT(t, r.choices, 1);
    CHECK_INT(t, r.loops, 0);
    char *host = test_read_file(t, path_in(t, "parts", "host.txt"), NULL);
    CHECK_GOLDEN(t, "partition_host.txt", host);
    free(host);
    epl_model *a = epl_model_load(ctx, path_in(t, "parts", "network_0.safetensors")),
              *b = epl_model_load(ctx, path_in(t, "parts", "network_1.safetensors"));
    CHECK_OK(t, ctx, a && b);
    CHECK_INT(t, epl_graph_n_inputs(a->graph), 1);
    CHECK_INT(t, epl_graph_n_outputs(a->graph), 2);
    CHECK_INT(t, epl_graph_n_inputs(b->graph), 1);
    CHECK_INT(t, epl_graph_n_outputs(b->graph), 1);
    CHECK_INT(t, epl_weights_count(a->weights), 1);
    CHECK_INT(t, epl_weights_count(b->weights), 0);
    epl_model_free(a);
    epl_model_free(b);
    epl_model_free(m);
}

/* Whose regions are small is no cut: the parts before, in and behind it become one network that gives the same bits. */
TEST(small_parts_are_merged)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = liveness_example(ctx);
    epl_model   *m = epl_model_new_take(g);
    epl_partition_result r;
    CHECK_OK(t, ctx, m && epl_model_init(m, 1) && epl_partition(m, test_temp(t, "merged"), (epl_partition_opts){ .least = 1000 }, &r));
    CHECK_INT(t, r.networks, 1);
    CHECK_INT(t, r.choices, 0);
    epl_model *one = epl_model_load(ctx, path_in(t, "merged", "network_0.safetensors"));
    epl_program *a = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    epl_program *b = one ? epl_program_new(one->graph, one->weights, (epl_program_opts){ 0 }) : NULL;
    CHECK_OK(t, ctx, a && b);
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int i = 0; i < 4; i++)
            ((float *)epl_program_input(a, 0)->data)[i] = ((float *)epl_program_input(b, 0)->data)[i] = (float)(sign * (i + 1));
        CHECK_OK(t, ctx, epl_program_run(a) && epl_program_run(b));
        CHECK_CLOSE_F32(t, epl_program_output(b, 0)->data, epl_program_output(a, 0)->data, 4, .atol = 0);
    }
    CHECK_INT(t, epl_program_region(a, 0).runs + epl_program_region(a, 1).runs, 2);
    epl_program_free(a);
    epl_program_free(b);
    epl_model_free(one);
    epl_model_free(m);
}

/* A switch of three, one of them large: with numbers on both sides of those that there are. */
TEST(switches_are_selected_if_they_are_small)
{
    epl_context *ctx = test_context(t);
    for (int large = 0; large < 2; large++) {
        epl_graph *g = epl_graph_new(ctx, "three"), *regions[3];
        epl_value *index = epl_input(g, "index", EPL_I64, EPL_SCALAR, NULL),
                  *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(8, 8), NULL), *y = NULL;
        for (int k = 0; k < 3; k++) {
            regions[k] = epl_region_new(g);
            epl_value *in = epl_input(regions[k], "x", EPL_F32, EPL_SHAPE(8, 8), NULL);
            epl_output(regions[k], "y",
                       k < 2   ? epl_affine(regions[k], in, k + 1, k)
                       : large ? epl_matmul(regions[k], in, in, (epl_matmul_opts){ 0 })
                               : epl_exp(regions[k], in));
        }
        epl_switch(g, index, 3, regions, 1, &x, &y);
        epl_output(g, "y", y);
        epl_weights *none = epl_weights_new(ctx);
        CHECK_OK(t, ctx, none && epl_graph_finish(g));
        epl_graph *plain = epl_graph_copy(g);
        CHECK_OK(t, ctx, plain && epl_select_small(plain, 500) && epl_graph_verify(plain));
        int switches = 0;
        for (const epl_node *n = plain->first; n; n = n->next)
            switches += EPL_IS(n, switch);
        CHECK_INT(t, switches, large);
        epl_program *a = epl_program_new(g, none, (epl_program_opts){ 0 }), *b = epl_program_new(plain, none, (epl_program_opts){ 0 });
        CHECK_OK(t, ctx, a && b);
        for (int64_t k = -1; k < 5; k++) {
            *(int64_t *)epl_program_input(a, 0)->data = *(int64_t *)epl_program_input(b, 0)->data = k;
            for (int i = 0; i < 64; i++)
                ((float *)epl_program_input(a, 1)->data)[i] = ((float *)epl_program_input(b, 1)->data)[i] = (float)i / 29;
            CHECK_OK(t, ctx, epl_program_run(a) && epl_program_run(b));
            CHECK_CLOSE_F32(t, epl_program_output(b, 0)->data, epl_program_output(a, 0)->data, 64, .atol = 0);
        }
        epl_program_free(a);
        epl_program_free(b);
        epl_graph_free(plain);
        epl_graph_free(g);
        epl_weights_free(none);
    }
}

TEST(control_flow_is_printed)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g = liveness_example(ctx);
    char        *text = epl_control_flow(g, false), *dot = epl_control_flow(g, true);
    CHECK_OK(t, ctx, text && dot);
    CHECK_GOLDEN(t, "control_flow.txt", text);
    CHECK(t, strstr(dot, "digraph flow {") && strstr(dot, "[shape=diamond") && strstr(dot, "[label=\"else\"]"));
    epl_release(ctx, text);
    epl_release(ctx, dot);
    epl_graph_free(g);
}
