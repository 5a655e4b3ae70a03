/* Weights of a file, 16 or 32 bits wide, to a panel of floats for the micro-kernels: 8 x 8 values at a time,
 * transposed in registers. */

#include <diffc/tensor.h>

#include "kernel/x86/vec.h"

#define SIDE 8

DFI_INLINE __m256 load_row(const void *w, const int dtype, ptrdiff_t at)
{
    if (dtype == DIFFC_F32)
        return _mm256_loadu_ps((const float *)w + at);
    const __m128i bits = _mm_loadu_si128((const __m128i *)(const void *)((const uint16_t *)w + at));
    if (dtype == DIFFC_F16)
        return _mm256_cvtph_ps(bits);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

DFI_INLINE void transpose(__m256 r[SIDE])
{
    __m256 t[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < SIDE; i++)
        r[i] = t[i];
}

/* Eight rows and as many k as come in eights; returns how many k are done. */
DFI_INLINE size_t eight_rows(const void *w, const int dtype, ptrdiff_t ld, size_t k, int width, float *panel)
{
    size_t l = 0;
    for (; l + SIDE <= k; l += SIDE) {
        __m256 r[SIDE];
        for (int i = 0; i < SIDE; i++)
            r[i] = load_row(w, dtype, i * ld + (ptrdiff_t)l);
        transpose(r);
        for (int i = 0; i < SIDE; i++)
            _mm256_storeu_ps(panel + (l + (size_t)i) * (size_t)width, r[i]);
    }
    return l;
}

static size_t any_eight(const void *w, int dtype, ptrdiff_t ld, size_t k, int width, float *panel)
{
    switch (dtype) {
    case DIFFC_F32: return eight_rows(w, DIFFC_F32, ld, k, width, panel);
    case DIFFC_F16: return eight_rows(w, DIFFC_F16, ld, k, width, panel);
    default: return eight_rows(w, DIFFC_BF16, ld, k, width, panel);
    }
}

/* What is left over, value by value. */
static float one(const void *w, int dtype, ptrdiff_t at)
{
    if (dtype == DIFFC_F32)
        return ((const float *)w)[at];
    const uint16_t bits = ((const uint16_t *)w)[at];
    if (dtype == DIFFC_F16)
        return _cvtsh_ss(bits);
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof(value));
    return value;
}

void KERNEL(widen_panel)(const void *w, int dtype, ptrdiff_t ld, int rows, size_t k, int width, void *panel_)
{
    const size_t element = dtype == DIFFC_F32 ? 4 : 2;
    float *panel = panel_;
    for (int r = 0; r < width; r += SIDE) {
        const int count = rows - r < SIDE ? rows - r : SIDE, columns = width - r < SIDE ? width - r : SIDE;
        const char *from = (const char *)w + (size_t)(r * ld) * element;
        size_t l = count == SIDE ? any_eight(from, dtype, ld, k, width, panel + r) : 0;
        for (; l < k; l++)
            for (int i = 0; i < columns; i++)
                panel[l * (size_t)width + (size_t)(r + i)] = i < count
                                                                 ? one(from, dtype, i * ld + (ptrdiff_t)l)
                                                                 : 0;
    }
}
