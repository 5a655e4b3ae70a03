#ifndef DFI_KERNEL_C_PIXEL_H
#define DFI_KERNEL_C_PIXEL_H

#include "kernel/c/bf16.h"
#include "kernel/c/real.h"

/* Values of pixels as they are stored. */
#if DFI_PIXELS_BF16
#define PIXEL_KERNEL(name) dfi_##name##_c_bf16
typedef uint16_t pixel;

static inline real get(pixel stored)
{
    return dfi_bf16_widen(stored);
}

static inline pixel put(real value)
{
    return dfi_bf16_round(value);
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
