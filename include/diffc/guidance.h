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
    /* Channels of the picture: the first so many of x are the noisy picture, the others a picture that
     * conditions (stage II); the first so many of out are the prediction, the others its variance. */
    int32_t image_channels;
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
    int32_t out_channels;   /* C'; 0: as many as the picture has */
    int32_t image_channels; /* of diffc_query; 0: as many as x has. diffc_sample() sets it itself */
} diffc_denoiser;

#define DIFFC_DENOISER DIFFC_OPTIONS_OF(diffc_denoiser)

/* How one prediction is made of several: `query_count` says how many queries step number `step` needs,
 * `expand` sets their x (x itself, or tensors of the combiner's own) and condition, `combine` makes `out` of
 * their outputs. The queries' out tensors belong to the guide and have the shape of `out`; an x that the
 * combiner sets must have N samples and live until combine. Each returns DIFFC_OK (query_count: 1 .. 1024) or
 * a negative diffc_status. One guide serves one loop at a time. Inside a guide over views it is asked once
 * per view, one after the other. */
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
 * the picture (learned variance), the additional ones are those of the conditional pass, at scale 0 of the
 * unconditional one. ERR_ARG, ERR_LIMIT, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_guide_create_cfg(diffc_context *context, const float *scales, int count,
                                     diffc_guide **guide);

/* ---- views: one picture that shows something else when it is looked at in another way (visual anagrams,
 * Geng et al. 2024) ---- */

/* A linear orthogonal map of pictures. Other maps change the statistics of the noise, and are refused.
 *   identity, vflip (upside down), hflip, rotate90, rotate180, rotate270 (counter-clockwise; quarter turns
 *     need H = W), negate
 *   skew           column x moves down by parameter (x - W/2) pixels towards 0, cyclically; default 1.5
 *   patch_permute  a random permutation, by `seed`, of parameter x parameter patches; default 8
 *   pixel_permute  the same with 64 patches a side, or with every pixel where 64 does not divide the sides
 *   jigsaw         4 x 4 pieces with tabs change places as their shapes allow; H = W, a multiple of 4;
 *                  `seed` (32 bits, default 4522) chooses as the one of visual_anagrams does
 *   inner_circle   a half turn within the radius parameter min(H, W), default 0.375
 *   square_hinge   3 x 3 squares turn by quarters to and fro; H = W
 * A view remembers its map for the last size: use it from one thread at a time. */
typedef struct diffc_view_options {
    size_t struct_size;
    double parameter; /* see above; 0: the default */
    uint64_t seed;
} diffc_view_options;

#define DIFFC_VIEW_OPTIONS DIFFC_OPTIONS_OF(diffc_view_options)

/* A view of the library. ERR_ARG for an unknown name (the message lists the known ones) and a parameter that
 * the view does not have or is out of range; ERR_CONFIG for those that are known not to be orthogonal (blur,
 * rotate, white_balance); ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_view_create(diffc_context *context, const char *name, const diffc_view_options *options,
                                diffc_view **view);

/* A view of the caller's: `apply` makes what is seen of a picture, `invert` the picture of what is seen; both
 * F32 [N, C, H, W], contiguous, one shape, different memory. They are tried on random pictures before their
 * first use with a size: a map that is not linear and orthogonal, or whose inverse is not its inverse, is
 * refused. The variance channels follow a view that permutes pixels, with or without changes of sign, and
 * stay as they are with any other. They are given the picture's channels together, and what conditions, and
 * variances that follow the view, in groups of as many: another number of those is refused when a guide
 * predicts (ERR_CONFIG). */
typedef struct diffc_view_functions {
    size_t struct_size;
    const char *name; /* for messages; default "own" */
    int (*apply)(void *opaque, const diffc_tensor *x, diffc_tensor *seen);
    int (*invert)(void *opaque, const diffc_tensor *seen, diffc_tensor *x);
    void (*release)(void *opaque); /* called when the view is freed; may be NULL */
    void *opaque;
} diffc_view_functions;

#define DIFFC_VIEW_FUNCTIONS DIFFC_OPTIONS_OF(diffc_view_functions)

/* On failure `release` is not called. ERR_ARG, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_view_create_own(diffc_context *context, const diffc_view_functions *functions,
                                    diffc_view **view);

/* What is seen of x, and x of what is seen: F32 [N, C, H, W], contiguous, one shape, different memory.
 * ERR_ARG, ERR_CONFIG (a size that the view cannot be made for, or a map that is not orthogonal, in one
 * line), ERR_NOMEM, and what the functions of an own view return. Since 0.1. */
DIFFC_API int diffc_view_apply(diffc_view *view, const diffc_tensor *x, diffc_tensor *seen);
DIFFC_API int diffc_view_invert(diffc_view *view, const diffc_tensor *seen, diffc_tensor *x);

/* A guide over `count` (1 .. 64) views: view i is predicted by `inner` (NULL: the condition alone; else e.g.
 * classifier-free guidance) with its condition numbers 0, 1, ... standing for conditions[i], conditions[i] +
 * 1, ... (conditions NULL: i), the predictions are turned back and reduced:
 *   mean       their mean
 *   sum        their sum
 *   alternate  at step number s only view s mod count is asked
 * Variance channels follow permutations of pixels, never signs; of several views they are the mean. Keeps the
 * views and inner. ERR_ARG (unknown reduction), ERR_LIMIT, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_guide_create_views(diffc_context *context, diffc_view *const *views,
                                       const int32_t *conditions, int count, const char *reduction,
                                       diffc_guide *inner, diffc_guide **guide);

/* ---- factorizations: a picture as a sum of components, each with a condition of its own (hybrid images;
 * Geng et al., Factorized Diffusion, 2024) ---- */

/* Linear components that sum to the picture.
 *   low_high     Gaussian blur (kernel_size, default 33; sigma, default 2) | the rest
 *   three_bands  blur by sigma (default 1) and sigma2 (default 2), kernel_size 25 | by sigma without that |
 *                the rest
 *   grey_colour  the mean of the channels in each | the rest
 *   motion       mean of kernel_size (default 7) pixels along the diagonal, zeros outside | the rest
 *   scale        `scales`, which must sum to 1
 * Kernel and sigmas are those for pictures less than 128 high; at H >= 128 they are times H / 64 (rounded
 * down, the kernel made odd), so that both stages of a cascade are cut alike. Blurs reflect at the border;
 * default kernels are cut to what the picture allows. */
typedef struct diffc_factorization_options {
    size_t struct_size;
    double sigma, sigma2; /* pixels */
    int32_t kernel_size;  /* odd */
    int32_t scale_count;
    const double *scales;
} diffc_factorization_options;

#define DIFFC_FACTORIZATION_OPTIONS DIFFC_OPTIONS_OF(diffc_factorization_options)

/* ERR_ARG for an unknown name (the message lists the known ones), an option that it does not have or a value
 * out of range, ERR_CONFIG for scales that do not sum to 1, ERR_LIMIT, ERR_NOMEM. One thread at a time. Since
 * 0.1. */
DIFFC_API int diffc_factorization_create(diffc_context *context, const char *name,
                                         const diffc_factorization_options *options,
                                         diffc_factorization **factorization);

/* A factorization of the caller's: component k of x, both F32 [N, C, H, W], contiguous, different memory.
 * Tried on a random picture before its first use with a size: components that do not sum to it are refused.
 */
typedef struct diffc_factorization_functions {
    size_t struct_size;
    const char *name; /* for messages; default "own" */
    int32_t count;    /* of components, 1 .. 64 */
    int (*component)(void *opaque, int k, const diffc_tensor *x, diffc_tensor *component);
    void (*release)(void *opaque); /* called when the factorization is freed; may be NULL */
    void *opaque;
} diffc_factorization_functions;

#define DIFFC_FACTORIZATION_FUNCTIONS DIFFC_OPTIONS_OF(diffc_factorization_functions)

/* On failure `release` is not called. ERR_ARG, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_factorization_create_own(diffc_context *context,
                                             const diffc_factorization_functions *functions,
                                             diffc_factorization **factorization);

/* Number of components, and component k (from 0) of x: F32 [N, C, H, W], contiguous, one shape, different
 * memory. ERR_ARG, ERR_CONFIG (the size is too small for the kernel, or the components do not sum to the
 * picture), ERR_NOMEM, and what an own function returns. Since 0.1. */
DIFFC_API int diffc_factorization_count(const diffc_factorization *factorization);
DIFFC_API int diffc_factorization_component(diffc_factorization *factorization, int k, const diffc_tensor *x,
                                            diffc_tensor *component);

/* A guide that asks `inner` (as for views) once per component, all at the same x, and sums component k of the
 * k-th prediction; variance channels are the mean, unfiltered. conditions [count], NULL: k. Keeps both.
 * ERR_ARG, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_guide_create_factors(diffc_context *context, diffc_factorization *factorization,
                                         const int32_t *conditions, diffc_guide *inner, diffc_guide **guide);

/* One guided prediction: `x` [N, C, H, W] and `out` [N, C', H, W], F32 and contiguous, t[0..N-1]; `step` is
 * handed to the combiner. A NULL guide asks condition 0. Uses memory of the guide, allocated at the first
 * call for a shape. `out` must not be x. ERR_ARG, ERR_CONFIG, ERR_NOMEM, and what the denoiser or combiner
 * returns. Since 0.1. */
DIFFC_API int diffc_guide_predict(diffc_guide *guide, const diffc_denoiser *denoiser, int step,
                                  const float *t, const diffc_tensor *x, diffc_tensor *out);

DIFFC_END

#endif
