/* adapt_recurrent */
#include "onnx/adapt.h"
const onnx_op onnx_ops_recurrent[] = { { NULL, NULL, NULL } };
