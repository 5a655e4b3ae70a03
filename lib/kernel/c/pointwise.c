#include "kernel/c/activation.h"
#include "kernel/c/pixel.h"

void PIXEL_KERNEL(load_pixels)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t pixels, int c)
{
    const pixel *x = x_;
    real *y = y_;
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy)
        for (int i = 0; i < c; i++)
            y[i] = get(x[i]);
}

void PIXEL_KERNEL(store_pixels)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t pixels, int c)
{
    const real *x = x_;
    pixel *y = y_;
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy)
        for (int i = 0; i < c; i++)
            y[i] = put(x[i]);
}

void PIXEL_KERNEL(moments)(const void *x_, ptrdiff_t ldx, size_t pixels, int c, double *sum,
                           double *sum_squares)
{
    const pixel *x = x_;
    for (size_t p = 0; p < pixels; p++, x += ldx)
        for (int i = 0; i < c; i++) {
            const double value = get(x[i]);
            sum[i] += value;
            if (sum_squares)
                sum_squares[i] += value * value;
        }
}

void PIXEL_KERNEL(moments_about)(const void *x_, ptrdiff_t ldx, size_t pixels, int c, const void *center_,
                                 double *sum, double *sum_squares)
{
    const pixel *x = x_, *center = center_;
    for (size_t p = 0; p < pixels; p++, x += ldx)
        for (int i = 0; i < c; i++) {
            const double value = get(x[i]) - get(center[i]);
            sum[i] += value;
            sum_squares[i] += value * value;
        }
}

static inline real affine(real x, const real *scale, const real *shift, int i)
{
    const real z = scale ? x * scale[i] : x;
    return shift ? z + shift[i] : z;
}

void PIXEL_KERNEL(affine_act)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t pixels, int c,
                              const void *scale, const void *shift, enum dfi_act act)
{
    const pixel *x = x_;
    pixel *y = y_;
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy)
        for (int i = 0; i < c; i++)
            y[i] = put(act_value(act, affine(get(x[i]), scale, shift, i)));
}

void PIXEL_KERNEL(affine_act_backward)(const void *x_, ptrdiff_t ldx, const void *dy_, ptrdiff_t lddy,
                                       void *g_, ptrdiff_t ldg, size_t pixels, int c, const void *scale,
                                       const void *shift, enum dfi_act act, double *sum_g, double *sum_gx)
{
    const pixel *x = x_, *dy = dy_;
    pixel *g = g_;
    for (size_t p = 0; p < pixels; p++, x += ldx, dy += lddy, g += ldg)
        for (int i = 0; i < c; i++) {
            const real old = get(x[i]), value = get(dy[i]) * act_slope(act, affine(old, scale, shift, i));
            g[i] = put(value);
            if (sum_g)
                sum_g[i] += value;
            if (sum_gx)
                sum_gx[i] += (double)value * old;
        }
}

void PIXEL_KERNEL(affine2)(const void *g_, ptrdiff_t ldg, const void *x_, ptrdiff_t ldx, void *dx_,
                           ptrdiff_t lddx, size_t pixels, int c, const void *a_, const void *b_,
                           const void *d_, int accumulate)
{
    const real *a = a_, *b = b_, *d = d_;
    for (size_t p = 0; p < pixels; p++) {
        const pixel *g = (const pixel *)g_ + (ptrdiff_t)p * ldg;
        const pixel *x = x_ ? (const pixel *)x_ + (ptrdiff_t)p * ldx : NULL;
        pixel *dx = (pixel *)dx_ + (ptrdiff_t)p * lddx;
        for (int i = 0; i < c; i++) {
            real value = a[i] * get(g[i]);
            if (x)
                value += b[i] * get(x[i]);
            if (d)
                value += d[i];
            dx[i] = put(accumulate ? get(dx[i]) + value : value);
        }
    }
}
