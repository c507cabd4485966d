/* The inputs and outputs of a compiled network as parameters of a C function: names that are identifiers, no keywords, and
 * differ from each other; types. */
#include "compile/ports.h"

#include <ctype.h>

static const char *const keywords[] = {
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float", "for",
    "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof", "static", "struct",
    "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "bool", "true", "false", "and", "or", "not", "xor",
    "class", "new", "delete", "this", "template", "private", "public", "protected", "operator", "namespace", "catch", "try", "throw"
};

static bool is_keyword(const char *s)
{
    for (size_t i = 0; i < EPL_COUNT(keywords); i++)
        if (strcmp(s, keywords[i]) == 0)
            return true;
    return false;
}

bool epl_is_identifier(const char *s)
{
    if (!s[0] || isdigit((unsigned char)s[0]) || is_keyword(s))
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_')
            return false;
    return true;
}

void epl_upper(char out[64], const char *name)
{
    size_t n = 0;
    for (; name[n] && n < 63; n++)
        out[n] = (char)toupper((unsigned char)name[n]);
    out[n] = 0;
}

static void make_identifier(char out[64], const char *name)
{
    size_t n = 0;
    if (!isalpha((unsigned char)name[0]))
        out[n++] = 'v';
    for (; *name && n < 48; name++)
        out[n++] = isalnum((unsigned char)*name) ? *name : '_';
    if (n && out[n - 1] == '_')
        n--;
    out[n] = 0;
    if (is_keyword(out))
        strcat(out, "_");
}

static bool taken(const epl_port *ports, int n, const char *upper)
{
    for (int i = 0; i < n; i++)
        if (strcmp(ports[i].upper, upper) == 0)
            return true;
    return false;
}

/* Ports 0..n-1 have their names; upper case decides, because sizes are named in it. */
static void name_port(epl_port *ports, int n)
{
    epl_port *p = &ports[n];
    char base[64];
    make_identifier(base, p->name);
    snprintf(p->ident, sizeof p->ident, "%s", base);
    epl_upper(p->upper, p->ident);
    for (int k = 2; taken(ports, n, p->upper); k++) {
        snprintf(p->ident, sizeof p->ident, "%.48s_%d", base, k);
        epl_upper(p->upper, p->ident);
    }
}

bool epl_ports_make(epl_emitter *e)
{
    const epl_graph *g = e->p->graph;
    const int n_in = epl_graph_n_inputs(g), n_out = epl_graph_n_outputs(g);
    epl_port *ports = epl_alloc_array(e->ctx, (size_t)(n_in + n_out) + 1, sizeof *ports);
    if (!ports)
        return false;
    for (int i = 0; i < n_in + n_out; i++) {
        epl_port *p = &ports[i];
        p->value = i < n_in ? epl_graph_input_at(g, i) : epl_graph_output_at(g, i - n_in);
        p->name  = i < n_in ? epl_value_name(p->value) : epl_graph_output_name(g, i - n_in);
        p->bytes = (size_t)epl_shape_count(p->value->shape) * epl_dtype_bytes(p->value->dtype);
        name_port(ports, i);
    }
    e->inputs  = ports;
    e->outputs = ports + n_in;
    return true;
}

const char *epl_c_type(epl_dtype t)
{
    static const char *const names[EPL_N_DTYPES] = { "void", "float", "double", "uint16_t", "uint16_t", "int8_t", "uint8_t",
                                                     "int16_t", "uint16_t", "int32_t", "uint32_t", "int64_t", "uint64_t", "uint8_t" };
    return names[t];
}

void epl_ports_signature(const epl_emitter *e, bool inside, epl_text *t)
{
    const int n_in = e->p->root->n_inputs, n = n_in + e->p->root->n_outputs;
    epl_text_addf(t, "void %s_run(%s", e->name, n ? "" : "void");
    for (int i = 0; i < n; i++)
        epl_text_addf(t, "%s%s%s *%s%s", i ? ", " : "", i < n_in ? "const " : "", epl_c_type(e->inputs[i].value->dtype),
                      inside ? i < n_in ? "in_" : "out_" : "", e->inputs[i].ident);
    epl_text_add(t, ")");
}
