#ifndef EX_SAMPLE_H
#define EX_SAMPLE_H

#include "support.h"

#define EX_FRAMES 64
#define EX_SAMPLE_BATCH 100 /* images made at once */

/* Pictures from a model, and on request the way there. Several ranks make a part of them each; then rank 0
 * has all. */
struct ex_sampling {
    diffc_context *context;
    diffc_model *model;
    int64_t count;
    const int32_t *labels;            /* one per picture, NULL: no classes */
    double guidance;                  /* used with labels */
    int steps;                        /* 0: every t of the schedule, or 50 steps of a flow */
    int clip;                         /* 1: estimates of the image are clamped to [0, 1] (not for flows) */
    const char *numerics, *precision; /* of the session; NULL: default */
    uint64_t seed;
    int quiet;
    const char *label; /* of the progress bar */
    int frames;        /* how many moments to keep, at most EX_FRAMES; only when count <= EX_SAMPLE_BATCH */

    diffc_tensor *images;           /* result: F32 [count, C, H, W], not clamped */
    diffc_tensor *frame[EX_FRAMES]; /* results: x at evenly spaced moments, the last one is the result */
    float frame_time[EX_FRAMES];
    int frame_count;
};

int ex_sample(struct ex_sampling *sampling);
void ex_sample_free(struct ex_sampling *sampling);

#endif
