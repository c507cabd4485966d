/* det: the determinant of square matrices, by Gaussian elimination with row exchange. No gradient: that would need the inverse. */
#include <espalier/ops.h>

#include "ops/axes.h"

/* begin reference */
enum { REF_DET_MOST = 32 }; /* rows: what fits on a small stack */

static void ref_det(const epl_ref_call *c)
{
    const epl_view *x = &c->in[0];
    const int64_t   m = x->dim[x->rank - 1], n = epl_view_count(&c->out[0]);
    for (int64_t o = 0; o < n; o++) {
        double a[REF_DET_MOST][REF_DET_MOST], det = 1;
        for (int64_t i = 0; i < m * m; i++)
            a[i / m][i % m] = epl_ref_get(x, o * m * m + i);
        for (int64_t k = 0; k < m; k++) {
            int64_t pivot = k;
            for (int64_t i = k + 1; i < m; i++)
                pivot = fabs(a[i][k]) > fabs(a[pivot][k]) ? i : pivot;
            for (int64_t j = 0; j < m && pivot != k; j++) {
                const double t = a[k][j];
                a[k][j] = a[pivot][j];
                a[pivot][j] = t;
            }
            det *= pivot != k ? -a[k][k] : a[k][k];
            for (int64_t i = k + 1; i < m && a[k][k] != 0; i++)
                for (int64_t j = m - 1; j >= k; j--)
                    a[i][j] -= a[i][k] / a[k][k] * a[k][j];
        }
        epl_ref_set(&c->out[0], o, det);
    }
}
/* end reference */

static bool infer_det(epl_node *n)
{
    epl_shape     x = n->inputs[0]->shape;
    const int64_t m = x.rank < 2 ? 0 : x.dim[x.rank - 1];
    char          text[192];
    if (!epl_dtype_is_float(n->inputs[0]->dtype))
        return epl_node_fail(n, EPL_ERR_DTYPE, "the matrix is %s; floating-point numbers are needed", epl_dtype_name(n->inputs[0]->dtype));
    if (x.rank < 2 || x.dim[x.rank - 2] != m)
        return epl_node_fail(n, EPL_ERR_SHAPE, "%s is no square matrix", epl_shape_text(text, x));
    if (m > REF_DET_MOST)
        return epl_node_fail(n, EPL_ERR_UNSUPPORTED, "a matrix of %lld rows; at most %d are possible", (long long)m, REF_DET_MOST);
    x.rank -= 2;
    return epl_set_type(n, 0, n->inputs[0]->dtype, x);
}

static epl_cost cost_det(const epl_node *n)
{
    const double m = (double)epl_dim(n->inputs[0], -1);
    return (epl_cost){ .flops = 2.0 / 3 * m * m * m * (double)epl_shape_count(n->outputs[0]->shape) };
}

static epl_node *sample_det(epl_graph *g, epl_rng *r, epl_dtype dtype)
{
    const int64_t m = epl_random_between(r, 1, 5);
    return epl_node_add(g, &epl_op_det, EPL_IN(epl_sample_input(g, dtype, EPL_SHAPE(2, m, m), -1, 1, 0)), NULL, 0, NULL);
}

const epl_op epl_op_det = {
    .name = "Det", .n_inputs = 1, .n_outputs = 1, .infer = infer_det, .cost = cost_det, EPL_REF(ref_det), .sample = sample_det,
};

epl_value *epl_det(epl_graph *g, epl_value *x) { return x ? epl_apply(g, &epl_op_det, EPL_IN(x), NULL) : NULL; }
