/* The codes of shift_add.h, of integer weights that are powers of two. */
#include "kernels/shift_add.h"

EPL_KERNEL(shift_add_pack);

typedef struct packer {
    const epl_integer_conv_params *p;
    const void *w;
    int32_t     misfits;
} packer;

/* The code of tap `tap` of output channel m. Beyond the depth it does not matter. */
static unsigned code_at(packer *k, int64_t tap, int64_t m)
{
    if (tap >= epl_shift_depth(&k->p->conv))
        return 0;
    const int64_t at = tap * k->p->conv.m + m;
    const int     w = k->p->w_wide ? ((const int16_t *)k->w)[at] : ((const int8_t *)k->w)[at], a = w < 0 ? -w : w;
    unsigned      exponent = 0;
    while (a >> exponent > 1)
        exponent++;
    const unsigned most = (1u << (k->p->bits - 1)) - 1;
    k->misfits += a != 1 << exponent || exponent > most;
    return (exponent & most) | (w < 0 ? most + 1 : 0);
}

static unsigned unit_at(packer *k, int64_t unit, int64_t m)
{
    return k->p->bits == 2 ? code_at(k, 2 * unit, m) | code_at(k, 2 * unit + 1, m) << 2 : code_at(k, unit, m);
}

static void pack_all(packer *k, unsigned char *out)
{
    const epl_conv_params *c = &k->p->conv;
    const int64_t units = epl_shift_add_units(k->p), mg = c->m / c->groups;
    for (int64_t group = 0; group < c->groups; group++)
        for (int64_t u0 = 0, n; u0 < units; u0 += n) {
            n = epl_min(epl_shift_add_chunk(k->p), units - u0);
            for (int64_t j = 0; j < mg; j++)
                for (int64_t u = 0; u < n; u += 2)
                    out[epl_shift_add_at(k->p, group, u0, n, j) + (size_t)u / 2] =
                        (unsigned char)(unit_at(k, u0 + u, group * mg + j) | unit_at(k, u0 + u + 1, group * mg + j) << 4);
        }
}

int64_t EPL_K(shift_add_pack_pieces)(const void *params)
{
    (void)params;
    return 1;
}

size_t EPL_K(shift_add_pack_scratch)(const void *params)
{
    (void)params;
    return 0;
}

void EPL_K(shift_add_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    packer k = { .p = call->params, .w = call->in[0] };
    for (; begin < end; begin++) {
        unsigned char *out = call->out[0];
        memset(out, 0, epl_shift_add_bytes(k.p));
        pack_all(&k, out);
        memcpy(out + epl_shift_add_code_bytes(k.p), &k.misfits, sizeof k.misfits);
    }
}
