/* hypercomplex: a network whose weights are sums of Kronecker products, and the way back. */
#include <string.h>

#include "cli.h"

static epl_algebra algebra_of(const char *name)
{
    return strcmp(name, "complex") == 0 ? EPL_ALGEBRA_COMPLEX : strcmp(name, "quaternion") == 0 ? EPL_ALGEBRA_QUATERNION
         : strcmp(name, "identity") == 0 ? EPL_ALGEBRA_IDENTITY : EPL_ALGEBRA_LEARNED;
}

static char *as_json(cli *c, const char *out, const epl_hypercomplex_result *r)
{
    epl_text        text = EPL_TEXT(c->ctx);
    epl_json_writer w    = epl_json_writer_at(&text, 2);
    epl_json_open_object(&w, NULL);
    epl_json_put_string(&w, "output", out);
    epl_json_put_i64(&w, "layers", r->layers);
    epl_json_put_i64(&w, "skipped", r->skipped);
    epl_json_put_i64(&w, "parameters_before", r->params_before);
    epl_json_put_i64(&w, "parameters_after", r->params_after);
    epl_json_put_f64(&w, "error", r->error);
    epl_json_close(&w);
    return epl_text_detach(&text);
}

static char *as_text(cli *c, const char *out, const epl_hypercomplex_result *r, bool fitted)
{
    epl_text text = EPL_TEXT(c->ctx);
    epl_text_addf(&text, "%s: %d layers of %d, %lld of %lld parameters left (%.1f %%)", out, r->layers, r->layers + r->skipped,
                  (long long)r->params_after, (long long)r->params_before, 100 * (double)r->params_after / (double)r->params_before);
    if (fitted)
        epl_text_addf(&text, ", %.3g of the weights' norm lost", r->error);
    if (r->skipped)
        epl_text_addf(&text, "\nas they were: %s", r->skipped_names);
    return epl_text_detach(&text);
}

/* With the trained weights fitted, or drawn anew. */
static bool rewrite(cli *c, epl_model *m, epl_hypercomplex_opts o, bool fresh, const char *out)
{
    epl_hypercomplex_result r = { 0 };
    bool ok = epl_hypercomplex(m->graph, fresh ? NULL : m->weights, o, &r);
    if (ok && r.layers == 0)
        ok = epl_fail(c->ctx, EPL_ERR_ARGUMENT, "no layer's channels divide by %d: %s", o.n,
                      r.skipped_names ? r.skipped_names : "there are none");
    for (int i = epl_weights_count(m->weights); ok && fresh && i-- > 0;) // plain weights that are gone
        if (!epl_graph_find(m->graph, epl_weights_name(m->weights, i)))
            ok = epl_weights_remove(m->weights, epl_weights_name(m->weights, i));
    ok = ok && epl_model_init(m, (uint64_t)c->seed) && epl_model_save(m, out);
    ok = ok && cli_print_take(c, c->json ? as_json(c, out, &r) : as_text(c, out, &r, !fresh));
    epl_release(c->ctx, r.skipped_names);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *algebra = "learned";
    bool        fresh = false, back = false;
    int64_t     n = 0;
    epl_hypercomplex_opts o = { 0 };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the model to write"),
        EPL_OPT_INT('n', "terms", &n, 0, 16, "terms of the sums: layers have 1/N of their weights"),
        EPL_OPT_CHOICE(0, "algebra", "learned|complex|quaternion|identity", &algebra, "the rules, N x N matrices"),
        EPL_OPT_TEXT(0, "pattern", "NAMES", &o.pattern, "which weights (default: all of convolutions and linear layers)"),
        EPL_OPT_TEXT(0, "skip", "NAMES", &o.skip, "which weights not, as in stem*,head*"),
        EPL_OPT_FLAG(0, "pad-channels", &o.pad_channels, "zeros before the input's channels where N does not divide them"),
        EPL_OPT_FLAG(0, "fresh", &fresh, "draw the new weights; default: the nearest to those that are there"),
        EPL_OPT_FLAG(0, "materialize", &back, "the way back: plain weights that compute the same"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    if ((n > 0) == back) {
        epl_fail(c->ctx, EPL_ERR_ARGUMENT, "say either --terms N or --materialize");
        return cli_status(c);
    }
    o.n       = (int)n;
    o.algebra = algebra_of(algebra);
    epl_model *m = cli_model_load(c, in, NULL);
    const bool ok = m && (back ? epl_bake(m) && epl_model_save(m, out) : rewrite(c, m, o, fresh, out));
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_hypercomplex = {
    .name = "hypercomplex",
    .json = true,
    .run = run,
    .summary = "makes weights sums of Kronecker products: 1/N of the parameters",
    .about = "A layer's weight becomes the sum of N Kronecker products of a rule, N x N, and a bank of filters N times "
             "narrower both ways "
             "(Grassucci et al. 2021, arXiv:2110.04176). Its multiply-adds stay as many. Layers whose channels N does "
             "not divide stay as they are.",
    .examples = "espalier hypercomplex t.safetensors -o h.safetensors --terms 2 --skip 'stem*,head*'\n"
                "espalier train h.safetensors --data fashion-mnist -o h2.safetensors\n"
                "espalier hypercomplex h2.safetensors -o plain.safetensors --materialize",
};
