/* data: samples, pictures, augmentation, and the loader that makes batches of them.
 *
 *   data set  -> sample i, raw           epl_dataset_open, epl_dataset_fetch
 *   augment   -> sample at a position    epl_augment_parse, a function of (seed, epoch, position) alone
 *   loader    -> batch at a step         epl_loader_next, prepared ahead by threads, seekable to any step
 *
 * Samples are channels last: [H, W, C] pictures, [L, C] sequences, [F] vectors, [L] tokens. */
#ifndef ESPALIER_DATA_H
#define ESPALIER_DATA_H

#include <espalier/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- data sets -----------------------------------------------------------------------------------------------
 * A data set is a view: a list of samples of a shared, immutable source. Subsets and splits are views of the same
 * source, each is freed by its owner, in any order, and the source goes with the last. */
typedef struct epl_dataset epl_dataset;

typedef enum epl_data_split {
    EPL_SPLIT_TRAIN = 0, /* what is there to learn from, less what EPL_SPLIT_VAL takes */
    EPL_SPLIT_TEST,      /* the source's own test part; refused where it has none */
    EPL_SPLIT_VAL        /* a random `val_fraction` of the training part, fixed by the seed */
} epl_data_split;

EPL_API bool epl_data_split_from_name(epl_context *ctx, const char *name, epl_data_split *out); /* "train", "test", "val" */

typedef struct epl_dataset_opts {
    epl_data_split split;
    const char    *dir;          /* where the files lie; default: the environment's ESPALIER_DATA, then the usual place */
    double         val_fraction; /* in [0, 1); default 0: train on everything */
    int64_t        limit;        /* at most this many samples, the first; default all */
    uint64_t       seed;         /* of generators and of the choice of the validation part */
} epl_dataset_opts;

/* Opens a data set by its description, NAME or NAME:key=value,key=value (a lone value without '=' is the first key's):
 *
 *   fashion-mnist                        Debian's dataset-fashion-mnist
 *   mnist                                the four IDX files of MNIST, under `dir`
 *   idx:images=FILE,labels=FILE          any pair of IDX files, gzipped or not; rank 3 images get one channel
 *   cifar10, cifar100[:labels=coarse]    the "binary version", under `dir`
 *   folder:DIR[,image=N]                 a sub-folder per class with PNG and JPEG files; DIR/train, DIR/test and DIR/val
 *                                        are the splits where they exist; image=N: short side to N, centre N x N
 *   npz:FILE                             members x and y, or x_train, y_train, x_test, y_test
 *   npy:x=FILE,y=FILE
 *   csv:FILE[,shape=8x8x1][,scale=S]     numbers, the last column is the class; a .gz is read as well
 *   text[:PATH][,window=64][,test=0.1]   characters of a file, or of all files of a folder, in the order of their paths: x is i64
 *                                        [window], y the characters that come next, i64 [window]. 96 symbols: newline is 0, the
 *                                        printable ASCII characters are 1 to 95; a tab is read as a space, any other character
 *                                        as '?'. Windows lie end to end; the last tenth of every file is the test part. Default:
 *                                        the manual of CMake, 2.5 million characters that Debian 12's cmake-data installs
 *   blobs, moons, spirals, shapes, shapes-masks, waves, order, adding, tissue, noise   generated; see epl_dataset_kind_at
 *
 * A path that names a folder, a .npz, a .csv or a .txt file is understood without its kind. Errors say which key or file is
 * wrong, what was expected, and the package that brings a missing data set. The caller owns the result. */
EPL_API epl_dataset *epl_dataset_open(epl_context *ctx, const char *description, epl_dataset_opts o);
EPL_API void         epl_dataset_free(epl_dataset *d); /* accepts NULL */

/* One kind of data set, for lists and --help. Static. */
typedef struct epl_dataset_kind {
    const char *name;    /* "fashion-mnist" */
    const char *keys;    /* "classes=4,features=2": the keys with their defaults; "" without */
    const char *summary; /* one line */
} epl_dataset_kind;

EPL_API int                     epl_dataset_kind_count(void);
EPL_API const epl_dataset_kind *epl_dataset_kind_at(int i);

/* What a sample is. y is a class (i64, rank 0), a class per pixel (i64 [H, W]) or per token (i64 [L]), or numbers
 * (f32, n_classes 0). */
typedef struct epl_dataset_info {
    const char *name;      /* the data set owns it */
    int64_t     count;
    epl_dtype   x_dtype;   /* u8 (a batch scales it by 1/255), f32, or i64 for tokens */
    epl_shape   x_shape;   /* of one sample */
    epl_dtype   y_dtype;
    epl_shape   y_shape;
    int         n_classes;
} epl_dataset_info;

EPL_API epl_dataset_info epl_dataset_info_of(const epl_dataset *d);
EPL_API const char      *epl_dataset_class_name(const epl_dataset *d, int c); /* never NULL: "3" where no name is known */

/* Copies sample i: x_shape elements of x_dtype to `x`, y_shape elements of y_dtype to `y`; either may be NULL. */
EPL_API bool epl_dataset_fetch(epl_dataset *d, int64_t i, void *x, void *y);

/* Samples [first, first + count) as tensors [count, ...]: x as f32 (u8 scaled by 1/255) or i64, y as it is.
 * The caller owns both. Either may be NULL. */
EPL_API bool epl_dataset_tensors(epl_dataset *d, int64_t first, int64_t count, epl_tensor **x, epl_tensor **y);

/* Views; the caller owns them. `indices` are copied; a sample may occur more than once. */
EPL_API epl_dataset *epl_dataset_subset(epl_dataset *d, const int64_t *indices, int64_t n);
EPL_API epl_dataset *epl_dataset_range(epl_dataset *d, int64_t first, int64_t count);
/* A copy, in memory, of the samples of these classes alone; the class classes[k] becomes k. The caller owns it.
 * Fails if a class is named twice or has no sample. */
EPL_API epl_dataset *epl_dataset_of_classes(epl_dataset *d, const int *classes, int n);
/* A copy, in memory, of every square image turned to the left by 0, 90, 180 and 270 degrees, sample 4 i + k by k
 * quarters; the class is k. A task without labels: Gidaris et al. 2018 (arXiv:1803.07728). The caller owns it. */
EPL_API epl_dataset *epl_dataset_of_rotations(epl_dataset *d);
/* Puts a random `fraction` of the samples in *part and the others in *rest, each in the order of d. */
EPL_API bool epl_dataset_cut(epl_dataset *d, double fraction, uint64_t seed, epl_dataset **rest, epl_dataset **part);

/* Every sample with these words of augmentation (see below) applied to it once, as at epoch 0 of that seed: another
 * domain to test on, or to train on, in memory. Batch words are refused. The caller owns it. */
EPL_API epl_dataset *epl_dataset_augmented(epl_dataset *d, const char *words, uint64_t seed);

/* Adds a few lines for people: name, count, shapes, classes with their counts. Reads every label. */
EPL_API bool epl_dataset_describe(epl_dataset *d, epl_text *out);

/* A data set made of tensors x [N, ...] and y [N, ...] (dtypes are converted as epl_dataset_info says; y may be NULL:
 * all zero). The tensors are consumed, even on failure. Pictures [N, H, W] of u8 get one channel. */
EPL_API epl_dataset *epl_dataset_from_tensors_take(epl_context *ctx, const char *name, epl_tensor *x, epl_tensor *y);

/* IDX, the format of MNIST: magic 0 0 type rank, big-endian dimensions, data; plain or gzipped. Nothing is allocated
 * that the file's own size does not cover (gzip: its best possible ratio). `name` is for messages. The caller owns
 * the tensor. */
EPL_API epl_tensor *epl_idx_load(epl_context *ctx, const char *path);
EPL_API epl_tensor *epl_idx_parse(epl_context *ctx, const void *data, size_t bytes, const char *name);

/* ---- pictures ------------------------------------------------------------------------------------------------
 * A picture is a tensor [H, W, C]: u8, C = 1, 3 or 4. All functions that return one give it to the caller. */
typedef struct epl_image_opts {
    int     channels;   /* 1 or 3: convert, transparent parts lie on white; 4 keeps alpha (PNG); default 1 or 3, as the
                           file */
    int64_t max_pixels; /* larger pictures are refused before they are decoded; default 67108864 (8192 x 8192) */
} epl_image_opts;

EPL_API epl_tensor *epl_image_load(epl_context *ctx, const char *path, epl_image_opts o); /* PNG or JPEG, by content */
EPL_API epl_tensor *epl_image_parse(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_image_opts o);
EPL_API bool        epl_image_save_png(epl_context *ctx, const char *path, const epl_tensor *image);
/* PNG in memory: the caller owns *data (epl_release). */
EPL_API bool        epl_image_encode_png(epl_context *ctx, const epl_tensor *image, void **data, size_t *bytes);

typedef struct epl_image_resize_opts {
    bool nearest;      /* default: bilinear (triangle filter) */
    bool no_antialias; /* default: when shrinking, the filter widens by the ratio, so that every pixel counts */
} epl_image_resize_opts;

/* u8 or f32 [H, W, C] -> the same type [height, width, C]. Sample centres lie at (i + 0.5) * in / out - 0.5. */
EPL_API epl_tensor *epl_image_resize(epl_context *ctx, const epl_tensor *image, int64_t height, int64_t width,
                                     epl_image_resize_opts o);
EPL_API epl_tensor *epl_image_centre_crop(epl_context *ctx, const epl_tensor *image, int64_t height, int64_t width);
/* 1 -> 3 repeats; 3 -> 1 is ITU-R BT.601 luma, 0.299 R + 0.587 G + 0.114 B; 4 loses alpha. u8 or f32. */
EPL_API epl_tensor *epl_image_channels(epl_context *ctx, const epl_tensor *image, int channels);

/* ---- augmentation --------------------------------------------------------------------------------------------
 * A list of words, in the order in which they are applied, for example
 *
 *   pad-crop:4,flip,cutout:8,normalise:0.286:0.353,mixup:0.2
 *
 * Values are in [0, 1] where the source was u8, until a `normalise`. What a geometric word brings in from outside the
 * picture is 0. P is a probability, default as shown.
 *
 *   pad-crop:N                 N zeros on every side, then a window of the old size at a random place
 *   flip[:P=0.5] vflip[:P=0.5] mirror left-right, top-bottom
 *   rotate:DEG                 by uniform +-DEG about the centre, bilinear
 *   affine:DEG:SHIFT:SCALE[:SHEAR]  rotation +-DEG, shift +-SHIFT of the size, scale in [1-SCALE, 1+SCALE], shear +-SHEAR degrees
 *   elastic:ALPHA[:SIGMA=4]    each pixel is taken from a place that lies a smooth random field away: noise of +-ALPHA, under a Gaussian
 *                              of std SIGMA (Simard et al. 2003), bilinear
 *   resized-crop:MIN[:MAX=1]   a window of MIN..MAX of the area, aspect 3/4..4/3, resized to the old size
 *   cutout:N                   an N x N square about a random pixel becomes 0 (DeVries & Taylor 2017)
 *   erase:P[:MIN=0.02:MAX=0.33]  with P, a rectangle of MIN..MAX of the area becomes 0 (Zhong et al. 2017)
 *   brightness:B contrast:K    times 1 +- B; about the picture's mean by 1 +- K
 *   colour-shift:GAMMA:LOW:HIGH:DARK:BRIGHT  another camera or light: x to the power exp(+-GAMMA), then each channel times
 *                              LOW..HIGH plus DARK..BRIGHT, all uniform
 *   noise:STD                  adds normal noise
 *   normalise:MEAN:STD         (x - mean) / std; or all means, then all stds, one per channel
 *   resize:H[:W] centre-crop:H[:W] gray rgb    fixed changes of the sample's shape
 *   mixup:ALPHA cutmix:ALPHA   on whole batches, last in the list: lambda from Beta(ALPHA, ALPHA) (Zhang et al. 2017,
 *                              Yun et al. 2019); with both, each batch takes one or the other
 *
 * Vectors and sequences take normalise, noise, brightness, contrast and mixup. Where y is a class per pixel, geometric
 * words move it too, without interpolation; other targets of rank 2 and more refuse them. */
typedef struct epl_augment epl_augment;

/* `sample` is the shape that comes in. NULL or "" is the empty list. An error names the word and what is expected. The
 * caller owns the result. */
EPL_API epl_augment *epl_augment_parse(epl_context *ctx, const char *words, epl_shape sample);
EPL_API void         epl_augment_free(epl_augment *a);
EPL_API epl_shape    epl_augment_shape(const epl_augment *a);  /* of a sample that comes out */
EPL_API bool         epl_augment_mixes(const epl_augment *a);  /* has mixup or cutmix, so labels become soft */
/* Same text whenever the same is done; for cache keys. The augmentation owns it. */
EPL_API const char  *epl_augment_text(const epl_augment *a);

/* The vocabulary, for lists and --help. Static; empty beyond the last. */
typedef struct epl_augment_word {
    const char *form, *summary; /* "pad-crop:N", "zeros on every side, then a window of the old size" */
} epl_augment_word;

EPL_API int              epl_augment_word_count(void);
EPL_API epl_augment_word epl_augment_word_at(int i);

/* Where a draw is made: the whole state of augmentation. */
typedef struct epl_draw {
    uint64_t seed;
    int64_t  epoch, position; /* the sample's place in the epoch's order; for a batch, its step */
} epl_draw;

/* The sample words on one sample x [..] f32 (and classes [H, W] i64, or NULL): results go to `out` and `out_classes`,
 * of epl_augment_shape. `scratch` is epl_augment_scratch_bytes of 16-byte aligned memory. Any number of threads may
 * share one epl_augment. */
EPL_API size_t epl_augment_scratch_bytes(const epl_augment *a);
EPL_API void   epl_augment_sample(const epl_augment *a, epl_draw at, const float *x, const int64_t *classes, float *out,
                                  int64_t *out_classes, void *scratch);

/* The batch words, in place, on n samples x [n, ..]: sample i has the partner (i + shift) mod n, and
 *   soft[i] = lambda onehot(label i) + (1 - lambda) onehot(label of the partner).
 * lambda and shift (1 to n - 1) are drawn once per batch. soft is [n, n_classes]; without mixup or cutmix it becomes one-hot.
 * `scratch` holds n samples. */
EPL_API void epl_augment_batch(const epl_augment *a, epl_draw at, float *x, const int64_t *labels, int64_t n, int n_classes,
                               float *soft, float *scratch);

/* ---- loader --------------------------------------------------------------------------------------------------
 * Batches of a data set, prepared ahead by threads into a ring. What a batch holds is a function of the data set, the
 * options and (epoch, step) alone: not of the number of workers, nor of where one started. */
typedef struct epl_loader epl_loader;

/* Batches with a structure, for losses that compare samples. They need a class for each sample. */
typedef enum epl_sampler_kind {
    EPL_SAMPLER_PLAIN = 0, /* every sample once an epoch */
    EPL_SAMPLER_PAIRS,     /* two by two: by turns of one class and of two. Each sample is the first of a pair once an epoch */
    EPL_SAMPLER_TRIPLETS,  /* three by three: an anchor, another one of its class, one of another. Each is an anchor once an epoch */
    EPL_SAMPLER_BALANCED   /* each batch: some random classes, the same number of samples of each, class after class. An epoch has as
                              many samples as the data set */
} epl_sampler_kind;
typedef struct epl_sampler {
    epl_sampler_kind kind;
    int              classes; /* BALANCED: in a batch, whose size they divide; required */
} epl_sampler;

typedef struct epl_loader_opts {
    int64_t     batch;       /* required; with a sampler whole pairs, triplets, classes */
    bool        shuffle;     /* a new order each epoch, from (seed, epoch) */
    epl_sampler sampler;     /* other than PLAIN: instead of shuffle; every epoch is of whole batches */
    bool        drop_last;   /* default: the last batch is filled up with the epoch's first samples, of weight 0 */
    uint64_t    seed;
    const char *augment;     /* words; default none */
    int         n_workers;   /* default 1 */
    bool        no_prefetch; /* no threads at all: batches are made inside epl_loader_next */
    int         n_ahead;     /* batches kept ready, default n_workers + 2 */
    int64_t     n_epochs;    /* default 0: without end */
} epl_loader_opts;

/* Valid until the next call with the same loader, which owns all of it. */
typedef struct epl_batch {
    int64_t           epoch, step;  /* step counts within the epoch */
    int64_t           n_valid;      /* the first n_valid samples count, the others have weight 0 */
    const epl_tensor *x;            /* f32 [batch, ...], or i64 for tokens */
    const epl_tensor *labels;       /* i64 [batch] (or [batch, H, W]), or f32 [batch, ...]; of sample i, whatever is mixed in */
    const epl_tensor *soft;         /* f32 [batch, n_classes] with mixup or cutmix, else NULL */
    const epl_tensor *weights;      /* f32 [batch], 1 or 0 */
    const int64_t    *indices;      /* [batch], into the data set */
} epl_batch;

/* Keeps what it needs of d, which may be freed before it. The caller owns the loader. */
EPL_API epl_loader *epl_loader_new(epl_context *ctx, epl_dataset *d, epl_loader_opts o);
EPL_API void        epl_loader_free(epl_loader *l);        /* stops the threads, from any state; accepts NULL */
EPL_API int64_t     epl_loader_steps(const epl_loader *l); /* per epoch */
EPL_API epl_shape   epl_loader_x_shape(const epl_loader *l); /* [batch, ...] after augmentation */

/* The next batch; after an epoch's last comes the next epoch's first. Returns false at the end (n_epochs, no error
 * recorded) or on failure (a file that cannot be read; recorded). */
EPL_API bool epl_loader_next(epl_loader *l, epl_batch *out);
/* The next batch will be that of (epoch, step); step may equal epl_loader_steps, which is (epoch + 1, 0). */
EPL_API bool epl_loader_seek(epl_loader *l, int64_t epoch, int64_t step);
/* How long epl_loader_next has waited for workers so far: near 0 when they keep up. */
EPL_API double epl_loader_wait_s(const epl_loader *l);

/* ---- slides ---------------------------------------------------------------------------------------------------
 * Pictures too large for a network, of which the label alone is known: histology. A slide becomes a mosaic of a few tiles, Kalra
 * et al. 2020 (arXiv:1911.08748), and of these the richest in cell nuclei stay, Riasatian et al. 2021 (arXiv:2101.07903), sec. 3. */

/* Colour deconvolution, Ruifrok & Johnston 2001: u8 [H, W, 3] -> concentrations f32 [H, W, 3] of haematoxylin, eosin and what is
 * left, OD M^-1 with OD = -ln((I + 1) / 256) and the rows of epl_stain_matrix. The caller owns it. */
EPL_API epl_tensor *epl_image_stains(epl_context *ctx, const epl_tensor *image);
EPL_API void        epl_stain_matrix(double m[9]);
EPL_API double      epl_otsu(const double *histogram, int n); /* the first bin of the upper class: Otsu 1979 */
EPL_API epl_tensor *epl_image_tile(epl_context *ctx, const epl_tensor *image, int64_t top, int64_t left, int64_t height, int64_t width);

typedef struct epl_slide_tile {
    int64_t top, left;       /* pixels */
    double  tissue, score;   /* share of tissue; score, of tiles of the mosaic */
    int     cluster;         /* of its colour */
    bool    in_mosaic, kept; /* near a centre; of these, among the highest scores */
} epl_slide_tile;

typedef enum epl_tile_score {
    EPL_SCORE_CELLULARITY = 0, /* the share of pixels that are nuclei: haematoxylin above Otsu's threshold of the mosaic */
    EPL_SCORE_RANDOM,
    EPL_SCORE_FUNCTION
} epl_tile_score;

typedef struct epl_mosaic_opts {
    int64_t tile;     /* pixels, both ways; tiles do not overlap; default 1000 */
    double  tissue;   /* least share of tissue, pixels more saturated than Otsu's threshold; default 0.5 */
    int     clusters; /* of the tiles' mean colours, by k-means; default 9 */
    double  spatial;  /* share of a cluster that stays, spread over the slide; default 0.15 */
    double  top;      /* share of the mosaic that is kept: max(1, floor(top n)); default 0.2; 1: all */
    epl_tile_score score;
    double (*score_fn)(void *user, const epl_tensor *slide, const epl_slide_tile *t);
    void    *score_user;
    uint64_t seed;    /* of k-means, and of random scores */
} epl_mosaic_opts;

typedef struct epl_mosaic {
    int64_t   tile, n, n_kept; /* n: tiles with enough tissue; 0 is no error */
    epl_slide_tile *tiles;           /* by rows */
} epl_mosaic;

EPL_API bool epl_mosaic_of(epl_context *ctx, const epl_tensor *slide, epl_mosaic_opts o, epl_mosaic *out);
EPL_API void epl_mosaic_release(epl_context *ctx, epl_mosaic *m);

/* The kept tiles of every slide of a data set (u8 [H, W, 3], one class each) under the slide's label. *slide_of (may be NULL)
 * receives the slide's number for each tile, the caller's (epl_release); *n_empty (may be NULL) how many slides have none. */
EPL_API epl_dataset *epl_mosaic_dataset(epl_dataset *slides, epl_mosaic_opts o, int64_t **slide_of, int64_t *n_empty);

#ifdef __cplusplus
}
#endif
#endif
