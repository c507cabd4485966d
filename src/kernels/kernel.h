/* kernel: what every kernel looks like.
 *
 * A kernel is a function over a range of pieces; it never sees a thread, never allocates and keeps no state. How the work
 * is cut into pieces depends on shapes alone, each output element is written by exactly one piece, and sums run in index
 * order, so the number of threads never changes a bit.
 *
 * This header and the kernels' files are C11, know nothing else of the library, and are pasted by the compiler into
 * stand-alone artifacts: what runs there is what was tested here. */
#ifndef EPL_KERNEL_H
#define EPL_KERNEL_H

#include <stddef.h>
#include <stdint.h>

enum { EPL_CALL_INPUTS = 16, EPL_CALL_OUTPUTS = 8 };

/* One call of one kernel. `params` points to the kernel's own struct, whose members are int64_t first and then double,
 * nothing else: so the planner can hash it and the compiler can print it knowing only the two counts. */
typedef struct epl_call {
    const void *in[EPL_CALL_INPUTS];
    void       *out[EPL_CALL_OUTPUTS];
    const void *params;
    const struct epl_chain *chain; /* element-wise program run on each finished piece of out[0], or NULL */
    const void *const      *chain_in; /* the chain's inputs beyond the piece itself */
} epl_call;

/* Runs pieces [begin, end). `scratch` is private to the calling thread, 64-byte aligned, of the size the kernel asked for. */
typedef void epl_kernel_fn(const epl_call *c, int64_t begin, int64_t end, void *scratch);

/* ---- the element-wise program ----------------------------------------------------------------------------------
 * A chain is a straight line of element-wise operators over registers, each register a tile of f32 that stays in the first
 * cache. Registers 0..n_in-1 are the inputs, register n_in+i is the result of step i; the n_out registers named in `out`
 * are stored. Fusion of element-wise nodes and the epilogue of a convolution are both this. */
enum { EPL_CHAIN_MAX_IN = 12, EPL_CHAIN_MAX_STEPS = 32, EPL_CHAIN_MAX_OUT = 4, EPL_CHAIN_MAX_OUTER = 7 };

typedef enum epl_chain_kind {
    EPL_CHAIN_FULL,   /* one element per element of the output */
    EPL_CHAIN_ROW,    /* a vector along the last axis, repeated for every row */
    EPL_CHAIN_COLUMN, /* one element per row (all axes but the last), repeated along the last axis */
    EPL_CHAIN_IMAGE,  /* a vector along the last axis per group of `rows_per_image` rows ([N,1,1,C] against [N,H,W,C]) */
    EPL_CHAIN_SCALAR,
    EPL_CHAIN_STRIDED /* any other broadcast: every axis has a stride, 0 where it repeats */
} epl_chain_kind;

#ifdef EPL_ARTIFACT /* in a compiled network a chain is a function: the operators, printed as C (src/compile/emit_chain.c) */
typedef struct epl_chain {
    void (*rows)(const epl_call *call, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
} epl_chain;
#else
typedef struct epl_chain {
    int64_t n_in, n_steps, n_out;
    int64_t rows, columns, rows_per_image;
    int64_t n_outer, outer[EPL_CHAIN_MAX_OUTER]; /* for STRIDED inputs: the axes that `rows` is the product of */
    int64_t in_stride[EPL_CHAIN_MAX_IN][EPL_CHAIN_MAX_OUTER + 1]; /* theirs, in elements; [n_outer]: along the last axis */
    int64_t in_kind[EPL_CHAIN_MAX_IN];   /* epl_chain_kind */
    int64_t in_dtype[EPL_CHAIN_MAX_IN];  /* epl_dtype: f32; bool, u8, i32, i64, f16, bf16 are converted on load */
    int64_t out_dtype[EPL_CHAIN_MAX_OUT];
    int64_t out[EPL_CHAIN_MAX_OUT];      /* registers of steps */
    int64_t op[EPL_CHAIN_MAX_STEPS];     /* enum made from src/ops/elementwise.def */
    int64_t arg[EPL_CHAIN_MAX_STEPS][3]; /* registers */
    double  attr[EPL_CHAIN_MAX_STEPS][2]; /* the operator's real attributes, alpha and beta */
} epl_chain;
#endif

/* Every symbol of a kernel file carries its instruction set's name: EPL_K(conv) is epl_v3_conv in the copy for x86-64-v3. */
#ifndef EPL_ISA
#define EPL_ISA generic
#endif
#define EPL_K_PASTE(isa, name) epl_##isa##_##name
#define EPL_K_EXPAND(isa, name) EPL_K_PASTE(isa, name)
#define EPL_K(name) EPL_K_EXPAND(EPL_ISA, name)

/* Declares a kernel's three functions; kernels.h says what they do. */
#define EPL_KERNEL(name)                                   \
    int64_t EPL_K(name##_pieces)(const void *params);      \
    size_t EPL_K(name##_scratch)(const void *params);      \
    void EPL_K(name)(const epl_call *call, int64_t begin, int64_t end, void *scratch)

#endif
