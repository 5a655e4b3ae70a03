#!/usr/bin/env python3
"""Prints gelu_table.h: Phi(z) and d/dz (z Phi(z)) minus one half as polynomials on as many intervals as a vector has
lanes, so that a row of coefficients is one vector.

Intervals are centred on multiples of their width, so that rounding to nearest gives the number of the interval; in each
the polynomial is the Chebyshev interpolant of the function in t = z / width - number, |t| <= 1/2. One over the width is
exact in float. Beyond the range the functions are constant.
"""
import math

import numpy as np


def normal_cdf(z):
    return 0.5 * math.erf(z / math.sqrt(2))


def gelu_slope(z):
    return normal_cdf(z) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def fit(function, intervals, width, end, degree):
    rows = np.zeros((degree + 1, intervals))
    for number in range(intervals):
        high = min(0.5, end / width - number)
        nodes = np.cos(np.pi * (np.arange(200) + 0.5) / 200) * (high + 0.5) / 2 + (high - 0.5) / 2
        values = [function((t + number) * width) for t in nodes]
        series = np.polynomial.chebyshev.Chebyshev.fit(nodes, values, degree, domain=[-0.5, high])
        rows[:, number] = series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1]).coef
    return rows


def emit(name, rows):
    print(f"static const float {name}[GELU_DEGREE + 1][{rows.shape[1]}] = {{")
    for row in rows:
        text = [f"{value:.9e}f" for value in row]
        print("    { " + ", ".join(text[:4]) + ",")
        for start in range(4, len(text), 4):
            print("      " + ", ".join(text[start:start + 4]) + (" }," if start + 4 == len(text) else ","))
    print("};")


def emit_tables(intervals, width, end, degree):
    print(f"#define GELU_RANGE {end}f\n#define GELU_PER_UNIT {1 / width}f\n#define GELU_DEGREE {degree}\n")
    print("/* Phi(z) - 1/2, then the derivative of z Phi(z), minus 1/2. */")
    emit("gelu_value_table", fit(normal_cdf, intervals, width, end, degree))
    emit("gelu_slope_table", fit(gelu_slope, intervals, width, end, degree))


print("#ifndef DFI_KERNEL_X86_GELU_TABLE_H\n#define DFI_KERNEL_X86_GELU_TABLE_H\n")
print('#include "kernel/x86/vec.h"\n')
print("/* Made by gelu_table.py. */\n")
print("#if LANES == 16\n")
emit_tables(16, 0.4, 6.0, 5)
print("\n#else\n")
emit_tables(8, 0.8, 5.98, 7)
print("\n#endif\n\n#endif")
