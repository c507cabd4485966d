/* The reader of graph text: whatever it accepts must print, and read back to the same text. */
#include <espalier/graph.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_graph   *g = epl_graph_parse(ctx, (const char *)data, size, "fuzz");
    if (g) {
        char      *text = epl_graph_print(g);
        epl_graph *again = epl_graph_parse(ctx, text, strlen(text), "again");
        char      *second = again ? epl_graph_print(again) : NULL;
        if (!second || strcmp(text, second) != 0)
            abort();
        epl_release(ctx, text);
        epl_release(ctx, second);
        epl_graph_free(again);
    }
    epl_graph_free(g);
    epl_context_free(ctx);
    return 0;
}
