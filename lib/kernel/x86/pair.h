#ifndef DFI_KERNEL_X86_PAIR_H
#define DFI_KERNEL_X86_PAIR_H

#include "kernel/x86/bf16.h"

/* Stores values of two vectors side by side, in bfloat16. */
DFI_INLINE void store_pair(uint16_t *p, mask m, vec even, vec odd)
{
    const __m512i low = _mm512_cvtepu16_epi32(narrow(even)), high = _mm512_cvtepu16_epi32(narrow(odd));
    _mm512_mask_storeu_epi32(p, m, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

#endif
