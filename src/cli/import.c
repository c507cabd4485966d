/* import: other people's networks and weights as a model file. */
#include <string.h>

#include "inputs.h"

/* A network of the zoo under its published name, with the weights of a state dict. Options after a colon change its description. */
static epl_model *published(cli *c, const char *arch, const char *path)
{
    char         name[64], description[512];
    const size_t n = strcspn(arch, ":");
    snprintf(name, sizeof name, "%.*s", (int)n, arch);
    const char  *known = epl_zoo_published_description(c->ctx, name);
    epl_weights *w = known ? epl_weights_open(c->ctx, path) : NULL;
    if (!w)
        return NULL;
    snprintf(description, sizeof description, "%s%s%s", known, arch[n] ? "," : "", arch[n] ? arch + n + 1 : "");
    epl_graph *g = epl_zoo_build(c->ctx, description);
    epl_model *m = g ? epl_model_new_take(g) : NULL;
    if (m && !epl_zoo_import_weights(m, w, name)) {
        epl_model_free(m);
        m = NULL;
    }
    epl_weights_free(w);
    return m;
}

static int run(cli *c, int argc, char **argv)
{
    const char  *in = NULL, *out = NULL, *arch = NULL, *given = NULL;
    cli_dims     dims = { 0 };
    epl_weights *inputs = NULL;
    const cli_option options[] = {
        EPL_ARG("input", &in, "a network (.onnx), or with --arch its weights (.safetensors, .safetensors.index.json)"),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the model file to write (.safetensors)"),
        EPL_OPT_TEXT(0, "arch", "NAME", &arch,
                     "the network's published name, such as resnet50, or with options resnet50:classes=10"),
        EPL_OPT_DIR(
            0, "inputs", &given,
            "tensors for the inputs, for shapes that follow from them: <name>.npy, or input_0.npy or .pb and so on"),
        CLI_OPT_DIMS(&dims),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *m  = arch ? published(c, arch, in) : given ? cli_inputs_load(c, in, dims, given, &inputs) : cli_model_load(c, in, &dims);
    const bool ok = m && cli_model_save(c, m, out);
    epl_model_free(m);
    epl_weights_free(inputs);
    return cli_end(c, ok);
}

static bool list_names(cli *c, const char *subject)
{
    epl_text out = EPL_TEXT(c->ctx);
    if (strcmp(subject, "arch") != 0)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "there is help about 'arch', not about '%s'", subject);
    for (int i = 0; i < epl_zoo_n_published(); i++)
        epl_text_addf(&out, "%-24s %s\n", epl_zoo_published_name(i),
                      epl_zoo_published_description(c->ctx, epl_zoo_published_name(i)));
    return cli_print_take(c, epl_text_detach(&out));
}

const cli_verb cli_verb_import = {
    .name = "import",
    .run = run,
    .help_about = list_names,
    .summary = "takes a network from ONNX, or published weights, into a model file",
    .about =
        "With --arch the input holds weights under the names that torchvision or timm give them; their axes are put "
        "into our "
        "order. What is missing, unexpected or misshapen is listed. `espalier import --help arch` lists the names. "
        "With --inputs a network that computes shapes from its inputs' values holds for those values.",
    .examples = "espalier import net.onnx -o net.safetensors\nespalier import net.onnx --inputs test_data_set_0 -o "
                "net.safetensors\nespalier import --arch densenet121 weights.safetensors -o m.safetensors",
};
