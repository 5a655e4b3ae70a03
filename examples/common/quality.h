#ifndef EX_QUALITY_H
#define EX_QUALITY_H

#include "support.h"

/* Peak signal-to-noise ratio in dB of picture `index` of `images` against the one of `clean`, both F32 [N, C,
 * H, W] nominally in [-1, 1], as they are shown: clamped to that range. */
double ex_psnr(const diffc_tensor *images, int index, const diffc_tensor *clean);

/* Gaussian blurs of a noisy picture, by kernels and sigmas of the course: which comes nearest to the
 * clean one? */
#define EX_BLUR_KERNELS 7
#define EX_BLUR_SIGMAS 6
extern const int ex_blur_kernels[EX_BLUR_KERNELS];  /* 3 .. 15 */
extern const double ex_blur_sigmas[EX_BLUR_SIGMAS]; /* 0.5 .. 3 */

struct ex_blur {
    double psnr[EX_BLUR_KERNELS][EX_BLUR_SIGMAS]; /* NaN: the kernel is larger than the picture */
    int kernel;                                   /* the best */
    double sigma, best;
    diffc_tensor *image; /* blurred with those */
};

/* Of [1, C, H, W]. */
int ex_blur_sweep(const diffc_tensor *noisy, const diffc_tensor *clean, struct ex_blur *blur);

#endif
