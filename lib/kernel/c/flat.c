#include <diffc/common.h>

#include "base/bf16.h"
#include "base/f16.h"
#include "kernel/c/real.h"

void KERNEL(widen)(int dtype, const void *x_, void *y_, size_t n)
{
    const uint16_t *x = x_;
    real *y = y_;
    for (size_t i = 0; i < n; i++)
        y[i] = (real)(dtype == DIFFC_BF16 ? dfi_bf16_widen(x[i]) : dfi_f16_widen(x[i]));
}

void KERNEL(axpby)(size_t n, double a_, const void *x_, double b_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    const real a = (real)a_, b = (real)b_;
    for (size_t i = 0; i < n; i++)
        y[i] = b == 0 ? a * x[i] : a * x[i] + b * y[i];
}

double KERNEL(sum_squares)(const void *x_, size_t n)
{
    const real *x = x_;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

/* Kingma and Ba 2015; decoupled: Loshchilov and Hutter 2019. Order of operations as in PyTorch. */
void KERNEL(adam)(void *w_, const void *gradient_, void *m_, void *v_, size_t n,
                  const struct dfi_adam_args *args)
{
    real *w = w_, *m = m_, *v = v_;
    const real *gradient = gradient_;
    const real beta1 = (real)args->beta1, beta2 = (real)args->beta2, epsilon = (real)args->epsilon;
    const real rest1 = (real)(1 - args->beta1), rest2 = (real)(1 - args->beta2);
    const real scale = (real)args->gradient_scale, step = (real)(args->learning_rate / args->correction1);
    const real root = (real)(1 / sqrt(args->correction2));
    const real decay = args->decoupled ? 0 : (real)args->weight_decay;
    const real keep = args->decoupled ? (real)(1 - args->learning_rate * args->weight_decay) : 1;
    for (size_t i = 0; i < n; i++) {
        const real g = gradient[i] * scale + decay * w[i];
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * (g * g);
        w[i] = keep * w[i] - step * m[i] / (REAL(sqrt)(v[i]) * root + epsilon);
    }
}

double KERNEL(squared_error)(const void *p_, const void *t_, void *dp_, double scale_, size_t n)
{
    const real *p = p_, *t = t_;
    real *dp = dp_;
    const real scale = (real)scale_;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const real difference = p[i] - t[i];
        sum += (double)difference * difference;
        if (dp)
            dp[i] = scale * difference;
    }
    return sum;
}

static real add_lanes(const real *x, size_t lane_stride, int lanes)
{
    if (lanes == 1)
        return x[0];
    int half = 1;
    while (2 * half < lanes)
        half *= 2;
    return add_lanes(x, lane_stride, half) +
           add_lanes(x + (size_t)half * lane_stride, lane_stride, lanes - half);
}

void KERNEL(tree_sum)(const void *x_, size_t lane_stride, int lanes, void *y_, size_t n, int accumulate)
{
    const real *x = x_;
    real *y = y_;
    for (size_t i = 0; i < n; i++) {
        const real sum = lanes > 0 ? add_lanes(x + i, lane_stride, lanes) : 0;
        y[i] = accumulate ? y[i] + sum : sum;
    }
}
