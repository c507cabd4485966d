/* Which copy of the kernels this machine runs. The choice is made anew on every call: it is a few comparisons, and a variable
 * that remembers it would be state of the process. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

typedef struct isa {
    const epl_kernel_set *set;
    bool runs;
} isa;

extern const epl_kernel_set epl_generic_kernel_set;
#if EPL_HAVE_ISA_v3
extern const epl_kernel_set epl_v3_kernel_set;
#endif
#if EPL_HAVE_ISA_v4
extern const epl_kernel_set epl_v4_kernel_set;
#endif

#if EPL_HAVE_ISA_v3
static bool runs_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}
#endif

#if EPL_HAVE_ISA_v4
static bool runs_v4(void)
{
    return runs_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd");
}
#endif

/* From the best to the plainest, which runs everywhere. */
static isa isa_at(int i)
{
    const isa all[] = {
#if EPL_HAVE_ISA_v4
        { &epl_v4_kernel_set, runs_v4() },
#endif
#if EPL_HAVE_ISA_v3
        { &epl_v3_kernel_set, runs_v3() },
#endif
        { &epl_generic_kernel_set, true },
    };
    return i < (int)(sizeof all / sizeof *all) ? all[i] : (isa){ NULL, false };
}

const epl_kernel_set *epl_kernels_for(const char *name)
{
    for (int i = 0; isa_at(i).set; i++)
        if (!strcmp(isa_at(i).set->isa, name))
            return isa_at(i).runs ? isa_at(i).set : NULL;
    return NULL;
}

const epl_kernel_set *epl_kernels(void)
{
    const char *wanted = getenv("EPL_ISA");
    const epl_kernel_set *set = wanted ? epl_kernels_for(wanted) : NULL;
    for (int i = 0; !set; i++)
        if (isa_at(i).runs)
            set = isa_at(i).set;
    return set;
}

const epl_kernel *epl_kernel_find(const epl_kernel_set *set, const char *name)
{
    for (int i = 0; i < set->n_kernels; i++)
        if (!strcmp(set->kernels[i].name, name))
            return &set->kernels[i];
    return NULL;
}
