/* One test through the library: its data, and the three ways in which the imported network is run. Results agree as in the ONNX
 * project's own runner: |x - y| <= 1e-7 + 1e-3 |y|, of bfloat16 two units in the last place (2^-6 |y|), integers exactly. */
#include "onnx/conformance.h"

#include "graph/op.h"

#include <espalier/program.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Loads <dir>/<what>_<i>.pb; the tensor's own name is dropped. */
static epl_tensor *load(epl_context *ctx, const char *dir, const char *what, int i)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s_%d.pb", dir, what, i);
    return epl_file_exists(path) ? epl_onnx_tensor_load(ctx, path, NULL) : NULL;
}

/* The data hold the bits of bfloat16 as uint16. */
static void restore_bfloat(epl_tensor *t, epl_dtype expected)
{
    if (t->dtype == EPL_U16 && expected == EPL_BF16)
        t->dtype = EPL_BF16;
}

/* The inputs by name. NULL: a reason is in the context. */
static epl_weights *load_inputs(epl_context *ctx, const char *dir, const char *names)
{
    epl_weights *w = epl_weights_new(ctx);
    char         name[512];
    for (int i = 0; *names; i++) {
        const size_t n = strcspn(names, "\n");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        names += n + (names[n] == '\n');
        epl_tensor *t = load(ctx, dir, "input", i);
        if (!t && epl_error_code(ctx) != EPL_OK)
            return NULL;
        if (t && !epl_weights_put_take(w, name, t))
            return NULL;
    }
    return w;
}

static bool agrees(const epl_tensor *is, const epl_tensor *want, char *reason, size_t room)
{
    char a[192], b[192];
    if (is->dtype != want->dtype || !epl_shape_equal(is->shape, want->shape)) {
        snprintf(reason, room, "result is %s%s, expected %s%s", epl_dtype_name(is->dtype), epl_shape_text(a, is->shape),
                 epl_dtype_name(want->dtype), epl_shape_text(b, want->shape));
        return false;
    }
    const double rtol = is->dtype == EPL_BF16 ? 1.0 / 64 : 1e-3;
    for (int64_t i = 0; i < epl_tensor_count(is); i++) {
        const double x = epl_tensor_get(is, i), y = epl_tensor_get(want, i);
        const bool   same = x == y || (isnan(x) && isnan(y)) ||
                          (epl_dtype_is_float(is->dtype) && fabs(x - y) <= 1e-7 + rtol * fabs(y));
        if (!same) {
            snprintf(reason, room, "element %lld of %s is %.9g, expected %.9g", (long long)i, epl_shape_text(a, is->shape), x, y);
            return false;
        }
    }
    return true;
}

static verdict compare_outputs(epl_context *ctx, const char *dir, epl_tensor **out, int n_out, char *reason, size_t room)
{
    for (int i = 0; i < n_out; i++) {
        epl_tensor *want = load(ctx, dir, "output", i);
        if (!want && epl_error_code(ctx) == EPL_OK)
            continue; // an optional result that the data leave out
        if (!want) {
            snprintf(reason, room, "%s", epl_error_message(ctx));
            return UNSUPPORTED;
        }
        char detail[512];
        restore_bfloat(want, out[i]->dtype);
        if (!agrees(out[i], want, detail, sizeof detail)) {
            snprintf(reason, room, "output %d: %s", i, detail);
            return WRONG;
        }
    }
    return PASSED;
}

/* ---- the three ways ---------------------------------------------------------------------------------------------- */
typedef struct job {
    epl_context       *ctx;
    epl_model         *model;
    const epl_tensor **in;
    epl_tensor       **out;
    const char        *work, *cache;
} job;

static bool evaluate(job *j) { return epl_interpret(j->model->graph, j->model->weights, j->in, j->out); }

static bool run_program(job *j)
{
    epl_program *p = epl_program_new(j->model->graph, j->model->weights, (epl_program_opts){ .frozen = true, .sparse = true });
    for (int i = 0; p && i < epl_program_n_inputs(p); i++) {
        const epl_tensor *t = epl_program_input(p, i);
        if (epl_tensor_bytes(t))
            memcpy(t->data, j->in[i]->data, epl_tensor_bytes(t));
    }
    const bool ok = p && epl_program_run(p);
    for (int i = 0; ok && i < epl_program_n_outputs(p); i++)
        j->out[i] = epl_tensor_copy(j->ctx, epl_program_output(p, i));
    return ok;
}

static bool compile_and_run(job *j) { return run_compiled(j->ctx, j->model, j->work, j->cache, j->in, j->out); }

static bool (*const ways[N_WAYS])(job *) = { evaluate, run_program, compile_and_run };

/* ---- a test ------------------------------------------------------------------------------------------------------ */
/* What the context's error means; the file's name is known, and left out. */
static verdict refused(epl_context *ctx, const char *dir, char *reason)
{
    const char *sentence = epl_error_message(ctx);
    const char *colon = strncmp(sentence, dir, strlen(dir)) == 0 ? strstr(sentence, ": ") : NULL;
    sentence = colon ? colon + 2 : sentence;
    if (epl_error_code(ctx) == EPL_ERR_UNSUPPORTED) {
        snprintf(reason, REASON, "%s", sentence);
        return UNSUPPORTED;
    }
    snprintf(reason, REASON, "[%s] %s", epl_error_name(epl_error_code(ctx)), sentence);
    return WRONG;
}

static bool bind_inputs(job *j, const epl_weights *inputs, char *reason)
{
    for (int i = 0; i < epl_graph_n_inputs(j->model->graph); i++) {
        const epl_value *v = epl_graph_input_at(j->model->graph, i);
        epl_tensor      *t = epl_weights_find(inputs, epl_value_name(v));
        if (!t) {
            snprintf(reason, REASON, "the data have no input '%s'", epl_value_name(v));
            return false;
        }
        restore_bfloat(t, epl_dtype_of(v));
        j->in[i] = t;
    }
    return true;
}

/* A data set in every way; a later way is of no use where an earlier one fails. */
static void run_set(job *j, const char *dir, outcome *o)
{
    const int n_out = epl_graph_n_outputs(j->model->graph);
    for (int w = 0; w < N_WAYS; w++) {
        char reason[REASON - 16] = "";
        if (o->verdict[w] == NOT_RUN)
            continue;
        j->out = calloc((size_t)n_out + 1, sizeof *j->out);
        o->verdict[w] = ways[w](j) ? compare_outputs(j->ctx, dir, j->out, n_out, reason, sizeof reason) : refused(j->ctx, "", reason);
        if (o->verdict[w] != PASSED) {
            static const char *const names[] = { "", "program: ", "compiled: " };
            snprintf(o->reason, sizeof o->reason, "%s%s", names[w], reason);
            while (++w < N_WAYS)
                o->verdict[w] = NOT_RUN;
        }
    }
}

static void all_ways(outcome *o, verdict v)
{
    for (int w = 0; w < N_WAYS; w++)
        o->verdict[w] = o->verdict[w] == NOT_RUN ? NOT_RUN : v;
}

/* Imported for the shapes of the set's inputs. False: it ended here. */
static bool run_imported(job *j, const char *path, const char *names, const char *set, outcome *o)
{
    epl_weights *inputs = load_inputs(j->ctx, set, names);
    j->model = inputs ? epl_onnx_load(j->ctx, path, (epl_onnx_opts){ .inputs = inputs }) : NULL;
    if (!j->model)
        return false;
    o->fixed = o->fixed || *epl_onnx_fixed_inputs(j->model);
    j->in = calloc((size_t)epl_graph_n_inputs(j->model->graph) + 1, sizeof *j->in);
    if (bind_inputs(j, inputs, o->reason))
        run_set(j, set, o);
    else
        all_ways(o, WRONG);
    return o->verdict[EVALUATED] == PASSED;
}

void run_test(const char *dir, const char *work, const char *cache, outcome *o)
{
    char path[1024], set[1100];
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    job j = { .ctx = epl_context_new((epl_context_opts){ .n_threads = 1 }), .work = work, .cache = cache };
    const char *names = epl_onnx_input_names(j.ctx, path);
    int         k = 0;
    *o = (outcome){ .verdict = { PASSED, PASSED, work ? PASSED : NOT_RUN } };
    for (bool going = names != NULL; going; k++) {
        snprintf(set, sizeof set, "%s/test_data_set_%d", dir, k);
        if (!epl_file_exists(set))
            break;
        going = run_imported(&j, path, names, set, o);
    }
    if (epl_error_code(j.ctx) != EPL_OK && !*o->reason) {
        all_ways(o, refused(j.ctx, dir, o->reason));
    } else if (k == 0) {
        snprintf(o->reason, sizeof o->reason, "no data");
        all_ways(o, UNSUPPORTED);
    }
}
