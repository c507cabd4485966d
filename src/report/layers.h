/* layers: a directed graph laid out in rows from top to bottom (Sugiyama, Tagawa, Toda 1981): cycles broken, rows by the
 * longest path, long edges cut by dummy vertices, few crossings by barycentres, then places along each row. Knows nothing
 * of what the vertices mean. */
#ifndef EPL_REPORT_LAYERS_H
#define EPL_REPORT_LAYERS_H

#include <espalier/base.h>

typedef enum layer_pin { PIN_NONE = 0, PIN_FIRST, PIN_LAST } layer_pin; /* alone in the first or last row */

typedef struct layer_vertex {
    double    w, h;   /* given */
    layer_pin pin;    /* given */
    bool      dummy, spine;
    int       rank, order;
    double    x, y;   /* the centre; results */
} layer_vertex;

typedef struct layer_edge {
    int    from, to;                /* given */
    double from_offset, to_offset;  /* given: where it touches, from the vertex's centre */
    bool   reversed;                /* it closed a cycle: laid out from `to` to `from` */
    int    first_dummy, n_dummies;  /* in the order of the layout, from the upper end */
    int    tag;                     /* the caller's */
} layer_edge;

typedef struct layer_segment layer_segment;

typedef struct layers {
    epl_context   *ctx;
    layer_vertex  *vertices;
    layer_edge    *edges;
    layer_segment *segments;
    int           *row_start, *row;        /* rank r holds row[row_start[r]] .. row[row_start[r + 1] - 1], left to right */
    int           *up_start, *up, *down_start, *down; /* segments per vertex */
    double        *row_top, *row_height;   /* results */
    size_t         n_vertices, vertices_capacity, n_edges, edges_capacity, n_segments;
    int            n_ranks;
    double         width, height;          /* results; the left edge is 0 */
} layers;

int  epl_layers_vertex(layers *l, layer_vertex v); /* its index, or -1 */
int  epl_layers_edge(layers *l, layer_edge e);
bool epl_layers_solve(layers *l);
void epl_diagram_layers_release(layers *l);

#endif
