/* onnx: networks from other tools. A file loads exactly or is refused with one sentence that names the operator, its node and
 * the opset; nothing is approximated in silence: an attribute, input or output that the importer does not know is an error.
 *
 * Files: opsets 6 to 28 of the default domain, IR versions as old. The file is mapped; a pre-pass checks every length and the
 * nesting before protobuf sees anything, and large tensors stay in the map. External data is read from beside the model and
 * nowhere else. docs/onnx.md lists the operators that are left out, and why.
 *
 * Elements of 8 bits and less are held in wider types that have exactly their numbers (docs/onnx.md).
 *
 * Networks keep ONNX's axes at their inputs and outputs: operators that take channels last stand between transposes, which
 * epl_move_transposes then moves and cancels. */
#ifndef ESPALIER_ONNX_H
#define ESPALIER_ONNX_H

#include <espalier/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct epl_onnx_opts {
    const char *dims; /* sizes of named dimensions, "batch=8,length=128"; a name that is not listed is 1 */

    /* Tensors by the names of the model's inputs, or NULL. They give inputs without a shape their shape and named dimensions
     * their size. Where the model computes a SHAPE from an input's value (the target of a Reshape, the ends of a Slice), the
     * value here is taken for good: the imported network is right for that value alone, see epl_onnx_fixed_inputs. */
    const epl_weights *inputs;
} epl_onnx_opts;

/* The caller owns the model. Initialisers become parameters (floats), states (large integers) or constants (the rest, and the
 * tensors of small Constant nodes) under their ONNX names. */
EPL_API epl_model *epl_onnx_load(epl_context *ctx, const char *path, epl_onnx_opts o);

/* The same from memory, which is copied where it is kept; external data is refused. `name` is for errors. */
EPL_API epl_model *epl_onnx_parse(epl_context *ctx, const void *data, size_t bytes, const char *name, epl_onnx_opts o);

/* Metadata of an imported model's weights: how many transposes the import put in for channels last, before it moved them. */
#define EPL_ONNX_TRANSPOSES_KEY "espalier.onnx.transposes"

/* What an import took for good: the names of inputs, comma-separated, or "" (the usual case). The model owns the text. */
EPL_API const char *epl_onnx_fixed_inputs(const epl_model *m);

/* A file with one TensorProto, as the ONNX project's tests store inputs and outputs. *name (may be NULL) receives the tensor's
 * name and belongs to the caller (epl_release). */
EPL_API epl_tensor *epl_onnx_tensor_load(epl_context *ctx, const char *path, char **name);

/* The names of a model's inputs that are not initialisers, one a line; the caller owns the text (epl_release). */
EPL_API char *epl_onnx_input_names(epl_context *ctx, const char *path);

/* Writes a model's inference as an ONNX file: the network keeps its axes (images channels last) at its inputs and
 * outputs; inside, what ONNX defines channels first stands between transposes, of which an ordinary CNN has one, at
 * its input. Named dimensions stay named where the graph allows another size. Weights keep their names;
 * convolutions' are written in ONNX's order.
 *
 * An operator without a counterpart is written in terms of others, or refused with EPL_ERR_UNSUPPORTED and one sentence that
 * names it; a training step is refused. docs/onnx.md has the table of what was checked against ONNX's checker and ONNX Runtime. */
typedef struct epl_onnx_export_opts {
    int         opset;         /* 13 to 21; default 21 */
    const char *dims;          /* named dimensions that get a fixed size: "N=8,length=128" */
    bool        external_data; /* weights go to "<path>.data"; 2 GB and more always do */
} epl_onnx_export_opts;
EPL_API bool epl_onnx_export(const epl_model *m, const char *path, epl_onnx_export_opts o);

/* How many operators are known, and their names in order ("Abs", ...), for documentation and tests. */
EPL_API int         epl_onnx_n_ops(void);
EPL_API const char *epl_onnx_op_name(int i);

#ifdef __cplusplus
}
#endif
#endif
