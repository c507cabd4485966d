/* gated: what gate_pack writes and gated_conv reads. In units of 4 bytes: the numbers of active input and output
 * channels, their positions, the image of active input channels with its padding [padded_h, padded_w, active], and
 * the weights of active channels in panels of output channels. Places are those of the largest case. */
#ifndef EPL_GATED_H
#define EPL_GATED_H

#include "kernels/kernels.h"

enum { EPL_GATE_PANEL = 32 }; /* the widest; a kernel takes two vectors */

typedef struct epl_gate_layout {
    int64_t padded_h, padded_w;
    int64_t in, out, image, weights, size; /* places, and the end */
} epl_gate_layout;

static inline epl_gate_layout epl_gate_layout_of(const epl_conv_params *p)
{
    const int64_t reach_h = (p->oh - 1) * p->sh + (p->kh - 1) * p->dh + 1, reach_w = (p->ow - 1) * p->sw + (p->kw - 1) * p->dw + 1;
    const int64_t h = p->h + p->ph, w = p->w + p->pw;
    epl_gate_layout l = { .padded_h = reach_h > h ? reach_h : h, .padded_w = reach_w > w ? reach_w : w };
    l.in      = 2;
    l.out     = l.in + p->c;
    l.image   = (l.out + p->m + 15) / 16 * 16;
    l.weights = l.image + (l.padded_h * l.padded_w * p->c + 15) / 16 * 16;
    l.size    = l.weights + (p->m + EPL_GATE_PANEL - 1) / EPL_GATE_PANEL * EPL_GATE_PANEL * p->kh * p->kw * p->c;
    return l;
}

#endif
