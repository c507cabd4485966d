/* transform: a network whose layers are larger and sparse, at the same multiply-adds. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* "dense", or a number of multiply-adds. */
static bool read_target(cli *c, const char *text, epl_ift_opts *o)
{
    char *end = NULL;
    o->match = text != NULL;
    if (!text || strcmp(text, "dense") == 0)
        return true;
    o->macs = strtod(text, &end);
    return (*end == 0 && o->macs > 0) ||
           epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--match-flops is '%s', but must be 'dense' or a number of multiply-adds", text);
}

static void put_row(epl_table *t, const char *name, double before, double after, double nonzero)
{
    epl_table_row(t);
    epl_table_text(t, name);
    epl_table_number(t, before);
    epl_table_number(t, after);
    if (nonzero > 0)
        epl_table_number(t, nonzero);
    else
        epl_table_empty(t);
}

static epl_table *account(cli *c, const epl_ift_result *r)
{
    epl_table *t = epl_table_new(c->ctx, "Larger and sparse");
    epl_table_column(t, "", (epl_column_opts){ .key = "what" });
    epl_table_column(t, "before", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "after", (epl_column_opts){ .format = EPL_FORMAT_COUNT });
    epl_table_column(t, "without zeros", (epl_column_opts){ .key = "nonzero", .format = EPL_FORMAT_COUNT });
    put_row(t, "parameters", (double)r->params_before, (double)r->params_after, (double)r->nonzero);
    put_row(t, "multiply-adds", r->macs_before, r->macs_after, r->macs_nonzero);
    put_row(t, "weights to choose from", (double)r->choice_before, (double)r->choice_after, 0);
    put_row(t, "activations", (double)r->activations_before, (double)r->activations_after, 0);
    return t;
}

static bool transform(cli *c, const char *in, const char *out, epl_ift_opts o)
{
    epl_ift_result r = { 0 };
    epl_model     *m = cli_model_load(c, in, NULL);
    bool           ok = m && epl_ift(m, o, &r) && epl_model_save(m, out);
    epl_table     *t = ok ? account(c, &r) : NULL;
    ok = t && cli_print_table(c, t);
    if (ok && !c->json)
        cli_remark(c, "%s: %d layers, masks of sparsity %.5f; the multiply-adds are those of a run that skips zeros",
                   out, r.layers, r.sparsity);
    epl_table_free(t);
    epl_model_free(m);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char  *in = NULL, *out = NULL, *target = NULL;
    epl_ift_opts o = { .member = "wide", .sparsity = 0.75, .layers = "*", .between = "relu" };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the model to write"),
        EPL_OPT_CHOICE(0, "ift", "wide|parallel|factorized|doped", &o.member, "how layers become larger"),
        EPL_OPT_REAL('s', "sparsity", &o.sparsity, 0, 0.99999, "of the larger layers"),
        EPL_OPT_TEXT(0, "layers", "NAMES", &o.layers, "weights that are rewritten and masked"),
        EPL_OPT_TEXT(0, "match-flops", "dense|N", &target, "choose the masks' sparsity for as many multiply-adds as before, or N"),
        EPL_OPT_CHOICE(0, "between", "relu|norm|linear", &o.between, "factorized: what stands between the factors"),
        EPL_OPT_FLAG(0, "dense-v", &o.u_only, "factorized: the second factor is not masked"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    o.seed = (uint64_t)c->seed;
    return cli_end(c, read_target(c, target, &o) && transform(c, in, out, o));
}

const cli_verb cli_verb_transform = {
    .name = "transform",
    .json = true,
    .run = run,
    .summary = "replaces layers by larger sparse ones of the same cost",
    .about = "Sparse-IFT (Thangarasa et al. 2023, arXiv:2303.11525): as many multiply-adds as before, but more weights "
             "to choose them from. "
             "What has another shape than before starts anew, so the result is to be trained: with `espalier train` "
             "under the masks "
             "as they are, or with `espalier prune --regrow`, which lets them move.",
    .examples =
        "espalier transform resnet:depth=20 -o w.safetensors --ift wide -s 0.75 --match-flops dense\n"
        "espalier prune w.safetensors -o t.safetensors --regrow rigl --skip first,last --data cifar10 --epochs 20",
};
