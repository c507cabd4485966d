/* reproduce: a paper's claim, tried. */
#include "papers.h"

#include <string.h>

static void say(void *user, const char *line)
{
    const cli *c = user;
    if (c->meter)
        epl_meter_print(c->meter, "%s", line);
    else
        cli_remark(c, "%s", line);
}

static bool reproduce(cli *c, const paper *p, paper_options o, bool *passed)
{
    o.progress = cli_progress(c, "MAC");
    o.stop     = &cli_stop;
    o.say      = say;
    o.say_user = c;
    char *result = paper_reproduce(c->ctx, p, o, passed);
    cli_progress_end(c);
    if (!result)
        return false;
    const bool ok = cli_print_take(c, c->json ? epl_strdup(c->ctx, result) : paper_result_text(c->ctx, result, false));
    epl_release(c->ctx, result);
    if (ok && o.out)
        cli_remark(c, "wrote %s/result.json", o.out);
    return ok;
}

static int run(cli *c, int argc, char **argv)
{
    const char   *slug = NULL;
    const paper  *p    = NULL;
    paper_options o    = { 0 };
    int64_t       seeds = 0, epochs = 0;
    bool          passed = false;
    const cli_option options[] = {
        EPL_ARG("paper", &slug, "its name (`espalier papers` lists them)"),
        EPL_OPT_FLAG(0, "quick", &o.quick, "the exact checks alone: seconds"),
        EPL_OPT_INT(0, "seeds", &seeds, 0, PAPER_MAX_SEEDS, "seeds of the full part (0: as the paper's page says)"),
        EPL_OPT_INT(0, "samples", &o.samples, 0, 1e9, "a shortened run: at most N training and N test samples (0: all)"),
        EPL_OPT_INT(0, "epochs", &epochs, 0, 1e6, "a shortened run: at most N epochs (0: all)"),
        EPL_OPT_DIR('o', "out", &o.out, "where result.json and the plots go (default: nowhere with --quick, else runs/papers/<paper>)"),
        EPL_OPT_DIR(0, "data-dir", &o.data_dir, "where the data set's files lie (default: ESPALIER_DATA, then the usual place)"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv) || !cli_find_paper(c, slug, &p))
        return cli_status(c);
    char usual[512];
    snprintf(usual, sizeof usual, "runs/papers/%s", p->slug);
    if (!o.out && !o.quick)
        o.out = usual;
    o.n_seeds = (int)seeds;
    o.epochs  = (int)epochs;
    const int status = cli_end(c, reproduce(c, p, o, &passed));
    return status ? status : !passed;
}

const cli_verb cli_verb_reproduce = {
    .name = "reproduce",
    .json = true,
    .run = run,
    .summary = "tries a paper's claim in miniature, and says whether it holds",
    .about = "Trains the paper's networks and those it compares with, with several seeds, on data that this machine "
             "has, and checks what the "
             "paper says. Exit status 1 means that a check does not hold. The folder named with --out gets result.json "
             "(all values, all "
             "checks, commit, machine) and the plots; papers/<paper>/ holds the last recorded ones.",
    .examples = "espalier reproduce simplenet --quick\nespalier reproduce simplenet --threads 2 --out runs/simplenet\n"
                "espalier reproduce simplenet --seeds 1 --samples 2000 --epochs 1",
};
