/* The yardstick of bench_dnnl.h: oneDNN's C API of version 2, its functions found in the loaded library by name. */
#include "bench/bench_dnnl.h"

#if EPL_HAVE_DNNL

#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTIONS(F)                                                                                                   \
    F(engine_create) F(engine_destroy) F(stream_create) F(stream_wait) F(stream_destroy) F(memory_desc_init_by_tag)    \
    F(memory_desc_get_size) F(memory_create) F(memory_get_data_handle) F(memory_destroy)                               \
    F(convolution_forward_desc_init) F(convolution_backward_data_desc_init) F(convolution_backward_weights_desc_init)  \
    F(primitive_desc_create) F(primitive_desc_query_md) F(primitive_desc_destroy) F(primitive_create)                  \
    F(primitive_execute) F(primitive_destroy)

struct epl_dnnl {
    void         *library;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
#define MEMBER(name) __typeof__(&dnnl_##name) name;
    FUNCTIONS(MEMBER)
};

struct epl_dnnl_conv {
    epl_dnnl        *d;
    dnnl_primitive_t primitive;
    dnnl_memory_t    memory[3]; /* x, weights, y */
    dnnl_exec_arg_t  args[3];
};

epl_dnnl *epl_dnnl_open(void)
{
    epl_dnnl *d = calloc(1, sizeof *d);
    bool found = d != NULL;
    if (d)
        d->library = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
    found = found && d->library;
#define LOOK_UP(name)                                             \
    if (found) {                                                  \
        void *symbol = dlsym(d->library, "dnnl_" #name);          \
        memcpy(&d->name, &symbol, sizeof symbol);                 \
        found = symbol != NULL;                                   \
    }
    FUNCTIONS(LOOK_UP)
    if (!found || d->engine_create(&d->engine, dnnl_cpu, 0) != dnnl_success ||
        d->stream_create(&d->stream, d->engine, dnnl_stream_default_flags) != dnnl_success) {
        free(d);
        return NULL;
    }
    return d;
}

void epl_dnnl_close(epl_dnnl *d)
{
    if (!d)
        return;
    d->stream_destroy(d->stream);
    d->engine_destroy(d->engine);
    free(d); // the library stays loaded: its threads may still be about
}

static bool make_primitive(epl_dnnl_conv *c, const epl_conv_params *p, epl_bench_pass pass, dnnl_memory_desc_t md[3])
{
    epl_dnnl *d = c->d;
    const dnnl_dims_t strides = { p->sh, p->sw }, before = { p->ph, p->pw };
    const dnnl_dims_t after = { (p->oh - 1) * p->sh + p->kh - p->h - p->ph, (p->ow - 1) * p->sw + p->kw - p->w - p->pw };
    const dnnl_dims_t x = { p->n, p->c, p->h, p->w }, w = { p->m, p->c, p->kh, p->kw }, y = { p->n, p->m, p->oh, p->ow };
    const dnnl_dims_t wg = { p->groups, p->m / p->groups, p->c / p->groups, p->kh, p->kw };
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t forward = NULL, own = NULL;
    d->memory_desc_init_by_tag(&md[0], 4, x, dnnl_f32, dnnl_nhwc);
    d->memory_desc_init_by_tag(&md[1], p->groups > 1 ? 5 : 4, p->groups > 1 ? wg : w, dnnl_f32, dnnl_format_tag_any);
    d->memory_desc_init_by_tag(&md[2], 4, y, dnnl_f32, dnnl_nhwc);
    d->convolution_forward_desc_init(&desc, dnnl_forward_training, dnnl_convolution_direct, &md[0], &md[1], NULL, &md[2],
                                     strides, before, after);
    if (d->primitive_desc_create(&forward, &desc, NULL, d->engine, NULL) != dnnl_success)
        return false;
    if (pass == EPL_BENCH_INPUT_GRADIENT) {
        d->convolution_backward_data_desc_init(&desc, dnnl_convolution_direct, &md[0], &md[1], &md[2], strides, before, after);
        d->primitive_desc_create(&own, &desc, NULL, d->engine, forward);
    } else if (pass == EPL_BENCH_WEIGHT_GRADIENT) {
        d->convolution_backward_weights_desc_init(&desc, dnnl_convolution_direct, &md[0], &md[1], NULL, &md[2], strides,
                                                  before, after);
        d->primitive_desc_create(&own, &desc, NULL, d->engine, forward);
    }
    dnnl_primitive_desc_t used = pass == EPL_BENCH_FORWARD ? forward : own;
    bool ok = used && d->primitive_create(&c->primitive, used) == dnnl_success;
    if (ok)
        md[1] = *d->primitive_desc_query_md(
            used, pass == EPL_BENCH_WEIGHT_GRADIENT ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    if (own)
        d->primitive_desc_destroy(own);
    d->primitive_desc_destroy(forward);
    return ok;
}

epl_dnnl_conv *epl_dnnl_conv_new(epl_dnnl *d, const epl_conv_params *p, epl_bench_pass pass, float *x, float *y)
{
    dnnl_memory_desc_t md[3];
    epl_dnnl_conv *c = d ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return NULL;
    c->d = d;
    if (!make_primitive(c, p, pass, md) || d->memory_create(&c->memory[0], &md[0], d->engine, x) != dnnl_success ||
        d->memory_create(&c->memory[1], &md[1], d->engine, DNNL_MEMORY_ALLOCATE) != dnnl_success ||
        d->memory_create(&c->memory[2], &md[2], d->engine, y) != dnnl_success) {
        epl_dnnl_conv_free(c);
        return NULL;
    }
    void *weights = NULL;
    d->memory_get_data_handle(c->memory[1], &weights);
    for (size_t i = 0; i < d->memory_desc_get_size(&md[1]) / sizeof(float); i++)
        ((float *)weights)[i] = 0.01f;
    static const int args[3][3] = { { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST },
                                    { DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST },
                                    { DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST } };
    for (int i = 0; i < 3; i++)
        c->args[i] = (dnnl_exec_arg_t){ args[pass][i], c->memory[i] };
    return c;
}

void epl_dnnl_conv_run(epl_dnnl_conv *c)
{
    c->d->primitive_execute(c->primitive, c->d->stream, 3, c->args);
    c->d->stream_wait(c->d->stream);
}

void epl_dnnl_conv_free(epl_dnnl_conv *c)
{
    if (!c)
        return;
    for (int i = 0; i < 3; i++)
        if (c->memory[i])
            c->d->memory_destroy(c->memory[i]);
    if (c->primitive)
        c->d->primitive_destroy(c->primitive);
    free(c);
}

#else

#include <stddef.h>

epl_dnnl *epl_dnnl_open(void)
{
    return NULL;
}

void epl_dnnl_close(epl_dnnl *d)
{
    (void)d;
}

epl_dnnl_conv *epl_dnnl_conv_new(epl_dnnl *d, const epl_conv_params *p, epl_bench_pass pass, float *x, float *y)
{
    (void)d, (void)p, (void)pass, (void)x, (void)y;
    return NULL;
}

void epl_dnnl_conv_run(epl_dnnl_conv *c)
{
    (void)c;
}

void epl_dnnl_conv_free(epl_dnnl_conv *c)
{
    (void)c;
}

#endif
