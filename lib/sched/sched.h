#ifndef DFI_SCHED_SCHED_H
#define DFI_SCHED_SCHED_H

#include <diffc/sampler.h>
#include <diffc/schedule.h>

#include "base/context.h"
#include "base/registry.h"

/* ---- schedule.c: how much noise there is at a timestep ---- */

enum dfi_process { /* bits: rules and spacings say which they are for */
                   DFI_PROCESS_DIFFUSION = 1,
                   DFI_PROCESS_FLOW = 2,
                   DFI_PROCESS_FLOW_MATCH = 4
};

struct dfi_schedule_rule {
    struct dfi_entry entry;
    enum dfi_process process;
    int beta_range; /* 1: beta_start and beta_end mean something */
    /* NULL for the flows, and where the betas are given. */
    void (*betas)(const diffc_schedule_options *options, float *betas);
};

struct diffc_schedule {
    struct dfi_object object;
    const struct dfi_schedule_rule *rule;
    diffc_schedule_options options; /* defaults filled in */
    float *betas, *alpha_bars;      /* [train_steps], NULL for the flows */
};

/* `options` with defaults not yet filled in. */
int dfi_schedule_new(struct diffc_context *context, const char *name, const diffc_schedule_options *options,
                     struct diffc_schedule **schedule);

/* From `count` betas, checked, which are copied. */
int dfi_schedule_from_betas(struct diffc_context *context, const float *betas, int count,
                            struct diffc_schedule **schedule);

/* From scheduler_config.json in a folder. */
int dfi_schedule_open(struct diffc_context *context, const char *folder, struct diffc_schedule **schedule);

/* Coefficients of x_t = a x0 + b noise; fails for a timestep that the schedule does not have. */
int dfi_schedule_mix(const struct diffc_schedule *schedule, float t, float *a, float *b);

/* ---- spacing.c: lists of timesteps ---- */

struct dfi_spacing_request {
    const struct diffc_schedule *schedule;
    int steps;
    int top;        /* timesteps top .. T - 1 are not visited; T but for lambda_min */
    int skips_zero; /* DPM-Solver++ asks for one timestep more and leaves out the lowest (diffusers) */
    int fractional; /* linspace is not rounded */
    int offset;     /* of leading; below T */
};

struct dfi_spacing {
    struct dfi_entry entry;
    int processes;
    int from_top;   /* 1: euler starts at the largest sigma of the schedule, as diffusers has it */
    int free;       /* 1: the number of steps may be chosen */
    int skips_zero; /* 1: heeds that of the request, and cannot place T steps then */
    const unsigned char *sections; /* counts per section, ending with 0; NULL: not a preset */
    int (*fill)(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request, float *times);
};

const struct dfi_spacing *dfi_spacing_find(const char *name);

/* Allocates and fills the list, checked. */
int dfi_spacing_list(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request,
                     float **times, int *count);

/* Order and range of a list; `what` begins the message. */
int dfi_times_check(const struct diffc_schedule *schedule, const char *what, const float *times, int count,
                    int fractional);

/* ---- estimate.c, threshold.c: the image that the prediction stands for ---- */

enum dfi_predict { DFI_PREDICT_EPSILON, DFI_PREDICT_SAMPLE, DFI_PREDICT_V, DFI_PREDICT_VELOCITY };

struct dfi_prediction {
    struct dfi_entry entry;
    enum dfi_predict kind;
    int processes;
};

enum dfi_variance { DFI_VARIANCE_SMALL, DFI_VARIANCE_SMALL_LOG, DFI_VARIANCE_LARGE, DFI_VARIANCE_LEARNED };

struct dfi_limiter {
    int clips;
    float low, high;
    float ratio, max; /* dynamic thresholding; ratio 0: none */
};

const struct dfi_prediction *dfi_prediction_find(const char *name);

/* x0 from one sample of n values; x = alpha x0 + sigma noise. */
void dfi_estimate(const struct diffc_sampler *sampler, int step, const float *x, const float *output,
                  float *x0, size_t n);
void dfi_limit(const struct dfi_limiter *limiter, float *x0, size_t n);

/* The q-quantile of |x|, torch.quantile's linear interpolation; n >= 1. */
float dfi_abs_quantile(const float *x, size_t n, float q);

/* ---- one file per family of step rules ---- */

/* One sample of n values. */
struct dfi_step_data {
    float *x;        /* in: at timestep `step`; out: at the next */
    const float *x0; /* the limited estimate */
    const float
        *previous;       /* that of the step before; NULL at the start of a chain and for single-step rules */
    const float *output; /* the network's */
    const float *variance; /* its variance channels; NULL without */
    const float *noise;    /* NULL where the step needs none */
    size_t n;
};

/* Does a rule add noise at all steps but the last? */
enum dfi_step_noise { DFI_NOISE_NEVER, DFI_NOISE_ALWAYS, DFI_NOISE_WITH_ETA };

struct dfi_step_rule {
    struct dfi_entry entry;
    int processes;
    int multistep;              /* 1: keeps the last estimate */
    int skips_zero, fractional; /* see dfi_spacing_request */
    int has_eta, has_variance, has_lambda;
    enum dfi_step_noise noise;
    void (*levels)(struct diffc_sampler *sampler);
    float (*initial_sigma)(const struct diffc_sampler *sampler);         /* NULL: 1 */
    float (*input_scale)(const struct diffc_sampler *sampler, int step); /* divisor of x; NULL: 1 */
    void (*update)(const struct diffc_sampler *sampler, int step, const struct dfi_step_data *data);
};

extern const struct dfi_step_rule dfi_step_ddpm, dfi_step_ddim, dfi_step_dpmsolver, dfi_step_sde_dpmsolver,
    dfi_step_euler, dfi_step_flow_euler;

/* x moves by `change` of sigma along the line from the estimate through x. */
void dfi_follow_estimate(const struct dfi_step_data *data, float sigma, float change);

const struct dfi_step_rule *dfi_step_find(const char *name);

struct diffc_sampler {
    struct dfi_object object;
    const struct diffc_schedule *schedule;
    const struct dfi_step_rule *rule;
    const struct dfi_spacing *spacing; /* NULL: an explicit list */
    const struct dfi_prediction *prediction;
    enum dfi_variance variance;
    float eta;
    struct dfi_limiter limiter;
    int count;
    float *times;          /* [count] */
    double *alpha, *sigma; /* [count + 1]: x = alpha x0 + sigma noise; the last entry is the image: 1, 0 */
    float initial_sigma;
    /* the chain in progress */
    float *estimate[2]; /* of this step, of the step before; [1] for multistep rules only */
    size_t room;        /* floats in each */
    int next, kept;   /* multistep: the step that must come, and whether estimate[1] holds its predecessor */
    int64_t shape[4]; /* of the chain */
};

/* alpha_bar of step i, 1 past the end: the previous timestep is the next entry of the list. */
static inline float dfi_sampler_alpha_bar(const struct diffc_sampler *sampler, int step)
{
    return step < sampler->count ? sampler->schedule->alpha_bars[(int)sampler->times[step]] : 1.0f;
}

/* Levels sqrt(alpha_bar), sqrt(1 - alpha_bar) in float, as ddpm and ddim need them. */
void dfi_levels_float(struct diffc_sampler *sampler);

/* `options` as the caller gave them. */
int dfi_sampler_new(const struct diffc_schedule *schedule, const diffc_sampler_options *options,
                    struct diffc_sampler **sampler);
int dfi_sampler_open(struct diffc_context *context, const char *folder, const diffc_sampler_options *options,
                     struct diffc_sampler **sampler);
int dfi_sampler_needs_noise(const struct diffc_sampler *sampler, int step);
void dfi_sampler_scale(const struct diffc_sampler *sampler, int step, const float *x, float *scaled,
                       size_t n);
void dfi_sampler_add_noise(const struct diffc_sampler *sampler, int step, const float *x0, const float *noise,
                           float *x, size_t n);
void dfi_sampler_begin(struct diffc_sampler *sampler, int step);

struct dfi_step_arrays { /* shape [N, C, H, W]; output has output_channels, C or 2 C */
    const int64_t *shape;
    int64_t output_channels;
    const float *output, *noise;
    float *x, *x0;
};
int dfi_sampler_advance(struct diffc_sampler *sampler, int step, const struct dfi_step_arrays *arrays);

/* Names for diffc_registry_entry(); NULL past the end. */
const struct dfi_entry *dfi_schedule_entry(int index);
const struct dfi_entry *dfi_spacing_entry(int index);
const struct dfi_entry *dfi_step_entry(int index);

#endif
