/* captioner: an image becomes text, a letter at a time: convolutions make the state in which a GRU cell begins; each
 * letter is the likeliest, and what the cell reads next. Letter 0 ends the text, and the loop once every image of
 * the batch has it. Vinyals et al. 2015 (arXiv:1411.4555) with greedy decoding and a GRU (Cho et al. 2014). Trained
 * on its own letters, position by position: with stop=0 the loop runs to the end, so that every position has a
 * gradient. */
#include "zoo/zoo.h"

typedef struct decoder {
    int        letters, width, length;
    bool       stops;
    epl_graph *body;
} decoder;

/* One step: z, r and the candidate lie side by side. */
static epl_value *gru_step(epl_graph *g, epl_value *x, epl_value *h, int width)
{
    epl_value *a = epl_linear(g, x, (epl_linear_opts){ .name = "input", .out = 3 * width });
    epl_value *b = epl_linear(g, h, (epl_linear_opts){ .name = "recurrent", .out = 3 * width }), *u[3], *v[3];
    for (int i = 0; i < 3; i++) {
        u[i] = epl_slice_axis(g, a, 1, i * width, (i + 1) * width);
        v[i] = epl_slice_axis(g, b, 1, i * width, (i + 1) * width);
    }
    epl_value *z = epl_sigmoid(g, epl_add(g, u[0], v[0])), *r = epl_sigmoid(g, epl_add(g, u[1], v[1]));
    epl_value *candidate = epl_tanh(g, epl_add(g, u[2], epl_mul(g, r, v[2])));
    return epl_add(g, candidate, epl_mul(g, z, epl_sub(g, h, candidate)));
}

enum { STATE, LETTER, GOING, LOGITS, LETTERS, N_CARRIED };

/* `all` with `one` at this position; both have it as axis 1. */
static epl_value *put(epl_graph *g, epl_value *all, epl_value *one, epl_value *here)
{
    const int64_t length = epl_dim(all, 1);
    const bool    rows   = epl_rank(all) == 3;
    return epl_where(g, epl_reshape(g, here, rows ? EPL_SHAPE(length, 1) : EPL_SHAPE(length)),
                     epl_reshape(g, one, rows ? EPL_SHAPE(EPL_KEEP, 1, epl_dim(all, 2)) : EPL_SHAPE(EPL_KEEP, 1)), all);
}

/* A letter more. What is carried: the state [N, width], the letter and whether the text is still going on [N], and
 * what was written: logits [N, length, letters] and letters [N, length], zeros behind the end. */
static bool build_body(const decoder *d, epl_value *const *start)
{
    static const char *const names[N_CARRIED] = { "state", "letter", "going", "logits", "letters" };
    epl_graph *g = d->body;
    epl_value *position = epl_input(g, "position", EPL_I64, EPL_SCALAR, NULL), *again = epl_input(g, "again", EPL_BOOL, EPL_SCALAR, NULL);
    epl_value *now[N_CARRIED];
    for (int i = 0; i < N_CARRIED; i++)
        now[i] = epl_input(g, names[i], epl_dtype_of(start[i]), epl_shape_of(start[i]), NULL);
    epl_value *x = epl_embedding(g, now[LETTER], (epl_embedding_opts){ .count = d->letters, .width = d->width, .std = 0.3 });
    epl_value *h = gru_step(g, x, now[STATE], d->width), *going = now[GOING];
    epl_value *logits = epl_linear(g, h, (epl_linear_opts){ .name = "letters", .out = d->letters });
    epl_value *letter = epl_argmax(g, logits, 1, (epl_arg_opts){ 0 }),
              *here = epl_equal(g, epl_range(g, EPL_I64, 0, d->length, 1), position);
    if (d->stops) {
        logits = epl_where(g, epl_reshape(g, going, EPL_SHAPE(EPL_KEEP, 1)), logits, epl_scalar(g, EPL_F32, 0));
        letter = epl_where(g, going, letter, epl_scalar(g, EPL_I64, 0));
        going  = epl_and(g, going, epl_not_equal(g, letter, epl_scalar(g, EPL_I64, 0)));
        again  = epl_greater(g, epl_reduce_sum(g, epl_cast(g, going, EPL_I64), (epl_reduce_opts){ 0 }), epl_scalar(g, EPL_I64, 0));
    }
    epl_output(g, "again", again);
    epl_output(g, "state", h);
    epl_output(g, "letter", letter);
    epl_output(g, "going", going);
    epl_output(g, "logits", put(g, now[LOGITS], logits, here));
    return epl_output(g, "letters", put(g, now[LETTERS], letter, here)) != NULL;
}

static void build(epl_graph *g, const epl_zoo_args *a)
{
    const int  width = epl_arg_int(a, "channels_inside");
    decoder d = { epl_arg_int(a, "letters"), epl_arg_int(a, "width"), epl_arg_int(a, "length"), epl_arg_int(a, "stop"),
                  epl_region_new(g) };
    epl_value *x = epl_zoo_image(g, a), *out[6] = { NULL };
    epl_scope_push(g, "encoder");
    for (int i = 0; i < 3; i++)
        x = epl_conv_unit(g, x,
                          (epl_conv_unit_opts){ .name = i == 0   ? "a"
                                                        : i == 1 ? "b"
                                                                 : "c",
                                                .conv = { .out = width << i, .stride = i ? 2 : 1 } });
    epl_value *h = epl_tanh(g, epl_linear(g, epl_global_average_pool(g, x), (epl_linear_opts){ .name = "state", .out = d.width }));
    epl_scope_pop(g);
    epl_value *zero = epl_reduce_sum(g, epl_zeros_like(g, h), (epl_reduce_opts){ EPL_AXES(1) }), *none = epl_cast(g, zero, EPL_I64);
    epl_value *const start[N_CARRIED] = {
        h, none, epl_equal(g, none, epl_scalar(g, EPL_I64, 0)),
        epl_expand(g, epl_reshape(g, zero, EPL_SHAPE(EPL_KEEP, 1, 1)), EPL_SHAPE(EPL_KEEP, d.length, d.letters)),
        epl_expand(g, epl_reshape(g, none, EPL_SHAPE(EPL_KEEP, 1)), EPL_SHAPE(EPL_KEEP, d.length))
    };
    epl_scope_push(g, "decoder");
    if (build_body(&d, start))
        epl_loop(g, d.length, NULL, N_CARRIED, start, d.body, 0, NULL, out);
    epl_scope_pop(g);
    epl_output(g, "logits", out[LOGITS]);
    epl_output(g, "letters", out[LETTERS]);
}

const epl_zoo_entry epl_zoo_captioner = {
    .name = "captioner",
    .summary = "an image becomes text: convolutions, then a GRU that writes letters until it ends",
    .paper = "arXiv:1411.4555",
    .build = build,
    .small = "image=8,channels_inside=2,width=6,letters=5,length=4",
    .own_head = true,
    .options = { { "image", 32, 1, 8192, .help = "height and width of the input" },
                 { "channels", 3, 1, 4096, .help = "channels of the input" },
                 { "letters", 28, 2, 100000, .help = "of the alphabet; number 0 ends the text" },
                 { "length", 20, 1, 4096, .help = "the most letters" },
                 { "width", 64, 1, 8192, .help = "of the state and the letters' vectors" },
                 { "channels_inside", 16, 1, 4096, .help = "channels of the first convolution" },
                 { "stop", 1, 0, 1, .help = "0: all letters are written, whatever they are: for training" } },
};
