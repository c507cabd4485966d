/* The ONNX importer: whatever it accepts must be a well-formed graph that prints and reads back. Seeds: the
 * small models of libonnx-testdata (`make fuzz` collects them). */
#include <espalier/onnx.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_model   *m = epl_onnx_parse(ctx, data, size, "fuzz", (epl_onnx_opts){ 0 });
    if (m) {
        char      *text = epl_graph_print(m->graph);
        epl_graph *again = text ? epl_graph_parse(ctx, text, strlen(text), "again") : NULL;
        if (!again)
            abort();
        epl_release(ctx, text);
        epl_graph_free(again);
    } else if (epl_error_code(ctx) == EPL_OK) {
        abort(); // refused without a sentence
    }
    epl_model_free(m);
    epl_context_free(ctx);
    return 0;
}
