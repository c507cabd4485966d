/* channels: the plan of what to remove - units that can go, in groups, with scores. For channels.c and its tests. */
#ifndef EPL_COMPRESS_CHANNELS_H
#define EPL_COMPRESS_CHANNELS_H

#include "compress/units.h"

typedef struct epl_channel_group {
    char    name[256];    /* the weight (or operator) that the units stem from */
    int     first, n;     /* its units */
    int64_t weights;      /* parameters that are part of some unit */
    bool    chosen;       /* the pattern takes it */
} epl_channel_group;

typedef struct epl_channel_unit {
    int64_t root;
    int     group;
    double  sum, count;   /* of the criterion, over the weights of the unit */
    double  score, key;   /* units go in the order of their keys */
} epl_channel_unit;

typedef struct epl_channel_plan {
    const epl_model  *m;
    epl_graph        *graph; /* the model's, channel shuffles being gathers */
    epl_channel_opts  o;
    epl_units         units;
    int              *unit_at; /* by root: unit or -1 */
    epl_channel_unit *list;
    epl_channel_group *groups;
    int              *by_score; /* units of each group, lowest first, at the group's place */
    int              *by_key;   /* chosen units */
    int               n, n_groups, n_chosen;
    size_t            cap, cap_groups;
} epl_channel_plan;

/* Finds units, groups and scores. Release in any case. */
bool epl_channels_plan(const epl_model *m, epl_channel_opts o, epl_channel_plan *out);
void epl_channels_release(epl_channel_plan *p);

/* ---- activations.c: scores by what the units say on the options' samples ---- */
bool epl_channels_score_activations(epl_channel_plan *p, bool apoz);

/* Marks what goes, as the options say; *graph receives the smaller network (the caller's). */
bool epl_channels_choose(epl_channel_plan *p, epl_graph **graph);

/* An axis of which everything went gets its best unit back: parts of a split, branches of a sum. */
void epl_channels_revive(epl_channel_plan *p);

/* m becomes the network without the units that are marked as gone; an axis of which all would go keeps its best.
 * Releases the plan on success. `out` may be NULL. */
bool epl_channels_finish(epl_model *m, epl_channel_plan *p, epl_channel_result *out);

#endif
