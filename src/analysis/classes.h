/* classes: means of classes among embeddings, and which is nearest. Internal to the floor. */
#ifndef EPL_ANALYSIS_CLASSES_H
#define EPL_ANALYSIS_CLASSES_H

#include <espalier/analysis.h>

/* Length 1; zeros stay zeros. */
void epl_to_unit(float *z, int64_t width);

/* A copy whose rows are unit vectors (or, `as_it_is`, not). Release it. */
bool epl_embedded_unit(const epl_embedded *e, bool as_it_is, epl_embedded *out);

/* Positions of the samples of class c, into list; returns how many. */
int64_t epl_members(const epl_embedded *e, int c, int64_t *list);

/* The mean of these rows, made a unit vector unless `as_it_is`. */
void epl_mean_of(const epl_embedded *e, const int64_t *rows, int64_t n, bool as_it_is, float *mean);

/* The nearest of n_means rows of width e->width: the largest product, or (euclidean) the least distance; of equal
 * ones the first. *score (may be NULL) receives the product, or minus the squared distance. */
int epl_nearest(const float *z, int64_t width, const float *means, int n_means, bool euclidean, double *score);

#endif
