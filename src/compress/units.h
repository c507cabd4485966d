/* units: which channels go together. Every index of every axis of every value is an element; operators tie elements that can
 * only go together (ties.c); what is tied is a class. A class that an operator holds on to is frozen. */
#ifndef EPL_COMPRESS_UNITS_H
#define EPL_COMPRESS_UNITS_H

#include "compress/compress.h"

typedef struct epl_units_block epl_units_block;
struct epl_even;

typedef struct epl_units {
    epl_context      *ctx;
    epl_graph        *graph;  /* values' tags hold where their elements begin */
    int64_t           n;
    int64_t          *parent; /* union-find; roots are the lowest of their class */
    const epl_node  **frozen; /* of roots: who holds it, or NULL */
    bool             *gone;   /* of roots: chosen to be removed */
    double           *times;  /* of roots: how many there will be of each; NULL: 1. Whoever sets it releases it */
    bool              through_norms;
    epl_units_block  *blocks; /* axes that are one axis elsewhere; settled last */
    size_t            n_blocks, cap_blocks;
    struct epl_even  *even;   /* grouped convolutions whose groups shrink alike; NULL: in all of them whole groups go */
} epl_units;

/* Builds the classes of a graph. Release in any case. The graph must not change meanwhile. */
bool epl_units_find(epl_graph *g, bool through_norms, epl_units *out);
void epl_units_release(epl_units *u);

/* ---- elements ---- */
int64_t epl_element(const epl_value *v, int axis, int64_t i);
int64_t epl_unit_of(epl_units *u, const epl_value *v, int axis, int64_t i); /* the class: its root */
int64_t epl_units_left(epl_units *u, const epl_value *v, int axis);         /* how many the axis will have */
int64_t epl_units_left_of(epl_units *u, const epl_value *v, int axis, int64_t n); /* of its first n */

/* ---- for ties.c ---- */
void epl_tie(epl_units *u, int64_t a, int64_t b);
void epl_tie_axes(epl_units *u, const epl_node *n, const epl_value *a, int axis_a, const epl_value *b, int axis_b);
void epl_freeze_axis(epl_units *u, const epl_node *n, const epl_value *v, int axis);
void epl_freeze_value(epl_units *u, const epl_node *n, const epl_value *v); /* v may be NULL */

/* Axes [first, first + count) of `many` lie behind each other in one axis of `one` (row-major). One of them becomes the unit,
 * the others stay whole: the only one that nobody has frozen, or of several the first; of a computed weight the longest. */
bool epl_units_add_block(epl_units *u, const epl_node *n, const epl_value *many, int first, int count, const epl_value *one, int axis);

/* ---- ties.c ---- */
bool epl_units_tie_node(epl_units *u, const epl_node *n);
bool epl_ties_look_inside(const epl_node *n); /* its regions' values are elements, too */
bool epl_ties_picks(const epl_node *n); /* a gather by constant numbers that nobody else reads: entries go one by one */

/* ---- even.c: groups that shrink alike ---- */
int     epl_even_choose(epl_units *u); /* which; how many; -1 on failure */
bool    epl_units_is_even(const epl_units *u, const epl_node *n);
bool    epl_even_tie(epl_units *u, const epl_node *n); /* for ties.c */
bool    epl_even_settle(epl_units *u);                 /* after all ties: which channels go together */
void    epl_even_release(epl_units *u);
int64_t epl_even_left(epl_units *u, const epl_value *v, int axis); /* of a weight's inputs; -1: the axis is no such */

/* What stays of axis `in` of such a weight, for each group of axis `out` (of `size` entries): each numbers of list,
 * group after group. No list: v is no such weight. The list is the caller's. */
typedef struct epl_even_slices {
    int      in, out;
    int64_t  size, each;
    int64_t *list;
} epl_even_slices;
bool epl_even_slice(epl_units *u, const epl_value *v, epl_even_slices *out);

/* ---- shuffles.c ---- */
bool epl_shuffles_to_gathers(epl_graph *g);
bool epl_shuffles_from_gathers(epl_graph *g);

/* ---- shrink.c: the smaller network ---- */
epl_graph  *epl_units_shrink(epl_units *u);                                           /* the caller owns it */
epl_tensor *epl_units_slice(epl_units *u, const epl_value *v, const epl_tensor *t);   /* t, of v's shape, without what is gone */

/* "Output 'logits'", "LayerNorm block1.norm1". Returns out. */
const char *epl_node_label(const epl_node *n, char out[256]);

#endif
