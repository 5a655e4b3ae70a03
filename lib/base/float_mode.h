#ifndef DFI_BASE_FLOAT_MODE_H
#define DFI_BASE_FLOAT_MODE_H

#include <fenv.h>

/* The caller's rounding mode must not reach the results, and ours must not reach the caller: arithmetic runs
 * between enter and leave. enter sets the default mode (round to nearest, no traps); `flush` also makes
 * denormals zero, which keeps kernels fast. leave restores everything, the exception flags included. */
struct dfi_float_mode {
    fenv_t environment;
};
void dfi_float_enter(struct dfi_float_mode *saved, int flush);
void dfi_float_leave(const struct dfi_float_mode *saved);

#endif
