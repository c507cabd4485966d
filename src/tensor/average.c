/* average: the mean of sets of weights. */
#include <espalier/tensor.h>

static bool alike(epl_context *ctx, const epl_weights *a, const epl_weights *b)
{
    if (epl_weights_count(a) != epl_weights_count(b))
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "one set has %d tensors, another %d: only weights of one network can be averaged",
                        epl_weights_count(a), epl_weights_count(b));
    for (int i = 0; i < epl_weights_count(a); i++) {
        const char       *name = epl_weights_name(a, i);
        const epl_tensor *x = epl_weights_at(a, i), *y = epl_weights_find(b, name);
        char is[192], want[192];
        if (!y)
            return epl_fail(ctx, EPL_ERR_ARGUMENT,
                            "the tensor '%s' is not in every set: only weights of one network can be averaged", name);
        if (x->dtype != y->dtype || !epl_shape_equal(x->shape, y->shape))
            return epl_fail(ctx, EPL_ERR_SHAPE, "'%s' is %s%s in one set and %s%s in another", name, epl_dtype_name(y->dtype),
                            epl_shape_text(is, y->shape), epl_dtype_name(x->dtype), epl_shape_text(want, x->shape));
    }
    return true;
}

/* mean += (x - mean) share: a running mean needs no set but this one, and no sum that outgrows the type. */
static void add_share(epl_tensor *mean, const epl_tensor *x, double share)
{
    for (int64_t i = 0; i < epl_tensor_count(mean); i++)
        epl_tensor_set(mean, i, epl_tensor_get(mean, i) + (epl_tensor_get(x, i) - epl_tensor_get(mean, i)) * share);
}

epl_weights *epl_weights_average(epl_context *ctx, int n, const epl_weights *const *sets)
{
    if (n < 1) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "an average of %d sets of weights", n);
        return NULL;
    }
    for (int k = 0; k < n - 1; k++)
        if (!alike(ctx, sets[n - 1], sets[k]))
            return NULL;
    epl_weights *out = epl_weights_copy(ctx, sets[n - 1]);
    for (int i = 0; out && i < epl_weights_count(out); i++) {
        epl_tensor *t = epl_weights_at(out, i);
        for (int k = 0; epl_dtype_is_float(t->dtype) && k < n - 1; k++)
            add_share(t, epl_weights_find(sets[k], epl_weights_name(out, i)), 1.0 / (k + 2));
    }
    return out;
}
