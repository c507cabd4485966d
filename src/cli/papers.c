/* papers: whose claims can be tried, and what came of it. */
#include "papers.h"

static bool list(cli *c)
{
    epl_table *t = epl_table_new(c->ctx, NULL);
    epl_table_column(t, "paper", (epl_column_opts){ 0 });
    epl_table_column(t, "status", (epl_column_opts){ 0 });
    epl_table_column(t, "kind", (epl_column_opts){ 0 });
    epl_table_column(t, c->json ? "title" : "claim", (epl_column_opts){ 0 });
    if (c->json) {
        epl_table_column(t, "source", (epl_column_opts){ 0 });
        epl_table_column(t, "claim", (epl_column_opts){ 0 });
        epl_table_column(t, "criterion", (epl_column_opts){ 0 });
    }
    for (int i = 0; i < paper_count(); i++) {
        const paper *p = paper_at(i);
        epl_table_row(t);
        epl_table_text(t, p->slug);
        epl_table_text(t, paper_status(c->ctx, p));
        epl_table_text(t, p->kind);
        epl_table_text(t, c->json ? p->title : p->claim);
        if (c->json) {
            epl_table_text(t, p->source);
            epl_table_text(t, p->claim);
            epl_table_text(t, p->criterion);
        }
    }
    const bool ok = cli_print_table(c, t);
    epl_table_free(t);
    return ok;
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
        return cli_end(c, list(c));
    return cli_end(c, cli_find_paper(c, slug, &p) && show(c, p));
}

const cli_verb cli_verb_papers = {
    .name = "papers", .json = true, .run = run,
    .summary  = "the papers whose methods are here: claims, and the recorded results",
    .about    = "The status is that of the last recorded full run. With --json everything that was recorded is there: the criterion, the "
                "values of each seed, the checks, commit, machine and time.",
    .examples = "espalier papers\nespalier papers simplenet\nespalier papers simplenet --json",
};
