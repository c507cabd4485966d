/* attack: what the files of attacks share. */
#ifndef EPL_ANALYSIS_ATTACK_H
#define EPL_ANALYSIS_ATTACK_H

#include "analysis/raw.h"

/* The attack on early exits; every option is filled in. */
epl_tensor *epl_attack_early(const epl_model *m, const epl_tensor *x, epl_attack_opts o, double *backward);

/* J of each image of a batch, [B], as nodes: `adversarial` and `clean` are what the network sees, y [B] is i64. */
epl_value *epl_early_objective(epl_graph *g, int n_exits, epl_value *const *exits, epl_value *y, epl_value *adversarial,
                               epl_value *clean, double c, double alpha);

#endif
