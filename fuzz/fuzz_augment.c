/* The list of augmentation words: whatever is accepted prints to a text that reads back as itself, and runs within its
 * buffers. The first byte chooses the sample's shape. */
#include <espalier/data.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(epl_context *ctx, const epl_augment *a, epl_shape shape)
{
    const int64_t n_in = epl_shape_count(shape), n_out = epl_shape_count(epl_augment_shape(a));
    const int64_t pixels = shape.rank == 3 ? epl_shape_count_from(epl_augment_shape(a), 0, 2) : 0;
    if (n_out > 1 << 16 || epl_augment_scratch_bytes(a) > 1 << 22)
        return; // legal, and slow
    float   *x = epl_alloc_array(ctx, (size_t)n_in, sizeof *x), *out = epl_alloc_array(ctx, (size_t)n_out, sizeof *out);
    int64_t *c = epl_alloc_array(ctx, (size_t)n_in, sizeof *c);
    int64_t *out_c = epl_alloc_array(ctx, (size_t)pixels + 1, sizeof *out_c);
    void    *scratch = epl_alloc_aligned(ctx, epl_augment_scratch_bytes(a));
    for (int64_t position = 0; position < 3; position++)
        epl_augment_sample(a, (epl_draw){ .seed = 1, .position = position }, x, shape.rank == 3 ? c : NULL, out, out_c, scratch);
    epl_release(ctx, x);
    epl_release(ctx, out);
    epl_release(ctx, c);
    epl_release(ctx, out_c);
    epl_release_aligned(ctx, scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const epl_shape shapes[] = { { 3, { 6, 5, 1 } }, { 3, { 1, 1, 3 } }, { 3, { 4, 7, 2 } }, { 1, { 9 } }, { 2, { 5, 2 } } };
    if (size < 1 || size > 2000)
        return 0;
    const epl_shape shape = shapes[data[0] % EPL_COUNT(shapes)];
    epl_context    *ctx   = epl_context_new((epl_context_opts){ .n_threads = 1 });
    char           *words = epl_alloc(ctx, size);
    memcpy(words, data + 1, size - 1);
    epl_augment *a = epl_augment_parse(ctx, words, shape);
    if (a) {
        epl_augment *again = epl_augment_parse(ctx, epl_augment_text(a), shape);
        if (!again || strcmp(epl_augment_text(a), epl_augment_text(again)) != 0)
            abort();
        run(ctx, a, shape);
        epl_augment_free(again);
    } else if (epl_error_code(ctx) == EPL_OK) {
        abort();
    }
    epl_augment_free(a);
    epl_release(ctx, words);
    epl_context_free(ctx);
    return 0;
}
