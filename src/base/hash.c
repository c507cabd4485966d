/* hash: XXH3 with 64 bits, compiled in from the header alone. */
#include <espalier/base.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t epl_hash(const void *data, size_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, bytes, seed);
}
