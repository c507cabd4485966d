/* exits: the losses of early exits beside the network's own. Kaya et al. 2019 (arXiv:1810.07052), sec. 4.3. */
#include <espalier/nn.h>

#include "train/train.h"

#include "graph/op.h"

#include <math.h>
#include <string.h>

#define TAU "exits.tau" /* a state: f32 [early exits] */

enum { MOST = 64 };

typedef struct exits {
    epl_exits_objective objective;
    int    epochs, n;
    int    output[MOST];
    double c[MOST];
} exits;

double epl_exit_tau(double c, int64_t epoch, int epochs)
{
    return fmin(c, 0.01 + (double)epoch * c / epochs);
}

static void set_tau(const exits *x, epl_weights *w, int64_t epoch)
{
    epl_tensor *tau = epl_weights_find(w, TAU);
    for (int i = 0; tau && i < x->n; i++)
        epl_tensor_set(tau, i, x->objective == EPL_EXITS_SDN ? epl_exit_tau(x->c[i], epoch < x->epochs ? epoch : x->epochs, x->epochs) : 1);
}

static bool build(void *user, epl_train_step *s)
{
    const exits *x = user;
    epl_graph   *g = s->graph;
    epl_tensor  *start = epl_tensor_new(g->ctx, EPL_F32, EPL_SHAPE(x->n));
    if (!start || !epl_weights_put_take(s->weights, TAU, start))
        return false;
    set_tau(x, s->weights, 1);
    epl_value *tau = epl_state(g, "/" TAU, EPL_F32, EPL_SHAPE(x->n), EPL_INIT_ONES, 0), *sum = NULL;
    for (int i = 0; i < x->n; i++) {
        if (x->output[i] >= s->n_outputs)
            return epl_fail(g->ctx, EPL_ERR_ARGUMENT, "the step has %d outputs, the network of the exits more", s->n_outputs);
        epl_value *ce   = epl_loss(g, s->outputs[x->output[i]], s->target, s->sample_weights, (epl_loss_opts){ 0 });
        epl_value *term = epl_mul(g, ce, epl_reshape(g, epl_slice_axis(g, tau, 0, i, i + 1), EPL_SCALAR));
        sum = sum ? epl_add(g, sum, term) : term;
    }
    s->loss = x->objective == EPL_EXITS_ONLY ? sum : epl_add(g, s->loss, sum);
    return epl_train_step_log(s, "exits", sum);
}

static bool after_epoch(void *user, epl_trainer *t, int64_t epoch)
{
    set_tau(user, epl_trainer_model(t)->weights, epoch + 1);
    return true;
}

epl_train_hook epl_exits_hook(const epl_model *m, epl_exits_train_opts o)
{
    const int n = epl_n_exits(m->graph) - 1;
    exits    *x = NULL;
    if (n < 1 || n > MOST)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "network '%s' has %d early exits to train; 1 to %d are possible",
                 epl_graph_name(m->graph), n, MOST);
    else if (o.objective == EPL_EXITS_SDN && o.epochs < 1)
        epl_fail(m->ctx, EPL_ERR_ARGUMENT, "exits are trained over %d epochs, at least 1 is needed", o.epochs);
    else
        x = epl_alloc(m->ctx, sizeof *x);
    if (!x)
        return (epl_train_hook){ 0 };
    *x = (exits){ .objective = o.objective, .epochs = o.epochs, .n = n };
    for (int i = 0; i < n; i++) {
        x->output[i] = epl_exit_output(m->graph, i);
        x->c[i]      = o.weights ? o.weights[i] : n <= 6 ? 0.15 * (i + 1) : (double)(i + 1) / (n + 1);
    }
    return (epl_train_hook){ .build = build, .after_epoch = after_epoch, .user = x };
}

bool epl_exits_objective_from_name(epl_context *ctx, const char *name, epl_exits_objective *out)
{
    static const char *const names[] = { "sdn", "ic-only", "sum" };
    for (size_t i = 0; i < EPL_COUNT(names); i++)
        if (strcmp(names[i], name) == 0) {
            *out = (epl_exits_objective)i;
            return true;
        }
    return epl_fail(ctx, EPL_ERR_ARGUMENT, "no way to train exits is named '%s'; there are sdn, ic-only and sum", name);
}
