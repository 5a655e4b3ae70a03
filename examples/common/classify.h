#ifndef EX_CLASSIFY_H
#define EX_CLASSIFY_H

#include "support.h"

/* What a classifier says about images. */
struct ex_judged {
    int64_t count;
    int dim;         /* of the features */
    float *features; /* [count, dim] */
    int32_t *label;  /* the most likely class of each */
};

/* `images` F32 [N, C, H, W]; values are clamped to [0, 1] first. Free with ex_judged_free(). */
int ex_classify(diffc_context *context, diffc_model *classifier, const diffc_tensor *images,
                struct ex_judged *judged);
void ex_judged_free(struct ex_judged *judged);

/* Share of labels that are as expected. */
double ex_accuracy(const struct ex_judged *judged, const int32_t *expected);

#endif
