/* cut_run: a training run that ends in the middle, and weights that have to be the same bits afterwards. */
#ifndef EPL_TESTS_CUT_RUN_H
#define EPL_TESTS_CUT_RUN_H

#include "common/check.h"

#include <espalier/train.h>

/* Trains m, at most until update `stop`, after which it is cut. With a folder for checkpoints it goes on from what is there. */
void test_train_until(test *t, epl_model *m, epl_dataset *d, epl_trainer_opts o, int64_t stop);

void test_same_weights(test *t, const epl_model *a, const epl_model *b); /* what a has, b has, too */

#endif
