/* Guides: the algebra of classifier-free guidance, which passes are run, combiners of the caller's, failures.
 */

#include "sched_case.h"

#define PIXELS 16 /* [.., .., 4, 4] */

/* A network whose answer shows the sample, the channel and the condition: 100 condition + 10 sample + channel
 * + x / 8. */
struct network {
    int calls, last_count;
    int conditions[8];
    const diffc_tensor *xs[8];
    float t[8];
    int status; /* returned, if not 0 */
    int sets_message;
};

static int predict(void *opaque, const float *t, const diffc_query *queries, int count)
{
    struct network *network = opaque;
    network->calls++;
    network->last_count = count;
    for (int q = 0; q < count; q++) {
        const int64_t samples = diffc_tensor_dim(queries[q].out, 0),
                      channels = diffc_tensor_dim(queries[q].out, 1);
        network->conditions[q] = queries[q].condition;
        network->xs[q] = queries[q].x;
        for (int64_t k = 0; k < samples; k++) {
            network->t[k] = t[k];
            for (int64_t i = 0; i < channels * PIXELS; i++)
                data_of(queries[q].out)[k * channels * PIXELS + i] = 100.0f * (float)queries[q].condition +
                                                                     10.0f * (float)k + (float)(i / PIXELS) +
                                                                     data_of(queries[q].x)[0] / 8;
        }
    }
    if (network->status && network->sets_message)
        diffc_schedule_create(NULL, NULL, NULL, NULL);
    return network->status;
}

static diffc_denoiser denoiser_of(struct network *network, int out_channels)
{
    diffc_denoiser denoiser = DIFFC_DENOISER;
    denoiser.predict = predict;
    denoiser.opaque = network;
    denoiser.out_channels = out_channels;
    return denoiser;
}

static const float times[3] = { 7, 7, 7 };

static void run_cfg(const float *scales, int count, int out_channels, struct network *network,
                    diffc_tensor *out)
{
    const diffc_denoiser denoiser = denoiser_of(network, out_channels);
    diffc_guide *guide = NULL;
    diffc_tensor *x = new_tensor(3, 1, 4, 4);
    data_of(x)[0] = 4;
    check_ok(diffc_guide_create_cfg(case_context, scales, count, &guide));
    check_ok(diffc_guide_predict(guide, &denoiser, 5, times, x, out));
    assert_int_equal(network->calls, 1);
    for (int i = 0; i < network->last_count; i++)
        assert_ptr_equal(network->xs[i], x); /* the same pointer: the network may share work */
    assert_true(network->t[2] == 7);
    diffc_release(&x);
    diffc_release(&guide);
}

/* The network answers 0 + c for condition 0 and -100 + c without condition. */
static void test_formula(void **state)
{
    static const float values[] = { -2, 0, 0.5f, 1, 5 };
    diffc_tensor *out = new_tensor(3, 1, 4, 4);
    (void)state;
    for (int v = 0; v < 5; v++) {
        struct network network = { 0 };
        run_cfg(&values[v], 1, 0, &network, out);
        for (int k = 0; k < 3; k++)
            check_near(data_of(out)[k * PIXELS + 3], 10 * k + 0.5 - 100 + values[v] * 100, 1e-4);
        assert_int_equal(network.last_count, values[v] == 0 || values[v] == 1 ? 1 : 2);
        assert_int_equal(network.conditions[0], values[v] == 1 ? 0 : DIFFC_UNCONDITIONAL);
        if (network.last_count == 2)
            assert_int_equal(network.conditions[1], 0);
    }
    diffc_release(&out);
}

static void test_scale_per_sample(void **state)
{
    static const float mixed[3] = { 0, 1, 5 }, ones[3] = { 1, 1, 1 }, zeros[3] = { 0, 0, 0 };
    struct network network = { 0 }, one = { 0 }, zero = { 0 };
    diffc_tensor *out = new_tensor(3, 2, 4, 4), *alone = new_tensor(3, 2, 4, 4);
    (void)state;
    run_cfg(mixed, 3, 2, &network, out);
    assert_int_equal(network.last_count, 2);
    check_near(data_of(out)[2 * 2 * PIXELS], 20.5 - 100 + 500, 1e-4);
    run_cfg(zeros, 3, 2, &zero, alone);
    assert_int_equal(zero.last_count, 1);
    assert_memory_equal(data_of(out), data_of(alone), 2 * PIXELS * sizeof(float));
    run_cfg(ones, 3, 2, &one, alone);
    assert_int_equal(one.last_count, 1);
    assert_memory_equal(data_of(out) + 2 * PIXELS, data_of(alone) + 2 * PIXELS, 2 * PIXELS * sizeof(float));
    diffc_release(&alone);
    diffc_release(&out);
}

/* x has one channel: the second one is a variance, and comes from the conditional pass. */
static void test_variance_channels(void **state)
{
    const float scale = 3;
    struct network network = { 0 };
    diffc_tensor *out = new_tensor(3, 2, 4, 4);
    (void)state;
    run_cfg(&scale, 1, 2, &network, out);
    for (int k = 0; k < 3; k++) {
        check_near(data_of(out)[k * 2 * PIXELS], 10 * k + 0.5 - 100 + 300, 1e-4);
        check_near(data_of(out)[k * 2 * PIXELS + PIXELS], 10 * k + 1.5, 1e-4);
    }
    diffc_release(&out);
}

static void test_without_guide(void **state)
{
    struct network network = { 0 };
    const diffc_denoiser denoiser = denoiser_of(&network, 0);
    diffc_tensor *x = new_tensor(3, 1, 4, 4), *out = new_tensor(3, 1, 4, 4);
    (void)state;
    check_ok(diffc_guide_predict(NULL, &denoiser, 0, times, x, out));
    assert_int_equal(network.last_count, 1);
    assert_int_equal(network.conditions[0], 0);
    check_near(data_of(out)[2 * PIXELS], 20, 0);
    diffc_release(&out);
    diffc_release(&x);
}

/* A combiner of the caller's: step number s asks s queries on a tensor of its own, and adds them up. */
struct adder {
    diffc_tensor *own;
    int released, expands;
    int forget_x, fail_expand, fail_combine;
};

static int adder_count(void *opaque, int step)
{
    (void)opaque;
    return step;
}

static int adder_expand(void *opaque, int step, const diffc_tensor *x, diffc_query *queries, int count)
{
    struct adder *adder = opaque;
    assert_int_equal(count, step);
    adder->expands++;
    copy_values(x, adder->own);
    for (int i = 0; i < count; i++) {
        assert_null(queries[i].x);
        assert_int_equal(diffc_tensor_dim(queries[i].out, 1), 1);
        queries[i].x = adder->forget_x && i == 1 ? NULL : adder->own;
        queries[i].condition = i;
    }
    return adder->fail_expand;
}

static int adder_combine(void *opaque, int step, const diffc_query *queries, int count, diffc_tensor *out)
{
    struct adder *adder = opaque;
    assert_int_equal(count, step);
    for (int64_t i = 0; i < diffc_tensor_count(out); i++) {
        data_of(out)[i] = 0;
        for (int q = 0; q < count; q++)
            data_of(out)[i] += data_of(queries[q].out)[i];
    }
    return adder->fail_combine;
}

static void adder_release(void *opaque)
{
    ((struct adder *)opaque)->released++;
}

static diffc_guide *guide_of(struct adder *adder)
{
    diffc_combiner combiner = DIFFC_COMBINER;
    diffc_guide *guide = NULL;
    combiner.query_count = adder_count;
    combiner.expand = adder_expand;
    combiner.combine = adder_combine;
    combiner.release = adder_release;
    combiner.opaque = adder;
    check_ok(diffc_guide_create(case_context, &combiner, &guide));
    return guide;
}

static void test_own_combiner(void **state)
{
    struct adder adder = { .own = new_tensor(3, 1, 4, 4) };
    struct network network = { 0 };
    const diffc_denoiser denoiser = denoiser_of(&network, 0);
    diffc_guide *guide = guide_of(&adder);
    diffc_tensor *x = new_tensor(3, 1, 4, 4), *out = new_tensor(3, 1, 4, 4);
    static const int steps[] = { 1, 4, 2, 8 };
    (void)state;
    for (int i = 0; i < 4; i++) {
        const int n = steps[i];
        check_ok(diffc_guide_predict(guide, &denoiser, n, times, x, out));
        assert_int_equal(network.last_count, n);
        assert_ptr_equal(network.xs[n - 1], adder.own);
        check_near(data_of(out)[PIXELS], 100 * n * (n - 1) / 2 + 10 * n, 1e-3);
    }
    assert_int_equal(adder.expands, 4);
    assert_int_equal(adder.released, 0);
    diffc_release(&guide);
    assert_int_equal(adder.released, 1);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&adder.own);
}

/* pixel_permute once divided by its height. */
static void test_empty_pictures_are_refused(void **state)
{
    struct network network = { 0 };
    const diffc_denoiser denoiser = denoiser_of(&network, 0);
    diffc_view *view = NULL;
    diffc_guide *guide = NULL;
    diffc_tensor *x = new_tensor(1, 1, 0, 8), *out = new_tensor(1, 1, 0, 8);
    (void)state;
    check_ok(diffc_view_create(case_context, "pixel_permute", NULL, &view));
    check_ok(diffc_guide_create_views(case_context, &view, NULL, 1, "mean", NULL, &guide));
    check_fails(diffc_guide_predict(guide, &denoiser, 0, times, x, out), DIFFC_ERR_ARG, "x has no elements");
    assert_int_equal(network.calls, 0);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&guide);
    diffc_release(&view);
}

static void test_failing_combiner(void **state)
{
    struct adder adder = { .own = new_tensor(3, 1, 4, 4) };
    struct network network = { 0 };
    const diffc_denoiser denoiser = denoiser_of(&network, 0);
    diffc_guide *guide = guide_of(&adder);
    diffc_tensor *x = new_tensor(3, 1, 4, 4), *out = new_tensor(3, 1, 4, 4);
    (void)state;
    check_fails(diffc_guide_predict(guide, &denoiser, 0, times, x, out), DIFFC_ERR_CONFIG,
                "query_count gave 0");
    check_fails(diffc_guide_predict(guide, &denoiser, 1025, times, x, out), DIFFC_ERR_CONFIG, "1 to 1024");
    check_fails(diffc_guide_predict(guide, &denoiser, -2, times, x, out), DIFFC_ERR_NOMEM,
                "query_count returned DIFFC_ERR_NOMEM (-2)");
    adder.forget_x = 1;
    check_fails(diffc_guide_predict(guide, &denoiser, 2, times, x, out), DIFFC_ERR_CONFIG,
                "no x for query 1 of 2");
    adder.forget_x = 0;
    adder.fail_expand = DIFFC_ERR_CONFIG;
    check_fails(diffc_guide_predict(guide, &denoiser, 2, times, x, out), DIFFC_ERR_CONFIG,
                "step 2: the combiner's expand returned DIFFC_ERR_CONFIG");
    adder.fail_expand = 0;
    adder.fail_combine = 3;
    check_fails(diffc_guide_predict(guide, &denoiser, 2, times, x, out), DIFFC_ERR_ARG,
                "a positive status (3)");
    assert_int_equal(network.calls, 1);
    diffc_release(&guide);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&adder.own);
}

static void test_failing_denoiser(void **state)
{
    struct network network = { .status = DIFFC_ERR_UNSUPPORTED };
    const diffc_denoiser denoiser = denoiser_of(&network, 0);
    diffc_tensor *x = new_tensor(3, 1, 4, 4), *out = new_tensor(3, 1, 4, 4);
    (void)state;
    check_fails(diffc_guide_predict(NULL, &denoiser, 9, times, x, out), DIFFC_ERR_UNSUPPORTED,
                "step 9: the denoiser returned DIFFC_ERR_UNSUPPORTED");
    network.sets_message = 1;
    check_fails(diffc_guide_predict(NULL, &denoiser, 9, times, x, out), DIFFC_ERR_UNSUPPORTED,
                "step 9: the denoiser failed: context is NULL");
    diffc_release(&out);
    diffc_release(&x);
}

static void test_refused_arguments(void **state)
{
    static const float scales[3] = { 1, 2, NAN };
    const struct diffc_combiner nothing = { .struct_size = sizeof(nothing) };
    struct network network = { 0 };
    diffc_denoiser denoiser = denoiser_of(&network, 0);
    diffc_guide *guide = NULL;
    diffc_tensor *x = new_tensor(3, 1, 4, 4), *out = new_tensor(3, 2, 4, 4);
    (void)state;
    check_fails(diffc_guide_create_cfg(case_context, scales, 3, &guide), DIFFC_ERR_ARG, "scale 2 is nan");
    check_fails(diffc_guide_create_cfg(case_context, scales, 0, &guide), DIFFC_ERR_ARG, "count is 0");
    check_fails(diffc_guide_create_cfg(case_context, scales, 5000, &guide), DIFFC_ERR_LIMIT,
                "the limit is 4096");
    check_fails(diffc_guide_create(case_context, &nothing, &guide), DIFFC_ERR_ARG, "query_count is NULL");
    assert_null(guide);
    check_ok(diffc_guide_create_cfg(case_context, scales, 2, &guide));
    check_fails(diffc_guide_predict(guide, &denoiser, 0, times, x, out), DIFFC_ERR_ARG,
                "out is F32 [3, 2, 4, 4]");
    check_fails(diffc_guide_predict(guide, &denoiser, 0, times, x, x), DIFFC_ERR_ARG, "is the memory of x");
    denoiser.out_channels = 2;
    check_fails(diffc_guide_predict(guide, &denoiser, 0, times, x, out), DIFFC_ERR_CONFIG,
                "2 guidance scales for 3 samples");
    denoiser.out_channels = -1;
    check_fails(diffc_guide_predict(guide, &denoiser, 0, times, x, out), DIFFC_ERR_ARG, "out_channels");
    assert_int_equal(network.calls, 0);
    diffc_release(&guide);
    diffc_release(&out);
    diffc_release(&x);
}

static int make_and_predict(void *opaque)
{
    const float scale = 2;
    const int64_t shapes[2][4] = { { 3, 1, 4, 4 }, { 2, 1, 4, 4 } };
    const diffc_denoiser denoiser = denoiser_of(opaque, 0);
    diffc_guide *guide = NULL;
    int status = diffc_guide_create_cfg(case_context, &scale, 1, &guide);
    for (int i = 0; i < 4 && !status; i++) { /* shapes change to and fro */
        diffc_tensor *x = NULL, *out = NULL;
        status = diffc_tensor_create(case_context, DIFFC_F32, 4, shapes[i % 2], &x);
        status = status ? status : diffc_tensor_create(case_context, DIFFC_F32, 4, shapes[i % 2], &out);
        status = status ? status : diffc_guide_predict(guide, &denoiser, 0, times, x, out);
        diffc_release(&x);
        diffc_release(&out);
    }
    diffc_release(&guide);
    return status;
}

static void test_memory_failures(void **state)
{
    struct network network = { 0 };
    (void)state;
    check_memory_failures(make_and_predict, &network);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula),           cmocka_unit_test(test_scale_per_sample),
        cmocka_unit_test(test_variance_channels), cmocka_unit_test(test_without_guide),
        cmocka_unit_test(test_own_combiner),      cmocka_unit_test(test_empty_pictures_are_refused),
        cmocka_unit_test(test_failing_combiner),  cmocka_unit_test(test_failing_denoiser),
        cmocka_unit_test(test_refused_arguments), cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
