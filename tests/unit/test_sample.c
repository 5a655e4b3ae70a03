/* The sampling loop, on networks in closed form: known means and variances, the same bits in any batch,
 * stops. */

#include "sched_case.h"

#include <pthread.h>

/* The exact network for pictures whose every value is drawn from a mixture of two Gaussians. */
struct mixture {
    const diffc_schedule *schedule;
    double weight, mean[2], deviation; /* weight of the first */
    int flow;                          /* 0: gives noise, 1: velocity of flow, 2: of flow_match */
    int calls, extra_channels;
    float extra;  /* value of those */
    int spoil_at; /* the call that gives an infinity, from 1 */
};

/* Expected value of x0 given x = a x0 + b noise. */
static double expected_image(const struct mixture *mixture, double x, double a, double b)
{
    const double variance = a * a * mixture->deviation * mixture->deviation + b * b;
    double weight[2], sum = 0, result = 0, exponent[2];
    for (int k = 0; k < 2; k++) {
        const double distance = x - a * mixture->mean[k];
        exponent[k] = -distance * distance / (2 * variance);
    }
    const double highest = fmax(exponent[0], exponent[1]);
    for (int k = 0; k < 2; k++) {
        weight[k] = (k == 0 ? mixture->weight : 1 - mixture->weight) * exp(exponent[k] - highest);
        sum += weight[k];
    }
    for (int k = 0; k < 2; k++) {
        const double gain = a * mixture->deviation * mixture->deviation / variance;
        result += weight[k] / sum * (mixture->mean[k] + gain * (x - a * mixture->mean[k]));
    }
    return result;
}

static float answer(const struct mixture *mixture, double x, double t)
{
    if (mixture->flow == 1)
        return (float)((expected_image(mixture, x, t, 1 - t) - x) / (1 - t));
    if (mixture->flow == 2) {
        const double sigma = t / 1000;
        return (float)((x - expected_image(mixture, x, 1 - sigma, sigma)) / sigma);
    }
    const double ab = diffc_schedule_alpha_bars(mixture->schedule)[(int)t], a = sqrt(ab), b = sqrt(1 - ab);
    return (float)((x - a * expected_image(mixture, x, a, b)) / b);
}

static int predict(void *opaque, const float *t, const diffc_query *queries, int count)
{
    struct mixture *mixture = opaque;
    mixture->calls++;
    for (int q = 0; q < count; q++) {
        const int64_t samples = diffc_tensor_dim(queries[q].x, 0),
                      n = diffc_tensor_count(queries[q].x) / samples;
        float *out = data_of(queries[q].out);
        for (int64_t k = 0; k < samples; k++, out += mixture->extra_channels ? 2 * n : n)
            for (int64_t i = 0; i < n; i++) {
                out[i] = answer(mixture, data_of(queries[q].x)[k * n + i], t[k]);
                if (mixture->extra_channels)
                    out[n + i] = mixture->extra;
            }
    }
    if (mixture->calls == mixture->spoil_at)
        data_of(queries[0].out)[3] = INFINITY;
    return DIFFC_OK;
}

static diffc_denoiser denoiser_of(struct mixture *mixture)
{
    diffc_denoiser denoiser = DIFFC_DENOISER;
    denoiser.predict = predict;
    denoiser.opaque = mixture;
    denoiser.out_channels = mixture->extra_channels ? 2 : 0;
    return denoiser;
}

static diffc_sample_options pictures(int64_t batch, int64_t size)
{
    diffc_sample_options options = DIFFC_SAMPLE_OPTIONS;
    options.batch = batch;
    options.channels = 1;
    options.height = options.width = size;
    options.seed = 180;
    return options;
}

static const struct method {
    const char *schedule, *step, *spacing, *variance;
    int steps;
    float eta;
    double lambda_min, mean_tolerance, deviation_tolerance;
} methods[] = {
    { "linear", "ddpm", "full", NULL, 0, 0, 0, 0.01, 0.01 },
    { "linear", "ddpm", "full", "fixed_large", 0, 0, 0, 0.01, 0.01 },
    { "linear", "ddpm", "strided", "learned_range", 200, 0, 0, 0.01, 0.02 },
    { "linear", "ddim", "leading", NULL, 100, 0, 0, 0.02, 0.02 },
    { "linear", "ddim", "leading", NULL, 200, 1, 0, 0.01, 0.03 },
    { "squaredcos_cap_v2", "dpmsolver++", "linspace", NULL, 25, 0, -5.1, 0.02, 0.03 },
    { "squaredcos_cap_v2", "sde-dpmsolver++", "linspace", NULL, 100, 0, -5.1, 0.01, 0.02 },
    { "linear", "euler", "leading", NULL, 100, 0, 0, 0.02, 0.02 },
    { "flow", "flow_euler", NULL, NULL, 200, 0, 0, 0.01, 0.02 },
    { "flow_match", "flow_euler", NULL, NULL, 200, 0, 0, 0.01, 0.02 },
};

static diffc_sampler *sampler_of(const struct method *method, diffc_schedule *schedule)
{
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    diffc_sampler *sampler = NULL;
    options.step = method->step;
    options.spacing = method->spacing;
    options.variance = method->variance;
    options.steps = method->steps;
    options.eta = method->eta;
    options.lambda_min = method->lambda_min;
    check_ok(diffc_sampler_create(schedule, &options, &sampler));
    return sampler;
}

static struct mixture mixture_for(const struct method *method, const diffc_schedule *schedule)
{
    return (struct mixture) {
        .schedule = schedule,
        .weight = 0.75,
        .mean = { 0.5, -1.5 },
        .deviation = 0.2,
        .flow = strcmp(method->schedule, "flow") == 0         ? 1
                : strcmp(method->schedule, "flow_match") == 0 ? 2
                                                              : 0,
        .extra_channels = method->variance && strcmp(method->variance, "learned_range") == 0,
    };
}

/* Mean and standard deviation of all values; of a mixture they are known. */
static void check_moments(const struct method *method, const struct mixture *mixture,
                          const diffc_tensor *images)
{
    const int64_t count = diffc_tensor_count(images);
    const double w = mixture->weight, m0 = mixture->mean[0], m1 = mixture->mean[1];
    const double mean = w * m0 + (1 - w) * m1;
    const double deviation = sqrt(mixture->deviation * mixture->deviation +
                                  w * (1 - w) * (m0 - m1) * (m0 - m1));
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += data_of(images)[i];
    for (int64_t i = 0; i < count; i++)
        squares += (data_of(images)[i] - sum / (double)count) * (data_of(images)[i] - sum / (double)count);
    const double chance = 4 * deviation / sqrt((double)count); /* four standard errors */
    print_message("%s %s: mean %.4f (%.4f), deviation %.4f (%.4f)\n", method->schedule, method->step,
                  sum / (double)count, mean, sqrt(squares / (double)count), deviation);
    check_near(sum / (double)count, mean, chance + method->mean_tolerance);
    check_near(sqrt(squares / (double)count), deviation, chance + method->deviation_tolerance);
}

static void test_known_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        diffc_schedule *schedule = new_schedule(methods[i].schedule, 0);
        diffc_sampler *sampler = sampler_of(&methods[i], schedule);
        struct mixture mixture = mixture_for(&methods[i], schedule);
        const diffc_denoiser denoiser = denoiser_of(&mixture);
        const diffc_sample_options options = pictures(20, 24);
        diffc_tensor *images = NULL;
        check_ok(diffc_sample(sampler, &denoiser, &options, &images));
        assert_int_equal(mixture.calls, diffc_sampler_steps(sampler));
        check_moments(&methods[i], &mixture, images);
        diffc_release(&images);
        diffc_release(&sampler);
        diffc_release(&schedule);
    }
}

/* What IF's pipelines do: without learned_range the variance channels of a network are dropped, whatever they
 * hold, by every step rule and behind guidance too. */
static void test_unused_variance_channels(void **state)
{
    static const float scale = 3;
    diffc_guide *guide = NULL;
    (void)state;
    check_ok(diffc_guide_create_cfg(case_context, &scale, 1, &guide));
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        struct method method = methods[i];
        if (method.variance && strcmp(method.variance, "learned_range") == 0)
            method.variance = "fixed_small_log";
        method.steps = method.steps ? 10 : 0;
        diffc_schedule *schedule = new_schedule(method.schedule, method.steps ? 0 : 50);
        diffc_sampler *sampler = sampler_of(&method, schedule);
        struct mixture mixture = mixture_for(&method, schedule);
        diffc_sample_options options = pictures(2, 4);
        diffc_tensor *images[2] = { NULL, NULL };
        options.guide = i % 2 ? guide : NULL;
        mixture.extra = 1e9f;
        for (int extra = 0; extra < 2; extra++) {
            mixture.extra_channels = extra;
            const diffc_denoiser denoiser = denoiser_of(&mixture);
            check_ok(diffc_sample(sampler, &denoiser, &options, &images[extra]));
        }
        assert_true(same_bits(images[0], images[1]));
        diffc_release(&images[0]);
        diffc_release(&images[1]);
        diffc_release(&sampler);
        diffc_release(&schedule);
    }
    diffc_release(&guide);
}

/* A sampler with a network, for the tests of the loop itself. */
struct scene {
    diffc_schedule *schedule;
    diffc_sampler *sampler;
    struct mixture mixture;
    diffc_denoiser denoiser;
};

static const struct method multistep = {
    "squaredcos_cap_v2", "sde-dpmsolver++", "linspace", NULL, 12, 0, -5.1, 0, 0
};
static const struct method ancestral = { "linear", "ddpm", "leading", NULL, 12, 0, 0, 0, 0 };
static const struct method learned = { "linear", "ddpm", "leading", "learned_range", 12, 0, 0, 0, 0 };

static void open_scene(struct scene *scene, const struct method *method)
{
    scene->schedule = new_schedule(method->schedule, 0);
    scene->sampler = sampler_of(method, scene->schedule);
    scene->mixture = mixture_for(method, scene->schedule);
    scene->denoiser = denoiser_of(&scene->mixture);
}

static void close_scene(struct scene *scene)
{
    diffc_release(&scene->sampler);
    diffc_release(&scene->schedule);
}

static diffc_tensor *draw(struct scene *scene, const diffc_sample_options *options)
{
    diffc_tensor *images = NULL;
    check_ok(diffc_sample(scene->sampler, &scene->denoiser, options, &images));
    return images;
}

static void check_batches(const struct method *method)
{
    struct scene scene;
    open_scene(&scene, method);
    diffc_sample_options options = pictures(5, 6);
    options.first_sample = 1000;
    diffc_tensor *all = draw(&scene, &options);
    options.batch = 2;
    diffc_tensor *first = draw(&scene, &options);
    options.batch = 3;
    options.first_sample = 1002;
    diffc_tensor *last = draw(&scene, &options);
    assert_memory_equal(data_of(all), data_of(first), 2 * 36 * sizeof(float));
    assert_memory_equal(data_of(all) + 2 * 36, data_of(last), 3 * 36 * sizeof(float));
    options.seed = 181;
    diffc_tensor *other = draw(&scene, &options);
    assert_false(same_bits(last, other));
    diffc_release(&other);
    diffc_release(&last);
    diffc_release(&first);
    diffc_release(&all);
    close_scene(&scene);
}

static void test_batches(void **state)
{
    (void)state;
    check_batches(&ancestral);
    check_batches(&multistep);
}

/* What a callback saw; stops or cancels after step `stop`. */
struct watch {
    int seen, stop, thread;
    float last_time;
    diffc_tensor *x, *x0; /* copies of the step `copy` */
    int copy;
};

static void *cancel(void *opaque)
{
    (void)opaque;
    diffc_context_cancel(case_context);
    return NULL;
}

static int after_step(void *opaque, const diffc_sample_step *step)
{
    struct watch *watch = opaque;
    assert_int_equal(step->struct_size, sizeof(*step));
    assert_int_equal(diffc_tensor_count(step->x), diffc_tensor_count(step->x0));
    assert_int_equal(diffc_tensor_count(step->x), diffc_tensor_count(step->output));
    watch->seen++;
    watch->last_time = step->timestep;
    if (step->step == watch->copy && watch->x) {
        copy_values(step->x, watch->x);
        copy_values(step->x0, watch->x0);
    }
    if (step->step != watch->stop)
        return 0;
    if (watch->thread) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, cancel, NULL), 0);
        pthread_join(thread, NULL);
        return 0;
    }
    return 7;
}

static void check_stops(const struct method *method, int thread)
{
    struct scene scene;
    open_scene(&scene, method);
    diffc_sample_options options = pictures(2, 6);
    diffc_tensor *reference = draw(&scene, &options), *nothing = NULL;
    for (int stop = 0; stop < 12; stop++) {
        struct watch watch = { .stop = stop, .thread = thread };
        options.progress = after_step;
        options.progress_opaque = &watch;
        check_fails(diffc_sample(scene.sampler, &scene.denoiser, &options, &nothing), DIFFC_ERR_CANCELLED,
                    thread ? "" : "returned 7 after step");
        assert_null(nothing);
        assert_int_equal(watch.seen, stop + 1);
        options.progress = NULL;
        diffc_tensor *again = draw(&scene, &options);
        assert_true(same_bits(reference, again));
        diffc_release(&again);
    }
    diffc_release(&reference);
    close_scene(&scene);
}

static void test_stops(void **state)
{
    (void)state;
    check_stops(&ancestral, 0);
    check_stops(&multistep, 0);
    check_stops(&ancestral, 1);
    check_stops(&multistep, 1);
}

/* A loop cut in two at step 5 gives, for single-step rules, the bits of the whole. */
static void test_parts_of_the_loop(void **state)
{
    struct scene scene;
    struct watch watch = { .stop = -1, .copy = 4, .x = new_tensor(2, 1, 6, 6), .x0 = new_tensor(2, 1, 6, 6) };
    (void)state;
    open_scene(&scene, &ancestral);
    diffc_sample_options options = pictures(2, 6);
    options.progress = after_step;
    options.progress_opaque = &watch;
    diffc_tensor *whole = draw(&scene, &options);
    assert_int_equal(watch.seen, 12);
    assert_true(watch.last_time == diffc_sampler_timestep(scene.sampler, 11));
    options.stop_step = 5;
    diffc_tensor *head = draw(&scene, &options);
    assert_int_equal(watch.seen, 17);
    assert_true(same_bits(head, watch.x));
    assert_false(same_bits(head, watch.x0));
    diffc_sample_options rest = DIFFC_SAMPLE_OPTIONS;
    rest.seed = 180;
    rest.start = head;
    rest.first_step = 5;
    diffc_tensor *tail = draw(&scene, &rest);
    assert_true(same_bits(tail, whole));
    diffc_release(&tail);
    diffc_release(&head);
    diffc_release(&whole);
    diffc_release(&watch.x);
    diffc_release(&watch.x0);
    close_scene(&scene);
}

/* Multistep rules may start anywhere too. */
static void test_late_start(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene, &multistep);
    diffc_sample_options options = pictures(2, 6);
    options.first_step = 8;
    diffc_tensor *first = draw(&scene, &options), *second = draw(&scene, &options);
    assert_int_equal(scene.mixture.calls, 8);
    assert_true(same_bits(first, second));
    diffc_release(&second);
    diffc_release(&first);
    close_scene(&scene);
}

static void check_refused(struct scene *scene, diffc_sample_options options, int status, const char *text)
{
    diffc_tensor *images = NULL;
    check_fails(diffc_sample(scene->sampler, &scene->denoiser, &options, &images), status, text);
    assert_null(images);
}

static void test_refused_options(void **state)
{
    const diffc_sample_options good = pictures(2, 6);
    diffc_sample_options options;
    struct scene scene;
    diffc_tensor *start = new_tensor(2, 1, 6, 6);
    (void)state;
    open_scene(&scene, &ancestral);
#define REFUSED(field, value, status, text) \
    do { \
        options = good; \
        options.field = value; \
        check_refused(&scene, options, status, text); \
    } while (0)
    REFUSED(batch, -1, DIFFC_ERR_ARG, "[-1, 1, 6, 6]");
    REFUSED(batch, 4097, DIFFC_ERR_LIMIT, "the limit is 4096");
    REFUSED(channels, 0, DIFFC_ERR_ARG, "[2, 0, 6, 6]");
    REFUSED(height, INT64_MAX, DIFFC_ERR_LIMIT, "");
    REFUSED(first_step, 12, DIFFC_ERR_ARG, "first_step is 12, must be 0 to 11");
    REFUSED(first_step, -1, DIFFC_ERR_ARG, "first_step is -1");
    REFUSED(stop_step, 13, DIFFC_ERR_ARG, "stop_step is 13");
    REFUSED(stop_step, -1, DIFFC_ERR_ARG, "stop_step is -1");
    REFUSED(first_sample, UINT64_MAX, DIFFC_ERR_ARG, "below 2^48");
    options = good;
    options.start = start;
    options.height = 7;
    check_refused(&scene, options, DIFFC_ERR_CONFIG, "height is 7, but that of options.start is 6");
    scene.denoiser.out_channels = 3;
    check_refused(
        &scene, good, DIFFC_ERR_CONFIG,
        "the denoiser gives 3 channels, but x has 1 and the sampler needs as many or twice as many");
    scene.denoiser.out_channels = 0;
    options.channels = INT64_MAX;
    options.start = NULL;
    check_refused(&scene, options, DIFFC_ERR_LIMIT, "");
    assert_int_equal(scene.mixture.calls, 0);
    close_scene(&scene);
    open_scene(&scene, &learned);
    scene.denoiser.out_channels = 1;
    check_refused(&scene, good, DIFFC_ERR_CONFIG,
                  "x has 1 and the sampler needs twice as many: its variance (variance_type of "
                  "scheduler_config.json) is learned_range");
    diffc_release(&start);
    close_scene(&scene);
}

static void test_nonfinite(void **state)
{
    struct scene scene;
    const diffc_sample_options options = pictures(2, 6);
    (void)state;
    open_scene(&scene, &ancestral);
    diffc_tensor *reference = draw(&scene, &options);
    scene.mixture.calls = 0;
    scene.mixture.spoil_at = 4;
    check_refused(&scene, options, DIFFC_ERR_NONFINITE,
                  "step 3 (timestep 664): the prediction has 1 values of 72 that are NaN or infinite");
    scene.mixture.spoil_at = 0;
    diffc_tensor *again = draw(&scene, &options);
    assert_true(same_bits(reference, again));
    diffc_release(&again);
    diffc_release(&reference);
    close_scene(&scene);
}

/* The loop with a guide, which makes two queries a step. */
static int draw_guided(void *opaque)
{
    struct scene *scene = opaque;
    const float scales[2] = { 3, 1 };
    diffc_guide *guide = NULL;
    diffc_tensor *images = NULL;
    diffc_sample_options options = pictures(2, 6);
    int status = diffc_guide_create_cfg(case_context, scales, 2, &guide);
    options.guide = guide;
    options.stop_step = 4;
    status = status ? status : diffc_sample(scene->sampler, &scene->denoiser, &options, &images);
    assert_true((status == DIFFC_OK) == (images != NULL));
    diffc_release(&images);
    diffc_release(&guide);
    return status;
}

static void test_memory_failures(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene, &multistep);
    assert_int_equal(draw_guided(&scene), DIFFC_OK); /* the sampler's own memory is there from now on */
    check_memory_failures(draw_guided, &scene);
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_parts_of_the_loop),
        cmocka_unit_test(test_late_start),
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_nonfinite),
        cmocka_unit_test(test_memory_failures),
        cmocka_unit_test(test_unused_variance_channels),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
