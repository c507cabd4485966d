/* The safetensors reader: every tensor of what it accepts lies in memory and can be read, and the set survives being written. */
#include <espalier/tensor.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int   runs;
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_weights *w = epl_weights_parse(ctx, data, size, "fuzz");
    uint64_t     sum = 0;
    for (int i = 0; w && i < epl_weights_count(w); i++) {
        const epl_tensor *t = epl_weights_at(w, i);
        sum ^= epl_hash(t->data, epl_tensor_bytes(t), 0);
        if (epl_weights_find(w, epl_weights_name(w, i)) != t)
            abort();
    }
    (void)*(volatile uint64_t *)&sum;
    if (w && runs++ % 64 == 0 && !epl_weights_save(w, "/dev/null")) // writing is slow beside reading
        abort();
    if (!w && epl_error_message(ctx)[0] == 0)
        abort();
    epl_weights_free(w);
    epl_context_free(ctx);
    return 0;
}
