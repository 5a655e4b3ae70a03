#include <diffc/context.h>

#include "base/cpu.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

#define BITS(value, mask) (((value) & (mask)) == (mask))

/* Registers that the operating system saves on a task switch: without its consent wide registers must not be
 * used. */
static uint32_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Bit numbers: Intel SDM volume 2, CPUID. */
uint32_t dfi_cpu_detect(void)
{
    const uint32_t osxsave = 1u << 27, avx = 1u << 28, fma = 1u << 12, f16c = 1u << 29;
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !BITS(c, osxsave | avx | fma | f16c))
        return 0;
    const uint32_t state = saved_state();
    uint32_t subleaves, b7, c7, d7;
    if (!BITS(state, 0x6u) || !__get_cpuid_count(7, 0, &subleaves, &b7, &c7, &d7))
        return 0;
    uint32_t flags = 0;
    if (BITS(b7, 1u << 5))
        flags |= DIFFC_CPU_AVX2;
    const uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if (flags && BITS(b7, f_dq_bw_vl) && BITS(state, 0xe6u))
        flags |= DIFFC_CPU_AVX512;
    if ((flags & DIFFC_CPU_AVX512) && subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
        BITS(a, 1u << 5))
        flags |= DIFFC_CPU_AVX512_BF16;
    return flags;
}

#else

uint32_t dfi_cpu_detect(void)
{
    return 0;
}

#endif
