/* passes: general rewrites, graph in and graph out. Each states the tolerance that it keeps. */
#ifndef ESPALIER_PASSES_H
#define ESPALIER_PASSES_H

#include <espalier/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Gives a neutral model its training form: batch normalisation takes the batch's statistics and updates the running ones,
 * Dropout and DropPath draw masks with the graph's random key, LSTM, GRU and RNN become single steps. A graph that keeps its neutral nodes computes inference. */
EPL_API bool epl_set_training(epl_graph *g);

/* Puts an expression in a parameter's place: for each parameter whose name matches `pattern` (epl_glob), `build` returns the
 * value that its readers take instead, of the parameter's type, made of the parameter, of others and of states (use names with
 * a leading '/': the scope is the root). NULL, or the parameter itself, leaves it as it is. Updates of the parameter stay.
 * Returns how many were replaced; -1 with the graph failed. Do this before taking gradients. */
typedef epl_value *epl_reparameterize_fn(epl_graph *g, epl_value *parameter, void *user);
EPL_API int epl_reparameterize(epl_graph *g, const char *pattern, epl_reparameterize_fn *build, void *user);

/* The way back: every expression of weights alone becomes a parameter that holds its value - the first parameter of its shape
 * that it reads, or a new one - and parts that nothing reads any more leave the weights. */
EPL_API bool epl_bake(epl_model *m);

typedef struct epl_pass_opts {
    bool fuse;   /* element-wise chains and epilogues become Fused nodes */
    bool frozen; /* parameters are constants */
} epl_pass_opts;

/* What lowering does to a graph: settle shapes, inline regions with custom gradients, unroll recurrent layers, fold constants, simplify, fold normalisation
 * into the weights before it (if they are constants), merge common sub-expressions, remove what is dead, order, and (if asked) fuse. */
EPL_API bool epl_prepare(epl_graph *g, epl_pass_opts o);

/* Moves transposes towards the outputs, where those that undo each other vanish. Exact. An imported network in channels-first
 * order is left with transposes at its ends; the importer runs it. */
EPL_API bool epl_move_transposes(epl_graph *g);

/* Networks as other tools write them, in this library's words: products with weights and the biases added to them become Linear
 * layers, x * sigmoid(x) Silu, and so on. Within rounding. The importer runs it. */
EPL_API bool epl_recognise(epl_graph *g);

#ifdef __cplusplus
}
#endif
#endif
