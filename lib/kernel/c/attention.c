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

/* One query: its scores, their softmax, the sum of values. */
static void attend_one(const struct dfi_attend_args *args, const real *q, const real *bias, real *scores,
                       real *y)
{
    const int first = args->part[0].count, keys = first + args->part[1].count;
    for (int i = 0; i < keys; i++) {
        const struct dfi_attend_keys *part = &args->part[i >= first];
        const real *k = (const real *)part->k + (i < first ? i : i - first) * part->ldk;
        real sum = 0;
        for (int j = 0; j < args->c; j++)
            sum += q[j] * k[j];
        scores[i] = sum;
    }
    KERNEL(attention_softmax)(scores, keys, 1, keys, args->scale, bias, keys, args->mask);
    memset(y, 0, (size_t)args->value_c * sizeof(*y));
    for (int i = 0; i < keys; i++) {
        const struct dfi_attend_keys *part = &args->part[i >= first];
        const real *v = (const real *)part->v + (i < first ? i : i - first) * part->ldv;
        for (int j = 0; j < args->value_c; j++)
            y[j] += scores[i] * v[j];
    }
}

void KERNEL(attend)(const struct dfi_attend_args *args)
{
    for (int n = 0; n < args->queries; n++)
        attend_one(args, (const real *)args->q + n * args->ldq,
                   args->bias ? (const real *)args->bias + n * args->ldb : NULL, args->scratch,
                   (real *)args->y + n * args->ldy);
}
