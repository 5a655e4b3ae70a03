#ifndef DIFFC_TEST_EDIT_CASE_H
#define DIFFC_TEST_EDIT_CASE_H

/* Networks in closed form for the sampling loop: what the tests of guides, masks, start pictures and
 * references share. */

#include "sched_case.h"

/* Pictures of independent Gaussian values: condition k has mean[k] (channels, h, w; -1 is mean[0]) and one
 * deviation. The variance channels are 0. Watches what it is shown. */
struct world {
    const diffc_schedule *schedule;
    const diffc_tensor *mean[4];
    double deviation;
    int from_condition; /* 1: the mean is the conditioning picture divided by this alpha */
    double alpha;
    void (*watch)(struct world *world, double t, const diffc_tensor *x);
    int calls;
    diffc_tensor *first, *last; /* copies of the first and last x */
};

static inline double mean_at(const struct world *world, const diffc_query *query, int64_t n, int64_t i,
                             int64_t values)
{
    if (world->from_condition)
        return data_of(query->x)[(2 * n + 1) * values + i] / world->alpha;
    const diffc_tensor *mean = world->mean[query->condition + 1];
    return mean ? data_of(mean)[i] : 0;
}

static inline int predict(void *opaque, const float *t, const diffc_query *queries, int count)
{
    struct world *world = opaque;
    if (world->watch)
        world->watch(world, t[0], queries[0].x);
    world->calls++;
    for (int q = 0; q < count; q++) {
        const diffc_tensor *x = queries[q].x, *out = queries[q].out;
        const int64_t channels = queries[q].image_channels, samples = diffc_tensor_dim(x, 0);
        const int64_t values = channels * diffc_tensor_dim(x, 2) * diffc_tensor_dim(x, 3);
        const int64_t shown = diffc_tensor_count(x) / samples, given = diffc_tensor_count(out) / samples;
        const double ab = diffc_schedule_alpha_bars(world->schedule)[(int)t[0]];
        const double a = sqrt(ab), s = world->deviation, variance = ab * s * s + 1 - ab;
        memset(data_of(out), 0, (size_t)diffc_tensor_count(out) * sizeof(float));
        for (int64_t n = 0; n < samples; n++)
            for (int64_t i = 0; i < values; i++)
                data_of(out)[n * given + i] = (float)(sqrt(1 - ab) *
                                                      (data_of(x)[n * shown + i] -
                                                       a * mean_at(world, &queries[q], n, i, values)) /
                                                      variance);
    }
    return DIFFC_OK;
}

struct scene {
    diffc_schedule *schedule;
    diffc_sampler *sampler;
    struct world world;
    diffc_denoiser denoiser;
};

static inline void open_scene(struct scene *scene, const char *step, const char *spacing, int steps,
                              int learned)
{
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    *scene = (struct scene) { .schedule = new_schedule("squaredcos_cap_v2", 0) };
    options.step = step;
    options.spacing = spacing;
    options.steps = steps;
    options.variance = learned ? "learned_range" : NULL;
    options.lambda_min = strstr(step, "dpm") ? -5.1 : 0;
    if (strcmp(step, "ddpm") == 0)
        options.lambda_min = 0;
    check_ok(diffc_sampler_create(scene->schedule, &options, &scene->sampler));
    scene->world = (struct world) { .schedule = scene->schedule, .deviation = 0.3 };
    scene->denoiser = (diffc_denoiser)DIFFC_DENOISER;
    scene->denoiser.predict = predict;
    scene->denoiser.opaque = &scene->world;
}

static inline void close_scene(struct scene *scene)
{
    diffc_release(&scene->sampler);
    diffc_release(&scene->schedule);
}

static inline diffc_sample_options pictures(int64_t batch, int64_t channels, int64_t side)
{
    diffc_sample_options options = DIFFC_SAMPLE_OPTIONS;
    options.batch = batch;
    options.channels = channels;
    options.height = options.width = side;
    options.seed = 180;
    return options;
}

static inline diffc_tensor *draw(struct scene *scene, const diffc_sample_options *options)
{
    diffc_tensor *images = NULL;
    scene->denoiser.out_channels = diffc_sampler_output_channels(scene->sampler, (int)options->channels);
    scene->world.calls = 0;
    check_ok(diffc_sample(scene->sampler, &scene->denoiser, options, &images));
    return images;
}

static inline diffc_tensor *mean_picture(const char *name, int64_t channels, int64_t side)
{
    diffc_tensor *mean = named_tensor(name, 1, channels, side, side);
    for (int64_t i = 0; i < diffc_tensor_count(mean); i++)
        data_of(mean)[i] *= 0.5f;
    return mean;
}

/* Left half kept. */
static inline diffc_tensor *half_mask(int64_t side)
{
    diffc_tensor *mask = new_tensor(1, 1, side, side);
    for (int64_t i = 0; i < side * side; i++)
        data_of(mask)[i] = i % side >= side / 2;
    return mask;
}

#endif
