/* run: a pipeline file, stage by stage, to one report. */
#include "cli.h"

static void say(void *user, const char *line)
{
    const cli *c = user;
    if (c->meter)
        epl_meter_print(c->meter, "%s", line);
    else
        cli_remark(c, "%s", line);
}

static int run(cli *c, int argc, char **argv)
{
    const char *file = NULL, *dir = NULL;
    bool        fresh = false, check = false;
    const cli_option options[] = {
        EPL_ARG("pipeline", &file, "the pipeline file (.yaml)"),
        EPL_OPT_DIR('o', "output", &dir, "where stages, summary.json and report.html go (default: runs/<name>)"),
        EPL_OPT_FLAG(0, "fresh", &fresh, "run every stage again"),
        EPL_OPT_FLAG(0, "check", &check, "read and check the file, run nothing"),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_pipeline *p  = epl_pipeline_load(c->ctx, file);
    bool          ok = p != NULL;
    if (ok && check)
        cli_remark(c, "%s: %d stages, nothing to complain about", epl_pipeline_name(p), epl_pipeline_n_stages(p));
    if (ok && !check) {
        ok = epl_pipeline_run(p, (epl_pipeline_opts){ .dir = dir, .fresh = fresh, .progress = cli_progress(c, "images"),
                                                      .stop = &cli_stop, .say = say, .say_user = c });
        cli_progress_end(c);
    }
    if (ok && !check) {
        epl_table *t = epl_pipeline_table(p);
        ok = cli_print_table(c, t);
        epl_table_free(t);
        if (dir)
            cli_remark(c, "wrote %s/report.html and %s/summary.json", dir, dir);
        else
            cli_remark(c, "wrote runs/%s/report.html and runs/%s/summary.json", epl_pipeline_name(p), epl_pipeline_name(p));
    }
    epl_pipeline_free(p);
    return cli_end(c, ok);
}

const cli_verb cli_verb_run = {
    .name = "run",
    .json = true,
    .run = run,
    .summary = "runs a pipeline file: train, distil, prune, compile, verify, report",
    .about = "Each stage leaves its artifact and its result in a folder of its own. What is there already, from the "
             "same text and the same "
             "inputs, is not run again; a run that was stopped or killed goes on where it was. docs/run.md describes "
             "the file.",
    .examples = "espalier run pipelines/fashion-mnist.yaml\nespalier run pipelines/fashion-mnist.yaml --check",
};
