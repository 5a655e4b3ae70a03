#ifndef DFI_PIPE_PIPE_H
#define DFI_PIPE_PIPE_H

#include <diffc/sampler.h>

#include "base/context.h"
#include "base/registry.h"

/* The sampling loop. `options` and `denoiser` are of this version; written with public calls only, so that a
 * program can have a loop of its own that differs in one line. */
int dfi_sample(struct diffc_context *context, diffc_sampler *sampler, const diffc_denoiser *denoiser,
               const diffc_sample_options *options, diffc_tensor **images);

const struct dfi_entry *dfi_mask_entry(int index);

#endif
