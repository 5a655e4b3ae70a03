#include "kernel/c/real.h"

void KERNEL(winograd_multiply)(const struct dfi_winograd_multiply_args *args)
{
    for (int p = 0; p < args->positions; p++)
        for (int row = 0; row < args->groups * DFI_WINOGRAD_TILES; row++) {
            const int group = row / DFI_WINOGRAD_TILES, tile = row % DFI_WINOGRAD_TILES;
            const real *a = (const real *)args->a + group * args->a_group + p * args->a_position +
                            tile * args->a_tile;
            const real *b = (const real *)args->b + p * args->b_position;
            real *c = (real *)args->c + group * args->c_group + p * args->c_position + tile * args->width;
            if (!args->accumulate)
                memset(c, 0, (size_t)args->width * sizeof(real));
            for (int k = 0; k < args->k; k++)
                for (int j = 0; j < args->width; j++)
                    c[j] += a[k] * b[k * args->width + j];
        }
}

void KERNEL(winograd_outer)(const struct dfi_winograd_outer_args *args)
{
    for (int p = 0; p < args->positions; p++) {
        const real *a = (const real *)args->a + p * args->a_position;
        const real *b = (const real *)args->b + p * args->b_position;
        real *c = (real *)args->c + p * args->c_position;
        for (int i = 0; !args->accumulate && i < args->rows; i++)
            memset(c + i * args->ldc, 0, (size_t)args->width * sizeof(real));
        for (int t = 0; t < args->tiles; t++)
            for (int i = 0; i < args->rows; i++)
                for (int j = 0; j < args->width; j++)
                    c[i * args->ldc + j] += a[t * args->lda + i] * b[t * args->ldb + j];
    }
}
