#ifndef DFI_KERNEL_GEMM_PARTS_H
#define DFI_KERNEL_GEMM_PARTS_H

#include "kernel/gemm.h"
#include "kernel/kernels.h"

/* Our own loops, over the convolution kernel: for builds without BLIS, and where BLIS would not heed the CPU
 * mask. */
void dfi_gemm_plain(uint32_t cpu_flags, const struct dfi_gemm *args);

/* gemm_blis.c, the only file that knows BLIS. Each declines (-1, NULL) where BLIS has nothing for these
 * flags. */
int dfi_gemm_blis(uint32_t cpu_flags, const struct dfi_gemm *args);
const char *dfi_gemm_blis_prepare(uint32_t cpu_flags);

/* Micro-kernels: c[rows][columns] = a * b (+ c if accumulate) for panels a[k][MR], b[k][NR]; c row-major, ldc
 * apart, whole tiles. */
#define DFI_TILE_ROWS_AVX2 6
#define DFI_TILE_COLUMNS_AVX2 16
#define DFI_TILE_ROWS_AVX512 12
#define DFI_TILE_COLUMNS_AVX512 32
void dfi_gemm_tile_avx2(size_t k, const float *a, const float *b, float *c, ptrdiff_t ldc, int accumulate);
void dfi_gemm_tile_avx512(size_t k, const float *a, const float *b, float *c, ptrdiff_t ldc, int accumulate);

/* The same for 1 to MR rows, a[k][stride]; what the sums begin with: c itself, or where `start` is not c a
 * row for all of them, [columns]. */
void dfi_gemm_rows_avx2(int rows, size_t k, const float *a, int stride, const float *b, const float *start,
                        float *c, ptrdiff_t ldc, const struct dfi_prefetch *next);
void dfi_gemm_rows_avx512dots(int rows, size_t k, const float *a, int stride, const float *b,
                              const float *start, float *c, ptrdiff_t ldc,
                              const struct dfi_prefetch *next); /* pairs of bfloat16, k of them */
void dfi_gemm_rows_avx512(int rows, size_t k, const float *a, int stride, const float *b, const float *start,
                          float *c, ptrdiff_t ldc, const struct dfi_prefetch *next);

#endif
