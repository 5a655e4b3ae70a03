/* The micro-kernel of wide products on pairs of bfloat16: a tile of C stays in registers, one broadcast pair
 * of A per row and step. */

#include "kernel/gemm_parts.h"
#include "kernel/x86/bf16.h"

#define ROWS DFI_TILE_ROWS_AVX512

DFI_INLINE void some_rows(const int rows, size_t k, const float *a, int stride, const float *b,
                          const float *start, float *c, ptrdiff_t ldc)
{
    const ptrdiff_t start_row = start == c ? ldc : 0;
    vec sum[ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < 2; v++)
            sum[i][v] = load(start + i * start_row + v * LANES);
    for (; k > 0; k--, a += stride, b += 2 * LANES) {
        const __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            const __m512i pair = broadcast_pair(a + i);
            sum[i][0] = dot(sum[i][0], pair, b0);
            sum[i][1] = dot(sum[i][1], pair, b1);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < 2; v++)
            store(c + i * ldc + v * LANES, sum[i][v]);
}

void dfi_gemm_rows_avx512dots(int rows, size_t k, const float *a, int stride, const float *b,
                              const float *start, float *c, ptrdiff_t ldc)
{
#define ROWS_CASE(n) \
    case n: some_rows(n, k, a, stride, b, start, c, ldc); break;
    switch (rows) {
        ROWS_CASE(1)
        ROWS_CASE(2)
        ROWS_CASE(3)
        ROWS_CASE(4)
        ROWS_CASE(5)
        ROWS_CASE(6)
        ROWS_CASE(7)
        ROWS_CASE(8)
        ROWS_CASE(9)
        ROWS_CASE(10)
        ROWS_CASE(11)
        ROWS_CASE(12)
    default: break;
    }
}
