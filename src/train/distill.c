/* distill: the teacher's forward pass and the softened loss, in the student's own step. Hinton et al. 2015 (arXiv:1503.02531). */
#include <espalier/ops.h>
#include <espalier/train.h>

#include "graph/op.h"
#include "train/train.h"

#include <stdio.h>

typedef struct distillation {
    const epl_model *teacher;
    epl_distill_opts o;
} distillation;

static bool lend(epl_weights *to, const char *name, const epl_tensor *t)
{
    char full[1024];
    snprintf(full, sizeof full, "teacher.%s", name);
    epl_tensor *view = epl_tensor_view(t->ctx, t->dtype, t->shape, t->data);
    return view && epl_weights_put_take(to, full, view);
}

/* The teacher's tensors under "teacher.": views, so that nothing is held twice. */
static epl_value *run_teacher(const epl_model *teacher, epl_train_step *s)
{
    epl_graph  *g = s->graph;
    const int   n_in = epl_graph_n_inputs(teacher->graph), n_out = epl_graph_n_outputs(teacher->graph);
    epl_value **outputs = epl_arena_alloc(s->arena, (size_t)(n_out + 1) * sizeof *outputs);
    if (!outputs || n_in != 1 || n_out < 1)
        return outputs ? epl_graph_fail(g, EPL_ERR_ARGUMENT, "the teacher has %d inputs and %d outputs; one input and logits are needed",
                                        n_in, n_out) : NULL;
    for (int i = 0; i < epl_weights_count(teacher->weights); i++)
        if (!lend(s->weights, epl_weights_name(teacher->weights, i), epl_weights_at(teacher->weights, i)))
            return NULL;
    return epl_graph_inline(g, teacher->graph, &s->x, outputs, "teacher.") ? outputs[0] : NULL;
}

static epl_value *look_up(const epl_tensor *answers, epl_train_step *s)
{
    epl_value *all = lend(s->weights, "answers", answers)
                   ? epl_parameter(s->graph, "teacher.answers", answers->dtype, answers->shape, EPL_INIT_ZEROS, 0) : NULL;
    return epl_gather(s->graph, all, epl_train_step_index(s), 0);
}

static bool build(void *user, epl_train_step *s)
{
    const distillation *d = user;
    epl_graph *g = s->graph;
    char       theirs[192], ours[192];
    if (!epl_train_step_borrow(s, "teacher.*"))
        return false;
    epl_value *soft = epl_stop_gradient(g, d->o.answers ? look_up(d->o.answers, s) : run_teacher(d->teacher, s));
    if (soft && s->logits && !epl_shape_equal(soft->shape, s->logits->shape))
        return epl_fail(g->ctx, EPL_ERR_SHAPE, "the teacher's logits are %s, the student's %s",
                        epl_shape_text(theirs, soft->shape), epl_shape_text(ours, s->logits->shape));
    epl_value *each = epl_kl_div_loss(g, s->logits, soft, d->o.temperature, EPL_NONE);
    epl_reduce_opts rest = { 0 };
    for (int i = 1; each && i < epl_rank(each); i++)
        rest.axes[rest.n_axes++] = i;
    epl_value *kl = epl_weighted_mean(g, rest.n_axes ? epl_reduce_mean(g, each, rest) : each, s->sample_weights);
    s->loss = epl_add(g, epl_affine(g, kl, d->o.alpha, 0), epl_affine(g, s->loss, 1 - d->o.alpha, 0));
    return !epl_graph_failed(g);
}

epl_train_hook epl_distill_hook(const epl_model *teacher, epl_distill_opts o)
{
    distillation *d = teacher ? epl_alloc(teacher->ctx, sizeof *d) : NULL;
    o.temperature = epl_default(o.temperature, 4);
    o.alpha       = epl_default(o.alpha, 0.9);
    if (d)
        *d = (distillation){ teacher, o };
    return (epl_train_hook){ .build = d ? build : NULL, .user = d };
}

epl_tensor *epl_distill_answers(const epl_model *teacher, epl_dataset *d, epl_progress progress)
{
    epl_evaluation e = { 0 };
    if (!epl_evaluate(teacher, d,
                      (epl_evaluate_opts){
                          .batch = epl_own_batch(teacher->graph) ? 0 : 200, .keep_logits = true, .progress = progress },
                      &e))
        return NULL;
    epl_tensor *answers = e.logits;
    e.logits = NULL;
    epl_evaluation_release(teacher->ctx, &e);
    return answers;
}
