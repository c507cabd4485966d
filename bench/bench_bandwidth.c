/* bench_bandwidth: the kernels that are bound by memory, each on one thread, against memcpy in the same run.
 *
 *     build/bench_bandwidth [MIB]
 *
 * Tensors of MIB (default 32) MiB each. A kernel's GB/s are the bytes that it must read and write, once each, over
 * the shortest of many runs; memcpy's are the bytes that it reads and writes, timed in turn. A share above 1 means
 * that most of the traffic is reading, which is cheaper than writing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <espalier/base.h>

#include "kernels/kernels.h"
#include "ops/elementwise.h"

enum { RUNS = 25 };

static float *memory[6]; /* of `floats` floats each */
static int64_t floats;

/* The least of the kernel's times and of memcpy's, timed in turn: other work on the machine only ever adds. */
static void time_both(const epl_kernel *k, const epl_call *call, void *scratch, double *kernel_s, double *copy_s)
{
    const int64_t pieces = k->pieces(call->params);
    *kernel_s = *copy_s = 1e9;
    for (int i = 0; i < RUNS; i++) {
        const double start = epl_now_s();
        k->run(call, 0, pieces, scratch);
        const double middle = epl_now_s();
        memcpy(memory[5], memory[4], (size_t)floats * sizeof(float));
        const double end = epl_now_s();
        *kernel_s = middle - start < *kernel_s ? middle - start : *kernel_s;
        *copy_s = end - middle < *copy_s ? end - middle : *copy_s;
    }
}

/* `tensors`: how many times the size of a tensor it reads and writes. */
static void report(const char *label, const char *name, const void *params, epl_call call, double tensors)
{
    const epl_kernel *k = epl_kernel_find(epl_kernels(), name);
    void *scratch = aligned_alloc(64, (k->scratch(params) + 127) / 64 * 64);
    double kernel_s, copy_s;
    call.params = params;
    time_both(k, &call, scratch, &kernel_s, &copy_s);
    free(scratch);
    const double bytes = (double)floats * sizeof(float);
    printf("%-44s %8.3f ms %7.2f GB/s   memcpy %7.2f GB/s   share %5.2f\n", label, 1e3 * kernel_s, tensors * bytes / kernel_s / 1e9,
           2 * bytes / copy_s / 1e9, tensors * copy_s / (2 * kernel_s));
}

static epl_chain chain_of(int64_t rows, int64_t columns, int n_in, const int64_t *kinds, int n_steps, const int64_t (*steps)[4])
{
    epl_chain c = { .rows = rows, .columns = columns, .rows_per_image = rows, .n_in = n_in, .n_steps = n_steps, .n_out = 1,
                    .out_dtype = { 1 }, .out = { n_in + n_steps - 1 } };
    for (int i = 0; i < n_in; i++) {
        c.in_kind[i] = kinds[i];
        c.in_dtype[i] = 1;
    }
    for (int i = 0; i < n_steps; i++) {
        c.op[i] = steps[i][0];
        memcpy(c.arg[i], steps[i] + 1, sizeof c.arg[i]);
        c.attr[i][0] = 0.9;
    }
    return c;
}

#define FULL EPL_CHAIN_FULL
#define CHAIN(label, rows, columns, tensors, kinds, ...)                                                               \
    do {                                                                                                               \
        const int64_t kinds_[] = { EPL_UNPACK kinds }, steps_[][4] = { __VA_ARGS__ };                                  \
        const epl_chain c_ = chain_of(rows, columns, (int)EPL_COUNT(kinds_), kinds_, (int)EPL_COUNT(steps_), steps_);  \
        report(label, "chain", &c_, (epl_call){ .in = { memory[0], memory[1], memory[2], memory[3] }, .out = { memory[3] } }, tensors); \
    } while (0)
#define EPL_UNPACK(...) __VA_ARGS__

static void chains(void)
{
    const int64_t n = floats, c = 64, rows = n / c;
    CHAIN("add", rows, c, 3, (FULL, FULL), { EPL_EW_add, 0, 1 });
    CHAIN("relu", rows, c, 2, (FULL), { EPL_EW_relu, 0 });
    CHAIN("x * row + row, relu", rows, c, 2, (FULL, EPL_CHAIN_ROW, EPL_CHAIN_ROW), { EPL_EW_mul, 0, 1 },
          { EPL_EW_add, 3, 2 }, { EPL_EW_relu, 4 });
    CHAIN("x * column", rows, c, 2, (FULL, EPL_CHAIN_COLUMN), { EPL_EW_mul, 0, 1 });
    CHAIN("exp", rows, c, 2, (FULL), { EPL_EW_exp, 0 });
    CHAIN("sigmoid", rows, c, 2, (FULL), { EPL_EW_sigmoid, 0 });
    CHAIN("silu", rows, c, 2, (FULL), { EPL_EW_silu, 0 });
    CHAIN("tanh", rows, c, 2, (FULL), { EPL_EW_tanh, 0 });
    CHAIN("gelu", rows, c, 2, (FULL), { EPL_EW_gelu, 0 });
    CHAIN("8 steps on 3 tensors", rows, c, 4, (FULL, FULL, FULL), { EPL_EW_affine, 0 }, { EPL_EW_mul, 1, 1 }, { EPL_EW_add, 3, 4 },
          { EPL_EW_sqrt, 4 }, { EPL_EW_affine, 6 }, { EPL_EW_div, 5, 7 }, { EPL_EW_affine, 8 }, { EPL_EW_sub, 2, 9 });
}

static void norms(int64_t c)
{
    char label[64];
    const int64_t rows = floats / c;
    const epl_norm_params p = { 1, rows, c, 1, 1e-5 };
    float *parts = calloc((size_t)(epl_norm_splits(&p) * 2 * c), sizeof *parts), *few = calloc((size_t)(8 * c), sizeof *few);
#define NORM(kernel, tensors, ...)                                                                                     \
    snprintf(label, sizeof label, "%s, %d channels", kernel, (int)c);                                                  \
    report(label, kernel, &p, (epl_call){ __VA_ARGS__ }, tensors)
    NORM("norm_parts", 1, .in = { memory[0] }, .out = { parts });
    NORM("norm_apply", 2, .in = { memory[0], few, few }, .out = { memory[1] });
    NORM("norm_back_parts", 2, .in = { memory[0], memory[1], few, few }, .out = { parts });
    NORM("norm_dx", 3, .in = { memory[0], memory[1], few }, .out = { memory[2] });
    free(parts);
    free(few);
}

static void rows_and_reductions(void)
{
    const int64_t n = floats;
    float *few = calloc((size_t)n / 8, sizeof *few);
    const epl_row_norm_params ln = { n / 512, 512, 1, 1e-5 };
    report("row_norm, width 512", "row_norm", &ln, (epl_call){ .in = { memory[0], few, few }, .out = { memory[1] } }, 2);
    report("row_norm_back, width 512", "row_norm_back", &ln,
           (epl_call){ .in = { memory[0], memory[1], few }, .out = { memory[2], memory[3], memory[4] } }, 3);
    epl_reduce_params r = { 1, n, 1, EPL_REDUCE_SUM, 1, 1 };
    report("sum of all", "reduce", &r, (epl_call){ .in = { memory[0] }, .out = { few } }, 1);
    r = (epl_reduce_params){ 1, n / 64, 64, EPL_REDUCE_SUM, 1, 1 };
    r.parts = epl_reduce_parts(&r);
    report("sum of 64 columns", "reduce", &r, (epl_call){ .in = { memory[0] }, .out = { few } }, 1);
    r = (epl_reduce_params){ n / 64 / 49, 49, 64, EPL_REDUCE_SUM, 1, 1 };
    report("global average, 7x7x64", "reduce", &r, (epl_call){ .in = { memory[0] }, .out = { few } }, 1);
    r = (epl_reduce_params){ n / 128, 128, 1, EPL_REDUCE_MAX, 1, 1 };
    report("max of rows of 128", "reduce", &r, (epl_call){ .in = { memory[0] }, .out = { few } }, 1);
    const epl_softmax_params s = { n / 512, 512, 1 };
    report("softmax, rows of 512", "softmax", &s, (epl_call){ .in = { memory[0] }, .out = { memory[1] } }, 2);
    report("softmax_grad, rows of 512", "softmax_grad", &s, (epl_call){ .in = { memory[0], memory[1] }, .out = { memory[2] } }, 3);
    free(few);
}

static void movement(void)
{
    const int64_t n = floats / 12544 / 64;
    epl_pool_params p = { .n = n, .d = 1, .h = 112, .w = 112, .c = 64, .od = 1, .oh = 56, .ow = 56, .kd = 1, .kh = 2, .kw = 2, .sd = 1,
                          .sh = 2, .sw = 2, .dd = 1, .dh = 1, .dw = 1 };
    report("max pool 2x2 of 112x112x64", "pool", &p, (epl_call){ .in = { memory[0] }, .out = { memory[1] } }, 1.25);
    report("its gradient", "pool_back", &p, (epl_call){ .in = { memory[0], memory[1] }, .out = { memory[2] } }, 2.25);
    const int64_t m = 12544, c = 64, images = floats / m / c;
    const epl_copy_params t = {
        .rank = 3, .bytes = 4, .dim = { images, c, m }, .in_stride = { m * c, 1, c }, .out_stride = { m * c, m, 1 }
    };
    report("transpose [N, 12544, 64] of its last axes", "copy", &t, (epl_call){ .in = { memory[0] }, .out = { memory[1] } }, 2);
    const epl_copy_params u = {
        .rank = 3, .bytes = 4, .dim = { images, m, c }, .in_stride = { m * c, 1, m }, .out_stride = { m * c, c, 1 }
    };
    report("and back", "copy", &u, (epl_call){ .in = { memory[0] }, .out = { memory[1] } }, 2);
    const epl_concat_params j = { .outer = floats / 128, .n = 2, .width = { 64 * 4, 64 * 4 } };
    report("concat 64 + 64 channels", "concat", &j, (epl_call){ .in = { memory[0], memory[2] }, .out = { memory[1] } }, 2);
}

int main(int argc, char **argv)
{
    const int mib = argc > 1 ? atoi(argv[1]) : 32;
    if (mib < 4 || mib > 1024) {
        fprintf(stderr, "usage: bench_bandwidth [MIB]   4 to 1024\n");
        return 2;
    }
    floats = (int64_t)mib * (1 << 18);
    for (size_t i = 0; i < EPL_COUNT(memory); i++) {
        memory[i] = aligned_alloc(64, (size_t)floats * sizeof(float));
        if (!memory[i])
            return 1;
        for (int64_t k = 0; k < floats; k++)
            memory[i][k] = 0.25f + (float)(k % 101) / 101;
    }
    printf("%s, one thread, tensors of %d MiB\n", epl_kernels()->isa, mib);
    chains();
    norms(64);
    norms(512);
    rows_and_reductions();
    movement();
    for (size_t i = 0; i < EPL_COUNT(memory); i++)
        free(memory[i]);
    return 0;
}
