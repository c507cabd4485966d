/* diff: two models beside each other. Names make no difference, everything else does; where layers part is found through other
 * layouts and folded normalisation. */
#include "common/check.h"

#include <espalier/analysis.h>
#include <espalier/nn.h>
#include <espalier/ops.h>
#include <espalier/zoo.h>

#include "analysis/pairs.h"

/* ---- pairing ---- */

/* The length of the longest common subsequence, by the table of textbooks. */
static int longest(const uint64_t *a, int n, const uint64_t *b, int m)
{
    int best[64][64] = { { 0 } };
    for (int i = 1; i <= n; i++)
        for (int k = 1; k <= m; k++) {
            best[i][k] = best[i - 1][k] > best[i][k - 1] ? best[i - 1][k] : best[i][k - 1];
            if (a[i - 1] == b[k - 1] && best[i - 1][k - 1] + 1 > best[i][k])
                best[i][k] = best[i - 1][k - 1] + 1;
        }
    return best[n][m];
}

PROPERTY(the_longest_common_subsequence_is_found, 300)
{
    epl_context *ctx = test_context(t);
    uint64_t     a[48], b[48];
    int          partner[48], n = (int)epl_rng_below(t->rng, 48), m = (int)epl_rng_below(t->rng, 48), pairs = 0, last = -1;
    const uint64_t letters = 1 + epl_rng_below(t->rng, 6);
    for (int i = 0; i < n; i++)
        a[i] = epl_rng_below(t->rng, letters);
    for (int k = 0; k < m; k++)
        b[k] = epl_rng_below(t->rng, letters);
    CHECK_OK(t, ctx, pair_keys(ctx, a, n, b, m, partner));
    for (int i = 0; i < n; i++) {
        if (partner[i] < 0)
            continue;
        CHECK(t, partner[i] > last && partner[i] < m && a[i] == b[partner[i]]);
        last = partner[i];
        pairs++;
    }
    CHECK_INT(t, pairs, longest(a, n, b, m));
}

/* ---- models ---- */

static epl_model *model_of(test *t, epl_context *ctx, epl_graph *g)
{
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 3));
    return m;
}

static epl_diff *diff(test *t, const epl_model *a, const epl_model *b, epl_diff_opts o)
{
    epl_diff *d = epl_model_diff(a, b, o);
    CHECK_OK(t, a->ctx, d);
    return d;
}

/* The text with every `from` written as `to`. */
static char *replaced(epl_context *ctx, const char *text, const char *from, const char *to)
{
    epl_text out = EPL_TEXT(ctx);
    for (const char *s = text; *s;) {
        const char  *found = strstr(s, from);
        const size_t n = found ? (size_t)(found - s) : strlen(s);
        epl_text_add_bytes(&out, s, n);
        s += n;
        if (found) {
            epl_text_add(&out, to);
            s += strlen(from);
        }
    }
    return epl_text_detach(&out);
}

/* m with another text, and its weights under the names that the text gives them. */
static epl_model *rewritten(test *t, const epl_model *m, const char *from, const char *to)
{
    char        *text = epl_graph_print(m->graph), *other = replaced(m->ctx, text, from, to);
    epl_graph   *g = epl_graph_parse(m->ctx, other, strlen(other), "other");
    CHECK_OK(t, m->ctx, g);
    epl_model *r = epl_model_new_take(g);
    CHECK_OK(t, m->ctx, r);
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        char *name = replaced(m->ctx, epl_weights_name(m->weights, i), from, to);
        CHECK_OK(t, m->ctx, epl_weights_put_take(r->weights, name, epl_tensor_copy(m->ctx, epl_weights_at(m->weights, i))));
        epl_release(m->ctx, name);
    }
    epl_release(m->ctx, text);
    epl_release(m->ctx, other);
    return r;
}

TEST(names_make_no_difference)
{
    epl_context *ctx = test_context(t);
    epl_model   *a = model_of(t, ctx, epl_zoo_build(ctx, "resnet:depth=8,width=4,image=8,se=1")), *b = rewritten(t, a, "stage", "part");
    epl_diff    *d = diff(t, a, b, (epl_diff_opts){ 0 });
    CHECK(t, epl_diff_is_empty(d) && d->first == -1 && d->n_nodes == 0 && d->n_layers == 0 && !d->not_run);
    CHECK_INT(t, d->n_weights, epl_weights_count(a->weights));
    int renamed = 0;
    for (int i = 0; i < d->n_weights; i++) {
        CHECK_INT(t, d->weights[i].state, EPL_DIFF_EQUAL);
        renamed += strcmp(d->weights[i].a, d->weights[i].b) != 0;
    }
    CHECK(t, renamed > 20);
    CHECK(t, epl_graph_same(a->graph, b->graph));
    epl_diff_free(d);
    epl_model_free(a);
    epl_model_free(b);
}

TEST(an_attribute_is_found)
{
    epl_context *ctx = test_context(t);
    epl_model   *m[2];
    for (int k = 0; k < 2; k++) {
        epl_graph *g = epl_graph_new(ctx, "net");
        epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(4, 3), NULL);
        x = epl_linear(g, x, (epl_linear_opts){ .out = 5 });
        x = epl_batch_norm(g, x, (epl_norm_opts){ .epsilon = k ? 0.5 : 1e-5 });
        epl_output(g, "y", epl_relu(g, x));
        m[k] = model_of(t, ctx, g);
    }
    epl_diff *d = diff(t, m[0], m[1], (epl_diff_opts){ 0 });
    CHECK(t, !d->same_structure && d->same_weights && !d->same_outputs && d->n_nodes == 1);
    CHECK_STR(t, d->nodes[0].what, "epsilon=1e-05 -> epsilon=0.5");
    CHECK_INT(t, d->n_layers, 3);
    CHECK_INT(t, d->first, 1);
    CHECK_STR(t, d->layers[d->first].a.op, "BatchNorm");
    CHECK_STR(t, d->layers[d->first].b.op, "BatchNorm");
    CHECK_FAILS(t, ctx, epl_graph_same(m[0]->graph, m[1]->graph), EPL_ERR_SHAPE, "BatchNorm %8 norm: epsilon=1e-05 -> epsilon=0.5");
    epl_diff_free(d);
    epl_model_free(m[0]);
    epl_model_free(m[1]);
}

TEST(exchanged_inputs_differ_unless_they_commute)
{
    epl_context *ctx = test_context(t);
    for (int swap = 0; swap < 2; swap++)
        for (int subtract = 0; subtract < 2; subtract++) {
            epl_graph *g[2];
            for (int k = 0; k < 2; k++) {
                g[k] = epl_graph_new(ctx, "g");
                epl_value *x = epl_input(g[k], "x", EPL_F32, EPL_SHAPE(2), NULL), *e = epl_exp(g[k], x), *s = epl_sin(g[k], x);
                epl_value *first = swap && k ? s : e, *second = swap && k ? e : s;
                epl_output(g[k], "y", subtract ? epl_sub(g[k], first, second) : epl_add(g[k], first, second));
                CHECK_OK(t, ctx, epl_graph_finish(g[k]));
            }
            CHECK_INT(t, epl_graph_same(g[0], g[1]), !(swap && subtract));
            epl_error_clear(ctx);
            epl_graph_free(g[0]);
            epl_graph_free(g[1]);
        }
}

/* A parameter that is used twice is not two parameters of the same shape. */
TEST(shared_weights_are_not_two)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g[2];
    for (int k = 0; k < 2; k++) {
        g[k] = epl_graph_new(ctx, "g");
        epl_value *x = epl_input(g[k], "x", EPL_F32, EPL_SHAPE(2, 3), NULL);
        epl_value *w = epl_parameter(g[k], "w", EPL_F32, EPL_SHAPE(3), EPL_INIT_ONES, 0);
        epl_value *v = k ? epl_parameter(g[k], "v", EPL_F32, EPL_SHAPE(3), EPL_INIT_ONES, 0) : w;
        epl_output(g[k], "y", epl_mul(g[k], epl_add(g[k], x, w), v));
    }
    CHECK_FAILS(t, ctx, epl_graph_same(g[0], g[1]), EPL_ERR_SHAPE, "Parameter w f32[3] -> %2 Parameter v f32[3]");
    epl_graph_free(g[0]);
    epl_graph_free(g[1]);
}

static epl_graph *loop_of(epl_context *ctx, double step)
{
    epl_graph *g = epl_graph_new(ctx, "loop"), *body = epl_region_new(g);
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(2), NULL), *out[2] = { NULL };
    epl_input(body, "i", EPL_I64, EPL_SCALAR, NULL);
    epl_value *again = epl_input(body, "again", EPL_BOOL, EPL_SCALAR, NULL), *c = epl_input(body, "c", EPL_F32, EPL_SHAPE(2), NULL);
    epl_output(body, "again", again);
    epl_output(body, "c", epl_affine(body, c, 1, step));
    epl_loop(g, 5, NULL, 1, &x, body, 0, NULL, out);
    epl_output(g, "y", out[0]);
    return g;
}

TEST(regions_are_compared)
{
    epl_context *ctx = test_context(t);
    epl_graph   *a = loop_of(ctx, 0.5), *b = loop_of(ctx, 0.5), *c = loop_of(ctx, 0.25);
    CHECK_OK(t, ctx, epl_graph_finish(a) && epl_graph_finish(b) && epl_graph_finish(c));
    CHECK_OK(t, ctx, epl_graph_same(a, b));
    CHECK_FAILS(t, ctx, epl_graph_same(a, c), EPL_ERR_SHAPE, "Affine %1/%3");
    epl_graph_free(a);
    epl_graph_free(b);
    epl_graph_free(c);
}

TEST(weights_are_compared)
{
    epl_context *ctx = test_context(t);
    epl_model   *a = model_of(t, ctx, epl_zoo_build(ctx, "mlp:image=4,width=8,depth=1,classes=3")), *b = epl_model_copy(a);
    epl_model   *c = model_of(t, ctx, epl_zoo_build(ctx, "mlp:image=4,width=8,depth=2,classes=3"));
    epl_tensor  *w = epl_weights_find(b->weights, "head.weight");
    epl_tensor_set(w, 5, epl_tensor_get(w, 5) + 0.25);
    epl_diff *d = diff(t, a, b, (epl_diff_opts){ .no_run = true });
    CHECK(t, d->same_structure && !d->same_weights && d->n_outputs == 0);
    for (int i = 0; i < d->n_weights; i++) {
        const bool changed = strcmp(d->weights[i].a, "head.weight") == 0;
        CHECK_INT(t, d->weights[i].state, changed ? EPL_DIFF_FAR : EPL_DIFF_EQUAL);
        CHECK_INT(t, d->weights[i].difference.n_different, changed);
        CHECK_NEAR(t, d->weights[i].difference.max_abs, changed ? 0.25 : 0, .atol = 1e-6);
    }
    epl_diff_free(d);
    d = diff(t, a, c, (epl_diff_opts){ 0 });
    int missing = 0;
    for (int i = 0; i < d->n_weights; i++)
        missing += d->weights[i].state == EPL_DIFF_MISSING && !d->weights[i].a;
    CHECK(t, missing == 2 && !d->same_weights && !d->same_structure);
    epl_diff_free(d);
    epl_model_free(a);
    epl_model_free(b);
    epl_model_free(c);
}

/* conv, norm, relu, mean, linear: channels last; or as others write it, channels first and with the norm folded in. */
static epl_graph *small_net(epl_context *ctx, bool foreign)
{
    epl_graph *g = epl_graph_new(ctx, "net");
    const int  to_last[] = { 0, 2, 3, 1 }, to_first[] = { 0, 3, 1, 2 };
    epl_value *x = epl_input(g, "x", EPL_F32, foreign ? EPL_SHAPE(1, 3, 6, 5) : EPL_SHAPE(1, 6, 5, 3), NULL);
    x = foreign ? epl_transpose(g, x, 4, to_last) : x;
    epl_value *h = epl_conv(g, x, (epl_conv_opts){ .name = "conv", .out = 4, .kernel = 3, .no_bias = !foreign });
    h = foreign ? h : epl_batch_norm(g, h, (epl_norm_opts){ .name = "norm" });
    h = epl_relu(g, h);
    if (foreign)
        h = epl_reduce_mean(g, epl_transpose(g, h, 4, to_first), (epl_reduce_opts){ EPL_AXES(2, 3) });
    else
        h = epl_reduce_mean(g, h, (epl_reduce_opts){ EPL_AXES(1, 2) });
    epl_output(g, "y", epl_linear(g, h, (epl_linear_opts){ .name = "head", .out = 2 }));
    return g;
}

/* The weights of the first network, with the norm folded into the convolution's. */
static void fold_into(test *t, const epl_model *a, epl_model *b)
{
    const epl_tensor *scale = epl_weights_find(a->weights, "norm.weight"), *shift = epl_weights_find(a->weights, "norm.bias");
    epl_tensor       *w = epl_weights_find(b->weights, "conv.weight"), *bias = epl_weights_find(b->weights, "conv.bias");
    CHECK(t, scale && shift && w && bias);
    for (int64_t i = 0; i < epl_tensor_count(w); i++)
        epl_tensor_set(w, i,
                       epl_tensor_get(epl_weights_find(a->weights, "conv.weight"), i) * epl_tensor_get(scale, i % 4) /
                           sqrt(1 + 1e-5));
    for (int64_t i = 0; i < 4; i++)
        epl_tensor_set(bias, i, epl_tensor_get(shift, i));
    for (int k = 0; k < 2; k++) {
        const char *name = k ? "head.bias" : "head.weight";
        memcpy(epl_weights_find(b->weights, name)->data, epl_weights_find(a->weights, name)->data,
               epl_tensor_bytes(epl_weights_find(a->weights, name)));
    }
}

TEST(layouts_and_folded_norms_are_seen_through)
{
    epl_context *ctx = test_context(t);
    epl_model   *a = model_of(t, ctx, small_net(ctx, false)), *b = model_of(t, ctx, small_net(ctx, true));
    epl_tensor_fill_uniform(epl_weights_find(a->weights, "norm.weight"), t->rng, 0.5, 1.5);
    epl_tensor_fill_uniform(epl_weights_find(a->weights, "norm.bias"), t->rng, -0.5, 0.5);
    fold_into(t, a, b);
    epl_diff *d = diff(t, a, b, (epl_diff_opts){ .layers = true });
    CHECK(t, !d->same_structure && !d->same_weights && d->same_outputs && d->first == -1);
    CHECK_STR(t, d->remarks, "input 'x' is transposed for the second network, which takes f32[1, 3, 6, 5]\n");
    for (int i = 0; i < d->n_layers; i++) // the raw convolution has no counterpart, the norm's result is one
        if ((d->layers[i].state <= EPL_DIFF_CLOSE) != (strcmp(d->layers[i].a.op, "Conv") != 0))
            FAIL(t, "%s is in state %d, by %g", d->layers[i].a.op, (int)d->layers[i].state, d->layers[i].difference.max_abs);
    epl_diff_free(d);

    epl_tensor *w = epl_weights_find(b->weights, "head.weight");
    epl_tensor_set(w, 0, epl_tensor_get(w, 0) + 3);
    d = diff(t, a, b, (epl_diff_opts){ 0 });
    CHECK(t, !d->same_outputs && d->first >= 0);
    CHECK_STR(t, d->layers[d->first].a.op, "Linear");
    epl_diff_free(d);
    epl_model_free(a);
    epl_model_free(b);
}

TEST(inputs_are_those_that_are_given)
{
    epl_context *ctx = test_context(t);
    epl_model   *a = model_of(t, ctx, small_net(ctx, false)), *b = epl_model_copy(a);
    epl_tensor  *w = epl_weights_find(b->weights, "conv.weight");
    epl_tensor_fill_uniform(w, t->rng, 1, 2);
    epl_weights *inputs = epl_weights_new(ctx);
    CHECK_OK(t, ctx, epl_weights_put_take(inputs, "x", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 6, 5, 3)))); // zeros
    epl_diff *d = diff(t, a, b, (epl_diff_opts){ .inputs = inputs });
    CHECK(t, d->same_structure && !d->same_weights && d->same_outputs);
    epl_diff_free(d);
    CHECK_OK(t, ctx, epl_weights_put_take(inputs, "x", epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 6, 5, 4))));
    CHECK_FAILS(t, ctx, epl_model_diff(a, b, (epl_diff_opts){ .inputs = inputs }), EPL_ERR_SHAPE,
                "the tensor for the input 'x' is f32[1, 6, 5, 4], the network's is f32[1, 6, 5, 3]");
    epl_weights_free(inputs);
    epl_model_free(a);
    epl_model_free(b);
}

TEST(networks_with_other_inputs_are_not_run)
{
    epl_context *ctx = test_context(t);
    epl_model   *a = model_of(t, ctx, epl_zoo_build(ctx, "mlp:image=4,width=8")),
              *b = model_of(t, ctx, epl_zoo_build(ctx, "mlp:image=5,width=8"));
    epl_diff    *d = diff(t, a, b, (epl_diff_opts){ 0 });
    CHECK(t, !epl_diff_is_empty(d) && d->not_run && strstr(d->not_run, "in the first network and f32[1, 5, 5,") != NULL);
    epl_diff_free(d);
    epl_model_free(a);
    epl_model_free(b);
}

TEST(memory_that_is_out_leaves_nothing_behind)
{
    for (int n = 0, done = 0; !done; n += 1 + n / 8) {
        epl_context *ctx = test_context(t, .fail_allocation = n);
        epl_model   *a = epl_model_new_take(small_net(ctx, false)), *b = epl_model_new_take(small_net(ctx, true));
        epl_diff    *d = a && b && epl_model_init(a, 1) && epl_model_init(b, 1) ? epl_model_diff(a, b, (epl_diff_opts){ 0 }) : NULL;
        done = d != NULL;
        CHECK(t, done || epl_error_code(ctx) == EPL_ERR_MEMORY);
        epl_diff_free(d);
        epl_model_free(a);
        epl_model_free(b);
    }
}

/* ---- tensors ---- */

TEST(units_in_the_last_place)
{
    epl_context *ctx = test_context(t);
    epl_tensor  *a = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4)), *b = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(4));
    float       *x = a->data, *y = b->data;
    x[0] = 1, y[0] = nextafterf(nextafterf(1, 2), 2); // two apart
    x[1] = 1e-45f, y[1] = -1e-45f;                    // the smallest numbers around zero: two apart
    x[2] = NAN, y[2] = NAN;
    x[3] = -8, y[3] = -8;
    epl_difference d = { 0 };
    CHECK(t, epl_tensor_compare(a, b, &d));
    CHECK(t, d.max_ulp == 2 && d.n_different == 2 && d.n_elements == 4 && d.largest == 8);
    CHECK_NEAR(t, d.max_rel, 2 * 1.1920929e-07 / 8, .rtol = 1e-6);
    y[2] = 0;
    CHECK(t, epl_tensor_compare(a, b, &d) && isinf(d.max_abs) && d.n_elements == 8);
    epl_tensor *c = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(5));
    CHECK(t, !epl_tensor_compare(a, c, &d) && epl_error_code(ctx) == EPL_OK);
    epl_tensor_free(a);
    epl_tensor_free(b);
    epl_tensor_free(c);
}
