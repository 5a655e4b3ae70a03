#ifndef DFI_PIPE_LOOP_H
#define DFI_PIPE_LOOP_H

#include <diffc/image.h>
#include <diffc/rng.h>
#include <diffc/sampler.h>
#include <diffc/schedule.h>
#include <diffc/tensor.h>

#include "base/context.h"
#include "base/random.h"

enum dfi_mask_rule { DFI_MASK_RENOISE, DFI_MASK_CLEAN };

/* One run of the sampling loop. */
struct dfi_loop {
    struct diffc_context *context;
    diffc_sampler *sampler;
    diffc_denoiser denoiser;
    const diffc_sample_options *options;
    enum dfi_mask_rule mask_rule;
    int stop; /* steps before it are made */
    int64_t shape[4];
    int64_t values;       /* of one sample */
    diffc_tensor *x;      /* the pictures, step by step */
    diffc_tensor *scaled; /* as the network sees them; before that, the noised reference less x */
    diffc_tensor *input;  /* scaled with the picture that conditions behind; NULL without one */
    diffc_tensor *output, *x0;
    diffc_tensor *noise, **samples; /* samples[k]: view of sample k of noise */
    diffc_tensor *known, *mask;     /* outside of a mask, [N, C, H, W] both */
    diffc_tensor *before;           /* what the mask puts back: x before the step, or the noised known */
    diffc_tensor *reference, *component;
    float *t; /* [N], all the same */
};

/* setup.c: checks the options, makes the tensors. */
int dfi_loop_check(struct dfi_loop *loop);
int dfi_loop_create(struct dfi_loop *loop);
void dfi_loop_destroy(struct dfi_loop *loop);

/* The next numbers of `purpose`, into loop->noise: of each sample's own stream, or of the caller's generator.
 */
int dfi_loop_draw(struct dfi_loop *loop, enum dfi_stream purpose, int step);

/* edit.c: what may happen to x beside the steps. */
int dfi_loop_start(struct dfi_loop *loop);
int dfi_loop_condition(struct dfi_loop *loop);
/* [N, C, ...] into channels `first` on of every sample of `input`. */
void dfi_loop_place(const diffc_tensor *part, diffc_tensor *input, int64_t first);
int dfi_loop_project(struct dfi_loop *loop, int step);
int dfi_loop_remember(struct dfi_loop *loop);
int dfi_loop_mask(struct dfi_loop *loop, int step);

#endif
