/* Step rules: what they must have in common, what they must refuse, and what must not change their bits. */

#include "sched_case.h"

#include <fenv.h>

#define SIZE 48 /* values of one sample, [3, 4, 4] */

static diffc_sampler_options options_of(const char *step, const char *spacing, int steps)
{
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    options.step = step;
    options.spacing = spacing;
    options.steps = steps;
    return options;
}

static diffc_tensor *tensor_of(const char *prefix, int number, int64_t n, int64_t channels)
{
    char name[64];
    snprintf(name, sizeof(name), "%s%d", prefix, number);
    return named_tensor(name, n, channels, 4, 4);
}

/* The course's formula: x' = (x - beta / sqrt(1 - ab) eps) / sqrt(1 - beta) + sqrt(beta) z. */
static void test_ddpm_is_the_course_rule(void **state)
{
    diffc_sampler_options options = options_of(NULL, NULL, 0);
    options.variance = "fixed_large";
    diffc_sampler *sampler = new_sampler("linear", 300, &options);
    diffc_schedule *schedule = new_schedule("linear", 300);
    (void)state;
    for (int step = 0; step < 300; step++) {
        const int t = 299 - step;
        const double beta = diffc_schedule_betas(schedule)[t], ab = diffc_schedule_alpha_bars(schedule)[t];
        diffc_tensor *x = tensor_of("x", step, 1, 3), *eps = tensor_of("eps", step, 1, 3),
                     *z = tensor_of("z", step, 1, 3);
        diffc_tensor *start = tensor_of("x", step, 1, 3);
        assert_int_equal(diffc_sampler_needs_noise(sampler, step), t > 0);
        check_ok(diffc_sampler_step(sampler, step, eps, t > 0 ? z : NULL, x, NULL));
        for (int i = 0; i < SIZE; i++) {
            const double noise = t > 0 ? sqrt(beta) * data_of(z)[i] : 0;
            const double wanted = (data_of(start)[i] - beta / sqrt(1 - ab) * data_of(eps)[i]) /
                                      sqrt(1 - beta) +
                                  noise;
            /* alpha_bar near 1 has few digits of 1 - alpha_bar: 1e-4 of them at t = 1 */
            check_near(data_of(x)[i], wanted, 2e-6 + 1e-7 / (1 - ab));
        }
        diffc_release(&start);
        diffc_release(&z);
        diffc_release(&eps);
        diffc_release(&x);
    }
    diffc_release(&schedule);
    diffc_release(&sampler);
}

/* A network that is no function anybody would train, but a function of what it sees. */
static void pretend(const diffc_tensor *seen, float t, diffc_tensor *output)
{
    for (int64_t i = 0; i < diffc_tensor_count(seen); i++)
        data_of(output)[i] = tanhf(data_of(seen)[i] + 0.1f * (float)(i % 7)) * (0.5f + t / 2000);
}

static diffc_tensor *run_pretended(const diffc_sampler_options *options, const char *schedule)
{
    diffc_sampler *sampler = new_sampler(schedule, 0, options);
    diffc_tensor *x = tensor_of("start", 0, 2, 3), *seen = new_tensor(2, 3, 4, 4),
                 *output = new_tensor(2, 3, 4, 4);
    for (int i = 0; i < 2 * SIZE; i++)
        data_of(x)[i] *= diffc_sampler_initial_sigma(sampler);
    for (int step = 0; step < diffc_sampler_steps(sampler); step++) {
        diffc_tensor *noise = tensor_of("noise", step, 2, 3);
        check_ok(diffc_sampler_scale_input(sampler, step, x, seen));
        pretend(seen, diffc_sampler_timestep(sampler, step), output);
        check_ok(diffc_sampler_step(sampler, step, output, noise, x, NULL));
        diffc_release(&noise);
    }
    diffc_release(&output);
    diffc_release(&seen);
    diffc_release(&sampler);
    return x;
}

static void check_same_result(const diffc_sampler_options *a, const diffc_sampler_options *b,
                              double tolerance)
{
    diffc_tensor *x = run_pretended(a, "linear"), *y = run_pretended(b, "linear");
    for (int i = 0; i < 2 * SIZE; i++)
        check_near(data_of(x)[i], data_of(y)[i], tolerance * fmax(1, fabs(data_of(y)[i])));
    diffc_release(&y);
    diffc_release(&x);
}

static void test_euler_is_ddim(void **state)
{
    static const char *const spacings[] = { "leading", "strided", "smart27" };
    (void)state;
    for (int i = 0; i < 3; i++) {
        const int steps = i < 2 ? 20 : 0;
        const diffc_sampler_options euler = options_of("euler", spacings[i], steps),
                                    ddim = options_of("ddim", spacings[i], steps);
        check_same_result(&euler, &ddim, 1e-4);
    }
}

static void test_ddim_eta_1_is_ddpm(void **state)
{
    diffc_sampler_options ddim = options_of("ddim", "leading", 25), ddpm = options_of("ddpm", "leading", 25);
    (void)state;
    ddim.eta = 1;
    ddpm.variance = "fixed_small";
    check_same_result(&ddim, &ddpm, 2e-4);
}

/* One step from known x0 and noise, with the network's answer in different terms. */
static void check_predictions(diffc_sampler_options options, int step)
{
    static const char *const predictions[] = { "epsilon", "sample", "v" };
    diffc_schedule *schedule = new_schedule("linear", 0);
    diffc_tensor *image = tensor_of("image", 0, 1, 3), *noise = tensor_of("noise", 0, 1, 3),
                 *z = tensor_of("z", 0, 1, 3);
    diffc_tensor *result[3];
    for (int p = 0; p < 3; p++) {
        diffc_tensor *x = new_tensor(1, 3, 4, 4), *output = new_tensor(1, 3, 4, 4),
                     *x0 = new_tensor(1, 3, 4, 4);
        diffc_sampler *sampler = NULL;
        options.prediction = predictions[p];
        check_ok(diffc_sampler_create(schedule, &options, &sampler));
        const float t = diffc_sampler_timestep(sampler, step);
        const float ab = diffc_schedule_alpha_bars(schedule)[(int)t], a = sqrtf(ab), b = sqrtf(1 - ab);
        const float scale = strcmp(options.step, "euler") == 0 ? a : 1;
        for (int i = 0; i < SIZE; i++) {
            const float m = data_of(image)[i], e = data_of(noise)[i];
            data_of(x)[i] = (a * m + b * e) / scale;
            data_of(output)[i] = p == 0 ? e : p == 1 ? m : a * e - b * m;
        }
        check_ok(diffc_sampler_begin(sampler, step));
        check_ok(diffc_sampler_step(sampler, step, output, z, x, x0));
        for (int i = 0; i < SIZE; i++) {
            check_near(data_of(x0)[i], data_of(image)[i], 1e-5 / a);
            if (p > 0)
                check_near(data_of(x)[i], data_of(result[0])[i], 1e-5 / a);
        }
        result[p] = x;
        diffc_release(&x0);
        diffc_release(&output);
        diffc_release(&sampler);
    }
    for (int p = 0; p < 3; p++)
        diffc_release(&result[p]);
    diffc_release(&z);
    diffc_release(&noise);
    diffc_release(&image);
    diffc_release(&schedule);
}

static const char *const diffusion_steps[] = { "ddpm", "ddim", "dpmsolver++", "sde-dpmsolver++", "euler" };

static void test_predictions_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(diffusion_steps) / sizeof(diffusion_steps[0]); i++)
        for (int step = 3; step < 10; step += 3)
            check_predictions(options_of(diffusion_steps[i], "leading", 10), step);
}

/* From any point along the straight line, one velocity leads to the next point and to the image. */
static void check_flow(const char *name, const char *prediction, float clip)
{
    diffc_sampler_options options = options_of(NULL, NULL, 8);
    options.prediction = prediction;
    options.clip = clip;
    diffc_sampler *sampler = new_sampler(name, 0, &options);
    diffc_tensor *image = tensor_of("image", 0, 1, 3), *noise = tensor_of("noise", 0, 1, 3),
                 *output = new_tensor(1, 3, 4, 4);
    diffc_tensor *x = tensor_of("noise", 0, 1, 3), *x0 = new_tensor(1, 3, 4, 4);
    const float sign = strcmp(name, "flow") == 0 ? 1 : -1;
    for (int step = 0; step < 8; step++) {
        for (int i = 0; i < SIZE; i++)
            data_of(output)[i] = prediction ? data_of(image)[i]
                                            : sign * (data_of(image)[i] - data_of(noise)[i]);
        assert_int_equal(diffc_sampler_needs_noise(sampler, step), 0);
        check_ok(diffc_sampler_step(sampler, step, output, NULL, x, x0));
        for (int i = 0; i < SIZE; i++)
            check_near(data_of(x0)[i],
                       clip > 0 ? fmaxf(-clip, fminf(clip, data_of(image)[i])) : data_of(image)[i], 2e-6);
    }
    for (int i = 0; i < SIZE; i++)
        check_near(data_of(x)[i], data_of(x0)[i], 2e-6);
    diffc_release(&x0);
    diffc_release(&x);
    diffc_release(&output);
    diffc_release(&noise);
    diffc_release(&image);
    diffc_release(&sampler);
}

static void test_flow_reaches_the_image(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "flow_match" : "flow";
        check_flow(name, NULL, 0);
        check_flow(name, "sample", 0);
        check_flow(name, "sample", 0.5f);
    }
}

/* The last step ends at the estimate, clipped, and draws nothing. */
static void test_last_step(void **state)
{
    (void)state;
    for (size_t s = 0; s < 4; s++) {
        diffc_sampler_options options = options_of(diffusion_steps[s], "trailing", 5);
        options.clip_low = 0;
        options.clip_high = 1;
        diffc_sampler *sampler = new_sampler("linear", 0, &options);
        diffc_tensor *x = tensor_of("x", 0, 1, 3), *eps = tensor_of("eps", 0, 1, 3),
                     *x0 = new_tensor(1, 3, 4, 4);
        assert_int_equal(diffc_sampler_needs_noise(sampler, 4), 0);
        check_ok(diffc_sampler_begin(sampler, 4));
        check_ok(diffc_sampler_step(sampler, 4, eps, NULL, x, x0));
        for (int i = 0; i < SIZE; i++) {
            assert_true(data_of(x0)[i] >= 0 && data_of(x0)[i] <= 1);
            assert_true(data_of(x)[i] == data_of(x0)[i]);
        }
        diffc_release(&x0);
        diffc_release(&eps);
        diffc_release(&x);
        diffc_release(&sampler);
    }
}

static void test_order_of_steps(void **state)
{
    const diffc_sampler_options options = options_of("dpmsolver++", "leading", 5);
    diffc_sampler *sampler = new_sampler("linear", 0, &options);
    diffc_tensor *x = tensor_of("x", 0, 1, 3), *eps = tensor_of("eps", 0, 1, 3),
                 *kept = tensor_of("x", 0, 1, 3);
    diffc_tensor *wide = tensor_of("x", 0, 2, 3), *wide_eps = tensor_of("eps", 0, 2, 3);
    (void)state;
    check_fails(diffc_sampler_step(sampler, 1, eps, NULL, x, NULL), DIFFC_ERR_STATE, "step is 1");
    check_fails(diffc_sampler_step(sampler, 5, eps, NULL, x, NULL), DIFFC_ERR_ARG, "0 to 4");
    check_fails(diffc_sampler_step(sampler, -1, eps, NULL, x, NULL), DIFFC_ERR_ARG, "0 to 4");
    assert_true(same_bits(x, kept));
    check_ok(diffc_sampler_step(sampler, 0, eps, NULL, x, NULL));
    check_fails(diffc_sampler_step(sampler, 2, eps, NULL, x, NULL), DIFFC_ERR_STATE, "is at step 1");
    check_fails(diffc_sampler_step(sampler, 1, wide_eps, NULL, wide, NULL), DIFFC_ERR_STATE, "another shape");
    check_ok(diffc_sampler_step(sampler, 1, eps, NULL, x, NULL));
    check_fails(diffc_sampler_step(sampler, 1, eps, NULL, x, NULL), DIFFC_ERR_STATE, "is at step 2");
    check_ok(
        diffc_sampler_step(sampler, 0, wide_eps, NULL, wide, NULL)); /* step 0 starts anew, on any shape */
    check_ok(diffc_sampler_begin(sampler, 3));
    check_ok(diffc_sampler_step(sampler, 3, eps, NULL, x, NULL));
    check_ok(diffc_sampler_step(sampler, 4, eps, NULL, x, NULL));
    check_fails(diffc_sampler_step(sampler, 4, eps, NULL, x, NULL), DIFFC_ERR_STATE, "is at step 0");
    check_fails(diffc_sampler_begin(sampler, 5), DIFFC_ERR_ARG, "0 to 4");
    diffc_release(&wide_eps);
    diffc_release(&wide);
    diffc_release(&kept);
    diffc_release(&eps);
    diffc_release(&x);
    diffc_release(&sampler);
}

static void test_refused_tensors(void **state)
{
    diffc_sampler_options options = options_of("ddpm", "leading", 5);
    options.variance = "learned_range";
    diffc_sampler *sampler = new_sampler("linear", 0, &options);
    options.variance = "fixed_large";
    diffc_sampler *fixed = new_sampler("linear", 0, &options);
    diffc_tensor *x = tensor_of("x", 0, 1, 3), *kept = tensor_of("x", 0, 1, 3),
                 *noise = tensor_of("noise", 0, 1, 3), *nine = tensor_of("out", 0, 1, 9);
    diffc_tensor *six = tensor_of("out", 0, 1, 6), *view = NULL, *empty = new_tensor(0, 3, 4, 4),
                 *none = new_tensor(0, 6, 4, 4);
    (void)state;
    check_fails(diffc_sampler_step(sampler, 0, noise, noise, x, NULL), DIFFC_ERR_ARG,
                "output (with variance channels) is");
    check_fails(diffc_sampler_step(sampler, 0, nine, noise, x, NULL), DIFFC_ERR_ARG, "output");
    check_fails(diffc_sampler_step(fixed, 0, nine, noise, x, NULL), DIFFC_ERR_ARG, "output is");
    check_fails(diffc_sampler_step(sampler, 0, six, NULL, x, NULL), DIFFC_ERR_ARG,
                "step 0 of \"ddpm\" adds noise");
    check_fails(diffc_sampler_step(sampler, 0, six, six, x, NULL), DIFFC_ERR_ARG, "noise is");
    check_fails(diffc_sampler_step(sampler, 0, six, noise, x, six), DIFFC_ERR_ARG, "x0 is");
    check_fails(diffc_sampler_step(sampler, 0, six, noise, x, x), DIFFC_ERR_ARG, "is the memory of x");
    check_fails(diffc_sampler_step(sampler, 0, none, empty, empty, NULL), DIFFC_ERR_ARG, "no elements");
    check_fails(diffc_sampler_step(sampler, 0, NULL, noise, x, NULL), DIFFC_ERR_ARG, "NULL");
    check_ok(diffc_tensor_slice(six, 1, 0, 3, 2, &view));
    check_fails(diffc_sampler_step(sampler, 0, six, view, x, NULL), DIFFC_ERR_ARG, "not contiguous");
    check_fails(diffc_sampler_scale_input(sampler, 0, x, six), DIFFC_ERR_ARG, "scaled is");
    assert_true(same_bits(x, kept));
    diffc_release(&none);
    diffc_release(&empty);
    diffc_release(&view);
    diffc_release(&six);
    diffc_release(&nine);
    diffc_release(&fixed);
    diffc_release(&noise);
    diffc_release(&kept);
    diffc_release(&x);
    diffc_release(&sampler);
}

static void check_refused(const char *schedule_name, diffc_sampler_options options, int status,
                          const char *text)
{
    diffc_schedule *schedule = new_schedule(schedule_name, 0);
    diffc_sampler *sampler = NULL;
    check_fails(diffc_sampler_create(schedule, &options, &sampler), status, text);
    assert_null(sampler);
    diffc_release(&schedule);
}

#define REFUSED(schedule, step, field, value, status, text) \
    do { \
        diffc_sampler_options options_ = options_of(step, NULL, 0); \
        options_.field = value; \
        check_refused(schedule, options_, status, text); \
    } while (0)

static void test_refused_options(void **state)
{
    diffc_sampler_options options = options_of(NULL, NULL, 0);
    (void)state;
    REFUSED("linear", "heun", eta, 0, DIFFC_ERR_ARG, "known: ddpm, ddim, dpmsolver++");
    REFUSED("linear", "flow_euler", eta, 0, DIFFC_ERR_CONFIG, "not for the schedule \"linear\"");
    REFUSED("flow", "ddpm", eta, 0, DIFFC_ERR_CONFIG, "not for the schedule \"flow\"");
    REFUSED("linear", NULL, prediction, "noise", DIFFC_ERR_ARG, "unknown prediction \"noise\"");
    REFUSED("linear", NULL, prediction, "velocity", DIFFC_ERR_CONFIG, "not for the schedule");
    REFUSED("flow", NULL, prediction, "epsilon", DIFFC_ERR_CONFIG, "not for the schedule");
    REFUSED("linear", NULL, variance, "learned", DIFFC_ERR_ARG,
            "known: fixed_small, fixed_small_log, fixed_large, learned_range");
    REFUSED("linear", "ddim", variance, "fixed_large", DIFFC_ERR_CONFIG, "variance is not for step \"ddim\"");
    REFUSED("linear", "ddim", eta, 1.5f, DIFFC_ERR_ARG, "eta is 1.5");
    REFUSED("linear", "ddim", eta, NAN, DIFFC_ERR_ARG, "eta is nan");
    REFUSED("linear", "ddpm", eta, 1, DIFFC_ERR_CONFIG, "eta is not for step \"ddpm\"");
    REFUSED("linear", NULL, clip, -1, DIFFC_ERR_ARG, "clip is -1");
    REFUSED("linear", NULL, clip_low, 1, DIFFC_ERR_ARG, "clip_low is 1, clip_high 0");
    REFUSED("linear", NULL, clip_high, INFINITY, DIFFC_ERR_ARG, "must be a range");
    REFUSED("linear", NULL, threshold_ratio, 1, DIFFC_ERR_ARG, "threshold_ratio is 1");
    REFUSED("linear", NULL, threshold_max, 0.5f, DIFFC_ERR_ARG, "threshold_max is 0.5");
    REFUSED("linear", NULL, threshold_max, 2, DIFFC_ERR_CONFIG, "without options.threshold_ratio");
    REFUSED("linear", NULL, steps_offset, -1, DIFFC_ERR_ARG, "steps_offset is -1, must be 0 to 999");
    REFUSED("linear", NULL, steps_offset, 1000, DIFFC_ERR_ARG, "steps_offset is 1000");
    REFUSED("linear", NULL, steps_offset, 1, DIFFC_ERR_CONFIG, "for spacing \"leading\", not \"full\"");
    REFUSED("flow", NULL, steps_offset, 1, DIFFC_ERR_CONFIG, "for spacing \"leading\", not \"linspace\"");
    options.clip = 1;
    options.threshold_ratio = 0.95f;
    check_refused("linear", options, DIFFC_ERR_CONFIG, "exclude each other");
    options.threshold_ratio = 0;
    options.clip_high = 1;
    check_refused("linear", options, DIFFC_ERR_CONFIG, "exclude each other");
}

/* Neither the neighbours in the batch nor the caller's rounding mode change a bit. */
static void check_bits(diffc_sampler_options options)
{
    options.threshold_ratio = 0.9f;
    options.threshold_max = 2;
    diffc_sampler *sampler = new_sampler("linear", 0, &options), *single = new_sampler("linear", 0, &options);
    diffc_tensor *x = tensor_of("x", 0, 3, 3), *alone = NULL, *view = NULL;
    check_ok(diffc_tensor_slice(x, 0, 1, 1, 1, &view));
    check_ok(diffc_tensor_convert(view, 0, &alone));
    for (int step = 0; step < 4; step++) {
        diffc_tensor *eps = tensor_of("eps", step, 3, 3), *z = tensor_of("z", step, 3, 3), *eps1 = NULL,
                     *z1 = NULL;
        check_ok(diffc_tensor_slice(eps, 0, 1, 1, 1, &eps1));
        check_ok(diffc_tensor_slice(z, 0, 1, 1, 1, &z1));
        check_ok(diffc_sampler_step(sampler, step, eps, z, x, NULL));
        fesetround(FE_UPWARD);
        const int status = diffc_sampler_step(single, step, eps1, z1, alone, NULL);
        assert_int_equal(fegetround(), FE_UPWARD);
        fesetround(FE_TONEAREST);
        check_ok(status);
        assert_memory_equal(data_of(x) + SIZE, data_of(alone), SIZE * sizeof(float));
        diffc_release(&z1);
        diffc_release(&eps1);
        diffc_release(&z);
        diffc_release(&eps);
    }
    diffc_release(&view);
    diffc_release(&alone);
    diffc_release(&x);
    diffc_release(&single);
    diffc_release(&sampler);
}

static void test_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(diffusion_steps) / sizeof(diffusion_steps[0]); i++)
        check_bits(options_of(diffusion_steps[i], "leading", 5));
}

static int make_and_step(void *opaque)
{
    diffc_sampler_options options = options_of(opaque, "leading", 4);
    diffc_schedule *schedule = NULL;
    diffc_sampler *sampler = NULL;
    diffc_tensor *x = NULL;
    const int64_t shape[4] = { 2, 3, 4, 4 };
    int status = diffc_schedule_create(case_context, "linear", NULL, &schedule);
    status = status ? status : diffc_sampler_create(schedule, &options, &sampler);
    status = status ? status : diffc_tensor_create(case_context, DIFFC_F32, 4, shape, &x);
    for (int i = 0; i < 4 && !status; i++)
        status = diffc_sampler_step(sampler, i, x, x, x, NULL);
    diffc_release(&x);
    diffc_release(&schedule); /* the sampler keeps it */
    diffc_release(&sampler);
    return status;
}

static void test_memory_failures(void **state)
{
    char ddpm[] = "ddpm", multistep[] = "dpmsolver++";
    (void)state;
    check_memory_failures(make_and_step, ddpm);
    check_memory_failures(make_and_step, multistep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ddpm_is_the_course_rule), cmocka_unit_test(test_euler_is_ddim),
        cmocka_unit_test(test_ddim_eta_1_is_ddpm),      cmocka_unit_test(test_predictions_agree),
        cmocka_unit_test(test_flow_reaches_the_image),  cmocka_unit_test(test_last_step),
        cmocka_unit_test(test_order_of_steps),          cmocka_unit_test(test_refused_tensors),
        cmocka_unit_test(test_refused_options),         cmocka_unit_test(test_bits),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
