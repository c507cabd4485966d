/* main: finds the verb, runs it, and tells how it went. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "help.h"

volatile sig_atomic_t cli_stop;

static const cli_verb *const verbs[] = {
#define VERB(name) &cli_verb_##name,
#include "verbs.def"
#undef VERB
};

/* A second signal is not ours any more: it ends the process. */
static void stop(int signal)
{
    (void)signal;
    cli_stop = 1;
}

static void catch_signals(void)
{
    const struct sigaction action = { .sa_handler = stop, .sa_flags = (int)SA_RESETHAND };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static const cli_verb *find_verb(cli *c, const char *name)
{
    const char *known[EPL_COUNT(verbs)];
    for (size_t i = 0; i < EPL_COUNT(verbs); i++) {
        known[i] = verbs[i]->name;
        if (strcmp(known[i], name) == 0)
            return verbs[i];
    }
    cli_unknown(c, "verb", name, known, EPL_COUNT(verbs));
    return NULL;
}

static bool print_version(cli *c)
{
    epl_text out = EPL_TEXT(c->ctx);
    epl_text_addf(&out, "espalier %d.%d.%d\n", EPL_VERSION_MAJOR, EPL_VERSION_MINOR, EPL_VERSION_PATCH);
    return cli_print_take(c, epl_text_detach(&out));
}

static int run_verb(cli *c, int argc, char **argv)
{
    c->verb = find_verb(c, argv[0]);
    return c->verb ? c->verb->run(c, argc, argv) : cli_status(c);
}

/* `espalier help`, `espalier help VERB`, `espalier --help VERB`. */
static int run_help(cli *c, int argc, char **argv)
{
    char  option[] = "--help";
    char *words[]  = { argc > 2 ? argv[2] : NULL, option, argc > 3 ? argv[3] : NULL, NULL };
    if (words[0])
        return run_verb(c, words[2] ? 3 : 2, words);
    return cli_end(c, cli_print_overview(c, verbs, EPL_COUNT(verbs)));
}

static int run(cli *c, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (!word) {
        epl_fail(c->ctx, EPL_ERR_ARGUMENT, "which verb? `espalier help` lists them");
        return cli_status(c);
    }
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return run_help(c, argc, argv);
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0)
        return cli_end(c, print_version(c));
    return run_verb(c, argc - 1, argv + 1);
}

/* OpenMP's waiting threads would keep a core busy for milliseconds: on a machine with other work a step then takes ten times
 * as long. Asleep at once, they take 20 to 30 us to wake, for every kernel. So they look for work for about as long as waking
 * takes (1000 turns are 25 us on Zen 4) and then sleep, which never costs more than twice the better of the two. The runtime
 * reads its variables when it is loaded, so the process starts again with them, unless the user has decided. */
static void wait_briefly(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("OMP_WAIT_POLICY", "passive", 1) == 0 && setenv("GOMP_SPINCOUNT", "1000", 1) == 0)
        execv("/proc/self/exe", argv); // comes back only where there is no /proc: slower, not wrong
}

int main(int argc, char **argv)
{
    wait_briefly(argv);
    cli c = { 0 };
    c.ctx = epl_context_new((epl_context_opts){ 0 });
    c.arena = c.ctx ? epl_arena_new(c.ctx) : NULL;
    if (!c.arena) {
        fputs("espalier: no memory\n", stderr);
        return 1;
    }
    catch_signals();
    int status = run(&c, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) { // a full disk must not look like success
        epl_error_clear(c.ctx);
        epl_fail(c.ctx, EPL_ERR_IO, "the standard output: %s", strerror(errno));
        status = cli_status(&c);
    }
    epl_arena_free(c.arena);
    epl_context_free(c.ctx);
    return status;
}
