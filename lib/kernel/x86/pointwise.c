/* Passes over pixels: sums for batch norm, scale and shift with an activation, and their gradients. Sums are
 * float over at most CHUNK pixels, then double: the chunks depend on the pixels alone. */

#include "kernel/x86/activation.h"
#include "kernel/x86/pixel.h"

#define CHUNK 16

static size_t chunk_size(size_t pixels, size_t done)
{
    return pixels - done < CHUNK ? pixels - done : CHUNK;
}

void PIXEL_KERNEL(load_pixels)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t pixels, int c)
{
    const pixel *x = x_;
    float *y = y_;
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy)
        for (int i = 0; i < c; i += LANES)
            store_upto(y + i, c - i, load_pixel_upto(x + i, c - i));
}

void PIXEL_KERNEL(store_pixels)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t pixels, int c)
{
    const float *x = x_;
    pixel *y = y_;
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy)
        for (int i = 0; i < c; i += LANES)
            store_pixel_upto(y + i, c - i, load_upto(x + i, c - i));
}

DFI_INLINE void moments_column(const pixel *x, ptrdiff_t ldx, size_t pixels, int n, const pixel *center,
                               double *sum, double *sum_squares)
{
    const vec origin = center ? load_pixel_upto(center, n) : zero();
    vec total = zero(), squares = zero();
    for (size_t p = 0; p < pixels; p++, x += ldx) {
        const vec value = subtract(load_pixel_upto(x, n), origin);
        total = add(total, value);
        squares = madd(value, value, squares);
    }
    add_doubles(sum, total, n);
    if (sum_squares)
        add_doubles(sum_squares, squares, n);
}

void PIXEL_KERNEL(moments)(const void *x, ptrdiff_t ldx, size_t pixels, int c, double *sum,
                           double *sum_squares)
{
    for (size_t p = 0; p < pixels; p += CHUNK)
        for (int i = 0; i < c; i += LANES)
            moments_column((const pixel *)x + (ptrdiff_t)p * ldx + i, ldx, chunk_size(pixels, p),
                           c - i < LANES ? c - i : LANES, NULL, sum + i,
                           sum_squares ? sum_squares + i : NULL);
}

void PIXEL_KERNEL(moments_about)(const void *x, ptrdiff_t ldx, size_t pixels, int c, const void *center,
                                 double *sum, double *sum_squares)
{
    for (size_t p = 0; p < pixels; p += CHUNK)
        for (int i = 0; i < c; i += LANES)
            moments_column((const pixel *)x + (ptrdiff_t)p * ldx + i, ldx, chunk_size(pixels, p),
                           c - i < LANES ? c - i : LANES, (const pixel *)center + i, sum + i,
                           sum_squares + i);
}

/* One vector of x * scale + shift. */
DFI_INLINE vec affine(const pixel *x, const float *scale, const float *shift, int i, int n)
{
    const vec value = load_pixel_upto(x + i, n), s = shift ? load_upto(shift + i, n) : zero();
    if (scale)
        return madd(value, load_upto(scale + i, n), s);
    return shift ? add(value, s) : value;
}

DFI_INLINE void affine_pixels(const pixel *x, ptrdiff_t ldx, pixel *y, ptrdiff_t ldy, size_t pixels, int c,
                              const float *scale, const float *shift, const enum dfi_act act)
{
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy)
        for (int i = 0; i < c; i += LANES)
            store_pixel_upto(y + i, c - i, activate(affine(x, scale, shift, i, c - i), act));
}

DFI_INLINE void affine_vectors(const pixel *x, pixel *y, const float *scale, const float *shift, const int n,
                               const enum dfi_act act)
{
    vec z[MOST_CHAINS];
#pragma GCC unroll 4
    for (int v = 0; v < n; v++)
        z[v] = madd(load_pixel(x + v * LANES), load(scale + v * LANES), load(shift + v * LANES));
    activate_some(z, n, act);
#pragma GCC unroll 4
    for (int v = 0; v < n; v++)
        store_pixel(y + v * LANES, z[v]);
}

/* Whole rows of vectors without masks: what the networks use. */
DFI_INLINE void affine_whole(const pixel *x, ptrdiff_t ldx, pixel *y, ptrdiff_t ldy, size_t pixels, int c,
                             const float *scale, const float *shift, const enum dfi_act act)
{
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy) {
        int i = 0;
        for (; i + MOST_CHAINS * LANES <= c; i += MOST_CHAINS * LANES)
            affine_vectors(x + i, y + i, scale + i, shift + i, MOST_CHAINS, act);
        for (; i < c; i += LANES)
            affine_vectors(x + i, y + i, scale + i, shift + i, 1, act);
    }
}

void PIXEL_KERNEL(affine_act)(const void *x, ptrdiff_t ldx, void *y, ptrdiff_t ldy, size_t pixels, int c,
                              const void *scale, const void *shift, enum dfi_act act)
{
#define WHOLE(a) affine_whole(x, ldx, y, ldy, pixels, c, scale, shift, a)
#define PARTLY(a) affine_pixels(x, ldx, y, ldy, pixels, c, scale, shift, a)
    if (c % LANES == 0 && scale && shift) {
        FOR_EACH_ACT(act, WHOLE)
    } else {
        FOR_EACH_ACT(act, PARTLY)
    }
}

struct backward {
    const pixel *x, *dy;
    const float *scale, *shift;
    pixel *g;
    ptrdiff_t ldx, lddy, ldg;
    double *sum_g, *sum_gx;
};

/* n vectors of every pixel from value i on, each of `width` values (a constant, or n is 1): side by side, so
 * that memory is read in order. */
DFI_INLINE void backward_columns(const struct backward *b, size_t first, size_t pixels, int i, int width,
                                 const int n, const enum dfi_act act)
{
    const pixel *x = b->x + (ptrdiff_t)first * b->ldx + i, *dy = b->dy + (ptrdiff_t)first * b->lddy + i;
    pixel *g = b->g + (ptrdiff_t)first * b->ldg + i;
    vec scale[MOST_CHAINS], shift[MOST_CHAINS], sum_g[MOST_CHAINS], sum_gx[MOST_CHAINS];
#pragma GCC unroll 4
    for (int v = 0; v < n; v++) {
        scale[v] = b->scale ? load_upto(b->scale + i + v * LANES, width) : set(1.0f);
        shift[v] = b->shift ? load_upto(b->shift + i + v * LANES, width) : zero();
        sum_g[v] = sum_gx[v] = zero();
    }
    for (size_t p = 0; p < pixels; p++, x += b->ldx, dy += b->lddy, g += b->ldg) {
        vec value[MOST_CHAINS], z[MOST_CHAINS], slope[MOST_CHAINS];
#pragma GCC unroll 4
        for (int v = 0; v < n; v++) {
            value[v] = load_pixel_upto(x + v * LANES, width);
            slope[v] = load_pixel_upto(dy + v * LANES, width);
            z[v] = madd(value[v], scale[v], shift[v]);
        }
        times_slope_some(slope, z, n, act);
#pragma GCC unroll 4
        for (int v = 0; v < n; v++) {
            store_pixel_upto(g + v * LANES, width, slope[v]);
            sum_g[v] = add(sum_g[v], slope[v]);
            sum_gx[v] = madd(slope[v], value[v], sum_gx[v]);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < n; v++) {
        if (b->sum_g)
            add_doubles(b->sum_g + i + v * LANES, sum_g[v], width);
        if (b->sum_gx)
            add_doubles(b->sum_gx + i + v * LANES, sum_gx[v], width);
    }
}

void PIXEL_KERNEL(affine_act_backward)(const void *x, ptrdiff_t ldx, const void *dy, ptrdiff_t lddy, void *g,
                                       ptrdiff_t ldg, size_t pixels, int c, const void *scale,
                                       const void *shift, enum dfi_act act, double *sum_g, double *sum_gx)
{
    const struct backward b = { x, dy, scale, shift, g, ldx, lddy, ldg, sum_g, sum_gx };
#define COLUMNS(a) backward_columns(&b, p, chunk_size(pixels, p), i, LANES, MOST_CHAINS, a)
#define COLUMN(a) backward_columns(&b, p, chunk_size(pixels, p), i, LANES, 1, a)
#define PART(a) backward_columns(&b, p, chunk_size(pixels, p), i, c - i, 1, a)
    for (size_t p = 0; p < pixels; p += CHUNK) {
        int i = 0;
        for (; i + MOST_CHAINS * LANES <= c; i += MOST_CHAINS * LANES)
            FOR_EACH_ACT(act, COLUMNS)
        for (; i + LANES <= c; i += LANES)
            FOR_EACH_ACT(act, COLUMN)
        if (i < c)
            FOR_EACH_ACT(act, PART)
    }
}

struct affine2 {
    const float *a, *b, *d;
    int accumulate;
};

DFI_INLINE vec affine2_vector(const struct affine2 *k, vec g, vec x, vec dx, int i, int n)
{
    vec value = multiply(g, load_upto(k->a + i, n));
    if (k->b)
        value = madd(x, load_upto(k->b + i, n), value);
    if (k->d)
        value = add(value, load_upto(k->d + i, n));
    return k->accumulate ? add(dx, value) : value;
}

/* Whole vectors with all of a, b and d: what batch norm asks for. */
DFI_INLINE void affine2_whole(const struct affine2 *k, const pixel *g, ptrdiff_t ldg, const pixel *x,
                              ptrdiff_t ldx, pixel *dx, ptrdiff_t lddx, size_t pixels, int c,
                              const int accumulate)
{
    const float *a = k->a, *b = k->b, *d = k->d;
    for (size_t p = 0; p < pixels; p++, g += ldg, x += ldx, dx += lddx)
        for (int i = 0; i < c; i += LANES) {
            const vec value = add(
                madd(load_pixel(x + i), load(b + i), multiply(load_pixel(g + i), load(a + i))), load(d + i));
            store_pixel(dx + i, accumulate ? add(load_pixel(dx + i), value) : value);
        }
}

void PIXEL_KERNEL(affine2)(const void *g_, ptrdiff_t ldg, const void *x_, ptrdiff_t ldx, void *dx_,
                           ptrdiff_t lddx, size_t pixels, int c, const void *a, const void *b, const void *d,
                           int accumulate)
{
    const struct affine2 k = { a, x_ ? b : NULL, d, accumulate };
    const pixel *g = g_, *x = x_ ? x_ : g_;
    pixel *dx = dx_;
    const ptrdiff_t x_step = x_ ? ldx : ldg;
    if (c % LANES == 0 && k.b && k.d) {
        if (accumulate)
            affine2_whole(&k, g, ldg, x, x_step, dx, lddx, pixels, c, 1);
        else
            affine2_whole(&k, g, ldg, x, x_step, dx, lddx, pixels, c, 0);
        return;
    }
    for (size_t p = 0; p < pixels; p++, g += ldg, x += x_step, dx += lddx)
        for (int i = 0; i < c; i += LANES) {
            const int n = c - i;
            const vec old = accumulate ? load_pixel_upto(dx + i, n) : zero();
            store_pixel_upto(
                dx + i, n,
                affine2_vector(&k, load_pixel_upto(g + i, n), load_pixel_upto(x + i, n), old, i, n));
        }
}
