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

struct row_moments {
    double mean, inverse; /* of the standard deviation */
};

static struct row_moments moments_of(const real *x, int c, double epsilon)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < c; i++)
        sum += x[i];
    const double mean = sum / c;
    for (int i = 0; i < c; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    return (struct row_moments) { mean, 1 / sqrt(squares / c + epsilon) };
}

void KERNEL(layer_norm)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t rows, int c,
                        const void *weight_, const void *bias_, double epsilon)
{
    const real *x = x_, *weight = weight_, *bias = bias_;
    real *y = y_;
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy) {
        const struct row_moments m = moments_of(x, c, epsilon);
        for (int i = 0; i < c; i++)
            y[i] = (real)((x[i] - m.mean) * m.inverse * weight[i] + bias[i]);
    }
}

/* With xh = (x - mean) / std and g = dy weight: dx = (g - mean(g) - xh mean(g xh)) / std (Ba et al. 2016). */
void KERNEL(layer_norm_backward)(const void *x_, ptrdiff_t ldx, const void *dy_, ptrdiff_t lddy, void *dx_,
                                 ptrdiff_t lddx, size_t rows, int c, const void *weight_, double epsilon,
                                 int accumulate, double *dweight, double *dbias)
{
    const real *x = x_, *dy = dy_, *weight = weight_;
    real *dx = dx_;
    for (size_t r = 0; r < rows; r++, x += ldx, dy += lddy) {
        const struct row_moments m = moments_of(x, c, epsilon);
        double sum = 0, product = 0;
        for (int i = 0; i < c; i++) {
            const double xh = (x[i] - m.mean) * m.inverse, g = (double)dy[i] * weight[i];
            sum += g;
            product += g * xh;
            dweight[i] += dy[i] * xh;
            dbias[i] += dy[i];
        }
        for (int i = 0; dx && i < c; i++) {
            const double xh = (x[i] - m.mean) * m.inverse, g = (double)dy[i] * weight[i];
            const real value = (real)((g - sum / c - xh * product / c) * m.inverse);
            dx[i] = accumulate ? dx[i] + value : value;
        }
        if (dx)
            dx += lddx;
    }
}

/* 1 / sqrt(mean(x^2) + epsilon). */
static double inverse_rms(const real *x, int c, double epsilon)
{
    double squares = 0;
    for (int i = 0; i < c; i++)
        squares += (double)x[i] * x[i];
    return 1 / sqrt(squares / c + epsilon);
}

void KERNEL(rms_norm)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t rows, int c,
                      const void *weight_, double epsilon)
{
    const real *x = x_, *weight = weight_;
    real *y = y_;
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy) {
        const real inverse = (real)inverse_rms(x, c, epsilon);
        for (int i = 0; i < c; i++)
            y[i] = x[i] * inverse * weight[i];
    }
}

/* With xh = x / rms and g = dy weight: dx = (g - xh mean(g xh)) / rms. */
void KERNEL(rms_norm_backward)(const void *x_, ptrdiff_t ldx, const void *dy_, ptrdiff_t lddy, void *dx_,
                               ptrdiff_t lddx, size_t rows, int c, const void *weight_, double epsilon,
                               int accumulate, double *dweight)
{
    const real *x = x_, *dy = dy_, *weight = weight_;
    real *dx = dx_;
    for (size_t r = 0; r < rows; r++, x += ldx, dy += lddy) {
        const double inverse = inverse_rms(x, c, epsilon);
        double product = 0;
        for (int i = 0; i < c; i++) {
            const double xh = x[i] * inverse;
            product += (double)dy[i] * weight[i] * xh;
            dweight[i] += dy[i] * xh;
        }
        for (int i = 0; dx && i < c; i++) {
            const double xh = x[i] * inverse;
            const real value = (real)(((double)dy[i] * weight[i] - xh * product / c) * inverse);
            dx[i] = accumulate ? dx[i] + value : value;
        }
        if (dx)
            dx += lddx;
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
