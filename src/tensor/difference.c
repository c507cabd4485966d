/* difference: how far two tensors are apart - absolutely, relative to the larger ones, and in units in the last place. */
#include <math.h>
#include <string.h>

#include <espalier/tensor.h>

/* The place of a number in the order of all numbers of its type: what lies between two is the difference of their places. */
static int64_t place_f32(double x)
{
    const float f = (float)x;
    int32_t     i;
    memcpy(&i, &f, sizeof i);
    return i < 0 ? (int64_t)INT32_MIN - i : i;
}

static int64_t place_f64(double x)
{
    int64_t i;
    memcpy(&i, &x, sizeof i);
    return i < 0 ? INT64_MIN - i : i;
}

static int64_t place_half(uint16_t i) { return i & 0x8000 ? -(int64_t)(i & 0x7fff) : i; }

static int64_t place(epl_dtype t, double x)
{
    switch (t) {
    case EPL_F32: return place_f32(x);
    case EPL_F64: return place_f64(x);
    case EPL_F16: return place_half(epl_f32_to_f16((float)x));
    default:      return place_half(epl_f32_to_bf16((float)x));
    }
}

static void add_element(epl_difference *d, epl_dtype t, double a, double b)
{
    if (a == b || (isnan(a) && isnan(b)))
        return;
    const double abs = isnan(a) || isnan(b) ? INFINITY : fabs(a - b);
    d->max_abs = fmax(d->max_abs, abs);
    if (epl_dtype_is_float(t))
        d->max_ulp = fmax(d->max_ulp, isinf(abs) ? INFINITY : fabs((double)place(t, a) - (double)place(t, b)));
}

bool epl_tensor_compare(const epl_tensor *a, const epl_tensor *b, epl_difference *d)
{
    const size_t  size = epl_dtype_bytes(a->dtype);
    const int64_t n = epl_tensor_count(a);
    if (a->dtype != b->dtype || n != epl_tensor_count(b))
        return false;
    for (int64_t i = 0; i < n; i++) {
        const double x = epl_tensor_get(a, i);
        if (isfinite(x))
            d->largest = fmax(d->largest, fabs(x));
        if (memcmp((const char *)a->data + (size_t)i * size, (const char *)b->data + (size_t)i * size, size) == 0)
            continue;
        d->n_different++;
        add_element(d, a->dtype, x, epl_tensor_get(b, i));
    }
    d->n_elements += n;
    d->max_rel = d->max_abs == 0 ? 0 : d->largest > 0 ? d->max_abs / d->largest : INFINITY;
    return true;
}

void epl_tensor_draw(epl_tensor *t, epl_rng *r)
{
    if (epl_dtype_is_float(t->dtype)) {
        epl_tensor_fill_normal(t, r, 0, 1);
        return;
    }
    for (int64_t i = 0; i < epl_tensor_count(t); i++)
        epl_tensor_set_i64(t, i, (int64_t)epl_rng_below(r, 2));
}
