#ifndef DIFFC_GUIDANCE_H
#define DIFFC_GUIDANCE_H

#include <diffc/common.h>

DIFFC_BEGIN

#define DIFFC_UNCONDITIONAL (-1) /* the condition number of "no condition" */

/* One thing to predict: the network's output for `x` [N, C, H, W] under condition number `condition` (what a
 * number means is the denoiser's: a label set, a prompt), into `out` [N, C', H, W]; both F32, contiguous.
 * Queries that carry the same `x` pointer let the denoiser share what does not depend on the condition. */
typedef struct diffc_query {
    const diffc_tensor *x;
    diffc_tensor *out;
    int32_t condition;
} diffc_query;

/* Predicts for all queries at timesteps t[0..N-1] (one per sample). Returns DIFFC_OK or a negative
 * diffc_status, which ends the loop that called; diffc_message() then names the step. It may call the library
 * on other handles. */
typedef int (*diffc_predict_fn)(void *opaque, const float *t, const diffc_query *queries, int count);

/* A model as the sampling loop sees it: a session of this library (diffc_session_denoiser()) or a function of
 * the caller's. The caller keeps `opaque` alive while the denoiser is in use. */
typedef struct diffc_denoiser {
    size_t struct_size;
    diffc_predict_fn predict;
    void *opaque;
    int32_t out_channels; /* C'; 0: as many as x has */
} diffc_denoiser;

#define DIFFC_DENOISER DIFFC_OPTIONS_OF(diffc_denoiser)

/* How one prediction is made of several: `query_count` says how many queries step number `step` needs,
 * `expand` sets their x (x itself, or tensors of the combiner's own) and condition, `combine` makes `out` of
 * their outputs. The queries' out tensors belong to the guide and have the shape of `out`; an x that the
 * combiner sets must have N samples and live until combine. Each returns DIFFC_OK (query_count: 1 .. 1024) or
 * a negative diffc_status. One guide serves one loop at a time. */
typedef struct diffc_combiner {
    size_t struct_size;
    int (*query_count)(void *opaque, int step);
    int (*expand)(void *opaque, int step, const diffc_tensor *x, diffc_query *queries, int count);
    int (*combine)(void *opaque, int step, const diffc_query *queries, int count, diffc_tensor *out);
    void (*release)(void *opaque); /* called when the guide is freed; may be NULL */
    void *opaque;
} diffc_combiner;

#define DIFFC_COMBINER DIFFC_OPTIONS_OF(diffc_combiner)

/* A guide over a combiner of the caller's. On failure its `release` is not called. ERR_ARG, ERR_NOMEM. Since
 * 0.1. */
DIFFC_API int diffc_guide_create(diffc_context *context, const diffc_combiner *combiner, diffc_guide **guide);

/* Classifier-free guidance (Ho and Salimans 2022): e_u + scale (e_c - e_u), e_c under condition 0, e_u under
 * DIFFC_UNCONDITIONAL. `scales` has one finite value for all samples (count 1) or one per sample (another
 * number of samples is then ERR_CONFIG when predicting). Scales 1 and 0 give the bits of e_c and e_u; when
 * every scale is 1, or every scale 0, only the pass that counts is run. If the output has more channels than
 * x (learned variance), the additional ones are those of the conditional pass, at scale 0 of the
 * unconditional one. ERR_ARG, ERR_LIMIT, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_guide_create_cfg(diffc_context *context, const float *scales, int count,
                                     diffc_guide **guide);

/* One guided prediction: `x` [N, C, H, W] and `out` [N, C', H, W], F32 and contiguous, t[0..N-1]; `step` is
 * handed to the combiner. A NULL guide asks condition 0. Uses memory of the guide, allocated at the first
 * call for a shape. `out` must not be x. ERR_ARG, ERR_CONFIG, ERR_NOMEM, and what the denoiser or combiner
 * returns. Since 0.1. */
DIFFC_API int diffc_guide_predict(diffc_guide *guide, const diffc_denoiser *denoiser, int step,
                                  const float *t, const diffc_tensor *x, diffc_tensor *out);

DIFFC_END

#endif
