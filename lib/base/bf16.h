#ifndef DFI_BASE_BF16_H
#define DFI_BASE_BF16_H

#include <stdint.h>
#include <string.h>

static inline float dfi_bf16_widen(uint16_t stored)
{
    const uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* To nearest, ties to even; what is not a number stays so. Without branches, so that loops are vectorised. */
static inline uint16_t dfi_bf16_round(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16, quiet = bits >> 16 | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

#endif
