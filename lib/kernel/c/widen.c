#include <diffc/tensor.h>

#include "kernel/c/real.h"

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Exponents of half precision are 112 less than those of float; its denormals are multiples of 2^-24. */
static float from_f16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7FFFu;
    if (magnitude < 0x400u)
        return (sign ? -1.0f : 1.0f) * (float)magnitude * 0x1p-24f;
    const uint32_t exponent = magnitude >= 0x7C00u ? 0x7F800000u - (0x7C00u << 13) : 112u << 23;
    return from_bits(sign | ((magnitude << 13) + exponent));
}

static real stored(const void *w, int dtype, ptrdiff_t at)
{
    if (dtype == DIFFC_F32)
        return ((const float *)w)[at];
    const uint16_t bits = ((const uint16_t *)w)[at];
    return dtype == DIFFC_F16 ? from_f16(bits) : from_bits((uint32_t)bits << 16);
}

void KERNEL(widen_panel)(const void *w, int dtype, ptrdiff_t ld, int rows, size_t k, int width, void *panel_)
{
    real *panel = panel_;
    for (size_t l = 0; l < k; l++)
        for (int r = 0; r < width; r++)
            panel[l * (size_t)width + (size_t)r] = r < rows ? stored(w, dtype, r * ld + (ptrdiff_t)l) : 0;
}
