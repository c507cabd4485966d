/* loader: batches prepared ahead. A ring of slots; batch g (counted over all epochs) goes to slot g mod ring. Workers claim the
 * next batch under the lock, which fixes its sample indices, and make it outside of the lock; the consumer takes slots in
 * order. Who makes a batch, and when, changes nothing in it. */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "data/augment.h"
#include "data/sampler.h"
#include "data/source.h"

typedef enum slot_state { SLOT_FREE, SLOT_BUSY, SLOT_READY, SLOT_FAILED } slot_state;

typedef struct slot {
    slot_state  state;
    uint64_t    generation; /* of the claim; a seek since then makes the result worthless */
    int64_t     epoch, step, n_valid;
    epl_tensor *x, *labels, *soft, *weights;
    int64_t    *indices;
    epl_error   error;
    char        message[512];
} slot;

/* What one thread needs to make batches. */
typedef struct worker {
    epl_loader  *loader;
    epl_context *ctx;
    pthread_t    thread;
    bool         started;
    void        *raw;     /* a sample as the source has it */
    float       *sample;  /* a sample before augmentation */
    int64_t     *classes; /* its class per pixel */
    void        *scratch; /* the augmentation's */
    float       *mixed;   /* a batch, for mixup */
} worker;

struct epl_loader {
    epl_context     *ctx;
    epl_dataset     *data;
    epl_augment     *augment;
    epl_loader_opts  o;
    epl_class_index *index;                /* of a sampler, else NULL */
    int64_t          length, steps;        /* of an epoch: samples, batches */
    int              n_slots, n_workers;
    slot            *slots;
    worker          *workers; /* at least one: without threads the consumer uses it */

    pthread_mutex_t  lock;
    pthread_cond_t   wake_worker, wake_consumer;
    bool             stopping;
    uint64_t         generation;
    int64_t          next_claim, next_out; /* epoch * steps + step */
    slot            *held;                 /* what the consumer looks at */
    int64_t          order_epoch;          /* of `order`; -1: none yet */
    int64_t         *order;
    double           wait_s;
};

/* Has every pixel its class? Then what moves pixels moves these too. */
static bool has_mask(const epl_source *s)
{
    return s->y_dtype == EPL_I64 && s->y_shape.rank == 2 && s->x_shape.rank == 3;
}

/* ---- making one batch ---- */

static void set_order(epl_loader *l, int64_t epoch)
{
    if (l->order_epoch == epoch)
        return;
    epl_rng r = epl_rng_at(epl_data_seed(l->o.seed, "shuffle", epoch, 0), 0);
    if (l->index) {
        epl_sampler_order(l->index, l->o.sampler, l->o.batch, &r, l->order, l->length);
    } else {
        for (int64_t i = 0; i < l->length; i++)
            l->order[i] = i;
        if (l->o.shuffle)
            epl_rng_shuffle(&r, l->order, (size_t)l->length);
    }
    l->order_epoch = epoch;
}

/* Fixes what batch g is. Under the lock, since the order is shared. */
static void describe_batch(epl_loader *l, int64_t g, slot *s)
{
    const int64_t n = l->length;
    s->epoch = g / l->steps;
    s->step  = g % l->steps;
    set_order(l, s->epoch);
    const int64_t first = s->step * l->o.batch, left = n - first;
    s->n_valid = left < l->o.batch ? left : l->o.batch;
    for (int64_t i = 0; i < l->o.batch; i++) // a short last batch is filled up from the epoch's beginning
        s->indices[i] = l->order[(first + i) % n];
}

static size_t bytes_of_one(const epl_tensor *t)
{
    return epl_tensor_bytes(t) / (size_t)t->shape.dim[0];
}

static bool make_sample(worker *w, slot *s, int64_t i)
{
    epl_loader       *l      = w->loader;
    const epl_source *source = l->data->source;
    const int64_t     at     = epl_dataset_index(l->data, s->indices[i]);
    void             *x = (char *)s->x->data + (size_t)i * bytes_of_one(s->x);
    void             *y = (char *)s->labels->data + (size_t)i * bytes_of_one(s->labels);
    if (!l->augment || l->augment->n_words == 0) {
        epl_source_fetch_y(source, at, y);
        return epl_source_fetch_batch_x(source, w->ctx, at, x, w->raw);
    }
    if (!epl_source_fetch_batch_x(source, w->ctx, at, w->sample, w->raw))
        return false;
    epl_source_fetch_y(source, at, w->classes ? (void *)w->classes : y);
    const epl_draw draw = { .seed = l->o.seed, .epoch = s->epoch, .position = s->step * l->o.batch + i };
    epl_augment_sample(l->augment, draw, w->sample, w->classes, x, y, w->scratch);
    return true;
}

static void mix_batch(worker *w, slot *s)
{
    epl_loader    *l       = w->loader;
    const int      classes = l->data->source->n_classes;
    const int64_t *labels  = s->labels->data;
    float         *soft    = s->soft->data;
    epl_augment_batch(l->augment, (epl_draw){ .seed = l->o.seed, .epoch = s->epoch, .position = s->step }, s->x->data, labels,
                      s->n_valid, classes, soft, w->mixed);
    for (int64_t i = s->n_valid; i < l->o.batch; i++)
        for (int c = 0; c < classes; c++)
            soft[i * classes + c] = labels[i] == c;
}

/* Fills the slot; true, or false with the reason in the worker's context. */
static bool make_batch(worker *w, slot *s)
{
    const int64_t batch = w->loader->o.batch;
    for (int64_t i = 0; i < batch; i++)
        if (!make_sample(w, s, i))
            return false;
    float *weights = s->weights->data;
    for (int64_t i = 0; i < batch; i++)
        weights[i] = i < s->n_valid;
    if (s->soft)
        mix_batch(w, s);
    return true;
}

static void keep_result(worker *w, slot *s, bool ok)
{
    s->state = ok ? SLOT_READY : SLOT_FAILED;
    if (ok)
        return;
    s->error = epl_error_code(w->ctx);
    snprintf(s->message, sizeof s->message, "%s", epl_error_message(w->ctx));
    epl_error_clear(w->ctx);
}

/* ---- threads ---- */

static bool is_end(const epl_loader *l, int64_t g)
{
    return l->o.n_epochs > 0 && g / l->steps >= l->o.n_epochs;
}

static slot *slot_of(epl_loader *l, int64_t g)
{
    return &l->slots[g % l->n_slots];
}

static bool can_claim(epl_loader *l)
{
    return !is_end(l, l->next_claim) && slot_of(l, l->next_claim)->state == SLOT_FREE &&
           l->next_claim < l->next_out + l->n_slots;
}

static slot *claim(epl_loader *l)
{
    slot *s       = slot_of(l, l->next_claim);
    s->state      = SLOT_BUSY;
    s->generation = l->generation;
    describe_batch(l, l->next_claim++, s);
    return s;
}

static void *work(void *argument)
{
    worker     *w = argument;
    epl_loader *l = w->loader;
    pthread_mutex_lock(&l->lock);
    while (!l->stopping) {
        if (!can_claim(l)) {
            pthread_cond_wait(&l->wake_worker, &l->lock);
            continue;
        }
        slot *s = claim(l);
        pthread_mutex_unlock(&l->lock);
        const bool ok = make_batch(w, s);
        pthread_mutex_lock(&l->lock);
        keep_result(w, s, ok);
        if (s->generation != l->generation) {
            s->state = SLOT_FREE;
            pthread_cond_broadcast(&l->wake_worker);
        }
        pthread_cond_signal(&l->wake_consumer);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static bool start_threads(epl_loader *l)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); // signals are the caller's business: workers inherit this mask
    bool ok = true;
    for (int i = 0; ok && i < l->n_workers; i++) {
        ok = pthread_create(&l->workers[i].thread, NULL, work, &l->workers[i]) == 0;
        l->workers[i].started = ok;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ok || epl_fail(l->ctx, EPL_ERR_MEMORY, "loader: cannot start %d threads", l->n_workers);
}

static void stop_threads(epl_loader *l)
{
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_cond_broadcast(&l->wake_worker);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_workers; i++)
        if (l->workers[i].started)
            pthread_join(l->workers[i].thread, NULL);
}

/* ---- building and taking down ---- */

static epl_shape stacked(int64_t n, epl_shape sample)
{
    epl_shape s = { .rank = sample.rank + 1, .dim = { n } };
    memcpy(s.dim + 1, sample.dim, (size_t)sample.rank * sizeof *sample.dim);
    return s;
}

epl_shape epl_loader_x_shape(const epl_loader *l)
{
    return stacked(l->o.batch, l->augment ? l->augment->out : l->data->source->x_shape);
}

static epl_shape y_shape(const epl_loader *l)
{
    epl_shape s = stacked(l->o.batch, l->data->source->y_shape);
    if (l->augment && has_mask(l->data->source)) {
        s.dim[1] = l->augment->out.dim[0];
        s.dim[2] = l->augment->out.dim[1];
    }
    return s;
}

static bool init_slot(epl_loader *l, slot *s)
{
    const epl_source *source = l->data->source;
    const int64_t     n      = l->o.batch;
    const bool        soft   = l->augment && epl_augment_mixes(l->augment);
    s->x       = epl_tensor_new(l->ctx, source->x_dtype == EPL_I64 ? EPL_I64 : EPL_F32, epl_loader_x_shape(l));
    s->labels  = s->x ? epl_tensor_new(l->ctx, source->y_dtype, y_shape(l)) : NULL;
    s->weights = s->labels ? epl_tensor_new(l->ctx, EPL_F32, EPL_SHAPE(n)) : NULL;
    s->soft    = s->weights && soft ? epl_tensor_new(l->ctx, EPL_F32, EPL_SHAPE(n, source->n_classes)) : NULL;
    s->indices = s->weights ? epl_alloc_array(l->ctx, (size_t)n, sizeof *s->indices) : NULL;
    return s->indices && (s->soft || !soft);
}

static bool init_worker(epl_loader *l, worker *w)
{
    const epl_source *source  = l->data->source;
    const size_t      size    = (size_t)epl_shape_count(source->x_shape);
    w->loader = l;
    w->ctx    = epl_context_new((epl_context_opts){ .n_threads = 1 });
    if (!w->ctx)
        return epl_fail(l->ctx, EPL_ERR_MEMORY, "loader: no memory for a worker");
    w->raw = epl_alloc_array(l->ctx, size, sizeof(int64_t));
    if (!l->augment || !w->raw)
        return w->raw != NULL;
    w->sample  = epl_alloc_array(l->ctx, size, sizeof *w->sample);
    w->scratch = epl_alloc_aligned(l->ctx, epl_augment_scratch_bytes(l->augment) + 1);
    if (has_mask(source))
        w->classes = epl_alloc_array(l->ctx, (size_t)epl_shape_count(source->y_shape), sizeof *w->classes);
    if (epl_augment_mixes(l->augment))
        w->mixed = epl_alloc_array(l->ctx, (size_t)epl_shape_count(epl_loader_x_shape(l)), sizeof *w->mixed);
    return w->sample && w->scratch && (w->classes || !has_mask(source)) &&
           (w->mixed || !epl_augment_mixes(l->augment));
}

static bool read_augment(epl_loader *l)
{
    const epl_source *s = l->data->source;
    if (!l->o.augment || !*l->o.augment)
        return true;
    if (s->x_dtype == EPL_I64)
        return epl_fail(l->ctx, EPL_ERR_DTYPE, "loader: augmentation '%s' of tokens, '%s' has i64 samples", l->o.augment,
                        s->name);
    l->augment = epl_augment_parse(l->ctx, l->o.augment, s->x_shape);
    if (!l->augment)
        return false;
    const bool one_class = s->n_classes > 0 && s->y_shape.rank == 0;
    if (epl_augment_mixes(l->augment) && !one_class)
        return epl_fail(l->ctx, EPL_ERR_SHAPE, "loader: mixup and cutmix need one class per sample, which '%s' has not", s->name);
    const char *move = epl_augment_first_move(l->augment);
    if (has_mask(s) && (s->y_shape.dim[0] != s->x_shape.dim[0] || s->y_shape.dim[1] != s->x_shape.dim[1]))
        return epl_fail(l->ctx, EPL_ERR_SHAPE, "loader: '%s' has pictures of %" PRId64 " x %" PRId64
                        " and classes per pixel of %" PRId64 " x %" PRId64, s->name, s->x_shape.dim[0], s->x_shape.dim[1],
                        s->y_shape.dim[0], s->y_shape.dim[1]);
    return !move || has_mask(s) || s->y_shape.rank < 2 ||
           epl_fail(l->ctx, EPL_ERR_SHAPE, "loader: '%s' would move the pictures of '%s' and not their targets, of rank %d", move,
                    s->name, s->y_shape.rank);
}

static bool check_opts(epl_loader *l)
{
    const int64_t n = l->data->count;
    if (l->o.batch < 1 || l->o.batch > INT64_C(1) << 32)
        return epl_fail(l->ctx, EPL_ERR_ARGUMENT, "loader: batch of %" PRId64 ", expected at least 1", l->o.batch);
    if (l->o.n_workers < 0 || l->o.n_workers > 256 || l->o.n_ahead < 0 || l->o.n_ahead > 4096 || l->o.n_epochs < 0)
        return epl_fail(l->ctx, EPL_ERR_ARGUMENT, "loader: %d workers, %d batches ahead, %" PRId64
                        " epochs: expected 0 to 256, 0 to 4096, 0 or more", l->o.n_workers, l->o.n_ahead, l->o.n_epochs);
    if (l->o.sampler.kind) {
        l->index  = epl_class_index_new(l->ctx, l->data, l->o.sampler, l->o.batch);
        l->length = epl_sampler_length(l->o.sampler, n);
        l->steps  = l->length / l->o.batch;
        if (!l->index)
            return false;
    } else {
        l->length = n;
        l->steps  = l->o.drop_last ? n / l->o.batch : (n + l->o.batch - 1) / l->o.batch;
    }
    return l->steps > 0 || epl_fail(l->ctx, EPL_ERR_ARGUMENT, "loader: '%s' has %" PRId64 " samples, a batch needs %" PRId64,
                                    l->data->source->name, n, l->o.batch);
}

static bool init(epl_loader *l, epl_dataset *d)
{
    l->data = epl_dataset_share(d);
    if (!l->data || !check_opts(l) || !read_augment(l))
        return false;
    const int asked = l->o.n_workers ? l->o.n_workers : 1;
    const int made  = l->o.no_prefetch ? 1 : asked; // the consumer's own
    l->n_workers = l->o.no_prefetch ? 0 : asked;
    l->n_slots   = l->o.no_prefetch ? 1 : l->o.n_ahead ? l->o.n_ahead : asked + 2;
    l->order     = epl_alloc_array(l->ctx, (size_t)l->length, sizeof *l->order);
    l->slots     = epl_alloc_array(l->ctx, (size_t)l->n_slots, sizeof *l->slots);
    l->workers   = epl_alloc_array(l->ctx, (size_t)made, sizeof *l->workers);
    bool ok      = l->order && l->slots && l->workers;
    for (int i = 0; ok && i < l->n_slots; i++)
        ok = init_slot(l, &l->slots[i]);
    for (int i = 0; ok && i < made; i++)
        ok = init_worker(l, &l->workers[i]);
    return ok && start_threads(l);
}

epl_loader *epl_loader_new(epl_context *ctx, epl_dataset *d, epl_loader_opts o)
{
    epl_loader *l = epl_alloc(ctx, sizeof *l);
    if (!l)
        return NULL;
    *l = (epl_loader){ .ctx = ctx, .o = o, .order_epoch = -1 };
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake_worker, NULL);
    pthread_cond_init(&l->wake_consumer, NULL);
    const bool ok = init(l, d);
    l->o.augment  = NULL; // the caller's text may go
    if (ok)
        return l;
    epl_loader_free(l);
    return NULL;
}

static void release_slot(epl_loader *l, slot *s)
{
    epl_tensor_free(s->x);
    epl_tensor_free(s->labels);
    epl_tensor_free(s->soft);
    epl_tensor_free(s->weights);
    epl_release(l->ctx, s->indices);
}

static void release_worker(epl_loader *l, worker *w)
{
    epl_release(l->ctx, w->raw);
    epl_release(l->ctx, w->sample);
    epl_release(l->ctx, w->classes);
    epl_release_aligned(l->ctx, w->scratch);
    epl_release(l->ctx, w->mixed);
    if (w->ctx)
        epl_context_free(w->ctx);
}

void epl_loader_free(epl_loader *l)
{
    if (!l)
        return;
    if (l->workers) {
        stop_threads(l);
        for (int i = 0; i < (l->n_workers ? l->n_workers : 1); i++)
            release_worker(l, &l->workers[i]);
    }
    for (int i = 0; l->slots && i < l->n_slots; i++)
        release_slot(l, &l->slots[i]);
    pthread_cond_destroy(&l->wake_consumer);
    pthread_cond_destroy(&l->wake_worker);
    pthread_mutex_destroy(&l->lock);
    epl_release(l->ctx, l->workers);
    epl_release(l->ctx, l->slots);
    epl_release(l->ctx, l->order);
    epl_class_index_free(l->index);
    epl_augment_free(l->augment);
    epl_dataset_free(l->data);
    epl_release(l->ctx, l);
}

/* ---- the consumer's side ---- */

int64_t epl_loader_steps(const epl_loader *l)
{
    return l->steps;
}

double epl_loader_wait_s(const epl_loader *l)
{
    return l->wait_s;
}

static void let_go(epl_loader *l)
{
    if (l->held)
        l->held->state = SLOT_FREE;
    l->held = NULL;
    pthread_cond_broadcast(&l->wake_worker);
}

/* Waits for the slot of the next batch, or makes the batch where there are no threads. */
static slot *await(epl_loader *l)
{
    slot *s = slot_of(l, l->next_out);
    if (l->n_workers == 0) {
        if (s->state == SLOT_FREE) {
            claim(l);
            keep_result(&l->workers[0], s, make_batch(&l->workers[0], s));
        }
        return s;
    }
    const double begin = epl_now_s();
    while (s->state != SLOT_READY && s->state != SLOT_FAILED)
        pthread_cond_wait(&l->wake_consumer, &l->lock);
    l->wait_s += epl_now_s() - begin;
    return s;
}

bool epl_loader_next(epl_loader *l, epl_batch *out)
{
    slot *s = NULL;
    *out    = (epl_batch){ 0 };
    pthread_mutex_lock(&l->lock);
    let_go(l);
    if (!is_end(l, l->next_out))
        s = await(l);
    const bool ok = s && s->state == SLOT_READY;
    if (ok) {
        l->held = s;
        l->next_out++;
    }
    pthread_mutex_unlock(&l->lock);
    if (ok)
        *out = (epl_batch){ .epoch = s->epoch, .step = s->step, .n_valid = s->n_valid, .x = s->x, .labels = s->labels,
                            .soft = s->soft, .weights = s->weights, .indices = s->indices };
    else if (s)
        epl_fail(l->ctx, s->error, "%s", s->message);
    return ok;
}

bool epl_loader_seek(epl_loader *l, int64_t epoch, int64_t step)
{
    int64_t to = 0;
    if (epoch < 0 || step < 0 || step > l->steps || !epl_mul_i64(epoch, l->steps, &to) || to > INT64_MAX - step - l->n_slots)
        return epl_fail(l->ctx, EPL_ERR_ARGUMENT, "loader: seek to epoch %" PRId64 ", step %" PRId64 " of %" PRId64, epoch, step,
                        l->steps);
    pthread_mutex_lock(&l->lock);
    l->generation++;
    l->held = NULL;
    for (int i = 0; i < l->n_slots; i++)
        if (l->slots[i].state != SLOT_BUSY) // a busy one frees itself when its worker sees the new generation
            l->slots[i].state = SLOT_FREE;
    l->next_claim = l->next_out = to + step;
    pthread_cond_broadcast(&l->wake_worker);
    pthread_mutex_unlock(&l->lock);
    return true;
}
