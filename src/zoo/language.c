/* language: LSTMs that predict the next token, as Zaremba et al. 2014 (arXiv:1409.2329) trained them, and the
 * translation with attention of Wu et al. 2016 (arXiv:1609.08144) without its residual sums: the networks that Zhu &
 * Gupta 2017 (arXiv:1710.01878) prune.
 *
 * Every window begins with a state of zeros; gradients go through all of it. */
#include <string.h>

#include "zoo/zoo.h"

/* An option's value, or of 0 another. */
static double chosen(const epl_zoo_args *a, const char *option, double otherwise)
{
    return epl_arg_real(a, option) > 0 ? epl_arg_real(a, option) : otherwise;
}

/* ---- lstm-lm ---- */

typedef struct lm_plan {
    const char *name;
    double      vocab, hidden, layers, dropout, init, length;
} lm_plan;

static const lm_plan plans[] = { { "none", 96, 256, 2, 0, 0, 64 },
                                 { "ptb-small", 10000, 200, 2, 0, 0.1, 20 },
                                 { "ptb-medium", 10000, 650, 2, 0.5, 0.05, 35 },
                                 { "ptb-large", 10000, 1500, 2, 0.65, 0.04, 35 } };

static const lm_plan *plan_of(const epl_zoo_args *a)
{
    size_t i = 0;
    while (i + 1 < EPL_COUNT(plans) && strcmp(plans[i].name, epl_arg_choice(a, "preset")) != 0)
        i++;
    return &plans[i];
}

/* The logits read the table of embeddings: its transpose, and a bias. */
static epl_value *tied(epl_graph *g, epl_value *x, epl_value *table)
{
    epl_value *b = epl_parameter(g, "head.bias", EPL_F32, EPL_SHAPE(epl_dim(table, 0)), EPL_INIT_ZEROS, 0);
    return epl_add(g, epl_matmul(g, x, table, (epl_matmul_opts){ .trans_b = true }), b);
}

static epl_value *dropped(epl_graph *g, epl_value *x, double rate) { return rate > 0 ? epl_dropout(g, x, rate, false) : x; }

static void build_lm(epl_graph *g, const epl_zoo_args *a)
{
    const lm_plan *p = plan_of(a);
    const int64_t  vocab = (int64_t)chosen(a, "vocab", p->vocab), hidden = (int64_t)chosen(a, "hidden", p->hidden);
    const int64_t  embed = (int64_t)chosen(a, "embed", (double)hidden);
    const double   dropout = chosen(a, "dropout", p->dropout), init = chosen(a, "init", p->init);
    if (epl_arg_int(a, "tie") && embed != hidden) {
        epl_zoo_refuse(g, a, "tie", "embed and hidden must be the same then");
        return;
    }
    epl_value *x = epl_input(g, "x", EPL_I64, EPL_SHAPE(1, (int64_t)chosen(a, "length", p->length)), "N,");
    x = epl_embedding(g, x, (epl_embedding_opts){ .count = vocab, .width = embed, .std = init > 0 ? init : 0.1 });
    epl_value *table = x ? epl_node_input(epl_producer(x), 0) : NULL;
    x = epl_lstm(g, dropped(g, x, dropout), (epl_recurrent_layer_opts){ .width = (int)hidden, .layers = (int)chosen(a, "layers", p->layers),
                                                                        .dropout = dropout, .one_bias = true, .init = init });
    x = dropped(g, x, dropout);
    epl_output(g, "logits",
               epl_arg_int(a, "tie") ? tied(g, x, table)
                                     : epl_linear(g, x, (epl_linear_opts){ .name = "head", .out = (int)vocab }));
}

const epl_zoo_entry epl_zoo_lstm_lm = {
    .name = "lstm-lm", .summary = "language model: tokens [N, length] to logits [N, length, vocab] of the next", .paper = "arXiv:1409.2329",
    .build = build_lm, .small = "vocab=7,length=4,hidden=6,layers=2,dropout=0.1", .own_head = true,
    .options = { { "preset", 0, .choices = "none|ptb-small|ptb-medium|ptb-large", .help = "what the options that are 0 become" },
                 { "vocab", 0, 0, 1e7, .help = "tokens; 0: 96, ptb 10000" },
                 { "length", 0, 0, 1024, .help = "tokens of a window; 0: 64, ptb 20, 35, 35" },
                 { "hidden", 0, 0, 16384, .help = "units of a layer; 0: 256, ptb 200, 650, 1500" },
                 { "embed", 0, 0, 16384, .help = "width of the embedding; 0: hidden" },
                 { "layers", 0, 0, 16, .help = "0: 2" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "before, between and behind the layers; ptb 0, 0.5, 0.65" },
                 { "tie", 0, 0, 1, .help = "1: the logits read the table of embeddings" },
                 { "init", 0, 0, 10, .real = true, .help = "kernels start in +-init; 0: 1 / sqrt(hidden), ptb 0.1, 0.05, 0.04" } },
};

/* ---- seq2seq-lstm ---- */

/* One layer in both directions, the others forward. */
static epl_value *encode(epl_graph *g, epl_value *x, int layers, epl_recurrent_layer_opts o)
{
    o.name = "encoder.both";
    o.bidirectional = true;
    x = epl_lstm(g, x, o);
    o.name = "encoder.lstm";
    o.bidirectional = false;
    o.layers = layers - 1;
    return o.layers > 0 ? epl_lstm(g, dropped(g, x, o.dropout), o) : x;
}

/* What the decoder reads at every step where it has no attention: the encoder's last answer. [N, T, C] as x is long. */
static epl_value *last_everywhere(epl_graph *g, epl_value *memory, epl_value *x)
{
    epl_value *last = epl_slice_axis(g, memory, 1, epl_dim(memory, 1) - 1, epl_dim(memory, 1));
    return epl_add(g, last, epl_zeros_like(g, epl_slice_axis(g, x, -1, 0, 1)));
}

/* Every layer reads what the one below says, and the context. */
static epl_value *decode(epl_graph *g, epl_value *x, epl_value *memory, int layers, bool attends, epl_recurrent_layer_opts o)
{
    epl_value *context = NULL;
    for (int i = 0; x && i < layers; i++) {
        epl_scope_push(g, "decoder%d", i + 1);
        x = dropped(g, x, o.dropout);
        if (i == 0 && attends) {
            x = epl_attention_lstm(g, x, memory, o, &context);
        } else {
            context = context ? context : last_everywhere(g, memory, x);
            x = epl_lstm(g, epl_concat(g, 2, (epl_value *[]){ x, context }, -1), o);
        }
        epl_scope_pop(g);
    }
    return x;
}

static void build_seq2seq(epl_graph *g, const epl_zoo_args *a)
{
    const int source = epl_arg_int(a, "source"), target = epl_arg_int(a, "target"), hidden = epl_arg_int(a, "hidden");
    const int vocab = epl_arg_int(a, "vocab_tgt");
    const epl_recurrent_layer_opts o = { .width = hidden, .one_bias = true, .dropout = epl_arg_real(a, "dropout") };
    epl_value *x = epl_input(g, "x", EPL_I64, EPL_SHAPE(1, source + target), "N,");
    epl_value *from = epl_slice_axis(g, x, 1, 0, source), *to = epl_slice_axis(g, x, 1, source, source + target);
    from = epl_embedding(g, from,
                         (epl_embedding_opts){ .name = "encoder.embedding",
                                               .count = epl_arg_int(a, "vocab_src"),
                                               .width = hidden,
                                               .std = 0.1 });
    to = epl_embedding(g, to, (epl_embedding_opts){ .name = "decoder.embedding", .count = vocab, .width = hidden, .std = 0.1 });
    epl_value *memory = encode(g, dropped(g, from, o.dropout), epl_arg_int(a, "enc"), o);
    epl_value *y = decode(g, to, memory, epl_arg_int(a, "dec"), strcmp(epl_arg_choice(a, "attention"), "none") != 0, o);
    epl_output(g, "logits", epl_linear(g, dropped(g, y, o.dropout), (epl_linear_opts){ .name = "head", .out = vocab }));
}

const epl_zoo_entry epl_zoo_seq2seq_lstm = {
    .name = "seq2seq-lstm",
    .summary = "translation: tokens [N, source + target], of both sentences, to logits [N, target, vocab_tgt]",
    .paper = "arXiv:1609.08144",
    .build = build_seq2seq,
    .own_head = true,
    .small = "vocab_src=7,vocab_tgt=6,source=3,target=2,hidden=4,enc=2,dec=2,dropout=0.1",
    .options = { { "vocab_src", 36548, 1, 1e7, .help = "tokens of the source" },
                 { "vocab_tgt", 36548, 1, 1e7, .help = "tokens of the target" },
                 { "source", 20, 1, 512, .help = "tokens of a source sentence" },
                 { "target", 20, 1, 512, .help = "tokens of a target sentence" },
                 { "hidden", 1024, 1, 16384, .help = "units of a layer, width of the embeddings" },
                 { "enc", 4, 1, 16, .help = "layers of the encoder; the first goes both ways" },
                 { "dec", 4, 1, 16, .help = "layers of the decoder" },
                 { "attention", 0, .choices = "bahdanau|none", .help = "none: the encoder's last answer instead" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "between layers" } },
};
