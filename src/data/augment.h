/* augment: the words of an augmentation and what each does. Internal to the floor. */
#ifndef EPL_DATA_AUGMENT_H
#define EPL_DATA_AUGMENT_H

#include "data/image.h"

enum { EPL_WORD_ARGS = 32 };

/* A sample on its way: both buffers hold the largest sample of the list. A word works in place, or writes to the spare
 * buffers and turns the sample over. */
typedef struct epl_sample {
    float   *x, *spare;
    int64_t *classes, *spare_classes; /* [H, W], or NULL */
    float   *extra;                   /* the resize word's intermediate picture, the elastic word's fields */
} epl_sample;

typedef struct epl_word epl_word;

typedef struct epl_word_kind {
    const char *name, *form, *summary;     /* form: "erase:P[:MIN=0.02:MAX=0.33]" */
    int         min_args, max_args;
    struct { double low, high, def; } arg[4]; /* the last one's bounds hold for all that follow */
    bool        whole;                     /* arguments are whole numbers */
    bool        picture;                   /* needs [H, W, C] */
    bool        moves;                     /* changes where pixels are */
    bool        batch;                     /* works on whole batches */
    bool (*prepare)(epl_context *ctx, epl_word *w, const char *text); /* checks more, sets w->out and tables; may be NULL */
    void (*run)(const epl_word *w, epl_rng *r, epl_sample *s);        /* NULL for batch words */
} epl_word_kind;

struct epl_word {
    const epl_word_kind *kind;
    double               arg[EPL_WORD_ARGS];
    int                  n_args;
    epl_shape            in, out; /* of a sample; equal unless prepare says otherwise */
    int64_t              index;   /* in the list: tells the draws of equal words apart */
    float                mean[EPL_WORD_ARGS / 2], scale[EPL_WORD_ARGS / 2]; /* normalise */
    epl_filter           v, h;    /* resize */
    int64_t              extra;   /* floats of the sample's `extra`, where it is not resize's picture */
};

struct epl_augment {
    epl_context *ctx;
    epl_word    *words;
    int          n_words; /* sample words; batch words are below */
    epl_shape    in, out;
    int64_t      most, most_pixels, most_extra; /* elements of the largest sample, its pixels, and resize's need */
    double       mixup, cutmix;                 /* alpha, or 0 */
    char        *text;
};

extern const epl_word_kind epl_word_kinds[];
extern const int           epl_n_word_kinds;

/* The first word of the list that moves pixels, or NULL. */
const char *epl_augment_first_move(const epl_augment *a);

/* Beta(alpha, alpha), for tests. */
double epl_draw_beta(epl_rng *r, double alpha);

#endif
