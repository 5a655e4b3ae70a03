/* Step rules against diffusers: tests/data/sched_golden.json and single values; the
 * quantile of dynamic thresholding. */

#include "sched_case.h"

#include <jansson.h>

#include "sched/sched.h"

#define COUNT 192 /* values of the chains: [1, 3, 8, 8] */

static json_t *golden;

static int load_golden(void **state)
{
    char path[4096];
    const char *folder = getenv("DIFFC_TEST_DATA");
    snprintf(path, sizeof(path), "%s/sched_golden.json", folder ? folder : "tests/data");
    golden = json_load_file(path, 0, NULL);
    return golden ? case_setup(state) : -1;
}

static int drop_golden(void **state)
{
    json_decref(golden);
    return case_teardown(state);
}

static const struct chain {
    const char *name, *schedule, *step, *spacing;
    int steps;
    float eta, ratio;
    double lambda_min, tolerance;
} chains[] = {
    { "ddim20_eta0_thr", "squaredcos_cap_v2", "ddim", "leading", 20, 0, 0.95f, 0, 1e-5 },
    { "ddim20_eta0_noclip", "squaredcos_cap_v2", "ddim", "leading", 20, 0, 0, 0, 3e-4 },
    { "ddim20_eta1_thr", "squaredcos_cap_v2", "ddim", "leading", 20, 1, 0.95f, 0, 1e-5 },
    { "dpmpp2m20_thr", "squaredcos_cap_v2", "dpmsolver++", "linspace", 20, 0, 0.95f, -5.1, 1e-5 },
    { "dpmpp2m8_thr", "squaredcos_cap_v2", "dpmsolver++", "linspace", 8, 0, 0.95f, -5.1, 1e-5 },
    { "sde_dpmpp2m20_thr", "squaredcos_cap_v2", "sde-dpmsolver++", "linspace", 20, 0, 0.95f, -5.1, 1e-5 },
    { "euler20_leading", "squaredcos_cap_v2", "euler", "leading", 20, 0, 0, 0, 3e-4 },
    { "flow_euler10", "flow_match", "flow_euler", "linspace", 10, 0, 0, 0, 1e-5 },
};

static diffc_sampler *sampler_of(const struct chain *chain)
{
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    options.step = chain->step;
    options.spacing = chain->spacing;
    options.steps = chain->steps;
    options.eta = chain->eta;
    options.threshold_ratio = chain->ratio;
    options.threshold_max = chain->ratio > 0 ? 1.5f : 0;
    options.lambda_min = chain->lambda_min;
    return new_sampler(chain->schedule, 0, &options);
}

static diffc_tensor *numbered_tensor(const char *prefix, int number)
{
    char name[64];
    snprintf(name, sizeof(name), "%s%d", prefix, number);
    return named_tensor(name, 1, 3, 8, 8);
}

static diffc_tensor *start_of(const diffc_sampler *sampler)
{
    diffc_tensor *x = named_tensor("sched.x", 1, 3, 8, 8);
    for (int i = 0; i < COUNT; i++)
        data_of(x)[i] *= diffc_sampler_initial_sigma(sampler);
    return x;
}

static void run_chain(const struct chain *chain)
{
    const json_t *entry = json_object_get(golden, chain->name), *out = json_object_get(entry, "out");
    diffc_sampler *sampler = sampler_of(chain);
    diffc_tensor *x = start_of(sampler), *x0 = new_tensor(1, 3, 8, 8);
    double worst = 0;
    assert_int_equal(diffc_sampler_steps(sampler), chain->steps);
    for (int i = 0; i < chain->steps; i++) {
        const double t = json_number_value(json_array_get(json_object_get(entry, "timesteps"), (size_t)i));
        diffc_tensor *eps = numbered_tensor("sched.eps", i), *noise = numbered_tensor("sched.noise", i);
        const int noisy = diffc_sampler_needs_noise(sampler, i);
        check_near(diffc_sampler_timestep(sampler, i), t, 1e-3);
        check_ok(diffc_sampler_step(sampler, i, eps, noisy ? noise : NULL, x, x0));
        diffc_release(&eps);
        diffc_release(&noise);
    }
    for (int i = 0; i < COUNT; i++) {
        const double wanted = json_number_value(json_array_get(out, (size_t)i));
        check_near(data_of(x)[i], wanted, chain->tolerance);
        worst = fmax(worst, fabs(data_of(x)[i] - wanted));
    }
    print_message("%s: within %.2g\n", chain->name, worst);
    diffc_release(&x0);
    diffc_release(&x);
    diffc_release(&sampler);
}

static void test_chains(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++)
        run_chain(&chains[i]);
}

static void test_euler_start(void **state)
{
    diffc_sampler *leading = sampler_of(&chains[6]);
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    (void)state;
    check_near(diffc_sampler_initial_sigma(leading), 13.1078949, 1e-5);
    diffc_release(&leading);
    options.step = "euler";
    options.spacing = "linspace";
    options.steps = 20;
    diffc_sampler *linspace = new_sampler("squaredcos_cap_v2", 0, &options);
    check_near(diffc_sampler_initial_sigma(linspace), 20291.3, 0.1);
    diffc_release(&linspace);
}

static diffc_sampler *course_sampler(float ratio)
{
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    options.step = "ddpm";
    options.spacing = "strided";
    options.steps = 34;
    options.variance = "learned_range";
    options.threshold_ratio = ratio;
    options.threshold_max = ratio > 0 ? 1.5f : 0;
    return new_sampler("squaredcos_cap_v2", 0, &options);
}

static diffc_tensor *half_model(void)
{
    diffc_tensor *model = named_tensor("step.model", 2, 6, 8, 8);
    for (int i = 0; i < 4 * COUNT; i++)
        data_of(model)[i] *= 0.5f;
    return model;
}

static void test_ddpm_steps(void **state)
{
    static const int indices[] = { 0, 1, 2, 192, 383 };
    static const struct {
        int t;
        double x[5];
    } rows[] = {
        { 990, { -0.8958699, 0.4171857, -0.3058799, 1.167411, 0.7203321 } },
        { 480, { -0.3325946, 1.373529, 0.5848637, 1.536566, 1.452333 } },
        { 30, { -0.1025438, 0.9517488, 0.486379, 0.9507577, 0.9480115 } },
        { 0, { -0.06090679, 0.9513252, 0.5103741, 0.9096682, 0.9456187 } },
    };
    static const double x0_at_480[5] = { -0.1164996, 1, 0.6129354, 1, 1 };
    diffc_sampler *sampler = course_sampler(0.95f);
    diffc_tensor *model = half_model(), *noise = named_tensor("step.noise", 2, 3, 8, 8),
                 *x0 = new_tensor(2, 3, 8, 8);
    (void)state;
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        const int step = (990 - rows[r].t) / 30;
        diffc_tensor *x = named_tensor("step.x", 2, 3, 8, 8);
        assert_int_equal(diffc_sampler_needs_noise(sampler, step), rows[r].t > 0);
        check_ok(diffc_sampler_step(sampler, step, model, rows[r].t > 0 ? noise : NULL, x, x0));
        for (int i = 0; i < 5; i++) {
            check_near(data_of(x)[indices[i]], rows[r].x[i], 1e-6);
            if (rows[r].t == 480)
                check_near(data_of(x0)[indices[i]], x0_at_480[i], 1e-6);
        }
        diffc_release(&x);
    }
    diffc_release(&x0);
    diffc_release(&noise);
    diffc_release(&model);
    diffc_release(&sampler);
}

/* The update that the course gives (two coefficients and the variance), from t to t', without thresholding.
 */
static void test_course_update(void **state)
{
    diffc_sampler *sampler = course_sampler(0);
    diffc_schedule *schedule = new_schedule("squaredcos_cap_v2", 0);
    diffc_tensor *model = half_model(), *noise = named_tensor("step.noise", 2, 3, 8, 8);
    const float *out = data_of(model), *z = data_of(noise);
    (void)state;
    for (int step = 0; step < 33; step++) {
        const double a = diffc_schedule_alpha_bars(schedule)[990 - 30 * step];
        const double ap = diffc_schedule_alpha_bars(schedule)[960 - 30 * step];
        const double alpha = a / ap, beta = 1 - alpha, variance = (1 - ap) / (1 - a) * beta;
        diffc_tensor *start = named_tensor("step.x", 2, 3, 8, 8), *x = named_tensor("step.x", 2, 3, 8, 8);
        check_ok(diffc_sampler_step(sampler, step, model, noise, x, NULL));
        for (int i = 0; i < 2 * COUNT; i++) {
            const int at = i / COUNT * 2 * COUNT + i % COUNT; /* of sample i / COUNT: eps, then v */
            const double part = (out[at + COUNT] + 1) / 2, xt = data_of(start)[i];
            const double x0 = (xt - sqrt(1 - a) * out[at]) / sqrt(a);
            const double v = exp(0.5 * (part * log(beta) + (1 - part) * log(variance))) * z[i];
            const double wanted = sqrt(ap) * beta / (1 - a) * x0 + sqrt(alpha) * (1 - ap) / (1 - a) * xt + v;
            check_near(data_of(x)[i], wanted,
                       2e-5 * fmax(1, fabs(wanted))); /* 1 - alpha is a small difference */
        }
        diffc_release(&start);
        diffc_release(&x);
    }
    diffc_release(&noise);
    diffc_release(&model);
    diffc_release(&schedule);
    diffc_release(&sampler);
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The definition of 4.4 on sorted values. */
static float sorted_quantile(const float *values, size_t n, float q)
{
    float *sorted = malloc(n * sizeof(*sorted));
    assert_non_null(sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = fabsf(values[i]);
    qsort(sorted, n, sizeof(*sorted), compare_floats);
    const float rank = q * (float)(n - 1), low = floorf(rank), weight = rank - low;
    const float a = sorted[(size_t)low], b = sorted[(size_t)ceilf(rank)];
    free(sorted);
    return weight < 0.5f ? fmaf(weight, b - a, a) : fmaf(-(b - a), 1 - weight, b);
}

static void check_quantiles(const float *values, size_t n)
{
    static const float ratios[] = { 0.001f, 0.25f, 0.5f, 0.75f, 0.95f, 0.995f, 0.999999f };
    for (size_t i = 0; i < sizeof(ratios) / sizeof(ratios[0]); i++)
        assert_true(dfi_abs_quantile(values, n, ratios[i]) == sorted_quantile(values, n, ratios[i]));
}

static void test_quantile(void **state)
{
    static const size_t sizes[] = { 1, 2, 3, 192, 12288, 196608 };
    float *values = malloc(196608 * sizeof(*values));
    (void)state;
    assert_non_null(values);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        dt_input("quantile", values, sizes[s]);
        check_quantiles(values, sizes[s]);
        for (size_t i = 0; i < sizes[s]; i++)
            values[i] = rintf(values[i] * 2) / 2; /* many ties, zeros of both signs */
        check_quantiles(values, sizes[s]);
        for (size_t i = 0; i < sizes[s]; i++)
            values[i] = ldexpf(values[i] + 3, (int)(i % 200) - 140); /* denormals too */
        check_quantiles(values, sizes[s]);
    }
    values[0] = NAN;
    values[1] = INFINITY;
    assert_true(dfi_abs_quantile(values, 12288, 0.5f) >= 0);
    free(values);
}

static void test_threshold_clamps(void **state)
{
    const struct dfi_limiter limiter = { .ratio = 0.5f, .max = 1.5f };
    float quiet[3] = { -0.5f, 0.25f, 0.5f }, loud[3] = { -6, 3, 1 }, between[3] = { -2, 1.25f, 1 };
    (void)state;
    dfi_limit(&limiter, quiet, 3); /* s = 0.5 counts as 1 */
    assert_true(quiet[0] == -0.5f && quiet[1] == 0.25f && quiet[2] == 0.5f);
    dfi_limit(&limiter, loud, 3); /* s = 3 counts as 1.5 */
    assert_true(loud[0] == -1 && loud[1] == 1 && loud[2] == 1 / 1.5f);
    dfi_limit(&limiter, between, 3); /* s = 1.25 */
    assert_true(between[0] == -1 && between[1] == 1 && between[2] == 1 / 1.25f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains),     cmocka_unit_test(test_euler_start),
        cmocka_unit_test(test_ddpm_steps), cmocka_unit_test(test_course_update),
        cmocka_unit_test(test_quantile),   cmocka_unit_test(test_threshold_clamps),
    };
    return cmocka_run_group_tests(tests, load_golden, drop_golden);
}
