/* The command: every verb's --help is the text in its page under docs/, mistakes get one line and the right exit status, results
 * are what they say. EPL_UPDATE_GOLDEN=1 writes the options into the pages. */
#include "common/check.h"

#include "base/json.h"

#include <espalier/graph.h>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const verbs[] = {
#define VERB(name) #name,
#include "cli/verbs.def"
#undef VERB
};

/* ---- running the command ---- */

typedef struct outcome {
    int   status; /* 128 + signal if one ended it */
    char *out, *err;
} outcome;

enum { MAX_WORDS = 48 };

/* Runs `espalier words...`; a word cannot hold a blank. The texts are free()d by forget. */
static outcome command(test *t, const char *words)
{
    extern char **environ;
    char  copy[4096], out[512], err[512];
    char *argv[MAX_WORDS + 2] = { EPL_BINARY_DIR "/espalier" };
    snprintf(copy, sizeof copy, "%s", words);
    snprintf(out, sizeof out, "%s", test_temp(t, "stdout"));
    snprintf(err, sizeof err, "%s", test_temp(t, "stderr"));
    char *rest = copy;
    for (int n = 1; n < MAX_WORDS && (argv[n] = strtok_r(rest, " ", &rest)) != NULL; n++)
        continue;
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&files, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t pid;
    int   status = -1;
    CHECK_INT(t, posix_spawn(&pid, argv[0], &files, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
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
    snprintf(words, sizeof words, "%s --help", verbs[t->index]);
    char *help = results_of(t, words);
    CHECK(t, strstr(help, "examples:\n  espalier ") != NULL);
    check_page(t, verbs[t->index], help);
    snprintf(words, sizeof words, "help %s", verbs[t->index]);
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
        CHECK(t, strstr(help, verbs[i]) != NULL);
    free(help);
}

TEST(help_of_a_model_lists_its_options)
{
    char *help = results_of(t, "new --help resnet");
    CHECK(t, strstr(help, "\n  depth=20 ") != NULL);
    free(help);
    fails(t, "new --help resnt", 2, "did you mean 'resnet'?");
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
    snprintf(words, sizeof words, "%s --thraeds 2", verbs[t->index]);
    fails(t, words, 2, "did you mean --threads?");
    snprintf(words, sizeof words, "%s --threads many", verbs[t->index]);
    fails(t, words, 2, "--threads is 'many', but must be a whole number from 0 to 1024");
    snprintf(words, sizeof words, "%s --threads", verbs[t->index]);
    fails(t, words, 2, "--threads needs a value");
    snprintf(words, sizeof words, "%s --quiet=3", verbs[t->index]);
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
} readers[] = { { "info", "" }, { "show", "" } };

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
