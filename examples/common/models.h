#ifndef EX_MODELS_H
#define EX_MODELS_H

#include "options.h"

/* Opens the file `weights`, or where that is NULL what the training run of that name left in
 * out/RUN/weights.safetensors. The model must have been trained for one of `objectives`, e.g. "ddpm|flow". */
int ex_model_open(diffc_context *context, const char *weights, const char *run, const char *objectives,
                  diffc_model **model);

int ex_is_flow(const diffc_model *model);

/* Strength of the noise that a one-step denoiser was trained with. */
double ex_trained_sigma(const diffc_model *model);

/* The command `test`: takes the test loss again, over the test images that a training run with the same
 * --data has; prints it beside the recorded one and writes metrics.json. */
int ex_model_test(diffc_context *context, const struct ex_options *options, diffc_model *model,
                  const char *out);

#endif
