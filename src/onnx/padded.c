/* padded: how many of its results a network keeps of an operator that finds a number of them that depends on the
 * data. Where a result is filled up by Pad and cut by Slice to a number, as export_counted.c writes it, that is the
 * number, and no data need be known. */
#include "onnx/importer.h"

#include <string.h>

/* The only node of the file's main graph that reads a tensor; NULL if there are more, or if it is a result of the graph. */
static const Onnx__NodeProto *only_reader(const onnx_import *imp, const char *name)
{
    const Onnx__GraphProto *g = imp->file.model->graph;
    const Onnx__NodeProto  *reader = NULL;
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->name && strcmp(g->output[i]->name, name) == 0)
            return NULL;
    for (size_t k = 0; k < g->n_node; k++)
        for (size_t j = 0; j < g->node[k]->n_input; j++) {
            if (strcmp(g->node[k]->input[j], name) != 0)
                continue;
            if (reader || j)
                return NULL;
            reader = g->node[k];
        }
    return reader;
}

/* Input i of that node, if its `count` numbers are known already (any count if it is negative). */
static const epl_tensor *known_input(onnx_node *n, const Onnx__NodeProto *p, size_t i, int64_t count)
{
    epl_value        *v = p->n_input > i && *p->input[i] ? onnx_named(n, p->input[i]) : NULL;
    const epl_tensor *t = v ? onnx_evaluate(n->imp, v, false) : NULL;
    return t && (count < 0 || epl_tensor_count(t) == count) ? t : NULL;
}

static bool pads_the_end(onnx_node *n, const Onnx__NodeProto *p, int rank, int axis, double filler, int64_t *room)
{
    const epl_tensor *pads = known_input(n, p, 1, 2 * rank), *value = known_input(n, p, 2, 1);
    for (size_t i = 0; i < p->n_attribute; i++) {
        const Onnx__AttributeProto *a = p->attribute[i];
        if (!a->name || strcmp(a->name, "mode") != 0 || !a->has_s || a->s.len != 8 || memcmp(a->s.data, "constant", 8) != 0)
            return false;
    }
    if (p->n_input != 3 || !pads || !value || epl_tensor_get(value, 0) != filler)
        return false;
    for (int i = 0; i < 2 * rank; i++)
        if (i != rank + axis && epl_tensor_get_i64(pads, i) != 0)
            return false;
    *room = epl_tensor_get_i64(pads, rank + axis);
    return true;
}

/* A file may leave the operator out. */
static bool is_op(const Onnx__NodeProto *p, const char *op) { return p->op_type && strcmp(p->op_type, op) == 0; }

int64_t onnx_padded_to(onnx_node *n, int output, int rank, int axis, double filler)
{
    const char            *name = output < n->n_out && n->scope->g == n->imp->graph ? n->proto->output[output] : "";
    const Onnx__NodeProto *pad = *name ? only_reader(n->imp, name) : NULL;
    int64_t                room;
    if (!pad || !is_op(pad, "Pad") || pad->n_output != 1 || n->opset < 11 || !pads_the_end(n, pad, rank, axis, filler, &room))
        return -1;
    const Onnx__NodeProto *cut = only_reader(n->imp, pad->output[0]);
    if (!cut || !is_op(cut, "Slice") || cut->n_input != 4)
        return -1;
    const epl_tensor *begin = known_input(n, cut, 1, 1), *end = known_input(n, cut, 2, 1), *along = known_input(n, cut, 3, 1);
    if (!begin || !end || !along || epl_tensor_get_i64(begin, 0) != 0 || epl_tensor_get_i64(along, 0) != axis)
        return -1;
    const int64_t count = epl_tensor_get_i64(end, 0);
    return count >= 0 && count <= room ? count : -1;
}

/* Does the network read which of the different ones each element is only as Where(Less(inverse, count), inverse, -1)? */
bool onnx_inverse_kept(onnx_node *n, int output, int64_t count)
{
    const Onnx__GraphProto *g = n->imp->file.model->graph;
    const char             *name = n->proto->output[output];
    const Onnx__NodeProto  *less = NULL, *where = NULL;
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->name && strcmp(g->output[i]->name, name) == 0)
            return false;
    for (size_t k = 0; k < g->n_node; k++)
        for (size_t j = 0; j < g->node[k]->n_input; j++) {
            const Onnx__NodeProto **reader = j == 0 ? &less : &where;
            if (strcmp(g->node[k]->input[j], name) != 0)
                continue;
            if (*reader || !is_op(g->node[k], j == 0 ? "Less" : "Where") || j > 1)
                return false;
            *reader = g->node[k];
        }
    if (!less && !where)
        return true;
    const epl_tensor *limit = less ? known_input(n, less, 1, 1) : NULL, *beyond = where ? known_input(n, where, 2, 1) : NULL;
    return limit && beyond && epl_tensor_get_i64(limit, 0) == count && epl_tensor_get_i64(beyond, 0) == -1 &&
           less->n_output == 1 && strcmp(where->input[0], less->output[0]) == 0;
}
