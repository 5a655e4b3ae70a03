#ifndef DIFFC_SCHEDULE_H
#define DIFFC_SCHEDULE_H

#include <diffc/common.h>

DIFFC_BEGIN

/* How much noise there is at each timestep t = 0 .. T-1. Immutable after creation: any thread may read. The
 * values have the bits of PyTorch (torch.linspace with fused multiply-add, torch.cumprod on a CPU), and so of
 * diffusers.
 *   linear             beta[t] evenly spaced from beta_start to beta_end (Ho et al. 2020)
 *   scaled_linear      sqrt(beta[t]) evenly spaced (latent diffusion)
 *   squaredcos_cap_v2  the cosine schedule, beta[t] at most 0.999 (Nichol and Dhariwal 2021)
 *   flow               x = (1 - t) noise + t image, t in [0, 1] (Lipman et al. 2023)
 *   flow_match         x = sigma noise + (1 - sigma) image, timestep T sigma, with `shift`, as diffusers has
 *                      it (Esser et al. 2024) */
typedef struct diffc_schedule_options {
    size_t struct_size;
    int32_t train_steps; /* T, 1 .. 1000000; default 1000 */
    double beta_start;   /* (0, 1), default 1e-4; linear and scaled_linear only */
    double beta_end;     /* [beta_start, 1), default 0.02 */
    double shift;        /* > 0, default 1; flow_match only */
} diffc_schedule_options;

#define DIFFC_SCHEDULE_OPTIONS DIFFC_OPTIONS_OF(diffc_schedule_options)

/* ERR_ARG for an unknown name (the message lists the known ones), a value out of range or an option that the
 * schedule does not have; ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_schedule_create(diffc_context *context, const char *name,
                                    const diffc_schedule_options *options, diffc_schedule **schedule);

/* The schedule that scheduler_config.json in `folder` describes (a diffusers model has one in scheduler/, a
 * super-resolution model another in image_noising_scheduler/). Absent keys have diffusers' defaults. A list
 * trained_betas takes the place of a formula; the schedule's name is then trained_betas. ERR_IO, ERR_FORMAT,
 * ERR_UNSUPPORTED and ERR_CONFIG (name the key), ERR_ARG, ERR_LIMIT, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_schedule_open(diffc_context *context, const char *folder, diffc_schedule **schedule);

/* Name and T; beta and the cumulative product of 1 - beta, [T] floats computed as PyTorch does (products
 * accumulated in double), NULL for the flow schedules. Since 0.1. */
DIFFC_API const char *diffc_schedule_name(const diffc_schedule *schedule);
DIFFC_API int diffc_schedule_train_steps(const diffc_schedule *schedule);
DIFFC_API const float *diffc_schedule_betas(const diffc_schedule *schedule);
DIFFC_API const float *diffc_schedule_alpha_bars(const diffc_schedule *schedule);

/* The forward process: x_t = sqrt(alpha_bar[t]) x0 + sqrt(1 - alpha_bar[t]) noise; for flow t x0 +
 * (1 - t) noise; for flow_match with s = t / T: (1 - s) x0 + s noise. All F32 [N, C, H, W] of one shape,
 * contiguous; `t` holds N timesteps (whole numbers 0 .. T-1; flow: [0, 1], flow_match: [0, T]). `noisy` may
 * be x0 or noise. ERR_ARG. Since 0.1. */
DIFFC_API int diffc_schedule_add_noise(const diffc_schedule *schedule, const diffc_tensor *x0,
                                       const diffc_tensor *noise, const float *t, diffc_tensor *noisy);

DIFFC_END

#endif
