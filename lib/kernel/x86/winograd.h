#ifndef DFI_KERNEL_X86_WINOGRAD_H
#define DFI_KERNEL_X86_WINOGRAD_H

#include "kernel/winograd.h"
#include "kernel/x86/vec.h"

/* Transforms are written for any scheme; each is compiled for the few schemes there are, so that all loops
 * over points unroll. */

#define N DFI_WINOGRAD_N
#define M DFI_WINOGRAD_M
#define PAIRS DFI_WINOGRAD_PAIRS

DFI_INLINE void to_float(const double *x, int n, float *y)
{
    for (int i = 0; i < n; i++)
        y[i] = (float)x[i];
}

/* The schemes: name, m, r, zero, pairs. */
#define SCHEMES(S) \
    S(2_3, 2, 3, 1, 1) \
    S(4_3, 4, 3, 1, 2) S(7_3, 7, 3, 0, 4) S(3_2, 3, 2, 1, 1) S(4_2, 4, 2, 0, 2) S(7_2, 7, 2, 1, 3)

/* In a switch over DFI_SCHEME(scheme), with a RUN(name) that names the version. */
#define SCHEME_NUMBER(scheme) (10 * (scheme)->m + (scheme)->r)
#define CASE(name, m, r, has_zero, pairs) \
    case 10 * m + r: \
        RUN(name)(args); \
        break;

#endif
