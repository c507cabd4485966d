/* Pipelines from hostile bytes: read and checked, never run. */
#include <espalier/pipeline.h>

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_pipeline_free(epl_pipeline_parse(ctx, (const char *)data, size, "fuzz.yaml"));
    epl_context_free(ctx);
    return 0;
}
