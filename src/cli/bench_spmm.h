/* bench_spmm: products with sparse weights, for the verb bench. */
#ifndef EPL_CLI_BENCH_SPMM_H
#define EPL_CLI_BENCH_SPMM_H

#include "cli.h"

/* Shapes "OUTxIN@PIXELS,..." (NULL: those of MobileNetV1) and sparsities "0.8,0.9". */
bool cli_bench_spmm(cli *c, const char *shapes, const char *sparsities, epl_bench_spmm_opts o);

#endif
