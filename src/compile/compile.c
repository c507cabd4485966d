/* A model's program, planned for the target, printed as C. See compile.h. */
#include "compile/ports.h"

#include <espalier/passes.h>

enum { MOST_IN_SOURCE = 16 << 20 };

static bool has_updates(const epl_graph *g)
{
    for (const epl_node *n = epl_first(g); n; n = epl_next(n))
        if (EPL_IS(n, update))
            return true;
    return false;
}

/* A compiled network must come to an end. */
static bool limit_loops(epl_graph *g, int64_t most)
{
    if (most > 0)
        return epl_limit_loops(g, most);
    const epl_node *endless = epl_endless_loop(g);
    return !endless || epl_fail(epl_graph_context(g), EPL_ERR_ARGUMENT,
                                "Loop%s%s has no limit to its iterations: say one with --max-trip (max_trip)",
                                epl_node_scope(endless)[0] ? " " : "", epl_node_scope(endless));
}

static bool bind(epl_graph *g, epl_compile_opts o)
{
    for (int i = 0; i < o.n_bindings; i++)
        if (!epl_graph_bind(g, o.bindings[i].dim, o.bindings[i].size))
            return epl_fail(epl_graph_context(g), EPL_ERR_ARGUMENT, "no input of graph '%s' has a dimension '%s'", epl_graph_name(g),
                            o.bindings[i].dim);
    return true;
}

/* The program whose plan is printed; a step with updates keeps its weights as they lie. Runs on one thread: scratch memory is
 * counted for one. */
epl_program *epl_compile_program(const epl_model *m, epl_compile_opts o, const epl_target *t, bool reference)
{
    const int    threads = epl_context_threads(m->ctx);
    epl_graph   *g = epl_graph_copy(m->graph);
    epl_program *p = NULL;
    epl_context_set_threads(m->ctx, 1);
    if (g && bind(g, o) && limit_loops(g, o.max_trip))
        p = epl_program_new(g, m->weights,
                            (epl_program_opts){ .frozen = !has_updates(g),
                                                .sparse = !o.dense && !has_updates(g),
                                                .shifts = o.shifts,
                                                .block_bytes = o.block_bytes,
                                                .isa = t->isa,
                                                .unroll = o.unroll,
                                                .plain = o.plain,
                                                .reference = reference });
    epl_context_set_threads(m->ctx, threads);
    epl_graph_free(g);
    return p;
}

static void settle(epl_emitter *e, epl_weights_form form)
{
    const epl_program_memory m = e->p->memory_use;
    e->made.arena   = m.arena + m.scratch;
    e->made.weights = e->stored_bytes;
    e->made.state   = e->state_bytes;
    e->in_file      = (form == EPL_WEIGHTS_FILE || (form == EPL_WEIGHTS_AUTO && e->stored_bytes + e->state_bytes > MOST_IN_SOURCE)) &&
                 e->stored_bytes + e->state_bytes > 0;
}

static void emitter_release(epl_emitter *e)
{
    epl_text_release(&e->body);
    epl_text_release(&e->tables);
    epl_text_release(&e->chains);
    epl_text_release(&e->integers);
    epl_text_release(&e->prototypes);
    for (size_t i = 0; i < e->n_chain_texts; i++)
        epl_release(e->ctx, e->chain_texts[i]);
    epl_release(e->ctx, e->chain_texts);
    epl_release(e->ctx, e->stored);
    epl_release(e->ctx, e->files);
    epl_release(e->ctx, e->inputs);
    epl_program_free(e->p);
}

bool epl_compile(const epl_model *m, const char *dir, epl_compile_opts o, epl_artifact *out)
{
    epl_context *ctx = m->ctx;
    const bool   clean = epl_error_code(ctx) == EPL_OK;
    epl_emitter  e   = { .ctx = ctx, .name = o.name ? o.name : "model", .body = EPL_TEXT(ctx), .tables = EPL_TEXT(ctx),
                         .chains = EPL_TEXT(ctx), .integers = EPL_TEXT(ctx), .prototypes = EPL_TEXT(ctx) };
    if (!epl_is_identifier(e.name) || strlen(e.name) > 48)
        return epl_fail(ctx, EPL_ERR_ARGUMENT, "'%s' cannot name a compiled network: a C identifier of at most 48 letters can", e.name);
    epl_upper(e.upper, e.name);
    e.target = epl_target_find(ctx, o.target);
    e.p      = e.target ? epl_compile_program(m, o, e.target, false) : NULL;
    bool ok  = e.p && epl_ports_make(&e) && epl_emit_plan(&e);
    if (ok) {
        settle(&e, o.weights);
        ok = epl_emit_files(&e, dir) && (!clean || epl_error_code(ctx) == EPL_OK); // a text cut short by lack of memory is none
    }
    if (ok && out)
        *out = e.made;
    emitter_release(&e);
    return ok;
}
