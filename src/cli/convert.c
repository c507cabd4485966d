/* convert: tensors and networks from one file form to another. */
#include <string.h>

#include "cli.h"

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* A single array under a name. */
static epl_weights *open_npy(cli *c, const char *path, const char *name)
{
    epl_tensor  *t = epl_npy_load(c->ctx, path);
    epl_weights *w = t ? epl_weights_new(c->ctx) : NULL;
    if (!w) {
        epl_tensor_free(t);
        return NULL;
    }
    if (epl_weights_put_take(w, name ? name : "tensor", t))
        return w;
    epl_weights_free(w);
    return NULL;
}

static epl_weights *open_any(cli *c, const char *path, const char *tensor)
{
    if (ends_with(path, ".safetensors") || ends_with(path, ".safetensors.index.json"))
        return epl_weights_open(c->ctx, path);
    if (ends_with(path, ".npz"))
        return epl_npz_open(c->ctx, path);
    if (ends_with(path, ".npy"))
        return open_npy(c, path, tensor);
    epl_fail(c->ctx, EPL_ERR_ARGUMENT, "'%s' must end in .safetensors, .npz, .npy or .onnx", path);
    return NULL;
}

static bool save_one(cli *c, const epl_weights *w, const char *tensor, const char *out)
{
    if (!tensor && epl_weights_count(w) != 1)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "%s holds one array, but there are %d tensors: choose one with --tensor", out,
                        epl_weights_count(w));
    const epl_tensor *t = tensor ? epl_weights_find(w, tensor) : epl_weights_at(w, 0);
    if (t)
        return epl_npy_save(c->ctx, out, t);
    const char **names = epl_arena_alloc(c->arena, (size_t)epl_weights_count(w) * sizeof *names + 1);
    for (int i = 0; names && i < epl_weights_count(w); i++)
        names[i] = epl_weights_name(w, i);
    return names && cli_unknown(c, "tensor", tensor, names, (size_t)epl_weights_count(w));
}

static bool save_any(cli *c, const epl_weights *w, const char *tensor, const char *out)
{
    if (ends_with(out, ".safetensors"))
        return epl_weights_save(w, out);
    if (ends_with(out, ".npz"))
        return epl_npz_save(w, out);
    if (ends_with(out, ".npy"))
        return save_one(c, w, tensor, out);
    return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "'%s' must end in .safetensors, .npz, .npy or .onnx", out);
}

/* What the network has and w does not stays as it is: that may be a mistake. */
static void remark_kept(cli *c, const epl_model *m, const epl_weights *w)
{
    epl_text list = EPL_TEXT(c->ctx);
    int      n = 0;
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        if (!epl_weights_find(w, epl_weights_name(m->weights, i)) && n++ < 4)
            epl_text_addf(&list, "%s%s", list.length ? ", " : "", epl_weights_name(m->weights, i));
    if (n)
        cli_remark(c, "%d of %d tensors are not in the input and stay: %s%s", n, epl_weights_count(m->weights),
                   epl_text_str(&list), n > 4 ? ", ..." : "");
    epl_text_release(&list);
}

/* Real numbers of another type are rounded to the network's. False if the tensor does not fit. */
static bool put_tensor(cli *c, epl_tensor *own, const epl_tensor *t)
{
    const bool real = epl_dtype_is_float(own->dtype) && epl_dtype_is_float(t->dtype);
    if (!epl_shape_equal(own->shape, t->shape) || (own->dtype != t->dtype && !real))
        return false;
    epl_tensor *rounded = epl_tensor_cast(c->ctx, t, own->dtype);
    if (rounded)
        memcpy(own->data, rounded->data, epl_tensor_bytes(own));
    epl_tensor_free(rounded);
    return rounded != NULL;
}

/* The network of `model` with the tensors of w, all of which have to fit. */
static bool put_into(cli *c, const epl_weights *w, const char *model, const char *out)
{
    epl_model *m  = cli_model_load(c, model, NULL);
    bool       ok = m != NULL;
    if (ok && !ends_with(out, ".safetensors"))
        ok = epl_fail(c->ctx, EPL_ERR_ARGUMENT, "'%s' must end in .safetensors: --model makes a model file", out);
    for (int i = 0; ok && i < epl_weights_count(w); i++) {
        const char *name = epl_weights_name(w, i);
        epl_tensor *own  = epl_weights_find(m->weights, name);
        char a[192], b[192];
        if (!own)
            ok = epl_fail(c->ctx, EPL_ERR_SHAPE, "'%s' has no tensor named '%s'", model, name);
        else if (!put_tensor(c, own, epl_weights_at(w, i)))
            ok = epl_fail(c->ctx, EPL_ERR_SHAPE, "tensor '%s' is %s%s, '%s' wants %s%s", name, epl_dtype_name(epl_weights_at(w, i)->dtype),
                          epl_shape_text(a, epl_weights_at(w, i)->shape), model, epl_dtype_name(own->dtype), epl_shape_text(b, own->shape));
    }
    if (ok)
        remark_kept(c, m, w);
    ok = ok && epl_model_save(m, out);
    epl_model_free(m);
    return ok;
}

/* A network as .onnx, .safetensors, or its tensors alone. */
static bool save_model(cli *c, const epl_model *m, const char *tensor, const char *out)
{
    if (ends_with(out, ".onnx"))
        return epl_onnx_export(m, out, (epl_onnx_export_opts){ 0 });
    return ends_with(out, ".safetensors") ? epl_model_save(m, out) : save_any(c, m->weights, tensor, out);
}

/* A checkpoint with slots of 32 bits, as a run with that optimizer of 8 bits goes on from it. */
static bool convert_slots(cli *c, const char *in, const char *out, const char *words)
{
    epl_optimizer_opts o;
    if (!epl_optimizer_parse(c->ctx, words, &o))
        return false;
    if (o.slots.bits != 8)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--slots %s: slots become codes with bits=8; the reverse is not possible", words);
    epl_weights *w = epl_weights_open(c->ctx, in);
    const int    n = w ? epl_slots_convert(c->ctx, w, o.slots) : -1;
    const bool   ok = n >= 0 && save_any(c, w, NULL, out);
    if (ok)
        cli_remark(c, "%d slots became codes", n);
    epl_weights_free(w);
    return ok;
}

/* "2:4"; packed weights become whole before. */
static bool pack(cli *c, epl_model *m, const char *n_of_m)
{
    int  n = 0, of = 0;
    char rest;
    if (sscanf(n_of_m, "%d:%d%c", &n, &of, &rest) != 2)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--pack is '%s', but must be two numbers as in 2:4", n_of_m);
    const int packed = epl_nm_unpack(m) < 0 ? -1 : epl_nm_pack(m, (epl_nm_opts){ .n = n, .m = of });
    if (packed == 0)
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "no weight has at most %d of every %d input channels: nothing can be packed", n, of);
    if (packed > 0)
        cli_remark(c, "%d weights packed as %d of %d", packed, n, of);
    return packed > 0;
}

static bool unpack(cli *c, epl_model *m)
{
    const int n = epl_nm_unpack(m);
    if (n >= 0)
        cli_remark(c, "%d weights unpacked", n);
    return n >= 0;
}

/* A model's file anew, with weights packed or unpacked. */
static bool convert_packing(cli *c, const char *in, const char *out, const char *n_of_m, const cli_dims *dims)
{
    epl_model *m  = cli_model_load(c, in, dims);
    const bool ok = m && (n_of_m ? pack(c, m, n_of_m) : unpack(c, m)) && save_model(c, m, NULL, out);
    epl_model_free(m);
    return ok;
}

static bool convert(cli *c, const char *in, const char *out, const char *tensor, const char *model, const cli_dims *dims)
{
    if (model && ends_with(in, ".onnx"))
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--model takes tensors, and '%s' is a network", in);
    if (!model && (ends_with(in, ".onnx") || ends_with(out, ".onnx"))) {
        epl_model *m  = cli_model_load(c, in, dims);
        const bool ok = m && epl_nm_unpack(m) >= 0 && save_model(c, m, tensor, out);
        epl_model_free(m);
        return ok;
    }
    epl_weights *w  = open_any(c, in, tensor);
    const bool   ok = w && (model ? put_into(c, w, model, out) : save_any(c, w, tensor, out));
    epl_weights_free(w);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL, *tensor = NULL, *model = NULL, *slots = NULL, *n_of_m = NULL;
    bool        whole = false;
    cli_dims    dims = { 0 };
    const cli_option options[] = {
        EPL_ARG("input", &in, ".safetensors, .safetensors.index.json, .npz, .npy or .onnx"),
        EPL_ARG("output", &out, ".safetensors, .npz, .npy or .onnx"),
        EPL_OPT_TEXT(0, "tensor", "NAME", &tensor, "the tensor to write to .npy, or the name of the one read from it"),
        EPL_OPT_TEXT(0, "model", "MODEL", &model, "write this network with the tensors of the input in their place"),
        EPL_OPT_TEXT(0, "slots", "NAME[:...]", &slots,
                     "the optimizer, such as adam:bits=8, that goes on from this checkpoint of training: its slots "
                     "become 8-bit codes"),
        EPL_OPT_TEXT(0, "pack", "N:M", &n_of_m,
                     "of a network: weights that have N of every M input channels are stored as values and places"),
        EPL_OPT_FLAG(0, "unpack", &whole, "of a network: such weights are stored whole again"),
        CLI_OPT_DIMS(&dims),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    if ((slots != NULL) + (n_of_m != NULL) + whole > 1 || ((n_of_m || whole) && (model || tensor)))
        return cli_end(c,
                       epl_fail(c->ctx, EPL_ERR_ARGUMENT,
                                "--slots, --pack and --unpack do not go together, nor --pack and --unpack with --model "
                                "and --tensor"));
    const bool ok = slots             ? convert_slots(c, in, out, slots)
                    : n_of_m || whole ? convert_packing(c, in, out, n_of_m, &dims)
                                      : convert(c, in, out, tensor, model, &dims);
    if (ok)
        cli_remark(c, "wrote %s", out);
    return cli_end(c, ok);
}

const cli_verb cli_verb_convert = {
    .name = "convert",
    .run = run,
    .summary = "tensors and networks from one form of file to another",
    .about = "A network (.onnx, or a model in .safetensors) stays a network in .safetensors and .onnx; .npz and .npy "
             "hold its tensors alone. "
             "The forms of files go by their names' ends. NumPy has no bf16: such tensors become f32 there. With "
             "--model every tensor of the "
             "input has to fit the network's; real numbers are rounded to its type.",
    .examples = "espalier convert net.onnx net.safetensors\nespalier convert t.safetensors t.onnx\nespalier convert "
                "t.safetensors weights.npz\n"
                "espalier convert weights.npz t2.safetensors --model t.safetensors\n"
                "espalier convert t.safetensors w.npy --tensor stem.conv.weight\n"
                "espalier convert pruned.safetensors packed.safetensors --pack 2:4\n"
                "espalier convert run/last.safetensors run8/last.safetensors --slots adam:bits=8",
};
