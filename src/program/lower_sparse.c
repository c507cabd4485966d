/* lower_sparse: convolutions and linear layers whose weights are known and mostly zero, on the sparse kernel. The lists of
 * non-zeros are made once; the program has room for as many as there are when it is made. */
#include "program/lower.h"

const epl_buffer *epl_seen_buffer(const epl_block *b, int buffer)
{
    const epl_buffer *f = &b->buffers[buffer];
    return f->place == EPL_PLACE_PARENT ? epl_seen_buffer(b->parent, (int)f->offset) : f;
}

/* A weight that stays as it is: a parameter, state or constant of a graph without updates, of a frozen program. */
static const float *known_weight(const epl_block *b, int buffer)
{
    const epl_program *p = b->program;
    const epl_buffer  *f = epl_seen_buffer(b, buffer);
    if (!p->opts.sparse || !p->opts.frozen || (f->place != EPL_PLACE_TENSOR && f->place != EPL_PLACE_CONSTANT))
        return NULL;
    for (const epl_node *n = p->graph->first; n; n = n->next)
        if (EPL_IS(n, update))
            return NULL;
    return f->tensor->data;
}

static int64_t count_nonzeros(const float *w, int64_t count)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        n += w[i] != 0;
    return n;
}

/* A non-zero costs one multiply-add for a vector of pixels, about 3.3 times as long as one of the dense kernel's, which has no
 * lanes to waste on few pixels. */
static bool is_worth_it(const epl_conv_params *p, int64_t nnz, int64_t vector)
{
    const int64_t pixels = p->n * p->oh * p->ow, lanes = (pixels + vector - 1) / vector * vector;
    return 10.0 * (double)nnz * (double)lanes < 3.0 * (double)(p->kh * p->kw * p->c * p->m) * (double)pixels;
}

bool epl_lower_sparse(epl_block *b, const epl_node *n, const epl_conv_params *p, int x, int w, bool transposed, int bias, int y)
{
    const float  *data  = known_weight(b, w);
    const int64_t depth = p->kh * p->kw * p->c;
    if (!data || p->groups != 1 || p->kd != 1 || p->d != 1 || p->od != 1 || depth * p->m > INT32_MAX ||
        !epl_has_kernel(b, "sparse_conv"))
        return false;
    const int64_t nnz = count_nonzeros(data, depth * p->m);
    if (!is_worth_it(p, nnz, b->program->kernels->vector))
        return false;
    const epl_sparse_pack_params pack = { depth, p->m, nnz, transposed };
    const epl_sparse_conv_params conv = { p->n, p->h, p->w, p->c, p->oh, p->ow, p->m, p->kh, p->kw, p->sh, p->sw, p->dh, p->dw,
                                          p->ph, p->pw };
    const size_t room  = (size_t)(nnz ? nnz : 1) * 4;
    const int    value = epl_buffer_new(b, room), index = epl_buffer_new(b, room);
    const int    start = epl_buffer_new(b, (size_t)(p->m + 1) * 4);
    return epl_kernel_add(b, n, "sparse_pack", &pack, sizeof pack, 1, &w, 3, (int[]){ value, index, start }) &&
           epl_kernel_add(b, n, "sparse_conv", &conv, sizeof conv, 5, (int[]){ x, value, index, start, bias }, 1, &y);
}

static bool fits(const epl_block *b)
{
    for (size_t k = 0; k < b->n_steps; k++) {
        const epl_step *s = &b->steps[k];
        for (int r = 0; s->blocks && r < s->node->n_regions; r++)
            if (!fits(s->blocks[r]))
                return false;
        if (s->kind != EPL_STEP_KERNEL || strcmp(s->kernel->name, "sparse_pack") != 0)
            continue;
        const epl_sparse_pack_params *pack = s->params;
        const int64_t nnz = count_nonzeros(b->buffers[s->in[0]].data, pack->depth * pack->m);
        if (nnz > pack->nnz)
            return epl_fail(b->program->ctx, EPL_ERR_LIMIT, "%s %s has %lld weights that are not zero, the program was made for %lld: make it anew",
                            s->node->op->name, s->node->scope, (long long)nnz, (long long)pack->nnz);
    }
    return true;
}

/* Before weights that were changed from outside are packed anew. */
bool epl_sparse_weights_fit(const epl_program *p) { return fits(p->root); }
