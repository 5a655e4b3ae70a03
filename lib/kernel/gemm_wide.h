#ifndef DFI_KERNEL_GEMM_WIDE_H
#define DFI_KERNEL_GEMM_WIDE_H

#include <stddef.h>
#include <stdint.h>

/* C[m][n] = A[m][k] W[n][k]' + bias[n] in float with weights as a file stores them: F32, F16 or BF16
 * (diffc_dtype). A is packed once; then every band of columns widens its weights tile by tile while it
 * packs them, so no widened copy exists. A row of C has the same bits alone as among others, and a column
 * too. With `dots` both factors are rounded to bfloat16, and multiplied in pairs. */
struct dfi_wide {
    int dots; /* only where dfi_wide_has_dots() */
    size_t m, n, k;
    const void *a_packed; /* of dfi_wide_pack() */
    const void *w;
    int w_dtype;
    ptrdiff_t w_ld; /* elements between rows of W */
    float *c;
    ptrdiff_t c_ld;
    const float *bias; /* NULL: none */
};

int dfi_wide_has_dots(uint32_t cpu_flags, size_t k);

/* Rows of a panel when m rows are shared out evenly; floats that A takes when packed; and packs rows
 * panel * dfi_wide_panel() and following of it. */
int dfi_wide_panel(uint32_t cpu_flags, size_t m);
size_t dfi_wide_packed(uint32_t cpu_flags, size_t m, size_t k);
void dfi_wide_pack(uint32_t cpu_flags, int dots, const float *a, ptrdiff_t a_ld, size_t m, size_t k,
                   size_t panel, float *packed);

/* Bands of columns, of which each reads the whole of A: few, but enough to share out; and one of them.
 * scratch: DFI_WIDE_SCRATCH floats. */
#define DFI_WIDE_SCRATCH 36864
size_t dfi_wide_bands(size_t n);
void dfi_wide_band(uint32_t cpu_flags, const struct dfi_wide *args, size_t band, float *scratch);

#endif
