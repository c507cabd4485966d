/* The plan as the body of one function: each step is a call; regions are blocks under `if`, `switch` and `for`. What run.c does
 * at run time is done here on paper, in the same order. */
#include "compile/emit.h"

void epl_emit_line(epl_emitter *e, const char *format, ...)
{
    char *text = NULL;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    text = epl_alloc(e->ctx, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    e->body.failed |= !text;
    for (const char *line = text; line && *line;) { // continuation lines are indented alike
        const size_t length = strcspn(line, "\n");
        epl_text_addf(&e->body, "%*s%.*s\n", 4 * e->indent, "", (int)length, line);
        line += length + (line[length] == '\n');
    }
    epl_release(e->ctx, text);
}

static bool emit_block(epl_emitter *e, const epl_block *b);

/* memcpy between places that are not the same. */
static bool emit_copy(epl_emitter *e, const epl_block *to_block, int to, const epl_block *from_block, int from, size_t bytes)
{
    char a[96], b[96];
    if (!epl_emit_place(e, to_block, to, a) || !epl_emit_place(e, from_block, from, b))
        return false;
    if (strcmp(a, b) != 0 && bytes)
        epl_emit_line(e, "memcpy(%s, %s, %zu);", a, b, bytes);
    return true;
}

/* ---- kernels ---- */

static void comment(epl_emitter *e, const epl_step *s)
{
    char shape[192] = "";
    if (s->node->n_outputs)
        epl_shape_text(shape, s->node->outputs[0]->shape);
    char scope[96];
    epl_text_add(&e->body, "\n");
    epl_emit_line(e, "/* %s%s%s: %s */", s->node->op->name, s->node->scope[0] ? " " : "", epl_emit_clean(scope, s->node->scope), shape);
}

static bool add_places(epl_emitter *e, const epl_block *b, epl_text *t, const char *field, int n, const int *buffers)
{
    char place[96];
    while (n > 0 && buffers[n - 1] < 0)
        n--;
    if (n == 0)
        return true;
    epl_text_addf(t, "%s %s{ ", t->length && t->data[t->length - 1] == '{' ? "" : ",", field);
    for (int i = 0; i < n; i++) {
        if (!epl_emit_place(e, b, buffers[i], place))
            return false;
        epl_text_addf(t, "%s%s", i ? ", " : "", place);
    }
    epl_text_add(t, " }");
    return true;
}

/* A whole chain is a call of its function; other kernels may have one behind them. */
static bool emit_chain_step(epl_emitter *e, const epl_block *b, const epl_step *s)
{
    const epl_chain *c = s->params;
    const bool flat = epl_chain_is_flat(c), integer = epl_chain_is_integer(c);
    if (c->rows * c->columns == 0) // a function that nobody calls would be a warning
        return true;
    const int  number = epl_emit_chain(e, b, s, c, false);
    epl_text   t = EPL_TEXT(e->ctx);
    epl_text_addf(&t, integer ? "EPL_K(chain_%d)(&(epl_call){" : "chain_%d(&(epl_call){", number);
    const bool ok = number >= 0 && add_places(e, b, &t, ".in = ", s->n_in, s->in) && add_places(e, b, &t, ".out = ", s->n_out, s->out);
    epl_text_addf(&t, " }, 0, %lld, 0, %lld);", flat ? 1LL : (long long)c->rows, (long long)(flat ? c->rows * c->columns : c->columns));
    epl_emit_line(e, "%s", epl_text_str(&t));
    epl_text_release(&t);
    return ok;
}

static bool need_sources(epl_emitter *e, const char *sources)
{
    char path[96];
    for (const char *p = sources; *p;) {
        const int length = (int)strcspn(p, " ");
        const bool up = strncmp(p, "../", 3) == 0;
        snprintf(path, sizeof path, "%s%.*s", up ? "" : "kernels/", length - (up ? 3 : 0), up ? p + 3 : p);
        if (!epl_emit_need(e, path))
            return false;
        p += length + (p[length] == ' ');
    }
    return true;
}

static bool emit_kernel(epl_emitter *e, const epl_block *b, const epl_step *s)
{
    if (strcmp(s->kernel->name, "chain") == 0)
        return emit_chain_step(e, b, s);
    const int number = e->n_tables++;
    epl_text  t = EPL_TEXT(e->ctx);
    epl_text_addf(&t, "EPL_K(%s)(&(epl_call){", s->kernel->name);
    bool ok = need_sources(e, s->kernel->sources) && epl_emit_params(e, s, number) &&
              add_places(e, b, &t, ".in = ", s->n_in, s->in) && add_places(e, b, &t, ".out = ", s->n_out, s->out);
    epl_text_addf(&t, ", .params = &params_%d", number);
    if (ok && s->chain) {
        const int chain = epl_emit_chain(e, b, s, s->chain, true);
        epl_text_addf(&t, ",\n    .chain = &(const epl_chain){ chain_%d }", chain);
        ok = chain >= 0 && add_places(e, b, &t, ".chain_in = (const void *const[])", s->n_chain_in, s->chain_in);
    }
    epl_text_addf(&t, " }, 0, %lld, %s);", (long long)s->pieces, s->scratch ? "SCRATCH" : "NULL");
    char prototype[96];
    snprintf(prototype, sizeof prototype, "EPL_KERNEL(%s);\n", s->kernel->name);
    if (!strstr(epl_text_str(&e->prototypes), prototype))
        epl_text_add(&e->prototypes, prototype);
    epl_emit_line(e, "%s", epl_text_str(&t));
    epl_text_release(&t);
    return ok;
}

/* ---- control flow ---- */

static bool emit_region(epl_emitter *e, const epl_block *b, const epl_step *s, const epl_block *taken)
{
    bool ok = true;
    e->indent++;
    ok = emit_block(e, taken);
    for (int i = 0; ok && i < s->n_out; i++)
        ok = emit_copy(e, b, s->out[i], taken, taken->outputs[i], b->buffers[s->out[i]].bytes);
    e->indent--;
    return ok;
}

static bool emit_branch(epl_emitter *e, const epl_block *b, const epl_step *s)
{
    const epl_node *n = s->node;
    char selector[96];
    if (!epl_emit_place(e, b, s->in[0], selector))
        return false;
    if (EPL_IS(n, if)) {
        epl_emit_line(e, "if (*(const unsigned char *)%s) {", selector);
        if (!emit_region(e, b, s, s->blocks[0]))
            return false;
        epl_emit_line(e, "} else {");
        if (!emit_region(e, b, s, s->blocks[1]))
            return false;
        epl_emit_line(e, "}");
        return true;
    }
    const int last = n->n_regions - 1, k = e->n_loops++; // below the first region is the first, beyond the last the last
    epl_emit_line(e, "const int64_t index_%d = *(const int64_t *)%s;", k, selector);
    epl_emit_line(e, "switch (index_%d < 0 ? 0 : index_%d) {", k, k);
    for (int r = 0; r <= last; r++) {
        if (r == last)
            epl_emit_line(e, "default: {");
        else
            epl_emit_line(e, "case %d: {", r);
        if (!emit_region(e, b, s, s->blocks[r]))
            return false;
        epl_emit_line(e, "    break;\n}");
    }
    epl_emit_line(e, "}");
    return true;
}

/* The carried values live in the step's results; see run_loop in program/run.c. */
static bool emit_loop(epl_emitter *e, const epl_block *b, const epl_step *s)
{
    const epl_block *body      = s->blocks[0];
    const int        n_carried = (int)epl_attr_i(s->node, "n_carried"), n_scans = body->n_outputs - 1 - n_carried;
    const int        k         = e->n_loops++;
    char iteration[96], go[96], place[96], to[96];
    bool ok = epl_emit_place(e, b, s->in[s->n_in - 2], iteration) && epl_emit_place(e, b, s->in[s->n_in - 1], go);
    epl_emit_line(e, "int64_t *const iteration_%d = %s, done_%d = 0;", k, iteration, k);
    epl_emit_line(e, "unsigned char *const go_%d = %s;", k, go);
    if (s->in[0] < 0)
        epl_emit_line(e, "*go_%d = 1;", k);
    else if (epl_emit_place(e, b, s->in[0], place))
        epl_emit_line(e, "*go_%d = *(const unsigned char *)%s;", k, place);
    for (int i = 0; ok && i < n_carried; i++)
        ok = emit_copy(e, b, s->out[i], b, s->in[1 + i], b->buffers[s->out[i]].bytes);
    for (int i = 0; ok && epl_loop_may_stop(s) && i < n_scans; i++) {
        ok = epl_emit_place(e, b, s->out[n_carried + i], place);
        epl_emit_line(e, "memset(%s, 0, %zu);", place, b->buffers[s->out[n_carried + i]].bytes);
    }
    epl_emit_line(e, "for (; done_%d < %lld && *go_%d; done_%d++) {", k, (long long)epl_attr_i(s->node, "trip"), k, k);
    e->indent++;
    epl_emit_line(e, "*iteration_%d = done_%d;", k, k);
    ok = ok && emit_block(e, body) && epl_emit_place(e, body, body->outputs[0], place);
    epl_emit_line(e, "*go_%d = *(const unsigned char *)%s;", k, place);
    for (int i = 0; ok && i < n_scans; i++) {
        const int result = body->outputs[1 + n_carried + i];
        ok = epl_emit_place(e, body, result, place) && epl_emit_place(e, b, s->out[n_carried + i], to);
        epl_emit_line(e, "memcpy((char *)%s + done_%d * %zu, %s, %zu);", to, k, body->buffers[result].bytes, place,
                      body->buffers[result].bytes);
    }
    for (int i = 0; ok && i < n_carried; i++)
        ok = emit_copy(e, b, s->out[i], body, body->outputs[1 + i], b->buffers[s->out[i]].bytes);
    e->indent--;
    epl_emit_line(e, "}");
    ok = ok && epl_emit_place(e, b, s->out[s->n_out - 1], place);
    epl_emit_line(e, "*(int64_t *)%s = done_%d;", place, k);
    return ok;
}

/* ---- blocks ---- */

static bool emit_step(epl_emitter *e, const epl_block *b, const epl_step *s)
{
    comment(e, s);
    switch (s->kind) {
    case EPL_STEP_KERNEL:    return emit_kernel(e, b, s);
    case EPL_STEP_REFERENCE: return epl_emit_reference(e, b, s);
    case EPL_STEP_COPY:      return emit_copy(e, b, s->out[0], b, s->in[0], b->buffers[s->out[0]].bytes);
    case EPL_STEP_BRANCH:    return emit_branch(e, b, s);
    case EPL_STEP_LOOP:      return emit_loop(e, b, s);
    }
    return false;
}

static bool emit_block(epl_emitter *e, const epl_block *b)
{
    for (size_t k = 0; k < b->n_steps; k++)
        if (!b->steps[k].once && !emit_step(e, b, &b->steps[k]))
            return false;
    return !e->body.failed;
}

bool epl_emit_plan(epl_emitter *e)
{
    const epl_block *b = e->p->root;
    e->indent = 1;
    if (!emit_block(e, b))
        return false;
    epl_text_add(&e->body, "\n");
    for (int i = 0; i < b->n_outputs; i++) {
        char place[96];
        if (!epl_emit_place(e, b, b->outputs[i], place))
            return false;
        if (e->outputs[i].bytes)
            epl_emit_line(e, "memcpy(out_%s, %s, %zu);", e->outputs[i].ident, place, e->outputs[i].bytes);
    }
    return !e->body.failed && !e->tables.failed && !e->chains.failed;
}
