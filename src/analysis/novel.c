/* novel: classes that a network never saw, from a few samples of each, and whether it notices that they are new. */
#include "analysis/classes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- area under the curve ---- */

typedef struct scored {
    double score;
    bool   positive;
} scored;

static int by_score(const void *a, const void *b)
{
    const double x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x > y) - (x < y);
}

/* Mann & Whitney's U: the sum of the positives' ranks, equal scores with their mean rank. */
double epl_auroc(epl_context *ctx, const double *positive, int64_t n, const double *negative, int64_t m)
{
    scored *all = n > 0 && m > 0 ? epl_alloc_array(ctx, (size_t)(n + m), sizeof *all) : NULL;
    double  ranks = 0;
    if (!all)
        return (double)NAN;
    for (int64_t i = 0; i < n + m; i++)
        all[i] = i < n ? (scored){ positive[i], true } : (scored){ negative[i - n], false };
    qsort(all, (size_t)(n + m), sizeof *all, by_score);
    for (int64_t i = 0, end; i < n + m; i = end) {
        int64_t here = 0;
        for (end = i; end < n + m && all[end].score == all[i].score; end++)
            here += all[end].positive;
        ranks += (double)here * ((double)(i + end - 1) / 2 + 1);
    }
    epl_release(ctx, all);
    return (ranks - (double)n * ((double)n + 1) / 2) / ((double)n * (double)m);
}

/* ---- an evaluation: unit vectors, who is a candidate, their means ---- */

typedef struct trial {
    epl_context   *ctx;
    epl_novel_opts o;
    epl_embedded  support, query; /* copies */
    int            n_classes;      /* candidates: novel ones, then base */
    float         *means;          /* [n_classes, width] */
    int64_t       *members, *n_members; /* of each candidate in support: [n_classes, support.n], [n_classes] */
} trial;

static int class_at(const epl_novel_opts *o, int i) { return i < o->n_novel ? o->novel[i] : o->base[i - o->n_novel]; }

static int candidate_of(const trial *t, int64_t label)
{
    for (int i = 0; i < t->n_classes; i++)
        if (class_at(&t->o, i) == label)
            return i;
    return -1;
}

static bool check(const epl_embedded *support, const epl_embedded *query, const epl_novel_opts *o)
{
    if (support->width != query->width)
        return epl_fail(support->ctx, EPL_ERR_SHAPE, "novel classes: support has %lld numbers a sample, query %lld",
                        (long long)support->width, (long long)query->width);
    for (int i = 0; i < o->n_novel + o->n_base; i++)
        for (int k = 0; k < i; k++)
            if (class_at(o, i) == class_at(o, k))
                return epl_fail(support->ctx, EPL_ERR_ARGUMENT, "novel classes: class %d is %s", class_at(o, i),
                                k < o->n_novel && i >= o->n_novel ? "novel and in the base" : "named twice");
    return o->shots >= 0 || epl_fail(support->ctx, EPL_ERR_ARGUMENT, "novel classes: %d shots", o->shots);
}

static void release(trial *t)
{
    epl_embedded_release(&t->support);
    epl_embedded_release(&t->query);
    epl_release(t->ctx, t->means);
    epl_release(t->ctx, t->members);
    epl_release(t->ctx, t->n_members);
}

static bool begin(const epl_embedded *support, const epl_embedded *query, epl_novel_opts o, trial *t)
{
    *t = (trial){ .ctx = support->ctx, .o = o, .n_classes = o.n_novel + o.n_base };
    const size_t n = (size_t)t->n_classes;
    if (!check(support, query, &o) || !epl_embedded_unit(support, o.euclidean, &t->support) ||
        !epl_embedded_unit(query, o.euclidean, &t->query))
        return false;
    t->means     = epl_alloc_array(t->ctx, n * (size_t)support->width + 1, sizeof *t->means);
    t->members   = epl_alloc_array(t->ctx, n * (size_t)support->n + 1, sizeof *t->members);
    t->n_members = epl_alloc_array(t->ctx, n + 1, sizeof *t->n_members);
    if (!t->means || !t->members || !t->n_members)
        return false;
    for (int i = 0; i < t->n_classes; i++) {
        int64_t *list = t->members + i * support->n;
        t->n_members[i] = epl_members(support, class_at(&o, i), list);
        if (t->n_members[i] < (i < o.n_novel && o.shots ? o.shots : 1))
            return epl_fail(t->ctx, EPL_ERR_ARGUMENT, "novel classes: class %d has %lld samples in support, %d are needed", class_at(&o, i),
                            (long long)t->n_members[i], i < o.n_novel && o.shots ? o.shots : 1);
        epl_mean_of(&t->support, list, t->n_members[i], o.euclidean, t->means + i * support->width);
    }
    return true;
}

/* ---- episodes ---- */

static void draw_shots(trial *t, epl_rng *r)
{
    for (int i = 0; i < t->o.n_novel; i++) {
        int64_t *list = t->members + i * t->support.n;
        for (int k = 0; k < t->o.shots; k++) {
            const int64_t j = k + (int64_t)epl_rng_below(r, (uint64_t)(t->n_members[i] - k)), a = list[k];
            list[k] = list[j];
            list[j] = a;
        }
        epl_mean_of(&t->support, list, t->o.shots, t->o.euclidean, t->means + i * t->support.width);
    }
}

typedef struct count {
    int64_t n[2], right[2]; /* of novel, of base classes */
} count;

static count ask(const trial *t)
{
    count c = { { 0 }, { 0 } };
    for (int64_t i = 0; i < t->query.n; i++) {
        const int truth = candidate_of(t, t->query.y[i]), base = truth >= t->o.n_novel;
        if (truth < 0)
            continue;
        c.n[base]++;
        c.right[base] += epl_nearest(t->query.z + i * t->query.width, t->query.width, t->means, t->n_classes,
                                     t->o.euclidean, NULL) == truth;
    }
    return c;
}

bool epl_novel_classes(const epl_embedded *support, const epl_embedded *query, epl_novel_opts o, epl_novel_result *out)
{
    trial  t;
    double sum = 0, squares = 0, right[2] = { 0 }, n[2] = { 0 };
    bool   ok = begin(support, query, o, &t);
    *out = (epl_novel_result){ .episodes = o.shots == 0 ? 1 : o.episodes ? o.episodes : 200 };
    for (int e = 0; ok && e < out->episodes; e++) {
        epl_rng r = epl_rng_at(o.seed, (uint64_t)e);
        if (o.shots)
            draw_shots(&t, &r);
        const count  c = ask(&t);
        if (c.n[0] + c.n[1] == 0)
            ok = epl_fail(t.ctx, EPL_ERR_ARGUMENT, "novel classes: no sample of query is of one of the classes");
        const double a = (double)(c.right[0] + c.right[1]) / (double)(c.n[0] + c.n[1]);
        sum += a;
        squares += a * a;
        for (int k = 0; k < 2; k++) {
            right[k] += (double)c.right[k];
            n[k] += (double)c.n[k];
        }
    }
    const double E = out->episodes, mean = sum / E;
    out->accuracy       = mean;
    out->interval       = E > 1 ? 1.96 * sqrt(fmax(0, squares / E - mean * mean) / (E - 1)) : 0;
    out->novel_accuracy = right[0] / n[0];
    out->base_accuracy  = right[1] / n[1];
    release(&t);
    return ok;
}

/* ---- open set ---- */

/* The score that 95 % of the known reach: position floor(n / 20) in rising order. */
static double threshold_of(double *known, int64_t n)
{
    epl_sort(known, n);
    return known[n / 20];
}

bool epl_open_set(const epl_embedded *support, const epl_embedded *query, epl_novel_opts o, epl_open_set_result *out)
{
    trial t;
    o.euclidean = false;
    o.shots     = 0;
    bool    ok = begin(support, query, o, &t);
    double *known = epl_alloc_array(support->ctx, (size_t)query->n + 1, sizeof *known);
    double *kept = epl_alloc_array(support->ctx, (size_t)query->n + 1, sizeof *kept); /* of the known that are right */
    double *unknown = epl_alloc_array(support->ctx, (size_t)query->n + 1, sizeof *unknown), score;
    int64_t n_known = 0, n_unknown = 0, right = 0, accepted = 0, passed = 0;
    const float *base = ok ? t.means + o.n_novel * support->width : NULL;
    ok = ok && known && kept && unknown;
    for (int64_t i = 0; ok && i < query->n; i++) {
        const int truth = candidate_of(&t, query->y[i]);
        if (truth < 0)
            continue;
        const int said = epl_nearest(t.query.z + i * query->width, query->width, base, o.n_base, false, &score);
        if (truth < o.n_novel)
            unknown[n_unknown++] = score;
        else {
            known[n_known++] = score;
            if (said == truth - o.n_novel)
                kept[right++] = score;
        }
    }
    if (ok && (n_known == 0 || n_unknown == 0))
        ok = epl_fail(support->ctx, EPL_ERR_ARGUMENT, "open set: %lld samples of base classes and %lld of novel ones, both are needed",
                      (long long)n_known, (long long)n_unknown);
    if (ok) {
        out->auroc     = epl_auroc(support->ctx, known, n_known, unknown, n_unknown);
        out->threshold = threshold_of(known, n_known);
        for (int64_t i = 0; i < right; i++)
            accepted += kept[i] >= out->threshold;
        for (int64_t i = 0; i < n_unknown; i++)
            passed += unknown[i] >= out->threshold;
        out->false_known       = (double)passed / (double)n_unknown;
        out->base_accuracy     = (double)right / (double)n_known;
        out->accepted_accuracy = (double)accepted / (double)n_known;
    }
    epl_release(support->ctx, known);
    epl_release(support->ctx, kept);
    epl_release(support->ctx, unknown);
    release(&t);
    return ok;
}
