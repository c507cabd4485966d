/* run: what a reproduction keeps while it goes on. */
#ifndef EPL_PAPERS_RUN_H
#define EPL_PAPERS_RUN_H

#include "papers/common/paper.h"

typedef enum check_kind { CHECK_RELATION, CHECK_NEAR, CHECK_TRUE } check_kind;

typedef struct paper_checked {
    const char    *name;
    check_kind     kind;
    paper_relation relation;
    double         measured, bound, tolerance;
    bool           passed;
} paper_checked;

typedef struct paper_plotted {
    const char *file, *caption;
} paper_plotted;

typedef struct paper_data {
    const char    *name;
    epl_data_split split;
    int64_t        limit;
    epl_dataset   *data;
} paper_data;

struct paper_run {
    epl_context  *ctx;
    epl_arena    *arena;
    const paper  *paper;
    paper_options o;
    double        start_s;
    paper_checked *checks;
    size_t         n_checks, checks_room;
    paper_series **series;
    size_t         n_series, series_room;
    paper_plotted *plots;
    size_t         n_plots, plots_room;
    const char   **remarks;
    size_t         n_remarks, remarks_room;
    epl_model    **models;
    size_t         n_models, models_room;
    paper_data    *data;
    size_t         n_data, data_room;
};

const char *paper_relation_sign(const paper_checked *c); /* ">=", "within" */
char       *paper_result_json(const paper_run *r, bool passed); /* the caller owns it */

#endif
