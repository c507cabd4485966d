/* rng: Philox 4x32-10, a counter-based generator (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011), and a sequential view on its streams. */
#include <espalier/base.h>

#include <math.h>

void epl_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    const uint64_t m0 = 0xD2511F53u, m1 = 0xCD9E8D57u; // multipliers, table 2 of the paper
    const uint32_t w0 = 0x9E3779B9u, w1 = 0xBB67AE85u; // Weyl steps: golden ratio, sqrt(3) - 1
    uint32_t       c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++, k0 += w0, k1 += w1) {
        const uint64_t p0 = m0 * c0, p1 = m1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

epl_rng epl_rng_at(uint64_t seed, uint64_t stream)
{
    return (epl_rng){ .seed = seed, .stream = stream };
}

uint32_t epl_rng_u32(epl_rng *r)
{
    const uint64_t block = r->position / 4;
    const uint32_t counter[4] = { (uint32_t)block, (uint32_t)(block >> 32), (uint32_t)r->stream,
                                  (uint32_t)(r->stream >> 32) };
    const uint32_t key[2] = { (uint32_t)r->seed, (uint32_t)(r->seed >> 32) };
    uint32_t       out[4];
    epl_philox4x32(counter, key, out);
    return out[r->position++ % 4];
}

static uint64_t rng_u64(epl_rng *r)
{
    const uint64_t low = epl_rng_u32(r);
    return low | (uint64_t)epl_rng_u32(r) << 32;
}

/* The high word of draw * n; draws whose low word falls in the uneven remainder are refused (Lemire 2019,
 * arXiv:1805.10941, algorithm 5). */
uint64_t epl_rng_below(epl_rng *r, uint64_t n)
{
    const uint64_t    uneven = (0 - n) % n;
    unsigned __int128 product;
    do
        product = (unsigned __int128)rng_u64(r) * n;
    while ((uint64_t)product < uneven);
    return (uint64_t)(product >> 64);
}

float epl_rng_uniform(epl_rng *r)
{
    return (float)(epl_rng_u32(r) >> 8) * 0x1p-24f;
}

double epl_rng_uniform_f64(epl_rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

float epl_rng_normal(epl_rng *r)
{
    const double u = ((double)epl_rng_u32(r) + 1) * 0x1p-32; // (0, 1]: the logarithm is finite
    const double v = (double)epl_rng_u32(r) * 0x1p-32;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

void epl_rng_shuffle(epl_rng *r, int64_t *items, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        const size_t  j = (size_t)epl_rng_below(r, i);
        const int64_t kept = items[i - 1];
        items[i - 1] = items[j];
        items[j] = kept;
    }
}
