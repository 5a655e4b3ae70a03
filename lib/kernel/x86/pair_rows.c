/* Values of bfloat16 side by side, for products that take in two in a step. */

#include "kernel/x86/bf16.h"

/* LANES values of two rows, side by side. */
DFI_INLINE __m512i pair(vec even, vec odd)
{
    const __m512i low = _mm512_cvtepu16_epi32(narrow(even)), high = _mm512_cvtepu16_epi32(narrow(odd));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

void KERNEL(pair_rows)(const void *x_, ptrdiff_t ldx, int rows, size_t n, void *y_, ptrdiff_t ldy)
{
    const float *x = x_;
    uint16_t *y = y_;
    for (int r = 0; r < rows; r += 2, x += 2 * ldx, y += 2 * ldy)
        for (size_t i = 0; i < n; i += LANES) {
            const mask m = first_lanes(n - i < LANES ? (int)(n - i) : LANES);
            const vec odd = r + 1 < rows ? load_some(x + ldx + i, m) : zero();
            _mm512_mask_storeu_epi32(y + 2 * i, m, pair(load_some(x + i, m), odd));
        }
}
