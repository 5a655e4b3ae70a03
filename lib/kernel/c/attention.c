#include "kernel/c/real.h"

/* The mask, or NULL if it would leave nothing. */
static const real *useful_mask(const real *mask, int c)
{
    for (int i = 0; mask && i < c; i++)
        if (mask[i] > 0)
            return mask;
    return NULL;
}

static inline int takes_part(const real *mask, int i)
{
    return !mask || mask[i] > 0;
}

/* The scores in place, and the largest of those that take part. */
static real best_score(real *x, int c, real scale, const real *bias, const real *mask)
{
    real best = -(real)INFINITY;
    for (int i = 0; i < c; i++) {
        x[i] = scale * x[i] + (bias ? bias[i] : 0);
        if (takes_part(mask, i) && x[i] > best)
            best = x[i];
    }
    return best;
}

void KERNEL(attention_softmax)(void *x_, ptrdiff_t ldx, size_t rows, int c, double scale, const void *bias_,
                               ptrdiff_t ldb, const void *mask_)
{
    real *x = x_;
    const real *bias = bias_, *mask = useful_mask(mask_, c);
    for (size_t r = 0; r < rows; r++, x += ldx, bias = bias ? bias + ldb : NULL) {
        const real best = best_score(x, c, (real)scale, bias, mask);
        double sum = 0;
        for (int i = 0; i < c; i++) {
            x[i] = takes_part(mask, i) ? REAL(exp)(x[i] - best) : 0;
            sum += x[i];
        }
        for (int i = 0; i < c; i++)
            x[i] = (real)(x[i] / sum);
    }
}

void KERNEL(attention_softmax_backward)(const void *p_, ptrdiff_t ldp, void *dp_, ptrdiff_t lddp, size_t rows,
                                        int c)
{
    const real *p = p_;
    real *dp = dp_;
    for (size_t r = 0; r < rows; r++, p += ldp, dp += lddp) {
        double dot = 0;
        for (int i = 0; i < c; i++)
            dot += (double)p[i] * dp[i];
        for (int i = 0; i < c; i++)
            dp[i] = (real)(p[i] * (dp[i] - dot));
    }
}
