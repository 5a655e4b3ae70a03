/* Schedules and samplers from scheduler_config.json: the official files, defaults of absent keys, what the
 * caller sets, what is refused. */

#include "sched_case.h"

#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/diffc-scheduler-XXXXXX";
static char file[64];

static int make_folder(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof(file), "%s/scheduler_config.json", folder);
    return case_setup(state);
}

static int drop_folder(void **state)
{
    (void)unlink(file);
    (void)rmdir(folder);
    return case_teardown(state);
}

static void write_config(const char *text)
{
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static const char official[] =
    "{\"_class_name\": \"DDPMScheduler\", \"_diffusers_version\": \"0.15.0.dev0\", \"beta_end\": 0.02,"
    "\"beta_schedule\": \"squaredcos_cap_v2\", \"beta_start\": 0.0001, \"clip_sample\": true,"
    "\"clip_sample_range\": 1.0, \"dynamic_thresholding_ratio\": 0.95, \"lambda_min_clipped\": -5.1,"
    "\"num_train_timesteps\": 1000, \"prediction_type\": \"epsilon\", \"sample_max_value\": 1.5,"
    "\"thresholding\": true, \"trained_betas\": null, \"variance_type\": \"learned_range\"}";

static diffc_sampler *open_sampler(const diffc_sampler_options *options)
{
    diffc_sampler *sampler = NULL;
    check_ok(diffc_sampler_open(case_context, folder, options, &sampler));
    return sampler;
}

/* One step of both on the deterministic tensors gives the same bits. */
static void check_same(const diffc_sampler *a_, const diffc_sampler *b_)
{
    diffc_sampler *a = (diffc_sampler *)(uintptr_t)a_, *b = (diffc_sampler *)(uintptr_t)b_;
    diffc_tensor *x = named_tensor("step.x", 2, 3, 8, 8), *y = named_tensor("step.x", 2, 3, 8, 8);
    const int channels = diffc_sampler_output_channels(a, 3);
    diffc_tensor *output = named_tensor("step.model", 2, channels, 8, 8),
                 *noise = named_tensor("z", 2, 3, 8, 8);
    assert_int_equal(diffc_sampler_steps(a), diffc_sampler_steps(b));
    assert_int_equal(channels, diffc_sampler_output_channels(b, 3));
    for (int i = 0; i < diffc_sampler_steps(a); i++)
        assert_true(diffc_sampler_timestep(a, i) == diffc_sampler_timestep(b, i));
    for (int i = 0; i < 3; i++) {
        check_ok(diffc_sampler_step(a, i, output, noise, x, NULL));
        check_ok(diffc_sampler_step(b, i, output, noise, y, NULL));
        assert_true(same_bits(x, y));
    }
    diffc_release(&noise);
    diffc_release(&output);
    diffc_release(&y);
    diffc_release(&x);
}

static void check_equals(const diffc_sampler_options *given, const char *schedule,
                         const diffc_sampler_options *wanted)
{
    diffc_sampler *opened = open_sampler(given), *made = new_sampler(schedule, 0, wanted);
    check_same(opened, made);
    diffc_release(&opened);
    diffc_release(&made);
}

static void test_official_file(void **state)
{
    diffc_sampler_options given = DIFFC_SAMPLER_OPTIONS, wanted = DIFFC_SAMPLER_OPTIONS;
    (void)state;
    write_config(official);
    given.steps = wanted.steps = 100;
    wanted.spacing = "leading";
    wanted.variance = "learned_range";
    wanted.threshold_ratio = 0.95f;
    wanted.threshold_max = 1.5f;
    check_equals(&given, "squaredcos_cap_v2", &wanted);
    given.steps = wanted.steps = 0;
    given.spacing = wanted.spacing = "smart50";
    check_equals(&given, "squaredcos_cap_v2", &wanted);
    static const float list[] = { 990, 510, 30, 0 };
    given.spacing = wanted.spacing = NULL;
    given.timesteps = wanted.timesteps = list;
    given.timestep_count = wanted.timestep_count = 4;
    given.threshold_ratio = wanted.threshold_ratio = 0.9f;
    given.threshold_max = wanted.threshold_max = 1;
    check_equals(&given, "squaredcos_cap_v2", &wanted);
}

/* The same file with another step: as diffusers' from_config does it. */
static void test_other_steps(void **state)
{
    static const char *const steps[] = { "ddim", "dpmsolver++", "sde-dpmsolver++", "euler" };
    (void)state;
    write_config(official);
    for (int i = 0; i < 4; i++) {
        diffc_sampler_options given = DIFFC_SAMPLER_OPTIONS, wanted = DIFFC_SAMPLER_OPTIONS;
        given.step = wanted.step = steps[i];
        given.steps = wanted.steps = 20;
        wanted.spacing = i == 0 ? "leading" : "linspace";
        wanted.variance = "learned_range";
        if (i < 3) {
            wanted.threshold_ratio = 0.95f;
            wanted.threshold_max = 1.5f;
        }
        if (i == 3)
            given.spacing = wanted.spacing = "leading";
        if (i == 1 || i == 2)
            wanted.lambda_min = -5.1;
        check_equals(&given, "squaredcos_cap_v2", &wanted);
    }
}

static void test_defaults(void **state)
{
    diffc_sampler_options given = DIFFC_SAMPLER_OPTIONS, wanted = DIFFC_SAMPLER_OPTIONS;
    diffc_schedule *schedule = NULL;
    (void)state;
    write_config("{\"_class_name\": \"DDPMScheduler\", \"something\": [1, {}]}");
    given.steps = wanted.steps = 50;
    wanted.spacing = "leading";
    wanted.clip = 1;
    check_equals(&given, "linear", &wanted);
    write_config("{\"beta_schedule\": \"squaredcos_cap_v2\", \"num_train_timesteps\": 300}");
    check_ok(diffc_schedule_open(case_context, folder, &schedule));
    assert_string_equal(diffc_schedule_name(schedule), "squaredcos_cap_v2");
    assert_int_equal(diffc_schedule_train_steps(schedule), 300);
    diffc_release(&schedule);
}

/* Files as diffusers 0.42 writes them. The default of lambda_min_clipped is no JSON. */
static void test_saved_by_diffusers(void **state)
{
    static const char solver[] =
        "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"algorithm_type\": \"%s\","
        "\"beta_schedule\": \"squaredcos_cap_v2\", \"euler_at_final\": false, \"final_sigmas_type\": "
        "\"zero\","
        "\"flow_shift\": 1.0, \"lambda_min_clipped\": %s, \"lower_order_final\": true, \"solver_order\": 2,"
        "\"solver_type\": \"midpoint\", \"steps_offset\": 0, \"thresholding\": false,"
        "\"timestep_spacing\": \"trailing\", \"use_karras_sigmas\": false, \"variance_type\": null}";
    static const char *const algorithms[] = { "dpmsolver++", "sde-dpmsolver++" };
    static const char *const lambdas[] = { "-Infinity", "-5.1" };
    (void)state;
    for (int i = 0; i < 4; i++) {
        diffc_sampler_options given = DIFFC_SAMPLER_OPTIONS, wanted = DIFFC_SAMPLER_OPTIONS;
        char text[1024];
        snprintf(text, sizeof(text), solver, algorithms[i % 2], lambdas[i / 2]);
        write_config(text);
        given.steps = wanted.steps = 12;
        wanted.step = algorithms[i % 2];
        wanted.spacing = "trailing";
        wanted.lambda_min = i / 2 ? -5.1 : 0;
        check_equals(&given, "squaredcos_cap_v2", &wanted);
    }
}

enum { BETAS = 40 };

/* A file with 40 betas that no formula gives, 0.001 (t^2 mod 97 + 1), and more keys. */
static void write_betas(const char *keys)
{
    char text[1024];
    int used = snprintf(text, sizeof(text), "{%s\"num_train_timesteps\": %d, \"trained_betas\": [", keys,
                        BETAS);
    for (int t = 0; t < BETAS; t++)
        used += snprintf(text + used, sizeof(text) - (size_t)used, "%s%.3f", t ? ", " : "",
                         0.001 * (t * t % 97 + 1));
    snprintf(text + used, sizeof(text) - (size_t)used, "]}");
    write_config(text);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Betas as they stand in the file; their products have PyTorch's bits. A beta_schedule is not looked at. */
static void test_trained_betas(void **state)
{
    static const struct {
        int t;
        uint32_t bits;
    } products[] = { { 0, 0x3f7fbe77 }, { 1, 0x3f7f3b87 }, { 20, 0x3eea971f }, { 39, 0x3e1588f8 } };
    diffc_schedule *schedule = NULL;
    (void)state;
    write_betas("\"beta_schedule\": \"sigmoid\", \"beta_start\": 7, ");
    check_ok(diffc_schedule_open(case_context, folder, &schedule));
    assert_string_equal(diffc_schedule_name(schedule), "trained_betas");
    assert_int_equal(diffc_schedule_train_steps(schedule), BETAS);
    for (int t = 0; t < BETAS; t++)
        assert_true(diffc_schedule_betas(schedule)[t] == (float)(0.001 * (t * t % 97 + 1)));
    for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++)
        assert_int_equal(bits_of(diffc_schedule_alpha_bars(schedule)[products[i].t]), products[i].bits);
    diffc_release(&schedule);
    check_fails(diffc_schedule_create(case_context, "trained_betas", NULL, &schedule), DIFFC_ERR_ARG,
                "unknown schedule");
}

#define DDPM "\"_class_name\": \"DDPMScheduler\", \"clip_sample\": true, "
#define SOLVER "\"_class_name\": \"DPMSolverMultistepScheduler\", "
#define OFFSET "\"steps_offset\": 3, "

/* Three steps of 8 from diffusers 0.42, of the deterministic tensors, six channels of output among them: with
 * a fixed variance its pipelines drop the last three. */
static void test_lists_and_steps_of_diffusers(void **state)
{
    static const int indices[5] = { 0, 1, 2, 192, 383 };
    static const struct {
        const char *keys;
        float first, second, last;
        double x[5];
    } rows[] = {
        { DDPM OFFSET "\"variance_type\": \"fixed_small\", ",
          38,
          33,
          3,
          { -0.6940027, 2.859273, 1.664276, 2.620525, 0.09586009 } },
        { DDPM OFFSET "\"variance_type\": \"fixed_small_log\", ",
          38,
          33,
          3,
          { -0.6940027, 2.859273, 1.664276, 2.620525, 0.09586009 } },
        { DDPM OFFSET "\"variance_type\": \"fixed_large\", ",
          38,
          33,
          3,
          { -0.7114418, 2.955015, 1.712085, 2.704963, 0.0393526 } },
        { DDPM OFFSET "\"variance_type\": \"learned_range\", ",
          38,
          33,
          3,
          { -0.7167172, 2.958212, 1.720509, 2.681759, 0.09590885 } },
        { DDPM OFFSET "\"timestep_spacing\": \"trailing\", ",
          39,
          34,
          4,
          { -0.6749985, 2.891206, 1.665316, 2.647593, 0.1124501 } },
        { "\"_class_name\": \"DDIMScheduler\", " OFFSET,
          38,
          33,
          3,
          { -0.2050779, 0.9687186, 0.843632, -0.006450593, 1.001262 } },
        { SOLVER OFFSET "\"timestep_spacing\": \"leading\", ",
          35,
          31,
          7,
          { -0.1838563, 1.826502, 0.953818, 2.363671, 1.793236 } },
        { SOLVER OFFSET "\"timestep_spacing\": \"leading\", \"algorithm_type\": \"sde-dpmsolver++\", ",
          35,
          31,
          7,
          { -0.6973609, 4.325903, 2.168599, 5.14526, 0.2502893 } },
        { "\"_class_name\": \"EulerDiscreteScheduler\", \"timestep_spacing\": \"leading\", " OFFSET,
          38,
          33,
          3,
          { -0.1963732, 0.9646114, 0.4650433, 2.163861, 0.9139453 } },
        { "\"_class_name\": \"EulerDiscreteScheduler\", " OFFSET,
          39,
          33.42857f,
          0,
          { -0.2097723, 0.9056194, 0.4267015, 2.265857, 0.8495806 } },
    };
    diffc_tensor *output = named_tensor("step.model", 2, 6, 8, 8), *noise = named_tensor("z", 2, 3, 8, 8);
    (void)state;
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
        diffc_tensor *x = named_tensor("step.x", 2, 3, 8, 8);
        write_betas(rows[r].keys);
        options.steps = 8;
        diffc_sampler *sampler = open_sampler(&options);
        assert_int_equal(diffc_sampler_steps(sampler), 8);
        assert_true(diffc_sampler_timestep(sampler, 0) == rows[r].first);
        check_near(diffc_sampler_timestep(sampler, 1), rows[r].second, 1e-5);
        assert_true(diffc_sampler_timestep(sampler, 7) == rows[r].last);
        for (int step = 0; step < 3; step++)
            check_ok(diffc_sampler_step(sampler, step, output, noise, x, NULL));
        for (int i = 0; i < 5; i++)
            check_near(data_of(x)[indices[i]], rows[r].x[i], 3e-6);
        diffc_release(&sampler);
        diffc_release(&x);
    }
    diffc_release(&noise);
    diffc_release(&output);
}

/* What the caller sets comes first; the offset is of the spacing leading alone, whoever chose it. */
static void test_offset_and_options(void **state)
{
    static const float list[] = { 20, 10, 0 };
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    diffc_sampler *sampler = NULL;
    (void)state;
    write_betas(OFFSET);
    options.steps = 8;
    options.steps_offset = 1;
    sampler = open_sampler(&options);
    assert_true(diffc_sampler_timestep(sampler, 7) == 1);
    diffc_release(&sampler);
    options.steps_offset = 0;
    options.spacing = "strided";
    sampler = open_sampler(&options);
    assert_true(diffc_sampler_timestep(sampler, 7) == 0);
    diffc_release(&sampler);
    options.step = "euler"; /* which has linspace but for this */
    options.spacing = "leading";
    sampler = open_sampler(&options);
    assert_true(diffc_sampler_timestep(sampler, 7) == 3);
    diffc_release(&sampler);
    options = (diffc_sampler_options)DIFFC_SAMPLER_OPTIONS;
    options.timesteps = list;
    options.timestep_count = 3;
    sampler = open_sampler(&options);
    assert_true(diffc_sampler_timestep(sampler, 2) == 0);
    diffc_release(&sampler);
    options = (diffc_sampler_options)DIFFC_SAMPLER_OPTIONS;
    options.steps = 40; /* diffusers has an IndexError here */
    check_fails(diffc_sampler_open(case_context, folder, &options, &sampler), DIFFC_ERR_CONFIG,
                "offset 3: leading: timestep 0 is 42, must be in [0, T - 1] with T = 40");
    assert_non_null(strstr(diffc_message(), file));
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *message;
    } bad[] = {
        { "{\"_class_name\": \"PNDMScheduler\"}", DIFFC_ERR_UNSUPPORTED,
          "_class_name is \"PNDMScheduler\", must be one of DDPMScheduler, DDIMScheduler" },
        { "{\"beta_schedule\": \"sigmoid\"}", DIFFC_ERR_UNSUPPORTED,
          "beta_schedule is \"sigmoid\", must be one of linear" },
        { "{\"beta_schedule\": 3}", DIFFC_ERR_CONFIG, "beta_schedule is 3, must be" },
        { "{\"num_train_timesteps\": 0}", DIFFC_ERR_CONFIG, "num_train_timesteps is 0, must be" },
        { "{\"num_train_timesteps\": 1000000000}", DIFFC_ERR_CONFIG,
          "num_train_timesteps is 1000000000, must be" },
        { "{\"num_train_timesteps\": 10.5}", DIFFC_ERR_CONFIG,
          "num_train_timesteps is 10.5, must be a whole number" },
        { "{\"num_train_timesteps\": 1e300}", DIFFC_ERR_CONFIG, "num_train_timesteps is 1e+300" },
        { "{\"num_train_timesteps\": \"1000\"}", DIFFC_ERR_CONFIG, "num_train_timesteps is \"1000\"" },
        { "{\"beta_start\": 0}", DIFFC_ERR_CONFIG, "beta_start is 0, must be" },
        { "{\"beta_start\": 0.03, \"beta_end\": 0.02}", DIFFC_ERR_CONFIG,
          "beta_end is 0.02, must be a number from 0.03" },
        { "{\"beta_start\": 2}", DIFFC_ERR_CONFIG, "beta_start is 2, must be" },
        { "{\"beta_end\": 1}", DIFFC_ERR_CONFIG, "beta_end is 1, must be" },
        { "{\"beta_end\": NaN}", DIFFC_ERR_FORMAT, "line 1" },
        { "{\"trained_betas\": [0.1]}", DIFFC_ERR_CONFIG,
          "trained_betas is a list of 1, must be a list of num_train_timesteps = 1000 numbers" },
        { "{\"trained_betas\": \"linear\"}", DIFFC_ERR_CONFIG,
          "trained_betas is \"linear\", must be a list" },
        { "{\"num_train_timesteps\": 2, \"trained_betas\": [0.1, 1]}", DIFFC_ERR_CONFIG,
          "trained_betas[1] is 1, must be a number above 0 and below 1" },
        { "{\"num_train_timesteps\": 2, \"trained_betas\": [0, 0.1]}", DIFFC_ERR_CONFIG,
          "trained_betas[0] is 0, must be" },
        { "{\"num_train_timesteps\": 2, \"trained_betas\": [1e-60, 0.1]}", DIFFC_ERR_CONFIG,
          "trained_betas[0] is 1e-60, must be" },
        { "{\"num_train_timesteps\": 2, \"trained_betas\": [0.1, 0.9999999999]}", DIFFC_ERR_CONFIG,
          "trained_betas[1] is 1, must be" }, /* as a float */
        { "{\"num_train_timesteps\": 2, \"trained_betas\": [0.1, null]}", DIFFC_ERR_CONFIG,
          "trained_betas[1] is null, must be" },
        { "{\"num_train_timesteps\": 0, \"trained_betas\": []}", DIFFC_ERR_CONFIG,
          "num_train_timesteps is 0, must be" },
        { "{\"rescale_betas_zero_snr\": true}", DIFFC_ERR_UNSUPPORTED, "rescale_betas_zero_snr is true" },
        { "{\"steps_offset\": 1000}", DIFFC_ERR_CONFIG,
          "steps_offset is 1000, must be a number from 0 to 999" },
        { "{\"steps_offset\": -1}", DIFFC_ERR_CONFIG, "steps_offset is -1, must be a number from 0" },
        { "{\"steps_offset\": 0.5}", DIFFC_ERR_CONFIG, "steps_offset is 0.5, must be a whole number" },
        { "{\"steps_offset\": true}", DIFFC_ERR_CONFIG, "steps_offset is true, must be" },
        { "{\"thresholding\": 1}", DIFFC_ERR_CONFIG, "thresholding is 1, must be true or false" },
        { "{\"thresholding\": true, \"dynamic_thresholding_ratio\": 1.5}", DIFFC_ERR_CONFIG,
          "dynamic_thresholding_ratio is 1.5" },
        { "{\"thresholding\": true, \"sample_max_value\": 0.5}", DIFFC_ERR_CONFIG,
          "sample_max_value is 0.5" },
        { "{\"clip_sample_range\": -1}", DIFFC_ERR_CONFIG, "clip_sample_range is -1" },
        { "{\"lambda_min_clipped\": -1e300}", DIFFC_ERR_CONFIG, "lambda_min_clipped is -1e+300" },
        { "{\"variance_type\": \"learned\"}", DIFFC_ERR_UNSUPPORTED,
          "variance_type is \"learned\", must be one of" },
        { "{\"variance_type\": \"fixed_large_log\"}", DIFFC_ERR_UNSUPPORTED,
          "variance_type is \"fixed_large_log\", must be one of fixed_small, fixed_small_log, fixed_large" },
        { "{\"_class_name\": \"DDIMScheduler\", \"set_alpha_to_one\": false}", DIFFC_ERR_UNSUPPORTED,
          "set_alpha_to_one is false, must be true" },
        { "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"algorithm_type\": \"dpmsolver\"}",
          DIFFC_ERR_UNSUPPORTED, "algorithm_type is \"dpmsolver\"" },
        { "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"solver_order\": 3}", DIFFC_ERR_UNSUPPORTED,
          "solver_order is 3, must be 2" },
        { "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"use_karras_sigmas\": true}",
          DIFFC_ERR_UNSUPPORTED, "use_karras_sigmas is true, must be false" },
        { "{\"_class_name\": \"EulerDiscreteScheduler\", \"sigma_max\": 80}", DIFFC_ERR_UNSUPPORTED,
          "sigma_max is 80, must be null" },
        { "[]", DIFFC_ERR_FORMAT, "not a JSON object" },
        { "{", DIFFC_ERR_FORMAT, "scheduler_config.json" },
    };
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    diffc_sampler *sampler = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_config(bad[i].text);
        check_fails(diffc_sampler_open(case_context, folder, NULL, &sampler), bad[i].status, bad[i].message);
        assert_non_null(strstr(diffc_message(), "scheduler_config.json"));
        assert_null(sampler);
    }
    write_config(official);
    options.step = "heun";
    check_fails(diffc_sampler_open(case_context, folder, &options, &sampler), DIFFC_ERR_ARG,
                "unknown step \"heun\"");
    (void)unlink(file);
    check_fails(diffc_sampler_open(case_context, folder, NULL, &sampler), DIFFC_ERR_IO,
                "scheduler_config.json");
}

static int open_and_drop(void *opaque)
{
    diffc_sampler *sampler = NULL;
    diffc_schedule *schedule = NULL;
    (void)opaque;
    int status = diffc_sampler_open(case_context, folder, NULL, &sampler);
    status = status ? status : diffc_schedule_open(case_context, folder, &schedule);
    diffc_release(&schedule);
    diffc_release(&sampler);
    return status;
}

static void test_memory_failures(void **state)
{
    (void)state;
    write_config(official);
    check_memory_failures(open_and_drop, NULL);
    write_betas("");
    check_memory_failures(open_and_drop, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_official_file),      cmocka_unit_test(test_other_steps),
        cmocka_unit_test(test_saved_by_diffusers), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_trained_betas),      cmocka_unit_test(test_lists_and_steps_of_diffusers),
        cmocka_unit_test(test_offset_and_options), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
