/* Where buffers lie in a compiled network, as C expressions: A(offset) in the arena, W(offset) in the stored weights, S(offset)
 * in the state that the network changes, or a parameter of its function. What is stored is collected as it is met. */
#include "compile/emit.h"

/* Buffers that share memory have one root, maybe in the block outside. */
const epl_buffer *epl_emit_root(const epl_block *b, int buffer, const epl_block **home)
{
    for (;;) {
        while (b->buffers[buffer].same_as >= 0)
            buffer = b->buffers[buffer].same_as;
        const epl_buffer *f = &b->buffers[buffer];
        if (f->place != EPL_PLACE_PARENT) {
            *home = b;
            return f;
        }
        buffer = (int)f->offset;
        b      = b->parent;
    }
}

/* The place of a block's arena within the root's: that of the temporary buffer which its control-flow step has for it. */
static size_t arena_base(const epl_block *b)
{
    if (!b->parent)
        return 0;
    for (size_t k = 0; k < b->parent->n_steps; k++) {
        const epl_step *s = &b->parent->steps[k];
        for (int r = 0; s->blocks && r < s->node->n_regions; r++)
            if (s->blocks[r] == b) {
                const epl_block  *home;
                const epl_buffer *temp = epl_emit_root(b->parent, s->temp, &home);
                return arena_base(home) + (size_t)temp->offset;
            }
    }
    return 0;
}

static bool is_written(const epl_program *p, const epl_buffer *f)
{
    const epl_block *b = p->root;
    for (size_t k = 0; k < b->n_steps; k++)
        for (int o = 0; o < b->steps[k].n_out; o++) {
            const epl_block *home;
            if (b->steps[k].out[o] >= 0 && epl_emit_root(b, b->steps[k].out[o], &home)->data == f->data)
                return !b->steps[k].once;
        }
    return false;
}

/* The same bytes are stored once: two regions that pack one weight have it twice. */
static bool is_stored_as(const epl_stored *s, const epl_buffer *f, bool state)
{
    return s->data == f->data ||
           (!state && !s->state && s->bytes == f->bytes && (f->bytes == 0 || memcmp(s->data, f->data, f->bytes) == 0));
}

static const epl_stored *store(epl_emitter *e, const epl_buffer *f)
{
    const bool state = f->place == EPL_PLACE_TENSOR && is_written(e->p, f);
    for (size_t i = 0; i < e->n_stored; i++)
        if (is_stored_as(&e->stored[i], f, state))
            return &e->stored[i];
    if (!epl_grow(e->ctx, &e->stored, e->n_stored, &e->cap_stored, sizeof *e->stored))
        return NULL;
    size_t    *end   = state ? &e->state_bytes : &e->stored_bytes;
    e->stored[e->n_stored] = (epl_stored){ f->data, f->bytes, *end, state, f->name };
    *end += EPL_ALIGN(f->bytes);
    return &e->stored[e->n_stored++];
}

bool epl_emit_place(epl_emitter *e, const epl_block *b, int buffer, char out[96])
{
    if (buffer < 0) {
        strcpy(out, "NULL");
        return true;
    }
    const epl_block  *home;
    const epl_buffer *f = epl_emit_root(b, buffer, &home);
    if (f->place == EPL_PLACE_ARENA) {
        snprintf(out, 96, "A(%zu)", arena_base(home) + (size_t)f->offset);
    } else if (f->place == EPL_PLACE_INPUT) {
        snprintf(out, 96, "(void *)(uintptr_t)in_%s", e->inputs[f->offset].ident);
    } else if (f->bytes == 0) { // nothing is stored of it
        strcpy(out, "NULL");
    } else {
        const epl_stored *s = store(e, f);
        if (!s)
            return false;
        snprintf(out, 96, "%c(%zu)", s->state ? 'S' : 'W', s->offset);
    }
    return true;
}

const void *epl_emit_constant(const epl_emitter *e, const epl_block *b, int buffer)
{
    const epl_block  *home;
    const epl_buffer *f = epl_emit_root(b, buffer, &home);
    const bool fixed = f->place == EPL_PLACE_CONSTANT || f->place == EPL_PLACE_ONCE;
    return fixed || (f->place == EPL_PLACE_TENSOR && e->p->opts.frozen && !is_written(e->p, f)) ? f->data : NULL;
}

/* ---- the stored bytes ---- */

/* Words of eight bytes, little-endian: what compilers read fastest. */
static void print_words(epl_text *t, const unsigned char *data, size_t bytes)
{
    for (size_t at = 0; at < EPL_ALIGN(bytes); at += 8) {
        unsigned char word[8] = { 0 };
        char          text[24];
        if (at < bytes)
            memcpy(word, data + at, bytes - at < 8 ? bytes - at : 8);
        const int n = snprintf(text, sizeof text, "0x%llx,", (unsigned long long)epl_get_u64le(word));
        epl_text_add_bytes(t, text, (size_t)n);
        epl_text_add(t, at % 64 == 56 ? "\n" : " ");
    }
}

static void print_array(const epl_emitter *e, epl_text *t, bool state)
{
    char shape[192], name[96];
    epl_text_addf(t, "\n_Alignas(64) %suint64_t %s_%s[] = {\n", state ? "" : "const ", e->name, state ? "state" : "weights");
    for (size_t i = 0; i < e->n_stored; i++) {
        const epl_stored *s = &e->stored[i];
        if (s->state != state)
            continue;
        const epl_tensor *tensor = s->name ? epl_weights_find(e->p->weights, s->name) : NULL;
        if (tensor)
            epl_text_addf(t, "/* %zu: %s, %s%s */\n", s->offset, epl_emit_clean(name, s->name),
                          epl_dtype_name(tensor->dtype), epl_shape_text(shape, tensor->shape));
        else
            epl_text_addf(t, "/* %zu: %zu bytes */\n", s->offset, s->bytes);
        print_words(t, s->data, s->bytes);
    }
    epl_text_add(t, "};\n");
}

void epl_emit_weights(const epl_emitter *e, epl_text *t)
{
    epl_text_addf(t, "/* The weights of %s, in the order of their use, as little-endian words; each begins at a multiple of 64 bytes. */\n"
                     "#include <stdint.h>\n\n"
                     "extern const uint64_t %s_weights[];\n", e->name, e->name);
    if (e->state_bytes)
        epl_text_addf(t, "extern uint64_t %s_state[];\n", e->name);
    if (e->stored_bytes)
        print_array(e, t, false);
    if (e->state_bytes)
        print_array(e, t, true);
}

/* The bytes of W, then those of S. */
bool epl_emit_weights_file(const epl_emitter *e, const char *path)
{
    static const unsigned char zeros[64];
    epl_writer *w = epl_writer_open(e->ctx, path);
    if (!w)
        return false;
    for (int state = 0; state < 2; state++)
        for (size_t i = 0; i < e->n_stored; i++) {
            const epl_stored *s = &e->stored[i];
            if (s->state == state) {
                epl_writer_write(w, s->data, s->bytes);
                epl_writer_write(w, zeros, EPL_ALIGN(s->bytes) - s->bytes);
            }
        }
    return epl_writer_commit(w);
}
