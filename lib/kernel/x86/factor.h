#ifndef DFI_KERNEL_X86_FACTOR_H
#define DFI_KERNEL_X86_FACTOR_H

#include "kernel/x86/vec.h"

/* The factors of products: floats, or, in files that are compiled once more, pairs of bfloat16. A pair has
 * the size of a float and is moved as one; only the product differs. */

#if DFI_PAIRS
#define FACTOR_VALUES 2
#define PRODUCT_KERNEL(name) KERNEL(name##_bf16)
#else
#define FACTOR_VALUES 1
#define PRODUCT_KERNEL(name) KERNEL(name)
#endif

DFI_INLINE vec add_product(vec factor, vec row, vec sum)
{
#if DFI_PAIRS
    return _mm512_dpbf16_ps(sum, (__m512bh)factor, (__m512bh)row);
#else
    return madd(factor, row, sum);
#endif
}

#endif
