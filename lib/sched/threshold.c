#include <math.h>
#include <string.h>

#include "sched/sched.h"

/* Without their sign bit, floats are ordered as unsigned integers are (NaN above all). */
static uint32_t magnitude(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits & 0x7fffffffu;
}

static float from_magnitude(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* One digit of a radix search: among magnitudes that agree with *prefix above `shift + width`, finds the
 * digit of the one of rank *rank, appends it to *prefix and makes *rank relative to those that share it. */
static void search_digit(const float *x, size_t n, int shift, int width, uint32_t *prefix, size_t *rank)
{
    uint32_t counts[2048];
    const uint32_t digits = 1u << width;
    memset(counts, 0, digits * sizeof(counts[0]));
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = magnitude(x[i]) >> shift;
        if (key >> width == *prefix)
            counts[key & (digits - 1)]++;
    }
    uint32_t digit = 0;
    for (; digit + 1 < digits && *rank >= counts[digit]; digit++)
        *rank -= counts[digit];
    *prefix = *prefix << width | digit;
}

/* Magnitude of rank `rank` (from 0, ascending), in time proportional to n whatever the values are. */
static uint32_t select_magnitude(const float *x, size_t n, size_t rank)
{
    uint32_t prefix = 0;
    search_digit(x, n, 21, 11, &prefix, &rank);
    search_digit(x, n, 10, 11, &prefix, &rank);
    search_digit(x, n, 0, 10, &prefix, &rank);
    return prefix;
}

/* The magnitude of rank `rank` + 1, given that of rank `rank`. */
static uint32_t next_magnitude(const float *x, size_t n, size_t rank, uint32_t low)
{
    size_t not_above = 0;
    uint32_t next = 0x7fffffffu;
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = magnitude(x[i]);
        not_above += key <= low;
        next = key > low && key < next ? key : next;
    }
    return rank + 1 < not_above ? low : next;
}

/* torch.quantile to the bit: rank and weight in float, fused interpolation from the nearer end
 * (dynamic thresholding: Saharia et al. 2022, section 2.3). */
float dfi_abs_quantile(const float *x, size_t n, float q)
{
    float rank = q * (float)(n - 1);
    if (rank > (float)(n - 1))
        rank = (float)(n - 1);
    const float floor_rank = floorf(rank);
    size_t below = (size_t)floor_rank;
    if (below > n - 1)
        below = n - 1;
    const float weight = rank - floor_rank;
    const uint32_t low = select_magnitude(x, n, below);
    const float a = from_magnitude(low);
    if (weight == 0 || below + 1 >= n)
        return a;
    const float b = from_magnitude(next_magnitude(x, n, below, low));
    return weight < 0.5f ? fmaf(weight, b - a, a) : fmaf(-(b - a), 1.0f - weight, b);
}

static void clamp(float *x, size_t n, float low, float high)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] < low ? low : x[i] > high ? high : x[i];
}

void dfi_limit(const struct dfi_limiter *limiter, float *x0, size_t n)
{
    if (limiter->clips)
        clamp(x0, n, limiter->low, limiter->high);
    if (limiter->ratio == 0 || n == 0)
        return;
    float s = dfi_abs_quantile(x0, n, limiter->ratio);
    s = s < 1 ? 1 : s > limiter->max ? limiter->max : s;
    clamp(x0, n, -s, s);
    for (size_t i = 0; i < n; i++)
        x0[i] /= s;
}
