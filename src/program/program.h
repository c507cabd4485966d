/* program: the inside - blocks, buffers, steps - for the files that lower, plan, run and print programs.
 *
 * A block is a straight line of steps with its own buffers: the program's graph, or a region of a control-flow node. A
 * buffer is memory with a life: [first, last] in steps of its block. Steps name buffers by index, so that the planner can
 * place them and the compiler can print them; pointers are filled in once, when all places are known. */
#ifndef EPL_PROGRAM_H
#define EPL_PROGRAM_H

#include <espalier/program.h>

#include "graph/op.h"
#include "kernels/kernels.h"

typedef enum epl_place {
    EPL_PLACE_ARENA,    /* `offset` in the block's arena */
    EPL_PLACE_ONCE,     /* `offset` in the program's store of what is computed once */
    EPL_PLACE_SETUP,    /* `offset` in the memory that is there only while that is computed */
    EPL_PLACE_INPUT,    /* a graph input: index `offset` */
    EPL_PLACE_TENSOR,   /* a parameter or state: `tensor`, whose name is the producer's */
    EPL_PLACE_CONSTANT, /* a Constant's tensor */
    EPL_PLACE_PARENT    /* buffer `offset` of the block that holds this region */
} epl_place;

typedef struct epl_buffer {
    epl_place   place;
    int64_t     offset;
    size_t      bytes;
    int         first, last;  /* steps; last == n_steps: alive at the end */
    int         same_as;      /* shares the place of that buffer (a view, a result computed in place); -1: its own */
    const char *name;         /* of an input, parameter or state */
    const epl_tensor *tensor;
    void       *data;         /* resolved */
} epl_buffer;

typedef enum epl_step_kind { EPL_STEP_KERNEL, EPL_STEP_REFERENCE, EPL_STEP_COPY, EPL_STEP_BRANCH, EPL_STEP_LOOP } epl_step_kind;

typedef struct epl_block epl_block;

typedef struct epl_step {
    epl_step_kind     kind;
    const epl_node   *node;
    const epl_kernel *kernel;
    const void       *params;
    size_t            params_bytes;
    int               n_in, n_out, n_chain_in;
    int              *in, *out, *chain_in; /* buffers of the block; -1: absent */
    const epl_chain  *chain;
    int64_t           pieces;
    size_t            scratch;
    double            work;     /* of the node: operations, or bytes moved where they weigh more */
    bool              once;     /* depends on nothing that changes: runs when the program is made */
    unsigned          in_place; /* bit i: a result may take the place of input i, if it has that size and dies here */
    unsigned          chain_in_place; /* the same for inputs of the chain */
    const char       *declined; /* why no fast kernel, or NULL */
    epl_block       **blocks;   /* of control flow, by region */
    bool              gated;    /* a convolution of the channels that masks choose */
    int               temp;     /* control flow: the buffer that holds the blocks' arenas; -1 */
    /* resolved */
    epl_call          call;
    const void      **chain_data;
    epl_ref_call      ref;
    double            time_s;
    double            share;    /* gated: sum over the block's runs of the part that was computed */
} epl_step;

/* Starting threads costs about a microsecond when they are awake, twenty and more when they sleep; less work than this runs
 * where it is. `work` as above. */
static inline bool epl_worth_threads(int64_t pieces, double work)
{
    return pieces > 1 && work > 200e3;
}

struct epl_block {
    epl_program *program;
    epl_block   *parent;
    epl_graph   *graph;
    epl_step    *steps;
    size_t       n_steps, cap_steps;
    epl_buffer  *buffers;
    size_t       n_buffers, cap_buffers;
    const int   *outer;            /* of a region: the parent's buffers that its inputs stand for */
    int         *inputs, *outputs; /* buffers of the graph's inputs and outputs */
    int          n_inputs, n_outputs;
    size_t       arena_bytes;
    char        *arena;
    int64_t      runs; /* since counts were cleared */
};

epl_cost epl_step_cost(const epl_block *b, const epl_step *s); /* zero but for the step that does its node's work */

/* Whether a loop may end before its last iteration: it has a condition, or its body makes one. */
static inline bool epl_loop_may_stop(const epl_step *loop)
{
    const epl_block *body = loop->blocks[0];
    return loop->in[0] >= 0 || body->outputs[0] != body->inputs[1];
}

struct epl_program {
    epl_context          *ctx;
    epl_arena            *memory; /* steps' parameters, index arrays, blocks */
    epl_graph            *graph;
    epl_weights          *weights;
    epl_program_opts      opts;
    const epl_kernel_set *kernels;
    epl_block            *root;
    size_t                once_bytes, scratch_bytes;        /* scratch of one thread */
    size_t                setup_bytes, setup_scratch_bytes; /* the same for what is computed once */
    char                 *once, *arena, *scratch, *input_data;
    char                 *setup; /* the arena, where that is large enough; else there during epl_program_refresh alone */
    epl_tensor          **inputs, **outputs;
    epl_program_memory    memory_use;
    int                   n_threads;
    bool                  profile;
    double                profile_s;
    bool                  failed;
};

/* ---- for lowering (lower_*.c) ---- */

/* Turns one node into steps. Returns false if it declines, with the reason in *why (static text) and no step added. */
typedef bool epl_lower_fn(epl_block *b, const epl_node *n, const char **why);

int        epl_buffer_of(epl_block *b, const epl_value *v);       /* the value's buffer; -1 for NULL */
int        epl_buffer_new(epl_block *b, size_t bytes);            /* memory between the steps of one node */
epl_step  *epl_step_add(epl_block *b, const epl_node *n, epl_step_kind kind, int n_in, const int *in, int n_out, const int *out);

/* A kernel's step: params is copied. Pieces and scratch are asked of the kernel. NULL if out of memory. */
epl_step  *epl_kernel_add(epl_block *b, const epl_node *n, const char *kernel, const void *params, size_t params_bytes,
                          int n_in, const int *in, int n_out, const int *out);
bool       epl_has_kernel(const epl_block *b, const char *kernel);

/* A weight in a kernel's layout, by a step of the kernel `pack`: its buffer, or that of an earlier step which packs the same (a
 * recurrent layer's steps read one weight). epl_packed only looks: -1 where there is none; the first `key_bytes` of the
 * parameters are compared. */
int        epl_packed(const epl_block *b, const char *pack, const void *params, size_t key_bytes, int weight);
int        epl_pack(epl_block *b, const epl_node *n, const char *pack, const void *params, size_t params_bytes, int weight, size_t bytes);
void      *epl_block_alloc(epl_block *b, size_t bytes);           /* lives as long as the program */

/* Attaches an element-wise chain to the kernel step that produces what register 0 of the chain reads. The chain's results
 * become the step's: out[0] takes the place of the raw result. */
bool       epl_step_set_chain(epl_block *b, epl_step *s, const epl_chain *chain, int n_chain_in, const int *chain_in,
                              int n_out, const int *out);
bool       epl_lower_reference(epl_block *b, const epl_node *n, const char *declined); /* one step */
bool       epl_block_bind_constant(epl_block *b, const epl_node *constant);

/* The table of fast lowerings, by operator (lower.c). NULL: reference only. */
epl_lower_fn *epl_lower_of(const epl_op *op);

bool epl_plan(epl_program *p);                      /* lives, places, sizes (plan.c) */
void epl_resolve(epl_program *p);                   /* pointers (run.c) */
int  epl_plan_peak_step(const epl_block *b);        /* the step at which most bytes are alive */
size_t epl_setup_bytes(const epl_program *p);      /* buffers and scratch memory of what is computed once */
#define EPL_ALIGN(bytes) (((size_t)(bytes) + 63u) & ~(size_t)63u)

#endif
