/* compile: a model as C that stands alone.
 *
 * A compiled network is a folder: the plan of its program printed as C, the kernels that it uses (the library's own sources),
 * its weights, an example and a Makefile. It needs a C11 compiler that knows GCC's vector extensions (GCC, Clang), libc's
 * memcpy and memset, and libm; it has one static array of exactly the planned bytes, allocates nothing, knows no threads.
 * Control flow stays control flow. On the same instruction set, built by the same compiler, its results are those of the
 * library bit for bit; otherwise within the rounding of f32.
 *
 *     <name>.h, <name>.c   the function <name>_run(inputs..., outputs...) and its sizes
 *     <name>_weights.c     the weights as constants, or <name>.weights: a file that the caller reads into <name>_weights
 *     kernels/, ops/       the sources of the kernels that the network uses
 *     main.c, Makefile     an example: runs files of samples, measures the time of a run
 *
 * What depends on the weights alone (folded constants, packed or sparse weights) is computed now and stored. A graph with
 * Update nodes (a training step) compiles too: its parameters and states then live in an array that the step writes.
 *
 * A compiled network is not reentrant: its memory is static. Random operators need nothing more than their state. */
#ifndef ESPALIER_COMPILE_H
#define ESPALIER_COMPILE_H

#include <espalier/program.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum epl_weights_form {
    EPL_WEIGHTS_AUTO,   /* in the source up to 16 MiB, else in a file */
    EPL_WEIGHTS_SOURCE,
    EPL_WEIGHTS_FILE
} epl_weights_form;

/* A named dimension (the batch, a sequence length) and its size in the compiled network. */
typedef struct epl_binding {
    const char *dim;
    int64_t     size;
} epl_binding;

typedef struct epl_compile_opts {
    const char        *name;       /* of files and symbols, a C identifier; default "model". Networks of different names link
                                      together */
    const char        *target;     /* "generic", "x86-64-v3" ("v3"), "x86-64-v4" ("v4"), "aarch64" ("armv8"); default: the best
                                      that this machine runs */
    const epl_binding *bindings;   /* dimensions not listed keep the size that the graph has */
    int                n_bindings;
    epl_weights_form   weights;
    size_t             block_bytes; /* as in epl_program_opts: pieces that run strip by strip in so much memory; 0: layer by layer */
    int                unroll;     /* epl_program_opts */
    bool               plain;      /* likewise */
    int64_t            max_trip;   /* the most iterations of loops that have no limit; 0: such loops are refused */
    bool               dense;      /* weights that are mostly zero are treated like others; default: their zeros are left out */
    bool               shifts;     /* epl_program_opts: weights that are powers of two are added to exponents */
} epl_compile_opts;

/* What was written, in bytes. */
typedef struct epl_artifact {
    size_t arena;   /* static memory for activations and temporaries: what the plan says */
    size_t weights; /* constants */
    size_t state;   /* parameters and states that the network itself changes */
    size_t source;  /* the text of all files, weights left out */
} epl_artifact;

/* Writes the folder `dir` (made if it is not there). `out` may be NULL. */
EPL_API bool epl_compile(const epl_model *m, const char *dir, epl_compile_opts o, epl_artifact *out);

/* ---- verification --------------------------------------------------------------------------------------------------
 * Builds the compiled network in its folder with `make` and the system's compiler, runs it on samples, and compares with the
 * library's program on the same instruction set. */
typedef struct epl_verify_opts {
    const char *cc;        /* default: the target's: "gcc", or "aarch64-linux-gnu-gcc" elsewhere */
    const char *flags;     /* more flags for the compiler, such as "-Wall -Werror" */
    const char *runner;    /* what runs a foreign program; default "qemu-aarch64" for aarch64 elsewhere, else nothing */
    int64_t     n_samples; /* random ones; default 16 */
    uint64_t    seed;
    int         n_inputs;  /* given ones instead: */
    const epl_tensor *const *inputs; /* for each input of the graph the samples behind each other: [n * dims...] elements */
    bool        reference;  /* compare with reference kernels, not with the library's program of the same instruction set */
    double     *sample_us;  /* for each sample the least of five times, by the compiled network's own clock; NULL: not measured */
    int         bench_runs; /* of which latency_us is the median; 0: not measured */
} epl_verify_opts;

enum { EPL_VERIFY_MAX_OUTPUTS = 64 };

typedef struct epl_output_difference {
    const char *name;    /* the graph's */
    double      max_abs; /* of library - compiled; infinite where one is NaN and the other is not */
    double      max_ulp; /* in units in the last place of the library's value; of floating outputs */
    int64_t     n_different; /* elements whose bits differ */
} epl_output_difference;

typedef struct epl_verify_result {
    int                   n_outputs;
    epl_output_difference outputs[EPL_VERIFY_MAX_OUTPUTS];
    int64_t               n_samples;
    double                max_abs, max_ulp; /* over all outputs */
    int64_t               labels_different; /* samples where another element of output 0 is the largest */
    double                latency_us;       /* of a run, measured by the compiled network itself; 0 if not asked for */
    double                build_s;
} epl_verify_result;

/* `dir` and `o` as they were given to epl_compile (the name is read from the folder). False if it cannot be built or
 * run; differences are no failure. */
EPL_API bool epl_verify_artifact(const epl_model *m, const char *dir, epl_compile_opts o, epl_verify_opts v,
                                 epl_verify_result *out);

/* ---- dynamic networks ----------------------------------------------------------------------------------------------
 * Networks with If, Switch, Loop, IfEach and early exits: DyCL, Chen et al. 2023. Compiling keeps their control flow; what is said
 * here looks at it, cuts at it, and holds every path to the reference. Exits and IfEach are carried out first, what is known is
 * folded (epl_fold_control), and regions take and give what they must (epl_trim_regions). */

/* Blocks - straight lines of tensors, the logic that decides, the control - and where each goes on: as text, or for Graphviz. The
 * caller owns the text. */
EPL_API char *epl_control_flow(const epl_graph *g, bool dot);

typedef struct epl_partition_opts {
    int    unroll; /* epl_program_opts */
    double least;  /* choices between regions of at most so many operations are no cuts: all are computed, one is selected
                      (epl_select_small); default 0: each choice is a cut */
} epl_partition_opts;

typedef struct epl_partition_result {
    int networks, choices, loops;
} epl_partition_result;

/* Writes network_0.safetensors, ... - a model for each straight line, with the weights that it reads - and host.txt,
 * which says how to call them. What only passes a region is an alias there (v7 := v3). `out` may be NULL. */
EPL_API bool epl_partition(const epl_model *m, const char *dir, epl_partition_opts o, epl_partition_result *out);

typedef struct epl_paths_opts {
    epl_compile_opts  compile;
    const char       *dir;       /* where the compiled network goes; NULL: paths are counted and nothing is compiled */
    const char       *cc, *flags; /* epl_verify_opts */
    const epl_tensor *x;         /* samples [n, ...] of the first input; default: random ones, as other inputs */
    int64_t           n_samples; /* of random ones; default 64 */
    uint64_t          seed;
    int64_t           each;      /* samples of each path that the comparison takes; default 4 */
    int64_t           most;      /* all combinations of choices are forced if there are no more; default 64 */
} epl_paths_opts;

typedef struct epl_path {
    char   *name;    /* for each node with regions "1" (which ran), "-" (none), "x5" (iterations), "(2 3)" (how often each) */
    int64_t samples, forced; /* that took it, of the data and with choices forced */
    double  macs;    /* of one run */
} epl_path;

typedef struct epl_paths {
    epl_context  *ctx;
    epl_model    *model;    /* as the regions are of: with the input "force" i64 [choices] behind its own: the region of an If or Switch,
                             the iterations of a Loop that data can end; -1 leaves a choice free */
    epl_program  *program; /* its program: epl_program_region says what the regions are */
    int           n_regions, n_covered, n_reached; /* regions; that samples reach; that samples or forced choices reach */
    int64_t      *runs;     /* of each region, over all samples */
    epl_path     *paths;
    size_t        n_paths, cap_paths;
    int64_t       n_samples, n_forced, n_compared; /* n_forced: runs with choices forced */
    int          *path_of;  /* of each sample */
    double        expected_macs; /* of a sample, in the mean */
    double        max_abs;  /* compiled against reference kernels, over what was compared */
    int64_t       labels_different;
} epl_paths;

/* Which paths samples take, at what cost; then the compiled network against reference kernels: up to `each` samples
 * of each path, and choices forced, all combinations or what no sample reaches and each loop that data can end with
 * 0, 1 and all iterations. NULL on failure; differences are none. */
EPL_API epl_paths *epl_check_paths(const epl_model *m, epl_paths_opts o);
EPL_API void       epl_paths_free(epl_paths *p);

#ifdef __cplusplus
}
#endif
#endif
