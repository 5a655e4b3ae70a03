#include <diffc/tensor.h>

#include "base/bf16.h"
#include "base/f16.h"
#include "kernel/c/real.h"

static real stored(const void *w, int dtype, ptrdiff_t at)
{
    if (dtype == DIFFC_F32)
        return ((const float *)w)[at];
    const uint16_t bits = ((const uint16_t *)w)[at];
    return dtype == DIFFC_F16 ? dfi_f16_widen(bits) : dfi_bf16_widen(bits);
}

void KERNEL(widen_panel)(const void *w, int dtype, ptrdiff_t ld, int rows, size_t k, int width, void *panel_)
{
    real *panel = panel_;
    for (size_t l = 0; l < k; l++)
        for (int r = 0; r < width; r++)
            panel[l * (size_t)width + (size_t)r] = r < rows ? stored(w, dtype, r * ld + (ptrdiff_t)l) : 0;
}
