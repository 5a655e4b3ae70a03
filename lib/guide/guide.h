#ifndef DFI_GUIDE_GUIDE_H
#define DFI_GUIDE_GUIDE_H

#include <diffc/guidance.h>

#include "tensor/tensor.h"

#define DFI_MAX_QUERIES 1024 /* that one step may need */

struct diffc_guide {
    struct dfi_object object;
    diffc_combiner combiner;
    diffc_query *queries; /* [capacity]; out is a tensor of the guide, NULL from `made` on */
    int capacity, made;
    int64_t shape[4]; /* of the tensors */
};

int dfi_guide_new(struct diffc_context *context, const diffc_combiner *combiner, struct diffc_guide **guide);
int dfi_guide_new_cfg(struct diffc_context *context, const float *scales, int count,
                      struct diffc_guide **guide);

/* `guide` may be NULL. Shapes of x and out are checked already. */
int dfi_guide_predict(struct diffc_guide *guide, const diffc_denoiser *denoiser, int step, const float *t,
                      const struct diffc_tensor *x, struct diffc_tensor *out);

#endif
