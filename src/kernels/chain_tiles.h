/* chain_tiles: the interpreter of chains, over tiles of `elem`. Included by chain.c (f32, vectors) and chain_int.c (64-bit
 * integers), each after its rows (the table `tile_rows`, for multiples of LANES elements), its conversions (tile_load,
 * tile_store) and its names.
 *
 * A tile is a rectangle of at most TILE_MOST elements; of TILE_STEPS where several steps follow each other, so that the last
 * step's writing to memory overlaps with the next tile's reading. A register is a pointer: into the tensor itself where the tile lies
 * there contiguously in the right type, else into a slot of a small buffer that stays in the first cache. A slot is used
 * again once its register is read for the last time. Reading whole tensors in place and writing the last results in place
 * makes a single operator cost one pass over memory and nothing more. */

/* Slots stand SLOT_GAP apart, so that equal places in two of them do not share an address modulo 4096. */
enum { TILE_ELEMS = 5120, TILE_MOST = 1024, TILE_STEPS = 256, TILE_LEAST = 32, SLOT_GAP = 80, N_REGISTERS = EPL_CHAIN_MAX_IN + EPL_CHAIN_MAX_STEPS };

typedef struct tile_plan {
    int64_t rows, columns;         /* of a tile */
    int     contiguous;            /* a tile's rows follow one another in a tensor of the output's shape */
    int     slot[N_REGISTERS];     /* -1: the register lies in a tensor */
    int     output[N_REGISTERS];   /* for those of steps: which output's tensor */
    int64_t slot_elems;
} tile_plan;

static int is_full(const epl_chain *c, int64_t i)
{
    return c->in_kind[i] == EPL_CHAIN_FULL;
}

static int is_constant(const epl_chain *c, int64_t i) /* the same in every tile of the full size */
{
    return c->in_kind[i] == EPL_CHAIN_SCALAR || c->in_kind[i] == EPL_CHAIN_ROW;
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

/* The last step that reads each register; n_steps for those that are stored. */
static void find_last_uses(const epl_chain *c, int last[N_REGISTERS])
{
    for (int64_t r = 0; r < c->n_in + c->n_steps; r++)
        last[r] = -1;
    for (int s = 0; s < (int)c->n_steps; s++)
        for (int k = 0; k < epl_tile_inputs[c->op[s]]; k++)
            last[c->arg[s][k]] = s;
    for (int64_t o = 0; o < c->n_out; o++)
        last[c->out[o]] = (int)c->n_steps;
}

/* Gives every register its place. Outputs may lie in the memory of FULL inputs: a step writes to a tensor only when no later
 * step reads one. Returns the number of slots. */
static int plan_slots(const epl_chain *c, tile_plan *p)
{
    int last[N_REGISTERS], free_slots[N_REGISTERS], n_free = 0, n_slots = 0, last_read = -1;
    find_last_uses(c, last);
    for (int64_t i = 0; i < c->n_in; i++) {
        const int in_tensor = c->in_dtype[i] == ELEM_DTYPE && ((is_full(c, i) && p->contiguous) ||
                                                               (c->in_kind[i] == EPL_CHAIN_ROW && p->rows == 1));
        p->slot[i] = in_tensor ? -1 : n_slots++;
        if (in_tensor && is_full(c, i) && last[i] > last_read)
            last_read = last[i];
    }
    for (int s = 0; s < (int)c->n_steps; s++) {
        const int64_t r = c->n_in + s;
        for (int k = 0; k < epl_tile_inputs[c->op[s]]; k++) {
            const int64_t a = c->arg[s][k];
            int again = 0;
            for (int j = 0; j < k; j++)
                again |= c->arg[s][j] == a;
            if (a >= c->n_in && last[a] == s && p->slot[a] >= 0 && !again)
                free_slots[n_free++] = p->slot[a];
        }
        p->output[r] = -1;
        for (int64_t o = 0; o < c->n_out && s >= last_read && p->contiguous; o++)
            if (c->out[o] == r && c->out_dtype[o] == ELEM_DTYPE)
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
static void run_step(const epl_chain *c, int64_t s, elem *to, const elem *const args[3], int64_t n)
{
    const int64_t whole = n / LANES * LANES, left = n - whole;
    tile_rows[c->op[s]](to, args, whole, c->attr[s]);
    if (left == 0)
        return;
    elem in[3][LANES] = { { 0 } }, y[LANES];
    for (int k = 0; k < epl_tile_inputs[c->op[s]]; k++)
        memcpy(in[k], args[k] + whole, (size_t)left * sizeof(elem));
    tile_rows[c->op[s]](y, (const elem *const[]){ in[0], in[1], in[2] }, LANES, c->attr[s]);
    memcpy(to + whole, y, (size_t)left * sizeof(elem));
}

static void run_steps(const epl_chain *c, elem *const *reg, int64_t n)
{
    for (int64_t s = 0; s < c->n_steps; s++)
        run_step(c, s, reg[c->n_in + s], (const elem *const[]){ reg[c->arg[s][0]], reg[c->arg[s][1]], reg[c->arg[s][2]] }, n);
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

/* One tile. `fresh`: what is the same in every tile has yet to be loaded. */
static void run_tile(const epl_chain *c, const tile_plan *p, const void *const *in, void *const *out, elem *slots, int fresh,
                     int64_t row, int64_t n_rows, int64_t column, int64_t n_columns)
{
    elem *reg[N_REGISTERS];
    const int64_t at = row * c->columns + column;
    for (int64_t i = 0; i < c->n_in; i++) {
        if (p->slot[i] < 0) {
            reg[i] = (elem *)(uintptr_t)in[i] + (is_full(c, i) ? at : column); // read only
            continue;
        }
        reg[i] = slots + p->slot[i] * p->slot_elems;
        if (fresh || !is_constant(c, i))
            load_input(c, i, in[i], reg[i], row, n_rows, column, n_columns);
    }
    for (int64_t r = c->n_in; r < c->n_in + c->n_steps; r++)
        reg[r] = p->slot[r] < 0 ? (elem *)out[p->output[r]] + at : slots + p->slot[r] * p->slot_elems;
    run_steps(c, reg, n_rows * n_columns);
    store_outputs(c, p, reg, out, row, n_rows, column, n_columns);
}

static void run_rows(const epl_chain *c, const void *const *in, void *const *out, int64_t row0, int64_t row1, int64_t col0,
                     int64_t col1)
{
    elem slots[TILE_ELEMS] __attribute__((aligned(64)));
    tile_plan p = { .rows = 2, .contiguous = col1 - col0 == c->columns || row1 - row0 == 1 };
    plan_size(&p, plan_slots(c, &p), c->n_steps, row1 - row0, col1 - col0); // room for a ROW repeated; once rows is known maybe not needed
    plan_slots(c, &p);
    int fresh = 1;
    for (int64_t r = row0; r < row1; r += p.rows)
        for (int64_t col = col0; col < col1; col += p.columns) {
            const int64_t n_rows = r + p.rows < row1 ? p.rows : row1 - r;
            const int64_t n_columns = col + p.columns < col1 ? p.columns : col1 - col;
            run_tile(c, &p, in, out, slots, fresh, r, n_rows, col, n_columns);
            fresh = p.columns < col1 - col0; // a ROW changes from tile to tile only if a tile does not span the columns
        }
}
