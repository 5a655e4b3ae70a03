/* Lists of timesteps: those of the specification, numpy's rounding, hostile requests. */

#include "sched_case.h"

static diffc_sampler_options options_of(const char *step, const char *spacing, int steps)
{
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    options.step = step;
    options.spacing = spacing;
    options.steps = steps;
    return options;
}

/* The list begins with `count` values, has `length` and ends with `last`. */
static void check_list(const char *schedule, const diffc_sampler_options *options, const float *first,
                       int count, int length, float last)
{
    diffc_sampler *sampler = new_sampler(schedule, 0, options);
    assert_int_equal(diffc_sampler_steps(sampler), length);
    for (int i = 0; i < count; i++)
        check_near(diffc_sampler_timestep(sampler, i), first[i], 1e-4);
    check_near(diffc_sampler_timestep(sampler, length - 1), last, 1e-4);
    assert_true(diffc_sampler_timestep(sampler, length) == -1);
    assert_true(diffc_sampler_timestep(sampler, -1) == -1);
    diffc_release(&sampler);
}

#define LIST(schedule, options, length, last, ...) \
    do { \
        const diffc_sampler_options options_ = options; \
        const float first_[] = { __VA_ARGS__ }; \
        check_list(schedule, &options_, first_, (int)(sizeof(first_) / sizeof(first_[0])), length, last); \
    } while (0)

static void test_lists_of_the_specification(void **state)
{
    (void)state;
    LIST("linear", options_of(NULL, NULL, 0), 1000, 0, 999, 998, 997);
    LIST("linear", options_of("ddpm", "leading", 100), 100, 0, 990, 980, 970);
    LIST("linear", options_of("ddpm", "leading", 50), 50, 0, 980, 960);
    LIST("linear", options_of("ddpm", "leading", 27), 27, 0, 962, 925);
    LIST("linear", options_of("ddim", "leading", 34), 34, 0, 957, 928);
    LIST("linear", options_of("ddpm", "strided", 34), 34, 0, 990, 960, 930, 900, 870, 840, 810, 780, 750, 720,
         690);
    LIST("linear", options_of("ddpm", "strided", 0), 50, 0, 980, 960);
    LIST("linear", options_of("ddpm", "trailing", 10), 10, 99, 999, 899, 799);
    LIST("linear", options_of("ddpm", "linspace", 3), 3, 0, 999, 500);
    LIST("linear", options_of("ddpm", "linspace", 1), 1, 0, 0);
    LIST("linear", options_of("euler", "linspace", 3), 3, 0, 999, 499.5f);
    LIST("squaredcos_cap_v2", options_of("euler", "leading", 20), 20, 0, 950, 900);
}

static void test_dpmsolver_lists(void **state)
{
    diffc_sampler_options options = options_of("dpmsolver++", "linspace", 20);
    (void)state;
    options.lambda_min = -5.1;
    LIST("squaredcos_cap_v2", options, 20, 50, 995, 945, 896, 846, 796, 746, 696, 647, 597, 547, 498, 448,
         398, 348, 298, 249, 199, 149, 100, 50);
    options.steps = 10;
    LIST("squaredcos_cap_v2", options, 10, 100, 995, 896, 796, 696, 597, 498, 398, 298, 199, 100);
    options.spacing = "leading";
    LIST("squaredcos_cap_v2", options, 10, 90, 900, 810, 720);
    options.spacing = "trailing";
    LIST("squaredcos_cap_v2", options, 10, 95, 995, 895, 795);
    options.spacing = "full";
    options.steps = 0;
    LIST("squaredcos_cap_v2", options, 996, 0, 995, 994);
    options.spacing = "smart27";
    LIST("squaredcos_cap_v2", options, 26, 0, 976);
}

/* By two spacings these rules cannot place as many steps as there are timesteps. */
static void test_dpmsolver_on_few_timesteps(void **state)
{
    static const struct {
        const char *spacing;
        int of_20;
    } rows[] = { { "linspace", 19 }, { "leading", 19 }, { "trailing", 20 }, { "strided", 20 } };
    (void)state;
    for (int i = 0; i < 8; i++) {
        const int train_steps = i < 4 ? 20 : 1;
        diffc_sampler_options options = options_of("dpmsolver++", rows[i % 4].spacing, 0);
        diffc_schedule *schedule = new_schedule("linear", train_steps);
        diffc_sampler *sampler = NULL;
        check_ok(diffc_sampler_create(schedule, &options, &sampler));
        assert_int_equal(diffc_sampler_steps(sampler), i < 4 ? rows[i].of_20 : 1);
        diffc_release(&sampler);
        options.lambda_min = 100; /* that of no timestep */
        check_fails(diffc_sampler_create(schedule, &options, &sampler), DIFFC_ERR_CONFIG,
                    "lambda_min leaves no timestep");
        diffc_release(&schedule);
    }
}

/* Of diffusers: every timestep is higher by the offset, the last one too. */
static void test_steps_offset(void **state)
{
    diffc_sampler_options options = options_of("ddpm", "leading", 27);
    (void)state;
    options.steps_offset = 1;
    LIST("linear", options, 27, 1, 963, 926);
    options.step = "ddim";
    options.steps_offset = 37;
    LIST("linear", options, 27, 37, 999, 962);
    options.step = "euler";
    LIST("linear", options, 27, 37, 999, 962);
    options.steps_offset = 38;
    diffc_schedule *schedule = new_schedule("linear", 0);
    diffc_sampler *sampler = NULL;
    check_fails(diffc_sampler_create(schedule, &options, &sampler), DIFFC_ERR_CONFIG,
                "27 steps, 1000 timesteps, offset 38: leading: timestep 0 is 1000");
    diffc_release(&schedule);
    options.step = "dpmsolver++";
    options.steps = 10;
    options.steps_offset = 1;
    options.lambda_min = -5.1;
    LIST("squaredcos_cap_v2", options, 10, 91, 901, 811);
}

static void test_flow_lists(void **state)
{
    (void)state;
    LIST("flow", options_of(NULL, NULL, 4), 4, 0.75f, 0, 0.25f, 0.5f);
    LIST("flow", options_of(NULL, NULL, 0), 50, 0.98f, 0, 0.02f);
    LIST("flow_match", options_of(NULL, NULL, 4), 4, 1, 1000, 667, 334);
    diffc_schedule_options shifted = DIFFC_SCHEDULE_OPTIONS;
    diffc_sampler_options options = options_of("flow_euler", "linspace", 28);
    diffc_schedule *schedule = NULL;
    diffc_sampler *sampler = NULL;
    shifted.shift = 3;
    check_ok(diffc_schedule_create(case_context, "flow_match", &shifted, &schedule));
    check_ok(diffc_sampler_create(schedule, &options, &sampler));
    check_near(diffc_sampler_timestep(sampler, 0), 1000, 0);
    check_near(diffc_sampler_timestep(sampler, 27), 8.9286, 1e-4);
    diffc_release(&sampler);
    diffc_release(&schedule);
}

static void test_named_lists(void **state)
{
    (void)state;
    LIST("linear", options_of("ddpm", "fast27", 0), 27, 0, 999, 800, 799, 600, 599, 500, 400, 399, 377, 355,
         333, 311, 288, 266, 244, 222, 200, 199, 177, 155, 133, 111, 88, 66, 44, 22, 0);
    LIST("linear", options_of("ddpm", "smart27", 27), 27, 0, 999);
    LIST("linear", options_of("ddpm", "smart50", 0), 50, 0, 999);
    LIST("linear", options_of("ddpm", "smart100", 0), 100, 0, 999);
    LIST("linear", options_of("ddpm", "smart185", 0), 185, 0, 999);
    LIST("linear", options_of("ddpm", "super27", 0), 27, 0, 999);
    LIST("linear", options_of("ddpm", "super40", 0), 40, 0, 999);
    LIST("linear", options_of("ddpm", "super100", 0), 100, 0, 999);
}

/* Hashes of numpy's values, made with numpy 2.4: for T = 300 the lists of all lengths, one after the other.
 */
static void test_all_lengths(void **state)
{
    static const struct {
        const char *step, *spacing;
        int longest;
        uint64_t hash;
    } rows[] = {
        { "ddpm", "leading", 300, 0xe623fcfaee2a1a9eu },
        { "ddpm", "linspace", 300, 0x029c5a53aa4928a9u },
        { "ddpm", "trailing", 300, 0xe260d028faffe555u },
        { "euler", "linspace", 300, 0x5fcef91274695601u },
        { "dpmsolver++", "linspace", 299, 0xa3d26fd7dc794479u },
    };
    diffc_schedule *schedule = new_schedule("linear", 300);
    (void)state;
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        uint64_t hash = 0xcbf29ce484222325u;
        for (int n = 1; n <= rows[r].longest; n++) {
            const diffc_sampler_options options = options_of(rows[r].step, rows[r].spacing, n);
            diffc_sampler *sampler = NULL;
            check_ok(diffc_sampler_create(schedule, &options, &sampler));
            for (int i = 0; i < diffc_sampler_steps(sampler); i++) {
                const float t = diffc_sampler_timestep(sampler, i);
                uint32_t bits;
                memcpy(&bits, &t, sizeof(bits));
                for (int shift = 0; shift < 32; shift += 8)
                    hash = (hash ^ (bits >> shift & 255)) * 0x100000001b3u;
            }
            diffc_release(&sampler);
        }
        assert_true(hash == rows[r].hash);
    }
    diffc_release(&schedule);
}

/* Whatever is asked for: strictly descending, inside, ending with 0, no more than asked. */
static void test_strided_lengths(void **state)
{
    diffc_schedule *schedule = new_schedule("linear", 300);
    (void)state;
    for (int n = 1; n <= 300; n++) {
        const diffc_sampler_options options = options_of("ddpm", "strided", n);
        diffc_sampler *sampler = NULL;
        check_ok(diffc_sampler_create(schedule, &options, &sampler));
        const int count = diffc_sampler_steps(sampler);
        const float stride = count > 1 ? diffc_sampler_timestep(sampler, count - 2) : 300;
        assert_true(count <= n);
        for (int i = 0; i < count; i++)
            assert_true(diffc_sampler_timestep(sampler, i) == stride * (float)(count - 1 - i));
        assert_true(diffc_sampler_timestep(sampler, 0) + stride >= 300);
        diffc_release(&sampler);
    }
    diffc_release(&schedule);
}

static void check_refused(const char *schedule_name, int train_steps, diffc_sampler_options options,
                          int status, const char *text)
{
    diffc_schedule *schedule = new_schedule(schedule_name, train_steps);
    diffc_sampler *sampler = NULL;
    check_fails(diffc_sampler_create(schedule, &options, &sampler), status, text);
    assert_null(sampler);
    diffc_release(&schedule);
}

static void test_hostile_requests(void **state)
{
    diffc_sampler_options cut = options_of("dpmsolver++", "linspace", 20);
    (void)state;
    check_refused("linear", 0, options_of("ddpm", "even", 10), DIFFC_ERR_ARG, "known: full, strided");
    check_refused("linear", 0, options_of("ddpm", "leading", -1), DIFFC_ERR_ARG, "steps is -1");
    check_refused("linear", 0, options_of("ddpm", "leading", 1001), DIFFC_ERR_ARG, "cannot place 1001 steps");
    check_refused("linear", 0, options_of("ddpm", "strided", 1000000000), DIFFC_ERR_LIMIT,
                  "the limit is 10000");
    check_refused("linear", 0, options_of("ddpm", "linspace", INT32_MAX), DIFFC_ERR_LIMIT,
                  "the limit is 10000");
    check_refused("flow", 0, options_of(NULL, NULL, 1000000000), DIFFC_ERR_LIMIT, "the limit is 10000");
    check_refused("linear", 1000000, options_of("ddpm", "full", 0), DIFFC_ERR_LIMIT, "1000000 steps");
    check_refused("linear", 0, options_of("ddpm", "full", 50), DIFFC_ERR_CONFIG,
                  "has 1000 steps, options.steps is 50");
    check_refused("linear", 0, options_of("ddpm", "fast27", 28), DIFFC_ERR_CONFIG, "has 27 steps");
    check_refused("linear", 20, options_of("ddpm", "smart50", 0), DIFFC_ERR_ARG, "50 steps on 20 timesteps");
    check_refused("linear", 30, options_of("ddpm", "fast27", 0), DIFFC_ERR_CONFIG, "spacing does not fit");
    check_refused("flow", 0, options_of(NULL, "leading", 10), DIFFC_ERR_CONFIG,
                  "not for the schedule \"flow\"");
    check_refused("flow_match", 0, options_of(NULL, "full", 0), DIFFC_ERR_CONFIG, "not for the schedule");
    cut.lambda_min = 1e300;
    check_refused("linear", 0, cut, DIFFC_ERR_CONFIG, "lambda_min leaves no timestep");
    cut.lambda_min = NAN;
    check_refused("linear", 0, cut, DIFFC_ERR_ARG, "lambda_min is nan");
    cut.lambda_min = -5.1;
    cut.steps = 996;
    check_refused("squaredcos_cap_v2", 0, cut, DIFFC_ERR_CONFIG, "spacing does not fit");
    cut.step = "ddpm";
    cut.steps = 20;
    check_refused("linear", 0, cut, DIFFC_ERR_CONFIG, "lambda_min is not for step \"ddpm\"");
}

/* Schedules that leave no image, or no noise, in float. */
static void test_degenerate_schedules(void **state)
{
    diffc_schedule_options nearly_none = DIFFC_SCHEDULE_OPTIONS;
    diffc_sampler_options options = options_of("ddpm", "full", 0);
    diffc_schedule *schedule = NULL;
    diffc_sampler *sampler = NULL;
    (void)state;
    check_refused("linear", 1000000, options_of("ddpm", "linspace", 10), DIFFC_ERR_CONFIG,
                  "all image or all noise");
    nearly_none.beta_start = 1e-12;
    nearly_none.beta_end = 1e-12;
    check_ok(diffc_schedule_create(case_context, "linear", &nearly_none, &schedule));
    check_fails(diffc_sampler_create(schedule, &options, &sampler), DIFFC_ERR_CONFIG,
                "all image or all noise");
    options.step = "euler";
    check_fails(diffc_sampler_create(schedule, &options, &sampler), DIFFC_ERR_CONFIG,
                "all image or all noise");
    diffc_release(&schedule);
}

static diffc_sampler_options explicit_list(const char *step, const float *times, int count)
{
    diffc_sampler_options options = options_of(step, NULL, 0);
    options.timesteps = times;
    options.timestep_count = count;
    return options;
}

static void test_explicit_lists(void **state)
{
    static const float good[] = { 990, 510, 0 }, rising[] = { 0, 510, 990 }, twice[] = { 5, 5 };
    static const float high[] = { 1000, 0 }, negative[] = { 3, -1 }, broken[] = { 3, NAN },
                       half[] = { 2.5f, 0 };
    static const float forward[] = { 0, 0.1f, 0.9f }, at_end[] = { 0, 1 }, at_zero[] = { 500, 0 };
    diffc_sampler_options both = explicit_list("ddpm", good, 3);
    (void)state;
    LIST("linear", explicit_list("ddpm", good, 3), 3, 0, 990, 510);
    LIST("linear", explicit_list("euler", half, 2), 2, 0, 2.5f);
    LIST("flow", explicit_list(NULL, forward, 3), 3, 0.9f, 0, 0.1f);
    LIST("flow_match", explicit_list(NULL, high, 1), 1, 1000, 1000);
    check_refused("linear", 0, explicit_list("ddpm", rising, 3), DIFFC_ERR_ARG,
                  "510 after 0, must be smaller");
    check_refused("linear", 0, explicit_list("ddpm", twice, 2), DIFFC_ERR_ARG, "5 after 5");
    check_refused("linear", 0, explicit_list("ddpm", high, 2), DIFFC_ERR_ARG, "timestep 0 is 1000");
    check_refused("linear", 0, explicit_list("euler", high, 2), DIFFC_ERR_ARG, "timestep 0 is 1000");
    check_refused("linear", 0, explicit_list("ddpm", negative, 2), DIFFC_ERR_ARG, "timestep 1 is -1");
    check_refused("linear", 0, explicit_list("ddpm", broken, 2), DIFFC_ERR_ARG, "timestep 1 is nan");
    check_refused("linear", 0, explicit_list("ddpm", half, 2), DIFFC_ERR_ARG, "whole number");
    check_refused("linear", 0, explicit_list("ddpm", good, 0), DIFFC_ERR_ARG, "is empty");
    check_refused("linear", 0, explicit_list("ddpm", good, -3), DIFFC_ERR_ARG, "is empty");
    check_refused("linear", 0, explicit_list("ddpm", good, INT32_MAX), DIFFC_ERR_LIMIT, "the limit is 10000");
    check_refused("linear", 0, explicit_list("ddpm", NULL, 3), DIFFC_ERR_ARG, "timesteps is NULL");
    check_refused("flow", 0, explicit_list(NULL, at_end, 2), DIFFC_ERR_ARG, "[0, 1)");
    check_refused("flow", 0, explicit_list(NULL, at_zero, 2), DIFFC_ERR_ARG, "[0, 1)");
    check_refused("flow_match", 0, explicit_list(NULL, at_zero, 2), DIFFC_ERR_ARG, "(0, T]");
    both.steps = 3;
    check_refused("linear", 0, both, DIFFC_ERR_CONFIG, "exclude each other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_of_the_specification),
        cmocka_unit_test(test_dpmsolver_lists),
        cmocka_unit_test(test_dpmsolver_on_few_timesteps),
        cmocka_unit_test(test_steps_offset),
        cmocka_unit_test(test_flow_lists),
        cmocka_unit_test(test_named_lists),
        cmocka_unit_test(test_all_lengths),
        cmocka_unit_test(test_strided_lengths),
        cmocka_unit_test(test_hostile_requests),
        cmocka_unit_test(test_degenerate_schedules),
        cmocka_unit_test(test_explicit_lists),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
