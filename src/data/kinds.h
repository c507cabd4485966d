/* kinds: the ways to get a source; one table entry each. Internal to the floor. */
#ifndef EPL_DATA_KINDS_H
#define EPL_DATA_KINDS_H

#include "data/source.h"
#include "data/spec.h"

typedef struct epl_source_kind {
    epl_dataset_kind about;
    /* Opens the part that o.split asks for: the test part, or all of the training part (the caller cuts off what validation
     * takes). `spec` holds the keys of about.keys. Returns NULL with the reason recorded. */
    epl_source *(*open)(epl_context *ctx, const epl_spec *spec, epl_dataset_opts o);
} epl_source_kind;

extern const epl_source_kind epl_kind_fashion_mnist, epl_kind_mnist, epl_kind_idx, epl_kind_cifar10, epl_kind_cifar100,
    epl_kind_folder, epl_kind_npz, epl_kind_npy, epl_kind_csv, epl_kind_blobs, epl_kind_moons, epl_kind_spirals,
    epl_kind_shapes, epl_kind_shapes_masks, epl_kind_waves, epl_kind_order, epl_kind_adding,
    epl_kind_tissue, epl_kind_text, epl_kind_noise;

/* Where data sets lie: in o.dir if given; else in the environment's ESPALIER_DATA, then in `usual` (may be NULL); of the
 * first two also the sub-folder `set` is looked at. Writes the path of `file`, or of "file.gz", to *out, which the caller
 * releases. Where there is none, the error names the file, the places and `advice`. */
bool epl_data_find(epl_context *ctx, epl_dataset_opts o, const char *set, const char *usual, const char *file,
                   const char *advice, char **out);

/* Paths in the source's arena; the list itself is released by its user. */
typedef struct epl_path_list {
    const char **name;
    size_t       n, capacity;
} epl_path_list;

const char *epl_data_join(epl_source *s, const char *folder, const char *name);
bool        epl_data_is_folder(const char *path);
/* What a folder holds and `keep` keeps, sorted by path. Hidden files are left out. The caller releases list->name. */
bool        epl_data_list(epl_source *s, const char *folder, bool (*keep)(const char *), epl_path_list *list);

/* For kinds whose files have no test part. */
bool epl_data_refuse_test(epl_context *ctx, const char *name, epl_data_split split);

#endif
