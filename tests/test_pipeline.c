/* Pipelines: the file's mistakes are named with their line; stages are cached by what they are made of; a run ends with a
 * report and a summary; a stopped run goes on. */
#include "common/check.h"

#include <espalier/pipeline.h>


static epl_pipeline *parse(epl_context *ctx, const char *text) { return epl_pipeline_parse(ctx, text, strlen(text), "p.yaml"); }

TEST(mistakes_are_named_with_their_line)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "p.yaml:1: the file is empty" },
        { "a: [1", "p.yaml:" },
        { "name: x\nname: y\n", "p.yaml:2: the key 'name' is there twice" },
        { "data: blobs\nstages: &a [*a]\n", "aliases are not allowed" },
        { "data: blobs\nstage: []\n", "p.yaml:2: the key 'stage' is not known here; did you mean 'stages'" },
        { "stages: []\n", "needs 'data'" },
        { "data: blobs\n", "needs 'stages'" },
        { "data: blobs\nstages:\n  - stage: a\n", "p.yaml:3: stage 'a' needs either 'model' or 'from'" },
        { "data: blobs\nstages:\n  - stage: a\n    model: resnett\n", "p.yaml:4: no model is named 'resnett'; did you mean 'resnet'" },
        { "data: blobs\nstages:\n  - stage: a\n    model: mlp\n    epochs: many\n", "p.yaml:5: 'epochs' is 'many', but must be a number" },
        { "data: blobs\nstages:\n  - stage: a\n    model: mlp\n    epochs: 1.5\n", "must be a whole number" },
        { "data: blobs\nstages:\n  - stage: a\n    model: mlp\n    optimizer: sdg\n", "p.yaml:5: " },
        { "data: blobs\nstages:\n  - stage: a\n    model: mlp\n  - stage: a\n    model: mlp\n", "two stages are named 'a'" },
        { "data: blobs\nstages:\n  - stage: a/b\n    model: mlp\n", "not 'a/b'" },
        { "data: blobs\nstages:\n  - stage: a\n    do: trian\n", "did you mean 'train'" },
        { "data: blobs\nstages:\n  - stage: a\n    model: mlp\n  - stage: b\n    do: prune\n", "needs 'from'" },
        { "data: blobs\nstages:\n  - stage: old\n    model: mlp\n  - stage: b\n    do: prune\n    from: odl\n", "p.yaml:7: no earlier stage with a model is named 'odl'" },
        { "data: blobs\nstages:\n  - stage: a\n    model: mlp\n  - stage: b\n    do: prune\n    from: a\n    sparsity: 1\n", "'sparsity' is 1" },
        { "data: blobs\nstages:\n  - stage: c\n    do: compile\n", "needs 'models'" },
        { "data: blobs\nstages:\n  - stage: a\n    do: quantize\n", "needs 'from'" },
        { "data: blobs\nstages:\n  - stage: a\n    model: mlp\n  - stage: b\n    do: quantize\n    from: a\n    bits: 5\n", "'bits' is 5" },
        { "data: blobs\nstages:\n  - stage: a\n    model: mlp\n  - stage: b\n    do: quantize\n    from: a\n    init: zero\n", "'zero'" },
        { "name: ../x\ndata: blobs\nstages:\n  - stage: a\n    model: mlp\n", "cannot be the name of a folder" },
    };
    epl_context *ctx = test_context(t);
    for (size_t i = 0; i < EPL_COUNT(cases); i++)
        CHECK_FAILS(t, ctx, parse(ctx, cases[i].text), EPL_ERR_FORMAT, cases[i].words);
}

TEST(nesting_and_size_are_limited)
{
    epl_context *ctx = test_context(t);
    char deep[400];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    CHECK_FAILS(t, ctx, parse(ctx, deep), EPL_ERR_FORMAT, "64 deep");
    char *large = malloc((1 << 20) + 2);
    memset(large, ' ', (1 << 20) + 1);
    large[(1 << 20) + 1] = 0;
    CHECK_FAILS(t, ctx, parse(ctx, large), EPL_ERR_LIMIT, "bytes");
    free(large);
}

static void remember(void *user, const char *line)
{
    char *said = user;
    strncat(said, line, 4000 - strlen(said));
    strcat(said, "\n");
}

static bool run(epl_context *ctx, const char *text, const char *dir, char said[5000])
{
    said[0] = 0;
    epl_pipeline *p = parse(ctx, text);
    const bool ok = p && epl_pipeline_run(p, (epl_pipeline_opts){ .dir = dir, .say = remember, .say_user = said });
    epl_pipeline_free(p);
    return ok;
}

/* Pictures, so that every part of the report is made. */
static const char pictures[] =
    "name: shapes\n"
    "data: shapes:image=8,count=120\n"
    "defaults: { batch: 24, schedule: cosine }\n"
    "stages:\n"
    "  - { stage: teacher, model: \"cnn:image=8,channels=3,width=4,stages=1,depth=1,classes=4\", epochs: 1 }\n"
    "  - { stage: sparse, do: prune, from: teacher, teacher: teacher, sparsity: 0.5, epochs: %d, every: 1 }\n";

TEST(stages_are_kept_by_what_they_are_made_of)
{
    epl_context *ctx = test_context(t);
    const char  *dir = test_temp(t, "run");
    char text[1024], said[5000];
    snprintf(text, sizeof text, pictures, 1);
    CHECK_OK(t, ctx, run(ctx, text, dir, said));
    CHECK(t, !strstr(said, "earlier run"));
    CHECK_OK(t, ctx, run(ctx, text, dir, said));
    CHECK(t, strstr(said, "[1/2] teacher: accuracy") && strstr(said, "[2/2] sparse: accuracy"));
    snprintf(text, sizeof text, pictures, 2);
    CHECK_OK(t, ctx, run(ctx, text, dir, said)); // the second stage is another one now
    CHECK(t, strstr(said, "[1/2] teacher: accuracy") && !strstr(said, "[2/2] sparse: accuracy"));

    char path[4096];
    snprintf(path, sizeof path, "%s/summary.json", dir);
    epl_json *j = epl_json_load(ctx, path);
    CHECK_OK(t, ctx, j != NULL);
    int64_t parameters = 0, nonzero = 0;
    const epl_json *sparse = epl_json_get(epl_json_get(j, "models"), "sparse");
    CHECK(t, epl_json_i64(epl_json_get(sparse, "parameters"), &parameters) && epl_json_i64(epl_json_get(sparse, "nonzero"), &nonzero));
    CHECK(t, nonzero < parameters);
    double seconds = 0, accuracy = -1;
    CHECK(t, epl_json_f64(epl_json_get(epl_json_get(j, "seconds"), "sparse"), &seconds) && seconds > 0);
    CHECK(t, epl_json_f64(epl_json_get(sparse, "accuracy"), &accuracy) && accuracy >= 0);
    epl_json_free(j);
    snprintf(path, sizeof path, "%s/report.html", dir);
    char *html = test_read_file(t, path, NULL);
    CHECK(t, strstr(html, "Before and after") && strstr(html, "Confusion") && strstr(html, "Zero weights by layer") &&
                 strstr(html, "data:image/png"));
    CHECK(t, !strstr(html, "http://") || strstr(html, "http://www.w3.org"));
    free(html);
}

/* Trained, packed, with inputs of 8 bits: what is left multiplies in the first and the last layer alone. */
TEST(weights_become_powers_of_two)
{
    epl_context *ctx = test_context(t);
    const char  *dir = test_temp(t, "bits");
    char said[5000], path[4096];
    CHECK_OK(t, ctx, run(ctx, "name: bits\ndata: shapes:image=8,count=120\ndefaults: { batch: 24 }\nstages:\n"
                              "  - { stage: whole, model: \"cnn:image=8,channels=3,width=4,stages=2,depth=1,classes=4\", epochs: 1 }\n"
                              "  - { stage: bits, do: quantize, from: whole, bits: 2, activations: yes, epochs: 1 }\n", dir, said));
    snprintf(path, sizeof path, "%s/bits/model.safetensors", dir);
    epl_model   *m = epl_model_load(ctx, path);
    epl_program *p = m ? epl_program_new(m->graph, m->weights,
                                         (epl_program_opts){ .frozen = true, .shifts = true, .plan_only = true })
                       : NULL;
    CHECK_OK(t, ctx, p != NULL);
    int shifted = 0;
    for (int i = 0; i < epl_program_n_steps(p); i++)
        shifted += strcmp(epl_program_step(p, i).kernel, "shift_add") == 0;
    CHECK(t, shifted > 0 && epl_program_operations(p).shifts > 0);
    epl_program_free(p);
    epl_model_free(m);
    snprintf(path, sizeof path, "%s/report.html", dir);
    char *html = test_read_file(t, path, NULL);
    CHECK(t, strstr(html, "Powers of two") && strstr(html, "entropy"));
    free(html);
}

static volatile sig_atomic_t stopped;

static bool stop_soon(void *user, const char *label, double done, double total)
{
    (void)label;
    stopped = stopped || done > total / 2;
    return !*(bool *)user || !stopped;
}

TEST(a_stopped_run_goes_on_with_the_same_bits)
{
    epl_context *ctx = test_context(t);
    char a[4096], b[4096], text[1024];
    snprintf(text, sizeof text, pictures, 3);
    snprintf(a, sizeof a, "%s", test_temp(t, "whole"));
    snprintf(b, sizeof b, "%s", test_temp(t, "stopped"));
    char said[5000];
    CHECK_OK(t, ctx, run(ctx, text, a, said));
    epl_pipeline *p = parse(ctx, text);
    bool stopping = true;
    stopped = 0;
    CHECK(t, !epl_pipeline_run(p, (epl_pipeline_opts){ .dir = b, .stop = &stopped, .progress = { stop_soon, &stopping } }));
    CHECK_INT(t, epl_error_code(ctx), EPL_ERR_INTERRUPTED);
    epl_error_clear(ctx);
    epl_pipeline_free(p);
    CHECK_OK(t, ctx, run(ctx, text, b, said));
    for (int i = 0; i < 2; i++) {
        static const char *const files[] = { "teacher/model.safetensors", "sparse/model.safetensors" };
        char path[8192];
        size_t na, nb;
        snprintf(path, sizeof path, "%s/%s", a, files[i]);
        char *x = test_read_file(t, path, &na);
        snprintf(path, sizeof path, "%s/%s", b, files[i]);
        char *y = test_read_file(t, path, &nb);
        CHECK(t, na == nb && memcmp(x, y, na) == 0);
        free(x);
        free(y);
    }
}
