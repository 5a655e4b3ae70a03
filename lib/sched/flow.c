#include "sched/sched.h"

/* Straight lines between image and noise: x = (1 - sigma) x0 + sigma noise. Flow counts t = 1 - sigma,
 * flow_match t = T sigma. */
static void levels(struct diffc_sampler *sampler)
{
    const int forward = sampler->schedule->rule->process == DFI_PROCESS_FLOW;
    for (int i = 0; i < sampler->count; i++) {
        const double t = sampler->times[i];
        sampler->sigma[i] = forward ? 1 - t : t / sampler->schedule->options.train_steps;
        sampler->alpha[i] = 1 - sampler->sigma[i];
    }
}

static void follow_velocity(const struct dfi_step_data *data, float change)
{
    for (size_t i = 0; i < data->n; i++)
        data->x[i] += change * data->output[i];
}

static void update(const struct diffc_sampler *sampler, int step, const struct dfi_step_data *data)
{
    const int forward = sampler->schedule->rule->process == DFI_PROCESS_FLOW;
    const double change = sampler->sigma[step + 1] - sampler->sigma[step];
    const int limited = sampler->limiter.clips || sampler->limiter.ratio > 0;
    /* Where the prediction is no velocity, or the estimate was limited, along the line to the estimate. */
    if (sampler->prediction->kind == DFI_PREDICT_VELOCITY && !limited)
        follow_velocity(data, (float)(forward ? -change : change));
    else
        dfi_follow_estimate(data, (float)sampler->sigma[step], (float)change);
}

const struct dfi_step_rule dfi_step_flow_euler = {
    .entry = { "flow_euler", "Euler steps along a flow (Lipman et al. 2023)" },
    .processes = DFI_PROCESS_FLOW | DFI_PROCESS_FLOW_MATCH,
    .fractional = 1,
    .levels = levels,
    .update = update,
};
