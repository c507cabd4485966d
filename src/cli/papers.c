/* papers: whose claims can be tried, and what came of it. */
#include "papers.h"

#include "help.h"

static bool list_json(cli *c)
{
    static const char *const columns[] = { "paper", "status", "kind", "title", "source", "claim", "criterion" };
    epl_table *t = epl_table_new(c->ctx, NULL);
    for (size_t i = 0; i < EPL_COUNT(columns); i++)
        epl_table_column(t, columns[i], (epl_column_opts){ 0 });
    for (int i = 0; i < paper_count(); i++) {
        const paper *p = paper_at(i);
        const char  *cells[EPL_COUNT(columns)] = { p->slug, paper_status(c->ctx, p), p->kind, p->title, p->source, p->claim, p->criterion };
        epl_table_row(t);
        for (size_t k = 0; k < EPL_COUNT(cells); k++)
            epl_table_text(t, cells[k]);
    }
    const bool ok = cli_print_table(c, t);
    epl_table_free(t);
    return ok;
}

static bool list(cli *c)
{
    epl_text out = EPL_TEXT(c->ctx);
    for (int i = 0; i < paper_count(); i++) {
        const paper *p = paper_at(i);
        epl_text_addf(&out, "%-26s %-16s %s\n  ", p->slug, paper_status(c->ctx, p), p->kind);
        cli_add_wrapped(&out, p->claim, 2, 2);
    }
    return cli_print_take(c, epl_text_detach(&out));
}

static bool show(cli *c, const paper *p)
{
    const char *recorded = paper_recorded(p);
    if (c->json)
        return cli_print_take(c, recorded ? epl_strdup(c->ctx, recorded) : epl_strdup(c->ctx, "null"));
    epl_text out = EPL_TEXT(c->ctx);
    epl_text_addf(&out, "%s\n%s\n\nclaim: %s\nreproduced if: %s\nstatus: %s\n\n", p->title, p->source, p->claim, p->criterion,
                  paper_status(c->ctx, p));
    char *result = recorded ? paper_result_text(c->ctx, recorded, false) : NULL;
    epl_text_add(&out, result ? result : "");
    epl_release(c->ctx, result);
    return cli_print_take(c, epl_text_detach(&out));
}

bool cli_find_paper(cli *c, const char *slug, const paper **out)
{
    const char **known = epl_arena_alloc(c->arena, (size_t)paper_count() * sizeof *known);
    for (int i = 0; known && i < paper_count(); i++)
        known[i] = paper_at(i)->slug;
    *out = paper_find(slug);
    return *out || (known && cli_unknown(c, "paper", slug, known, (size_t)paper_count()));
}

static int run(cli *c, int argc, char **argv)
{
    const char  *slug = NULL;
    const paper *p    = NULL;
    const cli_option options[] = { EPL_ARG_MAY("paper", &slug, "show what was recorded of this one"), EPL_OPT_END };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    if (!slug)
        return cli_end(c, c->json ? list_json(c) : list(c));
    return cli_end(c, cli_find_paper(c, slug, &p) && show(c, p));
}

const cli_verb cli_verb_papers = {
    .name = "papers", .json = true, .run = run,
    .summary  = "the papers whose methods are here: claims, and the recorded results",
    .about    = "The status is that of the last recorded full run. With --json everything that was recorded is there: the criterion, the "
                "values of each seed, the checks, commit, machine and time.",
    .examples = "espalier papers\nespalier papers simplenet\nespalier papers simplenet --json",
};
