/* adapt: the lists of operators, one for each adapt_*.c, each ended by an entry without a name. */
#ifndef EPL_ONNX_ADAPT_H
#define EPL_ONNX_ADAPT_H

#include "onnx/import.h"

extern const onnx_op onnx_ops_elementwise[];
extern const onnx_op onnx_ops_reduce[];
extern const onnx_op onnx_ops_shape[];
extern const onnx_op onnx_ops_index[];
extern const onnx_op onnx_ops_spatial[];
extern const onnx_op onnx_ops_resize[];
extern const onnx_op onnx_ops_layers[];
extern const onnx_op onnx_ops_quantised[];
extern const onnx_op onnx_ops_recurrent[];
extern const onnx_op onnx_ops_control[];
extern const onnx_op onnx_ops_signal[];
extern const onnx_op onnx_ops_training[];
extern const onnx_op onnx_ops_attention[];
extern const onnx_op onnx_ops_sample[];
extern const onnx_op onnx_ops_detect[];

#endif
