/* shape: counting, comparing, broadcasting, printing. */
#include <espalier/tensor.h>

#include <stdio.h>

bool epl_shape_equal(epl_shape a, epl_shape b)
{
    if (a.rank != b.rank)
        return false;
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i])
            return false;
    return true;
}

int64_t epl_shape_count_from(epl_shape s, int first, int end)
{
    int64_t n = 1;
    bool    fits = true, empty = false;
    for (int i = first; i < end; i++) {
        if (s.dim[i] < 0)
            return -1;
        empty = empty || s.dim[i] == 0;
        fits = fits && epl_mul_i64(n, s.dim[i], &n);
    }
    return empty ? 0 : fits ? n : -1;
}

int64_t epl_shape_count(epl_shape s)
{
    if (s.rank < 0 || s.rank > EPL_MAX_RANK)
        return -1;
    return epl_shape_count_from(s, 0, s.rank);
}

const char *epl_shape_text(char out[192], epl_shape s)
{
    size_t n = (size_t)snprintf(out, 192, "[");
    for (int i = 0; i < s.rank && i < EPL_MAX_RANK; i++)
        n += (size_t)snprintf(out + n, 192 - n, "%s%lld", i ? ", " : "", (long long)s.dim[i]);
    snprintf(out + n, 192 - n, "]");
    return out;
}

bool epl_shape_broadcast(epl_shape a, epl_shape b, epl_shape *out)
{
    epl_shape result = { .rank = a.rank > b.rank ? a.rank : b.rank };
    for (int i = 1; i <= result.rank; i++) {
        const int64_t da = i <= a.rank ? a.dim[a.rank - i] : 1, db = i <= b.rank ? b.dim[b.rank - i] : 1;
        if (da != db && da != 1 && db != 1)
            return false;
        result.dim[result.rank - i] = da == 1 ? db : da;
    }
    *out = result;
    return true;
}
