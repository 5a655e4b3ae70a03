#ifndef DENOISE_SHOW_H
#define DENOISE_SHOW_H

#include "common/metrics.h"
#include "common/mnist.h"

/* The pictures of mnist_denoise. */
struct denoise_show {
    diffc_context *context;
    const struct ex_mnist *mnist;
    const char *out;
    const char *numerics, *precision;
    uint64_t seed;
    int count; /* test images that errors are taken over */
};

/* noising.png: test digits under growing noise. */
int denoise_show_noising(const struct denoise_show *show);

/* epoch-N.png: input, noisy, output (or noise and output); a picture function of the training loop. */
int denoise_show_epoch(void *opaque, diffc_model *model, int epoch);

/* All that a trained model can show, with figures. */
int denoise_show_model(const struct denoise_show *show, diffc_model *model, json_t *metrics);

#endif
