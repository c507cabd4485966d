/* A kernel's parameters as an initialiser with the members' names, which are read from the struct's definition in the embedded
 * headers: all are int64_t or double, some are arrays whose length is a constant of a header, some such structs themselves. */
#include "compile/emit.h"
#include "compile/sources.h"

#include <ctype.h>
#include <stdlib.h>

typedef struct reader {
    const char *at;   /* in the definition */
    bool        real; /* the declaration that we are in */
    char        inner[64]; /* its type, if that is a struct; else "" */
} reader;

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

static bool is_kernel_header(const epl_source *s)
{
    return strncmp(s->path, "kernels/", 8) == 0 && s->path[strlen(s->path) - 1] == 'h';
}

/* A number, or "<name> = 16" in an enum of a kernels' header. */
static int constant(const char *name, size_t length)
{
    if (isdigit((unsigned char)*name))
        return atoi(name);
    for (const epl_source *s = epl_sources; s->path; s++)
        for (const char *p = is_kernel_header(s) ? strstr(s->text, "enum {") : NULL; p; p = strstr(p + 1, "enum {"))
            for (const char *q = p; *q && *q != '}'; q++)
                if (strncmp(q, name, length) == 0 && !is_word(q[-1]) && strncmp(q + length, " = ", 3) == 0)
                    return atoi(q + length + 3);
    return 0;
}

static void skip(reader *r)
{
    for (;;) {
        while (isspace((unsigned char)*r->at) || *r->at == ',' || *r->at == ';')
            r->at++;
        if (strncmp(r->at, "/*", 2) != 0)
            return;
        r->at = strstr(r->at, "*/") + 2;
    }
}

/* The length of "epl_conv_params" before " conv"; 0 for anything else. */
static int struct_name(const char *at)
{
    int n = 0;
    while (is_word(at[n]))
        n++;
    return strncmp(at, "epl_", 4) == 0 && at[n] == ' ' && is_word(at[n + 1]) ? n : 0;
}

/* The next member: its name, and its length (0: no array). False at the end. */
static bool next_member(reader *r, const char **name, int *name_length, int *count)
{
    for (skip(r);; skip(r)) {
        const bool is_int = strncmp(r->at, "int64_t ", 8) == 0, is_real = strncmp(r->at, "double ", 7) == 0;
        const int  type = is_int || is_real ? 0 : struct_name(r->at);
        if (!is_int && !is_real && type == 0)
            break;
        r->real = is_real;
        snprintf(r->inner, sizeof r->inner, "%.*s", type, r->at);
        r->at += type ? type + 1 : is_real ? 7 : 8;
    }
    if (!is_word(*r->at))
        return false;
    *name = r->at;
    while (is_word(*r->at))
        r->at++;
    *name_length = (int)(r->at - *name);
    *count       = 0;
    if (*r->at == '[') {
        const char *length = ++r->at;
        while (*r->at != ']')
            r->at++;
        *count = constant(length, (size_t)(r->at - length));
        r->at++;
    }
    return true;
}

/* The embedded header that defines `struct name`. */
static bool find_definition(const char *name, reader *r)
{
    char start[96];
    snprintf(start, sizeof start, "typedef struct %s {", name);
    for (const epl_source *s = epl_sources; s->path; s++)
        if (is_kernel_header(s) && strstr(s->text, start)) {
            *r = (reader){ .at = strstr(s->text, start) + strlen(start) };
            return true;
        }
    return false;
}

static void print_number(epl_text *t, const unsigned char *from, bool real)
{
    char    text[48];
    int64_t i;
    double  x;
    memcpy(&i, from, sizeof i);
    memcpy(&x, from, sizeof x);
    if (real)
        epl_literal_f64(text, x);
    else
        epl_literal_i64(text, i);
    epl_text_add(t, text);
}

/* The members of one struct from *at on; inner ones in braces of their own. */
static bool print_members(epl_emitter *e, const char *type, const epl_step *s, size_t *at)
{
    reader      r;
    const char *name;
    int         length, count;
    epl_text   *t = &e->tables;
    const size_t begin = *at;
    size_t       line = 0; // where it begins
    if (!find_definition(type, &r))
        return epl_fail(e->ctx, EPL_ERR_UNSUPPORTED, "the parameters %s of kernel %s are not in its header", type, s->kernel->name);
    while (next_member(&r, &name, &length, &count) && *at < s->params_bytes) {
        const bool fresh = *at == begin || t->length - line > 100;
        epl_text_addf(t, "%s%s", *at > begin ? "," : "", fresh ? "\n    " : " ");
        line = fresh ? t->length : line;
        epl_text_addf(t, ".%.*s = %s", length, name, count || *r.inner ? "{ " : "");
        if (*r.inner && !print_members(e, r.inner, s, at))
            return false;
        for (int i = 0; !*r.inner && i < (count ? count : 1) && *at < s->params_bytes; i++, *at += 8) {
            epl_text_add(t, i ? ", " : "");
            print_number(t, (const unsigned char *)s->params + *at, r.real);
        }
        epl_text_add(t, count || *r.inner ? " }" : "");
    }
    return true;
}

bool epl_emit_params(epl_emitter *e, const epl_step *s, int number)
{
    size_t at = 0;
    epl_text_addf(&e->tables, "static const %s params_%d = {", s->kernel->params, number);
    if (!print_members(e, s->kernel->params, s, &at))
        return false;
    epl_text_add(&e->tables, "\n};\n");
    if (at != s->params_bytes)
        return epl_fail(e->ctx, EPL_ERR_UNSUPPORTED, "%s has %zu bytes, its definition names %zu", s->kernel->params, s->params_bytes, at);
    return true;
}
