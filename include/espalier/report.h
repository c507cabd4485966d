/* report: what people read - tables, plots, pictures of graphs, HTML pages - and the logs of a run: JSON lines,
 * TensorBoard event files, progress on a terminal.
 *
 * Every text given is UTF-8, is copied, and is escaped where it is written: no name or caption can break out of a page,
 * a picture or a terminal line (bytes that are not UTF-8 become U+FFFD). Pictures are SVG without scripts, fonts or
 * links; they adapt to a light or dark page and stay readable at 600 pixels of width.
 *
 * Building calls need no checks: the first failure is recorded in the context and in the object, later calls do
 * nothing, and the function that renders or saves returns NULL or false. A NULL object is passed over likewise.
 * A rendered text belongs to the caller: epl_release(ctx, text). */
#ifndef ESPALIER_REPORT_H
#define ESPALIER_REPORT_H

#include <espalier/base.h>

#include <signal.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tables --------------------------------------------------------------------------------------------------
 * Columns first, then rows: epl_table_row starts a row, each cell call fills the next column; missing cells stay empty.
 *
 *     epl_table *t = epl_table_new(ctx, "Layers");
 *     epl_table_column(t, "layer", (epl_column_opts){ 0 });
 *     epl_table_column(t, "size", (epl_column_opts){ .format = EPL_FORMAT_BYTES });
 *     epl_table_row(t);
 *     epl_table_text(t, "conv1");
 *     epl_table_number(t, 1536);                                 // printed "1.50 KiB", in JSON 1536 */
typedef struct epl_table epl_table;

typedef enum epl_align { EPL_ALIGN_AUTO = 0, EPL_ALIGN_LEFT, EPL_ALIGN_RIGHT, EPL_ALIGN_CENTER } epl_align;

/* How a column prints its numbers. JSON always holds the plain number. */
typedef enum epl_format {
    EPL_FORMAT_PLAIN = 0, /* up to six significant digits; integers whole */
    EPL_FORMAT_FIXED,     /* `decimals` digits after the point */
    EPL_FORMAT_COUNT,     /* 1.23 M */
    EPL_FORMAT_BYTES,     /* 1.50 KiB */
    EPL_FORMAT_SECONDS,   /* 85 us */
    EPL_FORMAT_PERCENT    /* 0.934 -> 93.4 %, with `decimals` digits (default 1) */
} epl_format;

typedef struct epl_column_opts {
    const char *key;      /* the member's name in JSON; default: the column's name */
    const char *unit;     /* written behind the column's name: "latency [ms]" */
    epl_align   align;    /* default: right if every filled cell of the column is a number, else left */
    epl_format  format;
    int         decimals; /* for FIXED (default 2) and PERCENT (default 1); -1 means none */
} epl_column_opts;

EPL_API epl_table *epl_table_new(epl_context *ctx, const char *title); /* title may be NULL */
EPL_API void       epl_table_free(epl_table *t);
EPL_API void       epl_table_column(epl_table *t, const char *name, epl_column_opts o);
EPL_API void       epl_table_row(epl_table *t);
EPL_API void       epl_table_rule(epl_table *t); /* a line between the rows so far and the next (totals) */
EPL_API void       epl_table_text(epl_table *t, const char *s);
EPL_API void       epl_table_textf(epl_table *t, const char *format, ...) EPL_PRINTF(2, 3);
EPL_API void       epl_table_number(epl_table *t, double x); /* NaN prints as "nan", null in JSON */
EPL_API void       epl_table_integer(epl_table *t, int64_t x);
EPL_API void       epl_table_empty(epl_table *t);

typedef struct epl_table_opts {
    int  width; /* columns of text at most; the widest text columns are cut with an ellipsis; default no limit */
    bool ascii; /* rules of '-' and a cut of "..." rather than box drawing */
} epl_table_opts;

EPL_API char *epl_table_to_text(const epl_table *t, epl_table_opts o);
EPL_API char *epl_table_to_markdown(const epl_table *t);
EPL_API char *epl_table_to_json(const epl_table *t); /* a list of objects, one per row; empty cells are null */
EPL_API char *epl_table_to_html(const epl_table *t); /* one <table> element */

/* ---- plots ---------------------------------------------------------------------------------------------------
 * One plot holds either series over numbers (lines, points), or bars over categories, or one matrix.
 * What cannot be placed - NaN, infinity, zero or less on a logarithmic axis - leaves a gap. A plot without a drawable
 * value says "no data". Long lines are thinned to what the width can show (minima and maxima stay). */
typedef struct epl_plot epl_plot;

typedef struct epl_plot_opts {
    const char *title, *x_label, *y_label;
    bool        x_log, y_log;   /* logarithmic, base 10 */
    double      x_min, x_max;   /* equal (as when left out): from the data */
    double      y_min, y_max;
    bool        y_percent;      /* y ticks 0.25 -> 25 % */
    int         width, height;  /* default 640 x 400; a matrix chooses its height */
} epl_plot_opts;

EPL_API epl_plot *epl_plot_new(epl_context *ctx, epl_plot_opts o);
EPL_API void      epl_plot_free(epl_plot *p);

typedef struct epl_line_opts {
    const double *low, *high; /* n values each: a shaded spread around the line; both or none */
    int           color;      /* 1..8, an entry of the palette; default the next */
    bool          dashed, markers, steps;
} epl_line_opts;

/* name may be NULL: no legend entry. x may be NULL: 0, 1, 2, ... */
EPL_API void epl_plot_line(epl_plot *p, const char *name, const double *x, const double *y, size_t n, epl_line_opts o);

typedef struct epl_scatter_opts {
    const char *const *labels; /* n labels beside the points (an entry may be NULL), moved apart where they collide */
    int                color;
    double             radius; /* default 3.5 pixels */
} epl_scatter_opts;

EPL_API void epl_plot_scatter(epl_plot *p, const char *name, const double *x, const double *y, size_t n,
                              epl_scatter_opts o);

/* A thin line across the plot at one x or y, labelled: a limit, a target, an epoch where something happened. */
EPL_API void epl_plot_mark_x(epl_plot *p, double x, const char *label);
EPL_API void epl_plot_mark_y(epl_plot *p, double y, const char *label);

/* Bars: the categories once, then a series of n_categories values each. `error` (n values or NULL) draws whiskers. */
EPL_API void epl_plot_categories(epl_plot *p, const char *const *names, size_t n);
EPL_API void epl_plot_bars(epl_plot *p, const char *name, const double *values, const double *error, size_t n);

typedef struct epl_matrix_opts {
    const char *const *row_names, *const *column_names; /* NULL: indices */
    bool confusion;   /* colour by the share of the row, values printed as counts, diagonal framed;
                         rows are the truth, columns the prediction */
    bool diverging;   /* colours around zero, both ways */
    bool no_values;   /* never print the values; default: print them where they fit */
    int  decimals;    /* default as many as needed, at most three significant digits */
} epl_matrix_opts;

EPL_API void epl_plot_matrix(epl_plot *p, const double *values, size_t rows, size_t columns, epl_matrix_opts o);

EPL_API char *epl_plot_svg(const epl_plot *p); /* a whole SVG file */

/* ---- pictures in a grid ---- */
typedef struct epl_picture {
    const void *png;     /* a PNG file's bytes; borrowed during the call */
    size_t      bytes;
    const char *caption; /* or NULL */
    int         mark;    /* 0 none, 1 a frame that means right, 2 a frame that means wrong */
} epl_picture;

typedef struct epl_pictures_opts {
    const char *title;
    int         columns; /* default: as many as fit */
    int         size;    /* edge of one picture in pixels; default 96; small pictures are enlarged without smoothing */
    int         width;   /* of the SVG; default 640 */
} epl_pictures_opts;

/* Fails with EPL_ERR_FORMAT if one of them is not a PNG file. */
EPL_API char *epl_pictures_svg(epl_context *ctx, const epl_picture *pictures, size_t n, epl_pictures_opts o);

/* ---- diagrams: a directed graph in layers from top to bottom ----
 * Regions are boxes around nodes and other regions. Nodes and regions are named by the numbers returned, from 1; 0 is
 * "none", and -1 is returned after a failure. An edge that closes a cycle is drawn upwards. */
typedef struct epl_diagram epl_diagram;

typedef struct epl_diagram_opts {
    const char *title;
} epl_diagram_opts;

typedef struct epl_diagram_node_opts {
    int         region;  /* default the whole picture */
    int         color;   /* 1..8, an entry of the palette; default neutral */
    const char *tooltip;
    bool        rounded; /* a pill: inputs, outputs */
} epl_diagram_node_opts;

EPL_API epl_diagram *epl_diagram_new(epl_context *ctx, epl_diagram_opts o);
EPL_API void         epl_diagram_free(epl_diagram *d);
EPL_API int          epl_diagram_region(epl_diagram *d, const char *label, int parent); /* label may be NULL */
EPL_API int          epl_diagram_node(epl_diagram *d, const char *lines, epl_diagram_node_opts o); /* '\n' separates;
                                                                                      the first line is set bold */
EPL_API void         epl_diagram_edge(epl_diagram *d, int from, int to, const char *label); /* label: tooltip or NULL */
EPL_API char        *epl_diagram_svg(epl_diagram *d);

/* ---- pages: one HTML file with everything in it ----
 * Parts appear in the order of the calls. Paragraphs know two marks: `code` and **bold**. */
typedef struct epl_report epl_report;

typedef enum epl_note { EPL_NOTE_INFO = 0, EPL_NOTE_GOOD, EPL_NOTE_WARNING, EPL_NOTE_BAD } epl_note;

typedef struct epl_report_opts {
    const char *subtitle;
    const char *footer; /* a last line: the command, the machine, the commit */
} epl_report_opts;

EPL_API epl_report *epl_report_new(epl_context *ctx, const char *title, epl_report_opts o);
EPL_API void        epl_report_free(epl_report *r);
EPL_API void epl_report_key(epl_report *r, const char *label, const char *value, const char *remark); /* a key figure
                                                                         in the header; remark may be NULL */
EPL_API void epl_report_section(epl_report *r, const char *title);    /* also an entry of the contents */
EPL_API void epl_report_subsection(epl_report *r, const char *title);
EPL_API void epl_report_text(epl_report *r, const char *format, ...) EPL_PRINTF(2, 3); /* one paragraph */
EPL_API void epl_report_note(epl_report *r, epl_note kind, const char *format, ...) EPL_PRINTF(3, 4);
EPL_API void epl_report_code(epl_report *r, const char *text);        /* as it stands, fixed pitch */
EPL_API void epl_report_table(epl_report *r, const epl_table *t);
EPL_API void epl_report_plot(epl_report *r, const epl_plot *p, const char *caption); /* caption may be NULL */
EPL_API void epl_report_diagram(epl_report *r, epl_diagram *d, const char *caption);
EPL_API void epl_report_pictures(epl_report *r, const epl_picture *pictures, size_t n, epl_pictures_opts o);
EPL_API void epl_report_begin_details(epl_report *r, const char *summary); /* collapsed until clicked; may nest */
EPL_API void epl_report_end_details(epl_report *r);
EPL_API void epl_report_begin_columns(epl_report *r); /* what follows stands side by side where there is room */
EPL_API void epl_report_end_columns(epl_report *r);
EPL_API char *epl_report_html(const epl_report *r);   /* fails if details or columns are still open */
EPL_API bool  epl_report_save(const epl_report *r, const char *path);

/* ---- TensorBoard event files ----
 * Records as TensorFlow writes them (TFRecord: length, masked CRC-32C, Event message, masked CRC-32C). TensorBoard finds
 * files whose name contains "tfevents" in its --logdir. Each call writes one whole record. */
typedef struct epl_events epl_events;

typedef struct epl_events_opts {
    bool    resume;      /* keep what is there up to and including resume_step, cut the rest and any torn record */
    int64_t resume_step;
    double  wall_time_s; /* seconds since 1970 put in every event; default the clock */
} epl_events_opts;

EPL_API epl_events *epl_events_open(epl_context *ctx, const char *path, epl_events_opts o);
EPL_API bool epl_events_scalar(epl_events *e, const char *tag, int64_t step, double value);
EPL_API bool epl_events_text(epl_events *e, const char *tag, int64_t step, const char *markdown);
EPL_API bool epl_events_image(epl_events *e, const char *tag, int64_t step, const void *png, size_t bytes);
EPL_API bool epl_events_close(epl_events *e); /* accepts NULL; frees; false if anything could not be written */

/* ---- JSON lines: one object per step ----
 * A line is written whole and flushed, so that a killed run leaves at most one torn line, which a resumed run cuts.
 *
 *     epl_jsonl_begin(log, step);   epl_jsonl_number(log, "loss", loss);   epl_jsonl_end(log); */
typedef struct epl_jsonl epl_jsonl;

typedef struct epl_jsonl_opts {
    bool    resume;      /* keep the leading lines whose "step" is at most resume_step; default: an empty file */
    int64_t resume_step;
} epl_jsonl_opts;

EPL_API epl_jsonl *epl_jsonl_open(epl_context *ctx, const char *path, epl_jsonl_opts o);
EPL_API void epl_jsonl_begin(epl_jsonl *l, int64_t step); /* writes "step"; the names that follow must differ */
EPL_API void epl_jsonl_number(epl_jsonl *l, const char *name, double x);          /* NaN and infinity: null */
EPL_API void epl_jsonl_integer(epl_jsonl *l, const char *name, int64_t x);
EPL_API void epl_jsonl_text(epl_jsonl *l, const char *name, const char *s);
EPL_API bool epl_jsonl_end(epl_jsonl *l);
EPL_API bool epl_jsonl_close(epl_jsonl *l); /* accepts NULL; frees; false if anything could not be written */

/* ---- progress on a terminal ----
 * On a terminal: one line redrawn at most ten times a second: label, bar, share, rate, remaining time. Elsewhere: a
 * plain line every few seconds and at the end of each task. A task ends when `done` reaches its total or falls, or when the
 * total changes; its label may change on the way. The terminal's modes are never changed, so a signal at any
 * moment leaves it sane.
 *
 *     epl_meter *m = epl_meter_new(ctx, stderr, (epl_meter_opts){ .unit = "images", .stop = &interrupted });
 *     epl_progress progress = epl_meter_progress(m);              // pass to anything that takes one
 *     epl_meter_free(m);                                          // ends the line */
typedef struct epl_meter epl_meter;

typedef struct epl_meter_opts {
    const char                  *unit;    /* of the rate: "images"; default "it" */
    const volatile sig_atomic_t *stop;    /* set by the caller's signal handler: asks the work to stop; or NULL */
    int    style;                         /* 0: look at the file; 1: as on a terminal; 2: plain lines */
    int    width;                         /* of the terminal; default: asked of it, else 80 */
    double every_s;                       /* between plain lines; default 5 */
    bool   no_color;                      /* also set by the environment variable NO_COLOR */
    double (*clock)(void *user);          /* seconds; default epl_now_s; for tests */
    void  *clock_user;
} epl_meter_opts;

EPL_API epl_meter   *epl_meter_new(epl_context *ctx, FILE *out, epl_meter_opts o);
EPL_API epl_progress epl_meter_progress(epl_meter *m); /* borrows m; with NULL: a progress that shows nothing */
EPL_API void epl_meter_print(epl_meter *m, const char *format, ...) EPL_PRINTF(2, 3); /* a lasting line above it */
EPL_API void epl_meter_free(epl_meter *m);

#ifdef __cplusplus
}
#endif
#endif
