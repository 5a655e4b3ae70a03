#include <math.h>

#include "sched/sched.h"

/* The noise that the prediction stands for, before the estimate is limited. */
static inline float noise_of(enum dfi_predict kind, float alpha, float sigma, float x, float output)
{
    switch (kind) {
    case DFI_PREDICT_SAMPLE: return (x - alpha * output) / sigma;
    case DFI_PREDICT_V: return alpha * output + sigma * x;
    case DFI_PREDICT_EPSILON:
    case DFI_PREDICT_VELOCITY: break;
    }
    return output;
}

/* Song et al. 2021, eq. 12 and 16, with the next entry of the list as the previous timestep. */
static void update(const struct diffc_sampler *sampler, int step, const struct dfi_step_data *data)
{
    const float a = dfi_sampler_alpha_bar(sampler, step), ap = dfi_sampler_alpha_bar(sampler, step + 1);
    const float variance = (1.0f - ap) / (1.0f - a) * (1.0f - a / ap);
    const float deviation = sampler->eta * sqrtf(variance > 0 ? variance : 0);
    const float rest = 1.0f - ap - deviation * deviation;
    const float along = sqrtf(rest > 0 ? rest : 0), image = sqrtf(ap);
    const float alpha = (float)sampler->alpha[step], sigma = (float)sampler->sigma[step];
    const enum dfi_predict kind = sampler->prediction->kind;
    for (size_t i = 0; i < data->n; i++) {
        const float noise = noise_of(kind, alpha, sigma, data->x[i], data->output[i]);
        data->x[i] = image * data->x0[i] + along * noise;
    }
    if (data->noise)
        for (size_t i = 0; i < data->n; i++)
            data->x[i] += deviation * data->noise[i];
}

const struct dfi_step_rule dfi_step_ddim = {
    .entry = { "ddim", "deterministic at eta 0 (Song et al. 2021)" },
    .processes = DFI_PROCESS_DIFFUSION,
    .has_eta = 1,
    .noise = DFI_NOISE_WITH_ETA,
    .levels = dfi_levels_float,
    .update = update,
};
