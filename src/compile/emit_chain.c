/* Element-wise chains as C functions: one loop over rows and columns, one line for each operator, whose text is its row of
 * elementwise.def. The library interprets the same chains tile by tile; the numbers are the same, because CHAIN_ROUND keeps the
 * compiler from contracting a product of one operator with a sum of the next. Chains of integers go to a file of their own,
 * where the same words mean integer arithmetic. */
#include "compile/emit.h"

typedef struct printer {
    epl_emitter     *e;
    const epl_block *b;
    const epl_step  *s;
    const epl_chain *c;
    bool             behind; /* input 0 is the kernel's result */
    bool             integer, flat;
    int64_t          columns;
    epl_text         t;
} printer;

bool epl_chain_is_integer(const epl_chain *c)
{
    for (int64_t i = 0; i < c->n_in; i++)
        if (epl_dtype_is_float((epl_dtype)c->in_dtype[i]))
            return false;
    for (int64_t o = 0; o < c->n_out; o++)
        if (epl_dtype_is_float((epl_dtype)c->out_dtype[o]))
            return false;
    return true;
}

bool epl_chain_is_flat(const epl_chain *c)
{
    for (int64_t i = 0; i < c->n_in; i++)
        if (c->in_kind[i] != EPL_CHAIN_FULL && c->in_kind[i] != EPL_CHAIN_SCALAR)
            return false;
    return true;
}

static const char *const dtype_names[EPL_N_DTYPES] = {
    "", "EPL_REF_F32", "EPL_REF_F64", "EPL_REF_BF16", "EPL_REF_F16", "EPL_REF_I8", "EPL_REF_U8", "EPL_REF_I16", "EPL_REF_U16",
    "EPL_REF_I32", "EPL_REF_U32", "EPL_REF_I64", "EPL_REF_U64", "EPL_REF_BOOL"
};

/* ---- operators ---- */

static void print_row(epl_text *t, const epl_row *row, const char *head, const char *type)
{
    epl_text_addf(t, "%s%s(", head, row->name);
    for (int i = 0; i < row->n_inputs; i++)
        epl_text_addf(t, "%s%s %c", i ? ", " : "", type, row->n_inputs == 1 ? 'x' : "abc"[i]);
    for (int i = 0; i < row->n_attrs; i++)
        epl_text_addf(t, ", double %s", row->attr[i]);
    epl_text_addf(t, ") { return %s; }\n", row->expression);
}

static void need_row(printer *p, int64_t op)
{
    bool *printed = &(p->integer ? p->e->int_rows : p->e->f32_rows)[op];
    if (!*printed)
        print_row(p->integer ? &p->e->integers : &p->e->chains, &epl_rows[op],
                  p->integer ? "static inline scalar op_" : "VEC_INLINE vf op_", p->integer ? "scalar" : "vf");
    *printed = true;
}

/* ---- inputs ---- */

static void input_pointer(const printer *p, int64_t i, char out[48])
{
    if (p->behind && i == 0)
        strcpy(out, "call->out[0]");
    else
        snprintf(out, 48, "call->%s[%lld]", p->behind ? "chain_in" : "in", (long long)(p->behind ? i - 1 : i));
}

/* A single f32 that is known now. */
static const float *known_scalar(const printer *p, int64_t i)
{
    if (p->c->in_kind[i] != EPL_CHAIN_SCALAR || p->c->in_dtype[i] != EPL_F32 || (p->behind && i == 0))
        return NULL;
    return epl_emit_constant(p->e, p->b, p->behind ? p->s->chain_in[i - 1] : p->s->in[i]);
}

static void print_pointers(printer *p)
{
    const epl_chain *c = p->c;
    char from[48];
    for (int64_t i = 0; i < c->n_in; i++) {
        input_pointer(p, i, from);
        if (p->integer)
            epl_text_addf(&p->t, "    const epl_view x%lld = { .data = (void *)(uintptr_t)%s, .dtype = %s };\n", (long long)i, from,
                          dtype_names[c->in_dtype[i]]);
        else if (!known_scalar(p, i))
            epl_text_addf(&p->t, "    const %s *const x%lld = %s;\n", c->in_dtype[i] == EPL_F32 ? "float" : "void", (long long)i, from);
    }
    for (int64_t o = 0; o < c->n_out; o++)
        if (p->integer)
            epl_text_addf(&p->t, "    const epl_view y%lld = { .data = call->out[%lld], .dtype = %s };\n", (long long)o, (long long)o,
                          dtype_names[c->out_dtype[o]]);
        else
            epl_text_addf(&p->t, "    %s *const y%lld = call->out[%lld];\n", c->out_dtype[o] == EPL_F32 ? "float" : "void", (long long)o,
                          (long long)o);
}

/* Where row `row` of a STRIDED input begins. */
static void print_strided_row(printer *p, int64_t i)
{
    const epl_chain *c = p->c;
    int64_t below = 1;
    bool    any   = false;
    epl_text_addf(&p->t, "        const int64_t at%lld = ", (long long)i);
    for (int64_t k = c->n_outer - 1; k >= 0; k--) {
        if (c->in_stride[i][k] && c->outer[k] > 1) {
            epl_text_addf(&p->t, "%srow / %lld %% %lld * %lld", any ? " + " : "", (long long)below, (long long)c->outer[k],
                          (long long)c->in_stride[i][k]);
            any = true;
        }
        below *= c->outer[k];
    }
    epl_text_add(&p->t, any ? ";\n" : "0;\n");
}

/* The position of the input's element in row `row`, column `col`, and how far the next column's is. */
static int64_t input_position(const printer *p, int64_t i, char out[96])
{
    const epl_chain *c = p->c;
    switch (c->in_kind[i]) {
    case EPL_CHAIN_FULL:   snprintf(out, 96, "row * %lld + col", (long long)p->columns); return 1;
    case EPL_CHAIN_ROW:    strcpy(out, "col"); return 1;
    case EPL_CHAIN_COLUMN: strcpy(out, "row"); return 0;
    case EPL_CHAIN_IMAGE:
        snprintf(out, 96, "row / %lld * %lld + col", (long long)c->rows_per_image, (long long)p->columns);
        return 1;
    case EPL_CHAIN_STRIDED: {
        const int64_t stride = c->in_stride[i][c->n_outer];
        if (stride == 0)
            snprintf(out, 96, "at%lld", (long long)i);
        else if (stride == 1)
            snprintf(out, 96, "at%lld + col", (long long)i);
        else
            snprintf(out, 96, "at%lld + col * %lld", (long long)i, (long long)stride);
        return stride;
    }
    default: strcpy(out, "0"); return 0;
    }
}

static void print_input(printer *p, int64_t i)
{
    char          at[96], literal[48];
    const int64_t stride = input_position(p, i, at);
    const float  *known  = p->integer ? NULL : known_scalar(p, i);
    epl_text_addf(&p->t, "            %s r%lld = ", p->integer ? "const scalar" : "vf", (long long)i);
    if (p->integer) {
        epl_text_addf(&p->t, "epl_ref_get_i64(&x%lld, %s);\n", (long long)i, at);
    } else if (known) {
        epl_literal_f32(literal, *known);
        epl_text_addf(&p->t, "vset(%s);\n", literal);
    } else if (p->c->in_dtype[i] == EPL_F32 && stride == 0) {
        epl_text_addf(&p->t, "vset(x%lld[%s]);\n", (long long)i, at);
    } else if (p->c->in_dtype[i] == EPL_F32 && stride == 1) {
        epl_text_addf(&p->t, "vload_some(x%lld + %s, n);\n", (long long)i, at);
    } else {
        epl_text_addf(&p->t, "chain_vload(x%lld, %s, %s, %lld, n);\n", (long long)i, dtype_names[p->c->in_dtype[i]], at,
                      (long long)stride);
    }
}

/* ---- steps and outputs ---- */

static void print_step(printer *p, int64_t s)
{
    const epl_chain *c   = p->c;
    const epl_row   *row = &epl_rows[c->op[s]];
    const long long  to  = (long long)(c->n_in + s);
    char literal[48];
    epl_text_addf(&p->t, "            %s r%lld = op_%s(", p->integer ? "const scalar" : "vf", to, row->name);
    for (int i = 0; i < row->n_inputs; i++)
        epl_text_addf(&p->t, "%sr%lld", i ? ", " : "", (long long)c->arg[s][i]);
    for (int i = 0; i < row->n_attrs; i++) {
        epl_literal_f64(literal, c->attr[s][i]);
        epl_text_addf(&p->t, ", %s", literal);
    }
    epl_text_add(&p->t, ");\n");
    if (!p->integer && s + 1 < c->n_steps)
        epl_text_addf(&p->t, "            CHAIN_ROUND(r%lld);\n", to);
}

static void print_output(printer *p, int64_t o)
{
    const epl_chain *c = p->c;
    const long long  width = (long long)p->columns, from = (long long)c->out[o];
    if (p->integer)
        epl_text_addf(&p->t, "            epl_ref_set_i64(&y%lld, row * %lld + col, r%lld);\n", (long long)o, width, from);
    else if (c->out_dtype[o] == EPL_F32)
        epl_text_addf(&p->t, "            vstore_some(y%lld + row * %lld + col, r%lld, n);\n", (long long)o, width, from);
    else
        epl_text_addf(&p->t, "            chain_vstore(y%lld, %s, row * %lld + col, r%lld, n);\n", (long long)o,
                      dtype_names[c->out_dtype[o]], width, from);
}

static void print_loops(printer *p)
{
    const epl_chain *c = p->c;
    if (p->flat && p->behind)
        epl_text_addf(&p->t, "    if (col1 - col0 == %lld) { // whole rows: one long row\n"
                             "        col0 = row0 * %lld;\n        col1 = row1 * %lld;\n        row0 = 0;\n        row1 = 1;\n    }\n",
                      (long long)p->columns, (long long)p->columns, (long long)p->columns);
    epl_text_add(&p->t, "    for (int64_t row = row0; row < row1; row++) {\n");
    for (int64_t i = 0; i < c->n_in; i++)
        if (c->in_kind[i] == EPL_CHAIN_STRIDED)
            print_strided_row(p, i);
    epl_text_addf(&p->t, "        for (int64_t col = col0; col < col1; col%s) {\n", p->integer ? "++" : " += VL");
    if (!p->integer)
        epl_text_add(&p->t, "            const int64_t n = col1 - col;\n");
    for (int64_t i = 0; i < c->n_in; i++)
        print_input(p, i);
    for (int64_t s = 0; s < c->n_steps; s++)
        print_step(p, s);
    for (int64_t o = 0; o < c->n_out; o++)
        print_output(p, o);
    epl_text_add(&p->t, "        }\n    }\n}\n");
}

/* ---- whole functions ---- */

static int find_text(const epl_emitter *e, const char *text)
{
    for (size_t i = 0; i < e->n_chain_texts; i++)
        if (strcmp(e->chain_texts[i], text) == 0)
            return (int)i;
    return -1;
}

static int keep_function(printer *p)
{
    epl_emitter *e = p->e;
    char *text = epl_text_detach(&p->t);
    if (!text || !epl_grow(e->ctx, &e->chain_texts, e->n_chain_texts, &e->cap_chain_texts, sizeof *e->chain_texts)) {
        epl_release(e->ctx, text);
        return -1;
    }
    const int found = find_text(e, text);
    if (found >= 0) {
        epl_release(e->ctx, text);
        return found;
    }
    const int number = (int)e->n_chain_texts;
    for (int64_t s = 0; s < p->c->n_steps; s++)
        need_row(p, p->c->op[s]);
    static const char arguments[] = "(const epl_call *call, int64_t row0, int64_t row1, int64_t col0, int64_t col1)";
    if (p->integer) {
        epl_text_addf(&e->integers, "\nvoid EPL_K(chain_%d)%s;\nvoid EPL_K(chain_%d)%s\n%s", number, arguments, number, arguments, text);
        epl_text_addf(&e->prototypes, "void EPL_K(chain_%d)%s;\n", number, arguments);
    } else {
        epl_text_addf(&e->chains, "\nstatic void chain_%d%s\n%s\n", number, arguments, text);
    }
    e->chain_texts[e->n_chain_texts++] = text;
    return number;
}

int epl_emit_chain(epl_emitter *e, const epl_block *b, const epl_step *s, const epl_chain *c, bool behind)
{
    printer p = { .e = e, .b = b, .s = s, .c = c, .behind = behind, .integer = epl_chain_is_integer(c),
                  .flat = epl_chain_is_flat(c), .t = EPL_TEXT(e->ctx) };
    p.columns = p.flat && !behind ? c->rows * c->columns : c->columns;
    epl_text_add(&p.t, "{\n");
    print_pointers(&p);
    print_loops(&p);
    return keep_function(&p);
}

/* ---- rows as reference kernels ---- */

bool epl_row_takes(const epl_row *row, const char *type)
{
    const int k = (int)(row - epl_rows);
    return strcmp(type, "real") == 0 ? epl_rows_real[k] != NULL : strcmp(type, "int") == 0 ? epl_rows_int[k] != NULL
                                                                                           : epl_rows_uint[k] != NULL;
}

void epl_emit_ref_rows(const epl_emitter *e, const char *type, const char *vocabulary, epl_text *t)
{
    epl_text_addf(t, "/* Element-wise operators, one element at a time. */\n#include \"kernels/kernel.h\"\n\n%s\n", vocabulary);
    for (int k = 0; k < EPL_N_ELEMENTWISE; k++) {
        const epl_row *row = &epl_rows[k];
        if (!e->ref_rows[k] || !epl_row_takes(row, type))
            continue;
        for (int again = 0; again < 2; again++)
            epl_text_addf(t, "scalar EPL_K(%s_%s)(const scalar *in, const double *at)%s\n", type, row->name, again ? "" : ";");
        epl_text_add(t, "{\n    (void)at;\n");
        for (int i = 0; i < row->n_inputs; i++)
            epl_text_addf(t, "    const scalar %c = in[%d];\n", row->n_inputs == 1 ? 'x' : "abc"[i], i);
        for (int i = 0; i < row->n_attrs; i++)
            epl_text_addf(t, "    const double %s = at[%d];\n", row->attr[i], i);
        epl_text_addf(t, "    return %s;\n}\n\n", row->expression);
    }
}
