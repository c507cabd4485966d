/* finetune: which parameters rest when the last blocks of a network learn something new. */
#include "train/train.h"

#include "graph/op.h"

#include <ctype.h>
#include <string.h>

/* The first part of a parameter's name, "block3" of "block3.layer1.conv1.weight", and how much of it is not the number. */
typedef struct top {
    const char *name;
    size_t      length, stem;
    int64_t     parameters;
} top;

static top top_of(const epl_value *v)
{
    top t = { .name = epl_value_name(v), .parameters = epl_shape_count(v->shape) };
    t.length = strcspn(t.name, ".");
    for (t.stem = t.length; t.stem > 0 && isdigit((unsigned char)t.name[t.stem - 1]); t.stem--) { }
    return t;
}

static bool same(const top *a, const top *b, bool numbered)
{
    const size_t n = numbered ? a->stem : a->length;
    return n == (numbered ? b->stem : b->length) && memcmp(a->name, b->name, n) == 0;
}

static bool is_numbered(const top *t) { return t->stem > 0 && t->stem < t->length; }

/* The tops in the order of the graph, each once. Returns how many. */
static int collect(const epl_graph *g, top *out)
{
    int n = 0;
    for (const epl_node *k = g->first; k; k = k->next) {
        if (!EPL_IS(k, parameter))
            continue;
        const top t = top_of(k->outputs[0]);
        int i = 0;
        while (i < n && !same(&out[i], &t, false))
            i++;
        out[i].parameters += i < n ? t.parameters : 0;
        if (i == n)
            out[n++] = t;
    }
    return n;
}

/* The numbered name that holds most; NULL if there is none. */
static const top *block_name(const top *t, int n)
{
    const top *best = NULL;
    int64_t    most = -1;
    for (int i = 0; i < n; i++) {
        int64_t sum = 0;
        for (int k = 0; k < n && is_numbered(&t[i]); k++)
            sum += same(&t[i], &t[k], true) ? t[k].parameters : 0;
        if (is_numbered(&t[i]) && sum > most) {
            most = sum;
            best = &t[i];
        }
    }
    return best;
}

/* "a.*,b.*" for all up to and with `last`. */
static char *pattern_up_to(epl_context *ctx, const top *t, int last)
{
    epl_text text = EPL_TEXT(ctx);
    for (int i = 0; i <= last; i++)
        epl_text_addf(&text, "%s%.*s%s", i ? "," : "", (int)t[i].length, t[i].name, t[i].name[t[i].length] ? ".*" : "");
    return last < 0 ? epl_strdup(ctx, "") : epl_text_detach(&text);
}

char *epl_finetune_pattern(const epl_graph *g, int blocks)
{
    top  *t = epl_alloc_array(g->ctx, (size_t)g->n_nodes + 1, sizeof *t);
    char *pattern = NULL;
    if (!t)
        return NULL;
    const int  n    = collect(g, t);
    const top *name = block_name(t, n);
    int there = 0, last = -1; // the last top that rests: the block before the first that learns
    for (int i = 0; name && i < n; i++)
        there += is_numbered(&t[i]) && same(name, &t[i], true);
    for (int i = 0, seen = 0; name && i < n && blocks < there; i++)
        if (is_numbered(&t[i]) && same(name, &t[i], true) && ++seen == there - blocks)
            last = i;
    if (blocks < 1 || blocks > there)
        epl_fail(g->ctx, EPL_ERR_ARGUMENT, "network '%s' has %d blocks%s%.*s%s, %d cannot be trained alone", g->name, there,
                 name ? " '" : "", name ? (int)name->stem : 0, name ? name->name : "", name ? "'" : "", blocks);
    else
        pattern = pattern_up_to(g->ctx, t, last);
    epl_release(g->ctx, t);
    return pattern;
}
