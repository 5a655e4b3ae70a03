#include <math.h>
#include <string.h>

#include "sched/sched.h"

static const struct dfi_step_rule *const steps[] = {
    &dfi_step_ddpm,          &dfi_step_ddim,  &dfi_step_dpmsolver,
    &dfi_step_sde_dpmsolver, &dfi_step_euler, &dfi_step_flow_euler,
};

static const struct dfi_entry variances[] = {
    /* in the order of enum dfi_variance */
    { "fixed_small", "that of the posterior given x0" },
    { "fixed_small_log", "the same by way of its logarithm (diffusers)" },
    { "fixed_large", "beta" },
    { "learned_range", "interpolated by the network's second half of channels" },
};

const struct dfi_entry *dfi_step_entry(int index)
{
    return index >= 0 && index < DFI_COUNT(steps) ? &steps[index]->entry : NULL;
}

const struct dfi_step_rule *dfi_step_find(const char *name)
{
    struct dfi_entry names[DFI_COUNT(steps)];
    for (int i = 0; i < DFI_COUNT(steps); i++)
        names[i] = steps[i]->entry;
    const struct dfi_entry *found = dfi_registry_find(names, sizeof(names[0]), DFI_COUNT(steps), "step",
                                                      name);
    return found ? steps[found - names] : NULL;
}

static void destroy(void *handle)
{
    struct diffc_sampler *sampler = handle;
    struct diffc_context *context = sampler->object.context;
    dfi_free(context, sampler->times);
    dfi_free(context, sampler->alpha);
    dfi_free(context, sampler->sigma);
    dfi_free(context, sampler->estimate[0]);
    dfi_free(context, sampler->estimate[1]);
    dfi_release((void *)(uintptr_t)sampler->schedule);
    dfi_object_free(sampler);
}

static int refuse(const char *option, const struct diffc_sampler *sampler)
{
    return dfi_fail(DIFFC_ERR_CONFIG, "options.%s is not for step \"%s\"", option, sampler->rule->entry.name);
}

static int choose_rule(struct diffc_sampler *sampler, const diffc_sampler_options *options)
{
    const enum dfi_process process = sampler->schedule->rule->process;
    const int flow = process != DFI_PROCESS_DIFFUSION;
    const char *schedule = sampler->schedule->rule->entry.name;
    sampler->rule = dfi_step_find(options->step ? options->step : flow ? "flow_euler" : "ddpm");
    if (!sampler->rule)
        return DIFFC_ERR_ARG;
    if (!(sampler->rule->processes & (int)process))
        return dfi_fail(DIFFC_ERR_CONFIG, "step \"%s\" is not for the schedule \"%s\"",
                        sampler->rule->entry.name, schedule);
    sampler->prediction = dfi_prediction_find(options->prediction ? options->prediction
                                              : flow              ? "velocity"
                                                                  : "epsilon");
    if (!sampler->prediction)
        return DIFFC_ERR_ARG;
    if (!(sampler->prediction->processes & (int)process))
        return dfi_fail(DIFFC_ERR_CONFIG, "prediction \"%s\" is not for the schedule \"%s\"",
                        sampler->prediction->entry.name, schedule);
    return DIFFC_OK;
}

/* Other rules than ddpm take learned_range too: the variance channels are there, and not used. */
static int choose_variance(struct diffc_sampler *sampler, const diffc_sampler_options *options)
{
    const struct dfi_entry *variance = &variances[DFI_VARIANCE_SMALL];
    if (options->variance)
        variance = dfi_registry_find(variances, sizeof(variances[0]), DFI_COUNT(variances), "variance",
                                     options->variance);
    if (!variance)
        return DIFFC_ERR_ARG;
    sampler->variance = (enum dfi_variance)(variance - variances);
    if (options->variance && !sampler->rule->has_variance && sampler->variance != DFI_VARIANCE_LEARNED)
        return refuse("variance", sampler);
    if (!(options->eta >= 0 && options->eta <= 1))
        return dfi_fail(DIFFC_ERR_ARG, "options.eta is %g, must be 0 to 1", (double)options->eta);
    if (options->eta != 0 && !sampler->rule->has_eta)
        return refuse("eta", sampler);
    sampler->eta = options->eta;
    return DIFFC_OK;
}

static int choose_clip(struct dfi_limiter *limiter, const diffc_sampler_options *options)
{
    const int range = options->clip_low != 0 || options->clip_high != 0;
    if (!(options->clip >= 0 && isfinite(options->clip)))
        return dfi_fail(DIFFC_ERR_ARG, "options.clip is %g, must be 0 (none) or above",
                        (double)options->clip);
    if (options->clip > 0 && range)
        return dfi_fail(DIFFC_ERR_CONFIG, "options.clip and options.clip_low, clip_high exclude each other");
    if (range && !(isfinite(options->clip_low) && isfinite(options->clip_high) &&
                   options->clip_low < options->clip_high))
        return dfi_fail(DIFFC_ERR_ARG, "options.clip_low is %g, clip_high %g: must be a range",
                        (double)options->clip_low, (double)options->clip_high);
    limiter->clips = range || options->clip > 0;
    limiter->low = range ? options->clip_low : -options->clip;
    limiter->high = range ? options->clip_high : options->clip;
    return DIFFC_OK;
}

static int choose_threshold(struct dfi_limiter *limiter, const diffc_sampler_options *options)
{
    if (!(options->threshold_ratio >= 0 && options->threshold_ratio < 1))
        return dfi_fail(DIFFC_ERR_ARG,
                        "options.threshold_ratio is %g, must be above 0 and below 1, or 0 for none",
                        (double)options->threshold_ratio);
    if (options->threshold_max != 0 && !(options->threshold_max >= 1 && isfinite(options->threshold_max)))
        return dfi_fail(DIFFC_ERR_ARG,
                        "options.threshold_max is %g, must be at least 1, or 0 for the default",
                        (double)options->threshold_max);
    if (options->threshold_max != 0 && options->threshold_ratio == 0)
        return dfi_fail(DIFFC_ERR_CONFIG, "options.threshold_max is %g without options.threshold_ratio",
                        (double)options->threshold_max);
    if (options->threshold_ratio > 0 && limiter->clips)
        return dfi_fail(DIFFC_ERR_CONFIG, "options.threshold_ratio and clipping exclude each other");
    limiter->ratio = options->threshold_ratio;
    limiter->max = options->threshold_max != 0 ? options->threshold_max : 1;
    return DIFFC_OK;
}

/* Timesteps of which the half log-SNR is below lambda_min are at the noisy end. */
static int cut_top(const struct diffc_schedule *schedule, double lambda_min)
{
    int top = schedule->options.train_steps;
    while (top > 0) {
        const double a = schedule->alpha_bars[top - 1];
        if (0.5 * log(a / (1 - a)) >= lambda_min)
            break;
        top--;
    }
    return top;
}

static int default_steps(const struct diffc_sampler *sampler)
{
    const struct diffc_schedule *schedule = sampler->schedule;
    const int diffusion = schedule->rule->process == DFI_PROCESS_DIFFUSION;
    const int skips = sampler->rule->skips_zero && sampler->spacing->skips_zero;
    const int all = schedule->options.train_steps, most = all > 1 ? all - skips : all;
    if (!sampler->spacing->free)
        return 0;
    return diffusion && most < 50 ? most : 50;
}

static int check_offset(const struct diffc_sampler *sampler, int offset)
{
    const int most = sampler->schedule->options.train_steps - 1;
    if (offset < 0 || offset > most)
        return dfi_fail(DIFFC_ERR_ARG, "options.steps_offset is %d, must be 0 to %d", offset, most);
    if (offset && strcmp(sampler->spacing->entry.name, "leading") != 0)
        return dfi_fail(DIFFC_ERR_CONFIG, "options.steps_offset is for spacing \"leading\", not \"%s\"",
                        sampler->spacing->entry.name);
    return DIFFC_OK;
}

static int space_times(struct diffc_sampler *sampler, const diffc_sampler_options *options)
{
    const struct diffc_schedule *schedule = sampler->schedule;
    const int flow = schedule->rule->process != DFI_PROCESS_DIFFUSION;
    sampler->spacing = dfi_spacing_find(options->spacing ? options->spacing : flow ? "linspace" : "full");
    if (!sampler->spacing)
        return DIFFC_ERR_ARG;
    DFI_TRY(check_offset(sampler, options->steps_offset));
    const struct dfi_spacing_request request = {
        .schedule = schedule,
        .steps = options->steps ? options->steps : default_steps(sampler),
        .top = options->lambda_min != 0 ? cut_top(schedule, options->lambda_min)
                                        : schedule->options.train_steps,
        .skips_zero = sampler->rule->skips_zero,
        .fractional = sampler->rule->fractional,
        .offset = options->steps_offset,
    };
    return dfi_spacing_list(sampler->spacing, &request, &sampler->times, &sampler->count);
}

static int copy_times(struct diffc_sampler *sampler, const diffc_sampler_options *options)
{
    struct diffc_context *context = sampler->object.context;
    const int count = options->timestep_count;
    if (options->spacing || options->steps || options->steps_offset)
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "options.timesteps and options.spacing, steps or steps_offset exclude each other");
    if (count > context->limits.steps)
        return dfi_fail(DIFFC_ERR_LIMIT, "options.timestep_count is %d, the limit is %lld", count,
                        (long long)context->limits.steps);
    DFI_TRY(dfi_times_check(sampler->schedule, "options.timesteps", options->timesteps, count,
                            sampler->rule->fractional));
    sampler->times = dfi_alloc(context, (size_t)count * sizeof(float));
    if (!sampler->times)
        return DIFFC_ERR_NOMEM;
    for (int i = 0; i < count; i++)
        sampler->times[i] = options->timesteps[i];
    sampler->count = count;
    return DIFFC_OK;
}

static int choose_times(struct diffc_sampler *sampler, const diffc_sampler_options *options)
{
    if (options->steps < 0)
        return dfi_fail(DIFFC_ERR_ARG, "options.steps is %d, must be at least 1, or 0 for the default",
                        (int)options->steps);
    if (!isfinite(options->lambda_min))
        return dfi_fail(DIFFC_ERR_ARG, "options.lambda_min is %g, must be finite", options->lambda_min);
    if (options->lambda_min != 0 && !sampler->rule->has_lambda)
        return refuse("lambda_min", sampler);
    if (!options->timesteps && options->timestep_count)
        return dfi_fail(DIFFC_ERR_ARG, "options.timestep_count is %d, but options.timesteps is NULL",
                        (int)options->timestep_count);
    return options->timesteps ? copy_times(sampler, options) : space_times(sampler, options);
}

void dfi_levels_float(struct diffc_sampler *sampler)
{
    for (int i = 0; i < sampler->count; i++) {
        const float a = dfi_sampler_alpha_bar(sampler, i);
        sampler->alpha[i] = sqrtf(a);
        sampler->sigma[i] = sqrtf(1.0f - a);
    }
}

/* Every rule divides by sigma, and all but the flows by alpha: extreme schedules round to where one of them
 * is 0. */
static int build_levels(struct diffc_sampler *sampler)
{
    const size_t bytes = ((size_t)sampler->count + 1) * sizeof(double);
    sampler->alpha = dfi_alloc(sampler->object.context, bytes);
    sampler->sigma = sampler->alpha ? dfi_alloc(sampler->object.context, bytes) : NULL;
    if (!sampler->sigma)
        return DIFFC_ERR_NOMEM;
    sampler->alpha[sampler->count] = 1;
    sampler->sigma[sampler->count] = 0;
    sampler->rule->levels(sampler);
    const int diffusion = sampler->schedule->rule->process == DFI_PROCESS_DIFFUSION;
    for (int i = 0; i < sampler->count; i++) {
        const double alpha = sampler->alpha[i], sigma = sampler->sigma[i];
        if (!(isfinite(sigma) && sigma > 0) || (diffusion && !(alpha > 0)))
            return dfi_fail(DIFFC_ERR_CONFIG,
                            "timestep %g of the schedule \"%s\" is all image or all noise in float",
                            (double)sampler->times[i], sampler->schedule->rule->entry.name);
    }
    sampler->initial_sigma = sampler->rule->initial_sigma ? sampler->rule->initial_sigma(sampler) : 1.0f;
    return DIFFC_OK;
}

static int build(struct diffc_sampler *sampler, const diffc_sampler_options *options)
{
    DFI_TRY(choose_rule(sampler, options));
    DFI_TRY(choose_variance(sampler, options));
    DFI_TRY(choose_clip(&sampler->limiter, options));
    DFI_TRY(choose_threshold(&sampler->limiter, options));
    DFI_TRY(choose_times(sampler, options));
    return build_levels(sampler);
}

int dfi_sampler_new(const struct diffc_schedule *schedule, const diffc_sampler_options *options,
                    struct diffc_sampler **sampler)
{
    struct diffc_sampler *made = dfi_object_new(schedule->object.context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->schedule = dfi_retain(schedule);
    const int status = build(made, options);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *sampler = made;
    return DIFFC_OK;
}
