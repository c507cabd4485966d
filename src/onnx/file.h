/* file: an ONNX file as protobuf-c's messages, and its tensors. */
#ifndef EPL_ONNX_FILE_H
#define EPL_ONNX_FILE_H

#include "onnx/wire.h"

#include <espalier/tensor.h>

#include "onnx.pb-c.h"

/* Metadata of a file that says more of initialisers than ONNX can: the names, one a line, of those that are states,
 * and of parameters of one element (which in other files are constants). */
#define ONNX_STATES_KEY     "espalier.states"
#define ONNX_PARAMETERS_KEY "espalier.parameters"

typedef struct onnx_file {
    epl_context      *ctx;
    const char       *name;   /* of the file, for sentences; borrowed */
    char             *folder; /* where external data may lie; NULL: nowhere */
    epl_map           map;
    bool              mapped; /* map is ours; payloads may be viewed in it */
    onnx_wire         wire;
    Onnx__ModelProto *model;
    ProtobufCAllocator allocator;
} onnx_file;

bool onnx_file_open(onnx_file *f, epl_context *ctx, const char *path);
bool onnx_file_parse(onnx_file *f, epl_context *ctx, const void *data, size_t bytes, const char *name);
void onnx_file_close(onnx_file *f);

epl_dtype onnx_dtype(int64_t data_type); /* EPL_NO_DTYPE for strings, complex numbers and what is unknown */
const char *onnx_dtype_name(int64_t data_type);

/* The tensor of a message; `copy`: never a view into the map. The caller owns it. */
epl_tensor *onnx_tensor(onnx_file *f, const Onnx__TensorProto *p, bool copy);

/* The same with its axes in another order; never held twice. */
epl_tensor *onnx_tensor_permuted(onnx_file *f, const Onnx__TensorProto *p, epl_shape perm);

void onnx_tensor_forget(const onnx_file *f, const Onnx__TensorProto *p); /* nobody may hold a view of it */

#endif
