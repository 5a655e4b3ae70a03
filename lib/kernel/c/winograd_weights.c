/* The transform of filters, and its adjoint. */

#include "kernel/c/winograd.h"

/* G: r to n. */
static void weights_1d(const struct dfi_winograd *s, const real *x, real *y)
{
    for (int i = 0; i < s->n; i++) {
        y[i] = 0;
        for (int k = 0; k < s->r; k++)
            y[i] += (real)s->g[i][k] * x[k];
    }
}

/* G^T: n to r. */
static void weights_back_1d(const struct dfi_winograd *s, const real *x, real *y)
{
    for (int k = 0; k < s->r; k++) {
        y[k] = 0;
        for (int i = 0; i < s->n; i++)
            y[k] += (real)s->g[i][k] * x[i];
    }
}

void KERNEL(winograd_weights)(const struct dfi_winograd *scheme, const void *taps, ptrdiff_t tap,
                              void *values, ptrdiff_t position, size_t count)
{
    const int n = scheme->n, r = scheme->r;
    for (size_t k = 0; k < count; k++) {
        real x[N][N];
        for (int t = 0; t < r * r; t++)
            x[t / r][t % r] = ((const real *)taps)[t * tap + (ptrdiff_t)k];
        transform_2d(scheme, weights_1d, r, n, x);
        for (int p = 0; p < n * n; p++)
            ((real *)values)[p * position + (ptrdiff_t)k] = x[p / n][p % n];
    }
}

void KERNEL(winograd_weights_back)(const struct dfi_winograd *scheme, const void *values, ptrdiff_t position,
                                   void *taps, const int *number, ptrdiff_t tap, size_t count)
{
    const int n = scheme->n, r = scheme->r;
    for (size_t k = 0; k < count; k++) {
        real x[N][N];
        for (int p = 0; p < n * n; p++)
            x[p / n][p % n] = ((const real *)values)[p * position + (ptrdiff_t)k];
        transform_2d(scheme, weights_back_1d, n, r, x);
        for (int t = 0; t < r * r; t++)
            ((real *)taps)[number[t] * tap + (ptrdiff_t)k] += x[t / r][t % r];
    }
}
