/* The products between Winograd's transforms. */

#include "kernel/c/bf16.h"
#include "kernel/c/real.h"

/* One block of weights. */
static void multiply_block(const struct dfi_winograd_multiply_args *args, const real *b_, real *c_)
{
    for (int p = 0; p < args->positions; p++)
        for (int row = 0; row < args->groups * DFI_WINOGRAD_TILES; row++) {
            const int group = row / DFI_WINOGRAD_TILES, tile = row % DFI_WINOGRAD_TILES;
            const real *a = (const real *)args->a + group * args->a_group + p * args->a_position +
                            tile * args->a_tile;
            const real *b = b_ + p * args->b_position;
            real *c = c_ + group * args->c_group + p * args->c_position + tile * args->width;
            if (!args->accumulate)
                memset(c, 0, (size_t)args->width * sizeof(real));
            for (int k = 0; k < args->k; k++)
                for (int j = 0; j < args->width; j++)
                    c[j] += a[k] * b[k * args->width + j];
        }
}

void KERNEL(winograd_multiply)(const struct dfi_winograd_multiply_args *args)
{
    for (int i = 0; i < args->blocks; i++)
        multiply_block(args, (const real *)args->b + i * args->b_block, (real *)args->c + i * args->c_block);
}

void KERNEL(winograd_outer)(const struct dfi_winograd_outer_args *args)
{
    const int width = (int)args->b_width;
    for (int p = 0; p < args->positions; p++) {
        const real *a = (const real *)args->a + p * args->a_position;
        const real *b = (const real *)args->b + p * args->b_position;
        real *c = (real *)args->c + p * args->c_position;
        for (int i = 0; !args->accumulate && i < args->rows; i++)
            memset(c + i * args->ldc, 0, (size_t)args->width * sizeof(real));
        for (int t = 0; t < args->tiles; t++)
            for (int i = 0; i < args->rows; i++) {
                const real value = a[t * args->a_width + dfi_in_panels(i, args->a_width, args->a_panel)];
                const real *row = b + t * args->b_width;
                for (int first = 0; first < args->width; first += width, row += args->b_panel)
                    for (int j = 0; j < width && first + j < args->width; j++)
                        c[i * args->ldc + first + j] += value * row[j];
            }
    }
}

static void multiply_block_bf16(const struct dfi_winograd_multiply_args *args, const uint16_t *b_, real *c_)
{
    for (int p = 0; p < args->positions; p++)
        for (int row = 0; row < args->groups * DFI_WINOGRAD_TILES; row++) {
            const int group = row / DFI_WINOGRAD_TILES, tile = row % DFI_WINOGRAD_TILES;
            const uint16_t *a = (const uint16_t *)args->a + group * args->a_group + p * args->a_position +
                                tile * args->a_tile;
            const uint16_t *b = b_ + p * args->b_position;
            real *c = c_ + group * args->c_group + p * args->c_position + tile * args->width;
            if (!args->accumulate)
                memset(c, 0, (size_t)args->width * sizeof(real));
            for (int k = 0; k < args->k; k += 2)
                for (int j = 0; j < args->width; j++)
                    c[j] += dot_pairs(a + k, b + (ptrdiff_t)k * args->width + 2 * j);
        }
}

void KERNEL(winograd_multiply_bf16)(const struct dfi_winograd_multiply_args *args)
{
    for (int i = 0; i < args->blocks; i++)
        multiply_block_bf16(args, (const uint16_t *)args->b + i * args->b_block,
                            (real *)args->c + i * args->c_block);
}

void KERNEL(winograd_outer_bf16)(const struct dfi_winograd_outer_args *args)
{
    const int width = (int)args->b_width;
    for (int p = 0; p < args->positions; p++) {
        const uint16_t *a = (const uint16_t *)args->a + 2 * p * args->a_position;
        const uint16_t *b = (const uint16_t *)args->b + 2 * p * args->b_position;
        real *c = (real *)args->c + p * args->c_position;
        for (int i = 0; !args->accumulate && i < args->rows; i++)
            memset(c + i * args->ldc, 0, (size_t)args->width * sizeof(real));
        for (int t = 0; t < args->tiles; t += 2)
            for (int i = 0; i < args->rows; i++) {
                const uint16_t *value = a + t * args->a_width +
                                        2 * dfi_in_panels(i, args->a_width, args->a_panel);
                const uint16_t *row = b + t * args->b_width;
                for (int first = 0; first < args->width; first += width, row += 2 * args->b_panel)
                    for (int j = 0; j < width && first + j < args->width; j++)
                        c[i * args->ldc + first + j] += dot_pairs(value, row + 2 * j);
            }
    }
}

void KERNEL(pair_rows)(const void *x_, ptrdiff_t ldx, int rows, size_t n, void *y_, ptrdiff_t ldy)
{
    const float *x = x_;
    uint16_t *y = y_;
    for (int r = 0; r < rows; r += 2, x += 2 * ldx, y += 2 * ldy)
        for (size_t i = 0; i < n; i++) {
            y[2 * i] = dfi_bf16_round(x[i]);
            y[2 * i + 1] = r + 1 < rows ? dfi_bf16_round(x[ldx + (ptrdiff_t)i]) : 0;
        }
}
