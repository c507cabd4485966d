/* skipnet: residual networks whose blocks run for some samples and not for others. SkipNet, Wang et al. 2018
 * (arXiv:1711.09485): a gate before each block, of its own layers or one LSTM cell that all blocks share; BlockDrop,
 * Wu et al. 2018 (arXiv:1711.08393): one small network looks at the image and decides about all blocks. The choice
 * is hard; its gradient is that of the soft gate, x + p (F(x) - x), for samples that take the block. Left out: their
 * training by reinforcement. A block runs where p is above the state "<block>.gate.threshold", which may be set
 * after training. Gates begin open, so that every block learns. */
#include "zoo/zoo.h"

typedef struct gates gates;
struct gates {
    epl_value *(*keep)(epl_graph *g, gates *s, epl_value *x, int block); /* [N, 1], the probability that the block runs */
    epl_value *all;   /* blockdrop: [N, blocks] */
    epl_value *h, *c; /* skipnet-rnn: [N, hidden] */
};

/* ---- three ways to decide ---- */

static epl_value *begin_open(epl_graph *g, epl_value *logit) { return epl_sigmoid(g, epl_affine(g, logit, 1, 2)); }

/* Two logits, of "stay" and "run". */
static epl_value *two_logits(epl_graph *g, epl_value *x)
{
    epl_value *logits = epl_linear(g, x, (epl_linear_opts){ .name = "logits", .out = 2 });
    return begin_open(g, epl_sub(g, epl_slice_axis(g, logits, 1, 1, 2), epl_slice_axis(g, logits, 1, 0, 1)));
}

static epl_value *keep_by_layers(epl_graph *g, gates *s, epl_value *x, int block)
{
    (void)s, (void)block;
    epl_value *z = epl_global_average_pool(g, x);
    return two_logits(g, epl_relu(g, epl_linear(g, z, (epl_linear_opts){ .name = "hidden", .out = 10 })));
}

enum { HIDDEN = 10 };

/* Gates lie as input, forget, cell, output. The cell's weights are declared at the root: every block finds the same. */
static epl_value *keep_by_cell(epl_graph *g, gates *s, epl_value *x, int block)
{
    (void)block;
    epl_value *z = epl_linear(g, epl_global_average_pool(g, x), (epl_linear_opts){ .name = "project", .out = HIDDEN });
    epl_value *w = epl_parameter(g, "/gate.input", EPL_F32, EPL_SHAPE(HIDDEN, 4 * HIDDEN), EPL_INIT_UNIFORM, 0.3);
    epl_value *r = epl_parameter(g, "/gate.recurrent", EPL_F32, EPL_SHAPE(HIDDEN, 4 * HIDDEN), EPL_INIT_UNIFORM, 0.3);
    epl_value *b = epl_parameter(g, "/gate.bias", EPL_F32, EPL_SHAPE(4 * HIDDEN), EPL_INIT_ZEROS, 0);
    epl_value *sum = epl_multiply_rows(g, z, w, b, false), *part[4];
    if (s->h)
        sum = epl_add(g, sum, epl_multiply_rows(g, s->h, r, NULL, false));
    for (int i = 0; i < 4; i++)
        part[i] = epl_slice_axis(g, sum, 1, i * HIDDEN, (i + 1) * HIDDEN);
    epl_value *c = epl_mul(g, epl_sigmoid(g, part[0]), epl_tanh(g, part[2]));
    s->c = s->c ? epl_add(g, c, epl_mul(g, epl_sigmoid(g, part[1]), s->c)) : c;
    s->h = epl_mul(g, epl_sigmoid(g, part[3]), epl_tanh(g, s->c));
    epl_value *v = epl_parameter(g, "/gate.weight", EPL_F32, EPL_SHAPE(HIDDEN, 1), EPL_INIT_UNIFORM, 0.3);
    return begin_open(g, epl_multiply_rows(g, s->h, v, epl_parameter(g, "/gate.offset", EPL_F32, EPL_SHAPE(1), EPL_INIT_ZEROS, 0), false));
}

static epl_value *keep_by_policy(epl_graph *g, gates *s, epl_value *x, int block)
{
    (void)x;
    return epl_slice_axis(g, s->all, 1, block, block + 1);
}

/* ---- a block ---- */

/* What stands for the block where it does not run: x itself, or averaged and with empty channels. */
static epl_value *passed(epl_graph *g, epl_value *x, epl_residual_unit_opts u)
{
    const int64_t c = epl_channels(x);
    if (u.stride > 1)
        x = epl_average_pool(g, x, (epl_pool_opts){ .kernel = { 2 }, .ceil_mode = true });
    if (c < u.out)
        x = epl_pad(g, x, (epl_pad_opts){ .after = { 0, 0, 0, u.out - c } });
    return x;
}

static epl_value *gated_block(epl_graph *g, gates *s, epl_value *x, epl_residual_unit_opts u, int block)
{
    epl_scope_push(g, "gate");
    epl_value *p = s->keep(g, s, x, block);
    epl_value *threshold = epl_state(g, "threshold", EPL_F32, EPL_SHAPE(1), EPL_INIT_CONSTANT, 0.5);
    epl_value *runs = epl_reshape(g, epl_greater(g, p, threshold), EPL_SHAPE(EPL_KEEP));
    epl_scope_pop(g);
    epl_graph *yes = epl_region_new(g), *no = epl_region_new(g);
    epl_value *in = epl_input(yes, "x", EPL_F32, epl_shape_of(x), NULL), *q = epl_input(yes, "p", EPL_F32, epl_shape_of(p), NULL);
    epl_value *y = epl_residual_unit(yes, in, u), *skip = passed(yes, in, u);
    epl_value *soft = epl_add(yes, skip, epl_mul(yes, epl_reshape(yes, q, EPL_SHAPE(EPL_KEEP, 1, 1, 1)), epl_sub(yes, y, skip)));
    epl_output(yes, "y", epl_straight_through(yes, y, soft));
    epl_value *stays = epl_input(no, "x", EPL_F32, epl_shape_of(x), NULL), *captures[] = { x, p }, *out = NULL;
    epl_input(no, "p", EPL_F32, epl_shape_of(p), NULL);
    epl_output(no, "y", passed(no, stays, u));
    epl_if_each(g, runs, yes, no, 2, captures, 0, &out);
    return out;
}

/* ---- the network ---- */

static void build_gated(epl_graph *g, const epl_zoo_args *a, epl_value *x, gates *s)
{
    const int width = epl_arg_int(a, "width"), units = (epl_arg_int(a, "depth") - 2) / 6;
    x = epl_stem(g, x, (epl_stem_opts){ .out = width });
    for (int k = 0; k < 3 * units; k++) {
        epl_scope_push(g, "stage%d.unit%d", k / units + 1, k % units + 1);
        x = gated_block(g, s, x, (epl_residual_unit_opts){ .out = width << k / units, .stride = k >= units && k % units == 0 ? 2 : 1 }, k);
        epl_scope_pop(g);
    }
    epl_zoo_classify(g, a, x, "head");
}

static bool can_build(epl_graph *g, const epl_zoo_args *a)
{
    return ((epl_arg_int(a, "depth") - 2) % 6 == 0 || epl_zoo_refuse(g, a, "depth", "it is 6n + 2")) &&
           epl_zoo_at_least(g, a, "image", 3, "two stages halve it");
}

static void build_ff(epl_graph *g, const epl_zoo_args *a)
{
    gates s = { .keep = keep_by_layers };
    if (can_build(g, a))
        build_gated(g, a, epl_zoo_image(g, a), &s);
}

static void build_rnn(epl_graph *g, const epl_zoo_args *a)
{
    gates s = { .keep = keep_by_cell };
    if (can_build(g, a))
        build_gated(g, a, epl_zoo_image(g, a), &s);
}

static void build_blockdrop(epl_graph *g, const epl_zoo_args *a)
{
    gates s = { .keep = keep_by_policy };
    if (!can_build(g, a))
        return;
    const int  width = epl_arg_int(a, "policy_width");
    epl_value *x = epl_zoo_image(g, a), *z = x;
    epl_scope_push(g, "policy");
    for (int i = 0; i < 3; i++)
        z = epl_conv_unit(g, z,
                          (epl_conv_unit_opts){ .name = i == 0   ? "a"
                                                        : i == 1 ? "b"
                                                                 : "c",
                                                .conv = { .out = width, .stride = i ? 2 : 1 } });
    s.all = begin_open(g, epl_linear(g, epl_global_average_pool(g, z),
                                     (epl_linear_opts){ .name = "keep", .out = (epl_arg_int(a, "depth") - 2) / 2 }));
    epl_scope_pop(g);
    build_gated(g, a, x, &s);
}

#define DEPTH { "depth", 38, 8, 1202, .help = "6n+2: three stages of n blocks, each with a gate" }
#define WIDTH { "width", 16, 1, 4096, .help = "channels of the first stage" }

const epl_zoo_entry epl_zoo_skipnet_ff = {
    .name = "skipnet-ff", .summary = "residual network that skips blocks, each with a gate of its own", .paper = "arXiv:1711.09485",
    .build = build_ff, .small = "depth=8,width=4,image=8",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), DEPTH, WIDTH },
};

const epl_zoo_entry epl_zoo_skipnet_rnn = {
    .name = "skipnet-rnn", .summary = "residual network that skips blocks, gated by one LSTM cell", .paper = "arXiv:1711.09485",
    .build = build_rnn, .small = "depth=8,width=4,image=8",
    .options = { EPL_ZOO_IMAGES(10, 32, 3), DEPTH, WIDTH },
};

const epl_zoo_entry epl_zoo_blockdrop = {
    .name = "blockdrop",
    .summary = "residual network whose blocks a policy network chooses",
    .paper = "arXiv:1711.08393",
    .build = build_blockdrop,
    .small = "depth=8,width=4,image=8,policy_width=4",
    .options = { EPL_ZOO_IMAGES(10, 32, 3),
                 DEPTH,
                 WIDTH,
                 { "policy_width", 8, 1, 1024, .help = "channels of the policy's three convolutions" } },
};
