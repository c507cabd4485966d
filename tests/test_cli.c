/* The command: every verb's --help is the text in its page under docs/, mistakes get one line and the right exit status, results
 * are what they say. EPL_UPDATE_GOLDEN=1 writes the options into the pages. */
#include "common/check.h"


#include <espalier/data.h>
#include <espalier/graph.h>
#include <espalier/nn.h>
#include <espalier/ops.h>
#include <espalier/zoo.h>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const verbs[] = {
#define VERB(name) #name,
#include "cli/verbs.def"
#undef VERB
};

/* As it is typed: C names have '_' where verbs have '-'. */
static const char *verb(int i)
{
    static char name[32];
    snprintf(name, sizeof name, "%s", verbs[i]);
    for (char *s = name; *s; s++)
        *s = *s == '_' ? '-' : *s;
    return name;
}

/* ---- running the command ---- */

typedef struct outcome {
    int   status; /* 128 + signal if one ended it */
    char *out, *err;
} outcome;

enum { MAX_WORDS = 48 };

/* Starts `espalier words...` with its outputs in files; a word cannot hold a blank. */
static pid_t start(test *t, const char *words, const char *out, const char *err)
{
    extern char **environ;
    char  copy[4096], *rest = copy;
    char *argv[MAX_WORDS + 2] = { EPL_BINARY_DIR "/espalier" };
    snprintf(copy, sizeof copy, "%s", words);
    for (int n = 1; n < MAX_WORDS && (argv[n] = strtok_r(rest, " ", &rest)) != NULL; n++)
        continue;
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&files, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t pid;
    CHECK_INT(t, posix_spawn(&pid, argv[0], &files, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    return pid;
}

/* Runs it to its end; the texts are freed by forget. */
static outcome command(test *t, const char *words)
{
    char out[512], err[512];
    int  status = -1;
    snprintf(out, sizeof out, "%s", test_temp(t, "stdout"));
    snprintf(err, sizeof err, "%s", test_temp(t, "stderr"));
    const pid_t pid = start(t, words, out, err);
    CHECK_INT(t, waitpid(pid, &status, 0), pid);
    return (outcome){ WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), test_read_file(t, out, NULL),
                      test_read_file(t, err, NULL) };
}

static void forget(outcome *o)
{
    free(o->out);
    free(o->err);
}

static int lines_of(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += *s == '\n';
    return n;
}

/* The command succeeds; the caller owns its standard output. */
static char *results_of(test *t, const char *words)
{
    outcome o = command(t, words);
    if (o.status)
        FAIL(t, "espalier %s: exit status %d: %s", words, o.status, o.err);
    free(o.err);
    return o.out;
}

static void succeeds(test *t, const char *words) { free(results_of(t, words)); }

/* One line on the standard error that starts with the verb and holds `says`, nothing on the standard output. */
static void fails(test *t, const char *words, int status, const char *says)
{
    outcome o = command(t, words);
    if (o.status != status || lines_of(o.err) != 1 || strncmp(o.err, "espalier", 8) != 0 || !strstr(o.err, says))
        FAIL(t, "espalier %s: exit status %d (expected %d) and: %s (expected one line with \"%s\")", words, o.status, status, o.err, says);
    CHECK_STR(t, o.out, "");
    forget(&o);
}

/* Succeeds and prints one JSON document. */
static epl_json *json_of(test *t, epl_context *ctx, const char *words)
{
    char     *text = results_of(t, words);
    epl_json *j = epl_json_parse(ctx, text, strlen(text), words);
    CHECK_OK(t, ctx, j);
    free(text);
    return j;
}

/* ---- help ---- */

static const char OPTIONS[] = "## Options\n\n```\n", END[] = "```\n";

static void write_page(test *t, const char *path, const char *page, const char *from, const char *to, const char *help)
{
    FILE *f = fopen(path, "w");
    CHECK(t, f != NULL);
    fprintf(f, "%.*s%s%s", (int)(from - page), page, help, to);
    CHECK_INT(t, fclose(f), 0);
}

/* The fenced block below "## Options" of the page is the text. */
static void check_page(test *t, const char *name, const char *help)
{
    char path[512];
    snprintf(path, sizeof path, EPL_SOURCE_DIR "/docs/%s.md", name);
    char *page = test_read_file(t, path, NULL);
    char *from = strstr(page, OPTIONS);
    if (!from)
        FAIL(t, "%s has no section \"## Options\" with a block of text", path);
    from += strlen(OPTIONS);
    char *to = strstr(from, END);
    CHECK(t, to != NULL);
    const bool same = (size_t)(to - from) == strlen(help) && strncmp(from, help, strlen(help)) == 0;
    if (!same && getenv("EPL_UPDATE_GOLDEN"))
        write_page(t, path, page, from, to, help);
    else if (!same)
        FAIL(t, "the options in %s are not what --help prints (EPL_UPDATE_GOLDEN=1 writes them)", path);
    free(page);
}

PROPERTY(help_is_what_the_page_says, EPL_COUNT(verbs))
{
    char words[64];
    snprintf(words, sizeof words, "%s --help", verb(t->index));
    char *help = results_of(t, words);
    CHECK(t, strstr(help, "examples:\n  espalier ") != NULL);
    check_page(t, verb(t->index), help);
    snprintf(words, sizeof words, "help %s", verb(t->index));
    char *again = results_of(t, words);
    CHECK_STR(t, again, help);
    free(help);
    free(again);
}

TEST(the_overview_is_what_the_index_says)
{
    char *help = results_of(t, "help");
    check_page(t, "index", help);
    for (size_t i = 0; i < EPL_COUNT(verbs); i++)
        CHECK(t, strstr(help, verb((int)i)) != NULL);
    free(help);
}

TEST(version_and_no_verb)
{
    char *out = results_of(t, "--version");
    CHECK_STR(t, out, "espalier 0.1.0\n");
    free(out);
    fails(t, "", 2, "which verb?");
    fails(t, "inof x", 2, "did you mean 'info'?");
}

/* ---- mistakes ---- */

PROPERTY(wrong_options_are_misuse, EPL_COUNT(verbs))
{
    char words[64];
    snprintf(words, sizeof words, "%s --thraeds 2", verb(t->index));
    fails(t, words, 2, "did you mean --threads?");
    snprintf(words, sizeof words, "%s --threads many", verb(t->index));
    fails(t, words, 2, "--threads is 'many', but must be a whole number from 0 to 1024");
    snprintf(words, sizeof words, "%s --threads", verb(t->index));
    fails(t, words, 2, "--threads needs a value");
    snprintf(words, sizeof words, "%s --quiet=3", verb(t->index));
    fails(t, words, 2, "--quiet takes no value");
}

TEST(options_say_what_they_expect)
{
    fails(t, "info", 2, "model is missing");
    fails(t, "info a b", 2, "one word too many: 'b'");
    fails(t, "info mlp --memory-limit lots", 2, "--memory-limit is 'lots', but must be a number of bytes");
    fails(t, "info mlp --optimizer adamv --train", 2, "adamv");
    fails(t, "info mlp --dim N", 2, "--dim is 'N', but must be NAME=SIZE");
    fails(t, "info mlp --dim M=3", 2, "no input of 'mlp' has a dimension named 'M'");
    fails(t, "new mlp", 2, "--output is missing");
    fails(t, "new mlp:clases=3 -o /dev/null", 2, "did you mean 'classes'?");
    fails(t, "show mlp --svg --program", 2, "do not go together");
    fails(t, "models nothing*", 2, "no model's name matches");
}

/* A verb with something in the place of its file. */
static void file_fails(test *t, const char *verb, const char *file, const char *rest, const char *says)
{
    char words[1024];
    snprintf(words, sizeof words, "%s %s %s", verb, file, rest);
    fails(t, words, 1, says);
}

static const struct {
    const char *verb, *rest;
} readers[] = {
    { "info", "" }, { "show", "" }, { "train", "--data blobs -o /nowhere/out.safetensors" }, { "eval", "--data blobs" },
    { "predict", "x.npy" }, { "bench", "" }, { "prune", "-o /nowhere/out.safetensors" },
    { "distill", "--teacher mlp --data blobs -o /nowhere/out.safetensors" }, { "compile", "-o /nowhere/out" }, { "verify", "/nowhere" },
};

PROPERTY(wrong_files_are_failures, EPL_COUNT(readers))
{
    const char *verb = readers[t->index].verb, *rest = readers[t->index].rest;
    char path[512];
    file_fails(t, verb, "/nowhere/m.safetensors", rest, "/nowhere/m.safetensors");
    file_fails(t, verb, "/nowhere/m.onnx", rest, "/nowhere/m.onnx");
    snprintf(path, sizeof path, "%s", test_temp(t, "text.safetensors"));
    FILE *f = fopen(path, "w");
    CHECK(t, f && fputs("this is no model, whatever its name says", f) >= 0 && fclose(f) == 0);
    file_fails(t, verb, path, rest, "text.safetensors");
    file_fails(t, verb, EPL_SOURCE_DIR "/tests/golden/tiny.safetensors", rest, "espalier.graph"); /* tensors alone */
    snprintf(path, sizeof path, "%s", test_temp(t, "text.onnx"));
    f = fopen(path, "w");
    CHECK(t, f && fputs("this is no model either", f) >= 0 && fclose(f) == 0);
    file_fails(t, verb, path, rest, "text.onnx");
}

TEST(wrong_pipelines_are_failures)
{
    char words[1024], path[512];
    fails(t, "run /nowhere/p.yaml", 1, "/nowhere/p.yaml");
    snprintf(path, sizeof path, "%s", test_temp(t, "p.yaml"));
    FILE *f = fopen(path, "w");
    CHECK(t, f && fputs("name: x\nstages: [", f) >= 0 && fclose(f) == 0);
    snprintf(words, sizeof words, "run %s --check", path);
    fails(t, words, 1, "p.yaml");
    succeeds(t, "run " EPL_SOURCE_DIR "/pipelines/fashion-mnist.yaml --check");
}

/* ---- results ---- */

TEST(models_lists_the_zoo)
{
    epl_context *ctx = test_context(t);
    epl_json    *j = json_of(t, ctx, "models --json");
    CHECK(t, epl_json_length(j) >= 8);
    for (size_t i = 0; i < epl_json_length(j); i++) {
        double parameters = 0;
        CHECK(t, epl_json_f64(epl_json_get(epl_json_at(j, i), "parameters"), &parameters) && parameters > 0);
    }
    epl_json_free(j);
}

/* What --help MODEL prints for some, word by word; that it lists every option of every model. */
TEST(new_lists_the_options_of_a_model)
{
    static const char *const shown[] = { "efficientnet", "lenet", "resnet" };
    epl_context *ctx = test_context(t);
    epl_text     all = EPL_TEXT(ctx);
    char         words[128], line[96], number[32];
    for (size_t i = 0; i < EPL_COUNT(shown); i++) {
        snprintf(words, sizeof words, "new --help %s", shown[i]);
        char *text = results_of(t, words);
        epl_text_addf(&all, "%s%s", i ? "\n" : "", text);
        free(text);
    }
    CHECK_GOLDEN(t, "new_help.txt", epl_text_str(&all));
    epl_text_release(&all);
    for (int i = 0; i < epl_zoo_count(); i++) {
        const epl_zoo_entry *e = epl_zoo_at(i);
        snprintf(words, sizeof words, "new --help %s", e->name);
        char *text = results_of(t, words);
        for (int k = 0; k < EPL_ZOO_MAX_OPTIONS && e->options[k].name; k++) {
            const epl_zoo_option *o = &e->options[k];
            epl_format_f64(number, o->value);
            snprintf(line, sizeof line, "\n  %s=%s", o->name, o->choices ? "" : number);
            if (!strstr(text, line) || !o->help || !*o->help)
                FAIL(t, "%s: no line and help for '%s' in: %s", e->name, o->name, text);
        }
        free(text);
    }
    fails(t, "new --help resnett", 2, "did you mean 'resnet'");
}

TEST(models_counts_published_networks)
{
    epl_context *ctx = test_context(t);
    epl_json    *j = json_of(t, ctx, "models resnet50 --published --json");
    double       parameters = 0, macs = 0;
    CHECK_INT(t, epl_json_length(j), 1);
    CHECK(t, epl_json_f64(epl_json_get(epl_json_at(j, 0), "parameters"), &parameters) &&
                 epl_json_f64(epl_json_get(epl_json_at(j, 0), "macs"), &macs));
    CHECK(t, parameters == 25557032 && macs == 4089184256.0);
    epl_json_free(j);
    fails(t, "models nothing*", 2, "no model's name matches");
}

TEST(info_says_what_a_model_takes)
{
    epl_context *ctx = test_context(t);
    char         words[1024], path[512];
    snprintf(path, sizeof path, "%s", test_temp(t, "m.safetensors"));
    snprintf(words, sizeof words, "new lenet -o %s --quiet", path);
    succeeds(t, words);
    snprintf(words, sizeof words, "info %s --json --batch 8", path);
    epl_json *j = json_of(t, ctx, words);
    int64_t   parameters = 0, total = 0, training = 0;
    double    macs = 0;
    CHECK(t, epl_json_i64(epl_json_get(j, "parameters"), &parameters));
    CHECK_INT(t, parameters, 61706); /* LeNet-5 with full connections */
    CHECK(t, epl_json_f64(epl_json_get(j, "macs"), &macs));
    CHECK_INT(t, (int64_t)macs % 8, 0);
    CHECK(t, epl_json_length(epl_json_get(j, "layers")) > 4);
    CHECK(t, epl_json_i64(epl_json_get(epl_json_get(j, "memory"), "total"), &total) && total > 0);
    epl_json_free(j);
    snprintf(words, sizeof words, "info %s --json --batch 8 --train --optimizer sgd:momentum=0.9", path);
    j = json_of(t, ctx, words);
    CHECK(t, epl_json_i64(epl_json_get(epl_json_get(j, "memory"), "total"), &training) && training > total);
    epl_json_free(j);
    snprintf(words, sizeof words, "info %s --batch 8 --train --memory-limit 1K", path);
    fails(t, words, 1, "the least that would do");
}

TEST(show_prints_text_pictures_and_steps)
{
    epl_context *ctx = test_context(t);
    char *text = results_of(t, "show lenet");
    epl_graph *g = epl_graph_parse(ctx, text, strlen(text), "show");
    CHECK_OK(t, ctx, g);
    epl_graph_free(g);
    free(text);
    text = results_of(t, "show lenet --svg");
    CHECK(t, strncmp(text, "<svg", 4) == 0 && strstr(text, "MaxPool"));
    free(text);
    text = results_of(t, "show lenet --program --batch 4");
    CHECK(t, strstr(text, "conv") && strstr(text, "[4, 28, 28, 6]"));
    free(text);
}

TEST(doctor_finds_this_machine)
{
    epl_context *ctx = test_context(t);
    epl_json    *j = json_of(t, ctx, "doctor --json --no-measure");
    CHECK(t, epl_json_string(epl_json_get(j, "isa")) != NULL);
    CHECK(t, epl_json_length(epl_json_get(j, "parts")) > 8);
    epl_json_free(j);
    succeeds(t, "doctor --no-measure");
}

TEST(a_full_disk_is_no_success)
{
    if (access("/dev/full", W_OK) != 0)
        test_skip(t, "no /dev/full");
    CHECK(t, WEXITSTATUS(system(EPL_BINARY_DIR "/espalier models > /dev/full 2> /dev/null")) == 1);
    fails(t, "new mlp -o /dev/full/m.safetensors", 1, "/dev/full/m.safetensors");
}

/* ---- a network's way through the verbs ---- */

static epl_model *load(test *t, epl_context *ctx, const char *path)
{
    epl_model *m = epl_model_load(ctx, path);
    CHECK_OK(t, ctx, m);
    return m;
}

static double member(const epl_json *j, const char *name)
{
    double x = NAN;
    epl_json_f64(epl_json_get(j, name), &x);
    return x;
}

static void same_tensors(test *t, const epl_weights *a, const epl_weights *b)
{
    CHECK_INT(t, epl_weights_count(a), epl_weights_count(b));
    for (int i = 0; i < epl_weights_count(a); i++) {
        const epl_tensor *other = epl_weights_find(b, epl_weights_name(a, i));
        CHECK(t, other && epl_tensor_equal(epl_weights_at(a, i), other));
    }
}

/* data.npz, three classes that are told apart by where the light is; x.npy, its first five samples. */
static void save_data(test *t, epl_context *ctx, const char *dir)
{
    char         path[512];
    epl_rng      r = epl_rng_at(7, 0);
    epl_weights *data = epl_weights_new(ctx);
    epl_tensor  *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(240, 4, 4, 1)), *y = epl_tensor_new(ctx, EPL_I64, EPL_SHAPE(240));
    for (int64_t i = 0; i < 240; i++) {
        epl_tensor_set_i64(y, i, i % 3);
        for (int64_t k = 0; k < 16; k++)
            epl_tensor_set(x, i * 16 + k, 0.3 * (double)epl_rng_normal(&r) + (k / 4 == i % 3 ? 1 : 0));
    }
    epl_tensor *some = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(5, 4, 4, 1));
    memcpy(some->data, x->data, epl_tensor_bytes(some));
    snprintf(path, sizeof path, "%s/x.npy", dir);
    CHECK_OK(t, ctx, epl_npy_save(ctx, path, some));
    epl_tensor_free(some);
    CHECK_OK(t, ctx, epl_weights_put_take(data, "x", x) && epl_weights_put_take(data, "y", y));
    snprintf(path, sizeof path, "%s/data.npz", dir);
    CHECK_OK(t, ctx, epl_npz_save(data, path));
    epl_weights_free(data);
}

/* One tensor, of doubles; the tensors of shards, which an index names. */
static void tensors_are_put_into_a_network(test *t, epl_context *ctx, const char *dir)
{
    static const char index[] = "{\"weight_map\": {\"one\": \"u3.safetensors\"}}";
    char words[2048];
    snprintf(words, sizeof words, "%s/u.safetensors", dir);
    epl_model  *m = load(t, ctx, words);
    epl_tensor *doubles = epl_tensor_cast(ctx, epl_weights_find(m->weights, "head.weight"), EPL_F64);
    epl_tensor_set(doubles, 0, 0.1);
    snprintf(words, sizeof words, "%s/doubles.npy", dir);
    CHECK_OK(t, ctx, epl_npy_save(ctx, words, doubles));
    snprintf(words, sizeof words, "convert %s/doubles.npy %s/u3.safetensors --model %s/u.safetensors --tensor head.weight", dir, dir, dir);
    outcome o = command(t, words);
    CHECK(t, strstr(o.err, "tensors are not in the input and stay: "));
    forget(&o);
    snprintf(words, sizeof words, "%s/u3.safetensors", dir);
    epl_model *other = load(t, ctx, words);
    CHECK_NEAR(t, epl_tensor_get(epl_weights_find(other->weights, "head.weight"), 0), 0.1f, .atol = 0);
    epl_tensor_free(doubles);
    epl_model_free(m);
    epl_model_free(other);
    snprintf(words, sizeof words, "%s/i.safetensors.index.json", dir);
    CHECK_OK(t, ctx, epl_write_file(ctx, words, index, sizeof index - 1));
    snprintf(words, sizeof words, "convert %s/i.safetensors.index.json %s/i.npz", dir, dir);
    fails(t, words, 1, "'u3.safetensors' does not hold the tensor 'one'");
}

/* new, train, eval, predict, convert and show in a folder of their own. */
TEST(a_network_goes_through_the_verbs)
{
    epl_context *ctx = test_context(t);
    char dir[400], words[2048];
    snprintf(dir, sizeof dir, "%s", test_temp(t, "way"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, dir));
    snprintf(words, sizeof words, "new mlp:classes=3,image=4,channels=1 -q -o %s/m.safetensors", dir);
    succeeds(t, words);
    save_data(t, ctx, dir);

    snprintf(words, sizeof words, "train %s/m.safetensors --data npz:%s/data.npz --val-fraction 0.2 --epochs 4 -b 16 -q --json "
             "-o %s/t.safetensors", dir, dir, dir);
    epl_json *j = json_of(t, ctx, words);
    CHECK_INT(t, epl_json_length(epl_json_get(j, "epochs")), 4);
    CHECK(t, member(epl_json_at(epl_json_get(j, "epochs"), 3), "val_accuracy") > 0.9);
    epl_json_free(j);
    snprintf(words, sizeof words, "%s/t.safetensors.run/log.jsonl", dir);
    CHECK(t, epl_file_exists(words));
    snprintf(words, sizeof words, "%s/t.safetensors.run/last.safetensors", dir);
    CHECK(t, epl_file_exists(words));

    snprintf(words, sizeof words, "eval %s/t.safetensors --data npz:%s/data.npz --split train --json -q --confusion", dir, dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "count") == 240 && member(j, "accuracy") > 0.9);
    CHECK_INT(t, epl_json_length(epl_json_get(j, "confusion")), 3);
    epl_json_free(j);

    snprintf(words, sizeof words, "predict %s/t.safetensors %s/x.npy --json -k 2", dir, dir);
    j = json_of(t, ctx, words);
    CHECK_INT(t, epl_json_length(j), 5);
    for (size_t i = 0; i < 5; i++) {
        const epl_json *classes = epl_json_get(epl_json_at(j, i), "classes");
        CHECK_INT(t, epl_json_length(classes), 2);
        CHECK(t, member(epl_json_at(classes, 0), "class") == (double)(i % 3));
        CHECK(t, member(epl_json_at(classes, 0), "score") > member(epl_json_at(classes, 1), "score"));
    }
    epl_json_free(j);
    snprintf(words, sizeof words, "predict %s/t.safetensors %s/x.npy -o %s/logits.npy -b 2", dir, dir, dir);
    succeeds(t, words);
    snprintf(words, sizeof words, "%s/logits.npy", dir);
    epl_tensor *logits = epl_npy_load(ctx, words);
    CHECK_OK(t, ctx, logits);
    CHECK(t, epl_shape_equal(logits->shape, EPL_SHAPE(5, 3)));
    epl_tensor_free(logits);

    snprintf(words, sizeof words, "convert %s/t.safetensors %s/w.npz -q", dir, dir);
    succeeds(t, words);
    snprintf(words, sizeof words, "convert %s/w.npz %s/u.safetensors --model %s/m.safetensors -q", dir, dir, dir);
    succeeds(t, words);
    snprintf(words, sizeof words, "%s/t.safetensors", dir);
    epl_model *a = load(t, ctx, words);
    snprintf(words, sizeof words, "%s/u.safetensors", dir);
    epl_model *b = load(t, ctx, words);
    same_tensors(t, a->weights, b->weights);
    epl_model_free(a);
    epl_model_free(b);

    snprintf(words, sizeof words, "convert %s/t.safetensors %s/t.onnx -q", dir, dir);
    succeeds(t, words);
    snprintf(words, sizeof words, "predict %s/t.onnx %s/x.npy --json", dir, dir);
    j = json_of(t, ctx, words);
    CHECK_INT(t, epl_json_length(j), 5);
    for (size_t i = 0; i < 5; i++)
        CHECK(t, member(epl_json_at(epl_json_get(epl_json_at(j, i), "classes"), 0), "class") == (double)(i % 3));
    epl_json_free(j);

    snprintf(words, sizeof words, "show %s/u.safetensors --svg -o %s/u.svg", dir, dir);
    succeeds(t, words);
    snprintf(words, sizeof words, "bench %s/u.safetensors --seconds 0 --json", dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "runs") >= 10 && member(j, "median_s") >= member(j, "least_s") && member(j, "p95_s") >= member(j, "median_s"));
    CHECK(t, epl_json_length(epl_json_get(j, "steps")) > 2);
    epl_json_free(j);
    snprintf(words, sizeof words, "bench %s/u.safetensors --seconds 0 --train --batch 4 --json", dir);
    epl_json_free(json_of(t, ctx, words));
    snprintf(words, sizeof words, "convert %s/u.safetensors %s/w.npy", dir, dir);
    fails(t, words, 2, "choose one with --tensor");
    snprintf(words, sizeof words, "convert %s/x.npy %s/u2.safetensors --model %s/m.safetensors --tensor head.weight", dir, dir, dir);
    fails(t, words, 1, "head.weight");
    tensors_are_put_into_a_network(t, ctx, dir);
}

/* The masks' share of zeros, through training and compilation; a student with its teacher. */
TEST(a_network_is_pruned_distilled_and_compiled)
{
    epl_context *ctx = test_context(t);
    char dir[400], words[2048];
    snprintf(dir, sizeof dir, "%s", test_temp(t, "small"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, dir));
    save_data(t, ctx, dir);
    snprintf(words, sizeof words, "train mlp:classes=3,image=4,channels=1 --data npz:%s/data.npz --no-val -e 3 -b 16 -q --no-run "
             "-o %s/t.safetensors", dir, dir);
    succeeds(t, words);

    snprintf(words, sizeof words, "prune %s/t.safetensors -o %s/once.safetensors -s 0.75 --json -q", dir, dir);
    epl_json *j = json_of(t, ctx, words);
    CHECK_NEAR(t, member(j, "nonzero") / member(j, "weights"), 0.25, .atol = 1e-3);
    epl_json_free(j);
    snprintf(words, sizeof words,
             "prune %s/t.safetensors -o %s/p.safetensors -s 0.75 --criterion taylor --ratios-of grasp --data "
             "npz:%s/data.npz "
             "--no-val -e 2 -b 16 --json -q --no-run",
             dir, dir, dir);
    epl_json_free(json_of(t, ctx, words));
    snprintf(words, sizeof words, "prune %s/t.safetensors -o %s/p.safetensors -s 0.75 --data npz:%s/data.npz --no-val -e 6 -b 16 "
             "--teacher %s/t.safetensors --json -q --no-run --bake", dir, dir, dir, dir);
    j = json_of(t, ctx, words);
    CHECK_NEAR(t, member(j, "nonzero") / member(j, "weights"), 0.25, .atol = 1e-3);
    epl_json_free(j);
    snprintf(words, sizeof words, "eval %s/p.safetensors --data npz:%s/data.npz --split train --json -q", dir, dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "accuracy") > 0.9);
    epl_json_free(j);
    snprintf(words, sizeof words, "prune mlp -o /dev/null --criterion snip");
    fails(t, words, 2, "say --data");
    fails(t, "prune mlp -o /dev/null --channels l2", 2, "needs one of --ratio, --macs and --params");
    fails(t, "prune mlp -o /dev/null --ratio 0.5", 2, "go with --channels");
    fails(t, "prune mlp -o /dev/null --ratios-of snip", 2, "say --data");
    snprintf(words, sizeof words, "prune %s/t.safetensors --channels l2 --macs 0.5 -o %s/half.safetensors --json -q", dir, dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "macs") <= 0.51 * (16 * 256 + 256 * 256 + 256 * 3) && member(j, "nonzero") == member(j, "weights"));
    epl_json_free(j);
    snprintf(words, sizeof words, "prune %s/t.safetensors --channels taylor --ratio 0.5 --data npz:%s/data.npz --no-val -e 4 -b 16 -q "
             "--no-run --teacher %s/t.safetensors -o %s/half.safetensors", dir, dir, dir, dir);
    succeeds(t, words);
    snprintf(words, sizeof words, "eval %s/half.safetensors --data npz:%s/data.npz --split train --json -q", dir, dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "accuracy") > 0.9);
    epl_json_free(j);
    snprintf(words, sizeof words,
             "transform %s/t.safetensors --ift parallel -s 0.5 --match-flops dense -o %s/w.safetensors --json -q", dir,
             dir);
    epl_json_free(json_of(t, ctx, words));
    snprintf(
        words, sizeof words,
        "prune %s/w.safetensors --regrow set --every 3 --skip first,last --data npz:%s/data.npz --no-val -e 4 -b 16 "
        "--json -q --no-run -o %s/q.safetensors",
        dir, dir, dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "itop") > 0.5 && member(j, "itop") < 1 && member(j, "overlap") < 1);
    epl_json_free(j);
    fails(t, "transform lenet -o /dev/null --match-flops many", 2, "number of multiply-adds");
    snprintf(
        words, sizeof words,
        "prune %s/t.safetensors --rounds 2 --rewind-to 3 -s 0.75 --data npz:%s/data.npz --no-val -e 2 -b 16 --json -q "
        "--no-run -o %s/q.safetensors",
        dir, dir, dir);
    j = json_of(t, ctx, words);
    CHECK_NEAR(t, member(j, "nonzero") / member(j, "weights"), 0.25, .atol = 1e-3);
    epl_json_free(j);
    fails(t, "prune mlp -o /dev/null --rounds 2", 2, "while training");
    fails(t, "prune mlp -o /dev/null --blocks l2", 2, "needs one of --ratio and --macs");
    fails(t, "prune mlp -o /dev/null --n-of-m 2", 2, "two numbers as in 2:4");
    fails(t, "prune mlp -o /dev/null --teacher mlp", 2, "say --data");
    fails(t, "prune mlp -o /dev/null --regrow set", 2, "works while training");
    snprintf(words, sizeof words, "prune %s/t.safetensors -o %s/q.safetensors -s 0.75 --data npz:%s/data.npz --no-val -e 6 -b 16 "
             "--regrow rigl --every 2 --skip last --json -q --no-run", dir, dir, dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "itop") > 0.25 && member(j, "itop") < 1 && member(j, "overlap") < 1);
    epl_json_free(j);

    snprintf(words, sizeof words,
             "distill mlp:classes=3,image=4,channels=1 --teacher %s/t.safetensors --data npz:%s/data.npz --no-val -e 3 "
             "-b 16 -q --no-run -o %s/s.safetensors --json",
             dir, dir, dir);
    epl_json_free(json_of(t, ctx, words));

    if (system("make --version > /dev/null 2>&1") != 0)
        test_skip(t, "make is missing: what was compiled is not checked");
    snprintf(words, sizeof words, "compile %s/p.safetensors -o %s/c --name small --target generic --json", dir, dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "arena") > 0 && member(j, "weights") > 0);
    epl_json_free(j);
    snprintf(words, sizeof words, "%s/c/small.h", dir);
    CHECK(t, epl_file_exists(words));
    snprintf(words, sizeof words, "verify %s/p.safetensors %s/c --json --samples 4", dir, dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "samples") == 4 && member(j, "max_abs") <= 1e-5);
    CHECK_INT(t, epl_json_length(epl_json_get(j, "outputs")), 1);
    epl_json_free(j);
    snprintf(words, sizeof words, "verify %s/p.safetensors %s/c --data npz:%s/data.npz --split train --limit 30 --json", dir, dir, dir);
    j = json_of(t, ctx, words);
    CHECK(t, member(j, "samples") == 30 && member(j, "max_abs") <= 1e-5);
    epl_json_free(j);
    snprintf(words, sizeof words, "verify %s/t.safetensors %s/c --name small", dir, dir); /* another network's weights */
    outcome o = command(t, words);
    CHECK_INT(t, o.status, 1);
    CHECK(t, strstr(o.err, "espalier verify: the largest difference is ") == o.err);
    forget(&o);
}

/* ---- two networks ---- */

/* Two layers of known weights; the other one has one weight more at 0.25, and another operator between. */
static void save_net(test *t, epl_context *ctx, const char *path, bool other)
{
    epl_graph *g = epl_graph_new(ctx, "net");
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, 4), "N,"), *y;
    y = epl_relu(g, epl_linear(g, x, (epl_linear_opts){ .name = "hidden", .out = 3, .no_bias = true }));
    y = other ? epl_abs(g, y) : y;
    epl_output(g, "y", epl_linear(g, y, (epl_linear_opts){ .name = "head", .out = 2, .no_bias = true }));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_init(m, 0));
    for (int i = 0; i < epl_weights_count(m->weights); i++)
        for (int64_t k = 0; k < epl_tensor_count(epl_weights_at(m->weights, i)); k++)
            epl_tensor_set(epl_weights_at(m->weights, i), k, 0.5);
    if (other)
        epl_tensor_set(epl_weights_find(m->weights, "hidden.weight"), 4, 0.75);
    CHECK_OK(t, ctx, epl_model_save(m, path));
    epl_model_free(m);
}

/* One line of words, which hold "%s" for the folder. */
static const char *in_dir(char words[2048], const char *dir, const char *format)
{
    char *out = words;
    for (const char *s = format; *s && out < words + 1500; s++)
        out = s[0] == '%' && s[1] == 's' ? (s++, stpcpy(out, dir)) : (*out = *s, out + 1);
    *out = 0;
    return words;
}

TEST(two_networks_are_compared)
{
    epl_context *ctx = test_context(t);
    char dir[400], path[512], words[2048];
    snprintf(dir, sizeof dir, "%s", test_temp(t, "two"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, dir));
    snprintf(path, sizeof path, "%s/a.safetensors", dir);
    save_net(t, ctx, path, false);
    snprintf(path, sizeof path, "%s/b.safetensors", dir);
    save_net(t, ctx, path, true);
    epl_tensor *ones = epl_tensor_new(ctx, EPL_F64, EPL_SHAPE(2, 4)); // converted, and the batch is bound
    for (int64_t i = 0; i < 8; i++)
        epl_tensor_set(ones, i, 1);
    snprintf(path, sizeof path, "%s/x.npy", dir);
    CHECK_OK(t, ctx, epl_npy_save(ctx, path, ones));
    epl_tensor_free(ones);

    outcome o = command(t, in_dir(words, dir, "diff %s/a.safetensors %s/b.safetensors --inputs %s --layers"));
    CHECK_INT(t, o.status, 1);
    CHECK_GOLDEN(t, "diff.txt", o.out);
    CHECK_STR(t, o.err, "input 'x' is f64, the network takes f32: converted\n");
    forget(&o);
    o = command(t, in_dir(words, dir, "diff %s/a.safetensors %s/b.safetensors --inputs %s --json -q"));
    CHECK_INT(t, o.status, 1);
    CHECK_GOLDEN(t, "diff.json", o.out);
    forget(&o);
    o = command(t, in_dir(words, dir, "diff %s/a.safetensors %s/a.safetensors"));
    CHECK_INT(t, o.status, 0);
    CHECK_STR(t, o.out, "structure  equal: 4 operators\nweights    equal: 2 equal\noutputs    equal: 1 equal\n");
    forget(&o);
    fails(t, in_dir(words, dir, "diff %s/a.safetensors %s/c.safetensors"), 2, "c.safetensors");
    fails(t, in_dir(words, dir, "diff %s/a.safetensors"), 2, "second is missing");
    fails(t, in_dir(words, dir, "diff %s/a.safetensors %s/b.safetensors --inputs /nowhere"), 2,
          "/nowhere holds no file for the input 'x': x.npy, input_0.npy or input_0.pb");

    succeeds(t, in_dir(words, dir, "export %s/a.safetensors -o %s/a.onnx -q"));
    succeeds(t, in_dir(words, dir, "verify %s/a.safetensors --against %s/a.onnx --inputs %s -q"));
    succeeds(t, in_dir(words, dir, "predict %s/a.safetensors %s/x.npy -o %s/output_0.npy -q"));
    succeeds(t, in_dir(words, dir, "verify %s/a.onnx --inputs %s -q"));
    o = command(t, in_dir(words, dir, "verify %s/b.safetensors --inputs %s -q"));
    CHECK(t, o.status == 1 && strstr(o.err, "the largest difference is 0.125, more than 1e-05") != NULL);
    forget(&o);
    fails(t, in_dir(words, dir, "verify %s/a.safetensors"), 2, "say either");
    fails(t, in_dir(words, dir, "verify %s/a.safetensors %s/c --inputs %s"), 2, "say either");
}

/* Every verb that takes a model takes an ONNX file. */
TEST(onnx_files_go_where_models_go)
{
    static const char *const ways[] = {
        "show %s/t.onnx",
        "show %s/t.onnx --program --batch 4",
        "bench %s/t.onnx --seconds 0 --batch 2 --json",
        "eval %s/t.onnx --data npz:%s/data.npz --split train -q",
        "convert %s/t.onnx %s/c.safetensors -q",
        "convert %s/t.onnx %s/c.npz -q",
        "import %s/t.onnx -o %s/i.safetensors -q",
        "export %s/t.onnx -o %s/again.onnx --opset 17 -q",
        "predict %s/t.onnx %s/x.npy",
        "compile %s/t.onnx -o %s/c --target generic --name net",
        "prune %s/t.onnx -o %s/p.safetensors -s 0.5 -q",
        "prune %s/t.onnx -o %s/half.safetensors --channels l2 --ratio 0.5 -q",
        "train %s/t.onnx --data npz:%s/data.npz --no-val -e 1 -b 16 -q --no-run -o %s/more.safetensors",
        "distill mlp:classes=3,image=4,channels=1 --teacher %s/t.onnx --data npz:%s/data.npz --no-val -e 1 -b 16 -q "
        "--no-run -o %s/s.safetensors",
        "diff %s/t.onnx %s/again.onnx",
        "diff %s/t.onnx %s/i.safetensors",
        "diff %s/t.onnx %s/c.safetensors",
        "verify %s/t.onnx --against %s/again.onnx",
    };
    epl_context *ctx = test_context(t);
    char         dir[400], words[2048];
    snprintf(dir, sizeof dir, "%s", test_temp(t, "onnx"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, dir));
    save_data(t, ctx, dir);
    succeeds(t, in_dir(words, dir, "export cnn:classes=3,image=4,channels=1,width=4,stages=2 -o %s/t.onnx -q"));
    for (size_t i = 0; i < EPL_COUNT(ways); i++)
        succeeds(t, in_dir(words, dir, ways[i]));
    epl_json *j = json_of(t, ctx, in_dir(words, dir, "info %s/t.onnx --json --batch 8"));
    CHECK(t, member(j, "batch") == 8 && member(j, "transposes") == 0 && member(j, "transposes_inside") == 0 &&
                 member(j, "transposes_inserted") > 4);
    epl_json_free(j);
    char *text = results_of(t, in_dir(words, dir, "info %s/t.onnx --brief"));
    CHECK(t, strstr(text, "put in by the import, 0 left, 0 of them inside\n") != NULL);
    free(text);
    fails(t, in_dir(words, dir, "info %s/t.onnx --dim M=3"), 2, "has a dimension named 'M'");
    outcome o = command(t, in_dir(words, dir, "verify %s/t.onnx --against cnn:classes=3,image=8,channels=1,width=4,stages=2"));
    CHECK(t, !*o.out && strstr(o.err, "input 'x' is f32[1, 4, 4, 1] in the first network")); // no table of nothing
    forget(&o);
}

/* Inputs of any type: bytes as they are and nothing that they do not hold, halves rounded. */
PROPERTY(networks_take_their_own_type, 2)
{
    epl_context    *ctx = test_context(t);
    const epl_dtype dtype = t->index ? EPL_F16 : EPL_U8;
    char            dir[400], words[2048];
    snprintf(dir, sizeof dir, "%s", test_temp(t, "types"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, dir));
    epl_graph *g = epl_graph_new(ctx, "typed");
    epl_output(g, "y", epl_cast(g, epl_input(g, "x", dtype, EPL_SHAPE(1, 3), "N,"), EPL_F32));
    epl_model *m = epl_model_new_take(g);
    CHECK_OK(t, ctx, m && epl_model_save(m, in_dir(words, dir, "%s/m.safetensors")));
    epl_model_free(m);
    epl_tensor *x = epl_tensor_new(ctx, EPL_F32, EPL_SHAPE(2, 3));
    for (int i = 0; i < 6; i++)
        epl_tensor_set(x, i, i == 1 || i == 5 ? 200 : i);
    CHECK_OK(t, ctx, epl_npy_save(ctx, in_dir(words, dir, "%s/x.npy"), x));
    epl_json *j = json_of(t, ctx, in_dir(words, dir, "predict %s/m.safetensors %s/x.npy --json"));
    for (size_t i = 0; i < 2; i++)
        CHECK(t, member(epl_json_at(epl_json_get(epl_json_at(j, i), "classes"), 0), "class") == (i ? 2 : 1));
    epl_json_free(j);
    epl_tensor_set(x, 0, 300);
    CHECK_OK(t, ctx, epl_npy_save(ctx, in_dir(words, dir, "%s/x.npy"), x));
    epl_tensor_free(x);
    in_dir(words, dir, "predict %s/m.safetensors %s/x.npy");
    if (dtype == EPL_U8)
        fails(t, words, 2, "it holds 300, which is no u8");
    else
        succeeds(t, words);
}

TEST(pictures_are_fitted_to_the_network)
{
    epl_context *ctx = test_context(t);
    char         words[1024], path[400];
    epl_tensor  *image = epl_tensor_new(ctx, EPL_U8, EPL_SHAPE(40, 64, 3));
    snprintf(path, sizeof path, "%s", test_temp(t, "a.png"));
    if (!epl_image_save_png(ctx, path, image)) {
        epl_error_clear(ctx);
        epl_tensor_free(image);
        test_skip(t, "built without PNG");
    }
    epl_tensor_free(image);
    snprintf(words, sizeof words, "predict lenet %s --json", path);
    epl_json *j = json_of(t, ctx, words);
    CHECK_INT(t, epl_json_length(j), 1);
    CHECK_STR(t, epl_json_string(epl_json_get(epl_json_at(j, 0), "input")), path);
    epl_json_free(j);
    snprintf(words, sizeof words, "predict lenet %s --augment normalise:0.1:0.2:0.3", path);
    fails(t, words, 2, "normalise");
    snprintf(words, sizeof words, "predict lstm %s", path);
    fails(t, words, 1, "not pictures");
    snprintf(words, sizeof words, "predict unet:image=16,classes=2,width=4 %s", path);
    fails(t, words, 2, "--output");
}

/* Ctrl-C: the run ends after a step, leaves a checkpoint, and goes on to the same bits. */
TEST(an_interrupted_run_goes_on)
{
    epl_context *ctx = test_context(t);
    char dir[400], options[900], words[2048], path[512];
    snprintf(dir, sizeof dir, "%s", test_temp(t, "stop"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, dir));
    save_data(t, ctx, dir);
    snprintf(options, sizeof options, "train mlp:classes=3,image=4,channels=1 --data npz:%s/data.npz --no-val -e 60 -b 8 -q", dir);
    snprintf(words, sizeof words, "%s -o %s/whole.safetensors --no-run", options, dir);
    succeeds(t, words);

    snprintf(words, sizeof words, "%s -o %s/part.safetensors --log-every 1", options, dir);
    char  err[512];
    snprintf(err, sizeof err, "%s", test_temp(t, "err"));
    const pid_t pid = start(t, words, test_temp(t, "out"), err);
    snprintf(path, sizeof path, "%s/part.safetensors.run/log.jsonl", dir);
    for (struct stat s = { 0 }; stat(path, &s) != 0 || s.st_size == 0;) {
        int status;
        CHECK_INT(t, waitpid(pid, &status, WNOHANG), 0);
        usleep(1000);
    }
    CHECK_INT(t, kill(pid, SIGINT), 0);
    int status;
    CHECK_INT(t, waitpid(pid, &status, 0), pid);
    CHECK(t, WIFEXITED(status));
    CHECK_INT(t, WEXITSTATUS(status), 130);
    char *said = test_read_file(t, err, NULL);
    CHECK(t, strstr(said, "espalier train: training stopped after update") == said && lines_of(said) == 1);
    free(said);
    snprintf(path, sizeof path, "%s/part.safetensors", dir);
    CHECK(t, !epl_file_exists(path));

    snprintf(words, sizeof words, "%s -o %s --resume", options, path);
    succeeds(t, words);
    epl_model *b = load(t, ctx, path);
    snprintf(path, sizeof path, "%s/whole.safetensors", dir);
    epl_model *a = load(t, ctx, path);
    same_tensors(t, a->weights, b->weights);
    epl_model_free(a);
    epl_model_free(b);
}

/* The verbs that rewrite networks and look at their features, on small ones. */
TEST(networks_are_rewritten_and_searched)
{
    char words[2048], net[300], made[300], back[300], features[300];
    snprintf(net, sizeof net, "%s", test_temp(t, "net.safetensors"));
    snprintf(made, sizeof made, "%s", test_temp(t, "made.safetensors"));
    snprintf(back, sizeof back, "%s", test_temp(t, "back.safetensors"));
    snprintf(features, sizeof features, "%s", test_temp(t, "features.safetensors"));
    snprintf(words, sizeof words, "new resnet:depth=8,width=12,image=12 -o %s -q", net);
    succeeds(t, words);
    snprintf(words, sizeof words, "hypercomplex %s -o %s --terms 2 --skip stem*,head*", net, made);
    char *said = results_of(t, words);
    CHECK(t, strstr(said, "8 layers of 10") && strstr(said, "as they were: stem.conv (3 -> 12, left out)"));
    free(said);
    snprintf(words, sizeof words, "hypercomplex %s -o %s --materialize", made, back);
    succeeds(t, words);
    snprintf(words, sizeof words, "verify %s --against %s", made, back);
    succeeds(t, words);
    snprintf(words, sizeof words, "hypercomplex %s -o %s", net, made);
    fails(t, words, 2, "either --terms N or --materialize");
    snprintf(words, sizeof words, "ibn %s -o %s --variant b", net, made);
    said = results_of(t, words);
    CHECK(t, strstr(said, "3 normalisations"));
    free(said);
    snprintf(words, sizeof words, "divergence %s --data shapes:image=12 --limit 32 --shift colour-shift:0:1:1:0.2:0.2 --layers stem", made);
    said = results_of(t, words);
    CHECK(t, strstr(said, "stem"));
    free(said);
    snprintf(words, sizeof words, "features %s --data shapes:image=12 --limit 30 -o %s", made, features);
    said = results_of(t, words);
    CHECK(t, strstr(said, "features [30, 48]"));
    free(said);
    snprintf(words, sizeof words, "retrieve %s --top 5", features);
    said = results_of(t, words);
    CHECK(t, strstr(said, "asked      30"));
    free(said);
    snprintf(words, sizeof words, "retrieve %s --probe 1", features);
    fails(t, words, 2, "at least 2 folds");
    snprintf(words, sizeof words, "retrieve %s", net);
    fails(t, words, 1, "no tensor 'features'");

    // packed weights rest, which training says
    snprintf(words, sizeof words, "prune %s --n-of-m 2:4 --pack -o %s -q", net, made);
    succeeds(t, words);
    snprintf(words, sizeof words, "train %s --data shapes:image=12 --limit 16 -e 1 -o %s", made, back);
    outcome o = command(t, words);
    CHECK(t, o.status == 0 && strstr(o.err, "9 weights are packed and will not learn"));
    forget(&o);
    snprintf(words, sizeof words, "train %s --data shapes:image=12 --limit 16 -e 1 -o %s", net, back);
    o = command(t, words);
    CHECK(t, o.status == 0 && !strstr(o.err, "packed"));
    forget(&o);
}

/* ---- heads: directions and prototypes ---- */

/* What eval says besides accuracy, the page it writes, and networks beside each other. */
TEST(measures_and_the_frontier)
{
    epl_context *ctx = test_context(t);
    char         words[2048], small[512], large[512], page[512];
    snprintf(small, sizeof small, "%s", test_temp(t, "small.safetensors"));
    snprintf(large, sizeof large, "%s", test_temp(t, "large.safetensors"));
    snprintf(page, sizeof page, "%s", test_temp(t, "page.html"));
    snprintf(words, sizeof words, "new cnn:image=16,channels=1,width=4,classes=3 -o %s", small);
    succeeds(t, words);
    snprintf(words, sizeof words, "prune cnn:image=16,channels=1,width=8,classes=3 -o %s -s 0.9 --layer head.*=0.5", large);
    succeeds(t, words);
    snprintf(words, sizeof words, "eval %s --data shapes:image=16,channels=1,classes=3,test=60 --json --report %s "
             "--measures nll,ece,ood:noise:image=20,channels=3,fgsm:0,pgd:8/255:2", small, page);
    epl_json *j = json_of(t, ctx, words);
    double accuracy, loss, x;
    CHECK(t, epl_json_f64(epl_json_get(j, "accuracy"), &accuracy) && epl_json_f64(epl_json_get(j, "loss"), &loss));
    CHECK(t, epl_json_f64(epl_json_get(j, "nll"), &x) && x > loss - 1e-5 && x < loss + 1e-5);
    CHECK(t, epl_json_f64(epl_json_get(j, "fgsm:0"), &x) && x == accuracy);
    CHECK(t, epl_json_f64(epl_json_get(j, "pgd:8/255:2"), &x) && x <= accuracy);
    CHECK(t, epl_json_f64(epl_json_get(j, "ood:noise:image=20,channels=3"), &x) && x >= 0 && x <= 1);
    epl_json_free(j);
    char *html = test_read_file(t, page, NULL);
    CHECK(t, strstr(html, "Reliability") && strstr(html, "ood:noise"));
    free(html);
    fails(t, "eval cnn --data shapes --measures nl", 2, "no measure is named 'nl'; did you mean 'nll'?");
    fails(t, "eval cnn --data shapes --measures pgd:2:3", 2, "expected pgd:EPS:STEPS");
    fails(t, "eval cnn --data shapes --measures nll:2", 2, "takes nothing");
    fails(t, "prune cnn -o /nowhere/x --layer head.weight", 2, "as in head.weight=0.5");
    snprintf(words, sizeof words, "analyze frontier %s %s --data shapes:image=16,channels=1,classes=3,test=60 --json", large, small);
    j = json_of(t, ctx, words);
    CHECK_INT(t, epl_json_length(j), 2);
    int64_t first = 0, second = 0;
    CHECK(t, epl_json_i64(epl_json_get(epl_json_at(j, 0), "nonzero"), &first) &&
                 epl_json_i64(epl_json_get(epl_json_at(j, 1), "nonzero"), &second));
    CHECK(t, first > 0 && first < second);
    CHECK_STR(t, epl_json_string(epl_json_get(epl_json_at(j, 0), "frontier")), "*");
    epl_json_free(j);
    snprintf(words, sizeof words, "analyze gradflow %s --data shapes:image=16,channels=1,classes=3 -b 16", large);
    succeeds(t, words);
    succeeds(t, "eval lstm-lm:hidden=8,layers=1,length=16 --data text:" EPL_SOURCE_DIR "/LICENSE,window=16 --limit 20");
}

TEST(novel_imprint_and_explain)
{
    epl_context *ctx = test_context(t);
    char         dir[400], words[2048];
    snprintf(dir, sizeof dir, "%s", test_temp(t, "heads"));
    CHECK_OK(t, ctx, epl_make_directories(ctx, dir));
#define DATA "--data shapes:image=8,count=120"
    snprintf(words, sizeof words, "train mlp:image=8,channels=3,width=8,classes=2,embed=4,head=cosine " DATA
             " --classes 0,2 --objective cosface -e 1 -b 16 --no-val --no-run -q -o %s/c.safetensors", dir);
    succeeds(t, words);
    snprintf(words, sizeof words, "novel %s/c.safetensors " DATA " --novel 1 --base 0,2 --shots 1,0 --episodes 3 --json -q", dir);
    epl_json *j = json_of(t, ctx, words);
    epl_json_free(j);
    snprintf(words, sizeof words, "novel %s/c.safetensors " DATA " --novel 1,x -q", dir);
    fails(t, words, 2, "--novel is '1,x', but must be whole numbers");
    snprintf(words, sizeof words, "novel %s/c.safetensors " DATA " --novel 1 --base 0,1 -q", dir);
    fails(t, words, 2, "class 1 is novel and in the base");
    snprintf(words, sizeof words,
             "imprint %s/c.safetensors " EPL_SOURCE_DIR "/docs/report.png --name report -q -o %s/i.safetensors", dir,
             dir);
    succeeds(t, words);
    snprintf(words, sizeof words, "predict %s/i.safetensors " EPL_SOURCE_DIR "/docs/report.png -q", dir);
    char *said = results_of(t, words);
    CHECK(t, strstr(said, "report ") != NULL);
    free(said);

    snprintf(words, sizeof words, "train prototype-net:image=8,channels=3,width=4,maps=3,depth=2,prototypes=5,classes=3 " DATA
             " --objective prototype:r1=2 -e 1 -b 16 --no-val --no-run -q -o %s/p.safetensors", dir);
    succeeds(t, words);
    snprintf(words, sizeof words, "explain %s/p.safetensors " EPL_SOURCE_DIR "/docs/report.png -q -o %s/p.svg", dir, dir);
    said = results_of(t, words);
    CHECK(t, strstr(said, "logits") != NULL);
    free(said);
    snprintf(words, sizeof words, "explain %s/p.safetensors " DATA " -q", dir);
    said = results_of(t, words);
    CHECK(t, strstr(said, "nearest sample") != NULL);
    free(said);
    snprintf(words, sizeof words, "explain %s/p.safetensors -q", dir);
    fails(t, words, 2, "a picture is needed, or --data");
    snprintf(words, sizeof words, "explain %s/c.safetensors " DATA " -q", dir);
    fails(t, words, 2, "has no prototypes");
#undef DATA
}
