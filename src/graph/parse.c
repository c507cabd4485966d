/* parse: a graph from its text (docs/graph-text.md). Line breaks are spaces; every node goes through epl_node_add, so a text
 * is held to the rules that builders are held to. The text is hostile until read: no size in it is believed before as many
 * characters are there, regions nest at most EPL_GRAPH_TEXT_DEPTH deep, and errors say line, column and what was expected. */
#include "graph/text.h"

#include "base/symbols.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct slice {
    const char *s;
    size_t      n;
} slice;

typedef struct parser {
    epl_context *ctx;
    epl_arena   *arena; /* scratch: lists, strings */
    const char  *name, *text, *p, *end;
    int          depth;
} parser;

/* ---- errors ------------------------------------------------------------------------------------------------------ */
typedef struct place {
    int line, column;
} place;

static place place_of(const parser *p, const char *at)
{
    place w = { 1, 1 };
    for (const char *s = p->text; s < at; s++, w.column++)
        if (*s == '\n')
            w = (place){ w.line + 1, 0 };
    return w;
}

static bool fail_at(parser *p, const char *at, const char *format, ...) EPL_PRINTF(3, 4);
static bool fail_at(parser *p, const char *at, const char *format, ...)
{
    char    sentence[512];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    const place w = place_of(p, at);
    return epl_fail(p->ctx, EPL_ERR_FORMAT, "%s:%d:%d: %s", p->name, w.line, w.column, sentence);
}

/* Puts the place before an error that the graph has recorded. */
static bool fail_placed(parser *p, const char *at)
{
    char            sentence[1024];
    const epl_error code = epl_error_code(p->ctx);
    if (code == EPL_OK)
        return fail_at(p, at, "this node cannot be built");
    snprintf(sentence, sizeof sentence, "%s", epl_error_message(p->ctx));
    epl_error_clear(p->ctx);
    const place w = place_of(p, at);
    return epl_fail(p->ctx, code, "%s:%d:%d: %s", p->name, w.line, w.column, sentence);
}

/* ---- characters and words ---------------------------------------------------------------------------------------- */
static void skip_space(parser *p)
{
    for (; p->p < p->end; p->p++) {
        if (*p->p == '#')
            while (p->p + 1 < p->end && p->p[1] != '\n')
                p->p++;
        else if (*p->p != ' ' && *p->p != '\n' && *p->p != '\t' && *p->p != '\r')
            return;
    }
}

static bool next_is(parser *p, char c)
{
    skip_space(p);
    return p->p < p->end && *p->p == c;
}

static bool accept(parser *p, char c)
{
    if (!next_is(p, c))
        return false;
    p->p++;
    return true;
}

static bool fail_expected(parser *p, const char *what)
{
    skip_space(p);
    if (p->p == p->end)
        return fail_at(p, p->p, "expected %s, found the end of the text", what);
    size_t n = 0;
    while (p->p + n < p->end && n < 32 && epl_graph_text_is_word_char(p->p[n]))
        n++;
    if (n)
        return fail_at(p, p->p, "expected %s, found '%.*s'", what, (int)n, p->p);
    const unsigned char c = (unsigned char)*p->p;
    if (c < 32 || c > 126)
        return fail_at(p, p->p, "expected %s, found the byte 0x%02x", what, c);
    return fail_at(p, p->p, "expected %s, found '%c'", what, c);
}

static bool expect(parser *p, char c, const char *what)
{
    return accept(p, c) || fail_expected(p, what);
}

static bool read_word(parser *p, slice *out, const char *what)
{
    skip_space(p);
    const char *start = p->p;
    while (p->p < p->end && epl_graph_text_is_word_char(*p->p))
        p->p++;
    *out = (slice){ start, (size_t)(p->p - start) };
    if (out->n == 0)
        return fail_expected(p, what);
    if (out->n > EPL_GRAPH_TEXT_TOKEN)
        return fail_at(p, start, "a word of %zu characters, the limit is %d", out->n, EPL_GRAPH_TEXT_TOKEN);
    return true;
}

static const char *keep(parser *p, slice s) /* a terminated copy, NULL when memory is out */
{
    char *copy = epl_arena_alloc(p->arena, s.n + 1);
    if (copy && s.n)
        memcpy(copy, s.s, s.n);
    return copy;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The character that an escape stands for; p is behind the backslash. */
static bool read_escape(parser *p, char *out)
{
    const char *at = p->p - 1, c = p->p < p->end ? *p->p++ : 0;
    switch (c) {
    case '"':
    case '\\': *out = c; return true;
    case 'n':  *out = '\n'; return true;
    case 't':  *out = '\t'; return true;
    case 'x': {
        const int high = p->end - p->p >= 2 ? hex_digit(p->p[0]) : -1, low = high >= 0 ? hex_digit(p->p[1]) : -1;
        if (low < 0 || high * 16 + low == 0)
            return fail_at(p, at, "expected two hexadecimal digits other than 00 after '\\x'");
        *out = (char)(high * 16 + low);
        p->p += 2;
        return true;
    }
    default: return fail_at(p, at, "unknown escape in a string; \\\" \\\\ \\n \\t and \\x.. are known");
    }
}

static bool read_string(parser *p, const char **out)
{
    if (!expect(p, '"', "a string in double quotes"))
        return false;
    const char *start = p->p - 1, *close = p->p;
    while (close < p->end && *close != '"' && *close)
        close += *close == '\\' && close + 1 < p->end ? 2 : 1;
    if (close >= p->end || *close != '"')
        return fail_at(p, start, "a string that does not end");
    char *copy = epl_arena_alloc(p->arena, (size_t)(close - p->p) + 1);
    if (!copy)
        return false;
    size_t n = 0;
    while (p->p < close) {
        copy[n] = *p->p++;
        if (copy[n] == '\\' && !read_escape(p, &copy[n]))
            return false;
        n++;
    }
    p->p = close + 1;
    *out = copy;
    return true;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */
static bool is_number_char(char c)
{
    return epl_graph_text_is_word_char(c) || c == '+';
}

static bool read_number(parser *p, char out[64], const char *what)
{
    skip_space(p);
    size_t n = 0;
    while (p->p + n < p->end && is_number_char(p->p[n]) && n < 63) {
        out[n] = p->p[n];
        n++;
    }
    out[n] = 0;
    if (n == 0 || n == 63)
        return fail_expected(p, what);
    p->p += n;
    return true;
}

/* Decimal digits with a sign; `limit` is the largest value. */
static bool to_magnitude(const char *s, uint64_t limit, uint64_t *out)
{
    uint64_t x = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        const unsigned digit = (unsigned)(*s - '0');
        if (digit > 9 || x > (limit - digit) / 10)
            return false;
        x = x * 10 + digit;
    }
    *out = x;
    return true;
}

static bool read_int(parser *p, int64_t *out)
{
    char     text[64];
    uint64_t x;
    skip_space(p);
    const char *at = p->p;
    if (!read_number(p, text, "an integer"))
        return false;
    const bool negative = text[0] == '-';
    if (!to_magnitude(text + negative, (uint64_t)INT64_MAX + negative, &x))
        return fail_at(p, at, "expected an integer of 64 bits, found '%s'", text);
    *out = negative ? (int64_t)(0 - x) : (int64_t)x;
    return true;
}

static bool read_u64(parser *p, uint64_t *out)
{
    char text[64];
    skip_space(p);
    const char *at = p->p;
    if (!read_number(p, text, "an integer"))
        return false;
    return to_magnitude(text, UINT64_MAX, out) || fail_at(p, at, "expected a positive integer of 64 bits, found '%s'", text);
}

/* strtod reads the decimal point of the locale; the text always has a point. */
static bool read_real(parser *p, double *out)
{
    char text[64], local[80];
    skip_space(p);
    const char *at = p->p;
    if (!read_number(p, text, "a number"))
        return false;
    const char *point = strchr(text, '.'), *mark = localeconv()->decimal_point;
    if (point)
        snprintf(local, sizeof local, "%.*s%.8s%s", (int)(point - text), text, mark, point + 1);
    else
        snprintf(local, sizeof local, "%s", text);
    char *rest = NULL;
    *out = strtod(local, &rest);
    const char first = text[text[0] == '-'];
    if (*rest || rest == local || !((first >= '0' && first <= '9') || first == '.' || first == 'i' || first == 'n') ||
        strpbrk(text, "xX"))
        return fail_at(p, at, "expected a number, found '%s'", text);
    return true;
}

/* ---- lists and types --------------------------------------------------------------------------------------------- */

/* Opens a list and counts its items by the commas before its end, so that room for it is never more than its text. */
static bool open_list(parser *p, char open, char close, size_t *count)
{
    const char what[] = { '\'', open, '\'', 0 };
    if (!expect(p, open, what))
        return false;
    *count = 0;
    if (next_is(p, close))
        return true;
    *count = 1;
    for (const char *s = p->p; s < p->end && *s != close; s++) {
        *count += *s == ',';
        if (*s == '#') // a comment may hold commas
            while (s + 1 < p->end && s[1] != '\n')
                s++;
    }
    return true;
}

static bool list_goes_on(parser *p, size_t i)
{
    return i == 0 || expect(p, ',', "','");
}

/* Integers, each with or without a name before a colon: [N:1, 28]. The names are joined into *dims where the caller takes
 * them, which stays NULL if there are none. */
static bool read_ints(parser *p, epl_attr *out, const char **dims)
{
    size_t n;
    if (!open_list(p, '[', ']', &n))
        return false;
    int64_t *x = epl_arena_alloc(p->arena, (n + 1) * sizeof *x);
    epl_text names = EPL_TEXT(p->ctx);
    bool     named = false, ok = x != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        ok = list_goes_on(p, i);
        skip_space(p);
        const char *start = p->p;
        slice       word = { 0 };
        if (ok && dims && read_word(p, &word, "an integer, or a name and ':'") && accept(p, ':')) {
            named = true;
            epl_text_add_bytes(&names, word.s, word.n);
        } else {
            p->p = start;
        }
        epl_text_add(&names, i + 1 < n ? "," : "");
        ok = ok && epl_error_code(p->ctx) == EPL_OK && read_int(p, &x[i]);
    }
    if (ok && named)
        ok = (*dims = keep(p, (slice){ names.data, names.length })) != NULL;
    epl_text_release(&names);
    *out = EPL_A_INTS((int)n, x);
    return ok && expect(p, ']', "']'");
}

static bool read_reals(parser *p, epl_attr *out)
{
    size_t n;
    if (!open_list(p, '[', ']', &n))
        return false;
    double *x = epl_arena_alloc(p->arena, (n + 1) * sizeof *x);
    if (!x)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!list_goes_on(p, i) || !read_real(p, &x[i]))
            return false;
    *out = EPL_A_REALS((int)n, x);
    return expect(p, ']', "']'");
}

static bool read_dtype(parser *p, epl_dtype *out)
{
    slice word;
    if (!read_word(p, &word, "an element type such as f32"))
        return false;
    char name[16] = "";
    if (word.n < sizeof name)
        memcpy(name, word.s, word.n);
    *out = epl_dtype_from_name(name);
    return *out != EPL_NO_DTYPE || fail_at(p, word.s, "unknown element type '%.*s'", (int)word.n, word.s);
}

/* f32[64, 28, 28] */
static bool read_type(parser *p, epl_dtype *dtype, epl_shape *shape)
{
    epl_attr dims;
    if (!read_dtype(p, dtype))
        return false;
    const char *at = p->p;
    if (!read_ints(p, &dims, NULL))
        return false;
    if (dims.n > EPL_MAX_RANK)
        return fail_at(p, at, "a shape of %d axes, the limit is %d", dims.n, EPL_MAX_RANK);
    *shape = (epl_shape){ .rank = dims.n };
    if (dims.n)
        memcpy(shape->dim, dims.ints, (size_t)dims.n * sizeof *dims.ints);
    return epl_shape_count(*shape) >= 0 || fail_at(p, at, "a shape with a negative dimension or more than 2^63 elements");
}

static bool read_element(parser *p, epl_tensor *t, int64_t i)
{
    double   r = 0;
    int64_t  x = 0;
    uint64_t u = 0;
    const char *at = p->p;
    if (t->dtype == EPL_U64) {
        if (!read_u64(p, &u))
            return false;
        ((uint64_t *)t->data)[i] = u;
        return true;
    }
    if (epl_dtype_is_float(t->dtype)) {
        if (!read_real(p, &r))
            return false;
        epl_tensor_set(t, i, r);
        return true;
    }
    if (!read_int(p, &x))
        return false;
    epl_tensor_set_i64(t, i, x);
    return epl_tensor_get_i64(t, i) == x || fail_at(p, at, "%lld does not fit into %s", (long long)x, epl_dtype_name(t->dtype));
}

/* f32[2, 2]{1, 2, 3, 4} */
static bool read_tensor(parser *p, epl_tensor **out)
{
    epl_dtype dtype;
    epl_shape shape;
    size_t    n;
    skip_space(p);
    const char *at = p->p;
    if (!read_type(p, &dtype, &shape) || !open_list(p, '{', '}', &n))
        return false;
    if (epl_shape_count(shape) != (int64_t)n)
        return fail_at(p, at, "a tensor of %lld elements, %zu are listed", (long long)epl_shape_count(shape), n);
    epl_tensor *t = epl_tensor_new(p->ctx, dtype, shape);
    if (!t)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!list_goes_on(p, i) || !read_element(p, t, (int64_t)i)) {
            epl_tensor_free(t);
            return false;
        }
    *out = t;
    return expect(p, '}', "'}'");
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

/* A node as far as it has been read. */
typedef struct draft {
    const char   *at; /* of the operator's name */
    const epl_op *op;
    slice        *results;
    epl_value   **inputs;
    epl_graph   **regions;
    size_t        n_results, cap_results, n_inputs, cap_inputs, n_regions, cap_regions;
    epl_attr      attrs[EPL_MAX_ATTRS];
    epl_tensor   *tensors[EPL_MAX_ATTRS];
    const char   *types; /* where the annotations start, or NULL */
    const char   *scope;
} draft;

static void draft_release(parser *p, draft *d)
{
    epl_release(p->ctx, d->results);
    epl_release(p->ctx, d->inputs);
    epl_release(p->ctx, d->regions);
    for (int i = 0; i < EPL_MAX_ATTRS; i++)
        epl_tensor_free(d->tensors[i]);
}

static bool read_results(parser *p, draft *d)
{
    while (accept(p, '%')) {
        slice name;
        if (!read_word(p, &name, "a value's name") ||
            !epl_grow(p->ctx, &d->results, d->n_results, &d->cap_results, sizeof *d->results))
            return false;
        d->results[d->n_results++] = name;
        if (!accept(p, ','))
            return expect(p, '=', "'=' or ','");
        if (!next_is(p, '%'))
            return fail_expected(p, "'%' and a value's name");
    }
    return true;
}

static bool read_operator(parser *p, draft *d)
{
    slice word;
    if (!read_word(p, &word, "an operator's name"))
        return false;
    d->at = word.s;
    const char *name = keep(p, word);
    if (!name)
        return false;
    d->op = epl_op_find(name);
    return d->op || fail_at(p, word.s, "unknown operator '%s'", name);
}

static bool read_choice(parser *p, const char *choices, epl_attr *out)
{
    slice word;
    if (!read_word(p, &word, choices))
        return false;
    int64_t index = 0;
    for (const char *c = choices; c && *c; index++) {
        const size_t n = strcspn(c, "|");
        if (n == word.n && memcmp(c, word.s, n) == 0) {
            *out = EPL_A_I(index);
            return true;
        }
        c += n + (c[n] == '|');
    }
    return fail_at(p, word.s, "expected one of %s, found '%.*s'", choices, (int)word.n, word.s);
}

static bool read_bool(parser *p, epl_attr *out)
{
    slice word;
    if (!read_word(p, &word, "true or false"))
        return false;
    const bool yes = (word.n == 4 && memcmp(word.s, "true", 4) == 0) || (word.n == 1 && *word.s == '1');
    const bool no = (word.n == 5 && memcmp(word.s, "false", 5) == 0) || (word.n == 1 && *word.s == '0');
    *out = EPL_A_I(yes);
    return yes || no || fail_at(p, word.s, "expected true or false, found '%.*s'", (int)word.n, word.s);
}

static bool read_value_of(parser *p, draft *d, int field, const char **dims)
{
    const epl_attr_field *f = &d->op->attrs[field];
    epl_attr             *a = &d->attrs[field];
    epl_dtype             dtype;
    *a = (epl_attr){ .set = true };
    switch (f->type) {
    case EPL_ATTR_INT:    return read_int(p, &a->i);
    case EPL_ATTR_BOOL:   return read_bool(p, a);
    case EPL_ATTR_REAL:   return read_real(p, &a->r);
    case EPL_ATTR_INTS:   return read_ints(p, a, dims);
    case EPL_ATTR_REALS:  return read_reals(p, a);
    case EPL_ATTR_STRING: return read_string(p, &a->s);
    case EPL_ATTR_CHOICE: return read_choice(p, f->choices, a);
    case EPL_ATTR_DTYPE:
        if (!read_dtype(p, &dtype))
            return false;
        a->i = dtype;
        return true;
    case EPL_ATTR_TENSOR:
        if (!read_tensor(p, &d->tensors[field]))
            return false;
        a->tensor = d->tensors[field];
        return true;
    default: return fail_at(p, p->p, "an attribute of no type");
    }
}

static bool read_attribute(parser *p, draft *d)
{
    slice word;
    if (!read_word(p, &word, "a value '%..', '_' or an attribute's name"))
        return false;
    const char *name = keep(p, word);
    if (!name)
        return false;
    const int field = epl_op_attr_index(d->op, name);
    if (field < 0)
        return fail_at(p, word.s, "%s has no attribute '%s'", d->op->name, name);
    if (d->attrs[field].set)
        return fail_at(p, word.s, "attribute '%s' is given twice", name);
    const int   dims_field = epl_op_attr_index(d->op, EPL_GRAPH_TEXT_DIMS);
    const char *dims = NULL;
    const bool  takes_names = dims_field >= 0 && strcmp(name, EPL_GRAPH_TEXT_SHAPE) == 0;
    if (!expect(p, '=', "'='") || !read_value_of(p, d, field, takes_names ? &dims : NULL))
        return false;
    if (dims && d->attrs[dims_field].set)
        return fail_at(p, word.s, "the dimensions have names in '%s' and in the shape", EPL_GRAPH_TEXT_DIMS);
    if (dims)
        d->attrs[dims_field] = EPL_A_S(dims);
    return true;
}

/* A value or '_' for an absent one. */
static bool read_input(parser *p, draft *d, const epl_symbols *known)
{
    epl_value *v = NULL;
    if (accept(p, '%')) {
        slice name;
        if (!read_word(p, &name, "a value's name"))
            return false;
        const epl_symbol *known_as = epl_symbols_find(known, name.s, name.n);
        v = known_as ? known_as->value : NULL;
        if (!v)
            return fail_at(p, name.s, "%%%.*s is not defined before this use in its region", (int)name.n, name.s);
    } else {
        p->p++;
    }
    if (!epl_grow(p->ctx, &d->inputs, d->n_inputs, &d->cap_inputs, sizeof *d->inputs))
        return false;
    d->inputs[d->n_inputs++] = v;
    return true;
}

static bool read_arguments(parser *p, draft *d, const epl_symbols *known)
{
    if (!expect(p, '(', "'('"))
        return false;
    bool attributes = false;
    for (bool first = true; !accept(p, ')'); first = false) {
        if (!first && !expect(p, ',', "',' or ')'"))
            return false;
        skip_space(p);
        const bool absent = next_is(p, '_') && (p->p + 1 == p->end || !epl_graph_text_is_word_char(p->p[1]));
        const bool value = absent || next_is(p, '%');
        if (value && attributes)
            return fail_at(p, p->p, "values stand before attributes");
        attributes = !value;
        if (value ? !read_input(p, d, known) : !read_attribute(p, d))
            return false;
    }
    return true;
}

/* Skips the annotated types; they are compared when the node is there. */
static bool read_annotations(parser *p, draft *d)
{
    if (!accept(p, ':'))
        return true;
    d->types = p->p;
    epl_dtype dtype;
    epl_shape shape;
    do
        if (!read_type(p, &dtype, &shape))
            return false;
    while (accept(p, ','));
    return true;
}

static bool read_scope(parser *p, draft *d)
{
    d->scope = "";
    if (!accept(p, '@'))
        return true;
    if (next_is(p, '"'))
        return read_string(p, &d->scope);
    slice word;
    if (!read_word(p, &word, "a scope's name"))
        return false;
    d->scope = keep(p, word);
    return d->scope != NULL;
}

static bool read_nodes(parser *p, epl_graph *g);

static bool read_regions(parser *p, draft *d, epl_graph *g)
{
    while (accept(p, '{')) {
        if (p->depth >= EPL_GRAPH_TEXT_DEPTH)
            return fail_at(p, p->p - 1, "regions within regions deeper than %d", EPL_GRAPH_TEXT_DEPTH);
        if (!(d->op->flags & EPL_OP_REGION))
            return fail_at(p, p->p - 1, "%s has no regions", d->op->name);
        epl_graph *region = epl_region_new(g);
        if (!region || !epl_grow(p->ctx, &d->regions, d->n_regions, &d->cap_regions, sizeof *d->regions))
            return false;
        d->regions[d->n_regions++] = region;
        p->depth++;
        if (!read_nodes(p, region))
            return false;
        p->depth--;
    }
    return true;
}

/* What the table says about the counts; epl_node_add is for builders, to whom a missing value means an earlier failure. */
static bool check_draft(parser *p, const draft *d)
{
    const epl_op *op = d->op;
    const size_t  least = (size_t)(op->n_inputs >= 0 && op->min_inputs == 0 ? op->n_inputs : op->min_inputs);
    if (op->n_inputs >= 0 && d->n_inputs > (size_t)op->n_inputs)
        return fail_at(p, d->at, "%s takes %d inputs, %zu are given", op->name, op->n_inputs, d->n_inputs);
    for (size_t i = 0; i < least; i++)
        if (i >= d->n_inputs || !d->inputs[i])
            return fail_at(p, d->at, "%s needs its input %zu of %zu", op->name, i, least);
    if (op->n_regions >= 0 && d->n_regions != (size_t)op->n_regions)
        return fail_at(p, d->at, "%s has %d regions, %zu are given", op->name, op->n_regions, d->n_regions);
    for (int i = 0; i < epl_op_n_attrs(op); i++)
        if (op->attrs[i].required && !d->attrs[i].set)
            return fail_at(p, d->at, "%s needs the attribute '%s'", op->name, op->attrs[i].name);
    return true;
}

/* Compares the annotations with what the operator infers. */
static bool check_types(parser *p, const draft *d, const epl_node *n)
{
    if (!d->types)
        return true;
    const char *after = p->p;
    p->p = d->types;
    int i = 0;
    do {
        epl_dtype dtype;
        epl_shape shape;
        char      says[192], is[192];
        skip_space(p);
        const char *at = p->p;
        if (!read_type(p, &dtype, &shape))
            return false;
        if (i >= n->n_outputs)
            return fail_at(p, at, "%s has %d result(s), more types are given", d->op->name, n->n_outputs);
        const epl_value *v = n->outputs[i++];
        if (v->dtype != dtype || !epl_shape_equal(v->shape, shape))
            return fail_at(p, at, "result %d of %s is %s%s, the text says %s%s", i - 1, d->op->name,
                           epl_dtype_name(v->dtype), epl_shape_text(is, v->shape), epl_dtype_name(dtype),
                           epl_shape_text(says, shape));
    } while (accept(p, ','));
    p->p = after;
    return i == n->n_outputs || fail_at(p, d->types, "%s has %d result(s), %d types are given", d->op->name, n->n_outputs, i);
}

static bool add_node(parser *p, const draft *d, epl_graph *g, epl_symbols *known)
{
    if (strcmp(g->root->scope, d->scope) != 0)
        g->root->scope = epl_arena_strdup(g->arena, d->scope);
    if (!g->root->scope)
        return false;
    const epl_node *n = epl_node_add(g, d->op, (int)d->n_inputs, d->inputs, d->attrs, (int)d->n_regions, d->regions);
    if (!n)
        return fail_placed(p, d->at);
    const int stream = d->op->flags & EPL_OP_RANDOM ? epl_op_attr_index(d->op, "stream") : -1;
    if (stream >= 0 && n->attrs[stream].i >= g->root->next_stream && n->attrs[stream].i < INT64_MAX)
        g->root->next_stream = n->attrs[stream].i + 1; // what is built later must not draw the same numbers
    if (d->n_results != (size_t)n->n_outputs)
        return fail_at(p, d->at, "%s has %d result(s), %zu are named", d->op->name, n->n_outputs, d->n_results);
    for (size_t i = 0; i < d->n_results; i++) {
        const slice name = d->results[i];
        if (epl_symbols_find(known, name.s, name.n))
            return fail_at(p, name.s, "%%%.*s is defined twice", (int)name.n, name.s);
        if (!epl_symbols_put(p->ctx, known, name.s, name.n, n->outputs[i]))
            return false;
    }
    return check_types(p, d, n);
}

static bool read_node(parser *p, epl_graph *g, epl_symbols *known)
{
    draft      d = { 0 };
    const bool ok = read_results(p, &d) && read_operator(p, &d) && read_arguments(p, &d, known) && read_annotations(p, &d) &&
                    read_scope(p, &d) && read_regions(p, &d, g) && check_draft(p, &d) && add_node(p, &d, g, known);
    draft_release(p, &d);
    return ok;
}

/* Nodes up to and including the closing brace. */
static bool read_nodes(parser *p, epl_graph *g)
{
    epl_symbols known = { 0 };
    bool  ok = true;
    while (ok && !accept(p, '}')) {
        skip_space(p);
        ok = p->p < p->end ? read_node(p, g, &known) : fail_expected(p, "a node or '}'");
    }
    epl_symbols_release(p->ctx, &known);
    return ok;
}

static epl_graph *read_graph(parser *p)
{
    slice       word;
    const char *name = "";
    if (!read_word(p, &word, "'graph'"))
        return NULL;
    if (word.n != 5 || memcmp(word.s, "graph", 5) != 0) {
        p->p = word.s;
        fail_expected(p, "'graph'");
        return NULL;
    }
    if (!read_string(p, &name) || !expect(p, '{', "'{'"))
        return NULL;
    epl_graph *g = epl_graph_new(p->ctx, name);
    bool       ok = g && read_nodes(p, g);
    skip_space(p);
    ok = ok && (p->p == p->end || fail_expected(p, "the end of the text"));
    if (ok)
        g->scope = "";
    if (ok && !epl_graph_finish(g))
        ok = fail_placed(p, p->end);
    if (ok)
        return g;
    epl_graph_free(g);
    return NULL;
}

epl_graph *epl_graph_parse(epl_context *ctx, const char *text, size_t length, const char *name)
{
    if (epl_error_code(ctx) != EPL_OK)
        return NULL;
    name = name ? name : "graph";
    if (length > EPL_GRAPH_TEXT_BYTES) {
        epl_fail(ctx, EPL_ERR_LIMIT, "%s: a graph's text of %zu bytes, the limit is %d", name, length, EPL_GRAPH_TEXT_BYTES);
        return NULL;
    }
    parser p = { .ctx = ctx, .name = name, .text = text, .p = text, .end = text + length };
    p.arena = epl_arena_new(ctx);
    if (!p.arena)
        return NULL;
    epl_graph *g = read_graph(&p);
    epl_arena_free(p.arena);
    return g;
}
