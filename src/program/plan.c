/* plan: where every buffer lies. Lives are counted in steps; results are computed in place where that is safe, a parameter's
 * next value in the parameter itself; what is left is packed into one arena, largest first, each at the lowest place where
 * nothing that lives at the same time lies (greedy by size: Pisarchyk & Lee 2020, arXiv:2001.03288). */
#include "program/program.h"

#include <stdlib.h>

static int root_of(const epl_block *b, int i)
{
    while (i >= 0 && b->buffers[i].same_as >= 0)
        i = b->buffers[i].same_as;
    return i;
}

static epl_buffer *root_buffer(const epl_block *b, int i)
{
    const int r = root_of(b, i);
    return r < 0 ? NULL : &b->buffers[r];
}

/* Calls f on every buffer that a step touches. */
#define FOR_READ(s, i, expr)                                     \
    do {                                                         \
        for (int k_ = 0; k_ < (s)->n_in; k_++) {                 \
            const int i = (s)->in[k_];                           \
            if (i >= 0) { expr; }                                \
        }                                                        \
        for (int k_ = 0; k_ < (s)->n_chain_in; k_++) {           \
            const int i = (s)->chain_in[k_];                     \
            if (i >= 0) { expr; }                                \
        }                                                        \
    } while (0)

/* ---- what is computed once ---- */

static bool is_updated(const epl_program *p, const epl_tensor *t)
{
    for (size_t k = 0; k < p->root->n_steps; k++)
        if (p->root->steps[k].kind == EPL_STEP_COPY && root_buffer(p->root, p->root->steps[k].out[0])->tensor == t)
            return true;
    return false;
}

/* Seen through the blocks: a region reads the weights of its program. */
static bool is_constant(const epl_block *b, int buffer)
{
    const epl_buffer *f = root_buffer(b, buffer);
    if (f->place == EPL_PLACE_PARENT)
        return is_constant(b->parent, (int)f->offset);
    return f->place == EPL_PLACE_CONSTANT || f->place == EPL_PLACE_ONCE ||
           (f->place == EPL_PLACE_TENSOR && b->program->opts.frozen && !is_updated(b->program, f->tensor));
}

/* Steps whose inputs never change run when the program is made, those of regions too; their results go to the store of such. */
static void find_once(epl_block *b)
{
    for (size_t k = 0; k < b->n_steps; k++) {
        epl_step *s = &b->steps[k];
        for (int r = 0; s->blocks && r < s->node->n_regions; r++)
            find_once(s->blocks[r]);
        bool once = s->kind == EPL_STEP_KERNEL || s->kind == EPL_STEP_REFERENCE;
        FOR_READ(s, i, once = once && is_constant(b, i));
        for (int o = 0; once && o < s->n_out; o++)
            once = s->out[o] < 0 || root_buffer(b, s->out[o])->place == EPL_PLACE_ARENA ||
                   root_buffer(b, s->out[o])->place == EPL_PLACE_ONCE;
        s->once = once;
        for (int o = 0; once && o < s->n_out; o++) {
            epl_buffer *f = root_buffer(b, s->out[o]);
            if (!f || f->place == EPL_PLACE_ONCE)
                continue; // not asked for, or a second step adds to it
            f->place = EPL_PLACE_ONCE;
        }
    }
}

/* What the root's other steps or the caller read of it stays; the rest is needed for that moment only. */
static bool drop_intermediates(epl_block *b)
{
    bool *kept = epl_alloc_array(b->program->ctx, b->n_buffers + 1, sizeof *kept);
    if (!kept)
        return false;
    for (size_t k = 0; k < b->n_steps; k++)
        if (!b->steps[k].once)
            FOR_READ(&b->steps[k], i, kept[root_of(b, i)] = true);
    for (int i = 0; i < b->n_outputs; i++)
        kept[root_of(b, b->outputs[i])] = true;
    for (size_t i = 0; i < b->n_buffers; i++) {
        epl_buffer *f = &b->buffers[i];
        if (f->place == EPL_PLACE_ONCE && f->same_as < 0 && !kept[i]) {
            f->place = EPL_PLACE_SETUP;
        }
    }
    epl_release(b->program->ctx, kept);
    return true;
}

static void place_once(epl_block *b)
{
    epl_program *p = b->program;
    for (size_t k = 0; k < b->n_steps; k++)
        for (int r = 0; b->steps[k].blocks && r < b->steps[k].node->n_regions; r++)
            place_once(b->steps[k].blocks[r]);
    for (size_t i = 0; i < b->n_buffers; i++)
        if (b->buffers[i].place == EPL_PLACE_ONCE && b->buffers[i].same_as < 0) {
            b->buffers[i].offset = (int64_t)p->once_bytes;
            p->once_bytes += EPL_ALIGN(b->buffers[i].bytes);
        }
}

/* ---- lives ---- */

static void live_at(epl_block *b, int i, int step)
{
    epl_buffer *f = root_buffer(b, i);
    if (step < f->first)
        f->first = step;
    if (step > f->last)
        f->last = step;
}

static void find_lives(epl_block *b)
{
    for (size_t i = 0; i < b->n_buffers; i++) {
        b->buffers[i].first = (int)b->n_steps;
        b->buffers[i].last  = -1;
    }
    for (size_t k = 0; k < b->n_steps; k++) {
        const epl_step *s = &b->steps[k];
        FOR_READ(s, i, live_at(b, i, (int)k));
        for (int o = 0; o < s->n_out; o++)
            if (s->out[o] >= 0)
                live_at(b, s->out[o], (int)k);
        if (s->temp >= 0)
            live_at(b, s->temp, (int)k);
    }
    for (int i = 0; i < b->n_outputs; i++)
        live_at(b, b->outputs[i], (int)b->n_steps);
}

/* ---- in place ---- */

/* Every place where s reads that buffer allows a result to overwrite it. */
static bool may_overwrite(const epl_block *b, const epl_step *s, int buffer)
{
    for (int i = 0; i < s->n_in; i++)
        if (root_of(b, s->in[i]) == buffer && !(s->in_place >> i & 1u))
            return false;
    for (int i = 0; i < s->n_chain_in; i++)
        if (root_of(b, s->chain_in[i]) == buffer && !(s->chain_in_place >> i & 1u))
            return false;
    return true;
}

/* The last step, before the updates, that touches the state; and the step that makes its next value. */
static bool update_in_place(epl_block *b, size_t copy)
{
    const int next = root_of(b, b->steps[copy].in[0]), state = root_of(b, b->steps[copy].out[0]);
    if (b->buffers[next].place != EPL_PLACE_ARENA || b->buffers[next].bytes != b->buffers[state].bytes)
        return false;
    int maker = -1, last_read = -1, writers = 0;
    for (int k = 0; k < (int)b->n_steps; k++) {
        const epl_step *s = &b->steps[k];
        if ((size_t)k == copy)
            continue;
        FOR_READ(s, i, if (root_of(b, i) == state) last_read = k);
        for (int o = 0; o < s->n_out; o++) {
            if (s->out[o] >= 0 && root_of(b, s->out[o]) == next) {
                maker = k;
                writers++;
            }
            if (s->out[o] >= 0 && root_of(b, s->out[o]) == state)
                return false;
        }
    }
    if (writers != 1 || last_read > maker || (last_read == maker && !may_overwrite(b, &b->steps[maker], state)))
        return false;
    for (int i = 0; i < b->n_outputs; i++)
        if (root_of(b, b->outputs[i]) == state)
            return false; // the old value is asked for
    b->buffers[next].same_as = state;
    return true;
}

static void place_updates(epl_block *b)
{
    size_t kept = 0;
    for (size_t k = 0; k < b->n_steps; k++) {
        if (b->steps[k].kind == EPL_STEP_COPY && update_in_place(b, k))
            b->steps[k].n_in = 0; // marks it for removal
    }
    for (size_t k = 0; k < b->n_steps; k++)
        if (b->steps[k].kind != EPL_STEP_COPY || b->steps[k].n_in)
            b->steps[kept++] = b->steps[k];
    b->n_steps = kept;
}

static bool is_packed(const epl_buffer *f) { return f->place == EPL_PLACE_ARENA || f->place == EPL_PLACE_SETUP; }

static void place_results(epl_block *b)
{
    for (size_t k = 0; k < b->n_steps; k++) {
        epl_step *s = &b->steps[k];
        for (int o = 0; s->in_place && o < s->n_out; o++) {
            const int out = root_of(b, s->out[o]);
            epl_buffer *f = out >= 0 ? &b->buffers[out] : NULL;
            if (!f || !is_packed(f) || f->first != (int)k)
                continue;
            int taken = -1;
            FOR_READ(s, i, {
                const int r = root_of(b, i);
                const epl_buffer *x = &b->buffers[r];
                if (taken < 0 && r != out && x->place == f->place && x->last == (int)k && x->first < (int)k &&
                    x->bytes == f->bytes && may_overwrite(b, s, r))
                    taken = r;
            });
            if (taken >= 0) { // the result becomes the input's continuation
                b->buffers[taken].last = f->last;
                f->same_as = taken;
            }
        }
    }
}

/* ---- packing ---- */

typedef struct item {
    int    index;
    size_t bytes;
} item;

static int larger_first(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->index - y->index;
}

static bool overlap(const epl_buffer *a, const epl_buffer *b) { return a->first <= b->last && b->first <= a->last; }

/* `placed` is sorted by offset. */
static size_t lowest_gap(const epl_block *b, const int *placed, size_t n_placed, const epl_buffer *f)
{
    size_t end = 0;
    for (size_t i = 0; i < n_placed; i++) {
        const epl_buffer *x = &b->buffers[placed[i]];
        if (!overlap(x, f))
            continue;
        if ((size_t)x->offset >= end + EPL_ALIGN(f->bytes))
            return end;
        if ((size_t)x->offset + EPL_ALIGN(x->bytes) > end)
            end = (size_t)x->offset + EPL_ALIGN(x->bytes);
    }
    return end;
}

/* Gives every buffer of that place its offset; *bytes becomes the end of the last. */
static bool pack(epl_block *b, epl_place place, size_t *bytes)
{
    epl_context *ctx    = b->program->ctx;
    item        *items  = epl_alloc_array(ctx, b->n_buffers + 1, sizeof *items);
    int         *placed = epl_alloc_array(ctx, b->n_buffers + 1, sizeof *placed);
    size_t n = 0, n_placed = 0;
    bool   ok = items && placed;
    for (size_t i = 0; ok && i < b->n_buffers; i++)
        if (b->buffers[i].same_as < 0 && b->buffers[i].place == place && b->buffers[i].last >= 0)
            items[n++] = (item){ (int)i, b->buffers[i].bytes };
    if (ok)
        qsort(items, n, sizeof *items, larger_first);
    *bytes = 0;
    for (size_t k = 0; ok && k < n; k++) {
        epl_buffer *f = &b->buffers[items[k].index];
        f->offset = (int64_t)lowest_gap(b, placed, n_placed, f);
        size_t at = n_placed++;
        for (; at > 0 && b->buffers[placed[at - 1]].offset > f->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = items[k].index;
        const size_t end = (size_t)f->offset + EPL_ALIGN(f->bytes);
        if (end > *bytes)
            *bytes = end;
    }
    epl_release(ctx, items);
    epl_release(ctx, placed);
    return ok;
}

/* ---- blocks ---- */

static bool plan_block(epl_block *b)
{
    epl_program *p = b->program;
    for (size_t k = 0; k < b->n_steps; k++) {
        epl_step *s = &b->steps[k];
        for (int r = 0; s->blocks && r < s->node->n_regions; r++) {
            if (!plan_block(s->blocks[r]))
                return false;
            epl_buffer *temp = &b->buffers[s->temp];
            if (s->blocks[r]->arena_bytes > temp->bytes)
                temp->bytes = s->blocks[r]->arena_bytes; // one region at a time
        }
        size_t *scratch = s->once ? &p->setup_scratch_bytes : &p->scratch_bytes;
        if (s->scratch > *scratch)
            *scratch = s->scratch;
    }
    if (!b->parent)
        place_updates(b);
    find_lives(b);
    place_results(b);
    return pack(b, EPL_PLACE_ARENA, &b->arena_bytes) && (b->parent || pack(b, EPL_PLACE_SETUP, &p->setup_bytes));
}

size_t epl_setup_bytes(const epl_program *p) { return p->setup_bytes + p->setup_scratch_bytes * (size_t)p->n_threads; }

bool epl_plan(epl_program *p)
{
    p->once_bytes = p->scratch_bytes = p->setup_scratch_bytes = 0;
    find_once(p->root);
    if (!drop_intermediates(p->root))
        return false;
    place_once(p->root);
    if (!plan_block(p->root))
        return false;
    epl_program_memory *m = &p->memory_use;
    *m = (epl_program_memory){ .arena = p->root->arena_bytes, .packed = p->once_bytes,
                               .scratch = p->scratch_bytes * (size_t)p->n_threads };
    for (size_t i = 0; i < p->root->n_buffers; i++) {
        const epl_buffer *f = &p->root->buffers[i];
        if (f->place == EPL_PLACE_INPUT && f->same_as < 0)
            m->inputs += EPL_ALIGN(f->bytes);
        if (f->place == EPL_PLACE_TENSOR && f->same_as < 0)
            m->weights += f->bytes;
    }
    m->total = m->arena + m->inputs + m->packed + m->scratch;
    m->setup = epl_setup_bytes(p) > m->arena ? epl_setup_bytes(p) : 0;
    return true;
}

int epl_plan_peak_step(const epl_block *b)
{
    int    peak  = 0;
    size_t most  = 0;
    for (int k = 0; k < (int)b->n_steps; k++) {
        size_t bytes = 0;
        for (size_t i = 0; i < b->n_buffers; i++)
            if (b->buffers[i].same_as < 0 && b->buffers[i].place == EPL_PLACE_ARENA &&
                b->buffers[i].first <= k && k <= b->buffers[i].last)
                bytes += EPL_ALIGN(b->buffers[i].bytes);
        if (bytes > most) {
            most = bytes;
            peak = k;
        }
    }
    return peak;
}
