/* bench_kernels: `espalier bench kernels` as a program of its own, for profilers.
 *
 *     build/bench_kernels [--quick] [--json] [--threads N] [--filter TEXT] */
#include <espalier/bench.h>

#include <getopt.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static const struct option options[] = { { "quick", no_argument, NULL, 'q' }, { "json", no_argument, NULL, 'j' },
                                             { "threads", required_argument, NULL, 't' },
                                             { "filter", required_argument, NULL, 'f' }, { NULL, 0, NULL, 0 } };
    epl_bench_kernels_opts o = { 0 };
    for (int c = 0; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (c) {
        case 'q': o.quick = true; break;
        case 'j': o.json = true; break;
        case 't': o.threads = atoi(optarg); break;
        case 'f': o.filter = optarg; break;
        default: return 2;
        }
    epl_context *ctx = epl_context_new((epl_context_opts){ 0 });
    const bool ok = ctx && epl_bench_kernels(ctx, stdout, o);
    if (ctx && !ok)
        fprintf(stderr, "bench_kernels: %s\n", epl_error_message(ctx));
    epl_context_free(ctx);
    return ok ? 0 : 1;
}
