/* Convolution by taps: a tile of output pixels and two vectors of output channels stays in registers while
 * the taps and input channels go by; each step loads two vectors of weights and one broadcast value per
 * pixel. Compiled once more for pairs of bfloat16, which count as one value. */

#include "kernel/x86/factor.h"

#define BLOCK (2 * LANES)
#if LANES == 16
#define PIXELS 14 /* 28 accumulators, 2 weights, 1 broadcast of 32 registers */
#else
#define PIXELS 6 /* 12, 2 and 1 of 16 */
#endif

struct tile {
    const float *x, *w, *bias;
    float *y;
    int channels; /* in this block */
};

DFI_INLINE vec start(const struct dfi_taps_args *args, const struct tile *tile, int p, int v)
{
    vec sum = tile->bias ? load_upto(tile->bias + v * LANES, tile->channels - v * LANES) : zero();
    if (args->accumulate)
        sum = add(sum, load_upto(tile->y + p * args->y_pixel + v * LANES, tile->channels - v * LANES));
    return sum;
}

/* `pixels` and `vectors` are constants where this is inlined. */
DFI_INLINE void run_tile(const struct dfi_taps_args *args, const struct tile *tile, const int pixels,
                         const int vectors)
{
    const ptrdiff_t step = args->x_pixel;
    const float *w = tile->w;
    vec sum[PIXELS][2];
#pragma GCC unroll 14
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++)
            sum[p][v] = start(args, tile, p, v);
    for (int t = 0; t < args->taps; t++) {
        /* Two bases: seven pixels each can be reached with few index registers. */
        const float *near = tile->x + args->offset[t], *far = near + 7 * step;
        for (int i = 0; i < args->cin; i++, w += BLOCK) {
            vec weight[2];
            for (int v = 0; v < vectors; v++)
                weight[v] = load(w + v * LANES);
#pragma GCC unroll 14
            for (int p = 0; p < pixels; p++) {
                const vec value = set(p < 7 ? near[p * step + i] : far[(p - 7) * step + i]);
                for (int v = 0; v < vectors; v++)
                    sum[p][v] = add_product(value, weight[v], sum[p][v]);
            }
        }
    }
#pragma GCC unroll 14
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++)
            store_upto(tile->y + p * args->y_pixel + v * LANES, tile->channels - v * LANES, sum[p][v]);
}

#define TILE(n) \
    static DFI_NOINLINE void tile_##n(const struct dfi_taps_args *args, const struct tile *tile) \
    { \
        if (tile->channels > LANES) \
            run_tile(args, tile, n, 2); \
        else \
            run_tile(args, tile, n, 1); \
    }

typedef void (*tile_function)(const struct dfi_taps_args *args, const struct tile *tile);

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
#if PIXELS == 14
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
TILE(13)
TILE(14)
static const tile_function tiles[PIXELS] = { tile_1, tile_2, tile_3,  tile_4,  tile_5,  tile_6,  tile_7,
                                             tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14 };
#else
static const tile_function tiles[PIXELS] = { tile_1, tile_2, tile_3, tile_4, tile_5, tile_6 };
#endif

/* A row cut into runs of nearly equal length. */
static void run_row(const struct dfi_taps_args *args, struct tile *tile, const float *x, float *y)
{
    const int runs = (args->width + PIXELS - 1) / PIXELS;
    for (int run = 0; run < runs; run++) {
        const int first = (int)((int64_t)args->width * run / runs);
        const int end = (int)((int64_t)args->width * (run + 1) / runs);
        tile->x = x + first * args->x_pixel;
        tile->y = y + first * args->y_pixel;
        tiles[end - first - 1](args, tile);
    }
}

static void run_wide(const struct dfi_taps_args *args)
{
    for (int first = 0; first < args->cout; first += BLOCK) {
        const int left = args->cout - first, channels = left < BLOCK ? left : BLOCK;
        struct tile tile = { .channels = channels };
        tile.w = (const float *)args->w + (ptrdiff_t)first * args->taps * args->cin;
        tile.bias = args->bias ? (const float *)args->bias + first : NULL;
        for (int row = 0; row < args->rows; row++)
            run_row(args, &tile, (const float *)args->x + row * args->x_row,
                    (float *)args->y + row * args->y_row + first);
    }
}

#if !DFI_PAIRS
/* One to four output channels: vectors along the input channels instead, weights [cout][taps][cin]. */
static float dot_taps(const struct dfi_taps_args *args, const float *x, const float *w)
{
    vec sum[2] = { zero(), zero() };
    for (int t = 0; t < args->taps; t++, w += args->cin) {
        const float *pixel = x + args->offset[t];
        int i = 0;
        for (; i + 2 * LANES <= args->cin; i += 2 * LANES) {
            sum[0] = madd(load(pixel + i), load(w + i), sum[0]);
            sum[1] = madd(load(pixel + i + LANES), load(w + i + LANES), sum[1]);
        }
        for (; i < args->cin; i += LANES)
            sum[0] = madd(load_upto(pixel + i, args->cin - i), load_upto(w + i, args->cin - i), sum[0]);
    }
    return (float)sum_lanes(add(sum[0], sum[1]));
}

static void run_narrow(const struct dfi_taps_args *args)
{
    for (int row = 0; row < args->rows; row++)
        for (int column = 0; column < args->width; column++) {
            const float *x = (const float *)args->x + row * args->x_row + column * args->x_pixel;
            float *y = (float *)args->y + row * args->y_row + column * args->y_pixel;
            for (int o = 0; o < args->cout; o++) {
                const float *w = (const float *)args->w + (ptrdiff_t)o * args->taps * args->cin;
                const float sum = dot_taps(args, x, w) + (args->bias ? ((const float *)args->bias)[o] : 0);
                y[o] = args->accumulate ? y[o] + sum : sum;
            }
        }
}
#endif

void PRODUCT_KERNEL(taps)(const struct dfi_taps_args *args)
{
#if !DFI_PAIRS
    if (args->cout <= DFI_NARROW) {
        run_narrow(args);
        return;
    }
#endif
    run_wide(args);
}
