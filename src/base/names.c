/* names: patterns over names, and what a mistyped name probably meant. */
#include <espalier/base.h>

#include <ctype.h>
#include <string.h>

/* One alternative, pattern[0 .. n). After a mismatch the last star takes one character more: no recursion. */
static bool glob_one(const char *pattern, size_t n, const char *name)
{
    size_t      p = 0, star = SIZE_MAX;
    const char *s = name, *retry = name;
    while (*s) {
        if (p < n && pattern[p] == '*') {
            star = p++;
            retry = s;
        } else if (p < n && (pattern[p] == '?' || pattern[p] == *s)) {
            p++;
            s++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            s = ++retry;
        } else {
            return false;
        }
    }
    while (p < n && pattern[p] == '*')
        p++;
    return p == n;
}

bool epl_glob(const char *pattern, const char *name)
{
    for (;;) {
        const size_t n = strcspn(pattern, ",");
        if (glob_one(pattern, n, name))
            return true;
        if (pattern[n] == 0)
            return false;
        pattern += n + 1;
    }
}

enum { LONGEST_NAME = 63 };

static size_t min3(size_t a, size_t b, size_t c)
{
    const size_t least = a < b ? a : b;
    return least < c ? least : c;
}

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment), letters of either case alike. */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t rows[3][LONGEST_NAME + 1];
    for (size_t j = 0; j <= nb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t       *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + !same_letter(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]))
                row[j] = min3(row[j], row[j], above2[j - 2] + 1);
        }
    }
    return rows[na % 3][nb];
}

const char *epl_closest(const char *name, const char *const *candidates, size_t n)
{
    const size_t length = strlen(name);
    if (length > LONGEST_NAME)
        return NULL;
    const char *best = NULL;
    size_t      best_distance = (length + 2) / 3 + 1;
    for (size_t i = 0; i < n; i++) {
        const size_t other = strlen(candidates[i]);
        if (other > LONGEST_NAME)
            continue;
        const size_t d = edit_distance(name, length, candidates[i], other);
        if (d < best_distance && d < length) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}
