#include <math.h>

#include "sched/sched.h"

static void levels(struct diffc_sampler *sampler)
{
    for (int i = 0; i < sampler->count; i++) {
        const double a = dfi_sampler_alpha_bar(sampler, i);
        sampler->alpha[i] = sqrt(a);
        sampler->sigma[i] = sqrt(1 - a);
    }
}

static double half_log_snr(const struct diffc_sampler *sampler, int step)
{
    return log(sampler->alpha[step]) - log(sampler->sigma[step]);
}

struct coefficients {
    float x, x0, difference, noise; /* x' = x x + x0 (D + difference (D - previous)) + noise z */
};

/* Second order in the middle, first order at both ends: Lu et al. 2022, DPM-Solver++, algorithm 2 (2M). */
static struct coefficients solve(const struct diffc_sampler *sampler, int step, int second_order,
                                 int stochastic)
{
    if (step + 1 == sampler->count)
        return (struct coefficients) { .x0 = 1 };
    const double lambda = half_log_snr(sampler, step), h = half_log_snr(sampler, step + 1) - lambda;
    const double ratio = sampler->sigma[step + 1] / sampler->sigma[step];
    const double alpha = sampler->alpha[step + 1], sigma = sampler->sigma[step + 1];
    struct coefficients c = { .difference = 0 };
    if (stochastic) {
        const double shrink = -expm1(-2 * h);
        c.x = (float)(ratio * exp(-h));
        c.x0 = (float)(alpha * shrink);
        c.noise = (float)(sigma * sqrt(shrink));
    } else {
        c.x = (float)ratio;
        c.x0 = (float)(-alpha * expm1(-h));
    }
    if (second_order)
        c.difference = (float)(h / (2 * (lambda - half_log_snr(sampler, step - 1))));
    return c;
}

static void apply(struct coefficients c, const struct dfi_step_data *data)
{
    const float *previous = data->previous ? data->previous : data->x0;
    for (size_t i = 0; i < data->n; i++) {
        const float estimate = data->x0[i] + c.difference * (data->x0[i] - previous[i]);
        data->x[i] = c.x * data->x[i] + c.x0 * estimate;
    }
    if (data->noise)
        for (size_t i = 0; i < data->n; i++)
            data->x[i] += c.noise * data->noise[i];
}

static void update(const struct diffc_sampler *sampler, int step, const struct dfi_step_data *data)
{
    apply(solve(sampler, step, data->previous != NULL, 0), data);
}

static void update_stochastic(const struct diffc_sampler *sampler, int step, const struct dfi_step_data *data)
{
    apply(solve(sampler, step, data->previous != NULL, 1), data);
}

const struct dfi_step_rule dfi_step_dpmsolver = {
    .entry = { "dpmsolver++", "second-order multistep solver 2M (Lu et al. 2022)" },
    .processes = DFI_PROCESS_DIFFUSION,
    .multistep = 1,
    .skips_zero = 1,
    .has_lambda = 1,
    .levels = levels,
    .update = update,
};

const struct dfi_step_rule dfi_step_sde_dpmsolver = {
    .entry = { "sde-dpmsolver++", "its stochastic form (Lu et al. 2022)" },
    .processes = DFI_PROCESS_DIFFUSION,
    .multistep = 1,
    .skips_zero = 1,
    .has_lambda = 1,
    .noise = DFI_NOISE_ALWAYS,
    .levels = levels,
    .update = update_stochastic,
};
