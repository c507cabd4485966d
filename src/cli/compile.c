/* compile: a network as stand-alone C. */
#include "compiling.h"

/* What verify has to know of it lies in the folder, as options of the command line, one a line. */
static bool keep_options(cli *c, const cli_compiling *o, const char *dir)
{
    epl_text path = EPL_TEXT(c->ctx), text = EPL_TEXT(c->ctx);
    epl_text_addf(&path, "%s/%s", dir, CLI_COMPILE_OPTIONS);
    epl_text_addf(&text, "--name=%s\n--weights=%s\n", o->name, o->weights);
    if (o->target)
        epl_text_addf(&text, "--target=%s\n", o->target);
    if (o->max_trip)
        epl_text_addf(&text, "--max-trip=%lld\n", (long long)o->max_trip);
    if (o->unroll)
        epl_text_addf(&text, "--unroll=%lld\n", (long long)o->unroll);
    if (o->dims.batch)
        epl_text_addf(&text, "--batch=%lld\n", (long long)o->dims.batch);
    for (int i = 0; i < o->dims.named.n; i++)
        epl_text_addf(&text, "--dim=%s\n", o->dims.named.at[i]);
    if (o->shifts)
        epl_text_add(&text, "--shifts\n");
    if (o->train)
        epl_text_addf(&text, "--train\n--optimizer=%s\n--loss=%s\n", o->optimizer, o->loss);
    const bool ok = !path.failed && !text.failed && epl_write_file(c->ctx, epl_text_str(&path), epl_text_str(&text), text.length);
    epl_text_release(&text);
    epl_text_release(&path);
    return ok;
}

static char *results(cli *c, const epl_artifact *a, const char *dir, const char *name)
{
    epl_text out = EPL_TEXT(c->ctx);
    char     arena[32], weights[32], state[32], source[32];
    if (c->json) {
        epl_json_writer w = epl_json_writer_at(&out, 2);
        epl_json_open_object(&w, NULL);
        epl_json_put_string(&w, "output", dir);
        epl_json_put_string(&w, "name", name);
        epl_json_put_i64(&w, "arena", (int64_t)a->arena);
        epl_json_put_i64(&w, "weights", (int64_t)a->weights);
        epl_json_put_i64(&w, "state", (int64_t)a->state);
        epl_json_put_i64(&w, "source", (int64_t)a->source);
        epl_json_close(&w);
        return epl_text_detach(&out);
    }
    epl_format_bytes(arena, (double)a->arena);
    epl_format_bytes(weights, (double)a->weights);
    epl_format_bytes(state, (double)a->state);
    epl_format_bytes(source, (double)a->source);
    epl_text_addf(&out, "%s: %s of static memory, %s of constants, %s of state, %s of source\n", dir, arena, weights, state, source);
    return epl_text_detach(&out);
}

static int run(cli *c, int argc, char **argv)
{
    const char   *in = NULL, *out = NULL;
    cli_compiling o = CLI_COMPILING;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "DIR", &out, "the folder to write; it is made if it is not there"),
        CLI_OPT_COMPILING(&o),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_artifact a = { 0 };
    epl_model *m  = cli_compiling_model(c, in, &o);
    const bool ok = m && epl_compile(m, out, cli_compiling_opts(&o), &a) && keep_options(c, &o, out) &&
                    cli_print_take(c, results(c, &a, out, o.name));
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_compile = {
    .name = "compile", .json = true, .run = run,
    .summary  = "a network as stand-alone C",
    .about    = "Writes the planned program, the kernels that it uses, the weights, an example and a Makefile. The result needs libc and "
                "libm, has all its memory in one static array, and computes what the library computes: `espalier verify` checks it.",
    .examples = "espalier compile t.safetensors -o t-c\nespalier compile t.safetensors -o t-arm --target aarch64\n"
                "make -C t-c",
};
