/* lower_chain: element-wise operators, alone or fused, as chains (kernel.h); fused behind a convolution or matrix product
 * they run on each piece that has just been computed. */
#include "program/lower.h"

#include "kernels/chain.h"
#include "kernels/code.h"
#include "ops/elementwise.h"

/* How `s` is read for a result of shape `full`: seen as [rows, columns] of its last axis. */
static void describe_input(epl_chain *c, int64_t i, const epl_value *v, epl_shape full)
{
    const epl_shape s     = v->shape;
    const int64_t   count = epl_shape_count(s), last = s.rank ? s.dim[s.rank - 1] : 1;
    const int64_t   images = full.rank > 2 ? full.dim[0] : 0;
    c->in_dtype[i] = v->dtype;
    c->in_kind[i]  = EPL_CHAIN_STRIDED;
    if (count == c->rows * c->columns)
        c->in_kind[i] = EPL_CHAIN_FULL;
    else if (count == 1)
        c->in_kind[i] = EPL_CHAIN_SCALAR;
    else if (count == c->columns && last == c->columns)
        c->in_kind[i] = EPL_CHAIN_ROW;
    else if (count == c->rows && last == 1)
        c->in_kind[i] = EPL_CHAIN_COLUMN;
    else if (s.rank == full.rank && s.dim[0] == images && last == c->columns && count == images * c->columns)
        c->in_kind[i] = EPL_CHAIN_IMAGE;
    int64_t stride = 1;
    for (int axis = full.rank - 1; axis >= 0; axis--) {
        const int     from = axis - (full.rank - s.rank);
        const int64_t d    = from >= 0 ? s.dim[from] : 1;
        c->in_stride[i][axis] = d == 1 ? 0 : stride;
        stride *= d;
    }
}

static epl_chain chain_for(epl_shape full)
{
    epl_chain c = { .columns = full.rank ? full.dim[full.rank - 1] : 1 };
    const int64_t count = epl_shape_count(full);
    c.rows           = c.columns ? count / c.columns : 0;
    c.rows_per_image = full.rank > 2 && full.dim[0] ? c.rows / full.dim[0] : c.rows;
    c.n_outer        = full.rank ? full.rank - 1 : 0;
    for (int i = 0; i < full.rank - 1; i++)
        c.outer[i] = full.dim[i];
    return c;
}

/* One step; registers of the node's inputs are in their marks (register + 1). */
static bool add_step(epl_chain *c, const epl_node *n)
{
    const epl_row *row = &epl_rows[epl_elementwise_row(n->op)];
    if (c->n_steps == EPL_CHAIN_MAX_STEPS)
        return false;
    c->op[c->n_steps] = row - epl_rows;
    for (int i = 0; i < n->n_inputs; i++)
        c->arg[c->n_steps][i] = n->inputs[i]->tag;
    for (int i = 0; i < row->n_attrs; i++)
        c->attr[c->n_steps][i] = n->attrs[i].r;
    c->n_steps++;
    return true;
}

static unsigned full_inputs(const epl_chain *c)
{
    unsigned mask = 0;
    for (int64_t i = 0; i < c->n_in; i++)
        if (c->in_kind[i] == EPL_CHAIN_FULL)
            mask |= 1u << i;
    return mask;
}

static bool takes(const epl_value *v, const char **why)
{
    if (v->dtype != EPL_F64)
        return true;
    *why = "element-wise kernels compute in f32 or in integers";
    return false;
}

bool epl_lower_elementwise(epl_block *b, const epl_node *n, const char **why)
{
    epl_chain c = chain_for(n->outputs[0]->shape);
    int       in[3];
    if (!takes(n->outputs[0], why))
        return false;
    for (int i = 0; i < n->n_inputs; i++) {
        if (!takes(n->inputs[i], why))
            return false;
        describe_input(&c, i, n->inputs[i], n->outputs[0]->shape);
        in[i] = epl_buffer_of(b, n->inputs[i]);
        c.arg[0][i] = i;
    }
    const epl_row *row = &epl_rows[epl_elementwise_row(n->op)];
    for (int i = 0; i < row->n_attrs; i++)
        c.attr[0][i] = n->attrs[i].r;
    c.n_in         = n->n_inputs;
    c.n_steps      = c.n_out = 1;
    c.op[0]        = row - epl_rows;
    c.out[0]       = c.n_in;
    c.out_dtype[0] = n->outputs[0]->dtype;
    const int out  = epl_buffer_of(b, n->outputs[0]);
    epl_step *s    = epl_kernel_add(b, n, "chain", &c, sizeof c, n->n_inputs, in, 1, &out);
    if (s)
        s->in_place = full_inputs(&c);
    return s != NULL;
}

/* ---- fused nodes ---- */

static epl_node *anchor_of(const epl_graph *body)
{
    for (epl_node *n = body->first; n; n = n->next)
        if (!(n->op->flags & (EPL_OP_SOURCE | EPL_OP_SINK | EPL_OP_ELEMENTWISE)))
            return n;
    return NULL;
}

/* Fills the chain of the region's element-wise nodes. Registers: the `n_first` values that are computed before it,
 * then constants and inputs as they are met, then results. The values' tags hold registers meanwhile. Inputs'
 * buffers go to `in`, -1 for the first. */
static bool fill_chain(epl_block *b, epl_chain *c, const epl_node *fused, int n_first, const epl_value *const *first, int *in)
{
    const epl_graph *body = fused->regions[0];
    const epl_shape  full = first ? first[0]->shape : fused->outputs[0]->shape;
    const epl_value *sources[EPL_CHAIN_MAX_IN];
    for (int i = 0; i < n_first; i++)
        sources[c->n_in++] = first[i];
    for (const epl_node *n = body->first; n; n = n->next)
        for (int i = 0; (n->op->flags & EPL_OP_ELEMENTWISE) && i < n->n_inputs; i++) {
            const epl_value *v = n->inputs[i];
            bool known = !(v->producer->op->flags & EPL_OP_SOURCE);
            for (int64_t k = 0; k < c->n_in && !known; k++)
                known = sources[k] == v;
            if (!known && c->n_in == EPL_CHAIN_MAX_IN)
                return false;
            if (!known)
                sources[c->n_in++] = v;
        }
    for (int64_t k = 0; k < c->n_in; k++) {
        describe_input(c, k, sources[k], full);
        in[k] = k < n_first ? -1 : epl_buffer_of(b, sources[k]);
    }
    for (int64_t k = 0; k < c->n_in; k++)
        ((epl_value *)(uintptr_t)sources[k])->tag = k;
    for (const epl_node *n = body->first; n; n = n->next)
        if (n->op->flags & EPL_OP_ELEMENTWISE) {
            if (!add_step(c, n))
                return false;
            n->outputs[0]->tag = c->n_in + c->n_steps - 1;
        }
    return true;
}

static bool add_result(epl_chain *c, const epl_value *v)
{
    if (c->n_out == EPL_CHAIN_MAX_OUT)
        return false;
    c->out[c->n_out]       = v->tag;
    c->out_dtype[c->n_out] = v->dtype;
    c->n_out++;
    return true;
}

static bool too_long(epl_block *b, const epl_chain *c)
{
    b->program->failed = !epl_fail(b->program->ctx, EPL_ERR_LIMIT, "a fused chain of %lld steps and %lld inputs",
                                   (long long)c->n_steps, (long long)c->n_in);
    return false;
}

static void bind_region(epl_block *b, const epl_node *fused)
{
    const epl_graph *body = fused->regions[0];
    for (epl_node *n = body->first; n; n = n->next)
        for (int i = 0; i < n->n_outputs; i++)
            n->outputs[i]->tag = 0;
    for (int i = 0; i < fused->n_inputs; i++)
        epl_graph_input_at(body, i)->tag = epl_buffer_of(b, fused->inputs[i]) + 1;
    for (epl_node *n = body->first; n; n = n->next)
        if (EPL_IS(n, constant))
            epl_block_bind_constant(b, n);
}

/* ---- codes before and behind the chain ---- */

/* The table that code_pack makes of a map: once for all that read the same one. */
int epl_code_table_of(epl_block *b, const epl_node *n, const epl_value *map, bool keep_nonzero)
{
    const epl_code_params p = { .keep_nonzero = keep_nonzero };
    const int in = epl_buffer_of(b, map);
    for (size_t i = 0; i < b->n_steps; i++) {
        const epl_step *s = &b->steps[i];
        if (s->kind == EPL_STEP_KERNEL && strcmp(s->kernel->name, "code_pack") == 0 && s->in[0] == in &&
            memcmp(s->params, &p, sizeof p) == 0)
            return s->out[0];
    }
    const int out = epl_buffer_new(b, sizeof(epl_code_table));
    return epl_kernel_add(b, n, "code_pack", &p, sizeof p, 1, &in, 1, &out) ? out : -1;
}

static bool takes_place(const epl_node *fused, const epl_value *codes, const epl_node *decode)
{
    for (size_t u = 0; u < codes->n_uses; u++) {
        const epl_node *n = codes->uses[u].node;
        for (int i = 0; i < fused->n_inputs && EPL_IS(n, update); i++)
            if (n->inputs[0] == fused->inputs[i] && epl_graph_input_at(fused->regions[0], i) == decode->inputs[0])
                return true;
    }
    return false;
}

/* The nodes that decode; what the q-th coded result takes the place of comes q-th, so that it is computed there, too. */
static int find_decoded(const epl_node *fused, int n_coded, const epl_node **decoded)
{
    int n_decoded = 0;
    for (const epl_node *n = fused->regions[0]->first; n; n = n->next)
        if (EPL_IS(n, dequantize_blockwise))
            decoded[n_decoded++] = n;
    for (int q = 0; q < n_coded; q++)
        for (int i = q + 1; i < n_decoded; i++)
            if (takes_place(fused, fused->outputs[fused->n_outputs - 2 * (n_coded - q)], decoded[i])) {
                const epl_node *other = decoded[q];
                decoded[q] = decoded[i];
                decoded[i] = other;
            }
    return n_decoded;
}

/* A region of decoded blocks, a chain, and blocks that are coded (fuse_codes) is one step. */
static bool lower_coded(epl_block *b, const epl_node *fused)
{
    const epl_graph *body = fused->regions[0];
    const epl_node  *decode[EPL_CHAIN_MAX_IN];
    const epl_value *decoded[EPL_CHAIN_MAX_IN];
    epl_code_params  p = { 0 };
    int in[EPL_CALL_INPUTS], chain_in[EPL_CHAIN_MAX_IN], out[EPL_CALL_OUTPUTS], n_in = 0, n_out = 0;
    bind_region(b, fused);
    for (const epl_node *n = body->first; n; n = n->next)
        p.n_coded += EPL_IS(n, quantize_blockwise);
    p.n_decoded = find_decoded(fused, (int)p.n_coded, decode);
    p.block     = epl_attr_i(decode[0], "block");
    for (int i = 0; i < p.n_decoded; i++) {
        decoded[i] = decode[i]->outputs[0];
        for (int k = 0; k < 3; k++)
            in[n_in++] = epl_buffer_of(b, decode[i]->inputs[k]);
    }
    for (const epl_node *n = body->first; n; n = n->next)
        if (EPL_IS(n, quantize_blockwise))
            in[n_in++] = epl_code_table_of(b, fused, n->inputs[1], epl_attr_i(n, "keep_nonzero"));
    p.count = epl_shape_count(decoded[0]->shape);
    epl_chain c = chain_for(decoded[0]->shape);
    if (!fill_chain(b, &c, fused, (int)p.n_decoded, decoded, chain_in))
        return too_long(b, &c);
    c.rows    = 1;
    c.columns = p.count;
    for (const epl_node *n = body->first; n; n = n->next) // the results that are coded first, as fuse_codes puts them last
        if (EPL_IS(n, quantize_blockwise) && !add_result(&c, n->inputs[0]))
            return too_long(b, &c);
    const int n_plain = fused->n_outputs - 2 * (int)p.n_coded;
    for (int i = 0; i < fused->n_outputs; i++)
        out[n_out++] = epl_buffer_of(b, fused->outputs[(i + n_plain) % fused->n_outputs]);
    for (int i = 0; i < n_plain; i++)
        if (!add_result(&c, epl_graph_output_at(body, i)))
            return too_long(b, &c);
    for (int64_t i = p.n_decoded; i < c.n_in; i++)
        if (c.in_kind[i] == EPL_CHAIN_SCALAR)
            p.scalars |= (int64_t)1 << i;
    p.n_chain_in  = c.n_in;
    p.n_chain_out = c.n_out;
    epl_step *s = epl_kernel_add(b, fused, "coded_chain", &p, sizeof p, n_in, in, n_out, out);
    if (!s || !epl_step_set_chain(b, s, &c, (int)c.n_in - 1, chain_in + 1, n_out, out))
        return false;
    s->in_place       = (1u << 3 * p.n_decoded) - 1;
    s->chain_in_place = full_inputs(&c) >> 1;
    return true;
}

static bool is_coded(const epl_node *fused)
{
    for (const epl_node *n = fused->regions[0]->first; n; n = n->next)
        if (EPL_IS(n, dequantize_blockwise))
            return true;
    return false;
}

/* A fused node is one step: the anchor's last one with the chain behind it, or the chain alone. An anchor without a fast
 * kernel for its case runs by itself, and the chain reads its result. */
bool epl_lower_fused(epl_block *b, const epl_node *fused, const char **why)
{
    if (is_coded(fused))
        return lower_coded(b, fused);
    const epl_node *anchor = anchor_of(fused->regions[0]);
    epl_chain       c      = chain_for(fused->outputs[0]->shape);
    int             in[EPL_CHAIN_MAX_IN], out[EPL_CHAIN_MAX_OUT];
    for (int i = 0; i < fused->n_outputs; i++)
        out[i] = epl_buffer_of(b, fused->outputs[i]);
    bind_region(b, fused);
    bool behind = false; // the anchor
    if (anchor) {
        anchor->outputs[0]->tag = out[0] + 1;
        epl_lower_fn *lower = epl_lower_of(anchor->op);
        behind = lower && lower(b, anchor, why);
        if (!behind)
            anchor->outputs[0]->tag = 0;
        if (!behind && !epl_lower_reference(b, anchor, *why))
            return false;
    }
    const int raw = anchor ? epl_buffer_of(b, anchor->outputs[0]) : -1;
    if (!fill_chain(b, &c, fused, anchor != NULL, anchor ? (const epl_value *const[]){ anchor->outputs[0] } : NULL, in))
        return too_long(b, &c);
    for (int i = 0; i < fused->n_outputs; i++)
        if (!add_result(&c, epl_graph_output_at(fused->regions[0], i)))
            return too_long(b, &c);
    if (behind)
        return epl_step_set_chain(b, &b->steps[b->n_steps - 1], &c, (int)c.n_in - 1, in + 1, fused->n_outputs, out);
    if (anchor)
        in[0] = raw;
    epl_step *s = epl_kernel_add(b, fused, "chain", &c, sizeof c, (int)c.n_in, in, (int)c.n_out, out);
    if (s)
        s->in_place = full_inputs(&c);
    return s != NULL;
}
