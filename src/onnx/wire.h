/* wire: the pre-pass over an ONNX file. protobuf-c copies every payload and recurses without a limit, so it never sees the
 * file itself: this walk checks every length against its parent, refuses nesting deeper than ONNX_DEPTH and more than
 * ONNX_MESSAGES messages, and writes a small copy in which the payloads of large tensors are replaced by a number that leads
 * back into the file. */
#ifndef EPL_ONNX_WIRE_H
#define EPL_ONNX_WIRE_H

#include <espalier/base.h>

enum {
    ONNX_DEPTH = 64,
    ONNX_MESSAGES = 1 << 20,
    ONNX_PAYLOAD = 4096,          /* payloads longer than this stay in the file */
    ONNX_COPY_BYTES = 256 << 20,  /* what is left of a file without them */
    ONNX_PAYLOAD_FIELD = 536870911 /* the field of the copy's tensors that holds 1 + the payload's index; ours alone, because the
                                     walk drops every field that the schema does not know */
};

typedef struct onnx_payload {
    int         field;  /* of TensorProto: raw_data, float_data, ... */
    const unsigned char *data; /* in the file */
    size_t      size;
} onnx_payload;

typedef struct onnx_wire {
    epl_context  *ctx;
    epl_text      copy;
    onnx_payload *payloads;
    size_t        n_payloads, cap_payloads;
} onnx_wire;

typedef enum onnx_root { ONNX_ROOT_MODEL, ONNX_ROOT_TENSOR } onnx_root;

/* `name` is for the sentence. On failure the caller still releases. */
bool onnx_wire_read(onnx_wire *w, epl_context *ctx, const unsigned char *data, size_t size, onnx_root root, const char *name);
void onnx_wire_release(onnx_wire *w);

/* One varint; false if it does not end before `end` or has more than 64 bits. */
bool onnx_varint(const unsigned char **p, const unsigned char *end, uint64_t *out);

#endif
