/* Prototypes: the published network, what it draws and why it answers; transposed convolutions that undo `same`. */
#include "common/check.h"

#include <espalier/espalier.h>

TEST(the_network_has_the_published_parts)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_zoo_build(ctx, "prototype-net");
    CHECK_OK(t, ctx, g);
    CHECK_INT(t, epl_graph_n_parameters(g), 44153);
    epl_graph_bind(g, "N", 3);
    static const struct {
        const char *name;
        epl_shape   shape;
    } outputs[] = { { "logits", { 2, { 3, 10 } } }, { "distances", { 2, { 3, 15 } } }, { "reconstruction", { 4, { 3, 28, 28, 1 } } } };
    for (int i = 0; i < 3; i++) {
        CHECK_STR(t, epl_graph_output_name(g, i), outputs[i].name);
        CHECK(t, epl_shape_equal(epl_shape_of(epl_graph_output_at(g, i)), outputs[i].shape));
    }
    epl_graph_free(g);
}

/* From any size: the decoder ends where the encoder began. */
PROPERTY(decoders_restore_the_size, 12)
{
    epl_context *ctx = test_context(t);
    char         text[96];
    const int    image = 9 + 2 * t->index + t->index % 3;
    snprintf(text, sizeof text, "prototype-net:image=%d,width=3,maps=2,depth=%d", image, 1 + t->index % 4);
    epl_graph *g = epl_zoo_build(ctx, text);
    CHECK_OK(t, ctx, g);
    CHECK_INT(t, epl_dim(epl_graph_output_at(g, 2), 1), image);
    epl_graph_free(g);
}

/* The transposed convolution with same_size is the gradient of the convolution with `same`: <conv x, y> = <x, up y>. */
TEST(undoing_same_is_the_adjoint)
{
    epl_context *ctx = test_context(t);
    epl_graph   *g   = epl_graph_new(ctx, "adjoint");
    epl_value   *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 7, 6, 1), NULL),
              *y = epl_input(g, "y", EPL_F32, EPL_SHAPE(1, 4, 3, 2), NULL);
    epl_value   *down = epl_conv(g, x, (epl_conv_opts){ .name = "one", .out = 2, .stride = 2, .same = true, .no_bias = true });
    epl_value   *up   = epl_conv_transpose(g, y, (epl_conv_transpose_opts){ .name = "two", .out = 1, .kernel = 3, .stride = 2,
                                                                            .same_size = { 7, 6 }, .no_bias = true });
    epl_output(g, "a", epl_reduce_sum(g, epl_mul(g, down, y), (epl_reduce_opts){ 0 }));
    epl_output(g, "b", epl_reduce_sum(g, epl_mul(g, up, x), (epl_reduce_opts){ 0 }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 1));
    epl_tensor *two = epl_weights_find(m->weights, "two.weight"), *one = epl_weights_find(m->weights, "one.weight");
    CHECK_INT(t, epl_tensor_count(two), epl_tensor_count(one));
    memcpy(two->data, one->data, epl_tensor_bytes(one));
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 });
    CHECK_OK(t, ctx, p);
    epl_tensor_fill_normal(epl_program_input(p, 0), t->rng, 0, 1);
    epl_tensor_fill_normal(epl_program_input(p, 1), t->rng, 0, 1);
    CHECK_OK(t, ctx, epl_program_run(p));
    CHECK_NEAR(t, epl_tensor_get(epl_program_output(p, 0), 0), epl_tensor_get(epl_program_output(p, 1), 0), .rtol = 1e-4, .atol = 1e-4);
    epl_program_free(p);
    epl_model_free(m);
    g = epl_graph_new(ctx, "wrong");
    epl_conv_transpose(g, epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4, 4, 1), NULL),
                       (epl_conv_transpose_opts){ .out = 1, .kernel = 3, .same_size = { 9, 9 } });
    CHECK_FAILS(t, ctx, epl_graph_finish(g), EPL_ERR_SHAPE, "a size of 9 along axis 0 cannot be restored from 4 by a stride of 2");
    epl_graph_free(g);
}

static epl_model *small_net(test *t, epl_context *ctx)
{
    epl_model *m = epl_model_new_take(epl_zoo_build(ctx, "prototype-net:image=8,channels=3,width=4,maps=3,depth=2,prototypes=5,classes=4"));
    CHECK_OK(t, ctx, m && epl_model_init(m, 2));
    return m;
}

/* Contributions sum to the logits, and are distances times weights. */
TEST(an_explanation_is_loyal)
{
    epl_context    *ctx = test_context(t);
    epl_model      *m   = small_net(t, ctx);
    epl_tensor     *x   = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(1, 8, 8, 3));
    epl_explanation e;
    epl_tensor_fill_uniform(x, t->rng, 0, 1);
    CHECK_OK(t, ctx, epl_explain(m, x, &e));
    for (int k = 0; k < 4; k++) {
        double sum = 0;
        for (int j = 0; j < 5; j++) {
            CHECK(t, epl_tensor_get(e.distances, j) >= 0);
            sum += epl_tensor_get(e.contributions, j * 4 + k);
        }
        CHECK_NEAR(t, sum, epl_tensor_get(e.logits, k), .rtol = 1e-5, .atol = 1e-5);
    }
    epl_explanation_release(&e);
    epl_tensor_free(x);
    epl_model_free(m);
}

/* The parts together are the whole: decoding a code gives the network's own picture; prototypes set to codes are
 * their own neighbours. */
TEST(encoder_and_decoder_are_the_network_cut_in_two)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small_net(t, ctx), *encoder = epl_prototype_encoder(m), *decoder = epl_prototype_decoder(m);
    CHECK_OK(t, ctx, encoder && decoder);
    CHECK_INT(t, epl_graph_n_inputs(decoder->graph), 1);
    epl_program *p[3] = { epl_program_new(m->graph, m->weights, (epl_program_opts){ 0 }),
                          epl_program_new(encoder->graph, encoder->weights, (epl_program_opts){ 0 }),
                          epl_program_new(decoder->graph, decoder->weights, (epl_program_opts){ 0 }) };
    CHECK_OK(t, ctx, p[0] && p[1] && p[2]);
    epl_tensor_fill_uniform(epl_program_input(p[0], 0), t->rng, 0, 1);
    memcpy(epl_program_input(p[1], 0)->data, epl_program_input(p[0], 0)->data, epl_tensor_bytes(epl_program_input(p[0], 0)));
    CHECK_OK(t, ctx, epl_program_run(p[0]) && epl_program_run(p[1]));
    memcpy(epl_program_input(p[2], 0)->data, epl_program_output(p[1], 0)->data, epl_tensor_bytes(epl_program_output(p[1], 0)));
    CHECK_OK(t, ctx, epl_program_run(p[2]));
    CHECK_CLOSE(t, epl_program_output(p[2], 0), epl_program_output(p[0], 2), .atol = 1e-6);
    for (int i = 0; i < 3; i++)
        epl_program_free(p[i]);
    epl_model_free(encoder);
    epl_model_free(decoder);
    epl_model_free(m);
}

TEST(prototypes_that_are_codes_have_themselves_as_neighbours)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = small_net(t, ctx), *encoder = epl_prototype_encoder(m);
    epl_dataset *d = epl_dataset_open(ctx, "shapes:image=8,count=30", (epl_dataset_opts){ .seed = 4 });
    epl_embedded codes;
    epl_prototypes_report r;
    CHECK_OK(t, ctx, encoder && d && epl_embed(encoder, d, (epl_features_opts){ .layer = "code" }, &codes));
    epl_tensor *v = epl_weights_find(m->weights, "prototypes.vectors"), *w = epl_weights_find(m->weights, "head.weight");
    for (int j = 0; j < 5; j++) {
        memcpy((float *)v->data + j * codes.width, codes.z + 3 * j * codes.width, (size_t)codes.width * sizeof(float));
        for (int k = 0; k < 4; k++)
            epl_tensor_set(w, j * 4 + k, k == j % 3 ? -2 - j : 1);
    }
    CHECK_OK(t, ctx, epl_prototypes_of(m, d, (epl_progress){ 0 }, &r));
    CHECK_INT(t, r.n, 5);
    CHECK_INT(t, r.n_owned, 3);
    CHECK_NEAR(t, r.relative_r1, 0, .atol = 1e-12);
    for (int j = 0; j < 5; j++) {
        CHECK_NEAR(t, r.at[j].distance, 0, .atol = 1e-12);
        CHECK_INT(t, r.at[j].cls, j % 3);
        CHECK_NEAR(t, r.at[j].weight, -2 - j, .atol = 0);
    }
    epl_tensor *drawn = epl_prototypes_draw(m);
    CHECK_OK(t, ctx, drawn);
    CHECK(t, epl_shape_equal(drawn->shape, EPL_SHAPE(5, 8, 8, 3)));
    epl_tensor_free(drawn);
    epl_prototypes_report_release(&r);
    epl_embedded_release(&codes);
    epl_dataset_free(d);
    epl_model_free(encoder);
    epl_model_free(m);
}

TEST(networks_without_prototypes_are_refused)
{
    epl_context *ctx = test_context(t);
    epl_model   *m = epl_model_new_take(epl_zoo_build(ctx, "mlp:image=4")),
              *head = epl_model_new_take(epl_zoo_build(ctx, "mlp:image=4,head=prototype"));
    CHECK_OK(t, ctx, m && head && epl_model_init(m, 1) && epl_model_init(head, 1));
    CHECK_FAILS(t, ctx, epl_prototype_encoder(m), EPL_ERR_ARGUMENT, "has no prototypes");
    CHECK_FAILS(t, ctx, epl_prototype_decoder(head), EPL_ERR_UNSUPPORTED, "has no decoder");
    epl_model *encoder = epl_prototype_encoder(head);
    CHECK_OK(t, ctx, encoder);
    epl_model_free(encoder);
    epl_model_free(head);
    epl_model_free(m);
}
