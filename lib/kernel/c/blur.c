#include "kernel/c/real.h"

/* Mirrors about the border pixels, which are not repeated: -1 is 1. */
static int reflect(int i, int n)
{
    if (n == 1)
        return 0;
    const int period = 2 * (n - 1);
    i %= period;
    if (i < 0)
        i += period;
    return i < n ? i : period - i;
}

static real filter(const real *x, ptrdiff_t stride, int n, int at, const double *taps, int size)
{
    double sum = 0;
    for (int t = 0; t < size; t++)
        sum += taps[t] * x[reflect(at + t - size / 2, n) * stride];
    return (real)sum;
}

void KERNEL(blur)(const void *x_, ptrdiff_t x_row, ptrdiff_t x_pixel, void *y_, int h, int w,
                  const double *taps, int size, void *scratch)
{
    const real *x = x_;
    real *across = scratch, *y = y_;
    for (int row = 0; row < h; row++)
        for (int column = 0; column < w; column++)
            across[(ptrdiff_t)row * w + column] = filter(x + row * x_row, x_pixel, w, column, taps, size);
    for (int row = 0; row < h; row++)
        for (int column = 0; column < w; column++)
            y[(ptrdiff_t)row * w + column] = filter(across + column, w, h, row, taps, size);
}
