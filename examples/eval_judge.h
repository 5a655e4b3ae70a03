#ifndef EVAL_JUDGE_H
#define EVAL_JUDGE_H

#include "common/metrics.h"
#include "common/mnist.h"
#include "common/options.h"

/* The measurements of mnist_eval. */
struct eval_judge {
    diffc_context *context;
    const struct ex_mnist *mnist;
    const char *out;
    int samples, steps, clip, quiet;
    const char *numerics, *precision;
    uint64_t seed;
    struct ex_reals guidance;
    json_t *metrics;
};

/* Do classes and sizes fit? `model` may be NULL. */
int eval_judge_check(const struct eval_judge *work, const diffc_model *classifier, const diffc_model *model);

/* Judges real images, and samples of `model` unless it is NULL: metrics, sweep-accuracy.png,
 * sweep-frechet.png, samples-guidance-G.png. */
int eval_judge_run(const struct eval_judge *work, diffc_model *classifier, diffc_model *model);

#endif
