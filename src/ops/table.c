/* table: all operators, collected by the build from the files of this folder. */
#include "graph/op.h"

static const epl_op *const table[] = {
#define EPL_OP(name) &epl_op_##name,
#include "ops_table.inc"
#undef EPL_OP
};

const int epl_n_ops = (int)EPL_COUNT(table);

const epl_op *epl_op_at(int i) { return table[i]; }

const epl_op *epl_op_find(const char *name)
{
    for (int i = 0; i < epl_n_ops; i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}
