#ifndef DFI_KERNEL_X86_BF16_H
#define DFI_KERNEL_X86_BF16_H

#include "kernel/x86/vec.h"

/* A vector from and to bfloat16. The instruction of BF16 takes denormals for zero, as the library's mode for
 * floats does. */

#ifdef __AVX512F__

DFI_INLINE vec widen(__m256i stored)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(stored), 16));
}
#ifdef __AVX512BF16__
DFI_INLINE __m256i narrow(vec a)
{
    return (__m256i)_mm512_cvtneps_pbh(a);
}
#else
/* To nearest, ties to even; what is not a number stays so. */
DFI_INLINE __m256i narrow(vec a)
{
    const __m512i bits = _mm512_castps_si512(a),
                  odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i kept = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), rounded, quiet);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
}
#endif

DFI_INLINE vec load_bf16(const uint16_t *p)
{
    return widen(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
DFI_INLINE vec load_bf16_upto(const uint16_t *p, int n)
{
    return n >= LANES ? load_bf16(p) : widen(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
DFI_INLINE void store_bf16(uint16_t *p, vec a)
{
    _mm256_storeu_si256((__m256i *)(void *)p, narrow(a));
}
DFI_INLINE void store_bf16_upto(uint16_t *p, int n, vec a)
{
    if (n >= LANES)
        store_bf16(p, a);
    else
        _mm256_mask_storeu_epi16(p, first_lanes(n), narrow(a));
}

#else

DFI_INLINE vec widen(__m128i stored)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(stored), 16));
}
DFI_INLINE __m128i narrow(vec a)
{
    const __m256i bits = _mm256_castps_si256(a),
                  odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i unordered = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, unordered), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}
DFI_INLINE vec load_bf16(const uint16_t *p)
{
    return widen(_mm_loadu_si128((const __m128i *)(const void *)p));
}
DFI_INLINE vec load_bf16_upto(const uint16_t *p, int n)
{
    uint16_t some[LANES] = { 0 };
    if (n >= LANES)
        return load_bf16(p);
    memcpy(some, p, (size_t)n * sizeof(*p));
    return load_bf16(some);
}
DFI_INLINE void store_bf16(uint16_t *p, vec a)
{
    _mm_storeu_si128((__m128i *)(void *)p, narrow(a));
}
DFI_INLINE void store_bf16_upto(uint16_t *p, int n, vec a)
{
    uint16_t some[LANES];
    if (n >= LANES) {
        store_bf16(p, a);
        return;
    }
    store_bf16(some, a);
    memcpy(p, some, (size_t)n * sizeof(*p));
}

#endif

#endif
