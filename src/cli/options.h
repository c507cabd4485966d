/* options: what a verb can be told, as one table. Parsing, --help, the messages about mistakes and the pages under docs/ are all
 * made from it.
 *
 *     const char *in = NULL, *out = NULL;
 *     double sparsity = 0.5;
 *     const cli_option options[] = {
 *         EPL_ARG("model", &in, "network to prune (.safetensors or .onnx)"),
 *         EPL_OPT_PATH('o', "output", &out, "where to write the result"),
 *         EPL_OPT_REAL('s', "sparsity", &sparsity, 0.0, 1.0, "fraction of weights to set to zero"),
 *         EPL_OPT_END
 *     };
 *     if (!cli_parse(c, options, argc, argv))
 *         return cli_status(c);
 *
 * What a target holds when the table is parsed is the option's default, and --help shows it. Texts that are read stay where they
 * are, in argv. A letter of 0 means: no short form. */
#ifndef EPL_CLI_OPTIONS_H
#define EPL_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cli_option_kind {
    CLI_END = 0,
    CLI_ARG,      /* a word without a name; has to be given */
    CLI_ARG_MAY,  /* the same, but may be left out */
    CLI_ARG_REST, /* all that are left, at least one */
    CLI_FLAG, CLI_INT, CLI_REAL, CLI_BYTES, CLI_TEXT, CLI_CHOICE, CLI_REPEATED,
    CLI_GROUP     /* another table, under a heading of its own */
} cli_option_kind;

/* Words that were given for one option, in order. The words' array belongs to the command. */
typedef struct cli_words {
    int          n;
    const char **at;
} cli_words;

typedef struct cli_option {
    cli_option_kind kind;
    char            letter;
    const char     *name;
    const char     *value;     /* what stands for the value in --help; of a choice the words, "a|b|c" */
    void           *target;
    double          low, high; /* of numbers, both included */
    const char     *help;
    bool            required;
    const struct cli_option *group;
} cli_option;

/* A pointer of another type is a compiler's warning. */
#define EPL_TARGET(type, p) (1 ? (p) : (type *)0)

#define EPL_ARG(n, p, text)      { .kind = CLI_ARG, .name = n, .target = EPL_TARGET(const char *, p), .help = text }
#define EPL_ARG_MAY(n, p, text)  { .kind = CLI_ARG_MAY, .name = n, .target = EPL_TARGET(const char *, p), .help = text }
#define EPL_ARG_REST(n, p, text) { .kind = CLI_ARG_REST, .name = n, .target = EPL_TARGET(cli_words, p), .help = text }

#define EPL_OPT(k, c, n, v, p, text) { .kind = k, .letter = c, .name = n, .value = v, .target = p, .help = text }
#define EPL_OPT_PATH(c, n, p, text)     EPL_OPT(CLI_TEXT, c, n, "FILE", EPL_TARGET(const char *, p), text)
#define EPL_OPT_DIR(c, n, p, text)      EPL_OPT(CLI_TEXT, c, n, "DIR", EPL_TARGET(const char *, p), text)
#define EPL_OPT_MUST(c, n, v, p, text) /* has to be given */                                                                   \
    { .kind = CLI_TEXT, .letter = c, .name = n, .value = v, .target = EPL_TARGET(const char *, p), .help = text, .required = true }
#define EPL_OPT_TEXT(c, n, v, p, text)  EPL_OPT(CLI_TEXT, c, n, v, EPL_TARGET(const char *, p), text)
#define EPL_OPT_CHOICE(c, n, w, p, text) EPL_OPT(CLI_CHOICE, c, n, w, EPL_TARGET(const char *, p), text)
#define EPL_OPT_REPEATED(c, n, v, p, text) EPL_OPT(CLI_REPEATED, c, n, v, EPL_TARGET(cli_words, p), text)
#define EPL_OPT_FLAG(c, n, p, text)     EPL_OPT(CLI_FLAG, c, n, NULL, EPL_TARGET(bool, p), text)
#define EPL_OPT_BYTES(c, n, p, text)    EPL_OPT(CLI_BYTES, c, n, "BYTES", EPL_TARGET(size_t, p), text) /* "64MiB", "2G" */
#define EPL_OPT_INT(c, n, p, least, most, text)                                                                                \
    { .kind = CLI_INT, .letter = c, .name = n, .value = "N", .target = EPL_TARGET(int64_t, p), .low = least, .high = most, .help = text }
#define EPL_OPT_REAL(c, n, p, least, most, text)                                                                               \
    { .kind = CLI_REAL, .letter = c, .name = n, .value = "X", .target = EPL_TARGET(double, p), .low = least, .high = most, .help = text }
#define EPL_OPT_GROUP(heading, table) { .kind = CLI_GROUP, .name = heading, .group = table }
#define EPL_OPT_END { .kind = CLI_END }

#endif
