/* layers: ranks, order and places of layers.h. */
#include "report/layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct layer_segment {
    int    upper, lower;               /* vertices in neighbouring rows */
    double upper_offset, lower_offset;
    double weight;                     /* how much it wants to be straight */
};

static const double GAP_NODES = 18, GAP_DUMMIES = 14;          // side by side
static const double GAP_ROWS = 24, GAP_ROWS_MOST = 64, GAP_PER_SLANT = 0.09;
enum { ORDER_SWEEPS = 16, PLACE_SWEEPS = 12, MOST_COUNTED = 600 }; // rows with more segments are not counted exactly

int epl_layers_vertex(layers *l, layer_vertex v)
{
    if (!epl_grow(l->ctx, &l->vertices, l->n_vertices, &l->vertices_capacity, sizeof v))
        return -1;
    l->vertices[l->n_vertices] = v;
    return (int)l->n_vertices++;
}

int epl_layers_edge(layers *l, layer_edge e)
{
    if (!epl_grow(l->ctx, &l->edges, l->n_edges, &l->edges_capacity, sizeof e))
        return -1;
    l->edges[l->n_edges] = e;
    return (int)l->n_edges++;
}

void epl_diagram_layers_release(layers *l)
{
    void *const all[] = { l->vertices, l->edges, l->segments, l->row_start, l->row, l->up_start,
                          l->up, l->down_start, l->down, l->row_top, l->row_height };
    for (size_t i = 0; i < EPL_COUNT(all); i++)
        epl_release(l->ctx, all[i]);
    *l = (layers){ .ctx = l->ctx };
}

static int upper_end(const layer_edge *e)
{
    return e->reversed ? e->to : e->from;
}

static int lower_end(const layer_edge *e)
{
    return e->reversed ? e->from : e->to;
}

/* ---- ranks ---- */

/* Lists, for every vertex, the items that start there: list[start[v]] .. list[start[v + 1] - 1]. */
typedef struct incidence {
    int *start, *list;
} incidence;

static bool index_edges(layers *l, incidence *out)
{
    out->start = epl_alloc_array(l->ctx, l->n_vertices + 2, sizeof(int));
    out->list  = epl_alloc_array(l->ctx, l->n_edges + 1, sizeof(int));
    if (!out->start || !out->list)
        return false;
    for (size_t i = 0; i < l->n_edges; i++)
        out->start[l->edges[i].from + 2]++;
    for (size_t v = 2; v < l->n_vertices + 2; v++)
        out->start[v] += out->start[v - 1];
    for (size_t i = 0; i < l->n_edges; i++)
        out->list[out->start[l->edges[i].from + 1]++] = (int)i;
    return true;
}

/* Depth first with an own stack; an edge to a vertex still on the stack closes a cycle. Vertices leave the stack in
 * reverse topological order, which `finished` records. */
static void break_cycles(layers *l, const incidence *out, int *state, int *stack, int *next, int *finished)
{
    int n_finished = 0;
    for (size_t root = 0; root < l->n_vertices; root++) {
        int depth = 0;
        if (state[root])
            continue;
        stack[depth++] = (int)root;
        state[root]    = 1;
        next[root]     = out->start[root];
        while (depth) {
            const int v = stack[depth - 1];
            if (next[v] == out->start[v + 1]) {
                state[v] = 2;
                finished[n_finished++] = v;
                depth--;
                continue;
            }
            layer_edge *e = &l->edges[out->list[next[v]++]];
            if (state[e->to] == 1) {
                e->reversed = true;
            } else if (!state[e->to]) {
                state[e->to]   = 1;
                next[e->to]    = out->start[e->to];
                stack[depth++] = e->to;
            }
        }
    }
}

static void longest_paths(layers *l, const incidence *out, const int *finished)
{
    bool changed = true;
    for (size_t v = 0; v < l->n_vertices; v++)
        l->vertices[v].rank = l->vertices[v].pin == PIN_FIRST ? 0 : 1;
    for (size_t round = 0; changed && round <= l->n_vertices; round++) { // reversed edges may ask for more rounds
        changed = false;
        for (size_t i = l->n_vertices; i-- > 0;)
            for (int k = out->start[finished[i]]; k < out->start[finished[i] + 1]; k++) {
                const layer_edge *e = &l->edges[out->list[k]];
                const int least = l->vertices[upper_end(e)].rank + 1;
                if (l->vertices[lower_end(e)].rank < least) {
                    l->vertices[lower_end(e)].rank = least;
                    changed = true;
                }
            }
    }
}

/* A vertex that nothing leads to stands just above the first that needs it (constants, weights). */
static void sink_sources(layers *l)
{
    for (size_t v = 0; v < l->n_vertices; v++) {
        int  least = INT32_MAX;
        bool source = l->vertices[v].pin == PIN_NONE;
        for (size_t i = 0; source && i < l->n_edges; i++) {
            source = lower_end(&l->edges[i]) != (int)v;
            if (upper_end(&l->edges[i]) == (int)v && l->vertices[lower_end(&l->edges[i])].rank < least)
                least = l->vertices[lower_end(&l->edges[i])].rank;
        }
        if (source && least != INT32_MAX)
            l->vertices[v].rank = least - 1;
    }
}

static void close_ranks(layers *l)
{
    int least = INT32_MAX, most = 0;
    for (size_t v = 0; v < l->n_vertices; v++) {
        least = l->vertices[v].rank < least ? l->vertices[v].rank : least;
        most  = l->vertices[v].rank > most && l->vertices[v].pin != PIN_LAST ? l->vertices[v].rank : most;
    }
    for (size_t v = 0; v < l->n_vertices; v++)
        l->vertices[v].rank = (l->vertices[v].pin == PIN_LAST ? most + 1 : l->vertices[v].rank) - least;
    l->n_ranks = 0;
    for (size_t v = 0; v < l->n_vertices; v++)
        if (l->vertices[v].rank >= l->n_ranks)
            l->n_ranks = l->vertices[v].rank + 1;
}

static bool assign_ranks(layers *l)
{
    incidence out = { 0 };
    int *work = epl_alloc_array(l->ctx, 4 * (l->n_vertices + 1), sizeof(int));
    const bool ok = work && index_edges(l, &out);
    if (ok) {
        const size_t n = l->n_vertices + 1;
        break_cycles(l, &out, work, work + n, work + 2 * n, work + 3 * n);
        longest_paths(l, &out, work + 3 * n);
        sink_sources(l);
        close_ranks(l);
    }
    epl_release(l->ctx, out.start);
    epl_release(l->ctx, out.list);
    epl_release(l->ctx, work);
    return ok;
}

/* ---- dummies and segments ---- */

static bool cut_long_edges(layers *l)
{
    for (size_t i = 0; i < l->n_edges; i++) {
        const int first = l->vertices[upper_end(&l->edges[i])].rank + 1, end = l->vertices[lower_end(&l->edges[i])].rank;
        l->edges[i].first_dummy = (int)l->n_vertices;
        l->edges[i].n_dummies   = end > first ? end - first : 0;
        for (int r = first; r < end; r++)
            if (epl_layers_vertex(l, (layer_vertex){ .dummy = true, .rank = r }) < 0)
                return false;
        l->n_segments += (size_t)l->edges[i].n_dummies + 1;
    }
    return true;
}

static void make_segments(layers *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n_edges; i++) {
        const layer_edge *e = &l->edges[i];
        for (int k = 0; k <= e->n_dummies; k++) {
            const bool top = k == 0, bottom = k == e->n_dummies;
            l->segments[n++] = (layer_segment){
                .upper        = top ? upper_end(e) : e->first_dummy + k - 1,
                .lower        = bottom ? lower_end(e) : e->first_dummy + k,
                .upper_offset = top ? (e->reversed ? e->to_offset : e->from_offset) : 0,
                .lower_offset = bottom ? (e->reversed ? e->from_offset : e->to_offset) : 0,
                .weight       = top && bottom ? 4 : top || bottom ? 2 : 8,
            };
        }
    }
}

static bool index_segments(layers *l, int **start, int **list, bool by_upper)
{
    *start = epl_alloc_array(l->ctx, l->n_vertices + 2, sizeof(int));
    *list  = epl_alloc_array(l->ctx, l->n_segments + 1, sizeof(int));
    if (!*start || !*list)
        return false;
    for (size_t i = 0; i < l->n_segments; i++)
        (*start)[(by_upper ? l->segments[i].upper : l->segments[i].lower) + 2]++;
    for (size_t v = 2; v < l->n_vertices + 2; v++)
        (*start)[v] += (*start)[v - 1];
    for (size_t i = 0; i < l->n_segments; i++)
        (*list)[(*start)[(by_upper ? l->segments[i].upper : l->segments[i].lower) + 1]++] = (int)i;
    return true;
}

static bool make_rows(layers *l)
{
    l->row_start = epl_alloc_array(l->ctx, (size_t)l->n_ranks + 2, sizeof(int));
    l->row       = epl_alloc_array(l->ctx, l->n_vertices + 1, sizeof(int));
    if (!l->row_start || !l->row)
        return false;
    for (size_t v = 0; v < l->n_vertices; v++)
        l->row_start[l->vertices[v].rank + 2]++;
    for (int r = 2; r < l->n_ranks + 2; r++)
        l->row_start[r] += l->row_start[r - 1];
    for (size_t v = 0; v < l->n_vertices; v++)
        l->row[l->row_start[l->vertices[v].rank + 1]++] = (int)v;
    return true;
}

static bool build(layers *l)
{
    if (!cut_long_edges(l))
        return false;
    l->segments   = epl_alloc_array(l->ctx, l->n_segments + 1, sizeof *l->segments);
    l->row_top    = epl_alloc_array(l->ctx, (size_t)l->n_ranks + 1, sizeof(double));
    l->row_height = epl_alloc_array(l->ctx, (size_t)l->n_ranks + 1, sizeof(double));
    if (!l->segments || !l->row_top || !l->row_height || !make_rows(l))
        return false;
    make_segments(l);
    return index_segments(l, &l->down_start, &l->down, true) && index_segments(l, &l->up_start, &l->up, false);
}

/* ---- order inside the rows ---- */

typedef struct keyed {
    double key;
    int    vertex, place;
} keyed;

static int compare_keyed(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key ? 1 : x->place - y->place; // stable
}

static void number_rows(layers *l)
{
    for (int r = 0; r < l->n_ranks; r++)
        for (int i = l->row_start[r]; i < l->row_start[r + 1]; i++)
            l->vertices[l->row[i]].order = i - l->row_start[r];
}

/* Where a segment touches a vertex, measured in places: wide vertices are touched left or right of their middle. */
static double touch(const layer_vertex *v, double offset)
{
    return v->order + (v->w > 1 ? 0.9 * offset / v->w : 0);
}

static double barycentre(const layers *l, int v, bool from_above)
{
    const int *start = from_above ? l->up_start : l->down_start, *list = from_above ? l->up : l->down;
    double sum = 0;
    for (int i = start[v]; i < start[v + 1]; i++) {
        const layer_segment *s = &l->segments[list[i]];
        sum += from_above ? touch(&l->vertices[s->upper], s->upper_offset) -
                                touch(&(layer_vertex){ .w = l->vertices[v].w }, s->lower_offset)
                          : touch(&l->vertices[s->lower], s->lower_offset) -
                                touch(&(layer_vertex){ .w = l->vertices[v].w }, s->upper_offset);
    }
    return start[v + 1] > start[v] ? sum / (start[v + 1] - start[v]) : l->vertices[v].order;
}

static void sort_row(layers *l, int r, bool from_above, keyed *work)
{
    const int first = l->row_start[r], n = l->row_start[r + 1] - first;
    for (int i = 0; i < n; i++)
        work[i] = (keyed){ barycentre(l, l->row[first + i], from_above), l->row[first + i], i };
    qsort(work, (size_t)n, sizeof *work, compare_keyed);
    for (int i = 0; i < n; i++) {
        l->row[first + i] = work[i].vertex;
        l->vertices[work[i].vertex].order = i;
    }
}

static int64_t crossings_below(const layers *l, int r, int *gathered)
{
    int n = 0;
    int64_t crossings = 0;
    for (int i = l->row_start[r]; i < l->row_start[r + 1]; i++)
        for (int k = l->down_start[l->row[i]]; k < l->down_start[l->row[i] + 1] && n < MOST_COUNTED; k++)
            gathered[n++] = l->down[k];
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++) {
            const layer_segment *a = &l->segments[gathered[i]], *b = &l->segments[gathered[k]];
            const double above = touch(&l->vertices[a->upper], a->upper_offset) - touch(&l->vertices[b->upper], b->upper_offset);
            const double below = touch(&l->vertices[a->lower], a->lower_offset) - touch(&l->vertices[b->lower], b->lower_offset);
            crossings += above * below < 0;
        }
    return crossings;
}

static int64_t count_crossings(const layers *l)
{
    int gathered[MOST_COUNTED];
    int64_t crossings = 0;
    for (int r = 0; r + 1 < l->n_ranks; r++)
        crossings += crossings_below(l, r, gathered);
    return crossings;
}

/* Crossings among the segments of two vertices on one side, if `a` stands left of `b`. */
static int crossings_of_pair(const layers *l, int a, int b, bool above)
{
    const int *start = above ? l->up_start : l->down_start, *list = above ? l->up : l->down;
    int crossings = 0;
    for (int i = start[a]; i < start[a + 1]; i++)
        for (int k = start[b]; k < start[b + 1]; k++) {
            const layer_segment *p = &l->segments[list[i]], *q = &l->segments[list[k]];
            crossings += above ? touch(&l->vertices[p->upper], p->upper_offset) > touch(&l->vertices[q->upper], q->upper_offset)
                               : touch(&l->vertices[p->lower], p->lower_offset) > touch(&l->vertices[q->lower], q->lower_offset);
        }
    return crossings;
}

/* Exchanges neighbours where that removes crossings with the rows above and below. */
static void exchange_neighbours(layers *l)
{
    for (int r = 0; r < l->n_ranks; r++)
        for (int i = l->row_start[r]; i + 1 < l->row_start[r + 1]; i++) {
            const int a = l->row[i], b = l->row[i + 1];
            if (crossings_of_pair(l, b, a, true) + crossings_of_pair(l, b, a, false) >=
                crossings_of_pair(l, a, b, true) + crossings_of_pair(l, a, b, false))
                continue;
            l->row[i]     = b;
            l->row[i + 1] = a;
            l->vertices[b].order--;
            l->vertices[a].order++;
        }
}

static bool order_rows(layers *l)
{
    keyed *work = epl_alloc_array(l->ctx, l->n_vertices + 1, sizeof *work);
    int   *best = epl_alloc_array(l->ctx, l->n_vertices + 1, sizeof *best);
    const bool ok = work && best;
    int64_t fewest = INT64_MAX;
    number_rows(l);
    for (int sweep = 0; ok && sweep < ORDER_SWEEPS && fewest > 0; sweep++) {
        for (int r = 0; r < l->n_ranks; r++)
            sort_row(l, sweep % 2 ? l->n_ranks - 1 - r : r, sweep % 2 == 0, work);
        exchange_neighbours(l);
        const int64_t crossings = count_crossings(l);
        if (crossings < fewest) {
            fewest = crossings;
            memcpy(best, l->row, l->n_vertices * sizeof *best);
        }
    }
    if (ok)
        memcpy(l->row, best, l->n_vertices * sizeof *best);
    number_rows(l);
    epl_release(l->ctx, work);
    epl_release(l->ctx, best);
    return ok;
}

/* ---- places along the rows ---- */

static double distance(const layers *l, int left, int right)
{
    const layer_vertex *a = &l->vertices[left], *b = &l->vertices[right];
    return (a->w + b->w) / 2 + (a->dummy || b->dummy ? GAP_DUMMIES : GAP_NODES);
}

static int compare_by_key(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return x[0] < y[0] ? -1 : x[0] > y[0];
}

/* The weighted median of where the neighbours on one side want a vertex; its own x if it has none there. */
static double wanted(const layers *l, int v, bool from_above, double (*work)[2])
{
    const int *start = from_above ? l->up_start : l->down_start, *list = from_above ? l->up : l->down;
    const int n = start[v + 1] - start[v];
    double total = 0, sum = 0;
    for (int i = 0; i < n; i++) {
        const layer_segment *s = &l->segments[list[start[v] + i]];
        work[i][0] = from_above ? l->vertices[s->upper].x + s->upper_offset - s->lower_offset
                                : l->vertices[s->lower].x + s->lower_offset - s->upper_offset;
        work[i][1] = s->weight;
        total += s->weight;
    }
    if (!n)
        return l->vertices[v].x;
    qsort(work, (size_t)n, sizeof *work, compare_by_key);
    for (int i = 0; i < n; i++) {
        sum += work[i][1];
        if (2 * sum > total)
            return work[i][0];
        if (2 * sum == total && i + 1 < n)
            return (work[i][0] + work[i + 1][0]) / 2;
    }
    return work[n - 1][0];
}

typedef struct block {
    double place, weight; /* the weighted mean of its members' wishes, less their distances from the first */
    int    first;
} block;

/* The heaviest path from top to bottom is the spine of the picture: it is kept straight before all else. */
static bool find_spine(layers *l)
{
    double *weight = epl_alloc_array(l->ctx, l->n_vertices + 1, sizeof *weight);
    int    *from   = epl_alloc_array(l->ctx, l->n_vertices + 1, sizeof *from);
    int     end    = -1;
    for (size_t i = 0; weight && from && i < l->n_vertices; i++) {
        const int v = l->row[i]; // rows come from the top
        double heaviest = -1;
        from[v] = -1;
        for (int k = l->up_start[v]; k < l->up_start[v + 1]; k++)
            if (weight[l->segments[l->up[k]].upper] > heaviest) {
                heaviest = weight[l->segments[l->up[k]].upper];
                from[v]  = l->up[k];
            }
        weight[v] = fmax(heaviest, 0) + (l->vertices[v].dummy ? 0 : 1 + l->vertices[v].h);
        if (end < 0 || weight[v] > weight[end])
            end = v;
    }
    for (int v = end; weight && from && v >= 0; v = from[v] < 0 ? -1 : l->segments[from[v]].upper) {
        l->vertices[v].spine = true;
        if (from[v] >= 0)
            l->segments[from[v]].weight = 1000;
    }
    const bool ok = weight && from;
    epl_release(l->ctx, weight);
    epl_release(l->ctx, from);
    return ok;
}

/* Moves a row's vertices as near to their wishes as their widths allow: least squares with an order, solved exactly by
 * pooling neighbours that would overlap (isotonic regression). Nodes hardly yield to dummies. */
static void place_row(layers *l, int r, bool from_above, block *blocks, double (*work)[2])
{
    const int first = l->row_start[r], n = l->row_start[r + 1] - first;
    int    n_blocks = 0;
    double shift = 0;
    for (int i = 0; i < n; i++) {
        const int v = l->row[first + i];
        if (i)
            shift += distance(l, l->row[first + i - 1], v);
        block b = { wanted(l, v, from_above, work) - shift, l->vertices[v].spine ? 1e6 : l->vertices[v].dummy ? 1 : 1000, i };
        for (; n_blocks && blocks[n_blocks - 1].place > b.place; n_blocks--) {
            const block *a = &blocks[n_blocks - 1];
            b.place  = (a->place * a->weight + b.place * b.weight) / (a->weight + b.weight);
            b.weight = a->weight + b.weight;
            b.first  = a->first;
        }
        blocks[n_blocks++] = b;
    }
    shift = 0;
    for (int i = 0, k = -1; i < n; i++) {
        if (i)
            shift += distance(l, l->row[first + i - 1], l->row[first + i]);
        if (k + 1 < n_blocks && blocks[k + 1].first == i)
            k++;
        l->vertices[l->row[first + i]].x = blocks[k].place + shift;
    }
}

/* Puts all dummies of one edge on one vertical line, if there is one that is free in every row. */
static void straighten(layers *l, const layer_edge *e)
{
    double low = -INFINITY, high = INFINITY, mean = 0;
    for (int i = 0; i < e->n_dummies; i++) {
        const layer_vertex *v = &l->vertices[e->first_dummy + i];
        const int at = l->row_start[v->rank] + v->order;
        if (v->order > 0)
            low = fmax(low, l->vertices[l->row[at - 1]].x + distance(l, l->row[at - 1], l->row[at]));
        if (at + 1 < l->row_start[v->rank + 1])
            high = fmin(high, l->vertices[l->row[at + 1]].x - distance(l, l->row[at], l->row[at + 1]));
        mean += v->x / e->n_dummies;
    }
    if (low > high)
        return;
    for (int i = 0; i < e->n_dummies; i++)
        l->vertices[e->first_dummy + i].x = fmax(low, fmin(high, mean));
}

static bool place_columns(layers *l)
{
    block *blocks = epl_alloc_array(l->ctx, l->n_vertices + 1, sizeof *blocks);
    double (*work)[2] = epl_alloc_array(l->ctx, l->n_segments + 1, sizeof *work);
    const bool ok = blocks && work;
    for (int r = 0; ok && r < l->n_ranks; r++) // start: packed from the left
        for (int i = l->row_start[r] + 1; i < l->row_start[r + 1]; i++)
            l->vertices[l->row[i]].x = l->vertices[l->row[i - 1]].x + distance(l, l->row[i - 1], l->row[i]);
    for (int sweep = 0; ok && sweep <= PLACE_SWEEPS; sweep++) // the last goes down
        for (int r = 0; r < l->n_ranks; r++)
            place_row(l, sweep % 2 ? l->n_ranks - 1 - r : r, sweep % 2 == 0, blocks, work);
    for (int round = 0; ok && round < 3; round++)
        for (size_t i = 0; i < l->n_edges; i++)
            if (l->edges[i].n_dummies)
                straighten(l, &l->edges[i]);
    epl_release(l->ctx, blocks);
    epl_release(l->ctx, work);
    return ok;
}

static void place_rows(layers *l)
{
    double y = 0, left = INFINITY, right = -INFINITY;
    for (int r = 0; r < l->n_ranks; r++) {
        double slant = 0;
        for (int i = l->row_start[r]; i < l->row_start[r + 1]; i++) {
            const layer_vertex *v = &l->vertices[l->row[i]];
            l->row_height[r] = fmax(l->row_height[r], v->h);
            left  = fmin(left, v->x - v->w / 2);
            right = fmax(right, v->x + v->w / 2);
            for (int k = l->down_start[l->row[i]]; k < l->down_start[l->row[i] + 1]; k++) {
                const layer_segment *s = &l->segments[l->down[k]];
                slant = fmax(slant, fabs(v->x + s->upper_offset - l->vertices[s->lower].x - s->lower_offset));
            }
        }
        l->row_top[r] = y;
        for (int i = l->row_start[r]; i < l->row_start[r + 1]; i++)
            l->vertices[l->row[i]].y = y + l->row_height[r] / 2;
        y += l->row_height[r] + (r + 1 < l->n_ranks ? fmin(GAP_ROWS_MOST, GAP_ROWS + GAP_PER_SLANT * slant) : 0);
    }
    for (size_t v = 0; v < l->n_vertices; v++)
        l->vertices[v].x -= left;
    l->width  = l->n_vertices ? right - left : 0;
    l->height = y;
}

bool epl_layers_solve(layers *l)
{
    if (!assign_ranks(l) || !build(l) || !order_rows(l) || !find_spine(l) || !place_columns(l))
        return false;
    place_rows(l);
    return true;
}
