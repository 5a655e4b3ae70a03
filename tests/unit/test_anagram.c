/* Guides over views and factorizations: analytic averages, variance channels, what is asked, chains of
 * guides. */

#include "sched_case.h"

/* A linear network: condition k at x gives gain[k] x + offset[k] on the picture, and on the variance channels
 * 10 k + channel + pixel / 1000. Condition -1 is gain[0]. */
struct network {
    double gain[8], offset[8];
    int calls, asked, conditions[64];
    double shown[64]; /* first value of each query's x */
};

static int predict(void *opaque, const float *t, const diffc_query *queries, int count)
{
    struct network *network = opaque;
    (void)t;
    network->calls++;
    for (int q = 0; q < count; q++) {
        const diffc_tensor *x = queries[q].x;
        diffc_tensor *out = queries[q].out;
        const int64_t c = queries[q].image_channels, pixels = diffc_tensor_dim(x, 2) * diffc_tensor_dim(x, 3);
        const int64_t xc = diffc_tensor_dim(x, 1), oc = diffc_tensor_dim(out, 1);
        const int k = queries[q].condition + 1;
        assert_true(k >= 0 && k < 8);
        network->conditions[network->asked] = queries[q].condition;
        network->shown[network->asked++] = data_of(x)[0];
        for (int64_t i = 0; i < diffc_tensor_count(out); i++) {
            const int64_t n = i / (oc * pixels), channel = i / pixels % oc, p = i % pixels;
            data_of(out)[i] = channel < c
                                  ? (float)(network->gain[k] * data_of(x)[(n * xc + channel) * pixels + p] +
                                            network->offset[k])
                                  : (float)(10 * k + channel + p / 1000.0);
        }
    }
    return DIFFC_OK;
}

static diffc_denoiser denoiser_of(struct network *network, int out_channels, int image_channels)
{
    diffc_denoiser denoiser = DIFFC_DENOISER;
    denoiser.predict = predict;
    denoiser.opaque = network;
    denoiser.out_channels = out_channels;
    denoiser.image_channels = image_channels;
    return denoiser;
}

static struct network new_network(void)
{
    return (struct network) { .gain = { 0.5, 2, 3, -1, 0.25 }, .offset = { 1, 0, -2, 5, 7 } };
}

static diffc_guide *cfg_of(float scale)
{
    diffc_guide *guide = NULL;
    check_ok(diffc_guide_create_cfg(case_context, &scale, 1, &guide));
    return guide;
}

static diffc_guide *anagram_of(const char *const *names, int count, const int32_t *conditions,
                               const char *reduction, diffc_guide *inner)
{
    diffc_view *views[8] = { NULL };
    diffc_guide *guide = NULL;
    for (int i = 0; i < count; i++)
        check_ok(diffc_view_create(case_context, names[i], NULL, &views[i]));
    check_ok(diffc_guide_create_views(case_context, views, conditions, count, reduction, inner, &guide));
    for (int i = 0; i < count; i++)
        diffc_release(&views[i]);
    return guide;
}

static const float times[4] = { 9, 9, 9, 9 };

static void guide_predict(diffc_guide *guide, struct network *network, int step, const diffc_tensor *x,
                          diffc_tensor *out)
{
    const diffc_denoiser denoiser = denoiser_of(network, (int)diffc_tensor_dim(out, 1), 1);
    network->calls = network->asked = 0;
    check_ok(diffc_guide_predict(guide, &denoiser, step, times, x, out));
}

static const char *const pair[] = { "identity", "vflip" };

/* eps = (e_1(x) + flip e_2(flip x)) / 2: for a linear network ((g1 + g2) x + o1 + o2) / 2. */
static void test_mean_is_analytic(void **state)
{
    struct network network = new_network();
    diffc_guide *inner = cfg_of(7), *guide = anagram_of(pair, 2, NULL, "mean", inner);
    diffc_tensor *x = named_tensor("x", 2, 1, 8, 8), *out = new_tensor(2, 1, 8, 8);
    (void)state;
    guide_predict(guide, &network, 0, x, out);
    const double gain[2] = { 0.5 + 7 * (2 - 0.5), 0.5 + 7 * (3 - 0.5) };
    const double offset[2] = { 1 + 7 * (0 - 1), 1 + 7 * (-2 - 1) };
    for (int i = 0; i < 128; i++)
        check_near(data_of(out)[i], (gain[0] + gain[1]) / 2 * data_of(x)[i] + (offset[0] + offset[1]) / 2,
                   2e-5);
    static const int asked[4] = { -1, 0, -1, 1 };
    assert_int_equal(network.calls, 1);
    assert_int_equal(network.asked, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(network.conditions[i], asked[i]);
    assert_true(network.shown[0] == (double)data_of(x)[0]);
    assert_true(network.shown[2] == (double)data_of(x)[56]);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&guide);
    diffc_release(&inner);
}

static void test_sum_and_alternate(void **state)
{
    struct network network = new_network();
    static const int32_t conditions[2] = { 2, 1 };
    diffc_guide *sum = anagram_of(pair, 2, conditions, "sum", NULL),
                *alternate = anagram_of(pair, 2, conditions, "alternate", NULL);
    diffc_tensor *x = named_tensor("x", 2, 1, 8, 8), *out = new_tensor(2, 2, 8, 8);
    (void)state;
    guide_predict(sum, &network, 0, x, out);
    for (int n = 0; n < 2; n++)
        for (int p = 0; p < 64; p++) {
            check_near(data_of(out)[n * 128 + p], 2 * data_of(x)[n * 64 + p] + 3, 1e-5);
            const int flipped = (7 - p / 8) * 8 + p % 8; /* variances are the mean, where they belong */
            check_near(data_of(out)[n * 128 + 64 + p], 25 + 1 + (p + flipped) / 2000.0, 1e-5);
        }
    for (int step = 0; step < 5; step++) {
        guide_predict(alternate, &network, step, x, out);
        assert_int_equal(network.asked, 1);
        assert_int_equal(network.conditions[0], conditions[step % 2]);
        check_near(data_of(out)[5], step % 2 == 0 ? -1 * data_of(x)[5] + 5 : 3 * data_of(x)[5] - 2, 1e-5);
        check_near(data_of(out)[64], step % 2 == 0 ? 31 : 21 + 0.056, 1e-5);
    }
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&alternate);
    diffc_release(&sum);
}

/* Variances never change their sign; a picture that conditions is seen as the noisy one is. */
static void test_negate(void **state)
{
    static const char *const negate[] = { "negate" };
    struct network network = new_network();
    diffc_guide *guide = anagram_of(negate, 1, NULL, "mean", NULL);
    diffc_tensor *x = named_tensor("x", 2, 2, 8, 8), *out = new_tensor(2, 2, 8, 8);
    (void)state;
    network.offset[1] = 3;
    guide_predict(guide, &network, 0, x, out);
    assert_true(network.shown[0] == -(double)data_of(x)[0]);
    for (int p = 0; p < 64; p++) {
        check_near(data_of(out)[128 + p], -(2 * -data_of(x)[128 + p] + 3), 1e-5);
        check_near(data_of(out)[128 + 64 + p], 11 + p / 1000.0, 1e-5);
    }
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&guide);
}

/* Views of the caller's: signs and places of variances follow by themselves; maps that mix leave them. */
static int flip_and_negate(void *opaque, const diffc_tensor *x, diffc_tensor *seen)
{
    const int mixes = *(int *)opaque;
    for (int64_t i = 0; i < diffc_tensor_count(x); i++)
        data_of(seen)[i] = !mixes       ? -data_of(x)[i - i % 8 + 7 - i % 8]
                           : i % 2 == 0 ? 0.6f * data_of(x)[i] + 0.8f * data_of(x)[i + 1]
                                        : 0.8f * data_of(x)[i - 1] - 0.6f * data_of(x)[i];
    return DIFFC_OK;
}

static void test_variance_of_own_views(void **state)
{
    struct network network = new_network();
    diffc_tensor *x = named_tensor("x", 2, 1, 8, 8), *out = new_tensor(2, 2, 8, 8);
    (void)state;
    for (int mixes = 0; mixes < 2; mixes++) {
        diffc_view_functions functions = DIFFC_VIEW_FUNCTIONS;
        diffc_view *view = NULL;
        diffc_guide *guide = NULL;
        functions.apply = functions.invert = flip_and_negate; /* its own inverse */
        functions.opaque = &mixes;
        check_ok(diffc_view_create_own(case_context, &functions, &view));
        check_ok(diffc_guide_create_views(case_context, &view, NULL, 1, "mean", NULL, &guide));
        guide_predict(guide, &network, 0, x, out);
        for (int p = 0; p < 64; p++) {
            check_near(data_of(out)[128 + p], 2 * data_of(x)[64 + p], 1e-5);
            check_near(data_of(out)[128 + 64 + p], 11 + (mixes ? p : p - p % 8 + 7 - p % 8) / 1000.0, 1e-5);
        }
        diffc_release(&guide);
        diffc_release(&view);
    }
    diffc_release(&out);
    diffc_release(&x);
}

/* It is tried with pictures of one channel: what is left over once went through it untried. */
static void test_own_views_take_whole_pictures(void **state)
{
    struct network network = new_network();
    const diffc_denoiser denoiser = denoiser_of(&network, 2, 2), wide = denoiser_of(&network, 3, 2);
    diffc_view_functions functions = DIFFC_VIEW_FUNCTIONS;
    int mixes = 0;
    diffc_view *view = NULL;
    diffc_guide *guide = NULL;
    diffc_tensor *x = new_tensor(1, 3, 8, 8), *x2 = new_tensor(1, 2, 8, 8), *out = new_tensor(1, 2, 8, 8),
                 *out3 = new_tensor(1, 3, 8, 8);
    (void)state;
    functions.apply = functions.invert = flip_and_negate;
    functions.opaque = &mixes;
    check_ok(diffc_view_create_own(case_context, &functions, &view));
    check_ok(diffc_guide_create_views(case_context, &view, NULL, 1, "mean", NULL, &guide));
    check_fails(diffc_guide_predict(guide, &denoiser, 0, times, x, out), DIFFC_ERR_CONFIG,
                "takes 2 channels at once, not the 1 left over");
    check_fails(diffc_guide_predict(guide, &wide, 0, times, x2, out3), DIFFC_ERR_CONFIG,
                "takes 2 channels at once, not the 1 left over");
    diffc_release(&out3);
    diffc_release(&out);
    diffc_release(&x2);
    diffc_release(&x);
    diffc_release(&guide);
    diffc_release(&view);
}

static void test_guide_refuses_views(void **state)
{
    static const char *const turn[] = { "rotate90" };
    struct network network = new_network();
    const diffc_denoiser denoiser = denoiser_of(&network, 0, 0);
    diffc_guide *guide = anagram_of(turn, 1, NULL, "mean", NULL), *none = NULL;
    diffc_view *view = NULL;
    diffc_tensor *x = new_tensor(1, 1, 8, 6), *out = new_tensor(1, 1, 8, 6);
    static const int32_t low = -2;
    (void)state;
    check_fails(
        diffc_guide_predict(guide, &denoiser, 3, times, x, out), DIFFC_ERR_CONFIG,
        "step 3: the combiner's expand failed: view \"rotate90\" needs square pictures, these are 8 x 6");
    assert_int_equal(network.calls, 0);
    check_fails(diffc_guide_create_views(case_context, &view, NULL, 1, "mean", NULL, &none), DIFFC_ERR_ARG,
                "views[0] is NULL");
    check_ok(diffc_view_create(case_context, "vflip", NULL, &view));
    check_fails(diffc_guide_create_views(case_context, &view, NULL, 1, "median", NULL, &none), DIFFC_ERR_ARG,
                "unknown reduction \"median\"; known: mean, sum, alternate");
    check_fails(diffc_guide_create_views(case_context, &view, &low, 1, "mean", NULL, &none), DIFFC_ERR_ARG,
                "conditions[0] is -2");
    check_fails(diffc_guide_create_views(case_context, &view, NULL, 65, "mean", NULL, &none), DIFFC_ERR_LIMIT,
                "count is 65");
    assert_null(none);
    diffc_release(&view);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&guide);
}

static diffc_guide *hybrid_of(const char *name, const double *scales, int count, const int32_t *conditions,
                              diffc_guide *inner)
{
    diffc_factorization_options options = DIFFC_FACTORIZATION_OPTIONS;
    diffc_factorization *factors = NULL;
    diffc_guide *guide = NULL;
    options.scales = scales;
    options.scale_count = count;
    check_ok(diffc_factorization_create(case_context, name, &options, &factors));
    check_ok(diffc_guide_create_factors(case_context, factors, conditions, inner, &guide));
    diffc_release(&factors);
    return guide;
}

/* low(e_1) + e_2 - low(e_2), and the unconditional prediction is asked for once. */
static void test_hybrid(void **state)
{
    struct network network = new_network();
    diffc_guide *inner = cfg_of(7), *guide = hybrid_of("low_high", NULL, 0, NULL, inner);
    diffc_tensor *x = named_tensor("x", 2, 1, 16, 16), *out = new_tensor(2, 2, 16, 16), *low = NULL;
    const double gain[2] = { 0.5 + 7 * (2 - 0.5), 0.5 + 7 * (3 - 0.5) };
    const double offset[2] = { 1 + 7 * (0 - 1), 1 + 7 * (-2 - 1) };
    (void)state;
    guide_predict(guide, &network, 0, x, out);
    check_ok(diffc_image_blur(x, 31, 2, &low));
    for (int n = 0; n < 2; n++)
        for (int p = 0; p < 256; p++) {
            const double l = data_of(low)[n * 256 + p], h = data_of(x)[n * 256 + p] - l;
            check_near(data_of(out)[n * 512 + p], gain[0] * l + offset[0] + gain[1] * h, 1e-4);
            check_near(data_of(out)[n * 512 + 256 + p], 15 + 1 + p / 1000.0, 1e-5);
        }
    static const int asked[3] = { -1, 0, 1 };
    assert_int_equal(network.calls, 1);
    assert_int_equal(network.asked, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(network.conditions[i], asked[i]);
    diffc_release(&low);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&guide);
    diffc_release(&inner);
}

/* Geng et al.: guidance is the factorization by scales -6.5 and 7.5. */
static void test_scales_are_guidance(void **state)
{
    static const double scales[2] = { -6.5, 7.5 };
    static const int32_t conditions[2] = { DIFFC_UNCONDITIONAL, 0 };
    struct network network = new_network();
    diffc_guide *cfg = cfg_of(7.5f), *guide = hybrid_of("scale", scales, 2, conditions, NULL);
    diffc_tensor *x = named_tensor("x", 2, 1, 16, 16), *out = new_tensor(2, 1, 16, 16),
                 *wanted = new_tensor(2, 1, 16, 16);
    (void)state;
    guide_predict(guide, &network, 0, x, out);
    guide_predict(cfg, &network, 0, x, wanted);
    for (int i = 0; i < 512; i++)
        check_near(data_of(out)[i], data_of(wanted)[i], 1e-4);
    diffc_release(&wanted);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&guide);
    diffc_release(&cfg);
}

/* An anagram of hybrids of guided predictions in one batch; and one whose inner guide is itself an anagram,
 * which is asked view by view: both as nested formulas say. */
static void test_chains(void **state)
{
    static const int32_t conditions[2] = { 0, 2 };
    struct network network = new_network();
    diffc_guide *cfg = cfg_of(2), *hybrid = hybrid_of("grey_colour", NULL, 0, NULL, cfg);
    diffc_guide *guide = anagram_of(pair, 2, conditions, "mean", hybrid);
    diffc_tensor *x = named_tensor("x", 1, 1, 8, 8), *out = new_tensor(1, 1, 8, 8);
    double gain[4], offset[4];
    (void)state;
    for (int k = 0; k < 4; k++) {
        gain[k] = 2 * network.gain[k + 1] - network.gain[0];
        offset[k] = 2 * network.offset[k + 1] - network.offset[0];
    }
    guide_predict(guide, &network, 0, x,
                  out); /* of one channel, all is grey: components 0, conditions 0, 2 */
    assert_int_equal(network.calls, 1);
    assert_int_equal(network.asked, 8);
    for (int i = 0; i < 64; i++)
        check_near(data_of(out)[i], (gain[0] + gain[2]) / 2 * data_of(x)[i] + (offset[0] + offset[2]) / 2,
                   1e-5);
    diffc_release(&guide);
    diffc_release(&hybrid);
    hybrid = anagram_of(pair, 2, NULL, "mean", cfg);
    guide = anagram_of(pair, 2, conditions, "sum", hybrid);
    guide_predict(guide, &network, 0, x, out);
    assert_int_equal(network.calls, 2);
    assert_int_equal(network.asked, 8);
    for (int i = 0; i < 64; i++)
        check_near(data_of(out)[i],
                   (gain[0] + gain[1] + gain[2] + gain[3]) / 2 * data_of(x)[i] +
                       (offset[0] + offset[1] + offset[2] + offset[3]) / 2,
                   1e-4);
    diffc_release(&guide);
    guide = hybrid_of("grey_colour", NULL, 0, conditions, hybrid);
    guide_predict(guide, &network, 0, x, out);
    assert_int_equal(network.calls, 2);
    for (int i = 0; i < 64; i++)
        check_near(data_of(out)[i], (gain[0] + gain[1]) / 2 * data_of(x)[i] + (offset[0] + offset[1]) / 2,
                   1e-5);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&guide);
    diffc_release(&hybrid);
    diffc_release(&cfg);
}

/* A combiner of the caller's with an x of its own, inside an anagram: its x lives until its combine. */
struct doubler {
    diffc_tensor *own;
    int pending;
};

static int doubler_count(void *opaque, int step)
{
    (void)opaque;
    (void)step;
    return 1;
}

static int doubler_expand(void *opaque, int step, const diffc_tensor *x, diffc_query *queries, int count)
{
    struct doubler *doubler = opaque;
    (void)step;
    (void)count;
    assert_int_equal(doubler->pending++, 0);
    copy_values(x, doubler->own);
    queries[0].x = doubler->own;
    return DIFFC_OK;
}

static int doubler_combine(void *opaque, int step, const diffc_query *queries, int count, diffc_tensor *out)
{
    struct doubler *doubler = opaque;
    (void)step;
    (void)count;
    doubler->pending--;
    for (int64_t i = 0; i < diffc_tensor_count(out); i++)
        data_of(out)[i] = 2 * data_of(queries[0].out)[i];
    return DIFFC_OK;
}

static void test_own_combiner_inside(void **state)
{
    struct network network = new_network();
    struct doubler doubler = { .own = new_tensor(1, 1, 8, 8) };
    diffc_combiner combiner = DIFFC_COMBINER;
    diffc_guide *inner = NULL;
    diffc_tensor *x = named_tensor("x", 1, 1, 8, 8), *out = new_tensor(1, 1, 8, 8);
    (void)state;
    combiner.query_count = doubler_count;
    combiner.expand = doubler_expand;
    combiner.combine = doubler_combine;
    combiner.opaque = &doubler;
    check_ok(diffc_guide_create(case_context, &combiner, &inner));
    diffc_guide *guide = anagram_of(pair, 2, NULL, "mean", inner);
    guide_predict(guide, &network, 0, x, out);
    assert_int_equal(network.calls, 2);
    for (int i = 0; i < 64; i++)
        check_near(data_of(out)[i], (2 + 3) * data_of(x)[i] - 2, 1e-5);
    diffc_release(&guide);
    diffc_release(&inner);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&doubler.own);
}

/* 64 views of guidance of 32 components are more queries than one call may have: view by view, then. */
static void test_many_queries_go_in_turn(void **state)
{
    enum { VIEWS = 64, SCALES = 32 };
    const char *const names[2] = { "identity", "negate" };
    double scales[SCALES];
    int32_t conditions[SCALES] = { 0 }, zeros[VIEWS] = { 0 };
    struct network network = new_network();
    const diffc_denoiser denoiser = denoiser_of(&network, 1, 1);
    diffc_tensor *x = named_tensor("x", 1, 1, 8, 8), *out = new_tensor(1, 1, 8, 8);
    diffc_view *views[VIEWS] = { NULL };
    diffc_guide *guide = NULL;
    (void)state;
    for (int i = 0; i < SCALES; i++)
        scales[i] = 1.0 / SCALES;
    diffc_guide *inner = hybrid_of("scale", scales, SCALES, conditions, NULL);
    for (int i = 0; i < VIEWS; i++)
        check_ok(diffc_view_create(case_context, names[i % 2], NULL, &views[i]));
    check_ok(diffc_guide_create_views(case_context, views, zeros, VIEWS, "mean", inner, &guide));
    check_ok(diffc_guide_predict(guide, &denoiser, 0, times, x, out));
    assert_int_equal(network.calls, VIEWS);
    for (int i = 0; i < 64; i++) /* the offset of the network goes with the sign */
        check_near(data_of(out)[i], network.gain[1] * data_of(x)[i], 1e-4);
    diffc_release(&guide);
    diffc_release(&inner);
    for (int i = 0; i < VIEWS; i++)
        diffc_release(&views[i]);
    diffc_release(&out);
    diffc_release(&x);
}

/* Samples do not depend on their neighbours. */
static void test_batches(void **state)
{
    struct network network = new_network();
    static const float scales[3] = { 0, 1, 7 };
    diffc_guide *inner = NULL, *alone = cfg_of(7);
    check_ok(diffc_guide_create_cfg(case_context, scales, 3, &inner));
    diffc_guide *all = anagram_of(pair, 2, NULL, "mean", inner),
                *one = anagram_of(pair, 2, NULL, "mean", alone);
    diffc_tensor *x = named_tensor("x", 3, 1, 8, 8), *out = new_tensor(3, 1, 8, 8), *last = NULL;
    diffc_tensor *single = new_tensor(1, 1, 8, 8);
    (void)state;
    guide_predict(all, &network, 0, x, out);
    check_ok(diffc_tensor_slice(x, 0, 2, 1, 1, &last));
    guide_predict(one, &network, 0, last, single);
    assert_memory_equal(data_of(out) + 128, data_of(single), 64 * sizeof(float));
    diffc_release(&single);
    diffc_release(&last);
    diffc_release(&out);
    diffc_release(&x);
    diffc_release(&one);
    diffc_release(&all);
    diffc_release(&alone);
    diffc_release(&inner);
}

static int make_and_predict(void *opaque)
{
    struct network *network = opaque;
    const float scale = 3;
    const diffc_denoiser denoiser = denoiser_of(network, 0, 0);
    diffc_view *view = NULL;
    diffc_factorization *factors = NULL;
    diffc_guide *cfg = NULL, *hybrid = NULL, *guide = NULL;
    diffc_tensor *x = NULL, *out = NULL;
    const int64_t shape[4] = { 2, 3, 8, 8 };
    network->asked = 0;
    int status = diffc_guide_create_cfg(case_context, &scale, 1, &cfg);
    status = status ? status : diffc_factorization_create(case_context, "low_high", NULL, &factors);
    status = status ? status : diffc_guide_create_factors(case_context, factors, NULL, cfg, &hybrid);
    status = status ? status : diffc_view_create(case_context, "rotate90", NULL, &view);
    status = status ? status : diffc_guide_create_views(case_context, &view, NULL, 1, "mean", hybrid, &guide);
    status = status ? status : diffc_tensor_create(case_context, DIFFC_F32, 4, shape, &x);
    status = status ? status : diffc_tensor_create(case_context, DIFFC_F32, 4, shape, &out);
    status = status ? status : diffc_guide_predict(guide, &denoiser, 0, times, x, out);
    diffc_release(&x);
    diffc_release(&out);
    diffc_release(&guide);
    diffc_release(&view);
    diffc_release(&hybrid);
    diffc_release(&factors);
    diffc_release(&cfg);
    return status;
}

static void test_memory_failures(void **state)
{
    struct network network = new_network();
    (void)state;
    check_memory_failures(make_and_predict, &network);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean_is_analytic),
        cmocka_unit_test(test_sum_and_alternate),
        cmocka_unit_test(test_negate),
        cmocka_unit_test(test_variance_of_own_views),
        cmocka_unit_test(test_own_views_take_whole_pictures),
        cmocka_unit_test(test_guide_refuses_views),
        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_scales_are_guidance),
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_own_combiner_inside),
        cmocka_unit_test(test_many_queries_go_in_turn),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
