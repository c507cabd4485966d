/* export: a model as an ONNX file. */
#include "cli.h"

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *dims = NULL;
    int64_t     opset = 0;
    bool        external = false;
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the ONNX file to write"),
        EPL_OPT_INT(0, "opset", &opset, 0, 1000, "version of ONNX's operators, 13 to 21 (0: the newest)"),
        EPL_OPT_TEXT(0, "dims", "NAME=SIZE,...", &dims, "named dimensions that get a fixed size; the others stay named"),
        EPL_OPT_FLAG(0, "external", &external, "put the weights beside the file, into FILE.data"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *m  = cli_model_load(c, in, NULL);
    const bool ok =
        m && epl_nm_unpack(m) >= 0 &&
        epl_onnx_export(m, out, (epl_onnx_export_opts){ .opset = (int)opset, .dims = dims, .external_data = external });
    if (ok)
        cli_remark(c, "wrote %s", out);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_export = {
    .name = "export", .run = run,
    .summary  = "writes a model as an ONNX file",
    .about    = "The file computes inference and keeps the model's axes at its ends: images are [N, H, W, C]. What ONNX cannot say is "
                "refused by name; docs/onnx.md tells what becomes of what.",
    .examples = "espalier export m.safetensors -o m.onnx\nespalier export m.safetensors -o m.onnx --opset 17 --dims N=1",
};
