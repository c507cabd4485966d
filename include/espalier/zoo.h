/* zoo: architectures by name and options, "resnet:depth=20,classes=10,image=28,channels=1".
 *
 * Every model has one input "x" - images [N, image, image, channels] unless its table says otherwise, the batch named "N" - and
 * one output "logits" [N, classes] unless it says otherwise. */
#ifndef ESPALIER_ZOO_H
#define ESPALIER_ZOO_H

#include <espalier/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { EPL_ZOO_MAX_OPTIONS = 16 };

typedef struct epl_zoo_option {
    const char *name;    /* NULL ends the list */
    double      value;   /* default; for a choice its index */
    double      low, high; /* both included; low == high: any */
    const char *choices; /* "a|b|c", or NULL for a number */
    bool        real;    /* a fraction is allowed */
    const char *help;
} epl_zoo_option;

typedef struct epl_zoo_args epl_zoo_args;

typedef struct epl_zoo_entry {
    const char    *name, *summary, *paper;
    const char    *small; /* options of a network with every part that takes a moment to build, train and compile: for trying out */
    bool           own_head; /* what classifies belongs to the network: it does not take the options of heads */
    epl_zoo_option options[EPL_ZOO_MAX_OPTIONS];
    void (*build)(epl_graph *g, const epl_zoo_args *a); /* inputs, layers, outputs */
} epl_zoo_entry;

EPL_API int                  epl_zoo_count(void);
EPL_API const epl_zoo_entry *epl_zoo_at(int i);               /* sorted by name */
EPL_API const epl_zoo_entry *epl_zoo_find(const char *name);  /* NULL without an error */

/* All options of a model: its own, then those of heads, which every classifier takes:
 *
 *   head=linear|cosine|prototype   what reads the features; nn.h, "heads". With prototypes the second output is "distances"
 *                                  [N, prototypes], and the logits are their product with a weight, without bias
 *   embed=N                        a linear layer "embed" without bias, of this width, before it; 0: none
 *   head_scale=X                   of cosines; 0: chosen by the number of classes
 *   prototypes=N */
EPL_API int                   epl_zoo_n_options(const epl_zoo_entry *e);
EPL_API const epl_zoo_option *epl_zoo_option_at(const epl_zoo_entry *e, int i);

/* The graph of a description. An unknown model or option, or a value outside its range, is one sentence that names it and the
 * closest that exists. The graph's name is the full description. The caller owns the result. */
EPL_API epl_graph *epl_zoo_build(epl_context *ctx, const char *description);

/* A network of the zoo with other options, "image=384,window3=12", and the weights of m, which have to be all that
 * it needs and to fit. What makes m is its graph's name, so it must not have been rewritten since. The caller owns
 * the result. */
EPL_API epl_model *epl_zoo_rebuild(const epl_model *m, const char *changes);

/* Entry i with its options `small`. */
EPL_API epl_graph *epl_zoo_build_small(epl_context *ctx, int i);

/* For `build`: the options' values. The name must be in the entry's table. */
EPL_API int         epl_arg_int(const epl_zoo_args *a, const char *name);
EPL_API double      epl_arg_real(const epl_zoo_args *a, const char *name);
EPL_API const char *epl_arg_choice(const epl_zoo_args *a, const char *name); /* the chosen word; owned by the args */

/* ---- published weights --------------------------------------------------------------------------------------------------------
 * Networks under the names that torchvision and timm give them: "resnet50", "densenet121", "mobilenet_v2", "vit_b_16",
 * "vit_base_patch16_224", ... The description is what epl_zoo_build takes for the same network; NULL for an unknown name, with an
 * error that names the closest. */
EPL_API int         epl_zoo_n_published(void);
EPL_API const char *epl_zoo_published_name(int i);
EPL_API const char *epl_zoo_published_description(epl_context *ctx, const char *arch);

/* Fills m, a network of that description (another number of classes is fine), with a state dict of that
 * architecture: convolutions [O, I, H, W] become [H, W, I, O], linear layers [out, in] become [in, out], fused
 * query-key-value projections are split, other element types are converted. Every name has to be there, fit, and be
 * known, or it fails with the lists of what is missing, unexpected and misshapen (m is then filled in part);
 * "num_batches_tracked" is ignored. */
EPL_API bool epl_zoo_import_weights(epl_model *m, const epl_weights *w, const char *arch);

#ifdef __cplusplus
}
#endif
#endif
