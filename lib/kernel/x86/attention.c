/* The softmax of attention, row by row. Sums are float within a run of 64 vectors, then double. */

#include <math.h>

#include "kernel/x86/activation.h"
#include "kernel/x86/mask.h"

#define RUN (64 * LANES)

DFI_INLINE int lanes_left(int c, int i)
{
    return c - i < LANES ? c - i : LANES;
}

DFI_INLINE vec masked(vec score, const float *mask_row, int i, int n)
{
    return mask_row ? select_positive(load_upto(mask_row + i, n), score, set(NEVER)) : score;
}

static float scale_and_mask(float *x, int c, float scale, const float *bias, const float *mask_row)
{
    const vec least = set(mask_row ? NEVER : -INFINITY);
    vec best = least;
    for (int i = 0; i < c; i += LANES) {
        const int n = lanes_left(c, i);
        const vec b = bias ? load_upto(bias + i, n) : zero();
        const vec score = masked(madd(load_upto(x + i, n), set(scale), b), mask_row, i, n);
        store_upto(x + i, n, score);
        best = maximum(first_or(score, n, least), best);
    }
    float lanes[LANES], largest;
    store(lanes, best);
    largest = lanes[0];
    for (int i = 1; i < LANES; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}

/* exp(x - best) in place, and its sum. What the mask took out is exactly zero. */
static double exponentials(float *x, int c, float best)
{
    const vec origin = set(best), none = set(NEVER);
    double total = 0;
    for (int first = 0; first < c; first += RUN) {
        vec sum = zero();
        for (int i = first; i < c && i < first + RUN; i += LANES) {
            const int n = lanes_left(c, i);
            const vec score = load_upto(x + i, n), away = subtract(score, origin);
            vec value = unless_negative(subtract(score, none), exponential(away));
            value = first_or(keep_nan(away, value), n, zero());
            store_upto(x + i, n, value);
            sum = add(sum, value);
        }
        total += sum_lanes(sum);
    }
    return total;
}

void KERNEL(attention_softmax)(void *x_, ptrdiff_t ldx, size_t rows, int c, double scale, const void *bias_,
                               ptrdiff_t ldb, const void *mask_)
{
    float *x = x_;
    const float *bias = bias_, *mask_row = useful_mask(mask_, c);
    for (size_t r = 0; r < rows; r++, x += ldx, bias = bias ? bias + ldb : NULL) {
        const float best = scale_and_mask(x, c, (float)scale, bias, mask_row);
        const vec share = set((float)(1 / exponentials(x, c, best)));
        for (int i = 0; i < c; i += LANES)
            store_upto(x + i, lanes_left(c, i), multiply(load_upto(x + i, lanes_left(c, i)), share));
    }
}

void KERNEL(attention_softmax_backward)(const void *p_, ptrdiff_t ldp, void *dp_, ptrdiff_t lddp, size_t rows,
                                        int c)
{
    const float *p = p_;
    float *dp = dp_;
    for (size_t r = 0; r < rows; r++, p += ldp, dp += lddp) {
        double dot = 0;
        for (int first = 0; first < c; first += RUN) {
            vec sum = zero();
            for (int i = first; i < c && i < first + RUN; i += LANES)
                sum = madd(load_upto(p + i, lanes_left(c, i)), load_upto(dp + i, lanes_left(c, i)), sum);
            dot += sum_lanes(sum);
        }
        const vec mean = set((float)dot);
        for (int i = 0; i < c; i += LANES) {
            const int n = lanes_left(c, i);
            store_upto(dp + i, n, multiply(load_upto(p + i, n), subtract(load_upto(dp + i, n), mean)));
        }
    }
}
