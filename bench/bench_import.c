/* What importing a network costs: a zoo model of about 100 MB is written as ONNX, and imported in a process of its
 * own, which tells the time and the most memory that it had, every weight read once. Then the imported network
 * against the same network built here, one run of each in turn, in this process.
 *
 *   build/bench_import [MODEL] [RUNS]        default resnet:stem=imagenet,depth=50,width=64,image=224,classes=1000, 11 runs */
#include <espalier/onnx.h>
#include <espalier/program.h>
#include <espalier/zoo.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IMPORTS = 5, MOST_RUNS = 101 };

/* A line of /proc/self/status, "VmHWM:" the most memory so far, in bytes. */
static double status_bytes(const char *key)
{
    char   line[256];
    double kib = 0;
    FILE  *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = atof(line + strlen(key));
    if (f)
        fclose(f);
    return 1024 * kib;
}

/* In a process that has done nothing else: prints seconds and bytes. */
static int import_once(const char *path)
{
    const double before = status_bytes("VmRSS:"), start = epl_now_s();
    epl_context *ctx = epl_context_new((epl_context_opts){ 0 });
    epl_model   *m = epl_onnx_load(ctx, path, (epl_onnx_opts){ 0 });
    const double seconds = epl_now_s() - start;
    double       sum = 0;
    for (int i = 0; m && i < epl_weights_count(m->weights); i++) { // views of the mapped file count once they are read
        const epl_tensor *t = epl_weights_at(m->weights, i);
        for (size_t k = 0; k < epl_tensor_bytes(t); k += 512)
            sum += ((const unsigned char *)t->data)[k];
    }
    if (!m)
        fprintf(stderr, "%s\n", epl_error_message(ctx));
    printf("%g %g %g\n", seconds, status_bytes("VmHWM:") - before, sum);
    epl_model_free(m);
    epl_context_free(ctx);
    return m ? 0 : 1;
}

/* Runs this program again for one import. */
static bool import_apart(const char *self, const char *path, double *seconds, double *bytes)
{
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0)
        return false;
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        execl(self, self, "--import", path, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    const bool ok = f && fscanf(f, "%lf %lf", seconds, bytes) == 2;
    if (f)
        fclose(f);
    int status = 1;
    waitpid(child, &status, 0);
    return ok && status == 0;
}

static epl_program *program_of(const epl_model *m, uint64_t seed)
{
    epl_program *p = m ? epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true }) : NULL;
    epl_rng      r = epl_rng_at(seed, 0);
    if (p)
        epl_tensor_draw(epl_program_input(p, 0), &r);
    return p;
}

/* Medians of both, run in turn, so that whatever else the machine does falls on both. */
static bool compare_speed(epl_context *ctx, const epl_model *built, const epl_model *imported, int runs)
{
    double       times[2][MOST_RUNS];
    epl_program *p[2] = { program_of(built, 1), program_of(imported, 1) };
    bool         ok = p[0] && p[1] && epl_program_run(p[0]) && epl_program_run(p[1]);
    epl_difference d = { 0 };
    ok = ok && epl_tensor_compare(epl_program_output(p[0], 0), epl_program_output(p[1], 0), &d);
    for (int i = 0; ok && i < runs; i++)
        for (int k = 0; k < 2; k++) {
            const double start = epl_now_s();
            ok = epl_program_run(p[k]);
            times[k][i] = epl_now_s() - start;
        }
    if (ok) {
        const double a = epl_median(times[0], runs), b = epl_median(times[1], runs);
        printf("a run, %d threads    %.2f ms built here, %.2f ms imported: %.3f times as long; outputs differ by %.2g\n",
               epl_context_threads(ctx), 1e3 * a, 1e3 * b, b / a, d.max_abs);
    }
    epl_program_free(p[0]);
    epl_program_free(p[1]);
    return ok;
}

static bool measure(epl_context *ctx, const char *self, const char *description, const char *path, int runs)
{
    double      seconds[IMPORTS], bytes[IMPORTS];
    struct stat file;
    epl_graph  *g = epl_zoo_build(ctx, description);
    epl_model  *m = epl_model_new_take(g);
    bool        ok = m && epl_model_init(m, 1) && epl_onnx_export(m, path, (epl_onnx_export_opts){ 0 }) && stat(path, &file) == 0;
    for (int i = 0; ok && i < IMPORTS; i++)
        ok = import_apart(self, path, &seconds[i], &bytes[i]);
    if (ok) {
        const double peak = epl_median(bytes, IMPORTS);
        printf("%s\nfile                 %.1f MB\n", description, 1e-6 * (double)file.st_size);
        printf("import               %.0f ms, the median of %d\n", 1e3 * epl_median(seconds, IMPORTS), IMPORTS);
        printf("most memory          %.1f MB, %.2f times the file, every weight read\n", 1e-6 * peak, peak / (double)file.st_size);
    }
    epl_model *imported = ok ? epl_onnx_load(ctx, path, (epl_onnx_opts){ 0 }) : NULL;
    ok = imported && compare_speed(ctx, m, imported, runs);
    epl_model_free(imported);
    epl_model_free(m);
    unlink(path);
    return ok;
}

int main(int argc, char **argv)
{
    char        path[512];
    const char *dir = getenv("TMPDIR");
    if (argc == 3 && strcmp(argv[1], "--import") == 0)
        return import_once(argv[2]);
    snprintf(path, sizeof path, "%s/bench_import_%ld.onnx", dir ? dir : "/tmp", (long)getpid());
    const int    runs = argc > 2 ? atoi(argv[2]) : 11;
    epl_context *ctx = epl_context_new((epl_context_opts){ 0 });
    const bool   ok = measure(ctx, argv[0], argc > 1 ? argv[1] : "resnet:stem=imagenet,depth=50,width=64,image=224,classes=1000", path,
                              runs < 1 ? 1 : runs > MOST_RUNS ? MOST_RUNS : runs);
    if (!ok)
        fprintf(stderr, "%s\n", epl_error_message(ctx));
    epl_context_free(ctx);
    return ok ? 0 : 1;
}
