/* run: the stages in order, and what all of them share. */
#include "pipeline/pipeline.h"

#include <stdio.h>
#include <string.h>

void epl_pipeline_say(const epl_pipeline *p, const char *format, ...)
{
    char    line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (p->opts.say)
        p->opts.say(p->opts.say_user, line);
}

char *epl_stage_path(const epl_stage *s, const char *file)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s%s", s->pipeline->dir, s->name, file[0] ? "/" : "", file);
    return epl_arena_strdup(s->pipeline->arena, path);
}

static bool open_data(epl_pipeline *p)
{
    if (p->train)
        return true;
    p->train = epl_dataset_open(p->ctx, p->data, (epl_dataset_opts){ .split = EPL_SPLIT_TRAIN, .seed = p->seed });
    p->test  = p->train ? epl_dataset_open(p->ctx, p->data, (epl_dataset_opts){ .split = EPL_SPLIT_TEST, .seed = p->seed }) : NULL;
    return p->train && p->test;
}

static const char *say_result(const epl_stage *s, char out[256])
{
    const epl_stage_result *r = &s->result;
    if (s->kind == EPL_STAGE_COMPILE)
        snprintf(out, 256, "%d artifacts", s->n_models);
    else
        snprintf(out, 256, "accuracy %.2f %%, %lld of %lld parameters, %.2f MMACs", 100 * r->accuracy, (long long)r->nonzero,
                 (long long)r->parameters, r->executed_macs / 1e6);
    return out;
}

static bool run_stage(epl_stage *s, int number)
{
    epl_pipeline *p = s->pipeline;
    char said[256], took[32];
    if (!p->opts.fresh && epl_stage_load(s)) {
        s->result.cached = true;
        epl_pipeline_say(p, "[%d/%d] %s: %s (from an earlier run)", number, p->n_stages, s->name, say_result(s, said));
        return true;
    }
    epl_pipeline_say(p, "[%d/%d] %s%s%s", number, p->n_stages, s->name, s->note ? ": " : "", s->note ? s->note : "");
    const double start = epl_now_s();
    if (!(s->kind == EPL_STAGE_COMPILE ? epl_stage_compile(s) : epl_stage_train(s)))
        return false;
    s->result.done = true;
    s->result.seconds += epl_now_s() - start;
    epl_format_seconds(took, s->result.seconds);
    epl_pipeline_say(p, "      %s, %s", say_result(s, said), took);
    return epl_stage_save(s);
}

bool epl_pipeline_run(epl_pipeline *p, epl_pipeline_opts o)
{
    char dir[1024];
    p->opts = o;
    snprintf(dir, sizeof dir, "runs/%s", p->name);
    p->dir = epl_arena_strdup(p->arena, o.dir ? o.dir : dir);
    if (!p->dir || !epl_make_directories(p->ctx, p->dir) || !open_data(p))
        return false;
    for (int i = 0; i < p->n_stages; i++)
        if (!run_stage(&p->stages[i], i + 1))
            return false;
    return epl_pipeline_save_summary(p) && epl_pipeline_save_report(p);
}
