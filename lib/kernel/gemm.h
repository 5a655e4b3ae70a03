#ifndef DFI_KERNEL_GEMM_H
#define DFI_KERNEL_GEMM_H

#include <stddef.h>
#include <stdint.h>

/* C[m][n] = A[m][k] B[k][n] (+ C if accumulate), row and column strides in elements for each.
 * Single-threaded, never the same sums in another order for other m: a row of C has the same bits alone as
 * among others. dtype F32 runs in BLIS, with its own micro-kernels on CPUs with AVX-512 that it knows, with
 * ours on others; F64 is plain loops. */
struct dfi_gemm {
    size_t m, n, k;
    const void *a;
    ptrdiff_t a_row, a_col;
    const void *b;
    ptrdiff_t b_row, b_col;
    void *c;
    ptrdiff_t c_row, c_col;
    int accumulate;
};
void dfi_gemm(uint32_t cpu_flags, int dtype, const struct dfi_gemm *args);

/* Warms BLIS up (its first calls allocate) and names the kernels in use: "blis-skx", "blis+diffc-avx2". */
const char *dfi_gemm_prepare(uint32_t cpu_flags);

#endif
