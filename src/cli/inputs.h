/* inputs: one or two networks and tensors for their inputs. */
#ifndef EPL_CLI_INPUTS_H
#define EPL_CLI_INPUTS_H

#include "cli.h"

#define CLI_OPT_INPUTS(p)                                                                                                      \
    EPL_OPT_DIR(0, "inputs", p, "tensors for the inputs: <name>.npy, or input_0.npy or .pb and so on (default: random)")

/* The network with tensors for its inputs, which give named dimensions their sizes: from `dir`, or drawn with the seed if dir is
 * NULL. *inputs, by the names of the inputs, belongs to the caller, after a failure too. */
epl_model *cli_inputs_load(cli *c, const char *path, cli_dims d, const char *dir, epl_weights **inputs);

/* Another network for the same inputs: by its own names, or else in their order. */
epl_model *cli_inputs_load_beside(cli *c, const char *path, cli_dims d, const epl_model *first, const epl_weights *inputs);

/* <dir>/<stem>_<i>.npy or .pb; NULL without an error if there is neither. */
epl_tensor *cli_numbered_tensor(cli *c, const char *dir, const char *stem, int i);

#endif
