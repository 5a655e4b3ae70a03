/* Passes over flat arrays. */

#include <math.h>

#include <diffc/common.h>

#include "kernel/x86/vec.h"

static int left(size_t n, size_t done)
{
    return n - done < LANES ? (int)(n - done) : LANES;
}

void KERNEL(axpby)(size_t n, double a, const void *x_, double b, void *y_)
{
    const float *x = x_;
    float *y = y_;
    const vec va = set((float)a), vb = set((float)b);
    for (size_t i = 0; i < n; i += LANES) {
        const int count = left(n, i);
        const vec ax = multiply(va, load_upto(x + i, count));
        store_upto(y + i, count, b == 0 ? ax : madd(vb, load_upto(y + i, count), ax));
    }
}

/* Floats within a run of 64 vectors, doubles beyond. */
#define RUN ((size_t)64 * LANES)

double KERNEL(sum_squares)(const void *x_, size_t n)
{
    const float *x = x_;
    double total = 0;
    for (size_t first = 0; first < n; first += RUN) {
        vec sum = zero();
        for (size_t i = first; i < n && i < first + RUN; i += LANES) {
            const vec value = load_upto(x + i, left(n, i));
            sum = madd(value, value, sum);
        }
        total += sum_lanes(sum);
    }
    return total;
}

double KERNEL(squared_error)(const void *p_, const void *t_, void *dp_, double scale, size_t n)
{
    const float *p = p_, *t = t_;
    float *dp = dp_;
    double total = 0;
    for (size_t first = 0; first < n; first += RUN) {
        vec sum = zero();
        for (size_t i = first; i < n && i < first + RUN; i += LANES) {
            const int count = left(n, i);
            const vec difference = subtract(load_upto(p + i, count), load_upto(t + i, count));
            sum = madd(difference, difference, sum);
            if (dp)
                store_upto(dp + i, count, multiply(difference, set((float)scale)));
        }
        total += sum_lanes(sum);
    }
    return total;
}

/* Kingma and Ba 2015; decoupled: Loshchilov and Hutter 2019. */
void KERNEL(adam)(void *w_, const void *gradient_, void *m_, void *v_, size_t n,
                  const struct dfi_adam_args *args)
{
    float *w = w_, *m = m_, *v = v_;
    const float *gradient = gradient_;
    const vec beta1 = set((float)args->beta1), rest1 = set((float)(1 - args->beta1));
    const vec beta2 = set((float)args->beta2), rest2 = set((float)(1 - args->beta2));
    const vec scale = set((float)args->gradient_scale), epsilon = set((float)args->epsilon);
    const vec step = set((float)(args->learning_rate / args->correction1));
    const vec root_scale = set((float)(1 / sqrt(args->correction2)));
    const vec decay = set(args->decoupled ? 0 : (float)args->weight_decay);
    const vec keep = set(args->decoupled ? (float)(1 - args->learning_rate * args->weight_decay) : 1);
    for (size_t i = 0; i < n; i += LANES) {
        const int count = left(n, i);
        const vec weight = load_upto(w + i, count);
        const vec g = madd(decay, weight, multiply(load_upto(gradient + i, count), scale));
        const vec first = madd(beta1, load_upto(m + i, count), multiply(rest1, g));
        const vec second = madd(beta2, load_upto(v + i, count), multiply(rest2, multiply(g, g)));
        const vec divisor = madd(root(second), root_scale, epsilon);
        store_upto(m + i, count, first);
        store_upto(v + i, count, second);
        store_upto(w + i, count, subtract(multiply(keep, weight), multiply(step, first) / divisor));
    }
}

static vec add_lanes(const float *x, size_t lane_stride, int lanes, int count)
{
    if (lanes == 1)
        return load_upto(x, count);
    int half = 1;
    while (2 * half < lanes)
        half *= 2;
    return add(add_lanes(x, lane_stride, half, count),
               add_lanes(x + (size_t)half * lane_stride, lane_stride, lanes - half, count));
}

/* The usual eight. */
static vec add_eight(const float *x, size_t stride, int count)
{
    vec pair[4];
    for (int i = 0; i < 4; i++)
        pair[i] = add(load_upto(x + (size_t)(2 * i) * stride, count),
                      load_upto(x + (size_t)(2 * i + 1) * stride, count));
    return add(add(pair[0], pair[1]), add(pair[2], pair[3]));
}

void KERNEL(tree_sum)(const void *x_, size_t lane_stride, int lanes, void *y_, size_t n, int accumulate)
{
    const float *x = x_;
    float *y = y_;
    for (size_t i = 0; i < n; i += LANES) {
        const int count = left(n, i);
        const vec sum = lanes == 8  ? add_eight(x + i, lane_stride, count)
                        : lanes > 0 ? add_lanes(x + i, lane_stride, lanes, count)
                                    : zero();
        store_upto(y + i, count, accumulate ? add(load_upto(y + i, count), sum) : sum);
    }
}

/* Eight numbers at a time with either instruction set. */
static void widen_eight(int dtype, const uint16_t *x, float *y)
{
    const __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)x);
    if (dtype == DIFFC_BF16)
        _mm256_storeu_si256((__m256i *)(void *)y, _mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
    else
        _mm256_storeu_ps(y, _mm256_cvtph_ps(halves));
}

void KERNEL(widen)(int dtype, const void *x_, void *y_, size_t n)
{
    const uint16_t *x = x_;
    float *y = y_;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        widen_eight(dtype, x + i, y + i);
    if (i < n) {
        uint16_t rest[8] = { 0 };
        float wide[8];
        memcpy(rest, x + i, (n - i) * sizeof(*rest));
        widen_eight(dtype, rest, wide);
        memcpy(y + i, wide, (n - i) * sizeof(*wide));
    }
}
