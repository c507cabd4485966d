/* table: finding an operator's adapter. */
#include "onnx/adapt.h"

#include <stdio.h>
#include <string.h>

static const onnx_op *const lists[] = { onnx_ops_elementwise, onnx_ops_reduce,    onnx_ops_shape,   onnx_ops_index,
                                        onnx_ops_spatial,     onnx_ops_layers,    onnx_ops_quantised, onnx_ops_recurrent,
                                        onnx_ops_control,     onnx_ops_signal,    onnx_ops_training, onnx_ops_attention,
                                        onnx_ops_sample,      onnx_ops_detect,   onnx_ops_resize };

const onnx_op *onnx_op_find(const char *domain, const char *name)
{
    char full[160];
    snprintf(full, sizeof full, "%.80s%s%.75s", domain, *domain ? ":" : "", name);
    for (size_t i = 0; i < EPL_COUNT(lists); i++)
        for (const onnx_op *op = lists[i]; op->name; op++)
            if (strcmp(op->name, full) == 0)
                return op;
    return NULL;
}

const void *onnx_detail(const onnx_node *n)
{
    return onnx_op_find(n->domain, n->op)->detail;
}

static const onnx_op *at(int index)
{
    for (size_t i = 0; i < EPL_COUNT(lists); i++)
        for (const onnx_op *op = lists[i]; op->name; op++)
            if (index-- == 0)
                return op;
    return NULL;
}

int epl_onnx_n_ops(void)
{
    int n = 0;
    while (at(n))
        n++;
    return n;
}

const char *epl_onnx_op_name(int i)
{
    const onnx_op *op = i < 0 ? NULL : at(i);
    return op ? op->name : NULL;
}
