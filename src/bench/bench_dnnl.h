/* oneDNN as a yardstick beside our convolutions in `espalier bench kernels`. Its library is loaded while the benchmark runs,
 * never linked; without its header at build time or its library at run time there is nothing to compare with. */
#ifndef EPL_BENCH_DNNL_H
#define EPL_BENCH_DNNL_H

#include <stdbool.h>

#include "kernels/kernels.h"

typedef enum epl_bench_pass { EPL_BENCH_FORWARD, EPL_BENCH_INPUT_GRADIENT, EPL_BENCH_WEIGHT_GRADIENT } epl_bench_pass;

typedef struct epl_dnnl epl_dnnl;
typedef struct epl_dnnl_conv epl_dnnl_conv;

epl_dnnl *epl_dnnl_open(void); /* NULL if it is not to be had */
void      epl_dnnl_close(epl_dnnl *d);

/* A convolution on x and y [n, h, w, c] as they lie; the weights are oneDNN's own, in the layout that it likes best, so that
 * their reordering is not in the time. NULL if it declines. */
epl_dnnl_conv *epl_dnnl_conv_new(epl_dnnl *d, const epl_conv_params *p, epl_bench_pass pass, float *x, float *y);
void           epl_dnnl_conv_run(epl_dnnl_conv *c); /* with as many threads as OpenMP is set to */
void           epl_dnnl_conv_free(epl_dnnl_conv *c);

#endif
