/* Micro-kernels for matrix products: a tile of C stays in registers, one broadcast of A per row and step. */

#include "kernel/gemm_parts.h"
#include "kernel/x86/factor.h"

#if LANES == 16
#define ROWS DFI_TILE_ROWS_AVX512
#define TILE dfi_gemm_tile_avx512
#else
#define ROWS DFI_TILE_ROWS_AVX2
#define TILE dfi_gemm_tile_avx2
#endif

#if !DFI_PAIRS
void TILE(size_t k, const float *a, const float *b, float *c, ptrdiff_t ldc, int accumulate)
{
    vec sum[ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++)
        for (int v = 0; v < 2; v++)
            sum[i][v] = accumulate ? load(c + i * ldc + v * LANES) : zero();
    for (; k > 0; k--, a += ROWS, b += 2 * LANES) {
        const vec b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++) {
            const vec value = set(a[i]);
            sum[i][0] = add_product(value, b0, sum[i][0]);
            sum[i][1] = add_product(value, b1, sum[i][1]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++)
        for (int v = 0; v < 2; v++)
            store(c + i * ldc + v * LANES, sum[i][v]);
}
#endif

/* The same with any number of rows, which lie `stride` apart in a step of A: so that rows can be shared out
 * evenly.
 */
#if DFI_PAIRS
#define TILE_ROWS dfi_gemm_rows_avx512dots
#elif LANES == 16
#define TILE_ROWS dfi_gemm_rows_avx512
#else
#define TILE_ROWS dfi_gemm_rows_avx2
#endif

/* A line of every run, of which `parts` go along them. */
DFI_INLINE void prefetch_column(const struct dfi_prefetch *next, size_t part, size_t parts)
{
    const size_t at = (size_t)next->bytes * part / parts;
    for (int run = 0; run < next->count; run++)
        _mm_prefetch((const char *)next->from + run * next->step + at, _MM_HINT_T1);
}

#define BLOCK 16 /* steps between two looks ahead: a cache line of 32-bit weights */

DFI_INLINE void some_rows(const int rows, size_t k, const float *a, int stride, const float *b,
                          const float *start, float *c, ptrdiff_t ldc, const struct dfi_prefetch *next)
{
    const ptrdiff_t start_row = start == c ? ldc : 0;
    vec sum[ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < 2; v++)
            sum[i][v] = load(start + i * start_row + v * LANES);
    for (size_t block = 0, blocks = (k + BLOCK - 1) / BLOCK; block < blocks; block++) {
        prefetch_column(next, block, blocks);
        for (const float *end = b + 2 * LANES * (k - block * BLOCK < BLOCK ? k - block * BLOCK : BLOCK);
             b < end; a += stride, b += 2 * LANES) {
            const vec b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                const vec value = set(a[i]);
                sum[i][0] = add_product(value, b0, sum[i][0]);
                sum[i][1] = add_product(value, b1, sum[i][1]);
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < 2; v++)
            store(c + i * ldc + v * LANES, sum[i][v]);
}

void TILE_ROWS(int rows, size_t k, const float *a, int stride, const float *b, const float *start, float *c,
               ptrdiff_t ldc, const struct dfi_prefetch *next)
{
#define ROWS_CASE(n) \
    case n: some_rows(n, k, a, stride, b, start, c, ldc, next); break;
    switch (rows) {
        ROWS_CASE(1)
        ROWS_CASE(2)
        ROWS_CASE(3)
        ROWS_CASE(4)
        ROWS_CASE(5)
        ROWS_CASE(6)
#if ROWS == 12
        ROWS_CASE(7)
        ROWS_CASE(8)
        ROWS_CASE(9)
        ROWS_CASE(10)
        ROWS_CASE(11)
        ROWS_CASE(12)
#endif
    default: break;
    }
}
