/* espalier: every public header, floor by floor. */
#ifndef ESPALIER_ESPALIER_H
#define ESPALIER_ESPALIER_H

#include <espalier/base.h>
#include <espalier/report.h>
#include <espalier/tensor.h>
#include <espalier/graph.h>
#include <espalier/ops.h>
#include <espalier/grad.h>
#include <espalier/passes.h>
#include <espalier/bench.h>
#include <espalier/program.h>
#include <espalier/onnx.h>
#include <espalier/nn.h>
#include <espalier/zoo.h>
#include <espalier/data.h>
#include <espalier/train.h>
#include <espalier/compress.h>
#include <espalier/morph.h>
#include <espalier/compile.h>
#include <espalier/analysis.h>
#include <espalier/pipeline.h>

#endif
