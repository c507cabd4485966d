/* adapt_control */
#include "onnx/adapt.h"
const onnx_op onnx_ops_control[] = { { NULL, NULL, NULL } };
