/* run: the flat loop over steps. A step's pieces are handed out statically to threads; how the work is cut depends on
 * shapes alone, so results have the same bits for any number of threads. */
#include "program/lower.h"

#include <omp.h>

/* ---- pointers ---- */

static void *place_pointer(const epl_block *b, const epl_buffer *f)
{
    const epl_program *p = b->program;
    switch (f->place) {
    case EPL_PLACE_ARENA:    return b->arena + f->offset;
    case EPL_PLACE_ONCE:     return p->once + f->offset;
    case EPL_PLACE_SETUP:    return p->setup ? p->setup + f->offset : NULL;
    case EPL_PLACE_PARENT:   return b->parent->buffers[f->offset].data;
    case EPL_PLACE_TENSOR:
    case EPL_PLACE_CONSTANT: return f->tensor->data;
    case EPL_PLACE_INPUT:    break; // filled in below, where sizes add up
    }
    return NULL;
}

static void resolve_buffers(epl_block *b)
{
    char *input = b->program->input_data;
    for (size_t i = 0; i < b->n_buffers; i++) {
        epl_buffer *f = &b->buffers[i];
        if (f->same_as >= 0)
            continue;
        f->data = place_pointer(b, f);
        if (f->place == EPL_PLACE_INPUT) {
            f->data = input;
            input += EPL_ALIGN(f->bytes);
        }
    }
    for (size_t i = 0; i < b->n_buffers; i++) {
        size_t r = i;
        while (b->buffers[r].same_as >= 0)
            r = (size_t)b->buffers[r].same_as;
        b->buffers[i].data = b->buffers[r].data;
    }
}

static void *pointer(const epl_block *b, int i) { return i < 0 ? NULL : b->buffers[i].data; }

static void resolve_step(epl_block *b, epl_step *s)
{
    if (s->kind == EPL_STEP_KERNEL) {
        for (int i = 0; i < s->n_in; i++)
            s->call.in[i] = pointer(b, s->in[i]);
        for (int i = 0; i < s->n_out; i++)
            s->call.out[i] = pointer(b, s->out[i]);
        for (int i = 0; i < s->n_chain_in; i++)
            s->chain_data[i] = pointer(b, s->chain_in[i]);
        s->call.params   = s->params;
        s->call.chain    = s->chain;
        s->call.chain_in = s->chain_data;
    } else if (s->kind == EPL_STEP_REFERENCE) {
        epl_view *views = (epl_view *)(uintptr_t)s->ref.in;
        for (int i = 0; i < s->n_in; i++)
            views[i].data = pointer(b, s->in[i]);
        for (int i = 0; i < s->n_out; i++)
            views[s->n_in + i].data = pointer(b, s->out[i]);
    }
}

static void resolve_block(epl_block *b, char *arena)
{
    b->arena = arena;
    resolve_buffers(b);
    for (size_t k = 0; k < b->n_steps; k++) {
        epl_step *s = &b->steps[k];
        resolve_step(b, s);
        for (int r = 0; s->blocks && r < s->node->n_regions; r++)
            resolve_block(s->blocks[r], pointer(b, s->temp));
    }
}

void epl_resolve(epl_program *p) { resolve_block(p->root, p->arena); }

/* ---- steps ---- */

static void run_block(epl_program *p, epl_block *b, bool once);

static double clock_of(const epl_program *p) { return p->profile ? epl_now_s() : 0; }

/* Of a gated convolution's products: active inputs and outputs, as gate_pack has counted them. */
static double share_of(const epl_step *s)
{
    const epl_gated_params *p = s->params;
    const int32_t          *active = s->call.in[0];
    return (double)active[0] / (double)p->conv.c * (double)active[1] / (double)p->conv.m;
}

/* The kernel's time is that of the thread that takes longest: starting and joining threads is time between the steps. */
static void run_kernel(epl_program *p, epl_step *s)
{
    double took = 0;
    if (p->n_threads == 1 || !epl_worth_threads(s->pieces, s->work)) {
        const double start = clock_of(p);
        s->kernel->run(&s->call, 0, s->pieces, p->scratch);
        took = clock_of(p) - start;
    } else {
#pragma omp parallel num_threads(p->n_threads) reduction(max : took)
        {
            const double start = clock_of(p);
            const int64_t n = omp_get_num_threads(), t = omp_get_thread_num();
            char *scratch = p->scratch + (size_t)t * p->scratch_bytes;
            s->kernel->run(&s->call, s->pieces * t / n, s->pieces * (t + 1) / n, scratch);
            took = clock_of(p) - start;
        }
    }
    s->time_s += took;
    s->share += s->gated ? share_of(s) : 0;
}

static void copy_outputs(epl_block *b, const epl_step *s, const epl_block *inner)
{
    for (int i = 0; i < s->n_out; i++)
        memcpy(pointer(b, s->out[i]), pointer(inner, inner->outputs[i]), b->buffers[s->out[i]].bytes);
}

static void run_branch(epl_program *p, epl_block *b, const epl_step *s)
{
    const epl_value *selector = s->node->inputs[0];
    const epl_view   v = { .data = pointer(b, s->in[0]), .dtype = selector->dtype };
    const int64_t    x = epl_ref_get_i64(&v, 0), last = s->node->n_regions - 1;
    epl_block       *taken = s->blocks[EPL_IS(s->node, if) ? !x : x < 0 ? 0 : x > last ? last : x];
    taken->runs++;
    run_block(p, taken, false);
    copy_outputs(b, s, taken);
}

/* A scan's part of one iteration; threads share what is long. */
static void copy_scan(const epl_program *p, char *to, const char *from, size_t bytes)
{
    enum { WORTH_THREADS = 64 << 10 };
    if (p->n_threads == 1 || bytes < WORTH_THREADS) {
        memcpy(to, from, bytes);
        return;
    }
#pragma omp parallel num_threads(p->n_threads)
    {
        const size_t n = (size_t)omp_get_num_threads(), t = (size_t)omp_get_thread_num(), begin = bytes * t / n;
        memcpy(to + begin, from + begin, bytes * (t + 1) / n - begin);
    }
}

static void run_loop(epl_program *p, epl_block *b, const epl_step *s)
{
    epl_block    *body      = s->blocks[0];
    const int     n_carried = (int)epl_attr_i(s->node, "n_carried"), n_scans = body->n_outputs - 1 - n_carried;
    int64_t      *iteration = pointer(b, s->in[s->n_in - 2]);
    unsigned char *go       = pointer(b, s->in[s->n_in - 1]);
    const int64_t trip      = epl_attr_i(s->node, "trip");
    *go = s->in[0] < 0 || *(const unsigned char *)pointer(b, s->in[0]);
    for (int i = 0; i < n_carried; i++)
        memcpy(pointer(b, s->out[i]), pointer(b, s->in[1 + i]), b->buffers[s->out[i]].bytes);
    for (int i = 0; epl_loop_may_stop(s) && i < n_scans; i++)
        memset(pointer(b, s->out[n_carried + i]), 0, b->buffers[s->out[n_carried + i]].bytes);
    int64_t done = 0;
    for (; done < trip && *go; done++) {
        *iteration = done;
        body->runs++;
        run_block(p, body, false);
        *go = *(const unsigned char *)pointer(body, body->outputs[0]);
        for (int i = 0; i < n_scans; i++) {
            const int    result = body->outputs[1 + n_carried + i];
            const size_t bytes  = body->buffers[result].bytes;
            copy_scan(p, (char *)pointer(b, s->out[n_carried + i]) + (size_t)done * bytes, pointer(body, result), bytes);
        }
        for (int i = 0; i < n_carried; i++)
            memcpy(pointer(b, s->out[i]), pointer(body, body->outputs[1 + i]), b->buffers[s->out[i]].bytes);
    }
    *(int64_t *)pointer(b, s->out[s->n_out - 1]) = done;
}

static void run_step(epl_program *p, epl_block *b, epl_step *s)
{
    if (s->kind == EPL_STEP_KERNEL) {
        run_kernel(p, s);
        return;
    }
    const double start = clock_of(p);
    switch (s->kind) {
    case EPL_STEP_KERNEL:    break;
    case EPL_STEP_REFERENCE: s->node->op->ref(&s->ref); break;
    case EPL_STEP_COPY:      memcpy(pointer(b, s->out[0]), pointer(b, s->in[0]), b->buffers[s->out[0]].bytes); break;
    case EPL_STEP_BRANCH:    run_branch(p, b, s); break;
    case EPL_STEP_LOOP:      run_loop(p, b, s); break;
    }
    s->time_s += clock_of(p) - start;
}

static void run_block(epl_program *p, epl_block *b, bool once)
{
    for (size_t k = 0; k < b->n_steps; k++) {
        epl_step *s = &b->steps[k];
        for (int r = 0; once && s->blocks && r < s->node->n_regions; r++)
            run_block(p, s->blocks[r], true);
        if (s->once == once)
            run_step(p, b, s);
    }
}

static bool runnable(epl_program *p)
{
    return p->arena ? true : epl_fail(p->ctx, EPL_ERR_ARGUMENT, "a program made with plan_only cannot run");
}

bool epl_program_run(epl_program *p)
{
    if (!runnable(p))
        return false;
    const double start = clock_of(p);
    p->root->runs++;
    run_block(p, p->root, false);
    p->profile_s += clock_of(p) - start;
    return true;
}

/* What is computed once, with memory of its own behind the buffers that it alone needs. */
static void run_setup(epl_program *p)
{
    char        *scratch = p->scratch;
    const size_t bytes   = p->scratch_bytes;
    p->scratch       = p->setup + p->setup_bytes;
    p->scratch_bytes = p->setup_scratch_bytes;
    run_block(p, p->root, true);
    p->scratch       = scratch;
    p->scratch_bytes = bytes;
}

/* After weights that were changed from outside have been packed anew. */
static bool packed_weights_fit(const epl_block *b)
{
    bool fit = true;
    for (size_t k = 0; fit && k < b->n_steps; k++) {
        const epl_step *s = &b->steps[k];
        for (int r = 0; fit && s->blocks && r < s->node->n_regions; r++)
            fit = packed_weights_fit(s->blocks[r]);
        if (fit && s->kind == EPL_STEP_KERNEL && strcmp(s->kernel->name, "sparse_pack") == 0)
            fit = epl_sparse_lists_fit(s);
        if (fit && s->kind == EPL_STEP_KERNEL && strcmp(s->kernel->name, "shift_pack") == 0)
            fit = epl_shift_weights_fit(s);
        if (fit && s->kind == EPL_STEP_KERNEL && strcmp(s->kernel->name, "shift_add_pack") == 0)
            fit = epl_shift_add_weights_fit(s);
    }
    return fit;
}

bool epl_program_refresh(epl_program *p)
{
    if (!runnable(p))
        return false;
    char *own = p->memory_use.setup ? epl_alloc_aligned(p->ctx, p->memory_use.setup) : NULL;
    p->setup = own ? own : p->arena;
    if (p->memory_use.setup && !own)
        return false;
    epl_resolve(p);
    run_setup(p);
    epl_release_aligned(p->ctx, own);
    p->setup = NULL;
    return packed_weights_fit(p->root);
}

/* ---- profile ---- */

void epl_program_set_profile(epl_program *p, bool on)
{
    p->profile = on;
    for (size_t k = 0; on && k < p->root->n_steps; k++)
        p->root->steps[k].time_s = 0;
    if (on)
        p->profile_s = 0;
}

int    epl_program_n_steps(const epl_program *p) { return (int)p->root->n_steps; }
double epl_program_time_s(const epl_program *p) { return p->profile_s; }

static const char *step_name(const epl_step *s)
{
    static const char *const names[] = { "", "reference", "copy", "branch", "loop" };
    return s->kind == EPL_STEP_KERNEL ? s->kernel->name : names[s->kind];
}

static bool adds_parts(const epl_step *s) { return strcmp(step_name(s), "sum_parts") == 0; }

/* A node's work is that of its last step that does more than add parts: those before it only prepare, as packing does. */
static bool does_the_work(const epl_block *b, const epl_step *s)
{
    for (const epl_step *later = s + 1; later < b->steps + b->n_steps; later++)
        if (later->node == s->node && !adds_parts(later))
            return false;
    return !adds_parts(s);
}

epl_cost epl_step_cost(const epl_block *b, const epl_step *s) { return does_the_work(b, s) ? epl_node_cost(s->node) : (epl_cost){ 0 }; }

epl_step_profile epl_program_step(const epl_program *p, int i)
{
    const epl_step *s = &p->root->steps[i];
    return (epl_step_profile){ step_name(s), s->node->op->name, s->node->scope, s->time_s, epl_step_cost(p->root, s) };
}

static double results_of(const epl_integer_conv_params *p)
{
    return (double)(p->conv.n * p->conv.od * p->conv.oh) * (double)(p->conv.ow * p->conv.m);
}

/* An addition for each code of each result, and the tables: of a pixel and weight the shifts (of 3 bits 3) and as
 * many negatives as exponents; of a pair of 2 bits also the 16 sums. A result is multiplied once, by its scale. */
static epl_operations shift_add_operations(const epl_integer_conv_params *p)
{
    const double exponents = (double)((int64_t)1 << (p->bits - 1)), pixels = results_of(p) / (double)p->conv.m;
    const double weights = pixels * (double)(epl_shift_depth(&p->conv) * p->conv.groups), each = p->bits == 2 ? 2 : 1;
    const double units = pixels * (double)((epl_shift_depth(&p->conv) + (int64_t)each - 1) / (int64_t)each * p->conv.groups);
    return (epl_operations){ .multiplications = results_of(p),
                             .shifts = weights * (exponents - 1),
                             .integer_additions = units * (double)(p->conv.m / p->conv.groups) + weights * exponents +
                                                  (p->bits == 2 ? 16 * units : 0) };
}

epl_operations epl_program_step_operations(const epl_program *p, int i)
{
    const epl_step *s = &p->root->steps[i];
    const epl_cost  cost = s->once ? (epl_cost){ 0 } : epl_program_step(p, i).cost;
    epl_operations  o = { .multiplications = cost.macs, .float_additions = cost.macs, .others = cost.flops };
    if (s->kind == EPL_STEP_KERNEL && strcmp(s->kernel->name, "shift_conv") == 0) { // a multiplication by the scale for each result
        const epl_conv_params *c = s->params;
        o.integer_additions = o.multiplications;
        o.multiplications   = (double)(c->n * c->od * c->oh) * (double)(c->ow * c->m);
    }
    if (s->kind == EPL_STEP_KERNEL && !s->once && strcmp(s->kernel->name, "integer_conv") == 0)
        o = (epl_operations){ .multiplications = cost.macs + results_of(s->params), .integer_additions = cost.macs };
    if (s->kind == EPL_STEP_KERNEL && !s->once && strcmp(s->kernel->name, "shift_add") == 0)
        o = shift_add_operations(s->params);
    if (s->chain && !s->once) // of a fused node, whose other nodes the kernel runs on what it has computed
        o.others += (double)s->chain->n_steps * (double)(s->chain->rows * s->chain->columns);
    return o;
}

epl_operations epl_program_operations(const epl_program *p)
{
    epl_operations all = { 0 };
    for (int i = 0; i < epl_program_n_steps(p); i++) {
        const epl_operations o = epl_program_step_operations(p, i);
        all.multiplications += o.multiplications, all.float_additions += o.float_additions;
        all.integer_additions += o.integer_additions, all.shifts += o.shifts, all.others += o.others;
    }
    return all;
}

char *epl_program_print(const epl_program *p)
{
    epl_text t = EPL_TEXT(p->ctx);
    for (size_t k = 0; k < p->root->n_steps; k++) {
        const epl_step *s = &p->root->steps[k];
        char shape[192] = "";
        if (s->node->n_outputs)
            epl_shape_text(shape, s->node->outputs[0]->shape);
        epl_text_addf(&t, "%4zu  %-14s %-20s %-22s %s%s%s%s%s\n", k, step_name(s), s->node->op->name, shape, s->node->scope,
                      s->once ? "  [once]" : "", s->chain ? "  +chain" : "", s->declined ? "  - " : "",
                      s->declined ? s->declined : "");
    }
    return epl_text_detach(&t);
}
