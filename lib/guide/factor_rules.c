#include <string.h>

#include "guide/factor.h"
#include "kernel/kernels.h"

/* The components of Geng et al., "Factorized Diffusion", 2024, with the defaults of its program. The last one
 * is what the others leave, so the sum is the picture. */

static void blur(const struct diffc_factorization *factors, int which, const float *x, float *y)
{
    const struct dfi_kernels *kernels = dfi_kernels_get(factors->object.context->cpu_flags, DIFFC_F32);
    kernels->blur(x, (ptrdiff_t)factors->w, 1, y, (int)factors->h, (int)factors->w, factors->taps[which],
                  factors->size, factors->scratch);
}

/* y = x - y */
static void take_rest(const float *x, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] - y[i];
}

static void low_high(const struct diffc_factorization *factors, int k, const float *x, float *y,
                     int64_t channels)
{
    const int64_t pixels = factors->h * factors->w;
    for (int64_t c = 0; c < channels; c++, x += pixels, y += pixels) {
        blur(factors, 0, x, y);
        if (k == 1)
            take_rest(x, y, pixels);
    }
}

static void three_bands(const struct diffc_factorization *factors, int k, const float *x, float *y,
                        int64_t channels)
{
    const int64_t pixels = factors->h * factors->w;
    float *smooth = factors->scratch + pixels;
    for (int64_t c = 0; c < channels; c++, x += pixels, y += pixels) {
        blur(factors, 0, x, k == 2 ? y : smooth);
        if (k == 2)
            take_rest(x, y, pixels);
        else
            blur(factors, 1, smooth, y);
        if (k == 1)
            take_rest(smooth, y, pixels);
    }
}

static void grey_colour(const struct diffc_factorization *factors, int k, const float *x, float *y,
                        int64_t channels)
{
    const int64_t pixels = factors->h * factors->w;
    for (int64_t p = 0; p < pixels; p++) {
        double sum = 0;
        for (int64_t c = 0; c < channels; c++)
            sum += x[c * pixels + p];
        const float grey = (float)(sum / (double)channels);
        for (int64_t c = 0; c < channels; c++)
            y[c * pixels + p] = k == 0 ? grey : x[c * pixels + p] - grey;
    }
}

static void motion(const struct diffc_factorization *factors, int k, const float *x, float *y,
                   int64_t channels)
{
    const int64_t h = factors->h, w = factors->w;
    const int half = factors->size / 2;
    for (int64_t c = 0; c < channels; c++, x += h * w, y += h * w) {
        for (int64_t p = 0; p < h * w; p++) {
            double sum = 0;
            for (int d = -half; d <= half; d++) {
                const int64_t row = p / w + d, column = p % w + d;
                if (row >= 0 && row < h && column >= 0 && column < w)
                    sum += x[row * w + column];
            }
            y[p] = (float)(sum / factors->size);
        }
        if (k == 1)
            take_rest(x, y, h * w);
    }
}

static void scale(const struct diffc_factorization *factors, int k, const float *x, float *y,
                  int64_t channels)
{
    for (int64_t i = 0; i < channels * factors->h * factors->w; i++)
        y[i] = (float)(factors->scales[k] * x[i]);
}

const struct dfi_factor_rule dfi_factor_rules[] = {
    { .entry = { "low_high", "low and high frequencies" },
      .count = 2,
      .has_sigma = 1,
      .has_kernel = 1,
      .sigma = 2,
      .kernel_size = 33,
      .component = low_high },
    { .entry = { "three_bands", "low, middle and high frequencies" },
      .count = 3,
      .has_sigma = 1,
      .has_sigma2 = 1,
      .has_kernel = 1,
      .sigma = 1,
      .sigma2 = 2,
      .kernel_size = 25,
      .component = three_bands },
    { .entry = { "grey_colour", "brightness and colour" }, .count = 2, .component = grey_colour },
    { .entry = { "motion", "blurred along the diagonal, and the rest" },
      .count = 2,
      .has_kernel = 1,
      .kernel_size = 7,
      .component = motion },
    { .entry = { "scale", "multiples that sum to 1" }, .has_scales = 1, .component = scale },
};
const int dfi_factor_rule_count = DFI_COUNT(dfi_factor_rules);
