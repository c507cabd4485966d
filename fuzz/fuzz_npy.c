/* The .npy reader: what it accepts has as many elements as its shape says, all of them readable. */
#include <espalier/tensor.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_tensor  *t = epl_npy_parse(ctx, data, size, "fuzz");
    double       sum = 0;
    for (int64_t i = 0; t && i < epl_tensor_count(t); i++)
        sum += epl_tensor_get(t, i);
    (void)*(volatile double *)&sum;
    if (!t && epl_error_message(ctx)[0] == 0)
        abort();
    epl_tensor_free(t);
    epl_context_free(ctx);
    return 0;
}
