/* The convolution of one image with input and output channels left out: gate_pack gathers what is needed, gated_conv
 * multiplies it. */
#include "kernels/gated.h"
#include "kernels/vec.h"

EPL_KERNEL(gate_pack);
EPL_KERNEL(gated_conv);

enum { ROWS = 6, PANEL = 2 * VL };

/* ---- packing: one piece, because everything depends on the counts ---- */

int64_t EPL_K(gate_pack_pieces)(const void *params)
{
    (void)params;
    return 1;
}

size_t EPL_K(gate_pack_scratch)(const void *params)
{
    (void)params;
    return 0;
}

/* Positions of what is not zero; returns how many. A missing mask lets everything through. */
static int32_t list_active(const float *mask, int64_t n, int32_t *at)
{
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (!mask || mask[i] != 0.0f)
            at[count++] = (int32_t)i;
    return count;
}

static void gather_image(const epl_gated_params *p, const epl_gate_layout *l, const float *x, const float *mask,
                         const int32_t *in, int32_t n_in, float *to)
{
    const epl_conv_params *c = &p->conv;
    memset(to, 0, (size_t)(l->padded_h * l->padded_w * n_in) * sizeof *to);
    for (int64_t y = 0; y < c->h; y++)
        for (int64_t k = 0; k < c->w; k++) {
            const float *from = x + (y * c->w + k) * c->c;
            float       *row  = to + ((y + c->ph) * l->padded_w + k + c->pw) * n_in;
            for (int32_t i = 0; i < n_in; i++)
                row[i] = from[in[i]] * (mask ? mask[in[i]] : 1.0f);
        }
}

/* Panels of output channels, each [taps, inputs, PANEL]. */
static void gather_weights(const epl_conv_params *c, const float *w, const int32_t *in, int32_t n_in,
                           const int32_t *out, int32_t n_out, float *to)
{
    for (int32_t first = 0; first < n_out; first += PANEL) {
        const int32_t n = n_out - first < PANEL ? n_out - first : PANEL;
        for (int64_t tap = 0; tap < c->kh * c->kw; tap++)
            for (int32_t i = 0; i < n_in; i++, to += PANEL) {
                const float *row = w + (tap * c->c + in[i]) * c->m;
                for (int32_t j = 0; j < PANEL; j++)
                    to[j] = j < n ? row[out[first + j]] : 0.0f;
            }
    }
}

void EPL_K(gate_pack)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)begin, (void)end, (void)scratch;
    const epl_gated_params *p = call->params;
    const epl_gate_layout   l = epl_gate_layout_of(&p->conv);
    float   *buffer = call->out[0];
    int32_t *head = (int32_t *)call->out[0], *in = head + l.in, *out = head + l.out;
    head[0] = list_active(call->in[3], p->conv.c, in);
    head[1] = list_active(call->in[2], p->conv.m, out);
    gather_image(p, &l, call->in[0], call->in[3], in, head[0], buffer + l.image);
    gather_weights(&p->conv, call->in[1], in, head[0], out, head[1], buffer + l.weights);
}

/* ---- multiplying: a piece is ROWS pixels of the result ---- */

int64_t EPL_K(gated_conv_pieces)(const void *params)
{
    const epl_gated_params *p = params;
    return (p->conv.oh * p->conv.ow + ROWS - 1) / ROWS;
}

size_t EPL_K(gated_conv_scratch)(const void *params)
{
    (void)params;
    return 0;
}

typedef struct gated {
    const epl_gated_params *p;
    epl_gate_layout l;
    int32_t         n_in, n_out;
    const int32_t  *out;
    const float    *image, *weights, *bias, *mask;
} gated;

/* Channels out[first ..] of ROWS pixels, whose windows begin at `at`. */
static void multiply_panel(const gated *g, const float *const *at, int32_t first, float sum[ROWS][PANEL])
{
    const epl_conv_params *c = &g->p->conv;
    const float *b = g->weights + (int64_t)first / PANEL * c->kh * c->kw * g->n_in * PANEL;
    vf acc[ROWS][PANEL / VL];
    VEC_UNROLL
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < PANEL / VL; v++)
            acc[r][v] = vset(0.0f);
    for (int64_t ky = 0; ky < c->kh; ky++)
        for (int64_t kx = 0; kx < c->kw; kx++) {
            const int64_t off = (ky * c->dh * g->l.padded_w + kx * c->dw) * g->n_in;
            for (int32_t i = 0; i < g->n_in; i++, b += PANEL) {
                vf row[PANEL / VL];
                for (int v = 0; v < PANEL / VL; v++)
                    row[v] = vload(b + v * VL);
                VEC_UNROLL
                for (int r = 0; r < ROWS; r++) {
                    const vf a = vset(at[r][off + i]);
                    for (int v = 0; v < PANEL / VL; v++)
                        acc[r][v] += a * row[v];
                }
            }
        }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < PANEL / VL; v++)
            vstore(&sum[r][v * VL], acc[r][v]);
}

static void store_panel(const gated *g, int32_t first, int64_t rows, const float sum[ROWS][PANEL], float *y)
{
    const int32_t n = g->n_out - first < PANEL ? g->n_out - first : PANEL;
    for (int64_t r = 0; r < rows; r++)
        for (int32_t j = 0; j < n; j++) {
            const int32_t m = g->out[first + j];
            float value = sum[r][j] + (g->bias ? g->bias[m] : 0.0f);
            value = g->p->relu && value < 0.0f ? 0.0f : value;
            y[r * g->p->conv.m + m] = value * g->mask[m];
        }
}

void EPL_K(gated_conv)(const epl_call *call, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    const epl_gated_params *p = call->params;
    const epl_conv_params  *c = &p->conv;
    const int32_t *head = (const int32_t *)call->in[0];
    gated g = { .p = p, .l = epl_gate_layout_of(c), .n_in = head[0], .n_out = head[1], .bias = call->in[1], .mask = call->in[2] };
    g.out     = head + g.l.out;
    g.image   = (const float *)call->in[0] + g.l.image;
    g.weights = (const float *)call->in[0] + g.l.weights;
    for (int64_t piece = begin; piece < end; piece++) {
        const int64_t first = piece * ROWS, pixels = c->oh * c->ow, rows = pixels - first < ROWS ? pixels - first : ROWS;
        const float  *at[ROWS];
        float        *y = (float *)call->out[0] + first * c->m, sum[ROWS][PANEL];
        for (int64_t r = 0; r < ROWS; r++) {
            const int64_t pixel = first + (r < rows ? r : 0);
            at[r] = g.image + (pixel / c->ow * c->sh * g.l.padded_w + pixel % c->ow * c->sw) * g.n_in;
        }
        memset(y, 0, (size_t)(rows * c->m) * sizeof *y);
        for (int32_t m = 0; m < g.n_out; m += PANEL) {
            multiply_panel(&g, at, m, sum);
            store_panel(&g, m, rows, (const float(*)[PANEL])sum, y);
        }
    }
}
