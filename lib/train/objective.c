#include "train/objective.h"

#include <math.h>

#include "base/attributes.h"

static float make_denoise(const struct dfi_objective_constants *constants, uint32_t word, float *x, float *e,
                          size_t n)
{
    (void)word;
    for (size_t i = 0; i < n; i++) {
        const float clean = x[i];
        x[i] = clean + constants->sigma * e[i];
        e[i] = clean;
    }
    return 0;
}

static float make_noise(const struct dfi_objective_constants *constants, uint32_t word, float *x, float *e,
                        size_t n)
{
    (void)constants;
    (void)word;
    for (size_t i = 0; i < n; i++) {
        const float clean = x[i];
        x[i] = e[i];
        e[i] = clean;
    }
    return 0;
}

static float make_ddpm(const struct dfi_objective_constants *constants, uint32_t word, float *x, float *e,
                       size_t n)
{
    const int t = (int)((uint64_t)word * (uint64_t)constants->train_steps >> 32);
    const float alpha_bar = constants->alpha_bars[t];
    const float signal = sqrtf(alpha_bar), noise = sqrtf(1.0f - alpha_bar);
    for (size_t i = 0; i < n; i++)
        x[i] = signal * x[i] + noise * e[i];
    return (float)t / (float)constants->train_steps;
}

static float make_flow(const struct dfi_objective_constants *constants, uint32_t word, float *x, float *e,
                       size_t n)
{
    (void)constants;
    const float t = (float)(word >> 8) * 0x1p-24f;
    for (size_t i = 0; i < n; i++) {
        const float clean = x[i], noise = e[i];
        x[i] = (1.0f - t) * noise + t * clean;
        e[i] = clean - noise;
    }
    return t;
}

static float make_classify(const struct dfi_objective_constants *constants, uint32_t word, float *x, float *e,
                           size_t n)
{
    (void)constants;
    (void)word;
    (void)x;
    (void)e;
    (void)n;
    return 0;
}

static const struct dfi_objective objectives[] = {
    { { "denoise", "the clean image from x + sigma e" }, 0, 1, 0, 0, make_denoise },
    { { "noise", "the image from pure noise, in one step" }, 0, 1, 0, 0, make_noise },
    { { "ddpm", "the noise in x_t (Ho et al. 2020)" }, 0, 1, 1, 1, make_ddpm },
    { { "flow", "the velocity of the straight line from noise to image (Lipman et al. 2023)" },
      0,
      1,
      1,
      0,
      make_flow },
    { { "classify", "the label, by cross entropy" }, 1, 0, 0, 0, make_classify },
};

const struct dfi_entry *dfi_objective_entry(int index)
{
    return index >= 0 && index < DFI_COUNT(objectives) ? &objectives[index].entry : NULL;
}

const struct dfi_objective *dfi_objective_find(const char *name)
{
    return dfi_registry_find(objectives, sizeof(*objectives), DFI_COUNT(objectives), "objective", name);
}

int dfi_class_dropped(double probability, uint32_t word)
{
    return (double)word * 0x1p-32 < probability;
}
