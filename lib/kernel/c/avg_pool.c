#include "kernel/c/pixel.h"

void PIXEL_KERNEL(avg_pool)(const void *x_, ptrdiff_t ldx, void *y_, int h, int w, int c, int kh, int kw)
{
    real *y = y_;
    const real scale = (real)(1.0 / ((double)kh * kw));
    for (int row = 0; row + kh <= h; row += kh)
        for (int column = 0; column + kw <= w; column += kw, y += c) {
            for (int i = 0; i < c; i++)
                y[i] = 0;
            for (int a = 0; a < kh; a++)
                for (int b = 0; b < kw; b++) {
                    const pixel *x = (const pixel *)x_ + ((ptrdiff_t)(row + a) * w + column + b) * ldx;
                    for (int i = 0; i < c; i++)
                        y[i] += get(x[i]);
                }
            for (int i = 0; i < c; i++)
                y[i] *= scale;
        }
}

/* Pixels behind the last whole window take no part: their gradient is zero. */
static void clear_image(pixel *dx, ptrdiff_t lddx, int pixels, int c)
{
    for (int p = 0; p < pixels; p++, dx += lddx)
        memset(dx, 0, (size_t)c * sizeof(pixel));
}

void PIXEL_KERNEL(avg_pool_backward)(const void *dy_, void *dx_, ptrdiff_t lddx, int h, int w, int c, int kh,
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
                    pixel *dx = (pixel *)dx_ + ((ptrdiff_t)(row + a) * w + column + b) * lddx;
                    for (int i = 0; i < c; i++)
                        dx[i] = put(get(dx[i]) + scale * dy[i]);
                }
}
