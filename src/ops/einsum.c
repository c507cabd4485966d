/* einsum: sums of products by letters, written as transposes, products, matrix products and sums. No operator of its own: the
 * pieces have gradients and kernels already. Operands are taken in from left to right. */
#include <espalier/ops.h>

#include "ops/axes.h"

enum { LETTERS = 52, LABELS = LETTERS + EPL_MAX_RANK }; /* the axes of "..." are labels of their own, counted from the right */

typedef struct term { /* a tensor with a label on each axis */
    epl_value *v;
    int        rank;
    int        label[EPL_MAX_RANK];
} term;

typedef uint64_t label_set;

static label_set bit(int label) { return (label_set)1 << label; }

static label_set labels_of(const term *t)
{
    label_set s = 0;
    for (int i = 0; i < t->rank; i++)
        s |= bit(t->label[i]);
    return s;
}

static int axis_of(const term *t, int label)
{
    for (int i = 0; i < t->rank; i++)
        if (t->label[i] == label)
            return i;
    return -1;
}

/* ---- reading the equation ---- */

static int letter(char c) { return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? 26 + c - 'a' : -1; }

/* One term, up to ',' , "->" or the end. `dots` is how many axes "..." stands for. Returns what follows, or NULL. */
static const char *read_term(const char *s, int dots, term *t)
{
    bool seen = false;
    t->rank = 0;
    for (; *s && *s != ',' && strncmp(s, "->", 2) != 0; s++) {
        if (*s == ' ')
            continue;
        const bool ellipsis = strncmp(s, "...", 3) == 0 && !seen;
        const int  count = ellipsis ? dots : 1, l = letter(*s);
        if ((!ellipsis && l < 0) || t->rank + count > EPL_MAX_RANK)
            return NULL;
        for (int i = 0; i < count; i++)
            t->label[t->rank++] = ellipsis ? LETTERS + count - 1 - i : l;
        seen = seen || ellipsis;
        s += ellipsis ? 2 : 0;
    }
    return s;
}

static int letters_in(const char *s)
{
    int n = 0;
    for (; *s && *s != ',' && strncmp(s, "->", 2) != 0; s++)
        n += letter(*s) >= 0;
    return n;
}

static bool has_dots(const char *s)
{
    const size_t n = strcspn(s, ",>");
    for (size_t i = 0; i + 3 <= n; i++)
        if (strncmp(s + i, "...", 3) == 0)
            return true;
    return false;
}

/* Without "->": the axes of "...", then the letters that stand once, in alphabetical order. */
static void implicit_result(const term *terms, int n, int dots, term *result)
{
    int count[LABELS] = { 0 };
    result->rank = 0;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < terms[k].rank; i++)
            count[terms[k].label[i]]++;
    for (int i = dots - 1; i >= 0; i--)
        result->label[result->rank++] = LETTERS + i;
    for (int l = 0; l < LETTERS && result->rank < EPL_MAX_RANK; l++)
        if (count[l] == 1)
            result->label[result->rank++] = l;
}

static bool refuse(epl_graph *g, const char *equation, const char *why)
{
    epl_graph_fail(g, EPL_ERR_ARGUMENT, "einsum '%s': %s", equation, why);
    return false;
}

static bool read_equation(epl_graph *g, const char *equation, int n, epl_value *const *x, term *terms, term *result)
{
    const char *s = equation;
    int most = 0;
    for (int k = 0; k < n; k++) {
        const int dots = has_dots(s) ? epl_rank(x[k]) - letters_in(s) : 0;
        s = dots < 0 ? NULL : read_term(s, dots, &terms[k]);
        if (!s || terms[k].rank != epl_rank(x[k]) || (k < n - 1 && *s != ','))
            return refuse(g, equation, "its letters do not fit the operands");
        terms[k].v = x[k];
        most = dots > most ? dots : most;
        s += k < n - 1;
    }
    if (*s == ',')
        return refuse(g, equation, "it has more terms than operands");
    if (!*s) {
        implicit_result(terms, n, most, result);
        return true;
    }
    s = read_term(s + 2, has_dots(s + 2) ? most : 0, result);
    if (!s || *s)
        return refuse(g, equation, "its result cannot be read");
    label_set known = 0;
    for (int k = 0; k < n; k++)
        known |= labels_of(&terms[k]);
    for (int i = 0; i < result->rank; i++)
        if (!(known & bit(result->label[i])) || axis_of(result, result->label[i]) != i)
            return refuse(g, equation, "a letter of the result stands in no operand, or stands twice");
    return true;
}

/* ---- moving ---- */

/* Sums over the labels that nobody needs. */
static void sum_out(epl_graph *g, term *t, label_set needed)
{
    epl_reduce_opts o = { 0 };
    int rank = 0;
    for (int i = 0; i < t->rank; i++)
        if (needed & bit(t->label[i]))
            t->label[rank++] = t->label[i];
        else
            o.axes[o.n_axes++] = i;
    t->rank = rank;
    if (o.n_axes)
        t->v = epl_reduce_sum(g, t->v, o);
}

/* A letter that stands twice in one operand: its diagonal. */
static void take_diagonals(epl_graph *g, term *t)
{
    for (int q = t->rank - 1; q > 0; q--) {
        const int p = axis_of(t, t->label[q]);
        if (p == q || !t->v)
            continue;
        epl_shape mask = { .rank = t->rank };
        for (int i = 0; i < t->rank; i++)
            mask.dim[i] = i == p || i == q ? t->v->shape.dim[i] : 1;
        epl_value *eye = epl_eye(g, t->v->dtype, mask.dim[p], mask.dim[q], 0);
        t->v = epl_reduce_sum(g, epl_mul(g, t->v, epl_reshape(g, eye, mask)), (epl_reduce_opts){ EPL_AXES(q) });
        memmove(t->label + q, t->label + q + 1, (size_t)(t->rank - q - 1) * sizeof *t->label);
        t->rank--;
    }
}

/* Orders the axes as the labels are listed; a label that the term lacks becomes an axis of size 1. */
static epl_value *arrange(epl_graph *g, const term *t, const int *labels, int n)
{
    int perm[EPL_MAX_RANK], missing[EPL_MAX_RANK], n_perm = 0, n_missing = 0;
    bool moved = false;
    for (int i = 0; i < n; i++) {
        const int axis = axis_of(t, labels[i]);
        if (axis < 0)
            missing[n_missing++] = i;
        else
            perm[n_perm++] = axis;
    }
    for (int i = 0; i < n_perm; i++)
        moved = moved || perm[i] != i;
    epl_value *v = moved ? epl_transpose(g, t->v, n_perm, perm) : t->v;
    return epl_unsqueeze(g, v, n_missing, missing);
}

static int collect(int *out, const term *t, label_set wanted)
{
    int n = 0;
    for (int i = 0; i < t->rank; i++)
        if (wanted & bit(t->label[i]))
            out[n++] = t->label[i];
    return n;
}

/* ---- joining two terms ---- */

typedef struct groups { /* which labels the two share, and which not */
    int batch[EPL_MAX_RANK], left[EPL_MAX_RANK], right[EPL_MAX_RANK], sum[EPL_MAX_RANK];
    int n_batch, n_left, n_right, n_sum;
} groups;

static int64_t size_of(const term *t, const int *labels, int n)
{
    int64_t size = 1;
    for (int i = 0; i < n && t->v; i++)
        size *= t->v->shape.dim[axis_of(t, labels[i])];
    return size;
}

/* [batch..., first..., second...] with each of the two groups made one axis. */
static epl_value *as_matrix(epl_graph *g, const term *t, const groups *k, const int *first, int n_first, const int *second, int n_second)
{
    int order[EPL_MAX_RANK], n = 0;
    for (int i = 0; i < k->n_batch; i++)
        order[n++] = k->batch[i];
    for (int i = 0; i < n_first; i++)
        order[n++] = first[i];
    for (int i = 0; i < n_second; i++)
        order[n++] = second[i];
    epl_value *v = arrange(g, t, order, n);
    if (n_first == 1 && n_second == 1)
        return v;
    epl_shape shape = { .rank = k->n_batch + 2 };
    shape.dim[k->n_batch]     = -1;
    shape.dim[k->n_batch + 1] = size_of(t, second, n_second);
    return epl_reshape(g, v, shape);
}

/* Undoes the merging of axes in the product [batch..., M, N]. */
static epl_value *from_matrix(epl_graph *g, epl_value *v, const groups *k, const term *a, const term *b)
{
    if (k->n_left == 1 && k->n_right == 1)
        return v;
    epl_shape shape = { .rank = k->n_batch };
    for (int i = 0; i < k->n_left; i++)
        shape.dim[shape.rank++] = i == 0 ? -1 : size_of(a, &k->left[i], 1);
    for (int i = 0; i < k->n_right; i++)
        shape.dim[shape.rank++] = i == 0 && k->n_left == 0 ? -1 : size_of(b, &k->right[i], 1);
    return epl_reshape(g, v, shape);
}

static bool join(epl_graph *g, term *a, term *b, label_set needed)
{
    const label_set in_a = labels_of(a), in_b = labels_of(b), both = in_a & in_b;
    sum_out(g, a, needed | both);
    sum_out(g, b, needed | both);
    groups k;
    k.n_batch = collect(k.batch, a, both & needed);
    k.n_sum   = collect(k.sum, a, both & ~needed);
    k.n_left  = collect(k.left, a, ~in_b);
    k.n_right = collect(k.right, b, ~in_a);
    if (k.n_batch + k.n_left + k.n_right > EPL_MAX_RANK)
        return false;
    term out = { .rank = 0 };
    for (int i = 0; i < k.n_batch; i++)
        out.label[out.rank++] = k.batch[i];
    for (int i = 0; i < k.n_left; i++)
        out.label[out.rank++] = k.left[i];
    for (int i = 0; i < k.n_right; i++)
        out.label[out.rank++] = k.right[i];
    if (k.n_sum == 0)
        out.v = epl_mul(g, arrange(g, a, out.label, out.rank), arrange(g, b, out.label, out.rank));
    else
        out.v = from_matrix(g, epl_matmul(g, as_matrix(g, a, &k, k.left, k.n_left, k.sum, k.n_sum),
                                          as_matrix(g, b, &k, k.sum, k.n_sum, k.right, k.n_right), (epl_matmul_opts){ 0 }),
                            &k, a, b);
    *a = out;
    return true;
}

/* Equal labels have equal sizes; those of "..." may also be 1. */
static bool sizes_agree(const term *terms, int n)
{
    int64_t size[LABELS] = { 0 };
    for (int k = 0; k < n; k++)
        for (int i = 0; i < terms[k].rank; i++) {
            const int     l = terms[k].label[i];
            const int64_t d = terms[k].v->shape.dim[i];
            if (size[l] && size[l] != d && (l < LETTERS || (size[l] != 1 && d != 1)))
                return false;
            size[l] = d > size[l] ? d : size[l];
        }
    return true;
}

epl_value *epl_einsum(epl_graph *g, const char *equation, int n, epl_value *const *x)
{
    for (int i = 0; i < n; i++)
        if (!x[i])
            return NULL;
    term *terms = n > 0 && !epl_graph_failed(g) ? epl_alloc_array(epl_graph_context(g), (size_t)n, sizeof *terms) : NULL, result;
    if (!terms)
        return n > 0 ? NULL : epl_graph_fail(g, EPL_ERR_ARGUMENT, "einsum '%s' has no operands", equation);
    bool ok = read_equation(g, equation, n, x, terms, &result) &&
              (sizes_agree(terms, n) || refuse(g, equation, "a letter stands for two sizes"));
    for (int k = 0; ok && k < n; k++)
        take_diagonals(g, &terms[k]);
    for (int k = 1; ok && k < n; k++) {
        label_set needed = labels_of(&result);
        for (int later = k + 1; later < n; later++)
            needed |= labels_of(&terms[later]);
        ok = join(g, &terms[0], &terms[k], needed) || refuse(g, equation, "a product on the way has too many axes");
    }
    epl_value *y = NULL;
    if (ok) {
        sum_out(g, &terms[0], labels_of(&result));
        y = arrange(g, &terms[0], result.label, result.rank);
    }
    epl_release(epl_graph_context(g), terms);
    return y;
}
