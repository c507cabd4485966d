/* new: a model of the zoo, with fresh weights, as a file. */
#include <string.h>

#include "help.h"
#include "training.h"

static void add_option_help(epl_text *out, const epl_zoo_option *o)
{
    char number[32], range[96] = "";
    const size_t before = out->length;
    if (o->choices) {
        const char *word = o->choices;
        for (int i = (int)o->value; i > 0 && strchr(word, '|'); i--)
            word = strchr(word, '|') + 1;
        epl_text_addf(out, "  %s=%.*s", o->name, (int)strcspn(word, "|"), word);
    } else {
        epl_format_f64(number, o->value);
        epl_text_addf(out, "  %s=%s", o->name, number);
    }
    if (!o->choices && o->low != o->high) {
        char low[32], high[32];
        epl_format_f64(low, o->low);
        epl_format_f64(high, o->high);
        snprintf(range, sizeof range, " (%s to %s)", low, high);
    }
    epl_text help = EPL_TEXT(out->ctx);
    epl_text_addf(&help, "%s%s%s%s%s", o->help ? o->help : "", range, o->choices ? " (" : "", o->choices ? o->choices : "",
                  o->choices ? ")" : "");
    const int column = (int)(out->length - before);
    epl_text_addf(out, "%*s", column < 24 ? 24 - column : 2, "");
    cli_add_wrapped(out, epl_text_str(&help), 24, column < 24 ? 24 : column + 2);
    epl_text_release(&help);
}

/* `espalier new --help resnet`. The subject may be a whole description. */
static bool help_model(cli *c, const char *subject)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(subject, ":"), subject);
    const epl_zoo_entry *e = epl_zoo_find(name);
    if (!e) {
        epl_graph_free(epl_zoo_build(c->ctx, name)); // says which name comes close
        return false;
    }
    epl_text out = EPL_TEXT(c->ctx);
    epl_text_addf(&out, "%s: %s\n", e->name, e->summary);
    if (e->paper && *e->paper)
        epl_text_addf(&out, "%s\n", e->paper);
    epl_text_add(&out, "\noptions, with their defaults:\n");
    for (int i = 0; i < epl_zoo_n_options(e); i++)
        add_option_help(&out, epl_zoo_option_at(e, i));
    epl_text_addf(&out, "\nexample:\n  espalier new %s:%s=", e->name, e->options[0].name ? e->options[0].name : "");
    char number[32];
    epl_format_f64(number, e->options[0].value);
    epl_text_addf(&out, "%.*s -o %s.safetensors\n", e->options[0].choices ? (int)strcspn(e->options[0].choices, "|") : 32,
                  e->options[0].choices ? e->options[0].choices : number, e->name);
    return cli_print_take(c, epl_text_detach(&out));
}

/* What --init, --lsuv and --data ask for: other weights to start with. */
static bool start_anew(cli *c, epl_model *m, const char *init, bool lsuv, const cli_data *data)
{
    epl_dataset *d = data->name ? cli_data_open(c, data, EPL_SPLIT_TRAIN, 0) : NULL;
    epl_tensor  *x = NULL;
    bool ok = !data->name || d;
    if (ok && lsuv && !d)
        ok = epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--lsuv measures what layers answer to samples: say --data");
    const int64_t count = ok && d ? epl_dataset_info_of(d).count : 0;
    if (ok && lsuv)
        ok = epl_dataset_tensors(d, 0, count < 64 ? count : 64, &x, NULL) && epl_init_lsuv(m, x, (uint64_t)c->seed);
    if (ok && init)
        ok = epl_init_weights(m, init, d, (uint64_t)c->seed) > 0;
    epl_tensor_free(x);
    epl_dataset_free(d);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *description = NULL, *out = NULL, *init = NULL;
    bool        lsuv = false;
    cli_data    data = { 0 };
    const cli_option options[] = {
        EPL_ARG("description", &description, "a model and its options, such as resnet:depth=20,classes=10"),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the model file to write (.safetensors)"),
        EPL_OPT_TEXT(0, "init", "LAYER=METHOD,...", &init, "other starts for weights, as in conv0=gabor,*=he (`espalier filters --help`)"),
        EPL_OPT_FLAG(0, "lsuv", &lsuv, "orthogonal weights, scaled so that every layer answers --data with variance 1"),
        CLI_OPT_DATA(&data, false),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *m  = epl_model_new_take(epl_zoo_build(c->ctx, description));
    const bool ok = m && epl_model_init(m, (uint64_t)c->seed) && start_anew(c, m, init, lsuv, &data) && epl_model_save(m, out);
    if (ok) {
        char parameters[32], macs[32];
        epl_format_count(parameters, (double)epl_graph_n_parameters(m->graph));
        epl_format_count(macs, epl_graph_cost(m->graph).macs);
        cli_remark(c, "wrote %s: %s parameters, %s multiply-adds a sample", out, parameters, macs);
    }
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_new = {
    .name = "new", .run = run, .help_about = help_model,
    .summary  = "makes a model file from an architecture's name and options",
    .about    = "Weights are drawn with --seed, as the architecture's paper says. `espalier models` lists the architectures, "
                "`espalier new --help MODEL` a model's options with their defaults.",
    .examples = "espalier new resnet:depth=20,image=28,channels=1 -o m.safetensors\nespalier new --help resnet\n"
                "espalier new lenet --init 'conv0=kmeans,*=he' --data fashion-mnist -o m.safetensors",
};
