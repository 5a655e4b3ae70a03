#ifndef DFI_KERNEL_C_PIXEL_H
#define DFI_KERNEL_C_PIXEL_H

#include "kernel/c/real.h"

/* Values of pixels as they are stored. */
#if DFI_PIXELS_BF16
#define PIXEL_KERNEL(name) dfi_##name##_c_bf16
typedef uint16_t pixel;

static inline real get(pixel stored)
{
    const uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* To nearest, ties to even; what is not a number stays so. */
static inline pixel put(real value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (pixel)((isnan(value) ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
#else
#define PIXEL_KERNEL(name) KERNEL(name)
typedef real pixel;

static inline real get(pixel stored)
{
    return stored;
}

static inline pixel put(real value)
{
    return value;
}
#endif

#endif
