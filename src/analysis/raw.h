/* raw: a network as it sees images before they are normalised. */
#ifndef EPL_ANALYSIS_RAW_H
#define EPL_ANALYSIS_RAW_H

#include <espalier/analysis.h>
#include <espalier/program.h>

/* A program's graph, of a batch, to put the network in, with the normalisation that it needs in front. */
typedef struct epl_raw {
    const epl_model *model;
    epl_graph  *graph;   /* the caller adds outputs; nothing is in it at first */
    epl_shape   shape;   /* of a batch of images */
    epl_value **exits;   /* [n_exits] classifiers in the order of depth, once epl_raw_network was called */
    int         n_exits;
    const char *norm;    /* a word of augmentation, or "" */
    epl_arena  *arena;
} epl_raw;
bool epl_raw_open(const epl_model *m, const char *augment, int64_t batch, epl_raw *out); /* augment NULL: what the model says */
void epl_raw_close(epl_raw *r); /* accepts a zero value */

epl_value *epl_raw_input(epl_raw *r, const char *name);  /* images of the batch */
epl_value *epl_raw_normalise(epl_raw *r, epl_value *x);  /* what the network sees of them */
bool       epl_raw_network(epl_raw *r, epl_value *seen); /* runs it, once */

/* All samples as f32 [n, ...], prepared but for the normalisation, and their classes, i64 [n]. The caller owns both. */
bool epl_raw_images(const epl_model *m, epl_dataset *d, const char *augment, epl_tensor **x, epl_tensor **labels);

/* Copies images [first, first + count) of x into a batch, which is filled up with the first of them. Returns how many count. */
int64_t epl_raw_fill(const epl_tensor *x, int64_t first, epl_tensor *batch);

/* What every classifier says, asked again and again: a program made once. */
typedef struct epl_answers {
    const epl_model *model;
    epl_program     *program;
    int              n_exits;
    int64_t          classes;
} epl_answers;
bool epl_answers_open(const epl_model *m, const char *augment, int64_t batch, epl_answers *out);
void epl_answers_close(epl_answers *a); /* accepts a zero value */
bool epl_answers_to(const epl_answers *a, const epl_tensor *x, epl_progress progress,
                    epl_tensor *out); /* logits of images x [n, ...]: out [exits, n, classes] */

/* The first largest of n numbers, and what classifier `exit` says of sample i: logits [exits, n, classes]. */
int64_t epl_largest(const float *z, int64_t n);
int64_t epl_said(const epl_tensor *logits, int exit, int64_t i);

#endif
