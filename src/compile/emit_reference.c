/* Reference kernels in a compiled network: the call, and the files of ops/ that define them. A file is the reference part of
 * the library's, followed by one exported function for each operator whose kernel it defines. */
#include "compile/emit.h"
#include "compile/sources.h"

static const char elementwise_file[] = "ops/elementwise.c";

/* "epl_ref_conv" is exported as EPL_K(ref_conv). */
static const char *exported(const epl_op *op)
{
    return strncmp(op->ref_name, "epl_", 4) == 0 ? op->ref_name + 4 : op->ref_name;
}

static bool defines(const epl_source *s, const epl_op *op)
{
    char head[128];
    snprintf(head, sizeof head, "void %s(const epl_ref_call *", op->ref_name);
    return strncmp(s->path, "ops/", 4) == 0 && strstr(s->text, head) != NULL;
}

const char *epl_reference_file(const epl_op *op)
{
    if (op->flags & EPL_OP_ELEMENTWISE)
        return elementwise_file;
    for (const epl_source *s = epl_sources; op->ref_name && s->path; s++)
        if (defines(s, op))
            return s->path;
    return NULL;
}

/* ---- the call ---- */

static const char *const dtype_names[EPL_N_DTYPES] = {
    "0", "EPL_REF_F32", "EPL_REF_F64", "EPL_REF_BF16", "EPL_REF_F16", "EPL_REF_I8", "EPL_REF_U8", "EPL_REF_I16", "EPL_REF_U16",
    "EPL_REF_I32", "EPL_REF_U32", "EPL_REF_I64", "EPL_REF_U64", "EPL_REF_BOOL"
};

static bool add_views(epl_emitter *e, const epl_block *b, int64_t n, const epl_view *views, const int *buffers, epl_text *t)
{
    char place[96];
    epl_text_add(t, n ? "\n        (const epl_view[]){ " : "\n        NULL");
    for (int64_t i = 0; i < n; i++) {
        if (!epl_emit_place(e, b, buffers[i], place))
            return false;
        epl_text_addf(t, "%s{ %s, %s, %lld, { ", i ? ",\n                            " : "", place, dtype_names[views[i].dtype],
                      (long long)views[i].rank);
        for (int64_t k = 0; k < views[i].rank; k++)
            epl_text_addf(t, "%s%lld", k ? ", " : "", (long long)views[i].dim[k]);
        epl_text_add(t, views[i].rank ? " } }" : "0 } }");
    }
    epl_text_add(t, n ? " }," : ",");
    return true;
}

static void add_attr(epl_text *t, const epl_attr_field *field, const epl_ref_attr *a)
{
    char number[48];
    switch (field->type) {
    case EPL_ATTR_REAL:
        epl_literal_f64(number, a->r);
        epl_text_addf(t, "{ .r = %s }", number);
        return;
    case EPL_ATTR_INTS:
    case EPL_ATTR_REALS:
        epl_text_addf(t, "{ .n = %lld", (long long)a->n);
        for (int64_t i = 0; i < a->n; i++) {
            if (field->type == EPL_ATTR_INTS)
                epl_literal_i64(number, a->ints[i]);
            else
                epl_literal_f64(number, a->reals[i]);
            if (i == 0)
                epl_text_add(t, field->type == EPL_ATTR_INTS ? ", .ints = (const int64_t[]){ " : ", .reals = (const double[]){ ");
            epl_text_addf(t, "%s%s", i ? ", " : "", number);
        }
        epl_text_add(t, a->n ? " } }" : " }");
        return;
    default:
        epl_literal_i64(number, a->i);
        epl_text_addf(t, "{ .i = %s }", number);
    }
}

static void add_attrs(epl_text *t, const epl_step *s)
{
    const epl_op *op = s->node->op;
    const int     n  = epl_op_n_attrs(op);
    epl_text_add(t, n ? "\n        (const epl_ref_attr[]){ " : "\n        NULL");
    for (int i = 0; i < n; i++) {
        epl_text_add(t, i ? ", " : "");
        add_attr(t, &op->attrs[i], &s->ref.attr[i]);
    }
    epl_text_add(t, n ? " } });" : " });");
}

bool epl_emit_reference(epl_emitter *e, const epl_block *b, const epl_step *s)
{
    const epl_op *op   = s->node->op;
    const char   *file = epl_reference_file(op);
    if (!file)
        return epl_fail(e->ctx, EPL_ERR_UNSUPPORTED, "%s %s cannot be compiled: its kernel is not plain C", op->name, s->node->scope);
    if (op->flags & EPL_OP_ELEMENTWISE)
        e->ref_rows[epl_elementwise_row(op)] = true;
    e->uses_ref = true;
    epl_text t = EPL_TEXT(e->ctx);
    epl_text_addf(&t, "EPL_K(%s)(&(epl_ref_call){ %d, %d,", exported(op), s->n_in, s->n_out);
    bool ok = epl_emit_need(e, file) && epl_emit_need(e, "ops/ref.h") && add_views(e, b, s->n_in, s->ref.in, s->in, &t) &&
              add_views(e, b, s->n_out, s->ref.out, s->out, &t);
    add_attrs(&t, s);
    char prototype[128];
    snprintf(prototype, sizeof prototype, "void EPL_K(%s)(const epl_ref_call *c);\n", exported(op));
    if (ok && !strstr(epl_text_str(&e->prototypes), prototype))
        epl_text_add(&e->prototypes, prototype);
    epl_emit_line(e, "%s", epl_text_str(&t));
    epl_text_release(&t);
    return ok;
}

/* ---- the files ---- */

static void export_row(epl_text *t, int k)
{
    static const char *const types[] = { "real", "int", "uint" }, *const numbers[] = { "double", "int64_t", "uint64_t" };
    const epl_row *row = &epl_rows[k];
    for (int i = 0; i < 3; i++)
        if (epl_row_takes(row, types[i]))
            epl_text_addf(t, "%s EPL_K(%s_%s)(const %s *in, const double *at);\n", numbers[i], types[i], row->name, numbers[i]);
    for (int again = 0; again < 2; again++)
        epl_text_addf(t, "void EPL_K(ref_%s)(const epl_ref_call *c)%s\n", row->name, again ? "" : ";");
    epl_text_add(t, "{\n    ref_row(c, (epl_ref_row){ ");
    for (int i = 0; i < 3; i++) {
        if (epl_row_takes(row, types[i]))
            epl_text_addf(t, "EPL_K(%s_%s), ", types[i], row->name);
        else
            epl_text_add(t, "NULL, ");
    }
    epl_text_addf(t, "%d });\n}\n\n", row->n_attrs);
}

static bool exported_before(int i)
{
    for (int k = 0; k < i; k++)
        if (epl_op_at(k)->ref_name && strcmp(epl_op_at(k)->ref_name, epl_op_at(i)->ref_name) == 0)
            return true;
    return false;
}

bool epl_emit_reference_file(epl_emitter *e, const char *path, epl_text *t)
{
    const char *text = epl_source_text(path);
    epl_text_addf(t, "/* Reference kernels of Espalier's src/%s. */\n#include \"kernels/kernel.h\"\n#include \"ops/ref.h\"\n\n%s\n", path,
                  text + strspn(text, "\n"));
    if (strcmp(path, elementwise_file) == 0) {
        for (int k = 0; k < EPL_N_ELEMENTWISE; k++)
            if (e->ref_rows[k])
                export_row(t, k);
        return !t->failed;
    }
    for (int i = 0; i < epl_n_ops; i++) {
        const epl_op *op   = epl_op_at(i);
        const char   *file = op->ref_name && !(op->flags & EPL_OP_ELEMENTWISE) ? epl_reference_file(op) : NULL;
        if (file && strcmp(file, path) == 0 && !exported_before(i))
            epl_text_addf(t, "void EPL_K(%s)(const epl_ref_call *c);\nvoid EPL_K(%s)(const epl_ref_call *c) { %s(c); }\n", exported(op),
                          exported(op), op->ref_name);
    }
    return !t->failed;
}
