/* verify: a compiled network against the library. */
#include <math.h>
#include <string.h>

#include "compiling.h"
#include "training.h"

/* ---- the options that compile left in the folder ---- */

/* The command line with the lines of the folder's file before its own words, so that those win. */
static char **with_kept_options(cli *c, const char *dir, int *argc, char **argv)
{
    enum { MOST = 64 };
    epl_text path = EPL_TEXT(c->ctx);
    epl_map  map = { 0 };
    epl_text_addf(&path, "%s/%s", dir, CLI_COMPILE_OPTIONS);
    const bool there = epl_file_exists(epl_text_str(&path)) && epl_map_open(c->ctx, epl_text_str(&path), &map);
    epl_text_release(&path);
    char **words = epl_arena_alloc(c->arena, (size_t)(*argc + MOST + 1) * sizeof *words);
    char  *text  = words && there ? epl_arena_alloc(c->arena, map.size + 1) : NULL;
    if (text)
        memcpy(text, map.data, map.size);
    epl_map_close(&map);
    if (!words || !text)
        return argv;
    int n = 0;
    words[n++] = argv[0];
    for (char *word = strtok_r(text, "\n", &text); word && n <= MOST; word = strtok_r(NULL, "\n", &text))
        words[n++] = word;
    memcpy(words + n, argv + 1, (size_t)*argc * sizeof *argv); // its NULL too
    *argc += n - 1;
    return words;
}

/* ---- samples of a data set, prepared as the model says ---- */

static epl_tensor *data_samples(cli *c, const epl_model *m, const cli_data *data, epl_data_split split)
{
    epl_dataset *d = cli_data_open(c, data, split, 0);
    epl_loader  *l = d ? epl_loader_new(c->ctx, d, (epl_loader_opts){ .batch = 1,
                                                                      .augment = epl_weights_metadata(m->weights, "espalier.augment") })
                       : NULL;
    epl_shape    shape = l ? epl_loader_x_shape(l) : EPL_SCALAR;
    epl_tensor  *x = NULL;
    epl_batch    b;
    const int64_t n = d ? epl_dataset_info_of(d).count : 0;
    for (int64_t i = 0; l && i < n; i++) {
        if (!epl_loader_next(l, &b))
            break;
        shape.dim[0] = n;
        x = x ? x : epl_tensor_new(c->ctx, b.x->dtype, shape);
        if (!x)
            break;
        memcpy((char *)x->data + (size_t)i * epl_tensor_bytes(b.x), b.x->data, epl_tensor_bytes(b.x));
    }
    epl_loader_free(l);
    epl_dataset_free(d);
    if (epl_error_code(c->ctx) == EPL_OK)
        return x;
    epl_tensor_free(x);
    return NULL;
}

/* ---- what came of it ---- */

static char *as_json(cli *c, const epl_verify_result *r)
{
    epl_text        out = EPL_TEXT(c->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, 2);
    epl_json_open_object(&w, NULL);
    epl_json_put_i64(&w, "samples", r->n_samples);
    epl_json_put_f64(&w, "max_abs", r->max_abs);
    epl_json_put_f64(&w, "max_ulp", r->max_ulp);
    epl_json_put_f64(&w, "build_s", r->build_s);
    if (r->latency_us > 0)
        epl_json_put_f64(&w, "latency_us", r->latency_us);
    epl_json_open_array(&w, "outputs");
    for (int i = 0; i < r->n_outputs; i++) {
        epl_json_open_object(&w, NULL);
        epl_json_put_string(&w, "name", r->outputs[i].name);
        epl_json_put_f64(&w, "max_abs", r->outputs[i].max_abs);
        epl_json_put_f64(&w, "max_ulp", r->outputs[i].max_ulp);
        epl_json_put_i64(&w, "different", r->outputs[i].n_different);
        epl_json_close(&w);
    }
    epl_json_close(&w);
    epl_json_close(&w);
    return epl_text_detach(&out);
}

static char *as_text(cli *c, const epl_verify_result *r)
{
    epl_text out = EPL_TEXT(c->ctx);
    for (int i = 0; i < r->n_outputs; i++)
        epl_text_addf(&out, "%-16s largest difference %.3g, %.3g units in the last place; %lld elements differ\n", r->outputs[i].name,
                      r->outputs[i].max_abs, r->outputs[i].max_ulp, (long long)r->outputs[i].n_different);
    epl_text_addf(&out, "%lld samples, built in %.1f s\n", (long long)r->n_samples, r->build_s);
    if (r->latency_us > 0)
        epl_text_addf(&out, "latency          %.1f us, the median of the compiled network's own runs\n", r->latency_us);
    return epl_text_detach(&out);
}

static bool verify(cli *c, const epl_model *m, const char *dir, epl_compile_opts o, epl_verify_opts v, double tolerance)
{
    epl_verify_result *r = epl_arena_alloc(c->arena, sizeof *r);
    if (!r || !epl_verify_artifact(m, dir, o, v, r) || !cli_print_take(c, c->json ? as_json(c, r) : as_text(c, r)))
        return false;
    return r->max_abs <= tolerance || epl_fail(c->ctx, EPL_ERR_LIMIT, "the largest difference is %g, more than %g", r->max_abs, tolerance);
}

static int run(cli *c, int argc, char **argv)
{
    const char      *in = NULL, *dir = NULL, *split_name = "test";
    cli_data         data = { 0 };
    cli_compiling    o = CLI_COMPILING;
    epl_verify_opts  v = { 0 };
    int64_t          samples = 16, bench = 0;
    double           tolerance = 1e-5;
    epl_data_split   split = EPL_SPLIT_TEST;
    const cli_option compiling[] = { CLI_OPT_COMPILING(&o), EPL_OPT_END };
    const cli_option options[] = {
        EPL_ARG("model", &in, "the network that was compiled"),
        EPL_ARG("dir", &dir, "the folder that `espalier compile` wrote; it remembers the options"),
        EPL_OPT_INT('s', "samples", &samples, 1, 1e9, "random samples to compare"),
        CLI_OPT_DATA(&data, false),
        EPL_OPT_CHOICE(0, "split", "train|test|val", &split_name, "with --data: which part"),
        EPL_OPT_REAL(0, "tolerance", &tolerance, 0, 1e30, "the largest difference that is no failure"),
        EPL_OPT_INT(0, "bench", &bench, 0, 1e9, "measure the compiled network's latency with N runs"),
        EPL_OPT_TEXT(0, "cc", "COMMAND", &v.cc, "the compiler (default: gcc, or the target's cross gcc)"),
        EPL_OPT_TEXT(0, "flags", "FLAGS", &v.flags, "more flags for it, such as '-Wall -Werror'"),
        EPL_OPT_TEXT(0, "runner", "COMMAND", &v.runner, "what runs a foreign program (default: qemu-aarch64 where it is needed)"),
        EPL_OPT_GROUP("as they were given to compile", compiling),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !epl_data_split_from_name(c->ctx, split_name, &split))
        return cli_status(c);
    char **words = with_kept_options(c, dir, &argc, argv);
    if (words != argv) {
        o.dims.named.n = 0;
        if (!cli_parse(c, options, argc, words))
            return cli_status(c);
    }
    v.n_samples  = samples;
    v.bench_runs = (int)bench;
    v.seed       = (uint64_t)c->seed;
    epl_model  *m = cli_compiling_model(c, in, &o);
    epl_tensor *x = m && data.name ? data_samples(c, m, &data, split) : NULL;
    const epl_tensor *inputs[] = { x };
    if (x) {
        v.inputs   = inputs;
        v.n_inputs = 1;
    }
    const bool ok = m && (x || !data.name) && verify(c, m, dir, cli_compiling_opts(&o), v, tolerance);
    epl_tensor_free(x);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_verify = {
    .name = "verify", .json = true, .run = run,
    .summary  = "a compiled network against the library",
    .about    = "Builds the folder with make and a compiler, runs it on samples, and compares every output with the library's program of "
                "the same instruction set. Exit status 1 if a difference is larger than --tolerance.",
    .examples = "espalier verify t.safetensors t-c\nespalier verify t.safetensors t-c --data fashion-mnist --bench 200",
};
