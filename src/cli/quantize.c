/* quantize: weights of a few bits in the place of a network's own, and integers in the place of what their layers read. */
#include <string.h>

#include "training.h"

static bool tell(cli *c, const char *out, const epl_shift_result *r)
{
    epl_text text = EPL_TEXT(c->ctx);
    char     packed[32], before[32];
    if (c->json) {
        epl_json_writer w = epl_json_writer_at(&text, 2);
        epl_json_open_object(&w, NULL);
        epl_json_put_string(&w, "output", out);
        epl_json_put_i64(&w, "layers", r->layers);
        epl_json_put_i64(&w, "weights", r->weights);
        epl_json_put_i64(&w, "others", r->others);
        epl_json_put_i64(&w, "bytes", (int64_t)r->bytes);
        epl_json_put_i64(&w, "bytes_before", (int64_t)r->bytes_before);
        epl_json_put_i64(&w, "bare", r->bare);
        epl_json_close(&w);
        return cli_print_take(c, epl_text_detach(&text));
    }
    epl_format_bytes(packed, (double)r->bytes);
    epl_format_bytes(before, (double)r->bytes_before);
    epl_text_addf(
        &text,
        "%s: %d layers with %lld weights are powers of two, %lld parameters stay; %s packed, %s before; train it", out,
        r->layers, (long long)r->weights, (long long)r->others, packed, before);
    if (r->bare > 0)
        cli_remark(c,
                   "no normalisation follows %d of the layers (%s the first): values of 1 and more make activations "
                   "grow; --init from-float scales channels",
                   r->bare, r->first_bare);
    return cli_print_take(c, epl_text_detach(&text));
}

static epl_shift_method method_of(const char *s)
{
    return strcmp(s, "s3-3bit") == 0 ? EPL_SHIFT_S3 : strcmp(s, "deepshift-q") == 0 ? EPL_SHIFT_Q
                                                    : strcmp(s, "deepshift-ps") == 0 ? EPL_SHIFT_PS : EPL_SHIFT_DENSE;
}

static bool quantize_activations(cli *c, epl_model *m, const cli_data *data, const char *out)
{
    epl_quantize_result r = { 0 };
    epl_tensor *x  = cli_data_samples(c, m, data, EPL_SPLIT_TRAIN, data->limit ? data->limit : 256);
    const bool  ok = x && epl_quantize_activations(m, x, &r) && epl_model_save(m, out);
    epl_tensor_free(x);
    if (ok)
        cli_remark(c, "%s: %d layers read %d values as integers of 8 bits", out, r.layers, r.values);
    return ok;
}

static bool print_codes(cli *c, const epl_model *m)
{
    epl_table *t  = epl_shift_report(m);
    const bool ok = t && cli_print_table(c, t);
    epl_table_free(t);
    return ok;
}

static bool quantize(cli *c, epl_model *m, epl_shift_opts o, bool pack, bool report, const char *out)
{
    epl_shift_result r = { 0 };
    if (!pack)
        return epl_shift(m, o, &r) && epl_model_save(m, out) && (report ? print_codes(c, m) : tell(c, out, &r));
    const int n = epl_shift_pack(m);
    if (n == 0)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "the network has no weights of denseshift that could be packed");
    cli_remark(c, "%d weights packed", n);
    return n > 0 && epl_model_save(m, out) && (!report || print_codes(c, m));
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *method = "denseshift", *init = "scratch", *skip = "first,last", *rescale = "on", *pattern = NULL;
    int64_t     bits = 0;
    bool        pack = false, activations = false, report = false;
    cli_data    data = { 0 };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the model to write"),
        EPL_OPT_CHOICE(0, "method", "denseshift|s3-3bit|deepshift-q|deepshift-ps", &method, "what stands for a weight"),
        EPL_OPT_INT(0, "bits", &bits, 0, 8, "denseshift: 2, 3 or 4 (0: 3); deepshift: 3 to 8 (0: 5)"),
        EPL_OPT_CHOICE(0, "init", "scratch|low-variance|from-float", &init, "how its variables begin"),
        EPL_OPT_CHOICE(0, "skip", "first,last|first|last|none", &skip, "layers that keep their weights"),
        EPL_OPT_CHOICE(0, "rescale", "on|off", &rescale, "denseshift: gradients of large exponents are rescaled"),
        EPL_OPT_TEXT(0, "weights", "GLOB", &pattern, "only these, by their names"),
        EPL_OPT_FLAG(0, "pack", &pack, "pack the variables of a denseshift network into codes, for inference"),
        EPL_OPT_FLAG(0, "activations", &activations,
                     "with --data: what packed layers read becomes integers of 8 bits (--limit 0: 256 samples)"),
        CLI_OPT_DATA(&data, false),
        EPL_OPT_FLAG(0, "report", &report, "print how often each value occurs, weight by weight"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    if (activations != (data.name != NULL))
        return cli_end(c, epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--activations and --data go together: samples show how large values become"));
    const bool first = strstr(skip, "first") == NULL, last = strstr(skip, "last") == NULL;
    const epl_shift_opts o = { .method = method_of(method), .bits = (int)bits, .seed = (uint64_t)c->seed, .pattern = pattern,
                               .init = strcmp(init, "scratch") == 0 ? EPL_SHIFT_SCRATCH
                                                                    : init[0] == 'l' ? EPL_SHIFT_LOW_VARIANCE : EPL_SHIFT_FROM_FLOAT,
                               .no_rescale = strcmp(rescale, "off") == 0, .first = first, .last = last };
    epl_model *m  = cli_model_load(c, in, NULL);
    const bool ok = m && (!pack || !activations || epl_shift_pack(m) >= 0) &&
                    (activations ? quantize_activations(c, m, &data, out) : quantize(c, m, o, pack, report, out));
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_quantize = {
    .name = "quantize",
    .run = run,
    .summary = "weights that are powers of two, of a few bits",
    .about = "Puts an expression of trained variables in the place of each weight of convolutions and linear layers, "
             "so that a product is a shift "
             "(DenseShift, Li et al. 2023, arXiv:2208.09708; S3 and DeepShift beside it). Train the result, then pack "
             "it: a code of 2 to 4 bits for "
             "each weight.",
    .examples = "espalier quantize resnet:depth=20 --bits 3 -o shift.safetensors\n"
                "espalier train shift.safetensors --data fashion-mnist --optimizer "
                "sgd:rate=0.1,momentum=0.9,decay=1e-4 -o t.safetensors\n"
                "espalier quantize t.safetensors --pack -o packed.safetensors\n"
                "espalier quantize packed.safetensors --activations --data fashion-mnist -o integers.safetensors",
};
