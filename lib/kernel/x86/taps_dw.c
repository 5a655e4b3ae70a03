/* Gradient of the taps' weights: a tile of input channels x vectors of output channels stays in registers
 * while the pixels of a few rows go by, so that the rows of dy stay in L1 for all taps and input channels.
 * Compiled once more for pairs of bfloat16, which count as one value. */

#include "kernel/x86/factor.h"

#define ROWS DFI_TAPS_DW_PANEL /* input channels of a tile */
#if LANES == 16
#define VECTORS 4 /* 24 accumulators, 4 dy, 1 broadcast of 32 registers */
#else
#define VECTORS 2 /* 12, 2 and 1 of 16 */
#endif
#define PIXELS_PER_BLOCK 112

struct block {
    const struct dfi_taps_dw_args *args;
    int first_row, rows;     /* of the image */
    int first_out, channels; /* output channels of the tile */
};

/* `inputs` and `vectors` are constants where this is inlined; `masked` if the last vector is not full. */
DFI_INLINE void run_tile(const struct block *block, const float *x, float *dw, const int inputs,
                         const int vectors, const int masked)
{
    const struct dfi_taps_dw_args *args = block->args;
    const mask last = first_lanes(block->channels - (vectors - 1) * LANES);
    vec sum[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < inputs; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = load(dw + i * args->ldw + v * LANES);
    for (int row = 0; row < block->rows; row++) {
        const float *value = x + row * args->x_row;
        const float *dy = (const float *)args->dy + (block->first_row + row) * args->dy_row +
                          block->first_out;
        for (int column = 0; column < args->width; column++, value += args->x_pixel, dy += args->dy_pixel) {
            vec d[VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                d[v] = masked && v == vectors - 1 ? load_some(dy + v * LANES, last) : load(dy + v * LANES);
#pragma GCC unroll 6
            for (int i = 0; i < inputs; i++) {
                const vec factor = set(value[i]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    sum[i][v] = add_product(factor, d[v], sum[i][v]);
            }
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < inputs; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store(dw + i * args->ldw + v * LANES, sum[i][v]);
}

/* All input channels of one tap. */
DFI_INLINE void run_tap(const struct block *block, const float *x, float *dw, const int vectors,
                        const int masked)
{
    const ptrdiff_t panel = block->args->x_panel, step = ROWS * block->args->ldw;
    int left = block->args->cin;
    for (; left >= ROWS; left -= ROWS, x += panel, dw += step)
        run_tile(block, x, dw, ROWS, vectors, masked);
    switch (left) {
    case 5: run_tile(block, x, dw, 5, vectors, masked); break;
    case 4: run_tile(block, x, dw, 4, vectors, masked); break;
    case 3: run_tile(block, x, dw, 3, vectors, masked); break;
    case 2: run_tile(block, x, dw, 2, vectors, masked); break;
    case 1: run_tile(block, x, dw, 1, vectors, masked); break;
    default: break;
    }
}

#define TAP(vectors, masked) \
    static DFI_NOINLINE void tap_##vectors##_##masked(const struct block *block, const float *x, float *dw) \
    { \
        run_tap(block, x, dw, vectors, masked); \
    }

TAP(1, 0)
TAP(1, 1)
TAP(2, 0)
TAP(2, 1)
typedef void (*tap_function)(const struct block *block, const float *x, float *dw);
#if VECTORS == 4
TAP(3, 0)
TAP(3, 1)
TAP(4, 0)
TAP(4, 1)
static const tap_function taps[VECTORS][2] = {
    { tap_1_0, tap_1_1 }, { tap_2_0, tap_2_1 }, { tap_3_0, tap_3_1 }, { tap_4_0, tap_4_1 }
};
#else
static const tap_function taps[VECTORS][2] = { { tap_1_0, tap_1_1 }, { tap_2_0, tap_2_1 } };
#endif

static void run_wide(const struct dfi_taps_dw_args *args)
{
    const int step = args->width < PIXELS_PER_BLOCK ? PIXELS_PER_BLOCK / args->width : 1;
    for (int first = 0; first < args->rows; first += step) {
        struct block block = { args, first, args->rows - first < step ? args->rows - first : step, 0, 0 };
        const float *x = (const float *)args->x + first * args->x_row;
        for (int out = 0; out < args->cout; out += VECTORS * LANES) {
            const int left = args->cout - out, full = VECTORS * LANES;
            block.first_out = out;
            block.channels = left < full ? left : full;
            const tap_function run = taps[(block.channels - 1) / LANES][block.channels % LANES != 0];
            for (int t = 0; t < args->taps; t++)
                run(&block, x + args->offset[t],
                    (float *)args->dw + (ptrdiff_t)t * args->cin * args->ldw + out);
        }
    }
}

#if !DFI_PAIRS
/* One to four output channels: vectors along the input channels, dy is broadcast. */
static void run_narrow_vector(const struct dfi_taps_dw_args *args, const float *x, const float *dy, float *dw,
                              int n)
{
    float lanes[LANES];
    vec sum = zero();
    for (int row = 0; row < args->rows; row++)
        for (int column = 0; column < args->width; column++)
            sum = madd(set(dy[row * args->dy_row + column * args->dy_pixel]),
                       load_upto(x + row * args->x_row + column * args->x_pixel, n), sum);
    store(lanes, sum);
    for (int i = 0; i < n && i < LANES; i++)
        dw[i * args->ldw] += lanes[i];
}

static void run_narrow(const struct dfi_taps_dw_args *args)
{
    for (int t = 0; t < args->taps; t++)
        for (int o = 0; o < args->cout; o++)
            for (int i = 0; i < args->cin; i += LANES)
                run_narrow_vector(
                    args, (const float *)args->x + args->offset[t] + i, (const float *)args->dy + o,
                    (float *)args->dw + ((ptrdiff_t)t * args->cin + i) * args->ldw + o, args->cin - i);
}
#endif

void PRODUCT_KERNEL(taps_dw)(const struct dfi_taps_dw_args *args)
{
    if (args->width < 1)
        return;
#if !DFI_PAIRS
    if (args->cout <= DFI_NARROW && args->x_panel == ROWS) { /* the channels follow each other */
        run_narrow(args);
        return;
    }
#endif
    run_wide(args);
}
