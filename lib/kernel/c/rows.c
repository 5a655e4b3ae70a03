#include "kernel/c/real.h"

static real largest(const real *x, int c)
{
    real m = x[0];
    for (int i = 1; i < c; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

/* Sum of exp(x - m) in double: the quotients then add up to 1 within the rounding of the row itself. */
static double sum_exp(const real *x, int c, real m)
{
    double sum = 0;
    for (int i = 0; i < c; i++)
        sum += REAL(exp)(x[i] - m);
    return sum;
}

void KERNEL(softmax)(const void *x_, void *y_, size_t rows, int c)
{
    const real *x = x_;
    real *y = y_;
    if (c < 1)
        return;
    for (size_t r = 0; r < rows; r++, x += c, y += c) {
        const real m = largest(x, c);
        const double sum = sum_exp(x, c, m);
        for (int i = 0; i < c; i++)
            y[i] = (real)(REAL(exp)(x[i] - m) / sum);
    }
}

void KERNEL(softmax_backward)(const void *y_, const void *dy_, void *dx_, size_t rows, int c)
{
    const real *y = y_, *dy = dy_;
    real *dx = dx_;
    for (size_t r = 0; r < rows; r++, y += c, dy += c, dx += c) {
        double dot = 0;
        for (int i = 0; i < c; i++)
            dot += (double)y[i] * dy[i];
        for (int i = 0; i < c; i++)
            dx[i] = (real)(y[i] * (dy[i] - dot));
    }
}

double KERNEL(cross_entropy)(const void *x_, const void *t_, void *dx_, double scale, size_t rows, int c)
{
    const real *x = x_, *t = t_;
    real *dx = dx_;
    double loss = 0;
    if (c < 1)
        return 0;
    for (size_t r = 0; r < rows; r++, x += c, t += c) {
        const real m = largest(x, c);
        const double sum = sum_exp(x, c, m), log_sum = log(sum);
        double weight = 0;
        for (int i = 0; i < c; i++) {
            weight += t[i];
            if (t[i] != 0)
                loss -= t[i] * ((double)x[i] - m - log_sum);
        }
        for (int i = 0; dx && i < c; i++)
            dx[i] = (real)(scale * (REAL(exp)(x[i] - m) / sum * weight - t[i]));
        if (dx)
            dx += c;
    }
    return loss;
}
