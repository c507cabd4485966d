/* labels: slow
 *
 * Channels removed from other people's networks: every ONNX file of a folder (EPL_ONNX_LIGHT: the ONNX project's light networks)
 * loses channels until half of its multiply-adds are left, and computes what it computed with the removed units at zero. */
#include "common/check.h"
#include "common/outputs.h"

#include <espalier/espalier.h>

#include <dirent.h>
#include <math.h>
#include <stdlib.h>

#include "compress/channels.h"

static void zero_gone(epl_channel_plan *p, epl_weights *w)
{
    for (const epl_node *n = p->units.graph->first; n; n = n->next) {
        const epl_value *v = EPL_IS(n, parameter) ? n->outputs[0] : NULL;
        epl_tensor      *x = v ? epl_weights_find(w, epl_value_name(v)) : NULL;
        for (int a = 0; v && x && a < v->shape.rank; a++) {
            const int64_t step = epl_shape_count_from(v->shape, a + 1, v->shape.rank), d = v->shape.dim[a], count = epl_tensor_count(x);
            for (int64_t i = 0; i < d; i++)
                for (int64_t base = i * step; p->units.gone[epl_unit_of(&p->units, v, a, i)] && base < count; base += d * step)
                    memset((float *)x->data + base, 0, (size_t)step * sizeof(float));
        }
    }
}

/* The light networks' weights are one number spread out: they become parameters. A softmax at the end would hide differences. */
static void make_whole(test *t, epl_model *m)
{
    epl_graph *g = m->graph;
    int        k = 0;
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        const epl_node *out = EPL_IS(n, output) ? n->inputs[0]->producer : NULL;
        if (EPL_IS(out, softmax))
            epl_set_input(n, 0, out->inputs[0]);
        if (!EPL_IS(n, expand) || !(EPL_IS(n->inputs[0]->producer, constant) || EPL_IS(n->inputs[0]->producer, reshape)))
            continue;
        char name[32];
        snprintf(name, sizeof name, "/weight%d", k++);
        epl_node *at = epl_graph_insert_before(g, n);
        epl_replace(n->outputs[0], epl_parameter(g, name, EPL_F32, n->outputs[0]->shape, EPL_INIT_ONES, 0));
        epl_graph_insert_before(g, at);
    }
    epl_remove_dead(g);
    CHECK_OK(t, m->ctx, epl_graph_finish(g) && epl_model_init(m, 1) && epl_bake(m));
}

/* They get values of their own, so that a wrong slice shows; uniform ones, of which there are 140 million in VGG-19. */
static void draw(epl_model *m)
{
    epl_rng r = epl_rng_at(5, 0);
    for (int i = 0; i < epl_weights_count(m->weights); i++) {
        epl_tensor   *w = epl_weights_at(m->weights, i);
        const int64_t n = epl_tensor_count(w), fan = w->shape.rank > 1 ? n / w->shape.dim[w->shape.rank - 1] : 1;
        const float   size = w->shape.rank > 1 ? (float)sqrt(6.0 / (double)fan) : 0;
        for (int64_t k = 0; w->dtype == EPL_F32 && k < n; k++)
            ((float *)w->data)[k] = size > 0 ? size * (2 * epl_rng_uniform(&r) - 1) : 0.5f + epl_rng_uniform(&r);
    }
}

static void prune_one(test *t, epl_context *ctx, const char *path)
{
    epl_model *m = epl_onnx_load(ctx, path, (epl_onnx_opts){ 0 });
    CHECK_OK(t, ctx, m != NULL);
    make_whole(t, m);
    draw(m);
    const epl_channel_opts o = { .criterion = "l1", .macs = 0.5 };
    const double     begin = epl_now_s();
    epl_channel_plan plan = { 0 };
    epl_graph       *g = NULL;
    CHECK_OK(t, ctx, epl_channels_plan(m, o, &plan) && epl_channels_choose(&plan, &g));
    epl_graph_free(g);
    epl_model *zeroed = epl_model_copy(m);
    zero_gone(&plan, zeroed->weights);
    epl_channels_release(&plan);
    epl_channel_result r;
    CHECK_OK(t, ctx, epl_prune_channels(m, o, &r) && epl_model_check(m) && epl_graph_verify(m->graph));
    epl_tensor *want = test_outputs(t, zeroed, 3), *got = test_outputs(t, m, 3);
    double size = 0, error = 0;
    for (int64_t i = 0; i < epl_tensor_count(want); i++) {
        size  = fmax(size, fabs(epl_tensor_get(want, i)));
        error = fmax(error, fabs(epl_tensor_get(want, i) - epl_tensor_get(got, i)));
    }
    CHECK(t, isfinite(size) && size > 0 && error <= 1e-4 * size);
    CHECK(t, r.removed > 0 && r.macs_after <= 0.5 * r.macs_before && r.macs_after > 0.45 * r.macs_before);
    printf("    %-26s %5lld of %5lld units, MACs %.3f, parameters %.3f, %.1f s\n", strrchr(path, '/') + 1, (long long)r.removed,
           (long long)r.units, r.macs_after / r.macs_before, (double)r.params_after / (double)r.params_before, epl_now_s() - begin);
    epl_tensor_free(want);
    epl_tensor_free(got);
    epl_model_free(zeroed);
    epl_model_free(m);
}

TEST(other_peoples_networks_lose_channels)
{
    const char *dir = getenv("EPL_ONNX_LIGHT");
    struct dirent **entries = NULL;
    const int n = dir ? scandir(dir, &entries, NULL, alphasort) : 0;
    int pruned = 0;
    if (!dir || n <= 0)
        test_skip(t, "EPL_ONNX_LIGHT names no folder of ONNX files");
    for (int i = 0; i < n; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name);
        free(entries[i]);
        if (!epl_glob("*.onnx", path))
            continue;
        prune_one(t, test_context(t), path);
        pruned++;
    }
    free(entries);
    printf("    %d networks lost half of their multiply-adds\n", pruned);
    CHECK(t, pruned > 0);
}
