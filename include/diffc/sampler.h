#ifndef DIFFC_SAMPLER_H
#define DIFFC_SAMPLER_H

#include <diffc/guidance.h>

DIFFC_BEGIN

/* A step rule over a list of timesteps, largest noise first. Step i goes from timestep i of the list to
 * timestep i + 1, and the last step from the last timestep to the image: it adds no noise, and ddpm, ddim and
 * dpmsolver++ end with the estimate x0 itself. So a list should end with (nearly) no noise.
 *
 * Steps: ddpm (Ho et al. 2020), ddim (Song et al. 2021), dpmsolver++ (2M, Lu et al. 2022), sde-dpmsolver++,
 *   euler (Karras et al. 2022), flow_euler (flow and flow_match schedules).
 *
 * Spacings: full: every t, T - 1 .. 0.
 *   strided: all multiples of a stride below T, down to 0; the stride is T / steps rounded up, so there are
 *     at most `steps`: 34 steps of T = 1000 are the course's 990, 960, ..., 0.
 *   leading, trailing, linspace: as diffusers has them, with its variants for dpmsolver++.
 *   fast27, smart27, smart50, smart100, smart185, super27, super40, super100: the lists of DeepFloyd IF.
 *   Flow schedules have linspace only: t = i / steps; flow_match: sigma evenly from 1 down, shifted.
 *
 * x is sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise, as diffc_schedule_add_noise() makes it; for euler it
 * is that divided by sqrt(alpha_bar), x0 + sigma noise; for the flows what their schedule says.
 *
 * The course's loop makes no step from t = 0: it is ddpm, strided, learned_range, without clipping, ended one
 * step early by diffc_sample_options.stop_step. */
typedef struct diffc_sampler_options {
    size_t struct_size;
    const char *step;       /* default: ddpm, or flow_euler for a flow schedule */
    const char *spacing;    /* default: full; of flow schedules: linspace */
    int32_t steps;          /* number of timesteps asked of the spacing, at most T (flows: any number);
                               default min(50, T), of both dpmsolver++ by leading and linspace min(50, T - 1);
                               full and the named lists: 0 or their own number */
    const float *timesteps; /* an explicit list in place of spacing and steps: strictly descending, whole
                               numbers in 0 .. T-1; euler: any reals there; flow_match: reals in (0, T];
                               flow: ascending in [0, 1) */
    int32_t timestep_count;
    const char *prediction;    /* what the network gives: epsilon (default), sample, v; of the flows velocity
                                  (default), sample */
    const char *variance;      /* ddpm: fixed_small (default), fixed_small_log (the same by way of its
                                  logarithm), fixed_large (std sqrt(beta)), learned_range (the output has 2 C
                                  channels; other steps take it too). Everything but ddpm with learned_range
                                  ignores the second half of 2 C channels */
    float eta;                 /* ddim: 0 deterministic (default) .. 1 */
    float clip;                /* clamp the x0 estimate to [-clip, clip]; 0: not (default) */
    float clip_low, clip_high; /* clamp it to this range instead, low < high; both 0: not */
    float threshold_ratio; /* dynamic thresholding (Saharia et al. 2022) by this quantile in (0, 1); 0: not
                              (default); excludes clipping */
    float threshold_max;   /* with threshold_ratio: largest value the threshold may take, >= 1; default 1 */
    double lambda_min;     /* dpmsolver++: spacings leave out timesteps of smaller half log-SNR; 0: none
                              (default); squaredcos_cap_v2 needs about -5.1 */
    int32_t steps_offset;  /* leading: added to every timestep, 0 (default) .. T-1 */
} diffc_sampler_options;

#define DIFFC_SAMPLER_OPTIONS DIFFC_OPTIONS_OF(diffc_sampler_options)

/* ERR_ARG for unknown names and values out of range, ERR_CONFIG for parts that do not fit each other (also an
 * option that the step does not have), ERR_LIMIT (diffc_limits.steps), ERR_NOMEM. Keeps the schedule. Since
 * 0.1. */
DIFFC_API int diffc_sampler_create(const diffc_schedule *schedule, const diffc_sampler_options *options,
                                   diffc_sampler **sampler);

/* The sampler that scheduler_config.json in `folder` describes: its schedule, step rule (DDPM, DDIM,
 * DPMSolverMultistep, EulerDiscrete), spacing, prediction, variance, thresholding or clipping; what `options`
 * set comes first, steps or a list among them. Thresholding and clipping are those that diffusers' class of
 * the step has; lambda_min_clipped counts for dpmsolver++, steps_offset for spacing leading. As
 * diffc_schedule_open() and diffc_sampler_create(). Since 0.1. */
DIFFC_API int diffc_sampler_open(diffc_context *context, const char *folder,
                                 const diffc_sampler_options *options, diffc_sampler **sampler);

/* The list: number of steps, and the timestep of step i (from 0; out of range gives -1). Since 0.1. */
DIFFC_API int diffc_sampler_steps(const diffc_sampler *sampler);
DIFFC_API float diffc_sampler_timestep(const diffc_sampler *sampler, int step);

/* Standard deviation that the starting noise must have: 1 but for euler, where it is the first sigma s
 * (linspace, trailing) or sqrt(s^2 + 1). Since 0.1. */
DIFFC_API float diffc_sampler_initial_sigma(const diffc_sampler *sampler);

/* The schedule, which the sampler keeps. Since 0.1. */
DIFFC_API const diffc_schedule *diffc_sampler_schedule(const diffc_sampler *sampler);

/* Channels that the network must give for pictures of `channels`: twice as many with learned_range. Without,
 * it may give twice as many too, of which the second half is not used. Since 0.1. */
DIFFC_API int diffc_sampler_output_channels(const diffc_sampler *sampler, int channels);

/* The step to start from a picture at, so that the part `strength` (0 .. 1) of the steps is made, as
 * diffusers counts: N - int(N strength); N (no step at all) for 0. Since 0.1. */
DIFFC_API int diffc_sampler_strength(const diffc_sampler *sampler, double strength);

/* The forward process: x0 noised as much as x is at step i; i = number of steps gives x0 itself (noise may
 * then be NULL). F32 [N, C, H, W], contiguous, one shape; x may be x0 or noise. ERR_ARG. Since 0.1. */
DIFFC_API int diffc_sampler_add_noise(const diffc_sampler *sampler, int step, const diffc_tensor *x0,
                                      const diffc_tensor *noise, diffc_tensor *x);

/* 1 if step i adds noise, 0 if not. Since 0.1. */
DIFFC_API int diffc_sampler_needs_noise(const diffc_sampler *sampler, int step);

/* What the network is shown at step i: x itself but for euler, which divides by sqrt(sigma^2 + 1). F32
 * [N, C, H, W], contiguous, same shape; `scaled` may be x. ERR_ARG. Since 0.1. */
DIFFC_API int diffc_sampler_scale_input(const diffc_sampler *sampler, int step, const diffc_tensor *x,
                                        diffc_tensor *scaled);

/* One step, in place: from x at timestep i to x at timestep i + 1 (the last step ends at the image). `output`
 * is the network's [N, C, H, W] (not with learned_range) or [N, 2C, H, W]. `noise` [N, C, H, W], needed where
 * diffc_sampler_needs_noise(); may be NULL elsewhere. `x0`, if not NULL, receives the estimate of the image,
 * clipped or thresholded as configured; it must not be x. F32, contiguous. Single-step rules take steps in
 * any order. Multistep rules (dpmsolver++, sde-dpmsolver++) keep the last estimate in the sampler: steps come
 * in order, on one shape, and step 0 starts a new chain. Memory is allocated at the first step of a larger
 * batch. On failure x is as it was. ERR_ARG, ERR_STATE (multistep: not the step that is due), ERR_NOMEM.
 * Since 0.1. */
DIFFC_API int diffc_sampler_step(diffc_sampler *sampler, int step, const diffc_tensor *output,
                                 const diffc_tensor *noise, diffc_tensor *x, diffc_tensor *x0);

/* Starts a chain at any step, for multistep rules: the next diffc_sampler_step() must be of this step, and is
 * of first order. Needed for chains that do not start at step 0. ERR_ARG. Since 0.1. */
DIFFC_API int diffc_sampler_begin(diffc_sampler *sampler, int step);

/* What a progress callback sees after each step; the tensors live until it returns, and x may be changed. */
typedef struct diffc_sample_step {
    size_t struct_size;
    int32_t step, steps;
    float timestep;             /* of the step just made */
    diffc_tensor *x;            /* [N, C, H, W] after the step */
    const diffc_tensor *output; /* the guided prediction */
    const diffc_tensor *x0;     /* the estimate of the image */
} diffc_sample_step;

/* Returns 0 to go on; any other value ends the loop with ERR_CANCELLED. */
typedef int (*diffc_sample_fn)(void *opaque, const diffc_sample_step *step);

typedef struct diffc_sample_options {
    size_t struct_size;
    int64_t batch; /* N, default that of the first of start, image, known, reference and low that is given,
                      or 1; at most diffc_limits.batch */
    int64_t channels, height, width; /* default: those of start, image, known or reference; needed without */
    uint64_t seed;                   /* sample k draws from stream first_sample + k: the same pictures */
    uint64_t first_sample;           /*   whatever the batch they are made in; first_sample + N <= 2^48 */
    diffc_guide *guide;              /* default: condition 0 alone */
    const diffc_tensor *start;       /* x at step first_step, F32 [N, C, H, W], contiguous; default: noise
                                        of standard deviation diffc_sampler_initial_sigma() */
    int32_t first_step;              /* 0 .. steps - 1 */
    diffc_sample_fn progress;
    void *progress_opaque;
    int32_t stop_step; /* steps first_step .. stop_step - 1 are made; default: all */
    /* All tensors are F32, contiguous, [N, C, H, W] or [1, C, H, W] for all samples. Numbers come from this
     * generator in place of seed and first_sample, for the whole batch at a time: the starting noise, that of
     * `low`, then at each step that of the reference, of the step (if it needs any) and of the mask. That is
     * the order of diffusers' pipelines. */
    diffc_generator *generator;
    const diffc_tensor *image; /* start from this picture, noised to first_step (SDEdit, Meng et al. 2022) */
    /* Inpainting: where the mask (also with 1 channel; 0 .. 1) is 1 the picture is painted, where it is 0 it
     * is `known`, values between mix. Rules:
     *   renoise  outside, after each step, known noised to the timestep just reached (the course; default)
     *   clean    outside, known itself from the start to the end (diffusers, which also starts from image =
     *            known) */
    const diffc_tensor *mask, *known;
    const char *mask_rule;
    /* Inverse problems: before each prediction this component of x becomes that of the reference, noised to
     * the same timestep; e.g. component 0 of grey_colour colours a picture. */
    const diffc_tensor *reference;
    diffc_factorization *factorization;
    int32_t component;
    /* Stage II: the low-resolution picture [N or 1, C, h, w] is scaled up (bilinear, corners on corners),
     * noised once to timestep low_level of low_schedule (default: the sampler's schedule), and shown to the
     * network behind x: the denoiser gets [N, 2 C, H, W]. The denoiser knows the level (class label) itself.
     */
    const diffc_tensor *low;
    const diffc_schedule *low_schedule;
    float low_level;
} diffc_sample_options;

#define DIFFC_SAMPLE_OPTIONS DIFFC_OPTIONS_OF(diffc_sample_options)

/* The whole loop, written with public calls: F32 [N, C, H, W], not clamped. The denoiser's output must have
 * C channels (not with learned_range) or 2 C. One sampler serves one loop at a time. Blocks until it is done.
 * ERR_ARG, ERR_CONFIG, ERR_LIMIT, ERR_NOMEM, ERR_NONFINITE (the prediction or x has NaN or infinity; says at
 * which step), ERR_CANCELLED (by diffc_context_cancel() or the callback; everything can be used again), and
 * what the denoiser returns. Since 0.1. */
DIFFC_API int diffc_sample(diffc_sampler *sampler, const diffc_denoiser *denoiser,
                           const diffc_sample_options *options, diffc_tensor **images);

DIFFC_END

#endif
