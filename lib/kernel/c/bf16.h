#ifndef DFI_KERNEL_C_BF16_H
#define DFI_KERNEL_C_BF16_H

#include "base/bf16.h"

/* The sum of the products of two pairs, in float. */
static inline float dot_pairs(const uint16_t *a, const uint16_t *b)
{
    return dfi_bf16_widen(a[0]) * dfi_bf16_widen(b[0]) + dfi_bf16_widen(a[1]) * dfi_bf16_widen(b[1]);
}

#endif
