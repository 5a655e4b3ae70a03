#ifndef DIFFUSION_SHOW_H
#define DIFFUSION_SHOW_H

#include "common/metrics.h"
#include "common/sample.h"

/* Samples of mnist_diffusion as pictures. */
struct diffusion_show {
    diffc_context *context;
    const char *out;
    const char *numerics, *precision;
    uint64_t seed;
    double guidance;
    int steps; /* 0: the model's own number */
    int samples, clip, quiet;
};

/* epoch-N.png; a picture function of the training loop. */
int diffusion_show_epoch(void *opaque, diffc_model *model, int epoch);

/* samples.png, samples.npy, steps.png (some digits on their way) and animation.png. */
int diffusion_show_samples(const struct diffusion_show *show, diffc_model *model, json_t *metrics);

#endif
