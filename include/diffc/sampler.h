#ifndef DIFFC_SAMPLER_H
#define DIFFC_SAMPLER_H

#include <diffc/guidance.h>

DIFFC_BEGIN

/* A step rule over a list of timesteps, largest noise first.
 * Steps: ddpm (Ho et al. 2020), ddim (Song et al. 2021), dpmsolver++ (2M, Lu et al. 2022), sde-dpmsolver++,
 *   euler (Karras et al. 2022), flow_euler (flow and flow_match schedules).
 * Spacings: full (every t), strided (the course's 990, 960, ..., 0 for T = 1000, stride 30: T - stride, T - 2 stride,
 *   ..., with stride = T / steps rounded down, ending with 0), leading, trailing, linspace (as diffusers). */
typedef struct diffc_sampler_options {
    size_t struct_size;
    const char *step;       /* default: ddpm, or flow_euler for a flow schedule */
    const char *spacing;    /* default: full; of flow schedules: linspace */
    int32_t steps;          /* number of timesteps asked of the spacing; default T for full, 50 otherwise */
    const float *timesteps; /* an explicit list in place of spacing and steps, strictly descending (flow:
                               ascending), integers in 0 .. T-1 for all steps but euler and the flows */
    int32_t timestep_count;
    const char *prediction; /* what the network gives: epsilon (default), sample, v; flow: velocity (default) */
    const char *variance;   /* ddpm: fixed_small (default), fixed_large (std sqrt(beta)), learned_range */
    float eta;              /* ddim: 0 deterministic (default) .. 1 */
    float clip;             /* clamp the x0 estimate to [-clip, clip]; 0: not (default) */
    float clip_low, clip_high; /* clamp it to this range instead; both 0: not */
    float threshold_ratio;  /* dynamic thresholding (Saharia et al. 2022): quantile in (0, 1); 0: not (default) */
    float threshold_max;    /* largest value the threshold may take, >= 1; default 1 */
    double lambda_min;      /* dpmsolver++: cuts timesteps of smaller half log-SNR; 0: none (default); e.g. -5.1 */
} diffc_sampler_options;

#define DIFFC_SAMPLER_OPTIONS DIFFC_OPTIONS_OF(diffc_sampler_options)

/* ERR_ARG for unknown names and values out of range, ERR_CONFIG for parts that do not fit each other, ERR_LIMIT,
 * ERR_NOMEM. Keeps the schedule. Since 0.1. */
DIFFC_API int diffc_sampler_create(const diffc_schedule *schedule, const diffc_sampler_options *options,
                                   diffc_sampler **sampler);

/* The list: number of steps, and the timestep of step i (from 0; out of range gives -1). Since 0.1. */
DIFFC_API int diffc_sampler_steps(const diffc_sampler *sampler);
DIFFC_API float diffc_sampler_timestep(const diffc_sampler *sampler, int step);

/* Standard deviation that the starting noise must have (1 but for euler). Since 0.1. */
DIFFC_API float diffc_sampler_initial_sigma(const diffc_sampler *sampler);

/* 1 if step i adds noise, 0 if not. Since 0.1. */
DIFFC_API int diffc_sampler_needs_noise(const diffc_sampler *sampler, int step);

/* What the network is shown at step i: x itself but for euler, which divides by sqrt(sigma^2 + 1). F32, same shape;
 * `scaled` may be x. Since 0.1. */
DIFFC_API int diffc_sampler_scale_input(const diffc_sampler *sampler, int step, const diffc_tensor *x,
                                        diffc_tensor *scaled);

/* One step, in place: from x at timestep i to x at timestep i + 1 (the last step ends at the image). `output` is
 * the network's [N, C, H, W], or [N, 2C, H, W] with learned_range. `noise` [N, C, H, W], needed where
 * diffc_sampler_needs_noise(); may be NULL elsewhere. `x0`, if not NULL, receives the estimate of the image,
 * thresholded as configured. F32, contiguous. Multistep rules keep the last estimate in the sampler: steps come in order, and step 0
 * starts a new chain. ERR_ARG, ERR_STATE, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_sampler_step(diffc_sampler *sampler, int step, const diffc_tensor *output,
                                 const diffc_tensor *noise, diffc_tensor *x, diffc_tensor *x0);

/* What a progress callback sees after each step; the tensors live until it returns, and x may be changed. */
typedef struct diffc_sample_step {
    size_t struct_size;
    int32_t step, steps;
    float timestep;               /* of the step just made */
    diffc_tensor *x;              /* [N, C, H, W] after the step */
    const diffc_tensor *output;   /* the guided prediction */
    const diffc_tensor *x0;       /* the estimate of the image */
} diffc_sample_step;

/* Returns 0 to go on; any other value ends the loop with ERR_CANCELLED. */
typedef int (*diffc_sample_fn)(void *opaque, const diffc_sample_step *step);

typedef struct diffc_sample_options {
    size_t struct_size;
    int64_t batch;                    /* N, default 1 */
    int64_t channels, height, width;  /* default: those of `start`; needed without it */
    uint64_t seed;                    /* sample k draws from stream first_sample + k: the same pictures */
    uint64_t first_sample;            /*   whatever the batch they are made in */
    diffc_guide *guide;               /* default: condition 0 alone */
    const diffc_tensor *start;        /* x at step first_step, F32 [N, C, H, W]; default: noise */
    int32_t first_step;               /* 0 .. steps - 1 */
    diffc_sample_fn progress;
    void *progress_opaque;
} diffc_sample_options;

#define DIFFC_SAMPLE_OPTIONS DIFFC_OPTIONS_OF(diffc_sample_options)

/* The whole loop, written with the calls above: F32 [N, C, H, W], not clamped. ERR_ARG, ERR_CONFIG, ERR_LIMIT,
 * ERR_NOMEM, ERR_NONFINITE (the network gave NaN or infinity; says at which step), ERR_CANCELLED, and what the
 * denoiser returns. Since 0.1. */
DIFFC_API int diffc_sample(diffc_sampler *sampler, const diffc_denoiser *denoiser,
                           const diffc_sample_options *options, diffc_tensor **images);

DIFFC_END

#endif
