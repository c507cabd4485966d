/* check-paths: which paths of a dynamic network samples take, at what cost, and whether the compiled network is right on each. */
#include "compiling.h"
#include "training.h"

#include <stdio.h>

static epl_table *region_table(cli *c, const epl_paths *p)
{
    epl_table *t = epl_table_new(c->ctx, "regions");
    epl_table_column(t, "node", (epl_column_opts){ 0 });
    epl_table_column(t, "region", (epl_column_opts){ 0 });
    epl_table_column(t, "runs", (epl_column_opts){ 0 });
    epl_table_column(t, "per sample", (epl_column_opts){ .key = "per_sample" });
    epl_table_column(t, "MACs", (epl_column_opts){ .format = EPL_FORMAT_COUNT, .key = "macs" });
    for (int i = 0; i < p->n_regions; i++) {
        const epl_region_profile r = epl_program_region(p->program, i);
        char name[256];
        snprintf(name, sizeof name, "%s %.220s", r.op, r.scope);
        epl_table_row(t);
        epl_table_text(t, name);
        epl_table_number(t, r.region);
        epl_table_number(t, (double)p->runs[i]);
        epl_table_number(t, (double)p->runs[i] / (double)p->n_samples);
        epl_table_number(t, r.cost.macs);
    }
    return t;
}

static epl_table *path_table(cli *c, const epl_paths *p)
{
    epl_table *t = epl_table_new(c->ctx, "paths");
    epl_table_column(t, "path", (epl_column_opts){ 0 });
    epl_table_column(t, "samples", (epl_column_opts){ 0 });
    epl_table_column(t, "forced", (epl_column_opts){ 0 });
    epl_table_column(t, "MACs", (epl_column_opts){ .format = EPL_FORMAT_COUNT, .key = "macs" });
    for (size_t i = 0; i < p->n_paths; i++) {
        epl_table_row(t);
        epl_table_text(t, p->paths[i].name[0] ? p->paths[i].name : "the only one");
        epl_table_number(t, (double)p->paths[i].samples);
        epl_table_number(t, (double)p->paths[i].forced);
        epl_table_number(t, p->paths[i].macs);
    }
    return t;
}

static char *as_text(cli *c, const epl_paths *p)
{
    epl_text   out = EPL_TEXT(c->ctx);
    char       macs[32];
    epl_table *tables[] = { region_table(c, p), path_table(c, p) };
    for (int i = 0; i < 2; i++) {
        char *text = epl_table_to_text(tables[i], (epl_table_opts){ 0 });
        epl_text_addf(&out, "%s\n", text ? text : "");
        epl_release(c->ctx, text);
        epl_table_free(tables[i]);
    }
    epl_format_count(macs, p->expected_macs);
    epl_text_addf(&out, "expected MACs  %s a sample, over %lld samples\n", macs, (long long)p->n_samples);
    epl_text_addf(&out, "coverage       %d of %d regions by samples, %d with forced choices\n", p->n_covered, p->n_regions, p->n_reached);
    if (p->n_compared)
        epl_text_addf(&out, "compiled       %lld runs compared, largest difference %.3g, %lld other labels\n",
                      (long long)p->n_compared, p->max_abs, (long long)p->labels_different);
    return epl_text_detach(&out);
}

static char *as_json(cli *c, const epl_paths *p)
{
    epl_text        out = EPL_TEXT(c->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, 2);
    epl_json_open_object(&w, NULL);
    epl_json_put_i64(&w, "samples", p->n_samples);
    epl_json_put_f64(&w, "expected_macs", p->expected_macs);
    epl_json_put_i64(&w, "regions", p->n_regions);
    epl_json_put_i64(&w, "covered", p->n_covered);
    epl_json_put_i64(&w, "reached", p->n_reached);
    epl_json_put_i64(&w, "compared", p->n_compared);
    epl_json_put_f64(&w, "max_abs", p->max_abs);
    epl_json_put_i64(&w, "labels_different", p->labels_different);
    epl_json_open_array(&w, "paths");
    for (size_t i = 0; i < p->n_paths; i++) {
        epl_json_open_object(&w, NULL);
        epl_json_put_string(&w, "path", p->paths[i].name);
        epl_json_put_i64(&w, "samples", p->paths[i].samples);
        epl_json_put_i64(&w, "forced", p->paths[i].forced);
        epl_json_put_f64(&w, "macs", p->paths[i].macs);
        epl_json_close(&w);
    }
    epl_json_close(&w);
    epl_json_close(&w);
    return epl_text_detach(&out);
}

static bool judge(cli *c, const epl_paths *p, double tolerance)
{
    if (p->n_reached < p->n_regions)
        return epl_fail(c->ctx, EPL_ERR_LIMIT, "%d of %d regions were never reached", p->n_regions - p->n_reached, p->n_regions);
    return p->max_abs <= tolerance || epl_fail(c->ctx, EPL_ERR_LIMIT, "the largest difference is %g, more than %g", p->max_abs, tolerance);
}

static int run(cli *c, int argc, char **argv)
{
    const char      *in = NULL, *split_name = "test";
    cli_data         data = { 0 };
    cli_compiling    o = CLI_COMPILING;
    epl_paths_opts   p = { 0 };
    int64_t          samples = 64;
    double           tolerance = 1e-4;
    epl_data_split   split = EPL_SPLIT_TEST;
    const cli_option compiling[] = { CLI_OPT_COMPILING(&o), EPL_OPT_END };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_PATH('o', "output", &p.dir, "the folder for the compiled network; without it paths are counted and nothing is compiled"),
        CLI_OPT_DATA(&data, false),
        EPL_OPT_CHOICE(0, "split", "train|test|val", &split_name, "with --data: which part"),
        EPL_OPT_INT('s', "samples", &samples, 1, 1e9, "without --data: random samples"),
        EPL_OPT_INT(0, "each", &p.each, 0, 1e9, "samples of each path to compare (0: 4)"),
        EPL_OPT_INT(0, "combinations", &p.most, 0, 1e6, "force every combination of choices if there are no more (0: 64)"),
        EPL_OPT_REAL(0, "tolerance", &tolerance, 0, 1e30, "the largest difference that is no failure"),
        EPL_OPT_TEXT(0, "cc", "COMMAND", &p.cc, "the compiler (default: gcc)"),
        EPL_OPT_GROUP("of the compiled network", compiling),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !epl_data_split_from_name(c->ctx, split_name, &split))
        return cli_status(c);
    epl_model  *m = cli_compiling_model(c, in, &o);
    epl_tensor *x = m && data.name ? cli_data_samples(c, m, &data, split, 0) : NULL;
    p.compile   = cli_compiling_opts(&o);
    p.x         = x;
    p.n_samples = samples;
    p.seed      = (uint64_t)c->seed;
    epl_paths *r  = m && (x || !data.name) ? epl_check_paths(m, p) : NULL;
    const bool ok = r && cli_print_take(c, c->json ? as_json(c, r) : as_text(c, r)) && judge(c, r, tolerance);
    epl_paths_free(r);
    epl_tensor_free(x);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_check_paths = {
    .name = "check-paths",
    .json = true,
    .run = run,
    .summary = "the paths of a dynamic network: taken how often, at what cost, compiled right",
    .about = "Runs samples one by one and counts which regions of If, Switch and Loop they take. With --output, "
             "compiles the network and compares "
             "it with reference kernels on samples of every path and with choices forced - of each If and Switch the "
             "region, of each Loop that data can end "
             "none, one and all of its iterations: all combinations if they are few, else what no sample reaches and "
             "each loop. "
             "Exit status 1 if a region is never reached or a difference is larger than --tolerance.",
    .examples = "espalier check-paths skipnet.safetensors --data fashion-mnist --limit 1000\n"
                "espalier check-paths skipnet.safetensors --data fashion-mnist --limit 1000 -o skipnet-c",
};
