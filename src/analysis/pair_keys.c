/* pair_keys: the longest common subsequence of two lists, by the greedy algorithm of Myers 1986 ("An O(ND) difference algorithm
 * and its variations"), with the whole trace kept. */
#include "analysis/pairs.h"

enum { MOST_EDITS = 3000 }; /* the trace grows with their square: 36 MB */

/* What lies between the common ends. */
typedef struct middle {
    const uint64_t *a, *b;
    int             n, m;
} middle;

/* The furthest x on diagonal k = x - y with d edits, given those with d - 1 edits. */
static int furthest(const middle *s, const int *before, int d, int k)
{
    const bool down = k == -d || (k != d && before[k - 1] < before[k + 1]);
    int        x = d == 0 ? 0 : down ? before[k + 1] : before[k - 1] + 1;
    while (x < s->n && x - k < s->m && s->a[x] == s->b[x - k])
        x++;
    return x;
}

/* Where trace row d starts: it holds the diagonals -d .. d. */
static size_t row_start(int d) { return (size_t)d * (size_t)d; }

/* From the end back: the runs of equal keys are the pairs. */
static void walk_back(const middle *s, const int *trace, int d, int *partner)
{
    int x = s->n, y = s->m;
    for (; d >= 0; d--) {
        const int  k = x - y;
        const int *before = d ? trace + row_start(d - 1) + (d - 1) : NULL;
        const bool down = d && (k == -d || (k != d && before[k - 1] < before[k + 1]));
        const int  from_x = !d ? 0 : down ? before[k + 1] : before[k - 1] + 1;
        while (x > from_x)
            x--, y--, partner[x] = y;
        if (d && down)
            y--;
        else if (d)
            x--;
    }
}

static bool pair_middle(epl_context *ctx, const middle *s, int *partner)
{
    int *trace = NULL, done = -1;
    bool ok = true;
    for (int d = 0; done < 0 && d <= s->n + s->m && d <= MOST_EDITS; d++) {
        // diagonals that leave the square are kept harmless: x beyond n, or y = x - k beyond m, is never extended
        int *grown = epl_resize(ctx, trace, row_start(d + 1) + 2, sizeof *trace);
        if (!grown) {
            ok = false;
            break;
        }
        trace = grown;
        int       *row = trace + row_start(d) + d;
        const int *before = d ? trace + row_start(d - 1) + (d - 1) : NULL;
        for (int k = -d; k <= d; k += 2) {
            row[k] = furthest(s, before, d, k);
            if (row[k] >= s->n && row[k] - k >= s->m && k == s->n - s->m)
                done = d;
        }
    }
    if (ok && done >= 0)
        walk_back(s, trace, done, partner);
    epl_release(ctx, trace);
    return ok;
}

bool pair_keys(epl_context *ctx, const uint64_t *a, int n, const uint64_t *b, int m, int *partner)
{
    int head = 0, tail = 0;
    for (int i = 0; i < n; i++)
        partner[i] = -1;
    for (; head < n && head < m && a[head] == b[head]; head++)
        partner[head] = head;
    for (; tail < n - head && tail < m - head && a[n - 1 - tail] == b[m - 1 - tail]; tail++)
        partner[n - 1 - tail] = m - 1 - tail;
    const middle s = { a + head, b + head, n - head - tail, m - head - tail };
    if (s.n == 0 || s.m == 0)
        return true;
    if (!pair_middle(ctx, &s, partner + head))
        return false;
    for (int i = head; i < n - tail; i++)
        partner[i] += partner[i] >= 0 ? head : 0;
    return true;
}
