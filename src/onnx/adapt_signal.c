/* adapt_signal */
#include "onnx/adapt.h"
const onnx_op onnx_ops_signal[] = { { NULL, NULL, NULL } };
