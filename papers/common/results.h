/* results: every papers/<slug>/result.json, as cmake/embed_results.cmake puts them into the program; and what it was built from. */
#ifndef EPL_PAPERS_RESULTS_H
#define EPL_PAPERS_RESULTS_H

typedef struct paper_result {
    const char *slug, *text;
} paper_result;

extern const paper_result paper_results[]; /* ended by NULL */
extern const char         paper_commit[];  /* "346556b", "346556b+" of a changed tree, "" outside of one */

#endif
