/* The register-only roof, compiled once for each instruction set: twelve independent chains of multiply-adds.
 */

#include "roof.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#define ROOF bench_roof_dots
#define WIDTH 16
#elif defined(__AVX512F__)
#define ROOF bench_roof_avx512
#define WIDTH 16
#elif defined(__AVX2__)
#define ROOF bench_roof_avx2
#define WIDTH 8
#else
#define ROOF bench_roof_c
#define WIDTH 4
#endif

#define CHAINS 12

typedef float vec __attribute__((vector_size(4 * WIDTH)));

#if defined(__AVX512BF16__)
#define MULTIPLY_ADDS (2 * WIDTH)
static vec step(vec chain, vec factor, vec term)
{
    return _mm512_dpbf16_ps(chain, (__m512bh)factor, (__m512bh)term);
}
#else
#define MULTIPLY_ADDS WIDTH
static vec step(vec chain, vec factor, vec term)
{
    return chain * factor + term;
}
#endif

double ROOF(int rounds)
{
    vec chain[CHAINS];
    const vec one = (vec) { 0 } + 1;
    vec factor = one * 1.0000001f, term = one * 1e-9f;
    for (int i = 0; i < CHAINS; i++)
        chain[i] = one * (float)i;
    for (int n = 0; n < rounds; n++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            chain[i] = step(chain[i], factor, term);
        __asm__ volatile("" : "+x"(factor), "+x"(term));
    }
    vec sum = chain[0];
    for (int i = 1; i < CHAINS; i++)
        sum += chain[i];
    volatile float sink = sum[0];
    (void)sink;
    return 2.0 * CHAINS * MULTIPLY_ADDS * rounds;
}
