/* chain_tiles: the interpreter of chains, over tiles of `elem`. Included by chain.c (f32, vectors) and chain_int.c (64-bit
 * integers), each after its rows (the table `tile_rows`, for multiples of LANES elements; pair_of and is_scaled), its conversions
 * (tile_load, tile_store) and its names.
 *
 * A tile is a rectangle of at most TILE_MOST elements; of TILE_STEPS where several steps follow each other, so that
 * the last step's writing to memory overlaps with the next tile's reading. A register is a pointer: into the tensor
 * itself where the tile lies there contiguously in the right type, else into a slot of a small buffer that stays in
 * the first cache. A slot is used again once its register is read for the last time. Reading whole tensors in place
 * and writing the last results in place makes a single operator cost one pass over memory and nothing more. */

/* Slots stand SLOT_GAP apart, so that equal places in two of them do not share an address modulo 4096. */
enum {
    TILE_ELEMS = 5120,
    TILE_MOST = 1024,
    TILE_STEPS = 512,
    TILE_LEAST = 32,
    SLOT_GAP = 80,
    N_REGISTERS = EPL_CHAIN_MAX_IN + EPL_CHAIN_MAX_STEPS
};

/* A step as it is run. One that scales what a single sum, difference, product or quotient reads is run with it, as its pair. */
typedef struct planned_step {
    tile_row *row;
    int       with_reader, holds; /* run with its reader; runs others itself */
    int64_t   arg[3];
    double    at[4];
} planned_step;

typedef struct tile_plan {
    planned_step step[EPL_CHAIN_MAX_STEPS];
    int64_t rows, columns;         /* of a tile */
    int     contiguous;            /* a tile's rows follow one another in a tensor of the output's shape */
    int     slot[N_REGISTERS];     /* -1: the register lies in a tensor */
    int     last[N_REGISTERS];     /* the last step that reads it; n_steps for those that are stored; -1: none */
    int     output[N_REGISTERS];   /* for those of steps: which output's tensor */
    int64_t slot_elems;
    const void *const *in;
    void *const       *out;
    int64_t n;                     /* elements of a tensor of the output's shape, as far as the tiles go */
} tile_plan;

static int is_full(const epl_chain *c, int64_t i)
{
    return c->in_kind[i] == EPL_CHAIN_FULL;
}

/* Whether a slot that holds the input in one tile holds it in the next one, too, which is not larger: a row only if
 * a tile spans it. */
static int is_constant(const epl_chain *c, const tile_plan *p, int64_t i, int64_t n_columns)
{
    return c->in_kind[i] == EPL_CHAIN_SCALAR || (c->in_kind[i] == EPL_CHAIN_ROW && p->columns == n_columns);
}

/* Cuts [n_rows, n_columns] into tiles that leave room for `n_slots` of them. */
static void plan_size(tile_plan *p, int n_slots, int64_t n_steps, int64_t n_rows, int64_t n_columns)
{
    const int64_t limit = n_steps > 1 ? TILE_STEPS : TILE_MOST;
    const int64_t room = n_slots ? (TILE_ELEMS / n_slots - SLOT_GAP) / TILE_LEAST * TILE_LEAST : limit;
    const int64_t most = room < limit ? room : limit;
    p->slot_elems = most + SLOT_GAP;
    p->columns = n_columns < most ? n_columns : most;
    p->rows = p->columns == n_columns ? most / (p->columns > 0 ? p->columns : 1) : 1;
    p->rows = p->rows > n_rows ? n_rows : p->rows;
}

static void count_uses(const epl_chain *c, int uses[N_REGISTERS])
{
    memset(uses, 0, N_REGISTERS * sizeof *uses);
    for (int64_t s = 0; s < c->n_steps; s++)
        for (int k = 0; k < epl_tile_inputs[c->op[s]]; k++)
            uses[c->arg[s][k]]++;
    for (int64_t o = 0; o < c->n_out; o++)
        uses[c->out[o]]++;
}

/* Operand k of step s, if it only scales something for it. */
static void take_operand(const epl_chain *c, tile_plan *p, const int uses[N_REGISTERS], int64_t s, int k)
{
    planned_step *const step = &p->step[s];
    const int64_t from = c->arg[s][k] - c->n_in;
    step->at[2 * k]     = 1;
    step->at[2 * k + 1] = -0.0; // changes no number
    if (from < 0 || uses[c->arg[s][k]] > 1 || p->step[from].holds || !is_scaled(c, from, p->in, &step->arg[k], &step->at[2 * k]))
        return;
    p->step[from].with_reader = 1;
    step->holds = 1;
}

static void plan_steps(const epl_chain *c, tile_plan *p)
{
    int uses[N_REGISTERS];
    count_uses(c, uses);
    for (int64_t s = 0; s < c->n_steps; s++) {
        planned_step *const step = &p->step[s];
        *step = (planned_step){ .row = tile_rows[c->op[s]], .arg = { c->arg[s][0], c->arg[s][1], c->arg[s][2] } };
        if (pair_of(c->op[s])) {
            take_operand(c, p, uses, s, 0);
            take_operand(c, p, uses, s, 1);
        }
        if (step->holds)
            step->row = pair_of(c->op[s]);
        else
            memcpy(step->at, c->attr[s], sizeof c->attr[s]);
    }
}

static void find_last_uses(const epl_chain *c, tile_plan *p)
{
    for (int64_t r = 0; r < c->n_in + c->n_steps; r++)
        p->last[r] = -1;
    for (int s = 0; s < (int)c->n_steps; s++)
        for (int k = 0; k < epl_tile_inputs[c->op[s]] && !p->step[s].with_reader; k++)
            p->last[p->step[s].arg[k]] = s;
    for (int64_t o = 0; o < c->n_out; o++)
        p->last[c->out[o]] = (int)c->n_steps;
}

static int overlap(const elem *a, const elem *b, int64_t n) { return a < b + n && b < a + n; }

/* Outputs may lie in the memory of FULL inputs: step s writes to a tensor only when no later step reads an input there. */
static int may_write(const epl_chain *c, const tile_plan *p, int s, int64_t o)
{
    for (int64_t i = 0; i < c->n_in; i++)
        if (p->slot[i] < 0 && is_full(c, i) && p->last[i] > s && overlap(p->in[i], p->out[o], p->n))
            return 0;
    return 1;
}

/* Gives every register its place. Returns the number of slots. */
static int plan_slots(const epl_chain *c, tile_plan *p)
{
    int free_slots[N_REGISTERS], n_free = 0, n_slots = 0;
    for (int64_t i = 0; i < c->n_in; i++) {
        const int in_tensor = c->in_dtype[i] == ELEM_DTYPE && ((is_full(c, i) && p->contiguous) ||
                                                               (c->in_kind[i] == EPL_CHAIN_ROW && p->rows == 1));
        p->slot[i] = in_tensor ? -1 : n_slots++;
    }
    for (int s = 0; s < (int)c->n_steps; s++) {
        const int64_t r = c->n_in + s, *arg = p->step[s].arg;
        p->slot[r] = 0;
        if (p->step[s].with_reader)
            continue;
        for (int k = 0; k < epl_tile_inputs[c->op[s]]; k++) {
            int again = 0;
            for (int j = 0; j < k; j++)
                again |= arg[j] == arg[k];
            if (arg[k] >= c->n_in && p->last[arg[k]] == s && p->slot[arg[k]] >= 0 && !again)
                free_slots[n_free++] = p->slot[arg[k]];
        }
        p->output[r] = -1;
        for (int64_t o = 0; o < c->n_out && p->contiguous; o++)
            if (c->out[o] == r && c->out_dtype[o] == ELEM_DTYPE && may_write(c, p, s, o))
                p->output[r] = (int)o;
        p->slot[r] = p->output[r] >= 0 ? -1 : n_free ? free_slots[--n_free] : n_slots++;
    }
    return n_slots;
}

static int64_t strided_offset(const epl_chain *c, int64_t i, int64_t row)
{
    int64_t offset = 0;
    for (int64_t k = c->n_outer - 1; k >= 0; k--) {
        offset += row % c->outer[k] * c->in_stride[i][k];
        row /= c->outer[k];
    }
    return offset;
}

/* Copies input i's part of a tile into its slot. */
static void load_input(const epl_chain *c, int64_t i, const void *from, elem *to, int64_t row, int64_t n_rows, int64_t column,
                       int64_t n_columns)
{
    for (int64_t r = row; r < row + n_rows; r++, to += n_columns) {
        int64_t at = 0, stride = 1;
        switch (c->in_kind[i]) {
        case EPL_CHAIN_FULL:    at = r * c->columns + column; break;
        case EPL_CHAIN_ROW:     at = column; break;
        case EPL_CHAIN_IMAGE:   at = r / c->rows_per_image * c->columns + column; break;
        case EPL_CHAIN_COLUMN:  at = r; stride = 0; break;
        case EPL_CHAIN_STRIDED: stride = c->in_stride[i][c->n_outer]; at = strided_offset(c, i, r) + column * stride; break;
        default:                stride = 0; break;
        }
        tile_load(to, from, c->in_dtype[i], at, stride, n_columns);
    }
}

/* One step; what is left beyond whole vectors goes through buffers of one vector. */
static void run_step(const planned_step *s, int n_args, elem *to, elem *const *reg, int64_t n)
{
    const int64_t whole = n / LANES * LANES, left = n - whole;
    const elem *const args[3] = { reg[s->arg[0]], reg[s->arg[1]], reg[s->arg[2]] };
    s->row(to, args, whole, s->at);
    if (left == 0)
        return;
    elem in[3][LANES] = { { 0 } }, y[LANES];
    for (int k = 0; k < n_args; k++)
        memcpy(in[k], args[k] + whole, (size_t)left * sizeof(elem));
    s->row(y, (const elem *const[]){ in[0], in[1], in[2] }, LANES, s->at);
    memcpy(to + whole, y, (size_t)left * sizeof(elem));
}

static void run_steps(const epl_chain *c, const tile_plan *p, elem *const *reg, int64_t n)
{
    for (int64_t s = 0; s < c->n_steps; s++)
        if (!p->step[s].with_reader)
            run_step(&p->step[s], epl_tile_inputs[c->op[s]], reg[c->n_in + s], reg, n);
}

static void store_output(const epl_chain *c, int64_t o, const elem *from, void *to, int64_t row, int64_t n_rows, int64_t column,
                         int64_t n_columns)
{
    for (int64_t r = 0; r < n_rows; r++)
        tile_store(to, c->out_dtype[o], (row + r) * c->columns + column, from + r * n_columns, n_columns);
}

/* Outputs that are inputs first: behind a dense kernel input 0 lies where output 0 is going to. */
static void store_outputs(const epl_chain *c, const tile_plan *p, elem *const *reg, void *const *out, int64_t row,
                          int64_t n_rows, int64_t column, int64_t n_columns)
{
    for (int64_t o = 0; o < c->n_out; o++)
        if (c->out[o] < c->n_in)
            store_output(c, o, reg[c->out[o]], out[o], row, n_rows, column, n_columns);
    for (int64_t o = 0; o < c->n_out; o++)
        if (c->out[o] >= c->n_in && p->output[c->out[o]] != (int)o) // else it was computed in place
            store_output(c, o, reg[c->out[o]], out[o], row, n_rows, column, n_columns);
}

/* Where the registers are that no tile moves: slots, the first element of tensors for the others. */
static void place_registers(const epl_chain *c, const tile_plan *p, elem *slots, elem **reg)
{
    for (int64_t r = 0; r < c->n_in + c->n_steps; r++)
        reg[r] = p->slot[r] >= 0 ? slots + p->slot[r] * p->slot_elems : r < c->n_in ? (elem *)(uintptr_t)p->in[r] /* read only */
                                                                                    : (elem *)p->out[p->output[r]];
}

static void move_registers(const epl_chain *c, const tile_plan *p, elem **reg, int64_t at, int64_t column)
{
    for (int64_t r = 0; r < c->n_in + c->n_steps; r++)
        if (p->slot[r] < 0)
            reg[r] = r < c->n_in ? (elem *)(uintptr_t)p->in[r] + (is_full(c, r) ? at : column) : (elem *)p->out[p->output[r]] + at;
}

static void run_rows(const epl_chain *c, const void *const *in, void *const *out, int64_t row0, int64_t row1, int64_t col0,
                     int64_t col1)
{
    elem slots[TILE_ELEMS] __attribute__((aligned(64))), *reg[N_REGISTERS];
    tile_plan p;
    p.rows       = 2; // room for a ROW repeated, which is not needed if tiles turn out to be of one
    p.contiguous = col1 - col0 == c->columns || row1 - row0 == 1;
    p.in         = in;
    p.out        = out;
    p.n          = row1 > row0 ? (row1 - 1) * c->columns + col1 : 0;
    plan_steps(c, &p);
    find_last_uses(c, &p);
    plan_size(&p, plan_slots(c, &p), c->n_steps, row1 - row0, col1 - col0);
    if (p.rows == 1)
        plan_slots(c, &p);
    place_registers(c, &p, slots, reg);
    int first = 1;
    for (int64_t r = row0; r < row1; r += p.rows)
        for (int64_t col = col0; col < col1; col += p.columns) {
            const int64_t n_rows = r + p.rows < row1 ? p.rows : row1 - r;
            const int64_t n_columns = col + p.columns < col1 ? p.columns : col1 - col;
            move_registers(c, &p, reg, r * c->columns + col, col);
            for (int64_t i = 0; i < c->n_in; i++)
                if (p.slot[i] >= 0 && p.last[i] >= 0 && (first || !is_constant(c, &p, i, col1 - col0)))
                    load_input(c, i, in[i], reg[i], r, n_rows, col, n_columns);
            run_steps(c, &p, reg, n_rows * n_columns);
            store_outputs(c, &p, reg, out, r, n_rows, col, n_columns);
            first = 0;
        }
}
