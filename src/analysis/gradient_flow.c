/* gradient_flow: how much gradient reaches the weights that are there. A training step with accumulation leaves the
 * gradients of one batch in the weights, masked where masks are frozen; it is built once and its sums are looked at. */
#include <espalier/analysis.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/op.h"

static bool fill(epl_context *ctx, epl_program *p, const epl_tensor *x, const epl_tensor *target)
{
    epl_tensor *in = epl_program_input_named(p, "x"), *to = epl_program_input_named(p, "target"),
               *w = epl_program_input_named(p, "weights");
    char is[192], want[192];
    if (epl_tensor_bytes(in) != epl_tensor_bytes(x) || epl_tensor_bytes(to) != epl_tensor_bytes(target))
        return epl_fail(ctx, EPL_ERR_SHAPE, "a batch of %s for a network that takes %s", epl_shape_text(is, x->shape),
                        epl_shape_text(want, in->shape));
    memcpy(in->data, x->data, epl_tensor_bytes(x));
    memcpy(to->data, target->data, epl_tensor_bytes(target));
    for (int64_t i = 0; i < epl_tensor_count(w); i++)
        epl_tensor_set(w, i, 1);
    return epl_program_run(p);
}

static double square_of(const epl_tensor *sum, double count)
{
    double square = 0;
    for (int64_t i = 0; i < epl_tensor_count(sum); i++)
        square += epl_tensor_get(sum, i) / count * (epl_tensor_get(sum, i) / count);
    return square;
}

static epl_table *headings(epl_context *ctx)
{
    epl_table *t = epl_table_new(ctx, NULL);
    epl_table_column(t, "parameter", (epl_column_opts){ 0 });
    epl_table_column(t, "count", (epl_column_opts){ .format = EPL_FORMAT_PLAIN });
    epl_table_column(t, "squared norm", (epl_column_opts){ .key = "squared_norm" });
    return t;
}

/* The sums that the step left, a row for each parameter. */
static epl_table *tabulate(const epl_model *m, const epl_weights *w, double count, double *total)
{
    epl_table *t = headings(m->ctx);
    *total = 0;
    for (const epl_node *n = m->graph->first; t && n; n = n->next) {
        char name[512];
        if (!EPL_IS(n, parameter))
            continue;
        snprintf(name, sizeof name, "train.sum.%s", epl_value_name(n->outputs[0]));
        const epl_tensor *sum = epl_weights_find(w, name);
        if (!sum)
            continue;
        const double square = square_of(sum, count);
        *total += square;
        epl_table_row(t);
        epl_table_text(t, epl_value_name(n->outputs[0]));
        epl_table_integer(t, epl_tensor_count(sum));
        epl_table_number(t, square);
    }
    epl_table_rule(t);
    epl_table_row(t);
    epl_table_text(t, "all");
    epl_table_integer(t, epl_graph_n_parameters(m->graph));
    epl_table_number(t, *total);
    return t;
}

epl_table *epl_gradient_flow(const epl_model *m, const epl_tensor *x, const epl_tensor *target, epl_loss_opts loss, double *total)
{
    const epl_step_opts o = { .batch = x->shape.rank ? x->shape.dim[0] : 0, .loss = loss, .accumulate = 2, .target_dtype = target->dtype,
                              .target_shape = target->shape };
    epl_weights *w = epl_weights_copy(m->ctx, m->weights);
    epl_graph   *update = NULL, *g = w ? epl_train_graph(m, w, o, 0, &update) : NULL;
    epl_program *p = g ? epl_program_new(g, w, (epl_program_opts){ 0 }) : NULL;
    epl_table   *t = p && fill(m->ctx, p, x, target) ? tabulate(m, w, (double)o.batch, total) : NULL;
    epl_program_free(p);
    epl_graph_free(update);
    epl_graph_free(g);
    epl_weights_free(w);
    return t;
}
