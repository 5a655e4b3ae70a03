/* Weights of a file, 16 or 32 bits wide, to a panel of floats for the micro-kernels: squares of 32 bits, a
 * cache line of each row where vectors are as long, transposed in registers. Values of 16 bits are moved in
 * pairs. */

#include <diffc/tensor.h>

#include "kernel/x86/vec.h"

/* Four by four in every part of 128 bits; then the parts. */
DFI_INLINE void transpose(vec r[LANES])
{
    vec t[LANES];
#if LANES == 16
#define LOW(a, b) _mm512_unpacklo_ps(a, b)
#define HIGH(a, b) _mm512_unpackhi_ps(a, b)
#define SHUFFLE(a, b, which) _mm512_shuffle_ps(a, b, which)
#else
#define LOW(a, b) _mm256_unpacklo_ps(a, b)
#define HIGH(a, b) _mm256_unpackhi_ps(a, b)
#define SHUFFLE(a, b, which) _mm256_shuffle_ps(a, b, which)
#endif
    for (int i = 0; i < LANES; i += 2) {
        t[i] = LOW(r[i], r[i + 1]);
        t[i + 1] = HIGH(r[i], r[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4) {
        r[i] = SHUFFLE(t[i], t[i + 2], 0x44);
        r[i + 1] = SHUFFLE(t[i], t[i + 2], 0xEE);
        r[i + 2] = SHUFFLE(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = SHUFFLE(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
#if LANES == 16
        const vec even_low = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        const vec odd_low = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xDD);
        const vec even_high = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        const vec odd_high = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xDD);
        t[i] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        t[i + 8] = _mm512_shuffle_f32x4(even_low, even_high, 0xDD);
        t[i + 12] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD);
#else
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
#endif
    }
    for (int i = 0; i < LANES; i++)
        r[i] = t[i];
}

/* The first values of pairs of 16 bits, and the second ones. */

DFI_INLINE vec first_values(const int dtype, vec pairs)
{
#if LANES == 16
    const __m512i bits = _mm512_castps_si512(pairs);
    if (dtype == DIFFC_F16)
        return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(bits));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
#else
    const __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(pairs), 16);
    if (dtype != DIFFC_F16)
        return _mm256_castsi256_ps(bits);
    const __m256i low = _mm256_srli_epi32(bits, 16);
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
#endif
}

DFI_INLINE vec second_values(const int dtype, vec pairs)
{
#if LANES == 16
    const __m512i bits = _mm512_castps_si512(pairs);
    if (dtype == DIFFC_F16)
        return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
    return _mm512_castsi512_ps(_mm512_and_epi32(bits, _mm512_set1_epi32((int)0xFFFF0000u)));
#else
    const __m256i low = _mm256_srli_epi32(_mm256_castps_si256(pairs), 16);
    if (dtype != DIFFC_F16)
        return _mm256_castsi256_ps(_mm256_slli_epi32(low, 16));
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
#endif
}

/* Rows that go side by side into LANES columns of a panel, or fewer. */
struct strip {
    const char *from;
    ptrdiff_t ld; /* bytes */
    int rows, columns;
    float *panel;
    int width;
};

DFI_INLINE void put(const struct strip *s, size_t l, vec a)
{
    store_upto(s->panel + l * (size_t)s->width, s->columns, a);
}

/* `count` times 32 bits of each row, of which `rows` are there, from value l on. */
DFI_INLINE void move_square(const struct strip *s, const int dtype, const int rows, const int count, size_t l)
{
    const size_t size = dtype == DIFFC_F32 ? 4 : 2;
    vec r[LANES];
    for (int i = 0; i < LANES; i++) {
        const float *from = (const float *)(const void *)(s->from + i * s->ld + l * size);
        r[i] = i >= rows ? zero() : load_upto(from, count);
    }
    transpose(r);
    for (int i = 0; i < LANES && i < count; i++) {
        if (dtype == DIFFC_F32) {
            put(s, l + (size_t)i, r[i]);
        } else {
            put(s, l + 2 * (size_t)i, first_values(dtype, r[i]));
            put(s, l + 2 * (size_t)i + 1, second_values(dtype, r[i]));
        }
    }
}

static void move_last(const struct strip *s, int dtype, size_t l)
{
    for (int i = 0; i < s->columns; i++) {
        const char *from = s->from + i * s->ld + l * 2;
        uint32_t bits = 0;
        float value = 0;
        if (i < s->rows)
            memcpy(&bits, from, 2);
        if (dtype == DIFFC_F16) {
            value = _cvtsh_ss((uint16_t)bits);
        } else {
            bits <<= 16;
            memcpy(&value, &bits, sizeof(value));
        }
        s->panel[l * (size_t)s->width + (size_t)i] = value;
    }
}

DFI_INLINE void move_strip(const struct strip *s, const int dtype, size_t k)
{
    const size_t pair = dtype == DIFFC_F32 ? 1 : 2, whole = pair * LANES;
    size_t l = 0;
    if (s->rows == LANES)
        for (; l + whole <= k; l += whole)
            move_square(s, dtype, LANES, LANES, l);
    for (; l + whole <= k; l += whole)
        move_square(s, dtype, s->rows, LANES, l);
    if ((k - l) / pair)
        move_square(s, dtype, s->rows, (int)((k - l) / pair), l);
    if ((k - l) % pair)
        move_last(s, dtype, k - 1);
}

void KERNEL(widen_panel)(const void *w, int dtype, ptrdiff_t ld, int rows, size_t k, int width, void *panel)
{
    const ptrdiff_t bytes = ld * (dtype == DIFFC_F32 ? 4 : 2);
    for (int r = 0; r < width; r += LANES) {
        const int left = rows > r ? rows - r : 0, columns = width - r < LANES ? width - r : LANES;
        const struct strip s = { (const char *)w + r * bytes, bytes, left < LANES ? left : LANES, columns,
                                 (float *)panel + r,          width };
        if (dtype == DIFFC_F32)
            move_strip(&s, DIFFC_F32, k);
        else if (dtype == DIFFC_F16)
            move_strip(&s, DIFFC_F16, k);
        else
            move_strip(&s, DIFFC_BF16, k);
    }
}
