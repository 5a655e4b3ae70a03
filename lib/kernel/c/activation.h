#ifndef DFI_KERNEL_C_ACTIVATION_H
#define DFI_KERNEL_C_ACTIVATION_H

#include "kernel/c/real.h"

/* GELU with the exact Gaussian distribution function: z Phi(z) (Hendrycks and Gimpel 2016). */
static inline real gelu(real z)
{
    return z * (real)0.5 * REAL(erfc)(-z * (real)M_SQRT1_2);
}

/* Phi(z) + z phi(z); the density is zero long before z * exp(-z z / 2) could become inf * 0. */
static inline real gelu_slope(real z)
{
    const real density = REAL(exp)(-z * z / 2) * (real)(0.5 * M_SQRT1_2 * M_2_SQRTPI);
    return (real)0.5 * REAL(erfc)(-z * (real)M_SQRT1_2) + (REAL(fabs)(z) < 50 ? z * density : 0);
}

static inline real silu(real z)
{
    return z / (1 + REAL(exp)(-z));
}

static inline real silu_slope(real z)
{
    const real s = 1 / (1 + REAL(exp)(-z));
    const real ds = s * (1 - s);
    return s + (ds == 0 ? 0 : z * ds);
}

/* The form with tanh that T5 v1.1 uses (Hendrycks and Gimpel 2016, section 2), as z sigmoid(2 u) with
 * u = sqrt(2 / pi) (z + 0.044715 z^3): it loses no digits where tanh is near -1. */
#define GELU_CUBE ((real)0.044715)
#define TWICE_ROOT_2_PI ((real)(M_SQRT2 * M_2_SQRTPI))

static inline real gelu_tanh_sigmoid(real z)
{
    return 1 / (1 + REAL(exp)(-TWICE_ROOT_2_PI * (z + GELU_CUBE * z * z * z)));
}

static inline real gelu_tanh(real z)
{
    return z * gelu_tanh_sigmoid(z);
}

/* Flat long before z could make inf * 0. */
static inline real gelu_tanh_slope(real z)
{
    if (REAL(fabs)(z) > 20)
        return z > 0;
    const real s = gelu_tanh_sigmoid(z);
    return s + z * s * (1 - s) * TWICE_ROOT_2_PI * (1 + 3 * GELU_CUBE * z * z);
}

static inline real act_value(enum dfi_act act, real z)
{
    switch (act) {
    case DFI_ACT_GELU: return gelu(z);
    case DFI_ACT_SILU: return silu(z);
    case DFI_ACT_RELU: return z < 0 ? 0 : z;
    case DFI_ACT_GELU_TANH: return gelu_tanh(z);
    default: return z;
    }
}

static inline real act_slope(enum dfi_act act, real z)
{
    switch (act) {
    case DFI_ACT_GELU: return gelu_slope(z);
    case DFI_ACT_SILU: return silu_slope(z);
    case DFI_ACT_RELU: return z <= 0 ? 0 : 1;
    case DFI_ACT_GELU_TANH: return gelu_tanh_slope(z);
    default: return 1;
    }
}

#endif
