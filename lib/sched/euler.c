#include <math.h>

#include "sched/sched.h"

/* x is seen in the coordinates of Karras et al. 2022, x = x0 + sigma noise. */

static double sigma_at(const struct diffc_schedule *schedule, int t)
{
    const double a = schedule->alpha_bars[t];
    return sqrt((1 - a) / a);
}

static double sigma_between(const struct diffc_schedule *schedule, float t)
{
    const int below = (int)t;
    const double part = (double)t - below, sigma = sigma_at(schedule, below);
    return part > 0 ? sigma + part * (sigma_at(schedule, below + 1) - sigma) : sigma;
}

static void levels(struct diffc_sampler *sampler)
{
    for (int i = 0; i < sampler->count; i++) {
        sampler->alpha[i] = 1;
        sampler->sigma[i] = sigma_between(sampler->schedule, sampler->times[i]);
    }
}

static float initial_sigma(const struct diffc_sampler *sampler)
{
    const double sigma = sampler->sigma[0];
    return (float)(sampler->spacing && sampler->spacing->from_top ? sigma : sqrt(sigma * sigma + 1));
}

static float input_scale(const struct diffc_sampler *sampler, int step)
{
    const double sigma = sampler->sigma[step];
    return (float)sqrt(sigma * sigma + 1);
}

static void update(const struct diffc_sampler *sampler, int step, const struct dfi_step_data *data)
{
    const double sigma = sampler->sigma[step];
    dfi_follow_estimate(data, (float)sigma, (float)(sampler->sigma[step + 1] - sigma));
}

const struct dfi_step_rule dfi_step_euler = {
    .entry = { "euler", "Euler steps in sigma (Karras et al. 2022)" },
    .processes = DFI_PROCESS_DIFFUSION,
    .fractional = 1,
    .levels = levels,
    .initial_sigma = initial_sigma,
    .input_scale = input_scale,
    .update = update,
};
