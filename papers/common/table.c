/* table: the papers that the build found, and what was recorded of them. */
#include "papers/common/results.h"
#include "papers/common/run.h"

#include <string.h>

#define PAPER(name) extern const paper paper_##name;
#include "papers_table.inc"
#undef PAPER

static const paper *const table[] = {
#define PAPER(name) &paper_##name,
#include "papers_table.inc"
#undef PAPER
};

int          paper_count(void) { return (int)EPL_COUNT(table); }
const paper *paper_at(int i) { return table[i]; }

const paper *paper_find(const char *slug)
{
    for (size_t i = 0; i < EPL_COUNT(table); i++)
        if (strcmp(table[i]->slug, slug) == 0)
            return table[i];
    return NULL;
}

const char *paper_recorded(const paper *p)
{
    for (const paper_result *r = paper_results; r->slug; r++)
        if (strcmp(r->slug, p->slug) == 0)
            return r->text;
    return NULL;
}

const char *paper_status(epl_context *ctx, const paper *p)
{
    const char *text   = paper_recorded(p);
    epl_json   *result = text ? epl_json_parse(ctx, text, strlen(text), p->slug) : NULL;
    bool        passed = false;
    epl_json_bool(epl_json_get(result, "passed"), &passed);
    const char *status = !result ? "not run" : passed ? "reproduced" : "not reproduced";
    epl_json_free(result);
    return status;
}
