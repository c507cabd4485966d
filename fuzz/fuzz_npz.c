/* The .npz reader: zip directory, inflating, .npy members. Most damage dies at a member's checksum, so the archive is also opened
 * without asking for one: the sizes of all members together stay below what deflate can pack into the file. */
#include "base/gunzip.h"
#include "base/zip.h"

#include <espalier/tensor.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 1 });
    epl_weights *w = epl_npz_parse(ctx, data, size, "fuzz");
    if (!w && epl_error_message(ctx)[0] == 0)
        abort();
    epl_weights_free(w);

    epl_zip  z;
    uint64_t total = 0;
    if (epl_zip_open(ctx, data, size, "fuzz", &z)) {
        for (size_t i = 0; i < z.count; i++) {
            epl_release(ctx, epl_zip_read(&z, &z.members[i]));
            total += z.members[i].bytes;
        }
        if (total > (size + z.count) * EPL_GUNZIP_MAX_RATIO)
            abort();
    }
    epl_zip_close(&z);
    epl_context_free(ctx);
    return 0;
}
