#include "kernel/c/real.h"

void KERNEL(avg_pool)(const void *x_, ptrdiff_t ldx, void *y_, int h, int w, int c, int kh, int kw)
{
    real *y = y_;
    const real scale = (real)(1.0 / ((double)kh * kw));
    for (int row = 0; row + kh <= h; row += kh)
        for (int column = 0; column + kw <= w; column += kw, y += c) {
            for (int i = 0; i < c; i++)
                y[i] = 0;
            for (int a = 0; a < kh; a++)
                for (int b = 0; b < kw; b++) {
                    const real *x = (const real *)x_ + ((ptrdiff_t)(row + a) * w + column + b) * ldx;
                    for (int i = 0; i < c; i++)
                        y[i] += x[i];
                }
            for (int i = 0; i < c; i++)
                y[i] *= scale;
        }
}

/* Pixels behind the last whole window take no part: their gradient is zero. */
static void clear_image(real *dx, ptrdiff_t lddx, int pixels, int c)
{
    for (int p = 0; p < pixels; p++, dx += lddx)
        memset(dx, 0, (size_t)c * sizeof(real));
}

void KERNEL(avg_pool_backward)(const void *dy_, void *dx_, ptrdiff_t lddx, int h, int w, int c, int kh,
                               int kw, int accumulate)
{
    const real *dy = dy_;
    const real scale = (real)(1.0 / ((double)kh * kw));
    if (!accumulate)
        clear_image(dx_, lddx, h * w, c);
    for (int row = 0; row + kh <= h; row += kh)
        for (int column = 0; column + kw <= w; column += kw, dy += c)
            for (int a = 0; a < kh; a++)
                for (int b = 0; b < kw; b++) {
                    real *dx = (real *)dx_ + ((ptrdiff_t)(row + a) * w + column + b) * lddx;
                    for (int i = 0; i < c; i++)
                        dx[i] += scale * dy[i];
                }
}

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
        clear_image(dx_, lddx, h * w, c);
    for (int row = 0; row + k <= h; row += k)
        for (int column = 0; column + k <= w; column += k, dy += c) {
            const ptrdiff_t corner = (ptrdiff_t)row * w + column;
            const real *x = (const real *)x_ + corner * ldx;
            real *dx = (real *)dx_ + corner * lddx;
            for (int i = 0; i < c; i++)
                dx[i + find_largest(x + i, ldx, w, k) / ldx * lddx] += dy[i];
        }
}
