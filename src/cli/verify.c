/* verify: a compiled network against the library, or a network against another one or what is known of its outputs. */
#include <math.h>
#include <string.h>

#include "compiling.h"
#include "diff.h"
#include "inputs.h"
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

/* ---- against another network, or what is known ---- */

/* The outputs of a network as one without inputs that delivers the tensors <dir>/output_<i>. */
static epl_model *known_outputs(cli *c, const epl_model *m, const char *dir)
{
    epl_graph   *g = epl_graph_new(c->ctx, dir);
    epl_weights *w = epl_weights_new(c->ctx);
    bool         ok = g && w;
    for (int i = 0; ok && i < epl_graph_n_inputs(m->graph); i++) {
        const epl_value *v = epl_graph_input_at(m->graph, i);
        ok = epl_input(g, epl_value_name(v), epl_dtype_of(v), epl_shape_of(v), NULL) != NULL;
    }
    for (int i = 0; ok && i < epl_graph_n_outputs(m->graph); i++) {
        const char *name = epl_graph_output_name(m->graph, i);
        epl_tensor *t = cli_numbered_tensor(c, dir, "output", i);
        ok = t ||
             epl_fail(c->ctx, EPL_ERR_IO,
                      "%s holds neither output_%d.npy nor output_%d.pb; --against names another network", dir, i, i);
        ok = ok && epl_output(g, name, epl_state(g, name, t->dtype, t->shape, EPL_INIT_ZEROS, 0));
        ok = epl_weights_put_take(w, name, t) && ok;
    }
    epl_model *known = ok ? epl_model_new_take(g) : NULL;
    if (!known) {
        epl_weights_free(w);
        return NULL;
    }
    epl_weights_free(known->weights);
    known->weights = w;
    return known;
}

static double worst_output(const epl_diff *d)
{
    double worst = 0;
    for (int i = 0; i < d->n_outputs; i++)
        worst = fmax(worst, d->outputs[i].state >= EPL_DIFF_MISSHAPEN ? INFINITY : d->outputs[i].difference.max_abs);
    return worst;
}

/* Outputs alone: --tolerance is of elements, as it is with a folder. */
static bool verify_against(cli *c, const char *path, const char *other, const char *dir, cli_dims dims, double tolerance)
{
    epl_weights *inputs = NULL;
    epl_model   *a = cli_inputs_load(c, path, dims, dir, &inputs);
    epl_model   *b = !a ? NULL : other ? cli_inputs_load_beside(c, other, dims, a, inputs) : known_outputs(c, a, dir);
    epl_diff    *d = b ? epl_model_diff(a, b, (epl_diff_opts){ .inputs = inputs, .outputs_only = true }) : NULL;
    bool         ok = d && (!d->not_run || epl_fail(c->ctx, EPL_ERR_SHAPE, "%s", d->not_run)) && cli_diff_print(c, d, (cli_diff_view){ 0 });
    if (ok && !(worst_output(d) <= tolerance))
        ok = epl_fail(c->ctx, EPL_ERR_LIMIT, "the largest difference is %g, more than %g", worst_output(d), tolerance);
    epl_diff_free(d);
    epl_model_free(b);
    epl_model_free(a);
    epl_weights_free(inputs);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char      *in = NULL, *dir = NULL, *split_name = "test", *other = NULL, *input_dir = NULL;
    cli_data         data = { 0 };
    cli_compiling    o = CLI_COMPILING;
    epl_verify_opts  v = { 0 };
    int64_t          samples = 16, bench = 0;
    double           tolerance = 1e-5;
    epl_data_split   split = EPL_SPLIT_TEST;
    const cli_option compiling[] = { CLI_OPT_COMPILING(&o), EPL_OPT_END };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_ARG_MAY("dir", &dir, "the folder that `espalier compile` wrote of it; it remembers the options"),
        EPL_OPT_TEXT(0, "against", "MODEL", &other, "rather than a folder: another network"),
        CLI_OPT_INPUTS(&input_dir),
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
    if ((dir != NULL) == (other || input_dir)) {
        epl_fail(c->ctx, EPL_ERR_ARGUMENT, "say either the folder of a compiled network, or --against or --inputs");
        return cli_status(c);
    }
    if (!dir)
        return cli_end(c, verify_against(c, in, other, input_dir, o.dims, tolerance));
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
    epl_tensor *x = m && data.name ? cli_data_samples(c, m, &data, split, 0) : NULL;
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
    .summary  = "a compiled network against the library, or a network against another",
    .about    = "Builds the folder with make and a compiler, runs it on samples, and compares every output with the library's program of "
                "the same instruction set. With --against, compares the outputs of two networks on the same inputs; with --inputs alone, "
                "with the files output_0.npy or .pb and so on beside them. Exit status 1 if a difference is larger than --tolerance.",
    .examples = "espalier verify t.safetensors t-c\nespalier verify t.safetensors t-c --data fashion-mnist --bench 200\n"
                "espalier verify t.safetensors --against other.onnx --inputs samples\nespalier verify net.onnx --inputs test_data_set_0",
};
