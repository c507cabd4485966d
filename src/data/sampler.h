/* sampler: orders of samples in which batches have a structure. Internal to the floor. */
#ifndef EPL_DATA_SAMPLER_H
#define EPL_DATA_SAMPLER_H

#include "data/source.h"

/* Positions in a data set, class by class; classes without a sample are left out. */
typedef struct epl_class_index {
    epl_context *ctx;
    int          n_classes;
    int64_t     *first; /* [n_classes + 1]: class k has members[first[k]] to members[first[k + 1] - 1] */
    int64_t     *members;
    int         *class_of; /* of each position, an index from 0 to n_classes - 1 */
    int64_t      count;
} epl_class_index;

/* Fails if the samples have no classes, or the sampler cannot make such batches of them. */
epl_class_index *epl_class_index_new(epl_context *ctx, const epl_dataset *d, epl_sampler s, int64_t batch);
void             epl_class_index_free(epl_class_index *ix); /* accepts NULL */

int64_t epl_sampler_length(epl_sampler s, int64_t count); /* samples of an epoch, of which the last may not fill a batch */
void    epl_sampler_order(const epl_class_index *ix, epl_sampler s, int64_t batch, epl_rng *r, int64_t *order, int64_t length);

#endif
