#ifndef DFI_KERNEL_X86_VEC_H
#define DFI_KERNEL_X86_VEC_H

/* The files of this folder are compiled for AVX2 with FMA and for AVX-512, some of them also for AVX-512 with
 * BF16; these few operations are all that differs. */

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "base/attributes.h"
#include "kernel/prototypes.h"

#ifdef __AVX512F__

#ifdef __AVX512BF16__
#define KERNEL(name) dfi_##name##_avx512dots
#else
#define KERNEL(name) dfi_##name##_avx512
#endif
#define LANES 16
typedef __m512 vec;
typedef __mmask16 mask;

/* The first n lanes, n at most LANES. */
DFI_INLINE mask first_lanes(int n)
{
    return (mask)((1u << n) - 1);
}
DFI_INLINE vec load(const float *p)
{
    return _mm512_loadu_ps(p);
}
DFI_INLINE vec load_some(const float *p, mask m)
{
    return _mm512_maskz_loadu_ps(m, p);
}
DFI_INLINE void store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}
DFI_INLINE void store_some(float *p, mask m, vec a)
{
    _mm512_mask_storeu_ps(p, m, a);
}
DFI_INLINE vec set(float a)
{
    return _mm512_set1_ps(a);
}
DFI_INLINE vec zero(void)
{
    return _mm512_setzero_ps();
}
DFI_INLINE vec madd(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
DFI_INLINE vec nmadd(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
DFI_INLINE vec root(vec a)
{
    return _mm512_sqrt_ps(a);
}
DFI_INLINE vec minimum(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}
DFI_INLINE vec maximum(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}
DFI_INLINE vec magnitude(vec a)
{
    return _mm512_abs_ps(a);
}
DFI_INLINE vec copy_sign(vec a, vec sign)
{
    return _mm512_or_ps(a, _mm512_and_ps(sign, set(-0.0f)));
}
/* row[i % LANES] for the integers in the low bits of `index`. */
DFI_INLINE vec look_up(const float row[LANES], vec index)
{
    return _mm512_permutexvar_ps(_mm512_castps_si512(index), load(row));
}
/* a times 2 to the integer in the low bits of n. */
DFI_INLINE vec scale_by_power(vec a, vec n)
{
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(_mm512_castps_si512(n), 23)));
}
/* Where a is not a number, a; else b. */
DFI_INLINE vec keep_nan(vec a, vec b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), b, a);
}
/* a, or zero where the condition is zero or less: what is not a number lets a through. */
DFI_INLINE vec unless_negative(vec condition, vec a)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(condition, zero(), _CMP_NLE_UQ), a);
}
/* a where the condition is over zero, else b. */
DFI_INLINE vec select_positive(vec condition, vec a, vec b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(condition, zero(), _CMP_GT_OQ), b, a);
}
/* The first n lanes of a, then those of b. */
DFI_INLINE vec first_or(vec a, int n, vec b)
{
    return n >= LANES ? a : _mm512_mask_blend_ps(first_lanes(n), b, a);
}
DFI_INLINE void add_doubles(double *sum, vec a, int n)
{
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
    const __mmask8 m0 = (__mmask8)first_lanes(n < 8 ? n : 8), m1 = (__mmask8)first_lanes(n > 8 ? n - 8 : 0);
    _mm512_mask_storeu_pd(sum, m0, _mm512_add_pd(_mm512_maskz_loadu_pd(m0, sum), low));
    _mm512_mask_storeu_pd(sum + 8, m1, _mm512_add_pd(_mm512_maskz_loadu_pd(m1, sum + 8), high));
}

#else

#define KERNEL(name) dfi_##name##_avx2
#define LANES 8
typedef __m256 vec;
typedef __m256i mask;

DFI_INLINE mask first_lanes(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
DFI_INLINE vec load(const float *p)
{
    return _mm256_loadu_ps(p);
}
DFI_INLINE vec load_some(const float *p, mask m)
{
    return _mm256_maskload_ps(p, m);
}
DFI_INLINE void store(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}
DFI_INLINE void store_some(float *p, mask m, vec a)
{
    _mm256_maskstore_ps(p, m, a);
}
DFI_INLINE vec set(float a)
{
    return _mm256_set1_ps(a);
}
DFI_INLINE vec zero(void)
{
    return _mm256_setzero_ps();
}
DFI_INLINE vec madd(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
DFI_INLINE vec nmadd(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
DFI_INLINE vec root(vec a)
{
    return _mm256_sqrt_ps(a);
}
DFI_INLINE vec minimum(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}
DFI_INLINE vec maximum(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}
DFI_INLINE vec magnitude(vec a)
{
    return _mm256_andnot_ps(set(-0.0f), a);
}
DFI_INLINE vec copy_sign(vec a, vec sign)
{
    return _mm256_or_ps(a, _mm256_and_ps(sign, set(-0.0f)));
}
DFI_INLINE vec look_up(const float row[LANES], vec index)
{
    return _mm256_permutevar8x32_ps(load(row), _mm256_castps_si256(index));
}
DFI_INLINE vec scale_by_power(vec a, vec n)
{
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}
DFI_INLINE vec keep_nan(vec a, vec b)
{
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
DFI_INLINE vec unless_negative(vec condition, vec a)
{
    return _mm256_and_ps(a, _mm256_cmp_ps(condition, zero(), _CMP_NLE_UQ));
}
DFI_INLINE vec select_positive(vec condition, vec a, vec b)
{
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(condition, zero(), _CMP_GT_OQ));
}
DFI_INLINE vec first_or(vec a, int n, vec b)
{
    return n >= LANES ? a : _mm256_blendv_ps(b, a, _mm256_castsi256_ps(first_lanes(n)));
}
DFI_INLINE void add_four_doubles(double *sum, __m128 a, int n)
{
    const __m256i m = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
    _mm256_maskstore_pd(sum, m, _mm256_add_pd(_mm256_maskload_pd(sum, m), _mm256_cvtps_pd(a)));
}
DFI_INLINE void add_doubles(double *sum, vec a, int n)
{
    add_four_doubles(sum, _mm256_castps256_ps128(a), n);
    add_four_doubles(sum + 4, _mm256_extractf128_ps(a, 1), n - 4);
}

#endif

DFI_INLINE vec add(vec a, vec b)
{
    return a + b;
}
DFI_INLINE vec subtract(vec a, vec b)
{
    return a - b;
}
DFI_INLINE vec multiply(vec a, vec b)
{
    return a * b;
}

/* What will be wanted, on its way into the second-level cache. */
struct fetch {
    const char *at;
    ptrdiff_t step;
    int count, bytes, due;
};

DFI_INLINE struct fetch fetch_begin(const struct dfi_prefetch *next)
{
    return (struct fetch) { next->from, next->step, next->count, next->bytes, 0 };
}

/* The share of one of `parts` calls: a few lines at a time keep the fill buffers free for the work beside it.
 */
DFI_INLINE void fetch_part(struct fetch *next, int parts)
{
    for (next->due += next->count; next->due >= parts; next->due -= parts, next->at += next->step)
        for (int byte = 0; byte < next->bytes; byte += 64)
            _mm_prefetch(next->at + byte, _MM_HINT_T1);
}

/* The lanes added in order: one fixed sum. */
DFI_INLINE double sum_lanes(vec a)
{
    float lanes[LANES];
    double sum = 0;
    store(lanes, a);
    for (int i = 0; i < LANES; i++)
        sum += (double)lanes[i];
    return sum;
}

/* One step of a loop over n values: all lanes, or the last few under a mask, whose stores take ten times as
 * long on some CPUs with AVX2. */
DFI_INLINE vec load_upto(const float *p, int n)
{
    return n >= LANES ? load(p) : load_some(p, first_lanes(n));
}
DFI_INLINE void store_upto(float *p, int n, vec a)
{
    if (n >= LANES)
        store(p, a);
    else
        store_some(p, first_lanes(n), a);
}

#endif
