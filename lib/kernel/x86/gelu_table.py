#!/usr/bin/env python3
"""Prints gelu_table.h: Phi(z) and d/dz (z Phi(z)) minus one half on [0, 6] as polynomials of degree 5 on 16 intervals.

Intervals are centred on multiples of 6/15, so that rounding to nearest gives the number of the interval; in each the
polynomial is the Chebyshev interpolant of the function in t = z * 15/6 - number, |t| <= 1/2.
"""
import math

import numpy as np

RANGE, INTERVALS, DEGREE = 6.0, 16, 5
WIDTH = RANGE / (INTERVALS - 1)


def normal_cdf(z):
    return 0.5 * math.erf(z / math.sqrt(2))


def gelu_slope(z):
    return normal_cdf(z) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def fit(function):
    rows = np.zeros((DEGREE + 1, INTERVALS))
    for number in range(INTERVALS):
        high = 0.5 if number < INTERVALS - 1 else 0.0
        nodes = np.cos(np.pi * (np.arange(200) + 0.5) / 200) * (high + 0.5) / 2 + (high - 0.5) / 2
        values = [function((t + number) * WIDTH) for t in nodes]
        series = np.polynomial.chebyshev.Chebyshev.fit(nodes, values, DEGREE, domain=[-0.5, high])
        rows[:, number] = series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1]).coef
    return rows


def emit(name, rows):
    print(f"static const float {name}[{DEGREE + 1}][{INTERVALS}] = {{")
    for row in rows:
        text = [f"{value:.9e}f" for value in row]
        print("    { " + ", ".join(text[:4]) + ",")
        for start in range(4, INTERVALS, 4):
            print("      " + ", ".join(text[start:start + 4]) + (" }," if start + 4 == INTERVALS else ","))
    print("};")


print("#ifndef DFI_KERNEL_X86_GELU_TABLE_H\n#define DFI_KERNEL_X86_GELU_TABLE_H\n")
print("/* Made by gelu_table.py. */")
print(f"#define GELU_RANGE {RANGE}f\n#define GELU_PER_UNIT {1 / WIDTH}f\n")
print("/* Phi(z) - 1/2, then the derivative of z Phi(z), minus 1/2. */")
emit("gelu_value_table", fit(normal_cdf))
emit("gelu_slope_table", fit(gelu_slope))
print("\n#endif")
