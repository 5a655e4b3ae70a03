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

/* A table of gelu_table.h at |z|: the interval by rounding to nearest, then the polynomial. The steps of `n`
 * vectors alternate: one after another, their chains are longer than what a CPU looks ahead. */
#define MOST_CHAINS 4
DFI_INLINE void table_values(const float table[][LANES], const vec *z, vec *sum, const int n)
{
    const vec magic = set(12582912.0f);
    vec index[MOST_CHAINS], t[MOST_CHAINS];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        t[i] = minimum(set(GELU_RANGE), magnitude(z[i])); /* in this order what is no number stays so */
        index[i] = madd(t[i], set(GELU_PER_UNIT), magic);
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        t[i] = madd(t[i], set(GELU_PER_UNIT), subtract(magic, index[i]));
        sum[i] = look_up(table[GELU_DEGREE], index[i]);
    }
#pragma GCC unroll 7
    for (int k = GELU_DEGREE - 1; k >= 0; k--)
#pragma GCC unroll 4
        for (int i = 0; i < n; i++)
            sum[i] = madd(sum[i], t[i], look_up(table[k], index[i]));
}

/* GELU with the exact normal distribution (Hendrycks and Gimpel 2016): z Phi(z) = z / 2 + |z| (Phi(|z|) -
 * 1/2). */
DFI_INLINE void gelu(vec *z, const int n)
{
    vec half[MOST_CHAINS];
    table_values(gelu_value_table, z, half, n);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        z[i] = madd(magnitude(z[i]), half[i], multiply(z[i], set(0.5f)));
}

DFI_INLINE void times_gelu_slope(vec *dy, const vec *z, const int n)
{
    vec half[MOST_CHAINS];
    table_values(gelu_slope_table, z, half, n);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        dy[i] = multiply(dy[i], add(copy_sign(half[i], z[i]), set(0.5f)));
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
    case DFI_ACT_GELU: gelu(&z, 1); return z;
    case DFI_ACT_SILU: return multiply(z, sigmoid(z));
    case DFI_ACT_RELU: return unless_negative(z, z);
    case DFI_ACT_GELU_TANH: return multiply(z, gelu_tanh_sigmoid(z));
    default: return z;
    }
}

DFI_INLINE vec times_slope(vec dy, vec z, const enum dfi_act act)
{
    switch (act) {
    case DFI_ACT_GELU: times_gelu_slope(&dy, &z, 1); return dy;
    case DFI_ACT_SILU: return multiply(dy, keep_nan(z, silu_slope(z)));
    case DFI_ACT_RELU: return unless_negative(z, dy);
    case DFI_ACT_GELU_TANH: return multiply(dy, keep_nan(z, gelu_tanh_slope(z)));
    default: return dy;
    }
}

/* The same of at most MOST_CHAINS vectors, in place. */
DFI_INLINE void activate_some(vec *z, const int n, const enum dfi_act act)
{
    if (act == DFI_ACT_GELU) {
        gelu(z, n);
        return;
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        z[i] = activate(z[i], act);
}

DFI_INLINE void times_slope_some(vec *dy, const vec *z, const int n, const enum dfi_act act)
{
    if (act == DFI_ACT_GELU) {
        times_gelu_slope(dy, z, n);
        return;
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        dy[i] = times_slope(dy[i], z[i], act);
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
