/* simulate: what a training step would take on hardware that is not here. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static const char *const modes[] = { "bdwp", "srste", "sdgp", "sdwp" };

static bool parse(cli *c, const char *ratio, const char *array, const char *mode, epl_sat_opts *o)
{
    char rest;
    if (sscanf(ratio, "%d:%d%c", &o->n, &o->m, &rest) != 2)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--nm is '%s', but must be two numbers such as 2:8", ratio);
    if (sscanf(array, "%dx%d%c", &o->rows, &o->columns, &rest) != 2 || o->rows < 1 || o->columns < 1)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--array is '%s', but must be two numbers above 0 such as 32x32", array);
    while (strcmp(modes[o->mode], mode) != 0)
        o->mode++;
    return true;
}

static bool simulate(cli *c, epl_model *m, epl_sat_opts o)
{
    epl_sat_result r = { 0 };
    if (!epl_sat_simulate(m->graph, o, &r))
        return false;
    epl_table *t  = epl_sat_report(c->ctx, &r, o);
    const bool ok = t && cli_print_table(c, t);
    epl_table_free(t);
    epl_sat_release(c->ctx, &r);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char  *what = NULL, *in = NULL, *ratio = "2:8", *array = "32x32", *mode = "bdwp";
    epl_sat_opts o = { .batch = 64, .bytes_per_cycle = 64 };
    int64_t      batch = 64;
    const cli_option options[] = {
        EPL_ARG("what", &what, "sat"),
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_INT('b', "batch", &batch, 1, 1 << 24, "samples of a step"),
        EPL_OPT_TEXT(0, "nm", "N:M", &ratio, "N of every M weights stay; 1:1 is dense training"),
        EPL_OPT_CHOICE(0, "mode", "bdwp|srste|sdgp|sdwp", &mode, "which products are sparse (include/espalier/compress.h)"),
        EPL_OPT_TEXT(0, "skip", "LIST", &o.skip, "layers that stay dense: names, and first, last, depthwise"),
        EPL_OPT_TEXT(0, "array", "RxC", &array, "rows and columns of the systolic array"),
        EPL_OPT_REAL(0, "bytes-per-cycle", &o.bytes_per_cycle, 1e-3, 1e9, "of memory"),
        EPL_OPT_FLAG(0, "no-interleave", &o.no_interleave, "sparse products wait for the adder's pipeline"),
        EPL_OPT_FLAG(0, "no-pregen", &o.no_pregen, "masks are not made together with the update"),
        EPL_OPT_END
    };
    static const char *const known[] = { "sat" };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    if (strcmp(what, "sat") != 0)
        return cli_end(c, cli_unknown(c, "simulation", what, known, EPL_COUNT(known)));
    o.batch = batch;
    epl_model *m  = parse(c, ratio, array, mode, &o) ? cli_model_load(c, in, NULL) : NULL;
    const bool ok = m && simulate(c, m, o);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_simulate = {
    .name = "simulate", .json = true, .run = run,
    .summary  = "cycles of a training step on an accelerator",
    .about    = "`simulate sat` counts the cycles of a training step with N:M sparse weights on a systolic array after Fang et al. 2023 "
                "(arXiv:2309.13015), for each layer and product, beside those of dense training. The machine's sizes are assumptions; "
                "include/espalier/analysis.h has the formulas.",
    .examples = "espalier simulate sat resnet9 --batch 512 --nm 2:8 --mode bdwp\n"
                "espalier simulate sat resnet:stem=imagenet,depth=50,width=64,image=224,classes=1000 --bytes-per-cycle 128",
};
