/* The reader of IDX files, plain and gzipped: what it accepts must be as large as it says. */
#include <espalier/data.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_tensor  *x   = epl_idx_parse(ctx, data, size, "fuzz");
    if (x) {
        uint64_t sum = 0;
        for (size_t i = 0; i < epl_tensor_bytes(x); i++)
            sum += ((const uint8_t *)x->data)[i];
        if (epl_error_code(ctx) != EPL_OK || sum == UINT64_MAX)
            abort();
    } else if (epl_error_code(ctx) == EPL_OK) {
        abort();
    }
    epl_tensor_free(x);
    epl_context_free(ctx);
    return 0;
}
