/* Weights of a file, 16 or 32 bits wide, to a panel of floats for the micro-kernels: small squares of values,
 * transposed in registers. What is 16 bits wide is transposed before it is widened: half the work. */

#include <diffc/tensor.h>

#include "kernel/x86/vec.h"

#define SIDE 8

/* Floats: eight rows, of which `count` are there, by eight k. */

DFI_INLINE void transpose_floats(__m256 r[SIDE])
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

DFI_INLINE void store_columns(float *to, int columns, __m256 a)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    if (columns >= SIDE)
        _mm256_storeu_ps(to, a);
    else
        _mm256_maskstore_ps(to, _mm256_cmpgt_epi32(_mm256_set1_epi32(columns), lanes), a);
}

/* As many k as come in eights; returns how many. */
static size_t eight_floats(const float *w, ptrdiff_t ld, int count, size_t k, int width, int columns,
                           float *panel)
{
    size_t l = 0;
    for (; l + SIDE <= k; l += SIDE) {
        __m256 r[SIDE];
        for (int i = 0; i < SIDE; i++)
            r[i] = i < count ? _mm256_loadu_ps(w + i * ld + (ptrdiff_t)l) : _mm256_setzero_ps();
        transpose_floats(r);
        for (int i = 0; i < SIDE; i++)
            store_columns(panel + (l + (size_t)i) * (size_t)width, columns, r[i]);
    }
    return l;
}

/* 16 bits: sixteen rows by eight k, rows 0 to 7 in the low halves and 8 to 15 in the high ones. */

#define ROWS16 16

DFI_INLINE void transpose_words(__m256i r[SIDE])
{
    __m256i t[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        t[i] = _mm256_unpacklo_epi16(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi16(r[i], r[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4) {
        r[i] = _mm256_unpacklo_epi32(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi32(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi32(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi32(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_epi64(r[i], r[i + 4]);
        t[2 * i + 1] = _mm256_unpackhi_epi64(r[i], r[i + 4]);
    }
    for (int i = 0; i < SIDE; i++)
        r[i] = t[i];
}

DFI_INLINE void store_widened(float *to, const int dtype, __m256i a)
{
#if LANES == 16
    store(to, dtype == DIFFC_F16 ? _mm512_cvtph_ps(a)
                                 : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16)));
#else
    const __m128i part[2] = { _mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1) };
    for (int i = 0; i < 2; i++)
        store(to + i * SIDE, dtype == DIFFC_F16 ? _mm256_cvtph_ps(part[i])
                                                : _mm256_castsi256_ps(
                                                      _mm256_slli_epi32(_mm256_cvtepu16_epi32(part[i]), 16)));
#endif
}

DFI_INLINE size_t sixteen_words(const uint16_t *w, const int dtype, ptrdiff_t ld, size_t k, int width,
                                float *panel)
{
    size_t l = 0;
    for (; l + SIDE <= k; l += SIDE) {
        __m256i r[SIDE];
        for (int i = 0; i < SIDE; i++) {
            const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(w + i * ld + (ptrdiff_t)l));
            const __m128i high = _mm_loadu_si128(
                (const __m128i *)(const void *)(w + (i + SIDE) * ld + (ptrdiff_t)l));
            r[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        }
        transpose_words(r);
        for (int i = 0; i < SIDE; i++)
            store_widened(panel + (l + (size_t)i) * (size_t)width, dtype, r[i]);
    }
    return l;
}

static size_t sixteen_rows(const void *w, int dtype, ptrdiff_t ld, size_t k, int width, float *panel)
{
    return dtype == DIFFC_F16 ? sixteen_words(w, DIFFC_F16, ld, k, width, panel)
                              : sixteen_words(w, DIFFC_BF16, ld, k, width, panel);
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
    const int step = dtype == DIFFC_F32 ? SIDE : ROWS16;
    float *panel = panel_;
    for (int r = 0; r < width; r += step) {
        const int count = rows - r < step ? rows - r : step, columns = width - r < step ? width - r : step;
        size_t l = 0;
        if (dtype == DIFFC_F32)
            l = eight_floats((const float *)w + r * ld, ld, count, k, width, columns, panel + r);
        else if (count == ROWS16)
            l = sixteen_rows((const uint16_t *)w + r * ld, dtype, ld, k, width, panel + r);
        for (; l < k; l++)
            for (int i = 0; i < columns; i++)
                panel[l * (size_t)width + (size_t)(r + i)] = i < count
                                                                 ? one(w, dtype, (r + i) * ld + (ptrdiff_t)l)
                                                                 : 0;
    }
}
