/* diagram: a directed graph with nested regions as SVG.
 *
 * Every region is laid out by itself, innermost first (layers.h), and then stands in its parent as one vertex. An edge that
 * crosses a region's frame passes through a port there: a vertex pinned to the first row (entering) or the last (leaving),
 * one per source, so that a value used often enters once. */
#include "report/layers.h"
#include "base/escape.h"
#include "report/svg.h"

#include <espalier/report.h>

#include <math.h>
#include <string.h>

static const double MARGIN = 16, FRAME = 12, LABEL_ROOM = 24, LINE = 15, NODE_SIDE = 12, NODE_LEAST = 56, ARROW = 7;

typedef struct diagram_node {
    const char **lines;
    const char  *tooltip;
    int          n_lines, region, color, vertex;
    bool         rounded;
    double       w, h;
} diagram_node;

typedef struct diagram_port {
    int  source, vertex;
    bool leaving;
} diagram_port;

typedef struct diagram_region {
    const char   *label;
    int           parent, vertex;
    layers        l;
    diagram_port *ports;
    size_t        n_ports, ports_capacity;
    double        w, h, dx, dy; /* the frame; where its content starts */
} diagram_region;

typedef struct diagram_edge {
    int         from, to;
    const char *label;
} diagram_edge;

struct epl_diagram {
    epl_context    *ctx;
    epl_arena      *arena;
    const char     *title;
    diagram_node   *nodes;   /* nodes[id - 1] */
    diagram_region *regions; /* regions[0] is the picture */
    diagram_edge   *edges;
    size_t n_nodes, nodes_capacity, n_regions, regions_capacity, n_edges, edges_capacity;
    bool   failed;
};

/* ---- collecting ---- */

static const char *keep(epl_diagram *d, const char *s)
{
    const char *copy = s ? epl_arena_strdup(d->arena, s) : NULL;
    d->failed |= s && !copy;
    return copy;
}

static int add_region(epl_diagram *d, const char *label, int parent)
{
    if (!epl_grow(d->ctx, &d->regions, d->n_regions, &d->regions_capacity, sizeof *d->regions)) {
        d->failed = true;
        return -1;
    }
    d->regions[d->n_regions] = (diagram_region){ .label = keep(d, label), .parent = parent, .l = { .ctx = d->ctx } };
    return (int)d->n_regions++;
}

epl_diagram *epl_diagram_new(epl_context *ctx, epl_diagram_opts o)
{
    epl_diagram *d = epl_alloc(ctx, sizeof *d);
    if (!d)
        return NULL;
    d->ctx   = ctx;
    d->arena = epl_arena_new(ctx);
    if (d->arena)
        d->title = keep(d, o.title);
    if (!d->arena || add_region(d, NULL, -1) < 0 || d->failed) {
        epl_diagram_free(d);
        return NULL;
    }
    return d;
}

static void forget_layout(epl_diagram *d)
{
    for (size_t i = 0; i < d->n_regions; i++) {
        diagram_region *r = &d->regions[i];
        epl_diagram_layers_release(&r->l);
        epl_release(d->ctx, r->ports);
        r->ports   = NULL;
        r->n_ports = r->ports_capacity = 0;
    }
}

void epl_diagram_free(epl_diagram *d)
{
    if (!d)
        return;
    forget_layout(d);
    epl_release(d->ctx, d->nodes);
    epl_release(d->ctx, d->regions);
    epl_release(d->ctx, d->edges);
    if (d->arena)
        epl_arena_free(d->arena);
    epl_release(d->ctx, d);
}

static bool is_number(epl_diagram *d, const char *what, int id, int least, size_t most)
{
    if (id >= least && id <= (int)most)
        return true;
    d->failed = !epl_fail(d->ctx, EPL_ERR_ARGUMENT, "diagram: %s %d, but they go from %d to %zu", what, id, least, most);
    return false;
}

int epl_diagram_region(epl_diagram *d, const char *label, int parent)
{
    if (!d || d->failed || !is_number(d, "region", parent, 0, d->n_regions - 1))
        return -1;
    return add_region(d, label, parent);
}

static void split_lines(epl_diagram *d, diagram_node *n, const char *text)
{
    char *copy = epl_arena_strdup(d->arena, text ? text : "");
    int   lines = 1;
    for (const char *p = text; p && *p; p++)
        lines += *p == '\n';
    n->lines = epl_arena_alloc(d->arena, (size_t)lines * sizeof *n->lines);
    d->failed |= !copy || !n->lines;
    if (d->failed)
        return;
    for (n->n_lines = 0; n->n_lines < lines; n->n_lines++) {
        n->lines[n->n_lines] = copy;
        copy += strcspn(copy, "\n");
        if (*copy)
            *copy++ = '\0';
    }
}

int epl_diagram_node(epl_diagram *d, const char *lines, epl_diagram_node_opts o)
{
    if (!d || d->failed || !is_number(d, "region", o.region, 0, d->n_regions - 1))
        return -1;
    diagram_node n = { .region  = o.region,
                       .color   = o.color >= 1 && o.color <= SVG_COLORS ? o.color : 0,
                       .tooltip = keep(d, o.tooltip),
                       .rounded = o.rounded };
    split_lines(d, &n, lines);
    for (int i = 0; i < n.n_lines; i++)
        n.w = fmax(n.w, epl_svg_text_width(n.lines[i], i ? 11 : 12.6) + 2 * NODE_SIDE);
    n.w = fmax(n.w, NODE_LEAST);
    n.h = LINE * n.n_lines + 9;
    if (d->failed || !epl_grow(d->ctx, &d->nodes, d->n_nodes, &d->nodes_capacity, sizeof n)) {
        d->failed = true;
        return -1;
    }
    d->nodes[d->n_nodes] = n;
    return (int)++d->n_nodes;
}

void epl_diagram_edge(epl_diagram *d, int from, int to, const char *label)
{
    if (!d || d->failed || !is_number(d, "node", from, 1, d->n_nodes) || !is_number(d, "node", to, 1, d->n_nodes))
        return;
    const char *copy = keep(d, label);
    if (d->failed || !epl_grow(d->ctx, &d->edges, d->n_edges, &d->edges_capacity, sizeof *d->edges))
        d->failed = true;
    else
        d->edges[d->n_edges++] = (diagram_edge){ from, to, copy };
}

/* ---- layout ---- */

enum { OUTSIDE = -2, DIRECTLY = -1 };

/* The child of `region` that holds the node, DIRECTLY if the region itself does, OUTSIDE if it does not. */
static int child_holding(const epl_diagram *d, int region, int node)
{
    int child = DIRECTLY;
    for (int r = d->nodes[node - 1].region; r >= 0; r = d->regions[r].parent) {
        if (r == region)
            return child;
        child = r;
    }
    return OUTSIDE;
}

static const diagram_port *find_port(const diagram_region *r, int source, bool leaving)
{
    for (size_t i = 0; i < r->n_ports; i++)
        if (r->ports[i].source == source && r->ports[i].leaving == leaving)
            return &r->ports[i];
    return NULL;
}

static int port_vertex(epl_diagram *d, int region, int source, bool leaving)
{
    diagram_region     *r    = &d->regions[region];
    const diagram_port *port = find_port(r, source, leaving);
    if (port)
        return port->vertex;
    const int v = epl_layers_vertex(&r->l, (layer_vertex){ .pin = leaving ? PIN_LAST : PIN_FIRST });
    if (v < 0 || !epl_grow(d->ctx, &r->ports, r->n_ports, &r->ports_capacity, sizeof *r->ports))
        return -1;
    r->ports[r->n_ports++] = (diagram_port){ source, v, leaving };
    return v;
}

/* Where the edge's end appears in the region: a node, a child (touched at its port), or a port of the region. */
static bool find_end(epl_diagram *d, int region, const diagram_edge *e, bool start, int *vertex, double *offset)
{
    const int child = child_holding(d, region, start ? e->from : e->to);
    *offset = 0;
    if (child == OUTSIDE) {
        *vertex = port_vertex(d, region, e->from, !start);
    } else if (child == DIRECTLY) {
        *vertex = d->nodes[(start ? e->from : e->to) - 1].vertex;
    } else {
        const diagram_region *c    = &d->regions[child];
        const diagram_port   *port = find_port(c, e->from, start);
        *vertex = c->vertex;
        *offset = port ? c->dx + c->l.vertices[port->vertex].x - c->w / 2 : 0;
    }
    return *vertex >= 0;
}

static bool is_drawn(const layers *l, const epl_diagram *d, int from, int to, int source)
{
    for (size_t i = 0; i < l->n_edges; i++)
        if (l->edges[i].from == from && l->edges[i].to == to && d->edges[l->edges[i].tag].from == source)
            return true;
    return false;
}

static bool add_edges(epl_diagram *d, int region)
{
    layers *l = &d->regions[region].l;
    for (size_t i = 0; i < d->n_edges; i++) {
        const diagram_edge *e = &d->edges[i];
        const int a = child_holding(d, region, e->from), b = child_holding(d, region, e->to);
        layer_edge out = { .tag = (int)i };
        if ((a == OUTSIDE && b == OUTSIDE) || (a == b && a != DIRECTLY) || e->from == e->to)
            continue;
        if (!find_end(d, region, e, true, &out.from, &out.from_offset) ||
            !find_end(d, region, e, false, &out.to, &out.to_offset))
            return false;
        if (!is_drawn(l, d, out.from, out.to, e->from) && epl_layers_edge(l, out) < 0)
            return false;
    }
    return true;
}

static void frame_region(diagram_region *r)
{
    bool entering = false, leaving = false;
    for (size_t i = 0; i < r->n_ports; i++) {
        entering |= !r->ports[i].leaving;
        leaving |= r->ports[i].leaving;
    }
    const double label = r->label ? epl_svg_text_width(r->label, 11) + 2 * 8 : 0;
    const double top   = entering ? 0 : r->label ? LABEL_ROOM : FRAME;
    r->w  = fmax(fmax(r->l.width + 2 * FRAME, label), NODE_LEAST);
    r->dx = (r->w - r->l.width) / 2;
    r->dy = top;
    r->h  = fmax(top + r->l.height + (leaving ? 0 : FRAME), LABEL_ROOM);
}

static bool lay_out_region(epl_diagram *d, int region)
{
    layers *l = &d->regions[region].l;
    for (size_t i = 0; i < d->n_nodes; i++)
        if (d->nodes[i].region == region) {
            d->nodes[i].vertex = epl_layers_vertex(l, (layer_vertex){ .w = d->nodes[i].w, .h = d->nodes[i].h });
            if (d->nodes[i].vertex < 0)
                return false;
        }
    for (size_t i = (size_t)region + 1; i < d->n_regions; i++)
        if (d->regions[i].parent == region) {
            d->regions[i].vertex = epl_layers_vertex(l, (layer_vertex){ .w = d->regions[i].w, .h = d->regions[i].h });
            if (d->regions[i].vertex < 0)
                return false;
        }
    if (!add_edges(d, region) || !epl_layers_solve(l))
        return false;
    frame_region(&d->regions[region]);
    return true;
}

/* ---- drawing ---- */

static void draw_arrow(epl_text *t, double x, double y, double direction)
{
    epl_text_add(t, "<path class=\"eh\" d=\"");
    epl_svg_point(t, 'M', x, y);
    epl_svg_point(t, 'l', -ARROW / 2, -direction * ARROW);
    epl_svg_point(t, 'l', ARROW, 0);
    epl_text_add(t, "Z\"/>\n");
}

static void add_point(epl_text *t, double x, double y)
{
    epl_text_add(t, " ");
    epl_svg_number(t, x);
    epl_text_add(t, ",");
    epl_svg_number(t, y);
}

/* From (x0, y0) down to (x1, y1), vertical at both ends. */
static void add_bend(epl_text *t, double x0, double y0, double x1, double y1)
{
    if (fabs(x1 - x0) < 0.05) {
        epl_svg_point(t, 'L', x1, y1);
        return;
    }
    epl_text_add(t, "C");
    add_point(t, x0, y0 + (y1 - y0) * 0.55);
    add_point(t, x1, y1 - (y1 - y0) * 0.55);
    add_point(t, x1, y1);
}

static bool is_node_vertex(const epl_diagram *d, int region, int node, int vertex)
{
    return d->nodes[node - 1].region == region && d->nodes[node - 1].vertex == vertex;
}

static void draw_edge(const epl_diagram *d, epl_text *t, int region, const layer_edge *e, double ox, double oy)
{
    const layers       *l     = &d->regions[region].l;
    const diagram_edge *edge  = &d->edges[e->tag];
    const layer_vertex *upper = &l->vertices[e->reversed ? e->to : e->from];
    const layer_vertex *lower = &l->vertices[e->reversed ? e->from : e->to];
    const bool arrow = is_node_vertex(d, region, edge->to, e->to);
    double x  = ox + upper->x + (e->reversed ? e->to_offset : e->from_offset);
    double y  = oy + upper->y + upper->h / 2 + (arrow && e->reversed ? ARROW - 1 : 0);
    const double end_x = ox + lower->x + (e->reversed ? e->from_offset : e->to_offset);
    const double end_y = oy + lower->y - lower->h / 2;

    epl_text_add(t, "<path class=\"e\" d=\"");
    epl_svg_point(t, 'M', x, y);
    for (int i = 0; i <= e->n_dummies; i++) {
        const layer_vertex *next = i < e->n_dummies ? &l->vertices[e->first_dummy + i] : lower;
        const int    rank   = next->rank;
        const double bottom = oy + l->row_top[rank - 1] + l->row_height[rank - 1], top = oy + l->row_top[rank];
        const double next_x = next == lower ? end_x : ox + next->x;
        if (bottom > y + 0.05)
            epl_svg_point(t, 'L', x, bottom);
        add_bend(t, x, fmax(bottom, y), next_x, next == lower ? end_y - (arrow && !e->reversed ? ARROW - 1 : 0) : top);
        x = next_x;
        y = top;
    }
    if (edge->label && *edge->label) {
        epl_text_add(t, "\"><title>");
        epl_escape_xml(t, edge->label);
        epl_text_add(t, "</title></path>\n");
    } else {
        epl_text_add(t, "\"/>\n");
    }
    if (arrow && e->reversed)
        draw_arrow(t, ox + upper->x, oy + upper->y + upper->h / 2, -1);
    else if (arrow)
        draw_arrow(t, end_x, end_y, 1);
}

static void draw_node(const diagram_node *n, epl_text *t, double x, double y)
{
    char classes[24] = "n";
    const double radius = n->rounded ? n->h / 2 : 5;
    epl_text_add(t, "<g>");
    if (n->tooltip) {
        epl_text_add(t, "<title>");
        epl_escape_xml(t, n->tooltip);
        epl_text_add(t, "</title>");
    }
    if (n->color) {
        snprintf(classes, sizeof classes, "nc f%d s%d", n->color, n->color);
        epl_svg_rect(t, "bg", x - n->w / 2, y - n->h / 2, n->w, n->h, radius);
    }
    epl_svg_rect(t, classes, x - n->w / 2, y - n->h / 2, n->w, n->h, radius);
    for (int i = 0; i < n->n_lines; i++)
        epl_svg_text(t, x, y - n->h / 2 + 16.5 + LINE * i, SVG_MIDDLE, i ? "m x" : "b", n->lines[i]);
    epl_text_add(t, "</g>\n");
}

static void draw_region(const epl_diagram *d, epl_text *t, int region, double x, double y)
{
    const diagram_region *r = &d->regions[region];
    const double ox = x + r->dx, oy = y + r->dy;
    if (region)
        epl_svg_rect(t, "r", x, y, r->w, r->h, 8);
    for (size_t i = 0; i < r->l.n_edges; i++)
        draw_edge(d, t, region, &r->l.edges[i], ox, oy);
    if (r->label)
        epl_svg_text(t, x + 8, y + 15, SVG_START, "m x h", r->label);
    for (size_t i = 0; i < d->n_nodes; i++)
        if (d->nodes[i].region == region)
            draw_node(&d->nodes[i], t, ox + r->l.vertices[d->nodes[i].vertex].x, oy + r->l.vertices[d->nodes[i].vertex].y);
    for (size_t i = (size_t)region + 1; i < d->n_regions; i++)
        if (d->regions[i].parent == region) {
            const layer_vertex *v = &r->l.vertices[d->regions[i].vertex];
            draw_region(d, t, (int)i, ox + v->x - v->w / 2, oy + v->y - v->h / 2);
        }
}

char *epl_diagram_svg(epl_diagram *d)
{
    if (!d || d->failed)
        return NULL;
    for (int region = (int)d->n_regions - 1; region >= 0 && !d->failed; region--) // children have higher numbers
        d->failed = !lay_out_region(d, region);
    epl_text t = EPL_TEXT(d->ctx);
    if (!d->failed) {
        const diagram_region *root = &d->regions[0];
        const double heading = d->title ? 26 : 0;
        const double width = fmax(root->w, d->title ? epl_svg_text_width(d->title, 15) : 0) + 2 * MARGIN;
        epl_svg_open(&t, width, root->h + heading + 2 * MARGIN, d->title);
        if (d->title)
            epl_svg_text(&t, MARGIN, MARGIN + 12, SVG_START, "t", d->title);
        if (!d->n_nodes)
            epl_svg_text(&t, width / 2, MARGIN + heading + root->h / 2, SVG_MIDDLE, "m", "no nodes");
        draw_region(d, &t, 0, (width - root->w) / 2, MARGIN + heading);
        epl_svg_close(&t);
    }
    forget_layout(d);
    if (d->failed) {
        epl_text_release(&t);
        return NULL;
    }
    return epl_text_detach(&t);
}
