#include <math.h>

#include "sched/sched.h"

#define SMALLEST 1e-20f /* variance at the last step, where the formula gives 0 (diffusers) */

struct coefficients {
    float x0, x, beta, variance;
};

/* In float and in this order, as DDPMScheduler of diffusers has it: Ho et al. 2020, eq. 7. */
static struct coefficients posterior(const struct diffc_sampler *sampler, int step)
{
    const float a = dfi_sampler_alpha_bar(sampler, step), ap = dfi_sampler_alpha_bar(sampler, step + 1);
    const float b = 1.0f - a, bp = 1.0f - ap;
    const float alpha = a / ap, beta = 1.0f - alpha;
    const float variance = bp / b * beta;
    return (struct coefficients) {
        .x0 = sqrtf(ap) * beta / b,
        .x = sqrtf(alpha) * bp / b,
        .beta = beta > SMALLEST ? beta : SMALLEST,
        .variance = variance > SMALLEST ? variance : SMALLEST,
    };
}

static float deviation_of(enum dfi_variance variance, struct coefficients c)
{
    switch (variance) {
    case DFI_VARIANCE_LARGE: return sqrtf(c.beta);
    case DFI_VARIANCE_SMALL_LOG: return expf(0.5f * logf(c.variance));
    case DFI_VARIANCE_SMALL:
    case DFI_VARIANCE_LEARNED: break;
    }
    return sqrtf(c.variance);
}

static void add_fixed(const struct dfi_step_data *data, float deviation)
{
    for (size_t i = 0; i < data->n; i++)
        data->x[i] += deviation * data->noise[i];
}

/* v interpolates between the logarithms of the two fixed variances (Nichol and Dhariwal 2021). */
static void add_learned(const struct dfi_step_data *data, struct coefficients c)
{
    const float high = logf(c.beta), low = logf(c.variance);
    for (size_t i = 0; i < data->n; i++) {
        const float part = (data->variance[i] + 1.0f) / 2.0f;
        const float log_variance = part * high + (1.0f - part) * low;
        data->x[i] += expf(0.5f * log_variance) * data->noise[i];
    }
}

static void update(const struct diffc_sampler *sampler, int step, const struct dfi_step_data *data)
{
    const struct coefficients c = posterior(sampler, step);
    for (size_t i = 0; i < data->n; i++)
        data->x[i] = c.x0 * data->x0[i] + c.x * data->x[i];
    if (!data->noise)
        return;
    if (sampler->variance == DFI_VARIANCE_LEARNED)
        add_learned(data, c);
    else
        add_fixed(data, deviation_of(sampler->variance, c));
}

const struct dfi_step_rule dfi_step_ddpm = {
    .entry = { "ddpm", "ancestral sampling (Ho et al. 2020)" },
    .processes = DFI_PROCESS_DIFFUSION,
    .has_variance = 1,
    .noise = DFI_NOISE_ALWAYS,
    .levels = dfi_levels_float,
    .update = update,
};
