/* slots: what an optimizer keeps for a parameter - in 32 bits a state of its shape, in 8 bits codes and the maxima
 * of blocks - while the step is built, and in the weights of a checkpoint. */
#include "train/train.h"

#include <stdio.h>
#include <string.h>

enum { NAME = 1024 };

epl_slot_opts epl_slot_defaults(epl_slot_opts o)
{
    o.bits     = o.bits ? o.bits : 32;
    o.block    = o.block ? o.block : 2048;
    o.min_size = o.min_size ? o.min_size : 4096;
    if (!o.full[0])
        strcpy(o.full, "*stable.weight");
    return o;
}

bool epl_slot_is_coded(const epl_slot_opts *o, int group_bits, const char *name, epl_dtype dtype, int64_t count)
{
    return (group_bits ? group_bits : o->bits) == 8 && dtype == EPL_F32 && count >= o->min_size && !epl_glob(o->full, name);
}

static bool block_is_fine(int64_t b) { return b == EPL_SLOT_WHOLE || (b >= 64 && b <= 4096 && (b & (b - 1)) == 0); }

bool epl_slots_check(epl_graph *g, const epl_optimizer_opts *o)
{
    const epl_slot_opts s = o->slots;
    if (s.bits != 8 && s.bits != 32)
        epl_graph_fail(g, EPL_ERR_ARGUMENT, "slots of %d bits; 8 or 32 are possible", s.bits);
    else if (!block_is_fine(s.block))
        epl_graph_fail(g, EPL_ERR_ARGUMENT,
                       "slots in blocks of %lld elements; a power of two from 64 to 4096 is needed",
                       (long long)s.block);
    else if (s.bits == 8 && (o->kind == EPL_SGD || o->kind == EPL_LARS) && o->momentum == 0)
        epl_graph_fail(g, EPL_ERR_ARGUMENT, "%s without momentum has no slots that 8 bits could hold", epl_optimizer_name(o->kind));
    return !epl_graph_failed(g);
}

/* ---- in a step ---- */

static epl_code_map map_of(const epl_slot_opts *o, bool square)
{
    return o->linear ? square ? EPL_CODE_LINEAR_UNSIGNED : EPL_CODE_LINEAR : square ? EPL_CODE_DYNAMIC_UNSIGNED : EPL_CODE_DYNAMIC;
}

/* Of an operator: 0 is one block. */
static int64_t op_block(const epl_slot_opts *o) { return o->block == EPL_SLOT_WHOLE ? 0 : o->block; }

static epl_value *state(const epl_rule *r, const char *slot, const char *part, epl_dtype dtype, epl_shape shape, double start)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "train.%s%s.", slot, part);
    return epl_state(r->g, epl_prefixed(r->g, prefix, r->name), dtype, shape, EPL_INIT_CONSTANT, start);
}

static epl_value *codes_of(const epl_rule *r, const char *slot, epl_code_map map)
{
    return state(r, slot, "", EPL_U8, epl_shape_of(r->w), epl_code_of_zero(map));
}

static epl_value *maxima_of(const epl_rule *r, const char *slot)
{
    const int64_t n = epl_code_n_blocks(epl_shape_count(epl_shape_of(r->w)), op_block(&r->o->slots));
    return state(r, slot, "_max", EPL_F32, EPL_SHAPE(n), 0);
}

epl_value *epl_slot_read(epl_rule *r, const char *slot, bool square)
{
    const epl_code_map map = map_of(&r->o->slots, square);
    if (!r->w)
        return NULL;
    if (!r->coded)
        return state(r, slot, "", epl_dtype_of(r->w), epl_shape_of(r->w), 0);
    return epl_dequantize_blockwise(r->g, codes_of(r, slot, map), maxima_of(r, slot), epl_code_values(r->g, map), op_block(&r->o->slots));
}

/* A sign is never lost (keep_nonzero of a signed map); a square may become 0, unless the options say that it has a floor. */
void epl_slot_write(epl_rule *r, const char *slot, bool square, epl_value *next)
{
    const epl_slot_opts *o = &r->o->slots;
    const epl_code_map   map = map_of(o, square);
    if (!r->w || !next)
        return;
    epl_value *old = !r->coded || r->moves ? epl_slot_read(r, slot, square) : NULL;
    if (r->moves)
        next = epl_where(r->g, r->moves, next, old);
    if (!r->coded) {
        epl_update(r->g, old, next);
        return;
    }
    epl_blockwise_opts b = { .block = op_block(o), .keep_nonzero = !square || o->second_floor };
    if (o->stochastic)
        b.draws = epl_random_uniform(r->g, epl_rng_key(r->g), 0, 1, (epl_random_opts){ .like = next });
    epl_value *maxima, *codes = epl_quantize_blockwise(r->g, next, epl_code_values(r->g, map), b, &maxima);
    epl_update(r->g, codes_of(r, slot, map), codes);
    epl_update(r->g, maxima_of(r, slot), maxima);
}

/* ---- in weights ---- */

static bool is_square(const char *name) { return strncmp(name, "train.v.", 8) == 0; }

int epl_slot_zero(const char *name) { return epl_code_of_zero(is_square(name) ? EPL_CODE_DYNAMIC_UNSIGNED : EPL_CODE_DYNAMIC); }

/* Slots that may be codes: moments and momentum. Not "norms", and not the maxima. */
static bool is_slot(const char *name)
{
    return strncmp(name, "train.m.", 8) == 0 || is_square(name) || strncmp(name, "train.momentum.", 15) == 0;
}

/* "train.m.conv.weight" -> "train.m_max.conv.weight" */
static bool maxima_name(const char *slot, char out[NAME])
{
    const char *dot = strncmp(slot, "train.", 6) == 0 ? strchr(slot + 6, '.') : NULL;
    return dot && snprintf(out, NAME, "%.*s_max%s", (int)(dot - slot), slot, dot) < NAME;
}

static const epl_tensor *maxima_in(const epl_weights *w, const char *slot)
{
    char name[NAME];
    return maxima_name(slot, name) ? epl_weights_find(w, name) : NULL;
}

epl_slot_bytes epl_slots_measure(const epl_weights *w)
{
    epl_slot_bytes b = { 0 };
    for (int i = 0; i < epl_weights_count(w); i++) {
        const char       *name = epl_weights_name(w, i);
        const epl_tensor *t = epl_weights_at(w, i), *maxima = is_slot(name) ? maxima_in(w, name) : NULL;
        if (!is_slot(name))
            continue;
        b.bytes += epl_tensor_bytes(t) + (maxima ? epl_tensor_bytes(maxima) : 0);
        b.full_bytes += maxima ? 4 * (size_t)epl_tensor_count(t) : epl_tensor_bytes(t);
    }
    return b;
}

/* ---- conversion ---- */

/* Codes and maxima in the slot's place. */
static bool make_codes(epl_context *ctx, epl_weights *w, const char *slot, epl_slot_opts o)
{
    const epl_tensor  *t = epl_weights_find(w, slot);
    const int64_t      n = epl_tensor_count(t);
    const epl_code_map kind = map_of(&o, is_square(slot));
    char        name[NAME];
    float       map[256];
    epl_tensor *codes  = epl_tensor_new(ctx, EPL_U8, t->shape);
    epl_tensor *maxima = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(epl_code_n_blocks(n, op_block(&o))));
    if (!codes || !maxima || !maxima_name(slot, name)) {
        epl_tensor_free(codes);
        epl_tensor_free(maxima);
        return false;
    }
    epl_code_map_fill(kind, map);
    epl_code_blocks(t->data, n, op_block(&o), map, !is_square(slot) || o.second_floor, codes->data, maxima->data);
    const bool ok = epl_weights_put_take(w, name, maxima);
    return epl_weights_put_take(w, slot, codes) && ok;
}

/* The options that the checkpoint was made with are no longer those it goes on with. */
static bool forget_options(epl_context *ctx, epl_weights *w)
{
    const char *text = epl_weights_metadata(w, EPL_TRAINING_KEY), *at = text ? strstr(text, "\"options\"") : NULL;
    char       *copy = at ? epl_strdup(ctx, text) : NULL;
    if (!at)
        return epl_fail(ctx, EPL_ERR_FORMAT, "there is no state of training beside the slots");
    char *value = copy ? strchr(copy + (at - text) + 9, '"') : NULL;
    if (value && strlen(value) > sizeof EPL_ANY_OPTIONS)
        memcpy(value + 1, EPL_ANY_OPTIONS, sizeof EPL_ANY_OPTIONS - 1);
    const bool ok = value && epl_weights_set_metadata(w, EPL_TRAINING_KEY, copy);
    epl_release(ctx, copy);
    return ok;
}

int epl_slots_convert(epl_context *ctx, epl_weights *w, epl_slot_opts o)
{
    int made = 0;
    o = epl_slot_defaults(o);
    if (!block_is_fine(o.block)) {
        epl_fail(ctx, EPL_ERR_ARGUMENT, "slots in blocks of %lld elements; a power of two from 64 to 4096 is needed", (long long)o.block);
        return -1;
    }
    for (int i = 0; i < epl_weights_count(w); i++) {
        const char       *name = epl_weights_name(w, i), *parameter = is_slot(name) ? strchr(name + 6, '.') + 1 : NULL;
        const epl_tensor *t = epl_weights_at(w, i);
        if (!parameter || !epl_slot_is_coded(&o, 8, parameter, t->dtype, epl_tensor_count(t)))
            continue;
        if (!make_codes(ctx, w, name, o))
            return -1;
        made++;
    }
    return forget_options(ctx, w) ? made : -1;
}
