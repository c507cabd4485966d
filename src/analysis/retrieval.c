/* retrieval: search by features, as for images of tissue: bags of features (the tiles of a slide), distances of
 * bags, and whose label the nearest ones have. Kalra et al. 2020 (arXiv:1911.08748): barcodes, and the median of the
 * least distances. */
#include <math.h>
#include <string.h>

#include <espalier/analysis.h>

epl_tensor *epl_barcodes(epl_context *ctx, const epl_tensor *features)
{
    char shape[192];
    if (features->shape.rank != 2 || features->shape.dim[1] < 2) {
        epl_fail(ctx, EPL_ERR_SHAPE, "barcodes are made of features [n, D] with D of 2 and more, not %s",
                 epl_shape_text(shape, features->shape));
        return NULL;
    }
    const int64_t n = features->shape.dim[0], d = features->shape.dim[1];
    epl_tensor   *out = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(n, d - 1));
    for (int64_t i = 0; out && i < n; i++)
        for (int64_t k = 0; k + 1 < d; k++)
            ((uint8_t *)out->data)[i * (d - 1) + k] = epl_tensor_get(features, i * d + k + 1) >= epl_tensor_get(features, i * d + k);
    return out;
}

/* ---- distances ---- */

static double hamming(const uint8_t *a, const uint8_t *b, int64_t d)
{
    int64_t n = 0;
    for (int64_t k = 0; k < d; k++)
        n += a[k] != b[k];
    return (double)n;
}

static double between(const epl_tensor *t, int64_t i, int64_t k, epl_feature_distance kind)
{
    const int64_t d = t->shape.dim[1];
    if (kind == EPL_DISTANCE_BARCODE)
        return hamming((const uint8_t *)t->data + i * d, (const uint8_t *)t->data + k * d, d);
    const float *a = (const float *)t->data + i * d, *b = (const float *)t->data + k * d;
    double apart = 0, dot = 0, aa = 0, bb = 0;
    for (int64_t c = 0; c < d; c++) {
        apart += (double)(a[c] - b[c]) * (a[c] - b[c]);
        dot += (double)a[c] * b[c];
        aa += (double)a[c] * a[c];
        bb += (double)b[c] * b[c];
    }
    return kind == EPL_DISTANCE_COSINE ? 1 - dot / sqrt(fmax(aa * bb, 1e-300)) : sqrt(apart);
}

/* The median over q in bag a of the least distance to bag b; `room` holds bag a. */
static double bag_distance(const epl_tensor *t, const epl_bags *bags, int64_t a, int64_t b, epl_feature_distance kind, double *room)
{
    int64_t n = 0;
    for (int64_t q = bags->first[a]; q < bags->first[a + 1]; q++) {
        double least = INFINITY;
        for (int64_t s = bags->first[b]; s < bags->first[b + 1]; s++)
            least = fmin(least, between(t, q, s, kind));
        room[n++] = least;
    }
    return n == 0 ? INFINITY : epl_median(room, n);
}

/* What distances are taken of: barcodes, or the features as f32. The caller owns it. */
static epl_tensor *comparable(epl_context *ctx, const epl_tensor *features, epl_feature_distance kind)
{
    return kind == EPL_DISTANCE_BARCODE ? epl_barcodes(ctx, features) : epl_tensor_cast(ctx, features, EPL_F32);
}

static bool check(epl_context *ctx, const epl_tensor *features, const epl_bags *b)
{
    bool rises = b->n > 0 && b->first[0] == 0 && features->shape.rank == 2 && b->first[b->n] == features->shape.dim[0];
    for (int64_t i = 0; rises && i < b->n; i++)
        rises = b->first[i] <= b->first[i + 1];
    char shape[192];
    return rises || epl_fail(ctx, EPL_ERR_SHAPE, "retrieval: %lld bags do not cover the rows of features %s in order", (long long)b->n,
                             epl_shape_text(shape, features->shape));
}

bool epl_bag_distance(epl_context *ctx, const epl_tensor *features, const epl_bags *bags, int64_t a, int64_t b, epl_feature_distance kind,
                      double *out)
{
    epl_tensor *t = check(ctx, features, bags) ? comparable(ctx, features, kind) : NULL;
    double *room = t ? epl_alloc_array(ctx, (size_t)t->shape.dim[0] + 1, sizeof *room) : NULL;
    if (room)
        *out = bag_distance(t, bags, a, b, kind, room);
    epl_release(ctx, room);
    epl_tensor_free(t);
    return room != NULL;
}

/* ---- search ---- */

/* Whether bag s may answer bag q: of another group and, within sites, of the same one. */
static bool eligible(const epl_bags *b, const epl_retrieve_opts *o, int64_t q, int64_t s)
{
    return s != q && b->first[s] < b->first[s + 1] && (!b->group || b->group[s] != b->group[q]) &&
           (!o->within_sites || !b->site || b->site[s] == b->site[q]);
}

/* The majority among labels of the nearest; of equal counts the one whose nearest is nearest. */
static int64_t vote(const int64_t *nearest, int n, const int64_t *label)
{
    int64_t best = -1;
    int     most = 0;
    for (int i = 0; i < n; i++) {
        int count = 0;
        for (int k = 0; k < n; k++)
            count += label[nearest[k]] == label[nearest[i]];
        if (count > most) {
            most = count;
            best = label[nearest[i]];
        }
    }
    return best;
}

/* The `top` nearest bags of q to `nearest`, by distance; of equal ones the first. Returns how many there are. */
static int search(const epl_tensor *t, const epl_bags *b, const epl_retrieve_opts *o, int64_t q, int64_t *nearest, double *distance,
                  double *room)
{
    int n = 0;
    for (int64_t s = 0; s < b->n; s++) {
        if (!eligible(b, o, q, s))
            continue;
        const double d = bag_distance(t, b, q, s, o->distance, room);
        int at = n;
        while (at > 0 && distance[at - 1] > d)
            at--;
        if (at >= o->top)
            continue;
        const int move = (n < o->top ? n : o->top - 1) - at;
        memmove(distance + at + 1, distance + at, (size_t)move * sizeof *distance);
        memmove(nearest + at + 1, nearest + at, (size_t)move * sizeof *nearest);
        distance[at] = d;
        nearest[at]  = s;
        n += n < o->top;
    }
    return n;
}

/* Accuracy, and F1 by class with its mean over the classes that occur. */
static void score(const epl_bags *b, epl_retrieval *r)
{
    int64_t right = 0, asked = 0, classes = 0;
    for (int64_t i = 0; i < b->n; i++) {
        asked += r->predicted[i] >= 0;
        right += r->predicted[i] >= 0 && r->predicted[i] == b->label[i];
    }
    r->macro_f1 = 0;
    for (int64_t c = 0; c < r->n_classes; c++) {
        int64_t hit = 0, said = 0, there = 0;
        for (int64_t i = 0; i < b->n; i++) {
            if (r->predicted[i] < 0)
                continue;
            hit += r->predicted[i] == c && b->label[i] == c;
            said += r->predicted[i] == c;
            there += b->label[i] == c;
        }
        r->f1[c] = said + there ? 2.0 * (double)hit / (double)(said + there) : NAN;
        classes += there > 0;
        r->macro_f1 += there > 0 ? r->f1[c] : 0;
    }
    r->asked    = asked;
    r->accuracy = asked ? (double)right / (double)asked : NAN;
    r->macro_f1 = classes ? r->macro_f1 / (double)classes : NAN;
}

bool epl_retrieve(epl_context *ctx, const epl_tensor *features, const epl_bags *bags, epl_retrieve_opts o, epl_retrieval *out)
{
    *out  = (epl_retrieval){ .top = o.top > 0 ? o.top : 3 };
    o.top = out->top;
    epl_tensor *t = check(ctx, features, bags) ? comparable(ctx, features, o.distance) : NULL;
    if (!t)
        return false;
    for (int64_t i = 0; i < bags->n; i++)
        out->n_classes = bags->label[i] >= out->n_classes ? bags->label[i] + 1 : out->n_classes;
    double *room = epl_alloc_array(ctx, (size_t)t->shape.dim[0] + (size_t)o.top + 2, sizeof *room);
    out->predicted = epl_alloc_array(ctx, (size_t)bags->n + 1, sizeof *out->predicted);
    out->nearest   = epl_alloc_array(ctx, (size_t)(bags->n * o.top) + 1, sizeof *out->nearest);
    out->f1        = epl_alloc_array(ctx, (size_t)out->n_classes + 1, sizeof *out->f1);
    const bool ok = room && out->predicted && out->nearest && out->f1;
    for (int64_t q = 0; ok && q < bags->n; q++) {
        int64_t  *nearest = out->nearest + q * o.top;
        const int n = bags->first[q] < bags->first[q + 1] ? search(t, bags, &o, q, nearest, room + t->shape.dim[0], room) : 0;
        for (int i = n; i < o.top; i++)
            nearest[i] = -1;
        out->predicted[q] = n > 0 ? vote(nearest, n, bags->label) : -1;
    }
    if (ok)
        score(bags, out);
    else
        epl_retrieval_release(ctx, out);
    epl_release(ctx, room);
    epl_tensor_free(t);
    return ok;
}

void epl_retrieval_release(epl_context *ctx, epl_retrieval *r)
{
    epl_release(ctx, r->predicted);
    epl_release(ctx, r->nearest);
    epl_release(ctx, r->f1);
    *r = (epl_retrieval){ 0 };
}
