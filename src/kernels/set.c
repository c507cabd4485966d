/* The table of one instruction set's kernels, made from kernels.def. */
#include "kernels/kernels.h"
#include "kernels/vec.h"

#define KERNEL(name, sources, params, doubles) EPL_KERNEL(name);
#include "kernels/kernels.def"
#undef KERNEL

extern const epl_kernel_set EPL_K(kernel_set);

static const epl_kernel kernels[] = {
#define KERNEL(name, sources, params, doubles)                                                                       \
    { #name, sources, #params, (int)(sizeof(params) / 8) - (doubles), doubles, EPL_K(name##_pieces),                 \
      EPL_K(name##_scratch), EPL_K(name) },
#include "kernels/kernels.def"
#undef KERNEL
};

#define TEXT_EXPANDED(x) #x
#define TEXT(x) TEXT_EXPANDED(x)

const epl_kernel_set EPL_K(kernel_set) = { TEXT(EPL_ISA), VL, kernels, (int)(sizeof kernels / sizeof *kernels) };
