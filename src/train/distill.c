/* distill: the teacher's forward pass and the softened loss, in the student's own step. Hinton et al. 2015 (arXiv:1503.02531). */
#include <espalier/ops.h>
#include <espalier/train.h>

#include "graph/op.h"

#include <stdio.h>

typedef struct distillation {
    const epl_model *teacher;
    double temperature, alpha;
} distillation;

/* The teacher's tensors under "teacher.": views, so that nothing is held twice. */
static bool lend_weights(const epl_model *teacher, epl_weights *to)
{
    char name[1024];
    for (int i = 0; i < epl_weights_count(teacher->weights); i++) {
        const epl_tensor *t = epl_weights_at(teacher->weights, i);
        snprintf(name, sizeof name, "teacher.%s", epl_weights_name(teacher->weights, i));
        epl_tensor *view = epl_tensor_view(teacher->ctx, t->dtype, t->shape, t->data);
        if (!view || !epl_weights_put_take(to, name, view))
            return false;
    }
    return true;
}

static bool build(void *user, epl_train_step *s)
{
    const distillation *d = user;
    epl_graph  *g = s->graph;
    const int   n_in = epl_graph_n_inputs(d->teacher->graph), n_out = epl_graph_n_outputs(d->teacher->graph);
    char        theirs[192], ours[192];
    epl_value **outputs = epl_arena_alloc(s->arena, (size_t)(n_out + 1) * sizeof *outputs);
    if (!outputs || n_in != 1 || n_out < 1)
        return outputs && epl_fail(g->ctx, EPL_ERR_ARGUMENT, "the teacher has %d inputs and %d outputs; one input and logits "
                                   "are needed", n_in, n_out);
    if (!epl_train_step_borrow(s, "teacher.*") || !lend_weights(d->teacher, s->weights) ||
        !epl_graph_inline(g, d->teacher->graph, &s->x, outputs, "teacher."))
        return false;
    epl_value *soft = epl_stop_gradient(g, outputs[0]);
    if (soft && s->logits && !epl_shape_equal(soft->shape, s->logits->shape))
        return epl_fail(g->ctx, EPL_ERR_SHAPE, "the teacher's logits are %s, the student's %s",
                        epl_shape_text(theirs, soft->shape), epl_shape_text(ours, s->logits->shape));
    epl_value *each = epl_kl_div_loss(g, s->logits, soft, d->temperature, EPL_NONE);
    epl_reduce_opts rest = { 0 };
    for (int i = 1; each && i < epl_rank(each); i++)
        rest.axes[rest.n_axes++] = i;
    epl_value *kl = epl_weighted_mean(g, rest.n_axes ? epl_reduce_mean(g, each, rest) : each, s->sample_weights);
    s->loss = epl_add(g, epl_affine(g, kl, d->alpha, 0), epl_affine(g, s->loss, 1 - d->alpha, 0));
    return !epl_graph_failed(g);
}

epl_train_hook epl_distill_hook(const epl_model *teacher, epl_distill_opts o)
{
    distillation *d = teacher ? epl_alloc(teacher->ctx, sizeof *d) : NULL;
    if (d)
        *d = (distillation){ teacher, o.temperature ? o.temperature : 4, o.alpha ? o.alpha : 0.9 };
    return (epl_train_hook){ .build = d ? build : NULL, .user = d };
}
