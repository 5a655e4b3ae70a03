/* Noise schedules: PyTorch's bits, the forward process, refusals. */

#include "sched_case.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* FNV-1a over the bytes of all values, little-endian. */
static uint64_t hash(const float *values, int count)
{
    uint64_t state = 0xcbf29ce484222325u;
    for (int i = 0; i < count; i++)
        for (int shift = 0; shift < 32; shift += 8)
            state = (state ^ (bits_of(values[i]) >> shift & 255)) * 0x100000001b3u;
    return state;
}

/* Made with diffusers. */
static void test_cosine_table(void **state)
{
    static const struct {
        int t;
        double beta, alpha_bar;
        uint32_t bits;
    } rows[] = {
        { 0, 4.128422370e-05, 9.999586940e-01, 0x3f7ffd4b },
        { 1, 4.614175123e-05, 9.999125600e-01, 0x3f7ffa45 },
        { 2, 5.099948248e-05, 9.998615384e-01, 0x3f7ff6ed },
        { 10, 8.987136243e-05, 9.992788434e-01, 0x3f7fd0bd },
        { 30, 1.871933346e-04, 9.964657426e-01, 0x3f7f1861 },
        { 60, 3.339033574e-04, 9.886365533e-01, 0x3f7d1749 },
        { 100, 5.318991607e-04, 9.715756178e-01, 0x3f78b92e },
        { 250, 1.327223959e-03, 8.458880186e-01, 0x3f588c1e },
        { 500, 3.155691549e-03, 4.922850430e-01, 0x3efc0cc9 },
        { 750, 7.579122670e-03, 1.431786567e-01, 0x3e129d6d },
        { 900, 1.974185556e-02, 2.361610718e-02, 0x3cc17691 },
        { 960, 4.931419343e-02, 3.689610865e-03, 0x3b71cd66 },
        { 990, 1.899875402e-01, 1.967173303e-04, 0x394e45e8 },
        { 998, 7.499994040e-01, 2.428766265e-06, 0x3622fde3 },
        { 999, 9.990000129e-01, 2.428734991e-09, 0x3126e6c2 },
    };
    diffc_schedule *schedule = new_schedule("squaredcos_cap_v2", 0);
    (void)state;
    assert_int_equal(diffc_schedule_train_steps(schedule), 1000);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const float alpha_bar = diffc_schedule_alpha_bars(schedule)[rows[i].t];
        check_near(diffc_schedule_betas(schedule)[rows[i].t], rows[i].beta, rows[i].beta * 1e-9);
        check_near(alpha_bar, rows[i].alpha_bar, rows[i].alpha_bar * 1e-9);
        assert_int_equal(bits_of(alpha_bar), rows[i].bits);
    }
    diffc_release(&schedule);
}

/* Hashes of the whole tables as PyTorch 2.13 computes them on a CPU with AVX2: linspace or the cosine
 * formula, cumprod. */
static void test_whole_tables(void **state)
{
    static const struct {
        const char *name;
        int train_steps;
        double start, end;
        uint64_t betas, alpha_bars;
    } rows[] = {
        { "linear", 1000, 0, 0, 0xbb31b4e0b7e124c8u, 0x5b0ad40d73df8aecu },
        { "linear", 300, 1e-4, 0.02, 0x42bcc87717a1bc00u, 0x01a1ae9f881bbc6eu },
        { "scaled_linear", 1000, 0.00085, 0.012, 0xf3741691d38f400cu, 0x552efb731a320022u },
        { "squaredcos_cap_v2", 1000, 0, 0, 0xa6fd964c8144c50bu, 0x6d7434fdfe965e9eu },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        diffc_schedule_options options = DIFFC_SCHEDULE_OPTIONS;
        diffc_schedule *schedule = NULL;
        options.train_steps = rows[i].train_steps;
        options.beta_start = rows[i].start;
        options.beta_end = rows[i].end;
        check_ok(diffc_schedule_create(case_context, rows[i].name, &options, &schedule));
        assert_string_equal(diffc_schedule_name(schedule), rows[i].name);
        assert_true(hash(diffc_schedule_betas(schedule), rows[i].train_steps) == rows[i].betas);
        assert_true(hash(diffc_schedule_alpha_bars(schedule), rows[i].train_steps) == rows[i].alpha_bars);
        diffc_release(&schedule);
    }
}

static void test_linear_ends(void **state)
{
    diffc_schedule *schedule = new_schedule("linear", 300);
    (void)state;
    assert_true(diffc_schedule_betas(schedule)[0] == 1e-4f);
    assert_true(diffc_schedule_betas(schedule)[299] == 0.02f);
    diffc_release(&schedule);
    schedule = new_schedule("linear", 1);
    assert_true(diffc_schedule_betas(schedule)[0] == 1e-4f);
    diffc_release(&schedule);
    schedule = new_schedule("flow", 0);
    assert_null(diffc_schedule_betas(schedule));
    assert_null(diffc_schedule_alpha_bars(schedule));
    diffc_release(&schedule);
}

/* One value per sample of x0 = 2, noise = -3. */
static void check_mix(const char *name, float t, double a, double b)
{
    diffc_schedule *schedule = new_schedule(name, 0);
    diffc_tensor *x0 = new_tensor(2, 1, 1, 2), *noise = new_tensor(2, 1, 1, 2);
    const float times[2] = { t, 0 };
    check_ok(diffc_tensor_fill(x0, 2));
    check_ok(diffc_tensor_fill(noise, -3));
    check_ok(diffc_schedule_add_noise(schedule, x0, noise, times, noise));
    check_near(data_of(noise)[1], 2 * a - 3 * b, 1e-6);
    const double end = strcmp(name, "flow") == 0 ? -3 : 2;
    if (strncmp(name, "flow", 4) == 0)
        assert_true(data_of(noise)[2] == (float)end);
    diffc_release(&noise);
    diffc_release(&x0);
    diffc_release(&schedule);
}

static void test_add_noise(void **state)
{
    (void)state;
    check_mix("squaredcos_cap_v2", 500, sqrt(4.922850430e-01), sqrt(1 - 4.922850430e-01));
    check_mix("flow", 0.25f, 0.25, 0.75);
    check_mix("flow", 1, 1, 0);
    check_mix("flow_match", 250, 0.75, 0.25);
    check_mix("flow_match", 1000, 0, 1);
}

static void test_add_noise_refuses(void **state)
{
    diffc_schedule *linear = new_schedule("linear", 10), *flow = new_schedule("flow", 0);
    diffc_tensor *x = named_tensor("x", 1, 1, 2, 2), *other = new_tensor(1, 1, 2, 3),
                 *kept = named_tensor("x", 1, 1, 2, 2);
    static const float bad[] = { -1, 10, 0.5f, NAN, INFINITY };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check_fails(diffc_schedule_add_noise(linear, x, x, &bad[i], x), DIFFC_ERR_ARG, "timestep is");
    check_fails(diffc_schedule_add_noise(flow, x, x, &bad[1], x), DIFFC_ERR_ARG, "timestep is 10");
    check_fails(diffc_schedule_add_noise(flow, x, other, &bad[2], x), DIFFC_ERR_ARG,
                "noise is F32 [1, 1, 2, 3]");
    check_fails(diffc_schedule_add_noise(flow, x, NULL, &bad[2], x), DIFFC_ERR_ARG, "NULL");
    assert_true(same_bits(x, kept));
    diffc_release(&kept);
    diffc_release(&other);
    diffc_release(&x);
    diffc_release(&flow);
    diffc_release(&linear);
}

static void check_refused(const char *name, int train_steps, double start, double end, double shift,
                          const char *text)
{
    diffc_schedule_options options = DIFFC_SCHEDULE_OPTIONS;
    diffc_schedule *schedule = NULL;
    options.train_steps = train_steps;
    options.beta_start = start;
    options.beta_end = end;
    options.shift = shift;
    check_fails(diffc_schedule_create(case_context, name, &options, &schedule), DIFFC_ERR_ARG, text);
    assert_null(schedule);
}

static void test_refused_options(void **state)
{
    (void)state;
    check_refused("cosine", 0, 0, 0, 0, "known: linear, scaled_linear, squaredcos_cap_v2, flow, flow_match");
    check_refused("linear", -1, 0, 0, 0, "train_steps is -1");
    check_refused("linear", 1000001, 0, 0, 0, "train_steps is 1000001");
    check_refused("linear", 0, 1, 0, 0, "beta_start is 1");
    check_refused("linear", 0, NAN, 0, 0, "beta_start is nan");
    check_refused("linear", 0, 0.03, 0, 0, "beta_end is 0.02");
    check_refused("linear", 0, 0, 1, 0, "beta_end is 1");
    check_refused("linear", 0, 0, 0, 3, "shift");
    check_refused("flow", 0, 0.1, 0, 0, "beta_start");
    check_refused("flow_match", 0, 0, 0, -1, "shift is -1");
    check_refused("flow_match", 0, 0, 0, INFINITY, "shift is inf");
    check_fails(diffc_schedule_create(case_context, NULL, NULL, NULL), DIFFC_ERR_ARG, "NULL");
}

static int make_schedule(void *opaque)
{
    diffc_schedule *schedule = NULL;
    const int status = diffc_schedule_create(case_context, opaque, NULL, &schedule);
    assert_true((status == DIFFC_OK) == (schedule != NULL));
    diffc_release(&schedule);
    return status;
}

static void test_memory_failures(void **state)
{
    char linear[] = "linear", flow[] = "flow";
    (void)state;
    check_memory_failures(make_schedule, linear);
    check_memory_failures(make_schedule, flow);
}

static void test_registry(void **state)
{
    static const int registries[] = { DIFFC_REGISTRY_SCHEDULE, DIFFC_REGISTRY_SPACING, DIFFC_REGISTRY_STEP };
    static const int counts[] = { 5, 13, 6 };
    (void)state;
    for (int r = 0; r < 3; r++) {
        const char *name = NULL, *description = NULL;
        int count = 0;
        while (diffc_registry_entry(registries[r], count, &name, &description) == DIFFC_OK) {
            assert_true(strlen(name) > 0 && strlen(description) > 0);
            count++;
        }
        assert_int_equal(count, counts[r]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cosine_table),      cmocka_unit_test(test_whole_tables),
        cmocka_unit_test(test_linear_ends),       cmocka_unit_test(test_add_noise),
        cmocka_unit_test(test_add_noise_refuses), cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_memory_failures),   cmocka_unit_test(test_registry),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
