/* The index of sharded safetensors: the input is the index, beside it lies one shard. Whatever it accepts names
 * tensors that can be read. */
#include <espalier/tensor.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz-shards-XXXXXX", path[64];

static void remove_folder(void)
{
    char shard[64];
    snprintf(shard, sizeof shard, "%s/a.safetensors", folder);
    remove(shard);
    remove(path);
    remove(folder);
}

static void make_folder(void)
{
    static const char header[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"v\":{\"dtype\":"
                                 "\"U8\",\"shape\":[0],\"data_offsets\":[8,8]}}";
    const uint64_t length = sizeof header - 1;
    char           shard[64];
    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof path, "%s/m.index.json", folder);
    snprintf(shard, sizeof shard, "%s/a.safetensors", folder);
    FILE *f = fopen(shard, "wb");
    if (!f || fwrite(&length, 8, 1, f) != 1 || fwrite(header, length, 1, f) != 1 || fwrite("12345678", 8, 1, f) != 1 || fclose(f) != 0)
        abort();
    atexit(remove_folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*path)
        make_folder();
    FILE *f = fopen(path, "wb");
    if (!f || (size && fwrite(data, size, 1, f) != 1) || fclose(f) != 0)
        abort();
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_weights *w = epl_weights_open(ctx, path);
    uint64_t     sum = 0;
    for (int i = 0; w && i < epl_weights_count(w); i++)
        sum ^= epl_hash(epl_weights_at(w, i)->data, epl_tensor_bytes(epl_weights_at(w, i)), 0);
    (void)*(volatile uint64_t *)&sum;
    if (!w && epl_error_message(ctx)[0] == 0)
        abort(); // refused without a sentence
    epl_weights_free(w);
    epl_context_free(ctx);
    return 0;
}
