/* text: what the printer and the reader of graphs share. docs/graph-text.md is the grammar. */
#ifndef EPL_GRAPH_TEXT_H
#define EPL_GRAPH_TEXT_H

#include "graph/op.h"

enum {
    EPL_GRAPH_TEXT_DEPTH = 64,        /* regions within regions */
    EPL_GRAPH_TEXT_BYTES = 256 << 20, /* the longest text that is read */
    EPL_GRAPH_TEXT_TOKEN = 1024       /* the longest bare word or number */
};

/* A bare word: names of operators, attributes, choices, element types, values and scopes. Other scopes are quoted. */
static inline bool epl_graph_text_is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' ||
           c == '/';
}

/* An input names its dimensions in a text "N,,"; the text form writes the names before the numbers, shape=[N:1, 28, 28]. */
#define EPL_GRAPH_TEXT_SHAPE "shape"
#define EPL_GRAPH_TEXT_DIMS  "dims"

/* "name=value", as in the text form. */
void epl_graph_text_add_attr(epl_text *t, const epl_node *n, int attr);

#endif
