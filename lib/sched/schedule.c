#include <math.h>
#include <string.h>

#include "sched/sched.h"

#define MAX_TRAIN_STEPS 1000000
#define PI 3.14159265358979323846

/* torch.linspace in float: from both ends to the middle, one rounding per value, as PyTorch's vector code has
 * it. */
static void linspace(float start, float end, int count, float *values)
{
    const float step = count > 1 ? (end - start) / (float)(count - 1) : 0.0f;
    for (int i = 0; i < count; i++)
        values[i] = i < count / 2 || count == 1 ? fmaf(step, (float)i, start)
                                                : fmaf(-step, (float)(count - 1 - i), end);
}

static void linear_betas(const diffc_schedule_options *options, float *betas)
{
    linspace((float)options->beta_start, (float)options->beta_end, options->train_steps, betas);
}

static void scaled_linear_betas(const diffc_schedule_options *options, float *betas)
{
    linspace((float)sqrt(options->beta_start), (float)sqrt(options->beta_end), options->train_steps, betas);
    for (int t = 0; t < options->train_steps; t++)
        betas[t] *= betas[t];
}

static double cosine_alpha_bar(double s)
{
    const double c = cos((s + 0.008) / 1.008 * PI / 2);
    return c * c;
}

static void cosine_betas(const diffc_schedule_options *options, float *betas)
{
    const int count = options->train_steps;
    for (int t = 0; t < count; t++) {
        const double ratio = cosine_alpha_bar((double)(t + 1) / count) / cosine_alpha_bar((double)t / count);
        betas[t] = (float)fmin(1 - ratio, 0.999);
    }
}

static const struct dfi_schedule_rule rules[] = {
    { { "linear", "beta evenly spaced from beta_start to beta_end (Ho et al. 2020)" },
      DFI_PROCESS_DIFFUSION,
      1,
      linear_betas },
    { { "scaled_linear", "square root of beta evenly spaced (latent diffusion)" },
      DFI_PROCESS_DIFFUSION,
      1,
      scaled_linear_betas },
    { { "squaredcos_cap_v2", "the cosine schedule, beta at most 0.999 (Nichol and Dhariwal 2021)" },
      DFI_PROCESS_DIFFUSION,
      0,
      cosine_betas },
    { { "flow", "straight line from noise at t = 0 to the image at t = 1 (Lipman et al. 2023)" },
      DFI_PROCESS_FLOW,
      0,
      NULL },
    { { "flow_match",
        "straight line from the image at t = 0 to noise at t = T, with a shift (Esser et al. 2024)" },
      DFI_PROCESS_FLOW_MATCH,
      0,
      NULL },
};

/* Not to be asked for by name: there is no formula. */
static const struct dfi_schedule_rule given = {
    { "trained_betas", "every beta by itself (diffusers)" }, DFI_PROCESS_DIFFUSION, 0, NULL
};

const struct dfi_entry *dfi_schedule_entry(int index)
{
    return index >= 0 && index < DFI_COUNT(rules) ? &rules[index].entry : NULL;
}

static int fill_train_steps(diffc_schedule_options *options)
{
    if (options->train_steps < 0 || options->train_steps > MAX_TRAIN_STEPS)
        return dfi_fail(DIFFC_ERR_ARG, "options.train_steps is %d, must be 1 to %d, or 0 for the default",
                        (int)options->train_steps, MAX_TRAIN_STEPS);
    if (options->train_steps == 0)
        options->train_steps = 1000;
    return DIFFC_OK;
}

static int fill_betas(const struct dfi_schedule_rule *rule, diffc_schedule_options *options)
{
    if (!rule->beta_range) {
        if (options->beta_start != 0 || options->beta_end != 0)
            return dfi_fail(DIFFC_ERR_ARG,
                            "options.beta_start and beta_end are for linear and scaled_linear, not %s",
                            rule->entry.name);
        return DIFFC_OK;
    }
    if (options->beta_start == 0)
        options->beta_start = 1e-4;
    if (options->beta_end == 0)
        options->beta_end = 0.02;
    if (!(options->beta_start > 0 && options->beta_start < 1))
        return dfi_fail(DIFFC_ERR_ARG, "options.beta_start is %g, must be above 0 and below 1",
                        options->beta_start);
    if (!(options->beta_end >= options->beta_start && options->beta_end < 1))
        return dfi_fail(DIFFC_ERR_ARG, "options.beta_end is %g, must be at least beta_start = %g and below 1",
                        options->beta_end, options->beta_start);
    return DIFFC_OK;
}

static int fill_shift(const struct dfi_schedule_rule *rule, diffc_schedule_options *options)
{
    if (rule->process != DFI_PROCESS_FLOW_MATCH && options->shift != 0)
        return dfi_fail(DIFFC_ERR_ARG, "options.shift is for flow_match, not %s", rule->entry.name);
    if (options->shift == 0)
        options->shift = 1;
    if (!(options->shift > 0 && isfinite(options->shift)))
        return dfi_fail(DIFFC_ERR_ARG, "options.shift is %g, must be above 0", options->shift);
    return DIFFC_OK;
}

static void destroy(void *handle)
{
    struct diffc_schedule *schedule = handle;
    dfi_free(schedule->object.context, schedule->betas);
    dfi_free(schedule->object.context, schedule->alpha_bars);
    dfi_object_free(schedule);
}

/* torch.cumprod of float factors on a CPU: the product is kept in double, each result rounded. */
static int build_tables(struct diffc_schedule *schedule, const float *betas)
{
    struct diffc_context *context = schedule->object.context;
    const size_t bytes = (size_t)schedule->options.train_steps * sizeof(float);
    schedule->betas = dfi_alloc(context, bytes);
    schedule->alpha_bars = schedule->betas ? dfi_alloc(context, bytes) : NULL;
    if (!schedule->alpha_bars)
        return DIFFC_ERR_NOMEM;
    if (betas)
        memcpy(schedule->betas, betas, bytes);
    else
        schedule->rule->betas(&schedule->options, schedule->betas);
    double product = 1;
    for (int t = 0; t < schedule->options.train_steps; t++) {
        const float alpha = 1.0f - schedule->betas[t];
        product *= alpha;
        schedule->alpha_bars[t] = (float)product;
    }
    return DIFFC_OK;
}

/* `options` complete; `betas` NULL: those of the rule, if it has any. */
static int make(struct diffc_context *context, const struct dfi_schedule_rule *rule,
                const diffc_schedule_options *options, const float *betas, struct diffc_schedule **schedule)
{
    struct diffc_schedule *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->rule = rule;
    made->options = *options;
    const int status = betas || rule->betas ? build_tables(made, betas) : DIFFC_OK;
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *schedule = made;
    return DIFFC_OK;
}

int dfi_schedule_new(struct diffc_context *context, const char *name, const diffc_schedule_options *options,
                     struct diffc_schedule **schedule)
{
    const struct dfi_schedule_rule *rule = dfi_registry_find(rules, sizeof(rules[0]), DFI_COUNT(rules),
                                                             "schedule", name);
    if (!rule)
        return DIFFC_ERR_ARG;
    diffc_schedule_options filled = *options;
    DFI_TRY(fill_train_steps(&filled));
    DFI_TRY(fill_betas(rule, &filled));
    DFI_TRY(fill_shift(rule, &filled));
    return make(context, rule, &filled, NULL, schedule);
}

int dfi_schedule_from_betas(struct diffc_context *context, const float *betas, int count,
                            struct diffc_schedule **schedule)
{
    const diffc_schedule_options options = { .struct_size = sizeof(options), .train_steps = count };
    return make(context, &given, &options, betas, schedule);
}

static int mix_diffusion(const struct diffc_schedule *schedule, float t, float *a, float *b)
{
    const int count = schedule->options.train_steps;
    if (!(t >= 0 && t < (float)count && t == floorf(t)))
        return dfi_fail(DIFFC_ERR_ARG, "timestep is %g, must be a whole number from 0 to %d", (double)t,
                        count - 1);
    const float alpha_bar = schedule->alpha_bars[(int)t];
    *a = sqrtf(alpha_bar);
    *b = sqrtf(1.0f - alpha_bar);
    return DIFFC_OK;
}

int dfi_schedule_mix(const struct diffc_schedule *schedule, float t, float *a, float *b)
{
    if (schedule->rule->process == DFI_PROCESS_DIFFUSION)
        return mix_diffusion(schedule, t, a, b);
    const int match = schedule->rule->process == DFI_PROCESS_FLOW_MATCH;
    const float end = match ? (float)schedule->options.train_steps : 1.0f;
    if (!(t >= 0 && t <= end))
        return dfi_fail(DIFFC_ERR_ARG, "timestep is %g, must be from 0 to %g", (double)t, (double)end);
    const float part = t / end;
    *a = match ? 1.0f - part : part;
    *b = match ? part : 1.0f - part;
    return DIFFC_OK;
}
