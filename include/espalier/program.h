/* program: a graph lowered for one purpose - shapes fixed, memory planned to the byte, kernels chosen - and run many times.
 *
 * Running is a flat loop over steps: no allocation, no look-ups, no locks. Results have the same bits for any number of
 * threads. All memory is known, and taken, when the program is made. */
#ifndef ESPALIER_PROGRAM_H
#define ESPALIER_PROGRAM_H

#include <espalier/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct epl_program epl_program;

typedef struct epl_program_opts {
    bool        frozen;       /* parameters and states do not change between runs (unless this program updates them): what
                                 depends on them alone is computed once, weights are packed once */
    bool        sparse;       /* convolutions and linear layers whose weights are mostly zero run on lists of the others: of a frozen
                                 program, where epl_program_refresh then refuses weights with more non-zeros; of others, weights under
                                 masks that are mostly zero now, whose lists are made in every run and may become longer */
    bool        shifts;       /* of a frozen program: convolutions and linear layers whose weights are +-1 to +-128 times a factor for
                                 each output channel, all powers of two (ShiftWeight, a folded scale), run by integer additions to
                                 the bits of floats and keep codes of four bits; where their inputs are integers (quantised), by shifts
                                 and additions of integers, exactly. Less memory, but as a rule more time than products:
                                 kernels.h says what becomes of infinities and NaN. epl_program_refresh refuses other weights */
    size_t      block_bytes;  /* of a frozen program: narrow-wide-narrow pieces run strip by strip in so much memory
                                 (epl_fuse_blocks in passes.h); 0: layer by layer */
    bool        reference;    /* reference kernels only, no fusion: slow, for tests */
    bool        no_fusion;
    int         unroll;       /* loops of so many iterations, known beforehand, are written out; default 64, negative: none */
    bool        plain;        /* epl_pass_opts */
    bool        plan_only;    /* plan and report memory, allocate nothing; such a program cannot run */
    size_t      memory_limit; /* bytes for everything but the weights; 0: none. Met by recomputing activations, or refused
                                 with EPL_ERR_LIMIT and the least that would do */
    const char *isa;          /* "generic", "v3", "v4", "armv8"; default: the best that this machine runs */
} epl_program_opts;

/* What a program occupies, in bytes. `total` leaves out the weights, which belong to the model. */
typedef struct epl_program_memory {
    size_t arena;   /* activations, gradients, temporaries: the planned peak */
    size_t inputs;  /* the graph's inputs */
    size_t packed;  /* weights in the kernels' layout, and constants computed once */
    size_t scratch; /* private to threads, for all of them */
    size_t total;   /* of the above: exactly what is allocated */
    size_t setup;   /* beside that while epl_program_new and epl_program_refresh compute what is computed once; else given back */
    size_t weights; /* parameters and states */
    int    recomputed; /* values that are computed again to meet the limit */
} epl_program_memory;

/* Lowers a copy of `g`. `weights` holds its parameters and states, is borrowed for the life of the program, and is where
 * Update nodes write. Modes must be fixed before (a BatchNorm or Dropout that is left computes inference). NULL on failure. */
EPL_API epl_program *epl_program_new(const epl_graph *g, epl_weights *weights, epl_program_opts o);
EPL_API void         epl_program_free(epl_program *p);

EPL_API bool epl_program_run(epl_program *p);
EPL_API bool epl_program_refresh(epl_program *p); /* after the weights of a frozen program were changed from outside */

/* Tensors to fill before a run and to read after it (valid until the next run or refresh). Owned by the program. By index in the
 * graph's order, or by name (NULL if there is none). */
EPL_API int         epl_program_n_inputs(const epl_program *p);
EPL_API int         epl_program_n_outputs(const epl_program *p);
EPL_API epl_tensor *epl_program_input(epl_program *p, int i);
EPL_API epl_tensor *epl_program_output(epl_program *p, int i);
EPL_API epl_tensor *epl_program_input_named(epl_program *p, const char *name);
EPL_API epl_tensor *epl_program_output_named(epl_program *p, const char *name);

EPL_API epl_program_memory epl_program_memory_of(const epl_program *p);
EPL_API const epl_graph   *epl_program_graph(const epl_program *p); /* as lowered: fused, in the order of execution */
EPL_API const char        *epl_program_isa(const epl_program *p);

/* The steps, one line each: kernel, operator, scope, shapes, why a fast kernel declined. The caller owns the text. */
EPL_API char *epl_program_print(const epl_program *p);

/* What one run executes, counted from the plan: products and sums of convolutions and matrix products as their
 * kernels make them, and all else (element-wise operators, normalisations, pooling) as epl_cost counts it. A
 * multiply-add is one of each. Sparse weights count as dense ones; regions of control flow and what is computed once
 * are not counted. */
typedef struct epl_operations {
    double multiplications, float_additions;
    double integer_additions; /* to the bits of floats, in the place of multiplications; sums of integers */
    double shifts;            /* of integers */
    double others;
} epl_operations;
EPL_API epl_operations epl_program_operations(const epl_program *p);
EPL_API epl_operations epl_program_step_operations(const epl_program *p, int i); /* zeros for what is computed once */

/* Where the time goes. While profiling is on, each run adds to the steps' times. A step's time is spent in its kernel, on the
 * thread that takes longest; starting threads and waiting for them is in epl_program_time_s alone. */
typedef struct epl_step_profile {
    const char *kernel, *op, *scope; /* owned by the program */
    double      time_s;              /* of all profiled runs */
    epl_cost    cost;                /* of one run; of control flow the most that a run can cost */
} epl_step_profile;
EPL_API void             epl_program_set_profile(epl_program *p, bool on); /* turning it on clears the times */
EPL_API int              epl_program_n_steps(const epl_program *p);
EPL_API epl_step_profile epl_program_step(const epl_program *p, int i);
EPL_API double           epl_program_time_s(const epl_program *p); /* of all profiled runs, steps and what is between them */

/* Which paths are taken: how often each region of control flow ran since the program was made or the counts were cleared. Regions
 * are numbered node by node, outer ones before those in them. */
typedef struct epl_region_profile {
    const char *op, *scope;   /* of the node that holds it; owned by the program */
    int         node, region; /* the node's number among the nodes with regions; of its regions which */
    int         parent;       /* the region around it; -1: none */
    int64_t     runs;         /* of a loop's body: iterations */
    epl_cost    cost;         /* of one run, without the regions in it */
} epl_region_profile;
EPL_API int                epl_program_n_regions(const epl_program *p);
EPL_API epl_region_profile epl_program_region(const epl_program *p, int i);
EPL_API void               epl_program_clear_regions(epl_program *p);
EPL_API epl_cost           epl_program_outside(const epl_program *p); /* what every run costs, whatever is chosen */

/* What a step (epl_program_step) executed, in the mean of the runs since then: of control flow the regions that ran,
 * of gated convolutions the products of active channels. Before the first run, and where nothing is chosen, what it
 * costs. */
EPL_API epl_cost epl_program_step_executed(const epl_program *p, int i);

/* Programs by shape: search and varying batches make many. A cache returns the program of (graph, binding of the named
 * dimension, options), making it when it is new. It owns the programs; keeps at most `capacity`, dropping the least
 * recently used. */
typedef struct epl_program_cache epl_program_cache;
EPL_API epl_program_cache *epl_program_cache_new(epl_context *ctx, int capacity);
EPL_API void               epl_program_cache_free(epl_program_cache *c);
EPL_API epl_program       *epl_program_cached(epl_program_cache *c, const epl_graph *g, epl_weights *w, const char *dim,
                                              int64_t size, epl_program_opts o);

#ifdef __cplusplus
}
#endif
#endif
