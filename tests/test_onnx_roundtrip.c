/* labels: slow
 * Every network of the ONNX project's tests that imports goes to an ONNX file and comes back as the same graph, up to names. */
#include "common/check.h"

#include <espalier/analysis.h>
#include <espalier/onnx.h>

#include "graph/op.h"

#include <dirent.h>
#include <unistd.h>

static const char data[] = "/usr/share/libonnx-testdata/data";

static const char *const groups[] = { "pytorch-converted", "pytorch-operator", "simple", "node" };

static epl_weights *inputs_of(epl_context *ctx, const char *dir, const char *names)
{
    epl_weights *w = epl_weights_new(ctx);
    char         name[512], path[1200];
    for (int i = 0; *names; i++) {
        const size_t n = strcspn(names, "\n");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        names += n + (names[n] == '\n');
        snprintf(path, sizeof path, "%s/test_data_set_0/input_%d.pb", dir, i);
        epl_tensor *t = epl_file_exists(path) ? epl_onnx_tensor_load(ctx, path, NULL) : NULL;
        if (t)
            epl_weights_put_take(w, name, t);
    }
    return w;
}

/* Shapes rather than what they are taken from, no dropout. */
static void as_written(epl_graph *g)
{
    for (epl_node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (EPL_IS(n, dropout)) {
            epl_replace(n->outputs[0], n->inputs[0]);
            epl_node_remove(n);
        }
    }
    epl_settle_shapes(g);
    epl_remove_dead(g);
}

typedef enum outcome { NOT_IMPORTED, SAME, OTHER } outcome;

static outcome there_and_back(test *t, epl_context *ctx, const char *dir)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    char        *names = epl_onnx_input_names(ctx, path);
    epl_weights *inputs = names ? inputs_of(ctx, dir, names) : NULL;
    epl_error_clear(ctx);
    epl_model  *m = inputs ? epl_onnx_load(ctx, path, (epl_onnx_opts){ .inputs = inputs }) : NULL, *back = NULL;
    const char *file = test_temp(t, "back.onnx");
    outcome     o = m ? OTHER : NOT_IMPORTED;
    if (m && epl_onnx_export(m, file, (epl_onnx_export_opts){ 0 }))
        back = epl_onnx_load(ctx, file, (epl_onnx_opts){ .inputs = inputs });
    if (back) {
        as_written(m->graph);
        as_written(back->graph);
        o = epl_graph_same(m->graph, back->graph) ? SAME : OTHER;
    }
    epl_error_clear(ctx);
    epl_model_free(back);
    epl_model_free(m);
    epl_weights_free(inputs);
    epl_release(ctx, names);
    return o;
}

TEST(networks_come_back_as_they_were)
{
    epl_context *ctx = test_context(t);
    epl_text     others = EPL_TEXT(ctx);
    int          same = 0;
    if (access(data, R_OK) != 0)
        test_skip(t, "libonnx-testdata is missing");
    for (size_t k = 0; k < EPL_COUNT(groups); k++) {
        char            dir[600], path[1000];
        struct dirent **entries = NULL;
        snprintf(dir, sizeof dir, "%s/%s", data, groups[k]);
        const int n = scandir(dir, &entries, NULL, alphasort);
        for (int i = 0; i < n; i++) {
            snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name);
            const outcome o = entries[i]->d_name[0] == '.' ? NOT_IMPORTED : there_and_back(t, ctx, path);
            same += o == SAME;
            if (o == OTHER)
                epl_text_addf(&others, "%s/%s\n", groups[k], entries[i]->d_name);
            free(entries[i]);
        }
        free(entries);
    }
    printf("%d networks come back as they were\n", same);
    CHECK(t, same >= 900);
    CHECK_STR(t, epl_text_str(&others), "");
    epl_text_release(&others);
}
