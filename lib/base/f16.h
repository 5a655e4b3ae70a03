#ifndef DFI_BASE_F16_H
#define DFI_BASE_F16_H

#include <stdint.h>
#include <string.h>

/* IEEE half precision: exponents are 112 less than those of float, denormals multiples of 2^-24. Without
 * branches, so that loops are vectorised. */
static inline float dfi_f16_widen(uint16_t stored)
{
    const uint32_t magnitude = stored & 0x7fffu, sign = (stored & 0x8000u) << 16;
    const uint32_t more = (magnitude >= 0x7c00u ? 224u : 112u)
                          << 23; /* infinity and NaN keep their exponent */
    const float tiny = (float)(int32_t)magnitude * 0x1p-24f;
    uint32_t bits;
    float value;
    memcpy(&bits, &tiny, sizeof(bits));
    bits = sign | (magnitude < 0x400u ? bits : (magnitude << 13) + more);
    memcpy(&value, &bits, sizeof(value));
    return value;
}

#endif
