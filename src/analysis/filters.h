/* filters: what the parts of filter banks share. Vectors are rows of floats, one filter or patch each, in the order
 * of a convolution's weight: [kernel, kernel, channels]. */
#ifndef EPL_FILTERS_H
#define EPL_FILTERS_H

#include <espalier/analysis.h>

/* A learner at work: n rows x of p numbers (in groups that are looked at together), `number` filters to learn. */
typedef struct epl_learner {
    epl_context *ctx;
    const float *x;
    int64_t      n;
    int          p, group, number;
    float       *filters; /* [number, p]; begins as random unit rows */
    int          made;    /* how many of them were learned; begins as all */
    int          rounds;
    epl_rng      rng;
    const epl_learn_opts *o;
} epl_learner;

typedef bool epl_learner_fn(epl_learner *l);
epl_learner_fn epl_learn_kmeans, epl_learn_kmeans_euclidean, epl_learn_som;                       /* learn_cluster.c */
epl_learner_fn epl_learn_hebb, epl_learn_hebb_wta, epl_learn_sanger;                              /* learn_hebb.c */
epl_learner_fn epl_learn_pca, epl_learn_sparse, epl_learn_autoencoder, epl_learn_rbm, epl_learn_samples; /* learn_code.c */

float epl_rows_dot(const float *a, const float *b, int p);
float epl_rows_normalise(float *a, int p); /* to length 1; returns what it was. Zero stays zero */
const float *epl_rows_draw(epl_learner *l); /* a random row of x */

/* A weight of any shape whose last axis counts the filters, by a method that draws. The caller owns it. */
epl_tensor *epl_filters_draw(epl_context *ctx, const char *method, epl_shape shape, double fan_in, double fan_out, uint64_t seed);

/* Means of columns [p], and the covariance [p, p]. */
void epl_rows_covariance(const float *x, int64_t n, int p, double *mean, double *c);

/* Eigenvalues (falling) and eigenvectors (as rows) of a symmetric matrix [n, n], which is destroyed. Jacobi's method. */
bool epl_eigen_symmetric(epl_context *ctx, double *a, int n, double *values, double *vectors);

#endif
