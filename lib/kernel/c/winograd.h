#ifndef DFI_KERNEL_C_WINOGRAD_H
#define DFI_KERNEL_C_WINOGRAD_H

#include "kernel/c/real.h"
#include "kernel/winograd.h"

#define N DFI_WINOGRAD_N

typedef void (*transform)(const struct dfi_winograd *s, const real *x, real *y);

/* Columns, then rows, of an a x a square: b x b. */
static inline void transform_2d(const struct dfi_winograd *s, transform t, int a, int b, real x[N][N])
{
    real column[N], made[N] = { 0 }, half[N][N];
    for (int j = 0; j < a; j++) {
        for (int i = 0; i < a; i++)
            column[i] = x[i][j];
        t(s, column, made);
        for (int i = 0; i < b; i++)
            half[i][j] = made[i];
    }
    for (int i = 0; i < b; i++)
        t(s, half[i], x[i]);
}

#endif
