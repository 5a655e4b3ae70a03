#ifndef DFI_TRAIN_OBJECTIVE_H
#define DFI_TRAIN_OBJECTIVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/registry.h"
#include "train/train.h"

/* What an objective needs besides the sample. */
struct dfi_objective_constants {
    float sigma;             /* denoise */
    const float *alpha_bars; /* ddpm: [train_steps] */
    int train_steps;
};

struct dfi_objective {
    struct dfi_entry entry;
    int classifies; /* for classifiers, the target is the label; else for denoisers, the target is an image */
    int noisy;      /* reads e */
    int timed;      /* feeds t */
    int scaled_time; /* t / T, so that the model must know T */
    /* In place, n values: x becomes the input, e the target. `word` is uniform on 32 bits. Returns t as it is
     * fed. */
    float (*make)(const struct dfi_objective_constants *constants, uint32_t word, float *x, float *e,
                  size_t n);
};

const struct dfi_objective *dfi_objective_find(const char *name); /* NULL with a message */

/* Whether the class of a sample is replaced by zeros: probability to within 2^-32. */
int dfi_class_dropped(double probability, uint32_t word);

#endif
