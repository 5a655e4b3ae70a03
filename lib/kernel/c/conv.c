#include "kernel/c/bf16.h"
#include "kernel/c/real.h"

static void start_block(real *sum, const struct dfi_taps_args *args, const real *y, int first, int count)
{
    const real *bias = args->bias;
    for (int o = 0; o < CONV_BLOCK; o++)
        sum[o] = 0;
    for (int o = 0; o < count; o++) {
        if (bias)
            sum[o] = bias[first + o];
        if (args->accumulate)
            sum[o] += y[o];
    }
}

/* Values of x and w count as they do in the arguments: pairs are two of bfloat16. */
static void run_pixel(const struct dfi_taps_args *args, ptrdiff_t at, const void *packed, real *sum)
{
    const real *w = packed;
    for (int t = 0; t < args->taps; t++) {
        const real *pixel = (const real *)args->x + at + args->offset[t];
        for (int i = 0; i < args->cin; i++, w += CONV_BLOCK) {
            const real value = pixel[i];
            for (int o = 0; o < CONV_BLOCK; o++)
                sum[o] += value * w[o];
        }
    }
}

static void run_pixel_bf16(const struct dfi_taps_args *args, ptrdiff_t at, const void *packed, real *sum)
{
    const uint16_t *w = packed;
    for (int t = 0; t < args->taps; t++) {
        const uint16_t *pixel = (const uint16_t *)args->x + 2 * (at + args->offset[t]);
        for (int i = 0; i < args->cin; i++, w += 2 * CONV_BLOCK)
            for (int o = 0; o < CONV_BLOCK; o++)
                sum[o] += dot_pairs(pixel + 2 * i, w + 2 * o);
    }
}

static void run_taps(const struct dfi_taps_args *args, size_t weight,
                     void (*run)(const struct dfi_taps_args *args, ptrdiff_t at, const void *w, real *sum))
{
    const char *w = args->w;
    for (int first = 0; first < args->cout; first += CONV_BLOCK) {
        const int count = args->cout - first < CONV_BLOCK ? args->cout - first : CONV_BLOCK;
        for (int row = 0; row < args->rows; row++)
            for (int column = 0; column < args->width; column++) {
                real *y = (real *)args->y + row * args->y_row + column * args->y_pixel + first;
                real sum[CONV_BLOCK];
                start_block(sum, args, y, first, count);
                run(args, row * args->x_row + column * args->x_pixel, w, sum);
                memcpy(y, sum, (size_t)count * sizeof(real));
            }
        w += (size_t)args->taps * (size_t)args->cin * CONV_BLOCK * weight;
    }
}

void KERNEL(taps)(const struct dfi_taps_args *args)
{
    run_taps(args, sizeof(real), run_pixel);
}

void KERNEL(taps_bf16)(const struct dfi_taps_args *args)
{
    run_taps(args, 2 * sizeof(uint16_t), run_pixel_bf16);
}

/* Channels of a panel, of which `left` are left. */
static int panel_channels(int left)
{
    return left < DFI_TAPS_DW_PANEL ? left : DFI_TAPS_DW_PANEL;
}

void KERNEL(taps_dw)(const struct dfi_taps_dw_args *args)
{
    for (int row = 0; row < args->rows; row++)
        for (int column = 0; column < args->width; column++) {
            const real *x = (const real *)args->x + row * args->x_row + column * args->x_pixel;
            const real *dy = (const real *)args->dy + row * args->dy_row + column * args->dy_pixel;
            real *dw = args->dw;
            for (int t = 0; t < args->taps; t++) {
                const real *panel = x + args->offset[t];
                for (int left = args->cin; left > 0; left -= DFI_TAPS_DW_PANEL, panel += args->x_panel)
                    for (int i = 0; i < panel_channels(left); i++, dw += args->ldw) {
                        const real value = panel[i];
                        for (int o = 0; o < args->cout; o++)
                            dw[o] += value * dy[o];
                    }
            }
        }
}

void KERNEL(taps_dw_bf16)(const struct dfi_taps_dw_args *args)
{
    for (int row = 0; row < args->rows; row++)
        for (int column = 0; column < args->width; column++) {
            const uint16_t *x = (const uint16_t *)args->x + 2 * (row * args->x_row + column * args->x_pixel);
            const uint16_t *dy = (const uint16_t *)args->dy +
                                 2 * (row * args->dy_row + column * args->dy_pixel);
            real *dw = args->dw;
            for (int t = 0; t < args->taps; t++) {
                const uint16_t *panel = x + 2 * args->offset[t];
                for (int left = args->cin; left > 0; left -= DFI_TAPS_DW_PANEL, panel += 2 * args->x_panel)
                    for (int i = 0; i < panel_channels(left); i++, dw += args->ldw)
                        for (int o = 0; o < args->cout; o++)
                            dw[o] += dot_pairs(panel + 2 * i, dy + 2 * o);
            }
        }
}

void KERNEL(pack_weights)(const void *w_, ptrdiff_t w_out, ptrdiff_t w_in, const int *position, int taps,
                          int cin, int cout, int block, void *packed_)
{
    const real *w = w_;
    real *packed = packed_;
    for (int first = 0; first < cout; first += block)
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < cin; i++)
                for (int o = first; o < first + block; o++)
                    *packed++ = o < cout ? w[o * w_out + i * w_in + position[t]] : 0;
}

void KERNEL(unpack_gradient)(const void *dw_, ptrdiff_t ldw, int taps, int cin, int cout, void *gradient_,
                             int accumulate)
{
    const real *dw = dw_;
    real *gradient = gradient_;
    for (int o = 0; o < cout; o++)
        for (int i = 0; i < cin; i++)
            for (int t = 0; t < taps; t++, gradient++) {
                const real value = dw[((ptrdiff_t)t * cin + i) * ldw + o];
                *gradient = accumulate ? *gradient + value : value;
            }
}
