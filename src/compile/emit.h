/* emit: the compiler's inside. An emitter holds a program and the texts that grow while its plan is walked; compile.c opens
 * it, emit_*.c print, files.c writes. */
#ifndef EPL_EMIT_H
#define EPL_EMIT_H

#include <espalier/compile.h>

#include <stdio.h>

#include "ops/elementwise.h"
#include "program/program.h"

typedef struct epl_target {
    const char *name, *alias;
    const char *isa;    /* whose plan it is */
    const char *flags;  /* of the compiler */
    int         vector; /* floats per vector: the layout of packed weights depends on it */
    const char *cc, *runner; /* elsewhere than at home; NULL: the machine's own */
    const char *home;   /* the instruction set's family, as uname says it; NULL: any */
} epl_target;

/* Of that name or alias; NULL: the best that this machine runs. NULL and an error if there is none. */
const epl_target *epl_target_find(epl_context *ctx, const char *name);
bool              epl_target_is_foreign(const epl_target *t);

/* A piece of the stored weights. */
typedef struct epl_stored {
    const void *data;
    size_t      bytes, offset;
    bool        state;
    const char *name; /* of a parameter or state, or NULL */
} epl_stored;

/* An input or output of the compiled network: a parameter of its function. */
typedef struct epl_port {
    const char *name;       /* the graph's */
    char        ident[64];  /* unique among the ports */
    char        upper[64];
    const epl_value *value;
    size_t      bytes;
} epl_port;

typedef struct epl_emitter {
    epl_context      *ctx;
    epl_program      *p;
    const char       *name;
    char              upper[64];
    const epl_target *target;
    bool              in_file;   /* the weights */
    epl_text          body;      /* of the run function */
    epl_text          tables;    /* parameters of kernels */
    epl_text          chains;    /* element-wise functions over f32 */
    epl_text          integers;  /* element-wise functions over integers: a file of their own */
    epl_text          prototypes; /* of functions in other files */
    int               indent, n_tables, n_chains, n_loops;
    char            **chain_texts; /* of those printed, to print no text twice */
    size_t            n_chain_texts, cap_chain_texts;
    epl_stored       *stored;
    size_t            n_stored, cap_stored, stored_bytes, state_bytes;
    const char      **files;     /* of the sources, by path, that the network needs */
    size_t            n_files, cap_files;
    bool              f32_rows[EPL_N_ELEMENTWISE], int_rows[EPL_N_ELEMENTWISE]; /* printed already */
    bool              ref_rows[EPL_N_ELEMENTWISE]; /* needed as reference kernels */
    bool              uses_ref;
    epl_port         *inputs, *outputs;
    epl_artifact      made;
} epl_emitter;

/* ---- emit_plan.c: the run function ---- */
bool epl_emit_plan(epl_emitter *e);
void epl_emit_line(epl_emitter *e, const char *format, ...) EPL_PRINTF(2, 3); /* to the body, indented */

/* ---- emit_memory.c: where buffers lie ---- */
const epl_buffer *epl_emit_root(const epl_block *b, int buffer, const epl_block **home); /* what it shares its place with */
bool epl_emit_place(epl_emitter *e, const epl_block *b, int buffer, char out[96]); /* a C expression of type void * */
const void *epl_emit_constant(const epl_emitter *e, const epl_block *b, int buffer); /* its data, if never written; or NULL */
void epl_emit_weights(const epl_emitter *e, epl_text *t);     /* <name>_weights.c */
bool epl_emit_weights_file(const epl_emitter *e, const char *path);

/* ---- emit_chain.c: element-wise functions ---- */
/* Prints the step's chain, unless an equal one is there, and returns its number; -1 on failure. */
int  epl_emit_chain(epl_emitter *e, const epl_block *b, const epl_step *s, const epl_chain *c, bool behind);
bool epl_chain_is_integer(const epl_chain *c);
bool epl_chain_is_flat(const epl_chain *c);
void epl_emit_ref_rows(const epl_emitter *e, const char *type, const char *vocabulary, epl_text *t); /* rows as functions */
bool epl_row_takes(const epl_row *row, const char *type); /* "real", "int", "uint" */

/* ---- emit_params.c: a kernel's parameters with their names ---- */
bool epl_emit_params(epl_emitter *e, const epl_step *s, int number);

/* ---- emit_reference.c: reference kernels ---- */
bool epl_emit_reference(epl_emitter *e, const epl_block *b, const epl_step *s);
bool epl_emit_reference_file(epl_emitter *e, const char *path, epl_text *t); /* ops/<family>.c */
const char *epl_reference_file(const epl_op *op); /* the file whose reference part defines it; NULL if there is none */

/* ---- files.c ---- */
bool        epl_emit_need(epl_emitter *e, const char *path);  /* that file and what it includes */
const char *epl_source_text(const char *path);                /* NULL if it is not embedded */
bool        epl_emit_files(epl_emitter *e, const char *dir);

/* ---- literals.c ---- */
void epl_literal_f32(char out[48], float x);
void epl_literal_f64(char out[48], double x);
void epl_literal_i64(char out[48], int64_t x);
const char *epl_emit_clean(char out[96], const char *name); /* fit for comments and strings; returns out */

/* ---- compile.c: shared with verify.c ---- */
epl_program *epl_compile_program(const epl_model *m, epl_compile_opts o, const epl_target *t, bool reference);

#endif
