#ifndef DFI_KERNEL_X86_ACTIVATION_H
#define DFI_KERNEL_X86_ACTIVATION_H

#include "kernel/x86/gelu_table.h"
#include "kernel/x86/vec.h"

/* exp(a), |relative error| < 3e-7 for -87 < a < 88; clamped outside. Cody and Waite's reduction, a polynomial
 * of degree 6. */
DFI_INLINE vec exponential(vec a)
{
    const vec magic = set(
        12582912.0f); /* 1.5 * 2^23: its sum with a small number has that number's integer in the low bits */
    a = maximum(minimum(a, set(88.0f)), set(-87.0f));
    const vec shifted = madd(a, set(1.44269504f), magic), n = subtract(shifted, magic);
    const vec r = madd(n, set(-1.42860677e-6f), madd(n, set(-0.693145752f), a));
    vec p = set(1.38888889e-3f);
    p = madd(p, r, set(8.33333333e-3f));
    p = madd(p, r, set(4.16666667e-2f));
    p = madd(p, r, set(1.66666667e-1f));
    p = madd(p, r, set(0.5f));
    p = madd(p, r, set(1.0f));
    p = madd(p, r, set(1.0f));
    return scale_by_power(p, shifted);
}

/* A table of gelu_table.h at |z|: the interval by rounding to nearest, then the polynomial. */
DFI_INLINE vec table_value(const float table[6][16], vec size)
{
    const vec magic = set(12582912.0f);
    const vec index = madd(size, set(GELU_PER_UNIT), magic);
    const vec t = subtract(multiply(size, set(GELU_PER_UNIT)), subtract(index, magic));
    vec sum = look_up(table[5], index);
    sum = madd(sum, t, look_up(table[4], index));
    sum = madd(sum, t, look_up(table[3], index));
    sum = madd(sum, t, look_up(table[2], index));
    sum = madd(sum, t, look_up(table[1], index));
    return madd(sum, t, look_up(table[0], index));
}

/* GELU with the exact normal distribution (Hendrycks and Gimpel 2016): z Phi(z) = z / 2 + |z| (Phi(|z|) -
 * 1/2). */
DFI_INLINE vec gelu(vec z)
{
    const vec size = magnitude(z), half = table_value(gelu_value_table, minimum(size, set(GELU_RANGE)));
    return madd(size, half, multiply(z, set(0.5f)));
}

DFI_INLINE vec gelu_slope(vec z)
{
    const vec half = table_value(gelu_slope_table, minimum(magnitude(z), set(GELU_RANGE)));
    return keep_nan(z, add(copy_sign(half, z), set(0.5f)));
}

DFI_INLINE vec sigmoid(vec z)
{
    return set(1.0f) / add(set(1.0f), exponential(subtract(zero(), z)));
}

DFI_INLINE vec silu_slope(vec z)
{
    z = maximum(minimum(z, set(88.0f)), set(-88.0f)); /* no zero times infinity */
    const vec s = sigmoid(z);
    return multiply(s, madd(z, subtract(set(1.0f), s), set(1.0f)));
}

/* The form with tanh: z sigmoid(2 sqrt(2 / pi) (z + 0.044715 z^3)). */
#define TWICE_ROOT_2_PI 1.59576912f
#define GELU_CUBE 0.044715f

DFI_INLINE vec gelu_tanh_sigmoid(vec z)
{
    const vec square = multiply(z, z);
    const vec factor = madd(square, set(TWICE_ROOT_2_PI * GELU_CUBE), set(TWICE_ROOT_2_PI));
    return sigmoid(multiply(z, factor));
}

DFI_INLINE vec gelu_tanh_slope(vec z)
{
    z = maximum(minimum(z, set(12.0f)), set(-12.0f)); /* flat beyond, and no zero times infinity */
    const vec s = gelu_tanh_sigmoid(z);
    const vec inner = madd(multiply(z, z), set(3 * TWICE_ROOT_2_PI * GELU_CUBE), set(TWICE_ROOT_2_PI));
    return madd(multiply(z, inner), multiply(s, subtract(set(1.0f), s)), s);
}

/* `act` is a constant where these are inlined. */
DFI_INLINE vec activate(vec z, const enum dfi_act act)
{
    switch (act) {
    case DFI_ACT_GELU: return gelu(z);
    case DFI_ACT_SILU: return multiply(z, sigmoid(z));
    case DFI_ACT_RELU: return unless_negative(z, z);
    case DFI_ACT_GELU_TANH: return multiply(z, gelu_tanh_sigmoid(z));
    default: return z;
    }
}

DFI_INLINE vec times_slope(vec dy, vec z, const enum dfi_act act)
{
    switch (act) {
    case DFI_ACT_GELU: return multiply(dy, gelu_slope(z));
    case DFI_ACT_SILU: return multiply(dy, keep_nan(z, silu_slope(z)));
    case DFI_ACT_RELU: return unless_negative(z, dy);
    case DFI_ACT_GELU_TANH: return multiply(dy, keep_nan(z, gelu_tanh_slope(z)));
    default: return dy;
    }
}

/* call(ACT) with the constant that `act` is. */
#define FOR_EACH_ACT(act, call) \
    switch (act) { \
    case DFI_ACT_GELU: call(DFI_ACT_GELU); break; \
    case DFI_ACT_SILU: call(DFI_ACT_SILU); break; \
    case DFI_ACT_RELU: call(DFI_ACT_RELU); break; \
    case DFI_ACT_GELU_TANH: call(DFI_ACT_GELU_TANH); break; \
    default: call(DFI_ACT_NONE); break; \
    }

#endif
