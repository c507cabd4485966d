/* sequence: a classifier of sequences with LSTM or GRU layers. */
#include <string.h>

#include "zoo/zoo.h"

static void build(epl_graph *g, const epl_zoo_args *a)
{
    epl_value *x = epl_input(g, "x", EPL_F32, EPL_SHAPE(1, epl_arg_int(a, "length"), epl_arg_int(a, "channels")), "N,,");
    const epl_recurrent_layer_opts o = { .width = epl_arg_int(a, "width"), .layers = epl_arg_int(a, "layers"),
                                         .bidirectional = epl_arg_int(a, "bidirectional"), .dropout = epl_arg_real(a, "dropout") };
    x = strcmp(epl_arg_choice(a, "cell"), "lstm") == 0 ? epl_lstm(g, x, o) : epl_gru(g, x, o);
    epl_zoo_classify(g, a, epl_reduce_mean(g, x, (epl_reduce_opts){ EPL_AXES(1) }), "head");
}

const epl_zoo_entry epl_zoo_lstm = {
    .name = "lstm", .summary = "recurrent classifier of sequences [N, length, channels]", .build = build,
    .small = "length=5,channels=3,width=4",
    .options = { { "classes", 10, 1, 1e6, .help = "output classes" }, { "length", 28, 1, 4096, .help = "steps of the sequence" },
                 { "channels", 28, 1, 65536, .help = "numbers in a step" }, { "width", 64, 1, 8192, .help = "units of a layer" },
                 { "layers", 1, 1, 16, .help = "recurrent layers" }, { "cell", 0, .choices = "lstm|gru", .help = "kind of layer" },
                 { "bidirectional", 0, 0, 1, .help = "1: both directions" },
                 { "dropout", 0, 0, 0.99, .real = true, .help = "between layers" } },
};
