/* How many pictures per second one worker thread prepares, Fashion-MNIST with the usual augmentations, against what a training
 * step may ask for (40 000 pictures/s on two cores). Single-threaded on purpose: the loader scales by workers.
 *
 *   build/bench_data            medians of 5 epochs' thirds */
#include <espalier/data.h>

#include <stdio.h>
#include <time.h>

enum { RUNS = 5, BATCH = 128, STEPS = 150 };

static double cpu_now_s(void) // of this thread: other work on the machine does not count
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* Pictures per second of this thread's time; 0 on failure. */
static double measure(epl_context *ctx, epl_dataset *d, const char *words)
{
    const epl_loader_opts o = { .batch = BATCH, .shuffle = true, .drop_last = true, .augment = words, .no_prefetch = true };
    epl_loader           *l = epl_loader_new(ctx, d, o);
    double                rate[RUNS] = { 0 };
    epl_batch             b;
    bool                  ok = l != NULL;
    for (int r = 0; ok && r < RUNS; r++) {
        const double begin = cpu_now_s();
        for (int i = 0; ok && i < STEPS; i++)
            ok = epl_loader_next(l, &b);
        rate[r] = BATCH * STEPS / (cpu_now_s() - begin);
    }
    epl_loader_free(l);
    return ok ? epl_median(rate, RUNS) : 0;
}

int main(void)
{
    static const char *const lists[] = {
        "", "normalise:0.286:0.353", "pad-crop:2,flip,normalise:0.286:0.353", "pad-crop:2,flip,cutout:8,normalise:0.286:0.353,mixup:0.2",
        "flip,rotate:10,normalise:0.286:0.353", "resized-crop:0.5,flip,normalise:0.286:0.353",
        "pad-crop:2,flip,noise:0.05,normalise:0.286:0.353",
    };
    epl_context *ctx = epl_context_new((epl_context_opts){ 0 });
    epl_dataset *d   = epl_dataset_open(ctx, "fashion-mnist", (epl_dataset_opts){ 0 });
    if (d)
        printf("pictures/s of one thread, Fashion-MNIST, batches of %d\n", BATCH);
    for (size_t i = 0; d && i < EPL_COUNT(lists); i++)
        printf("%10.0f  %s\n", measure(ctx, d, lists[i]), *lists[i] ? lists[i] : "(none)");
    if (epl_error_code(ctx) != EPL_OK)
        fprintf(stderr, "bench_data: %s\n", epl_error_message(ctx));
    const int status = epl_error_code(ctx) != EPL_OK;
    epl_dataset_free(d);
    epl_context_free(ctx);
    return status;
}
