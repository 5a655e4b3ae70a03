#ifndef DFI_KERNEL_X86_VEC_H
#define DFI_KERNEL_X86_VEC_H

#include <immintrin.h>
#include <stddef.h>

#include "base/attributes.h"
#include "kernel/prototypes.h"

/* The files of this folder are compiled twice, with -mavx2 -mfma and with -mavx512f and so on; this is all in which the two
 * differ. `vec` holds VEC floats. Partial loads give zeros, partial stores touch nothing else. */

#if defined(__clang__)
#define DFI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define DFI_UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(__AVX512F__)

#define KERNEL(name) dfi_##name##_avx512
#define VEC 16
typedef __m512 vec;
typedef __mmask16 vec_mask;

DFI_INLINE vec_mask vec_first(ptrdiff_t count)
{
    return (__mmask16)(count >= VEC ? 0xffff : (1u << count) - 1);
}

DFI_INLINE vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

DFI_INLINE vec vec_load_some(const float *p, vec_mask mask)
{
    return _mm512_maskz_loadu_ps(mask, p);
}

DFI_INLINE void vec_store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}

DFI_INLINE void vec_store_some(float *p, vec a, vec_mask mask)
{
    _mm512_mask_storeu_ps(p, mask, a);
}

DFI_INLINE vec vec_zero(void)
{
    return _mm512_setzero_ps();
}

DFI_INLINE vec vec_all(float value)
{
    return _mm512_set1_ps(value);
}

DFI_INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

DFI_INLINE vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

DFI_INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

DFI_INLINE vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

DFI_INLINE vec vec_sqrt(vec a)
{
    return _mm512_sqrt_ps(a);
}

/* The second operand where either is a NaN. */
DFI_INLINE vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

DFI_INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

/* a * b + c, rounded once */
DFI_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* c - a * b */
DFI_INLINE vec vec_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

DFI_INLINE vec vec_abs(vec a)
{
    return _mm512_abs_ps(a);
}

/* The magnitude of a (not negative) with the sign of b. */
DFI_INLINE vec vec_with_sign(vec a, vec b)
{
    return _mm512_or_ps(a, _mm512_and_ps(b, _mm512_set1_ps(-0.0f)));
}

/* 0 where z <= 0, else a. */
DFI_INLINE vec vec_where_above_zero(vec z, vec a)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_NLE_UQ), a);
}

/* a where d is not zero (or a NaN), else 0. */
DFI_INLINE vec vec_where_nonzero(vec d, vec a)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(d, _mm512_setzero_ps(), _CMP_NEQ_UQ), a);
}

/* 2^n for the integer in the low bits of `n` (float magic-number form), as bits to be added to an exponent. */
DFI_INLINE vec vec_scale_exponent(vec a, vec n)
{
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(_mm512_castps_si512(n), 23)));
}

/* table[index & 15] */
DFI_INLINE vec vec_look_up(const float *table, vec index)
{
    return _mm512_permutexvar_ps(_mm512_castps_si512(index), _mm512_loadu_ps(table));
}

/* Adds the floats of a to doubles. */
DFI_INLINE void vec_add_to_doubles(double *sum, vec a)
{
    const __m256 low = _mm512_castps512_ps256(a);
    const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
    _mm512_storeu_pd(sum, _mm512_add_pd(_mm512_loadu_pd(sum), _mm512_cvtps_pd(low)));
    _mm512_storeu_pd(sum + 8, _mm512_add_pd(_mm512_loadu_pd(sum + 8), _mm512_cvtps_pd(high)));
}

#else

#define KERNEL(name) dfi_##name##_avx2
#define VEC 8
typedef __m256 vec;
typedef __m256i vec_mask;

DFI_INLINE vec_mask vec_first(ptrdiff_t count)
{
    static const int ones[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm256_loadu_si256((const __m256i *)(ones + 8 - (count < VEC ? count : VEC)));
}

DFI_INLINE vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

DFI_INLINE vec vec_load_some(const float *p, vec_mask mask)
{
    return _mm256_maskload_ps(p, mask);
}

DFI_INLINE void vec_store(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}

DFI_INLINE void vec_store_some(float *p, vec a, vec_mask mask)
{
    _mm256_maskstore_ps(p, mask, a);
}

DFI_INLINE vec vec_zero(void)
{
    return _mm256_setzero_ps();
}

DFI_INLINE vec vec_all(float value)
{
    return _mm256_set1_ps(value);
}

DFI_INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

DFI_INLINE vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

DFI_INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

DFI_INLINE vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

DFI_INLINE vec vec_sqrt(vec a)
{
    return _mm256_sqrt_ps(a);
}

DFI_INLINE vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

DFI_INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

DFI_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

DFI_INLINE vec vec_fnma(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

DFI_INLINE vec vec_abs(vec a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}

DFI_INLINE vec vec_with_sign(vec a, vec b)
{
    return _mm256_or_ps(a, _mm256_and_ps(b, _mm256_set1_ps(-0.0f)));
}

DFI_INLINE vec vec_where_above_zero(vec z, vec a)
{
    return _mm256_and_ps(_mm256_cmp_ps(z, _mm256_setzero_ps(), _CMP_NLE_UQ), a);
}

DFI_INLINE vec vec_where_nonzero(vec d, vec a)
{
    return _mm256_and_ps(_mm256_cmp_ps(d, _mm256_setzero_ps(), _CMP_NEQ_UQ), a);
}

DFI_INLINE vec vec_scale_exponent(vec a, vec n)
{
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}

/* vpermps takes three bits of the index; the fourth, moved to the sign, chooses between the halves of the table. */
DFI_INLINE vec vec_look_up(const float *table, vec index)
{
    const __m256i bits = _mm256_castps_si256(index);
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), bits);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), bits);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 28)));
}

DFI_INLINE void vec_add_to_doubles(double *sum, vec a)
{
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(a));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
    _mm256_storeu_pd(sum, _mm256_add_pd(_mm256_loadu_pd(sum), low));
    _mm256_storeu_pd(sum + 4, _mm256_add_pd(_mm256_loadu_pd(sum + 4), high));
}

#endif

/* Sum of the floats of a: halves are added until one is left. */
DFI_INLINE float vec_total(vec a)
{
#if VEC == 16
    const __m256 folded = _mm256_add_ps(_mm512_castps512_ps256(a),
                                        _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1)));
#else
    const __m256 folded = a;
#endif
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(folded), _mm256_extractf128_ps(folded, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    half = _mm_add_ss(half, _mm_movehdup_ps(half));
    return _mm_cvtss_f32(half);
}

#endif
