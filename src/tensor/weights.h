/* weights.h: what a set of weights holds; for the tensor floor only. */
#ifndef EPL_TENSOR_WEIGHTS_H
#define EPL_TENSOR_WEIGHTS_H

#include <espalier/tensor.h>

typedef struct epl_text_pair {
    char *key, *value;
} epl_text_pair;

typedef struct epl_weights_entry {
    char       *name;
    uint64_t    hash; /* of the name */
    epl_tensor *tensor;
} epl_weights_entry;

struct epl_weights {
    epl_context       *ctx;
    epl_weights_entry *entries;
    size_t             count, capacity;
    epl_text_pair     *metadata;
    size_t             n_metadata, metadata_capacity;
    epl_map            file;   /* tensors may be views into the file... */
    void              *buffer; /* ...or into this copy of one */
    epl_weights      **shards; /* ...or into the files of these */
    size_t             n_shards, shards_capacity;
};

/* shards.c: the tensors of an index, "model.safetensors.index.json", whose files lie beside it. */
bool epl_weights_open_shards(epl_weights *w, const char *path);

#endif
