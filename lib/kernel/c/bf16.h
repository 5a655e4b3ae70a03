#ifndef DFI_KERNEL_C_BF16_H
#define DFI_KERNEL_C_BF16_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float from_bf16(uint16_t stored)
{
    const uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* To nearest, ties to even; what is not a number stays so. */
static inline uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((isnan(value) ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/* The sum of the products of two pairs, in float. */
static inline float dot_pairs(const uint16_t *a, const uint16_t *b)
{
    return from_bf16(a[0]) * from_bf16(b[0]) + from_bf16(a[1]) * from_bf16(b[1]);
}

#endif
