/* fuse_blocks: a narrow-wide-narrow piece of a network, such as an inverted bottleneck, runs strip by strip: Lavin
 * 2024 (arXiv:2404.03617). The piece becomes a Loop over strips of output rows, whose body reads the rows that its
 * strip needs and holds the wide tensors for that strip alone, so that they stay in the cache. The body is ordinary
 * nodes: every kernel, fusion and the compiler serve it as they serve any region.
 *
 * A piece is found between two values that all data pass through, where everything between looks at neighbouring
 * rows only. A strip reads beyond its border what convolutions there need (their halo), which is computed again for
 * every strip; rows outside of the map are zero where a convolution reads them as its padding. Each element is
 * computed as before, in strips of other sizes: within rounding. */
#include "passes/passes.h"

enum { MAX_PIECE = 64, MIN_CONVS = 2 };
#define WORTH 1.5      /* the widest tensor inside / the larger of the two ends */
#define MOST_AGAIN 1.3 /* multiply-adds with halos / without */
#define MACS_PER_BYTE 4 /* that a core does while a byte comes from memory: what a halo costs, measured in traffic */

/* Which rows of a value a strip needs: number t of them needs [t * step + first, t * step + first + count). */
typedef struct rows {
    int64_t step, first, count;
} rows;

typedef struct piece {
    epl_graph  *g;
    epl_node  **nodes; /* of the graph; node->tag is 1 where it depends on weights alone */
    int         begin, end; /* the piece: [begin, end) without such nodes and sources */
    epl_value  *in, *out;
    int64_t     strip;      /* rows of the output */
    rows        need[MAX_PIECE], need_in; /* of the nodes' results, of `in` */
    size_t      workspace;
    double      again;
} piece;

static bool is_weight(const epl_value *v) { return !v || v->producer->tag == 1; }

static bool is_map(const epl_value *v) { return v->shape.rank == 4 && v->dtype == EPL_F32 && epl_shape_count(v->shape) > 0; }

static double bytes_of(const epl_value *v) { return (double)epl_shape_count(v->shape) * sizeof(float); }

/* ---- what may be in a piece ---- */

/* Weights that an element-wise node reads must be the same for every row. */
static bool same_for_rows(const epl_value *v)
{
    const epl_shape s = v->shape;
    return s.rank < 3 || (s.dim[s.rank - 3] == 1 && (s.rank < 4 || s.dim[0] == 1));
}

static bool is_local(const epl_node *n)
{
    if (n->n_outputs != 1 || !is_map(n->outputs[0]))
        return false;
    if (EPL_IS(n, conv) || EPL_IS(n, linear) || EPL_IS(n, layer_norm))
        return is_map(n->inputs[0]) && !is_weight(n->inputs[0]) && is_weight(epl_node_input(n, 1)) && is_weight(epl_node_input(n, 2)) &&
               (!EPL_IS(n, layer_norm) || epl_attr_i(n, "axis") == -1 || epl_attr_i(n, "axis") == 3);
    if (!(n->op->flags & EPL_OP_ELEMENTWISE))
        return false;
    for (int i = 0; i < n->n_inputs; i++)
        if (is_weight(n->inputs[i]) ? !same_for_rows(n->inputs[i]) : !epl_shape_equal(n->inputs[i]->shape, n->outputs[0]->shape))
            return false;
    return true;
}

/* ---- which rows a strip needs ---- */

static int index_in(const piece *p, const epl_value *v)
{
    for (int i = p->begin; i < p->end; i++)
        if (p->nodes[i]->outputs[0] == v)
            return i - p->begin;
    return -1;
}

static void join_rows(rows *all, rows more)
{
    if (all->count == 0) {
        *all = more;
        return;
    }
    const int64_t end = all->first + all->count > more.first + more.count ? all->first + all->count : more.first + more.count;
    all->first = all->first < more.first ? all->first : more.first;
    all->count = end - all->first;
}

static int64_t entry(const epl_node *n, const char *list, int i, int64_t otherwise)
{
    const int64_t *x;
    return i < epl_attr_ints(n, list, &x) ? x[i] : otherwise;
}

/* The rows of its input that a node reads for these rows of its result. */
static rows rows_read(const epl_node *n, rows y)
{
    if (!EPL_IS(n, conv))
        return y;
    const int64_t stride = entry(n, "strides", 0, 1), taps = n->inputs[1]->shape.dim[0];
    return (rows){ y.step * stride, y.first * stride - entry(n, "pads", 0, 0),
                   (y.count - 1) * stride + (taps - 1) * entry(n, "dilations", 0, 1) + 1 };
}

static size_t strip_bytes(const epl_value *v, rows r)
{
    return (size_t)(r.count * v->shape.dim[2] * v->shape.dim[3]) * sizeof(float);
}

/* Bytes that are alive at once in a strip, at most: each node's result from its step to its last reader. */
static size_t peak_bytes(const piece *p)
{
    size_t most = 0;
    for (int at = 0; at < p->end - p->begin; at++) {
        size_t alive = strip_bytes(p->in, p->need_in);
        for (int i = 0; i <= at; i++) {
            const epl_value *v = p->nodes[p->begin + i]->outputs[0];
            bool read = i == at;
            for (size_t u = 0; u < v->n_uses && !read; u++)
                read = v->uses[u].node->n_outputs && index_in(p, v->uses[u].node->outputs[0]) >= at;
            alive += read ? strip_bytes(v, p->need[i]) : 0;
        }
        most = alive > most ? alive : most;
    }
    return most;
}

/* Fills the plan for strips of so many rows; false if a value is needed at two strides. */
static bool plan_rows(piece *p, int64_t strip)
{
    double macs = 0, all = 0;
    const int n = p->end - p->begin;
    memset(p->need, 0, sizeof p->need);
    p->need_in = (rows){ 0 };
    p->strip = strip;
    p->need[n - 1] = (rows){ strip, 0, strip };
    for (int i = n - 1; i >= 0; i--) {
        const epl_node *node = p->nodes[p->begin + i];
        const rows      r    = rows_read(node, p->need[i]);
        for (int k = 0; k < node->n_inputs; k++) {
            if (is_weight(node->inputs[k]))
                continue;
            const int from = index_in(p, node->inputs[k]);
            rows     *need = from >= 0 ? &p->need[from] : &p->need_in;
            if (need->count && need->step != r.step)
                return false;
            join_rows(need, r);
        }
        const double cost = epl_node_cost(node).macs, parts = (double)p->out->shape.dim[1] / (double)strip;
        macs += cost;
        all  += cost * parts * (double)p->need[i].count / (double)node->outputs[0]->shape.dim[1];
    }
    p->again     = macs > 0 ? all / macs : 1;
    p->workspace = peak_bytes(p);
    return true;
}

/* The largest strip that divides the map and fits. */
static bool choose_strip(piece *p, size_t limit)
{
    const int64_t height = p->out->shape.dim[1];
    for (int64_t strip = height; strip > 0; strip--)
        if (height % strip == 0 && plan_rows(p, strip) && p->workspace <= limit)
            return p->again <= MOST_AGAIN;
    return false;
}

/* ---- the loop ---- */

typedef struct body {
    epl_graph  *g;          /* the region */
    epl_value  *tile;       /* i64 scalar: the strip's number in its image */
    epl_value **captures;
    int         n_captures;
} body;

static epl_value *capture(body *b, epl_value *v)
{
    for (int i = 0; i < b->n_captures; i++)
        if (b->captures[i] == v)
            return epl_graph_input_at(b->g, 2 + i);
    char name[32];
    snprintf(name, sizeof name, "%d", b->n_captures);
    b->captures[b->n_captures++] = v;
    return epl_input(b->g, name, v->dtype, v->shape, NULL);
}

/* The rows' numbers in the map, i64 [count]. */
static epl_value *row_numbers(body *b, rows r)
{
    return epl_add(b->g, epl_range(b->g, EPL_I64, (double)r.first, (double)(r.first + r.count), 1),
                   epl_mul(b->g, b->tile, epl_scalar(b->g, EPL_I64, (double)r.step)));
}

static epl_value *inside_map(body *b, epl_value *numbers, int64_t height)
{
    return epl_and(b->g, epl_greater_or_equal(b->g, numbers, epl_scalar(b->g, EPL_I64, 0)),
                   epl_less(b->g, numbers, epl_scalar(b->g, EPL_I64, (double)height)));
}

/* A strip of what comes in; rows outside of its image are zero. `whole` is [N H, W, C]. */
static epl_value *read_strip(body *b, const piece *p, epl_value *whole, epl_value *image)
{
    const epl_shape s    = p->in->shape;
    epl_value      *at = row_numbers(b, p->need_in), *valid = inside_map(b, at, s.dim[1]);
    at = epl_add(b->g, at, epl_mul(b->g, image, epl_scalar(b->g, EPL_I64, (double)s.dim[1])));
    at = epl_where(b->g, valid, at, epl_scalar(b->g, EPL_I64, (double)(s.dim[0] * s.dim[1]))); // beyond the last: gathered as zero
    return epl_reshape(b->g, epl_gather(b->g, whole, at, 0), EPL_SHAPE(1, p->need_in.count, s.dim[2], s.dim[3]));
}

/* The rows `want` of a strip that has `have`. For a convolution, what lies outside of the map is its padding. */
static epl_value *cut(body *b, epl_value *strip, rows have, rows want, bool pads, int64_t height, bool is_input)
{
    if (want.first != have.first || want.count != have.count)
        strip = epl_slice_axis(b->g, strip, 1, want.first - have.first, want.first - have.first + want.count);
    if (!pads || is_input)
        return strip;
    epl_value *valid = epl_reshape(b->g, inside_map(b, row_numbers(b, want), height), EPL_SHAPE(1, want.count, 1, 1));
    return epl_where(b->g, valid, strip, epl_scalar(b->g, EPL_F32, 0));
}

/* A node on its strip. A convolution's rows are there already, so it pads columns alone. */
static epl_value *copy_node(body *b, const piece *p, int i, epl_value *const *strips, epl_value *in)
{
    const epl_node *n = p->nodes[p->begin + i];
    const rows      want = rows_read(n, p->need[i]);
    epl_value      *inputs[16] = { 0 };
    epl_attr        attrs[EPL_MAX_ATTRS];
    for (int k = 0; k < n->n_inputs; k++) {
        epl_value *v = n->inputs[k];
        const int  from = v ? index_in(p, v) : -1;
        if (!v)
            continue;
        inputs[k] = is_weight(v) ? capture(b, v)
                                 : cut(b, from >= 0 ? strips[from] : in, from >= 0 ? p->need[from] : p->need_in, want,
                                       EPL_IS(n, conv) && (entry(n, "pads", 0, 0) || entry(n, "pads", 2, 0)), v->shape.dim[1], from < 0);
    }
    memcpy(attrs, n->attrs, sizeof *attrs * (size_t)epl_op_n_attrs(n->op));
    const int64_t pads[4] = { 0, entry(n, "pads", 1, 0), 0, entry(n, "pads", 3, 0) };
    if (EPL_IS(n, conv)) {
        epl_attr *a = &attrs[epl_op_attr_index(n->op, "pads")];
        a->n    = 4;
        a->ints = (int64_t *)(uintptr_t)pads;
    }
    epl_node *copy = epl_node_add(b->g, n->op, n->n_inputs, inputs, attrs, 0, NULL);
    if (copy)
        copy->scope = n->scope;
    return copy ? copy->outputs[0] : NULL;
}

static bool build_body(body *b, const piece *p, epl_value *whole)
{
    const int64_t strips_of_image = p->out->shape.dim[1] / p->strip;
    epl_value *iteration = epl_input(b->g, "i", EPL_I64, EPL_SCALAR, NULL), *go = epl_input(b->g, "go", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *per = epl_scalar(b->g, EPL_I64, (double)strips_of_image), *image = epl_div(b->g, iteration, per);
    epl_value *strips[MAX_PIECE];
    b->tile = epl_sub(b->g, iteration, epl_mul(b->g, image, per));
    epl_value *in = read_strip(b, p, capture(b, whole), image);
    for (int i = 0; i < p->end - p->begin; i++)
        strips[i] = copy_node(b, p, i, strips, in);
    epl_output(b->g, "go", go);
    epl_output(b->g, "strip", strips[p->end - p->begin - 1]);
    return !epl_graph_failed(b->g);
}

static bool replace_piece(const piece *p)
{
    epl_graph      *g   = p->g;
    const epl_shape in  = p->in->shape, out = p->out->shape;
    epl_node       *was = epl_graph_insert_before(g, p->nodes[p->end - 1]);
    body            b   = { .g = epl_region_new(g), .captures = epl_arena_alloc(g->arena, (4 * MAX_PIECE) * sizeof(epl_value *)) };
    epl_value      *whole = epl_reshape(g, p->in, EPL_SHAPE(in.dim[0] * in.dim[1], in.dim[2], in.dim[3])), *results[2] = { 0 };
    bool            ok = b.g && b.captures && whole && build_body(&b, p, whole);
    epl_node       *loop =
        ok ? epl_loop(g, out.dim[0] * (out.dim[1] / p->strip), NULL, 0, NULL, b.g, b.n_captures, b.captures, results)
                 : NULL;
    if (loop)
        loop->scope = p->nodes[p->end - 1]->scope;
    epl_value *y = loop ? epl_reshape(g, results[0], out) : NULL;
    if (y)
        epl_replace(p->out, y);
    for (int i = p->end - 1; y && i >= p->begin; i--)
        epl_node_remove(p->nodes[i]);
    epl_graph_insert_before(g, was);
    return y != NULL;
}

/* ---- finding pieces ---- */

/* What the node reads beyond the piece so far becomes `in`; false if that would be a second value. */
static bool take_node(piece *p, const epl_node *n)
{
    for (int k = 0; k < n->n_inputs; k++) {
        epl_value *v = n->inputs[k];
        if (is_weight(v) || index_in(p, v) >= 0)
            continue;
        if (p->in && p->in != v)
            return false;
        p->in = v;
    }
    return p->in && is_map(p->in);
}

/* Everything but the last result is read inside alone. */
static bool is_closed(const piece *p)
{
    for (int i = p->begin; i < p->end - 1; i++) {
        const epl_value *v = p->nodes[i]->outputs[0];
        for (size_t u = 0; u < v->n_uses; u++)
            if (v->uses[u].node->n_outputs == 0 || index_in(p, v->uses[u].node->outputs[0]) < 0)
                return false;
    }
    return true;
}

/* Two convolutions or linear layers, and something inside much wider than both ends. */
static bool is_worth(const piece *p)
{
    int    convs = 0;
    double widest = 0;
    for (int i = p->begin; i < p->end; i++) {
        convs += (p->nodes[i]->op->flags & EPL_OP_ELEMENTWISE) == 0 && !EPL_IS(p->nodes[i], layer_norm);
        if (i < p->end - 1 && bytes_of(p->nodes[i]->outputs[0]) > widest)
            widest = bytes_of(p->nodes[i]->outputs[0]);
    }
    return convs >= MIN_CONVS && widest >= WORTH * bytes_of(p->in) && widest >= WORTH * bytes_of(p->nodes[p->end - 1]->outputs[0]);
}

/* What goes through memory layer by layer: each layer's input and result, and what residual sums read besides. */
static double moved_by_layers(const piece *p)
{
    double bytes = 0;
    for (int i = p->begin; i < p->end; i++) {
        const epl_node *n = p->nodes[i];
        const bool elementwise = n->op->flags & EPL_OP_ELEMENTWISE;
        int varying = 0;
        for (int k = 0; k < n->n_inputs; k++)
            varying += !is_weight(n->inputs[k]);
        bytes += elementwise ? (varying - 1) * bytes_of(n->outputs[0]) : bytes_of(n->inputs[0]) + bytes_of(n->outputs[0]);
    }
    return bytes;
}

/* What running it strip by strip saves, in bytes: of the traffic, less what the multiply-adds in halos take. */
static double saving(const piece *p)
{
    double macs = 0;
    for (int i = p->begin; i < p->end; i++)
        macs += epl_node_cost(p->nodes[i]).macs;
    return moved_by_layers(p) - bytes_of(p->in) - bytes_of(p->out) - (p->again - 1) * macs / MACS_PER_BYTE;
}

/* The first piece that begins with this node, element-wise nodes behind it included; false if there is none. */
static bool piece_from(piece *p, int begin, int n_nodes)
{
    int best = 0;
    p->begin = p->end = begin;
    p->in    = NULL;
    while (p->end < n_nodes && p->end - begin < MAX_PIECE && is_local(p->nodes[p->end]) && take_node(p, p->nodes[p->end])) {
        if (best && !(p->nodes[p->end]->op->flags & EPL_OP_ELEMENTWISE))
            break;
        p->end++;
        if (is_closed(p) && is_worth(p))
            best = p->end;
    }
    if (!best)
        return false;
    p->end = best;
    p->out = p->nodes[best - 1]->outputs[0];
    return true;
}

/* Of the pieces that end with the first one from `begin` on, the one whose strips save most. false: there is no
 * piece. *fits: there is one with a strip. */
static bool find_piece(piece *p, int begin, int n_nodes, size_t limit, bool *fits)
{
    *fits = false;
    if (!piece_from(p, begin, n_nodes))
        return false;
    const int end = p->end;
    int    best = begin;
    double most = 0;
    for (int from = begin; from < end; from++)
        if (piece_from(p, from, n_nodes) && p->end == end && choose_strip(p, limit) && saving(p) > most) {
            most  = saving(p);
            best  = from;
            *fits = true;
        }
    piece_from(p, best, n_nodes);
    return !*fits || choose_strip(p, limit);
}

static void report_piece(epl_table *t, const piece *p, bool fits)
{
    const double ends = bytes_of(p->in) + bytes_of(p->out);
    if (!t)
        return;
    epl_table_row(t);
    epl_table_text(t, p->nodes[p->end - 1]->scope);
    epl_table_number(t, moved_by_layers(p) / 1e6);
    if (!fits) {
        for (int i = 0; i < 4; i++)
            epl_table_empty(t);
        return;
    }
    epl_table_number(t, ends / 1e6);
    epl_table_integer(t, p->strip);
    epl_table_number(t, (double)p->workspace / 1024);
    epl_table_number(t, p->again);
}

/* Visits every piece; replaces those that fit, or tells of all. Returns how many fit, -1 on failure. */
static int each_piece(epl_graph *g, size_t workspace, epl_table *report)
{
    piece p = { .g = g, .nodes = epl_alloc_array(g->ctx, (size_t)g->n_nodes + 1, sizeof(epl_node *)) };
    int   n = 0, found = 0;
    bool  ok = p.nodes != NULL;
    epl_mark_fixed(g);
    for (epl_node *node = g->first; ok && node; node = node->next)
        if (node->tag != 1 && !(node->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK)))
            p.nodes[n++] = node;
    for (int i = 0; ok && i < n; i++) {
        bool fits;
        if (!find_piece(&p, i, n, workspace, &fits))
            continue;
        report_piece(report, &p, fits);
        ok = !fits || report || replace_piece(&p);
        found += fits;
        i = p.end - 1;
    }
    epl_release(g->ctx, p.nodes);
    return ok && !epl_graph_failed(g) ? found : -1;
}

int epl_fuse_blocks(epl_graph *g, size_t workspace_bytes) { return each_piece(g, workspace_bytes, NULL); }

epl_table *epl_fuse_blocks_report(const epl_graph *g, size_t workspace_bytes)
{
    static const char *const columns[] = { "piece",           "moved by layers, MB", "by strips, MB",
                                           "rows of a strip", "workspace, KiB",      "multiply-adds, times" };
    epl_graph *copy = epl_graph_copy(g);
    epl_table *t    = copy ? epl_table_new(g->ctx, NULL) : NULL;
    for (size_t i = 0; i < EPL_COUNT(columns); i++)
        epl_table_column(t, columns[i], (epl_column_opts){ 0 });
    const bool ok = t && epl_prepare(copy, (epl_pass_opts){ .frozen = true }) && each_piece(copy, workspace_bytes, t) >= 0;
    epl_graph_free(copy);
    if (ok)
        return t;
    epl_table_free(t);
    return NULL;
}
