/* predict: a network on pictures or arrays. What files hold becomes samples (samples.c); here they run, and results are written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "samples.h"

typedef struct prediction {
    int     n;             /* classes shown */
    int64_t at[16];
    double  score[16];
} prediction;

/* ---- running ---- */

/* Every output for all samples, [n, ...] each. */
typedef struct results {
    int          n_outputs;
    epl_tensor **outputs;
} results;

static bool results_init(cli *c, results *r, epl_program *p, int64_t n_samples)
{
    r->n_outputs = epl_program_n_outputs(p);
    r->outputs   = epl_arena_alloc(c->arena, (size_t)r->n_outputs * sizeof *r->outputs);
    for (int i = 0; r->outputs && i < r->n_outputs; i++) {
        const epl_tensor *t = epl_program_output(p, i);
        epl_shape shape = t->shape;
        if (shape.rank == 0 || shape.dim[0] != epl_program_input(p, 0)->shape.dim[0])
            return epl_fail(c->ctx, EPL_ERR_SHAPE, "output '%s' has no batch of its own",
                            epl_graph_output_name(epl_program_graph(p), i));
        shape.dim[0]  = n_samples;
        r->outputs[i] = epl_tensor_new(c->ctx, t->dtype, shape);
        if (!r->outputs[i])
            return false;
    }
    return r->outputs != NULL;
}

static void results_release(results *r)
{
    for (int i = 0; r->outputs && i < r->n_outputs; i++)
        epl_tensor_free(r->outputs[i]);
}

static size_t row_bytes(const epl_tensor *t) { return t->shape.dim[0] ? epl_tensor_bytes(t) / (size_t)t->shape.dim[0] : 0; }

/* Batch after batch; the last is filled up with what is there. */
static bool run_all(cli *c, epl_program *p, const cli_samples *s, results *r)
{
    epl_tensor   *x     = epl_program_input(p, 0);
    const int64_t batch = x->shape.dim[0];
    epl_progress  progress = s->n > 4 * batch ? cli_progress(c, "samples") : (epl_progress){ 0 };
    bool ok = true;
    for (int64_t first = 0; ok && first < s->n; first += batch) {
        const int64_t n = s->n - first < batch ? s->n - first : batch;
        for (int64_t i = 0; i < n; i++)
            memcpy((char *)x->data + (size_t)i * row_bytes(x), s->at[first + i].data, row_bytes(x));
        ok = epl_program_run(p);
        for (int k = 0; ok && k < r->n_outputs; k++)
            memcpy((char *)r->outputs[k]->data + (size_t)first * row_bytes(r->outputs[k]), epl_program_output(p, k)->data,
                   (size_t)n * row_bytes(r->outputs[k]));
        if (ok && progress.report && !progress.report(progress.user, "predict", (double)(first + n), (double)s->n))
            ok = epl_fail(c->ctx, EPL_ERR_INTERRUPTED, "stopped after %lld of %lld samples", (long long)(first + n), (long long)s->n);
    }
    cli_progress_end(c);
    return ok;
}

/* ---- classes ---- */

/* Softmax of a row of scores unless they are probabilities already, then the k largest, of equal ones the first. */
static prediction best_classes(const epl_tensor *t, int64_t row, bool softmax, int k)
{
    const int64_t n = t->shape.dim[1];
    prediction p = { .n = (int)(k < n ? k : n) };
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, epl_tensor_get(t, row * n + i));
    for (int64_t i = 0; i < n; i++)
        sum += exp(epl_tensor_get(t, row * n + i) - most);
    int filled = 0;
    for (int64_t i = 0; i < n; i++) {
        const double x = epl_tensor_get(t, row * n + i);
        const double score = softmax ? exp(x - most) / sum : x;
        int place = filled;
        while (place > 0 && p.score[place - 1] < score)
            place--;
        if (place == p.n)
            continue;
        filled += filled < p.n;
        for (int m = filled - 1; m > place; m--) {
            p.score[m] = p.score[m - 1];
            p.at[m]    = p.at[m - 1];
        }
        p.score[place] = score;
        p.at[place]    = i;
    }
    return p;
}

/* The class's name of the model's list, or its number. */
static const char *class_name(const epl_model *m, int64_t k, char out[128])
{
    const char *names = epl_weights_metadata(m->weights, CLI_CLASSES_KEY);
    for (int64_t i = 0; names && i < k; i++) {
        names = strchr(names, '\n');
        names += names != NULL;
    }
    if (names && *names)
        snprintf(out, 128, "%.*s", (int)strcspn(names, "\n"), names);
    else
        snprintf(out, 128, "%lld", (long long)k);
    return out;
}

static bool ends_in_softmax(const epl_model *m)
{
    return strcmp(epl_node_op_name(epl_producer(epl_graph_output_at(m->graph, 0))), "Softmax") == 0;
}

static void add_json(epl_json_writer *w, const epl_model *m, const char *input, const prediction *p)
{
    char name[128];
    epl_json_open_object(w, NULL);
    epl_json_put_string(w, "input", input);
    epl_json_open_array(w, "classes");
    for (int i = 0; i < p->n; i++) {
        epl_json_open_object(w, NULL);
        epl_json_put_i64(w, "class", p->at[i]);
        epl_json_put_string(w, "label", class_name(m, p->at[i], name));
        epl_json_put_f64(w, "score", p->score[i]);
        epl_json_close(w);
    }
    epl_json_close(w);
    epl_json_close(w);
}

static void add_row(epl_table *t, const epl_model *m, const char *input, const prediction *p)
{
    char name[128];
    epl_table_row(t);
    epl_table_text(t, input);
    for (int i = 0; i < p->n; i++) {
        epl_table_text(t, class_name(m, p->at[i], name));
        epl_table_number(t, p->score[i]);
    }
}

static bool print_classes(cli *c, const epl_model *m, const cli_samples *s, const epl_tensor *scores, int top, bool raw)
{
    const bool      softmax = !raw && !ends_in_softmax(m);
    epl_text        out = EPL_TEXT(c->ctx);
    epl_json_writer w   = epl_json_writer_at(&out, 2);
    epl_table      *t   = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "input", (epl_column_opts){ 0 });
    for (int i = 0; i < top; i++) {
        epl_table_column(t, "class", (epl_column_opts){ .align = EPL_ALIGN_LEFT });
        epl_table_column(t, raw ? "score" : "share",
                         (epl_column_opts){ .format = raw ? EPL_FORMAT_FIXED : EPL_FORMAT_PERCENT,
                                            .decimals = raw ? 4 : 2 });
    }
    epl_json_open_array(&w, NULL);
    for (int64_t i = 0; i < s->n; i++) {
        const prediction p = best_classes(scores, i, softmax, top);
        if (c->json)
            add_json(&w, m, s->at[i].name, &p);
        else
            add_row(t, m, s->at[i].name, &p);
    }
    epl_json_close(&w);
    char *text = c->json ? epl_text_detach(&out) : epl_table_to_text(t, (epl_table_opts){ 0 });
    epl_text_release(&out);
    epl_table_free(t);
    return cli_print_take(c, text);
}

/* ---- arrays ---- */

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* Output 0 as .npy; all of them by name as .npz or .safetensors. */
static bool write_outputs(cli *c, const epl_model *m, const results *r, const char *path)
{
    if (ends_with(path, ".npy"))
        return epl_npy_save(c->ctx, path, r->outputs[0]);
    if (!ends_with(path, ".npz") && !ends_with(path, ".safetensors"))
        return epl_fail(c->ctx, EPL_ERR_ARGUMENT, "--output is '%s', but must end in .npy, .npz or .safetensors", path);
    epl_weights *w = epl_weights_new(c->ctx);
    bool ok = w != NULL;
    for (int i = 0; ok && i < r->n_outputs; i++) {
        epl_tensor *copy = epl_tensor_copy(c->ctx, r->outputs[i]);
        ok = copy && epl_weights_put_take(w, epl_graph_output_name(m->graph, i), copy);
    }
    ok = ok && (ends_with(path, ".npz") ? epl_npz_save(w, path) : epl_weights_save(w, path));
    epl_weights_free(w);
    return ok;
}

/* ---- */

static bool predict(cli *c, const epl_model *m, const cli_samples *s, const char *out, int top, bool raw)
{
    results      r = { 0 };
    epl_program *p = epl_program_new(m->graph, m->weights, (epl_program_opts){ .frozen = true, .sparse = true });
    bool ok = p && results_init(c, &r, p, s->n) && run_all(c, p, s, &r);
    const bool classes = ok && r.outputs[0]->shape.rank == 2 && epl_dtype_is_float(r.outputs[0]->dtype);
    if (ok && out)
        ok = write_outputs(c, m, &r, out);
    else if (ok && classes)
        ok = print_classes(c, m, s, r.outputs[0], top, raw);
    else if (ok)
        ok = epl_fail(c->ctx, EPL_ERR_ARGUMENT, "output '%s' holds no scores of classes: write it to a file with --output",
                      epl_graph_output_name(m->graph, 0));
    results_release(&r);
    epl_program_free(p);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char *in = NULL, *out = NULL;
    cli_words   files = { 0 };
    int64_t     top = 1;
    bool        raw = false;
    cli_samples_opts o = { .batch = 32, .layout = "auto" };
    const cli_option options[] = {
        EPL_ARG("model", &in, CLI_MODEL_HELP),
        EPL_ARG_REST("file", &files, "PNG or JPEG picture, or .npy with one sample or a batch of them"),
        EPL_OPT_INT('k', "top", &top, 1, 16, "print the best N classes"),
        EPL_OPT_FLAG(0, "scores", &raw, "print the network's scores as they are, not shares that sum to 1"),
        EPL_OPT_PATH('o', "output", &out, "write the outputs instead: .npy (the first), .npz or .safetensors (all)"),
        EPL_OPT_TEXT(0, "augment", "WORDS", &o.augment, "how to prepare inputs (default: as the model says)"),
        EPL_OPT_CHOICE(0, "layout", "auto|nhwc|nchw", &o.layout, "where the network wants the channels of pictures"),
        EPL_OPT_INT('b', "batch", &o.batch, 1, 1 << 20, "samples of a run"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    cli_samples s = { 0 };
    epl_model  *m = cli_model_load(c, in, NULL);
    const bool  ok = m && cli_samples_load(c, m, &files, o, &s) && cli_samples_bind(c, m, in, &m, &s) &&
                    predict(c, m, &s, out, (int)top, raw);
    cli_samples_release(&s);
    epl_model_free(m);
    return cli_end(c, ok);
}

const cli_verb cli_verb_predict = {
    .name = "predict", .json = true, .run = run,
    .summary  = "a network on pictures or arrays",
    .about    = "Pictures get the network's channels and size (the short side is resized, the middle taken), values in [0, 1], and "
                "then what the model says it needs (the normalisation it was trained with).",
    .examples = "espalier predict t.safetensors shoe.png shirt.jpg --top 3\nespalier predict t.safetensors x.npy -o logits.npy",
};
