/* Passes over pixels: sums for batch norm, scale and shift with an activation, and their gradients. Sums are
 * float over at most CHUNK pixels, then double: the chunks depend on the pixels alone. */

#include "kernel/x86/activation.h"
#include "kernel/x86/pixel.h"

#define CHUNK 16
#define CHAINS (LANES == 16 ? MOST_CHAINS : 2) /* as many as there are registers for */

static size_t chunk_size(size_t pixels, size_t done)
{
    return pixels - done < CHUNK ? pixels - done : CHUNK;
}

void PIXEL_KERNEL(load_pixels)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t pixels, int c)
{
    const pixel *x = x_;
    float *y = y_;
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy)
        for (int i = 0; i < c; i += LANES) {
            const mask m = first_lanes(c - i < LANES ? c - i : LANES);
            store_some(y + i, m, load_pixel_some(x + i, m));
        }
}

void PIXEL_KERNEL(store_pixels)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t pixels, int c)
{
    const float *x = x_;
    pixel *y = y_;
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy)
        for (int i = 0; i < c; i += LANES) {
            const mask m = first_lanes(c - i < LANES ? c - i : LANES);
            store_pixel_some(y + i, m, load_some(x + i, m));
        }
}

DFI_INLINE void moments_column(const pixel *x, ptrdiff_t ldx, size_t pixels, int n, const pixel *center,
                               double *sum, double *sum_squares)
{
    const mask m = first_lanes(n);
    const vec origin = center ? load_pixel_some(center, m) : zero();
    vec total = zero(), squares = zero();
    for (size_t p = 0; p < pixels; p++, x += ldx) {
        const vec value = subtract(load_pixel_some(x, m), origin);
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
DFI_INLINE vec affine(const pixel *x, const float *scale, const float *shift, int i, mask m)
{
    const vec value = load_pixel_some(x + i, m), s = shift ? load_some(shift + i, m) : zero();
    if (scale)
        return madd(value, load_some(scale + i, m), s);
    return shift ? add(value, s) : value;
}

DFI_INLINE void affine_pixels(const pixel *x, ptrdiff_t ldx, pixel *y, ptrdiff_t ldy, size_t pixels, int c,
                              const float *scale, const float *shift, const enum dfi_act act)
{
    for (size_t p = 0; p < pixels; p++, x += ldx, y += ldy)
        for (int i = 0; i < c; i += LANES) {
            const mask m = first_lanes(c - i < LANES ? c - i : LANES);
            store_pixel_some(y + i, m, activate(affine(x, scale, shift, i, m), act));
        }
}

DFI_INLINE void affine_vectors(const pixel *x, pixel *y, const float *scale, const float *shift, const int n,
                               const enum dfi_act act)
{
    vec z[CHAINS];
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
        for (; i + CHAINS * LANES <= c; i += CHAINS * LANES)
            affine_vectors(x + i, y + i, scale + i, shift + i, CHAINS, act);
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

/* One column of `count` pixels. */
struct column {
    const pixel *x, *dy;
    pixel *g;
    mask m;
    vec scale, shift, sum_g, sum_gx;
};

DFI_INLINE void backward_vectors(const struct backward *b, struct column *column, const int count,
                                 const enum dfi_act act)
{
    vec x[CHAINS], z[CHAINS], slope[CHAINS];
#pragma GCC unroll 4
    for (int p = 0; p < count; p++) {
        x[p] = load_pixel_some(column->x + p * b->ldx, column->m);
        z[p] = madd(x[p], column->scale, column->shift);
        slope[p] = load_pixel_some(column->dy + p * b->lddy, column->m);
    }
    times_slope_some(slope, z, count, act);
#pragma GCC unroll 4
    for (int p = 0; p < count; p++) {
        store_pixel_some(column->g + p * b->ldg, column->m, slope[p]);
        column->sum_g = add(column->sum_g, slope[p]);
        column->sum_gx = madd(slope[p], x[p], column->sum_gx);
    }
    column->x += count * b->ldx;
    column->dy += count * b->lddy;
    column->g += count * b->ldg;
}

DFI_INLINE void backward_column(const struct backward *b, size_t first, size_t pixels, int i, int n,
                                const enum dfi_act act)
{
    const mask m = first_lanes(n);
    struct column column = { .x = b->x + (ptrdiff_t)first * b->ldx + i,
                             .dy = b->dy + (ptrdiff_t)first * b->lddy + i,
                             .g = b->g + (ptrdiff_t)first * b->ldg + i,
                             .m = m,
                             .scale = b->scale ? load_some(b->scale + i, m) : set(1.0f),
                             .shift = b->shift ? load_some(b->shift + i, m) : zero(),
                             .sum_g = zero(),
                             .sum_gx = zero() };
    size_t p = 0;
    for (; p + CHAINS <= pixels; p += CHAINS)
        backward_vectors(b, &column, CHAINS, act);
    for (; p < pixels; p++)
        backward_vectors(b, &column, 1, act);
    if (b->sum_g)
        add_doubles(b->sum_g + i, column.sum_g, n);
    if (b->sum_gx)
        add_doubles(b->sum_gx + i, column.sum_gx, n);
}

void PIXEL_KERNEL(affine_act_backward)(const void *x, ptrdiff_t ldx, const void *dy, ptrdiff_t lddy, void *g,
                                       ptrdiff_t ldg, size_t pixels, int c, const void *scale,
                                       const void *shift, enum dfi_act act, double *sum_g, double *sum_gx)
{
    const struct backward b = { x, dy, scale, shift, g, ldx, lddy, ldg, sum_g, sum_gx };
#define COLUMN(a) backward_column(&b, p, chunk_size(pixels, p), i, c - i < LANES ? c - i : LANES, a)
    for (size_t p = 0; p < pixels; p += CHUNK)
        for (int i = 0; i < c; i += LANES)
            FOR_EACH_ACT(act, COLUMN)
}

struct affine2 {
    const float *a, *b, *d;
    int accumulate;
};

DFI_INLINE vec affine2_vector(const struct affine2 *k, vec g, vec x, vec dx, int i, mask m)
{
    vec value = multiply(g, load_some(k->a + i, m));
    if (k->b)
        value = madd(x, load_some(k->b + i, m), value);
    if (k->d)
        value = add(value, load_some(k->d + i, m));
    return k->accumulate ? add(dx, value) : value;
}

void PIXEL_KERNEL(affine2)(const void *g_, ptrdiff_t ldg, const void *x_, ptrdiff_t ldx, void *dx_,
                           ptrdiff_t lddx, size_t pixels, int c, const void *a, const void *b, const void *d,
                           int accumulate)
{
    const struct affine2 k = { a, x_ ? b : NULL, d, accumulate };
    const pixel *g = g_, *x = x_ ? x_ : g_;
    pixel *dx = dx_;
    const ptrdiff_t x_step = x_ ? ldx : ldg;
    for (size_t p = 0; p < pixels; p++, g += ldg, x += x_step, dx += lddx)
        for (int i = 0; i < c; i += LANES) {
            const mask m = first_lanes(c - i < LANES ? c - i : LANES);
            const vec old = accumulate ? load_pixel_some(dx + i, m) : zero();
            store_pixel_some(
                dx + i, m,
                affine2_vector(&k, load_pixel_some(g + i, m), load_pixel_some(x + i, m), old, i, m));
        }
}
