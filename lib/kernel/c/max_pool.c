#include "kernel/c/real.h"

/* Offset of a window's largest value: the first of equals, a NaN before all. */
static ptrdiff_t find_largest(const real *x, ptrdiff_t ldx, int w, int k)
{
    ptrdiff_t best = 0;
    for (int a = 0; a < k; a++)
        for (int b = 0; b < k; b++) {
            const ptrdiff_t at = ((ptrdiff_t)a * w + b) * ldx;
            if (x[at] > x[best] || (isnan(x[at]) && !isnan(x[best])))
                best = at;
        }
    return best;
}

void KERNEL(max_pool)(const void *x_, ptrdiff_t ldx, void *y_, int h, int w, int c, int k)
{
    real *y = y_;
    for (int row = 0; row + k <= h; row += k)
        for (int column = 0; column + k <= w; column += k, y += c) {
            const real *x = (const real *)x_ + ((ptrdiff_t)row * w + column) * ldx;
            for (int i = 0; i < c; i++)
                y[i] = x[i + find_largest(x + i, ldx, w, k)];
        }
}

void KERNEL(max_pool_backward)(const void *x_, ptrdiff_t ldx, const void *dy_, void *dx_, ptrdiff_t lddx,
                               int h, int w, int c, int k, int accumulate)
{
    const real *dy = dy_;
    if (!accumulate)
        for (int p = 0; p < h * w; p++) /* behind the last whole window, too */
            memset((real *)dx_ + p * lddx, 0, (size_t)c * sizeof(real));
    for (int row = 0; row + k <= h; row += k)
        for (int column = 0; column + k <= w; column += k, dy += c) {
            const ptrdiff_t corner = (ptrdiff_t)row * w + column;
            const real *x = (const real *)x_ + corner * ldx;
            real *dx = (real *)dx_ + corner * lddx;
            for (int i = 0; i < c; i++)
                dx[i + find_largest(x + i, ldx, w, k) / ldx * lddx] += dy[i];
        }
}
