/* Compiled networks, the long run: every operator of the table through its sample, in f32 and f64; random graphs; both
 * compilers and every target that this machine can build and run.
 * labels: slow */
#include "common/compiled.h"
#include "common/sample.h"

#include <espalier/grad.h>
#include <espalier/ops.h>
#include <espalier/zoo.h>

enum { OPERATORS = 16, DRAWS = 2 }; /* operators in one network, nodes of each */

static epl_model *model_of(test *t, epl_graph *g)
{
    epl_context *ctx = epl_graph_context(g);
    CHECK_OK(t, ctx, epl_graph_finish(g));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 5));
    return m;
}

/* One sample of every input; random operators take keys, look-ups take indices: as the operators' samples say. */
static epl_verify_result check_sampled(test *t, const epl_model *m, epl_compile_opts o, const char *cc)
{
    const int n = epl_graph_n_inputs(m->graph);
    epl_tensor **values = calloc((size_t)n + 1, sizeof *values);
    sample_values(t, m->graph, values);
    const epl_verify_opts v = { .n_inputs = n, .inputs = (const epl_tensor *const *)values, .cc = cc };
    const epl_verify_result r = compiled_check(t, m, o, v, NULL);
    for (int i = 0; i < n; i++)
        epl_tensor_free(values[i]);
    free(values);
    return r;
}

/* ---- every operator ---- */

static epl_model *operators_net(test *t, epl_context *ctx, int first, epl_dtype dtype)
{
    epl_graph *g = epl_graph_new(ctx, "operators");
    int outputs = 0;
    for (int i = first; i < first + OPERATORS && i < epl_n_ops; i++)
        for (int draw = 0; epl_op_at(i)->sample && draw < DRAWS; draw++) {
            const epl_node *n = epl_op_at(i)->sample(g, t->rng, dtype);
            CHECK_OK(t, ctx, n != NULL);
            for (int k = 0; k < n->n_outputs && outputs < EPL_VERIFY_MAX_OUTPUTS; k++, outputs++)
                epl_output(g, n->op->name, n->outputs[k]);
        }
    return model_of(t, g);
}

static int operator_nets(void) { return (epl_n_ops + OPERATORS - 1) / OPERATORS; }

PROPERTY(every_operator_gives_the_same_bits, operator_nets())
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = operators_net(t, ctx, t->index * OPERATORS, EPL_F32);
    const epl_verify_result r = check_sampled(t, m, (epl_compile_opts){ 0 }, "gcc");
    compiled_within(t, &r, 0);
    epl_model_free(m);
}

PROPERTY(every_operator_compiles_in_f64, operator_nets())
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = operators_net(t, ctx, t->index * OPERATORS, EPL_F64);
    const epl_verify_result r = check_sampled(t, m, (epl_compile_opts){ .target = "generic" }, "gcc");
    compiled_within(t, &r, 0);
    epl_model_free(m);
}

/* ---- every model, some in one network, so that the kernels are compiled once for them all ---- */

enum { MODELS = 20 };

static int model_nets(void) { return (epl_zoo_count() + MODELS - 1) / MODELS; }

static epl_model *models_net(test *t, epl_context *ctx, int first)
{
    enum { MOST = 8, MOST_PARAMETERS = 5000000 }; /* a compiler reads weights slowly */
    epl_graph *all = epl_graph_new(ctx, "models");
    for (int i = first; i < first + MODELS && i < epl_zoo_count(); i++) {
        epl_value *x = NULL, *y[MOST] = { NULL };
        epl_graph *g = epl_zoo_build_small(ctx, i);
        CHECK_OK(t, ctx, g && epl_graph_bind(g, "N", 2));
        if (epl_graph_n_parameters(g) > MOST_PARAMETERS) {
            epl_graph_free(g);
            continue;
        }
        CHECK(t, epl_graph_n_inputs(g) == 1 && epl_graph_n_outputs(g) <= MOST);
        x = epl_input(all, epl_zoo_at(i)->name, epl_dtype_of(epl_graph_input_at(g, 0)), epl_shape_of(epl_graph_input_at(g, 0)), NULL);
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%s.", epl_zoo_at(i)->name);
        CHECK_OK(t, ctx, epl_graph_inline(all, g, &x, y, prefix));
        epl_output(all, epl_zoo_at(i)->name, y[0]);
        epl_graph_free(g);
    }
    return model_of(t, all);
}

PROPERTY(every_model_of_the_zoo_gives_the_same_bits, model_nets())
{
    epl_context *ctx = test_context(t);
    epl_model   *m   = models_net(t, ctx, t->index * MODELS);
    const epl_verify_result r = compiled_check(t, m, (epl_compile_opts){ 0 }, (epl_verify_opts){ 0 }, NULL);
    compiled_within(t, &r, 0);
    epl_model_free(m);
}

/* ---- targets and compilers ---- */

static epl_value *weight(epl_graph *g, const char *name, epl_shape s) { return epl_parameter(g, name, EPL_F32, s, EPL_INIT_NORMAL, 0.2); }

/* Uses every dense kernel, strided and padded, odd channel counts, a chain with all kinds of broadcasting; and a gradient. */
static epl_model *mixed_net(test *t, epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "mixed");
    epl_value *x = epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 9, 9, 5), -1, 1, 0);
    epl_value *row = epl_sample_input(g, EPL_F32, EPL_SHAPE(33), -1, 1, 0),
              *column = epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 5, 5, 1), -1, 1, 0);
    epl_value *image = epl_sample_input(g, EPL_F32, EPL_SHAPE(2, 1, 1, 33), -1, 1, 0),
              *odd = epl_sample_input(g, EPL_F32, EPL_SHAPE(1, 5, 1, 33), -1, 1, 0);
    epl_value *w = weight(g, "w", EPL_SHAPE(3, 3, 5, 33)), *v = weight(g, "v", EPL_SHAPE(33, 17)),
              *k = weight(g, "k", EPL_SHAPE(3, 3, 1, 33));
    epl_value *h = epl_convolve(g, x, w, row, (epl_convolve_opts){ .pad = 1, .stride = { 2, 2 } });
    h = epl_sigmoid(g, epl_add(g, epl_mul(g, h, image), epl_mul(g, epl_sub(g, row, column), odd)));
    h = epl_add(g, h, epl_convolve(g, epl_gelu(g, h), k, NULL, (epl_convolve_opts){ .pad = 1, .groups = 33 }));
    epl_value *y = epl_log_softmax(g, epl_multiply_rows(g, h, v, NULL, false), -1);
    y = epl_add(g, y, epl_normalize_layer(g, y, NULL, NULL, -1, 0));
    epl_value *loss = epl_reduce_mean(g, epl_square(g, y), (epl_reduce_opts){ 0 }), *p[4] = { x, w, v, k }, *d[4];
    CHECK_OK(t, ctx, epl_gradient(g, loss, 4, p, d));
    epl_output(g, "y", y);
    epl_output(g, "loss", loss);
    for (int i = 0; i < 4; i++)
        epl_output(g, "d", d[i]);
    return model_of(t, g);
}

static const struct {
    const char *target, *cc;
    double      atol;
} builds[] = {
    { "generic", "gcc", 1e-5 }, { "v3", "gcc", 1e-5 }, { "v4", "gcc", 1e-5 }, { "generic", "clang", 1e-5 },
    { "v3", "clang", 1e-5 },    { "v4", "clang", 1e-5 }, { "aarch64", "aarch64-linux-gnu-gcc", 1e-5 },
    { "v3", "gcc -fsanitize=address,undefined -fno-sanitize-recover=all", 1e-5 },
};

PROPERTY(every_target_and_compiler, EPL_COUNT(builds))
{
    epl_context *ctx = test_context(t);
    const char  *target = builds[t->index].target, *cc = builds[t->index].cc;
    if (!compiled_has(cc) || (strcmp(target, "aarch64") == 0 && !compiled_has("qemu-aarch64")))
        test_skip(t, "that compiler or emulator is not installed");
    epl_model *m = mixed_net(t, ctx);
    if (!epl_compile(m, test_temp(t, "probe"), (epl_compile_opts){ .target = target }, NULL)) {
        CHECK_INT(t, epl_error_code(ctx), EPL_ERR_UNSUPPORTED); // this machine does not run it
        epl_model_free(m);
        return;
    }
    const epl_verify_result r = check_sampled(t, m, (epl_compile_opts){ .target = target }, cc);
    compiled_within(t, &r, builds[t->index].atol);
    epl_model_free(m);
}

/* ---- random graphs ---- */

enum { TOWERS = 12 };

/* Element-wise nodes with all kinds of broadcasting, products and convolutions; the last values are outputs. */
static void random_tower(test *t, epl_graph *g, int tower)
{
    const int64_t n = 1 + (int64_t)epl_rng_below(t->rng, 3), s = 1 + (int64_t)epl_rng_below(t->rng, 5),
                  c = 1 + (int64_t)epl_rng_below(t->rng, 40);
    const epl_shape shapes[] = { EPL_SHAPE(n, s, s, c), EPL_SHAPE(c), EPL_SHAPE(n, 1, 1, c), EPL_SHAPE(n, s, s, 1), EPL_SHAPE(1, s, 1, c) };
    epl_value *pool[64];
    int        count = 0;
    for (size_t i = 0; i < EPL_COUNT(shapes); i++)
        pool[count++] = epl_sample_input(g, EPL_F32, shapes[i], -1, 1, 0);
    char name[16];
    snprintf(name, sizeof name, "w%d", tower);
    epl_value *w = weight(g, name, EPL_SHAPE(c, c));
    for (int i = 0, nodes = 3 + (int)epl_rng_below(t->rng, 25); i < nodes; i++) {
        epl_value *a = pool[epl_rng_below(t->rng, (uint64_t)count)], *b = pool[epl_rng_below(t->rng, (uint64_t)count)], *y;
        switch (epl_rng_below(t->rng, 9)) {
        case 0:  y = epl_add(g, a, b); break;
        case 1:  y = epl_mul(g, a, b); break;
        case 2:  y = epl_softplus(g, epl_sub(g, a, b)); break;
        case 3:  y = epl_where(g, epl_greater(g, a, b), a, epl_sigmoid(g, b)); break;
        case 4:  y = epl_channels(a) == c ? epl_multiply_rows(g, a, w, i % 2 ? pool[1] : NULL, i % 3 == 0) : epl_erf(g, a); break;
        case 5:  y = epl_rank(a) == 4 ? epl_reduce_mean(g, a, (epl_reduce_opts){ EPL_AXES(1, 2), .keep = true }) : epl_min(g, a, b); break;
        case 6:
            y = epl_cast(g,
                         epl_add(g, epl_cast(g, epl_mul(g, a, epl_scalar(g, EPL_F32, 9)), EPL_I32),
                                 epl_cast(g, b, EPL_I32)),
                         EPL_F32);
            break;
        case 7:  y = epl_leaky_relu(g, a, 0.2); break;
        default: y = epl_tanh(g, epl_max(g, a, b)); break;
        }
        pool[count++] = epl_clip(g, y, -4, 4);
    }
    epl_output(g, "y", pool[count - 1]);
    epl_output(g, "z", pool[count - 2]);
}

PROPERTY(random_graphs_give_the_same_bits, 4)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "towers");
    for (int i = 0; i < TOWERS; i++)
        random_tower(t, g, i);
    epl_model *m = model_of(t, g);
    const epl_verify_result r = check_sampled(t, m, (epl_compile_opts){ .target = t->index % 2 ? "generic" : NULL }, "gcc");
    compiled_within(t, &r, 0);
    epl_model_free(m);
}
