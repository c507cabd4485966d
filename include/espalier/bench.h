/* bench: how fast this machine and the kernels are.
 *
 * What `espalier bench kernels` prints: the peak of multiply-adds and the memory bandwidth, measured in the same
 * run, and for a list of convolutions the speed of forward, input gradient and weight gradient, as GFLOP/s (a
 * multiply-add is two; those with padding are not counted, so no share exceeds 100 %), as a share of that peak, and
 * against oneDNN where it is installed (interleaved with ours; the quotient is oneDNN's time / ours, so more than 1
 * means that we are faster). docs/bench.md says what exactly is compared. The time of a measurement is the least of
 * many. The lines of sparse convolutions have 90 % zeros and are compared with the dense kernel of the same shape;
 * their GFLOP/s count the dense one's work. So do those of low bits (`products`, `adds2` to `adds4`, `exponents`):
 * weights that are powers of two, inputs of 8 bits multiplied by, added by codes of 2 to 4 bits, and float inputs
 * whose exponents are added to. */
#ifndef ESPALIER_BENCH_H
#define ESPALIER_BENCH_H

#include <espalier/train.h>

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct epl_bench_kernels_opts {
    int         threads; /* default: the list with one thread, then with two */
    const char *filter;  /* default: all; else only lines of which `op shape pass` contains this text */
    bool        quick;   /* a tenth of the list, in some seconds */
    bool        json;    /* a list of { op, shape, batch, threads, pass, gflops, share_of_peak, vs_onednn, vs_dense } instead
                          * of a table; what was not measured is null */
} epl_bench_kernels_opts;

/* Measures and writes to `out`, line by line as the results come. Fails with EPL_ERR_MEMORY, or EPL_ERR_ARGUMENT if the filter
 * leaves nothing. */
EPL_API bool epl_bench_kernels(epl_context *ctx, FILE *out, epl_bench_kernels_opts o);

/* A training step with batch norms in each of their modes (passes.h): what is planned, and the median time of a step
 * in rounds of one step of each, as many as fit into `seconds` (at least 5), on random inputs. o.norms.pattern
 * chooses norms; its mode is not read. */
enum { EPL_N_NORM_MODES = 4 };
typedef struct epl_norm_mode_cost {
    epl_norm_mode      mode; /* train, eval, tune, deploy in this order */
    epl_program_memory memory;
    double             median_s;
} epl_norm_mode_cost;
EPL_API bool epl_bench_norm_modes(const epl_model *m, epl_step_opts o, double seconds, epl_norm_mode_cost out[EPL_N_NORM_MODES]);

/* Weights [in, out] of which a share is zero, times `pixels` rows of `in` channels, against the same product with
 * dense weights: Elsen et al. 2020, "Fast sparse convnets" (arXiv:1911.09723). Medians of runs in turn. */
typedef struct epl_bench_spmm_opts {
    int64_t  in, out, pixels; /* required */
    double   sparsity;
    int      block;           /* output channels that share their places: 1, 2, 4; default 1 */
    int      threads;         /* default 1 */
    double   seconds;         /* default 0.05 */
    uint64_t seed;            /* of the places */
} epl_bench_spmm_opts;

typedef struct epl_bench_spmm_result {
    double  dense_s, sparse_s;
    double  dense_gflops, useful_gflops; /* multiply-adds with weights that are not zero */
    int64_t nonzero, dense_bytes, packed_bytes;
    int     rows;   /* channels that share their places in the lists */
    bool    chosen; /* programs take the sparse kernel for it */
} epl_bench_spmm_result;

EPL_API bool epl_bench_spmm(epl_context *ctx, epl_bench_spmm_opts o, epl_bench_spmm_result *out);

/* What a measurement was made on. */
typedef struct epl_machine {
    char   cpu[128]; /* "" where the system does not tell */
    char   isa[32];  /* the instruction set that programs take: "v4" */
    int    cores;    /* of the machine, whatever this process may use */
    double memory_bytes;
} epl_machine;
EPL_API bool epl_machine_of(epl_context *ctx, epl_machine *out);

/* GFLOP/s of f32 multiply-adds, and GB/s of reading memory, with so many threads; each takes about 0.1 s. 0 when memory is out. */
EPL_API double epl_bench_peak_gflops(epl_context *ctx, int threads);
EPL_API double epl_bench_bandwidth_gbs(epl_context *ctx, int threads);

#ifdef __cplusplus
}
#endif
#endif
