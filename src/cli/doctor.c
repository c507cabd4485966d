/* doctor: what this machine has, and what is missing. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

typedef struct finding {
    const char *what, *package, *use;
    bool        found;
    char        detail[256];
} finding;

/* ---- what is optional ---- */

static bool on_path(const char *program, char out[256])
{
    const char *path = getenv("PATH");
    for (const char *s = path ? path : ""; *s; s += strcspn(s, ":"), s += *s == ':') {
        snprintf(out, 256, "%.*s/%s", (int)strcspn(s, ":"), s, program);
        if (access(out, X_OK) == 0)
            return true;
    }
    *out = 0;
    return false;
}

#ifdef EPL_HAVE_PNG
enum { HAVE_PNG = 1 };
#else
enum { HAVE_PNG = 0 };
#endif
#ifdef EPL_HAVE_TURBOJPEG
enum { HAVE_JPEG = 1 };
#else
enum { HAVE_JPEG = 0 };
#endif
#ifdef EPL_HAVE_DNNL
enum { HAVE_DNNL = 1 };
#else
enum { HAVE_DNNL = 0 };
#endif

static int find_parts(finding f[16])
{
    static const struct {
        const char *what, *package, *use;
    } programs[] = {
        { "gcc", "gcc", "builds and checks compiled networks" },
        { "make", "make", "builds and checks compiled networks" },
        { "clang", "clang", "a second compiler for compiled networks" },
        { "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "compiled networks for aarch64" },
        { "qemu-aarch64", "qemu-user", "runs them here" },
    };
    int n = 0;
    f[n++] = (finding){ "libpng", "libpng-dev", "PNG pictures", HAVE_PNG, "" };
    f[n++] = (finding){ "libturbojpeg", "libturbojpeg0-dev", "JPEG pictures", HAVE_JPEG, "" };
    f[n++] = (finding){ "oneDNN", "libdnnl-dev", "the yardstick of `espalier bench kernels`", HAVE_DNNL, "" };
    for (size_t i = 0; i < EPL_COUNT(programs); i++, n++) {
        f[n] = (finding){ programs[i].what, programs[i].package, programs[i].use, false, "" };
        f[n].found = on_path(f[n].what, f[n].detail);
    }
    const char *conformance = "/usr/share/libonnx-testdata/data";
    f[n] = (finding){ "ONNX test data", "libonnx-testdata", "the conformance tests", epl_file_exists(conformance), "" };
    snprintf(f[n].detail, sizeof f[n].detail, "%s", f[n].found ? conformance : "");
    return n + 1;
}

static int find_data(cli *c, finding f[8])
{
    static const char *const names[][2] = { { "fashion-mnist", "dataset-fashion-mnist" }, { "mnist", NULL }, { "cifar10", NULL },
                                            { "cifar100", NULL } };
    for (size_t i = 0; i < EPL_COUNT(names); i++) {
        epl_dataset *d = epl_dataset_open(c->ctx, names[i][0], (epl_dataset_opts){ .split = EPL_SPLIT_TEST });
        f[i] = (finding){ names[i][0], names[i][1], "data set", d != NULL, "" };
        if (d)
            snprintf(f[i].detail, sizeof f[i].detail, "%lld test samples", (long long)epl_dataset_info_of(d).count);
        else if (!names[i][1])
            snprintf(f[i].detail, sizeof f[i].detail, "put its files into a folder and say --data-dir");
        epl_dataset_free(d);
        epl_error_clear(c->ctx);
    }
    return (int)EPL_COUNT(names);
}

/* ---- what is said ---- */

typedef struct machine {
    epl_machine is;
    int    threads;
    double gflops_1, gflops, gbs; /* one thread, all threads; all threads */
} machine;

static bool measure(cli *c, machine *m, bool quick)
{
    *m = (machine){ .threads = epl_context_threads(c->ctx) };
    if (!epl_machine_of(c->ctx, &m->is))
        return false;
    if (!quick) {
        m->gflops_1 = epl_bench_peak_gflops(c->ctx, 1);
        m->gflops   = m->threads > 1 ? epl_bench_peak_gflops(c->ctx, m->threads) : m->gflops_1;
        m->gbs      = epl_bench_bandwidth_gbs(c->ctx, m->threads);
    }
    return true;
}

static char *as_json(cli *c, const machine *m, const finding *f, int n, bool quick)
{
    epl_text        out = EPL_TEXT(c->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, 2);
    epl_json_open_object(&w, NULL);
    epl_json_put_string(&w, "cpu", m->is.cpu);
    epl_json_put_string(&w, "isa", m->is.isa);
    epl_json_put_i64(&w, "threads", m->threads);
    epl_json_put_f64(&w, "memory_bytes", m->is.memory_bytes);
    if (!quick) {
        epl_json_put_f64(&w, "peak_gflops_one_thread", m->gflops_1);
        epl_json_put_f64(&w, "peak_gflops", m->gflops);
        epl_json_put_f64(&w, "bandwidth_gbs", m->gbs);
    }
    epl_json_open_array(&w, "parts");
    for (int i = 0; i < n; i++) {
        epl_json_open_object(&w, NULL);
        epl_json_put_string(&w, "name", f[i].what);
        epl_json_put_bool(&w, "found", f[i].found);
        epl_json_put_string(&w, "package", f[i].package);
        epl_json_put_string(&w, "use", f[i].use);
        epl_json_close(&w);
    }
    epl_json_close(&w);
    epl_json_close(&w);
    return epl_text_detach(&out);
}

static char *as_text(cli *c, const machine *m, const finding *f, int n, bool quick)
{
    epl_text out = EPL_TEXT(c->ctx);
    char     bytes[32];
    epl_format_bytes(bytes, m->is.memory_bytes);
    epl_text_addf(&out, "processor    %s\ninstructions %s\nthreads      %d\nmemory       %s\n", m->is.cpu, m->is.isa, m->threads, bytes);
    if (!quick)
        epl_text_addf(&out, "peak         %.1f GFLOP/s with one thread, %.1f with %d (f32 multiply-adds, measured)\n"
                            "bandwidth    %.1f GB/s reading with %d (measured)\n", m->gflops_1, m->gflops, m->threads, m->gbs, m->threads);
    epl_text_add(&out, "\n");
    for (int i = 0; i < n; i++) {
        epl_text_addf(&out, "%-8s %-22s ", f[i].found ? "found" : "missing", f[i].what);
        if (f[i].found || !f[i].package)
            epl_text_addf(&out, "%s%s%s\n", f[i].use, *f[i].detail ? ": " : "", f[i].detail);
        else
            epl_text_addf(&out, "%s: apt install %s\n", f[i].use, f[i].package);
    }
    return epl_text_detach(&out);
}

static int run(cli *c, int argc, char **argv)
{
    bool quick = false;
    const cli_option options[] = { EPL_OPT_FLAG(0, "no-measure", &quick, "leave the measurements out"), EPL_OPT_END };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    finding f[24];
    machine m;
    if (!measure(c, &m, quick))
        return cli_status(c);
    int n = find_parts(f);
    n += find_data(c, f + n);
    return cli_end(c, cli_print_take(c, c->json ? as_json(c, &m, f, n, quick) : as_text(c, &m, f, n, quick)));
}

const cli_verb cli_verb_doctor = {
    .name = "doctor", .json = true, .run = run,
    .summary  = "this machine: instruction set, speed, optional libraries, data sets",
    .about    = "What is missing is named with the Debian package that brings it. The peak is of f32 multiply-adds, a multiply-add "
                "counted as two operations, and takes half a second to measure.",
    .examples = "espalier doctor\nespalier doctor --json",
};
