/* The instruction sets that networks are compiled for. A plan depends on the set through the width of a vector alone, so the
 * plan for aarch64 is made with the plain kernels, whose vectors are as long; what is computed ahead is computed by them. */
#include "compile/emit.h"

#include <sys/utsname.h>

static const epl_target targets[] = {
    { "generic", "generic", "generic", "", 4, NULL, NULL, NULL },
    { "x86-64-v3", "v3", "v3", "-march=x86-64-v3", 8, NULL, NULL, "x86_64" },
    { "x86-64-v4", "v4", "v4", "-march=x86-64-v4 -mprefer-vector-width=512", 16, NULL, NULL, "x86_64" },
    { "aarch64", "armv8", "generic", "", 4, "aarch64-linux-gnu-gcc", "qemu-aarch64", "aarch64" },
};

bool epl_target_is_foreign(const epl_target *t)
{
    struct utsname machine;
    return t->home && uname(&machine) == 0 && strcmp(machine.machine, t->home) != 0;
}

/* The best kernels that run here, under the name of a target. */
static const epl_target *best(void)
{
    for (size_t i = EPL_COUNT(targets) - 1; i > 0; i--)
        if (!epl_target_is_foreign(&targets[i]) && !strcmp(targets[i].isa, epl_kernels()->isa))
            return &targets[i];
    return &targets[0];
}

const epl_target *epl_target_find(epl_context *ctx, const char *name)
{
    if (!name)
        return best();
    for (size_t i = 0; i < EPL_COUNT(targets); i++)
        if (!strcmp(name, targets[i].name) || !strcmp(name, targets[i].alias)) {
            if (epl_kernels_for(targets[i].isa))
                return &targets[i];
            epl_fail(ctx, EPL_ERR_UNSUPPORTED, "target %s needs a machine that runs it: weights are packed by its own kernels",
                     targets[i].name);
            return NULL;
        }
    epl_fail(ctx, EPL_ERR_ARGUMENT, "target '%s' is unknown: generic, x86-64-v3, x86-64-v4 or aarch64", name);
    return NULL;
}
