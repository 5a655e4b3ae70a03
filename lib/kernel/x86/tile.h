#ifndef DFI_KERNEL_X86_TILE_H
#define DFI_KERNEL_X86_TILE_H

#include "kernel/x86/factor.h"

/* The register tile of products whose operands lie as they are: rows x vectors. */

#define TILE_ROWS 6
#if LANES == 16
#define TILE_VECTORS 4 /* 24 accumulators, 4 of b, 1 broadcast of 32 registers */
#else
#define TILE_VECTORS 2 /* 12, 2 and 1 of 16 */
#endif

/* c[rows][width] (+)= sum over `count` steps (pairs count as one value) of a's column times b's row: a at a[i
 * * a_row + step * a_step]. What does not vary is constant where this is inlined. */
DFI_INLINE void run_tile(const float *a, ptrdiff_t a_row, ptrdiff_t a_step, const float *b, ptrdiff_t b_step,
                         float *c, ptrdiff_t ldc, int count, const int accumulate, const int rows,
                         const int vectors)
{
    vec sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = accumulate ? load(c + i * ldc + v * LANES) : zero();
    for (int step = 0; step < count; step++, a += a_step, b += b_step) {
        vec row[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            row[v] = load(b + v * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            const vec factor = set(a[i * a_row]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[i][v] = add_product(factor, row[v], sum[i][v]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store(c + i * ldc + v * LANES, sum[i][v]);
}

#endif
