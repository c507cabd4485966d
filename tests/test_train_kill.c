/* labels: slow
 * A run that is killed (SIGKILL) at 20 random moments, also while a checkpoint is being written, and resumed each time, ends
 * with the bits of one that was never disturbed: with slots of 32 and of 8 bits. Every run is a process of its own. */
#include "common/check.h"

#include <espalier/espalier.h>

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLS = 20 };

static epl_model *network(epl_context *ctx)
{
    epl_graph *g = epl_graph_new(ctx, "small");
    epl_value *x = epl_input(g, "image", EPL_F32, EPL_SHAPE(1, 16, 16, 3), "N,,,");
    epl_value *h = epl_conv_unit(g, x, (epl_conv_unit_opts){ .name = "stem", .conv = { .out = 16 } });
    h = epl_conv_unit(g, h, (epl_conv_unit_opts){ .name = "body", .conv = { .out = 32, .stride = 2 } });
    h = epl_dropout(g, epl_global_average_pool(g, h), 0.2, false);
    epl_output(g, "logits", epl_linear(g, h, (epl_linear_opts){ .out = 6 }));
    epl_model *m = epl_model_new_take(g);
    return m && epl_model_init(m, 3) ? m : NULL;
}

/* The second one's slots are codes, rounded by chance, in blocks that end within tensors. */
static const char *const optimizers[] = { "adamw:rate=0.002,decay=0.01,ema=0.95,clip_norm=5",
                                          "adamw:rate=0.002,decay=0.01,bits=8,min_size=64,block=256,stochastic=1,skip_nonfinite=1" };

/* Trains and writes the result; the process's exit status says how it went. */
static int train_to(const char *optimizer, const char *folder, const char *out)
{
    epl_context *ctx = epl_context_new((epl_context_opts){ .n_threads = 2 });
    epl_dataset *d   = epl_dataset_open(ctx, "shapes:image=16,count=600,test=120", (epl_dataset_opts){ 0 });
    epl_dataset *v   = epl_dataset_open(ctx, "shapes:image=16,count=600,test=120", (epl_dataset_opts){ .split = EPL_SPLIT_TEST });
    epl_model   *m   = network(ctx);
    epl_trainer_opts o = { .epochs = 12,
                           .batch = 16,
                           .seed = 5,
                           .augment = "pad-crop:2,flip,cutout:4,normalise:0.5:0.3,mixup:0.2",
                           .accumulate = 2,
                           .schedule = { .kind = EPL_RATE_ONE_CYCLE },
                           .checkpoint = folder,
                           .checkpoint_every = 1,
                           .resume = true,
                           .patience = 11,
                           .restore_best = true };
    epl_trainer *t = m && d && v && epl_optimizer_parse(ctx, optimizer, &o.optimizer) ? epl_trainer_new(m, d, v, o) : NULL;
    const bool ok = t && epl_trainer_run(t);
    epl_trainer_free(t);
    const bool saved = ok && epl_model_save(m, out);
    if (!saved)
        fprintf(stderr, "child: %s\n", epl_error_message(ctx));
    epl_model_free(m);
    epl_dataset_free(d);
    epl_dataset_free(v);
    epl_context_free(ctx);
    return saved ? 0 : 1;
}

static pid_t start(const char *optimizer, const char *folder, const char *out)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0)
        _exit(train_to(optimizer, folder, out));
    return child;
}

static int count_files(const char *folder)
{
    int  n   = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

PROPERTY(twenty_kills_do_not_change_a_bit, EPL_COUNT(optimizers))
{
    const char *optimizer = optimizers[t->index];
    static const char *const names[][4] = { { "whole", "killed", "whole.safetensors", "killed.safetensors" },
                                            { "whole8", "killed8", "whole8.safetensors", "killed8.safetensors" } };
    const char *const *name = names[t->index];
    char *whole_dir = strdup(test_temp(t, name[0])), *killed_dir = strdup(test_temp(t, name[1]));
    char *whole = strdup(test_temp(t, name[2])), *killed = strdup(test_temp(t, name[3]));
    int  status, kills = 0;
    const double begin = epl_now_s();
    CHECK(t, waitpid(start(optimizer, whole_dir, whole), &status, 0) > 0 && status == 0);
    const double whole_s = epl_now_s() - begin;
    for (int k = 0; k < KILLS; k++) { // each process makes at most a twentieth of the run
        const pid_t child = start(optimizer, killed_dir, killed);
        usleep((useconds_t)(1e6 * (0.005 + whole_s / KILLS * (double)epl_rng_uniform(t->rng))));
        kill(child, SIGKILL);
        CHECK(t, waitpid(child, &status, 0) == child);
        kills += WIFSIGNALED(status);
        CHECK(t, WIFSIGNALED(status) || status == 0);
    }
    printf("killed %d times while running (an undisturbed run takes %.1f s)\n", kills, whole_s);
    CHECK(t, kills >= KILLS * 3 / 4);
    CHECK(t, waitpid(start(optimizer, killed_dir, killed), &status, 0) > 0 && status == 0);
    size_t size[2];
    char  *a = test_read_file(t, whole, &size[0]), *b = test_read_file(t, killed, &size[1]);
    CHECK(t, size[0] == size[1] && memcmp(a, b, size[0]) == 0);
    CHECK_INT(t, count_files(killed_dir), 2); // last and best; no halves
    free(a);
    free(b);
    free(whole_dir);
    free(killed_dir);
    free(whole);
    free(killed);
}
