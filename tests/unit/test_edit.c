/* The sampling loop with guides, masks, start pictures, references and low-resolution pictures, on networks
 * in closed form: what the distributions must be, what lies outside of a mask, in which order numbers are
 * drawn.
 */

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

static double mean_at(const struct world *world, const diffc_query *query, int64_t n, int64_t i,
                      int64_t values)
{
    if (world->from_condition)
        return data_of(query->x)[(2 * n + 1) * values + i] / world->alpha;
    const diffc_tensor *mean = world->mean[query->condition + 1];
    return mean ? data_of(mean)[i] : 0;
}

static int predict(void *opaque, const float *t, const diffc_query *queries, int count)
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

static void open_scene(struct scene *scene, const char *step, const char *spacing, int steps, int learned)
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

static void close_scene(struct scene *scene)
{
    diffc_release(&scene->sampler);
    diffc_release(&scene->schedule);
}

static diffc_sample_options pictures(int64_t batch, int64_t channels, int64_t side)
{
    diffc_sample_options options = DIFFC_SAMPLE_OPTIONS;
    options.batch = batch;
    options.channels = channels;
    options.height = options.width = side;
    options.seed = 180;
    return options;
}

static diffc_tensor *draw(struct scene *scene, const diffc_sample_options *options)
{
    diffc_tensor *images = NULL;
    scene->denoiser.out_channels = diffc_sampler_output_channels(scene->sampler, (int)options->channels);
    scene->world.calls = 0;
    check_ok(diffc_sample(scene->sampler, &scene->denoiser, options, &images));
    return images;
}

/* ---- distributions ---- */

/* The mean over the batch must be `wanted` for every value, the deviation that of the world. */
static void check_distribution(const struct scene *scene, const diffc_tensor *images,
                               const diffc_tensor *wanted, double tolerance)
{
    const int64_t samples = diffc_tensor_dim(images, 0), values = diffc_tensor_count(images) / samples;
    const double s = scene->world.deviation;
    double squares = 0, worst = 0;
    for (int64_t i = 0; i < values; i++) {
        double sum = 0;
        for (int64_t n = 0; n < samples; n++)
            sum += data_of(images)[n * values + i];
        worst = fmax(worst, fabs(sum / (double)samples - data_of(wanted)[i]));
        for (int64_t n = 0; n < samples; n++)
            squares += pow(data_of(images)[n * values + i] - data_of(wanted)[i], 2);
    }
    check_near(worst, 0, tolerance + 4.5 * s / sqrt((double)samples));
    check_near(sqrt(squares / (double)(samples * values)), s, 0.02 + tolerance);
}

static const struct {
    const char *step, *spacing;
    int steps, learned;
    double tolerance;
} rules[] = {
    { "ddpm", "strided", 200, 1, 0.02 },
    { "ddpm", "linspace", 500, 0, 0.02 },
    { "ddim", "leading", 100, 1, 0.02 },
    { "dpmsolver++", "linspace", 25, 0, 0.03 },
    { "sde-dpmsolver++", "linspace", 80, 0, 0.03 },
    { "euler", "leading", 200, 0, 0.03 },
};
#define RULES ((int)(sizeof(rules) / sizeof(rules[0])))

static diffc_tensor *mean_picture(const char *name, int64_t channels, int64_t side)
{
    diffc_tensor *mean = named_tensor(name, 1, channels, side, side);
    for (int64_t i = 0; i < diffc_tensor_count(mean); i++)
        data_of(mean)[i] *= 0.5f;
    return mean;
}

static void check_guided(diffc_guide *guide, const diffc_tensor *const means[3], const diffc_tensor *wanted)
{
    for (int r = 0; r < RULES; r++) {
        struct scene scene;
        open_scene(&scene, rules[r].step, rules[r].spacing, rules[r].steps, rules[r].learned);
        for (int k = 0; k < 3; k++)
            scene.world.mean[k] = means[k];
        diffc_sample_options options = pictures(64, 3, 8);
        options.guide = guide;
        diffc_tensor *images = draw(&scene, &options);
        check_distribution(&scene, images, wanted, rules[r].tolerance);
        diffc_release(&images);
        close_scene(&scene);
    }
}

/* Guidance between two Gaussians of one deviation is the Gaussian about m_u + g (m_c - m_u). */
static void test_guidance_of_gaussians(void **state)
{
    const float scale = 2.5f;
    diffc_guide *guide = NULL;
    diffc_tensor *u = mean_picture("u", 3, 8), *c = mean_picture("c", 3, 8), *wanted = new_tensor(1, 3, 8, 8);
    (void)state;
    for (int i = 0; i < 192; i++)
        data_of(wanted)[i] = data_of(u)[i] + scale * (data_of(c)[i] - data_of(u)[i]);
    check_ok(diffc_guide_create_cfg(case_context, &scale, 1, &guide));
    check_guided(guide, (const diffc_tensor *[3]) { u, c, NULL }, wanted);
    diffc_release(&guide);
    diffc_release(&wanted);
    diffc_release(&c);
    diffc_release(&u);
}

/* An anagram: the Gaussian about the mean of the means as they are turned back. */
static void test_anagram_of_gaussians(void **state)
{
    const float scale = 1.5f;
    diffc_guide *inner = NULL, *guide = NULL;
    diffc_view *views[2] = { NULL, NULL };
    diffc_tensor *u = mean_picture("u", 3, 8), *c[2] = { mean_picture("c", 3, 8), mean_picture("d", 3, 8) };
    diffc_tensor *guided = new_tensor(1, 3, 8, 8), *back = new_tensor(1, 3, 8, 8),
                 *wanted = new_tensor(1, 3, 8, 8);
    (void)state;
    check_ok(diffc_view_create(case_context, "rotate90", NULL, &views[0]));
    check_ok(diffc_view_create(case_context, "negate", NULL, &views[1]));
    memset(data_of(wanted), 0, 192 * sizeof(float));
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 192; i++)
            data_of(guided)[i] = data_of(u)[i] + scale * (data_of(c[k])[i] - data_of(u)[i]);
        check_ok(diffc_view_invert(views[k], guided, back));
        for (int i = 0; i < 192; i++)
            data_of(wanted)[i] += data_of(back)[i] / 2;
    }
    check_ok(diffc_guide_create_cfg(case_context, &scale, 1, &inner));
    check_ok(diffc_guide_create_views(case_context, views, NULL, 2, "mean", inner, &guide));
    check_guided(guide, (const diffc_tensor *[3]) { u, c[0], c[1] }, wanted);
    diffc_release(&guide);
    diffc_release(&inner);
    for (int k = 0; k < 2; k++) {
        diffc_release(&views[k]);
        diffc_release(&c[k]);
    }
    diffc_release(&wanted);
    diffc_release(&back);
    diffc_release(&guided);
    diffc_release(&u);
}

/* A hybrid: the Gaussian about the sum of the components of the means. */
static void test_hybrid_of_gaussians(void **state)
{
    diffc_factorization *factors = NULL;
    diffc_guide *guide = NULL;
    diffc_tensor *c[2] = { mean_picture("c", 3, 8), mean_picture("d", 3, 8) };
    diffc_tensor *part = new_tensor(1, 3, 8, 8), *wanted = new_tensor(1, 3, 8, 8);
    (void)state;
    check_ok(diffc_factorization_create(case_context, "low_high", NULL, &factors));
    memset(data_of(wanted), 0, 192 * sizeof(float));
    for (int k = 0; k < 2; k++) {
        check_ok(diffc_factorization_component(factors, k, c[k], part));
        for (int i = 0; i < 192; i++)
            data_of(wanted)[i] += data_of(part)[i];
    }
    check_ok(diffc_guide_create_factors(case_context, factors, NULL, NULL, &guide));
    check_guided(guide, (const diffc_tensor *[3]) { NULL, c[0], c[1] }, wanted);
    diffc_release(&guide);
    diffc_release(&factors);
    diffc_release(&wanted);
    diffc_release(&part);
    diffc_release(&c[0]);
    diffc_release(&c[1]);
}

/* ---- masks ---- */

/* Left half kept. */
static diffc_tensor *half_mask(int64_t side)
{
    diffc_tensor *mask = new_tensor(1, 1, side, side);
    for (int64_t i = 0; i < side * side; i++)
        data_of(mask)[i] = i % side >= side / 2;
    return mask;
}

struct outside {
    const diffc_schedule *schedule;
    const diffc_sampler *sampler;
    const diffc_tensor *known;
    double level; /* alpha_bar that the outside must have; -1: that of the timestep just reached */
    int seen;
};

static int check_outside(void *opaque, const diffc_sample_step *step)
{
    struct outside *outside = opaque;
    const int next = step->step + 1;
    const int64_t samples = diffc_tensor_dim(step->x, 0), values = diffc_tensor_count(step->x) / samples;
    const double ab = outside->level >= 0 ? outside->level
                      : next == step->steps
                          ? 1
                          : (double)diffc_schedule_alpha_bars(
                                outside->schedule)[(int)diffc_sampler_timestep(outside->sampler, next)];
    double squares = 0, sum = 0, count = 0;
    for (int64_t i = 0; i < samples * values; i++) {
        if (i % 16 >= 8)
            continue;
        const double noise = data_of(step->x)[i] - sqrt(ab) * data_of(outside->known)[i % values];
        squares += noise * noise;
        sum += noise;
        count++;
    }
    check_near(sqrt(squares / count), sqrt(1 - ab), 0.04 * sqrt(1 - ab) + 1e-7);
    check_near(sum / count, 0, 0.06 * sqrt(1 - ab) + 1e-7);
    outside->seen++;
    return 0;
}

/* The course: outside, the picture noised to the *new* timestep. */
static void test_mask_renoises_to_the_new_timestep(void **state)
{
    struct scene scene;
    diffc_tensor *known = mean_picture("known", 3, 16), *mask = half_mask(16);
    (void)state;
    open_scene(&scene, "ddpm", "strided", 34, 1);
    struct outside outside = { scene.schedule, scene.sampler, known, -1, 0 };
    diffc_sample_options options = pictures(20, 3, 16);
    options.mask = mask;
    options.known = known;
    options.progress = check_outside;
    options.progress_opaque = &outside;
    diffc_tensor *images = draw(&scene, &options);
    assert_int_equal(outside.seen, 34);
    for (int i = 0; i < 20 * 768; i++)
        if (i % 16 < 8)
            assert_true(data_of(images)[i] == data_of(known)[i % 768]);
    diffc_release(&images);
    close_scene(&scene);
    diffc_release(&mask);
    diffc_release(&known);
}

/* diffusers: outside, the picture itself from the start to the end, to the bit. */
static void see_clean_outside(struct world *world, double t, const diffc_tensor *x)
{
    const diffc_tensor *known = world->mean[3];
    (void)t;
    for (int64_t i = 0; i < diffc_tensor_count(x); i++)
        if (i % 16 < 8)
            assert_true(data_of(x)[i] == data_of(known)[i % 768]);
}

static void test_mask_keeps_the_clean_picture(void **state)
{
    struct scene scene;
    diffc_tensor *known = mean_picture("known", 3, 16), *mask = half_mask(16);
    (void)state;
    open_scene(&scene, "ddpm", "leading", 20, 1);
    scene.world.mean[3] = known;
    scene.world.watch = see_clean_outside;
    diffc_sample_options options = pictures(2, 3, 16);
    options.mask = mask;
    options.known = options.image = known;
    options.mask_rule = "clean";
    diffc_tensor *images = draw(&scene, &options);
    see_clean_outside(&scene.world, 0, images);
    assert_false(same_bits(images, known));
    diffc_release(&images);
    close_scene(&scene);
    diffc_release(&mask);
    diffc_release(&known);
}

/* ---- starting from a picture ---- */

static void keep_first(struct world *world, double t, const diffc_tensor *x)
{
    (void)t;
    if (world->calls == 0 && world->first)
        copy_values(x, world->first);
    if (world->last)
        copy_values(x, world->last);
}

/* x at the first step is what add_noise makes of the picture; the less noise, the nearer the result. */
static void test_start_from_a_picture(void **state)
{
    static const int starts[] = { 1, 5, 10, 20, 30 };
    diffc_tensor *image = mean_picture("image", 3, 16), *mean = mean_picture("mean", 3, 16);
    double before = 1e9;
    (void)state;
    for (int s = 0; s < 5; s++) {
        struct scene scene;
        diffc_tensor *first = new_tensor(4, 3, 16, 16);
        open_scene(&scene, "ddpm", "strided", 34, 1);
        scene.world.mean[1] = mean;
        scene.world.watch = keep_first;
        scene.world.first = first;
        diffc_sample_options options = pictures(4, 3, 16);
        options.image = image;
        options.first_step = starts[s];
        diffc_tensor *images = draw(&scene, &options);
        const double ab = diffc_schedule_alpha_bars(
            scene.schedule)[(int)diffc_sampler_timestep(scene.sampler, starts[s])];
        double noise = 0, away = 0;
        for (int i = 0; i < 4 * 768; i++) {
            noise += pow(data_of(first)[i] - sqrt(ab) * data_of(image)[i % 768], 2) / (4 * 768);
            away += pow(data_of(images)[i] - data_of(image)[i % 768], 2) / (4 * 768);
        }
        check_near(noise, 1 - ab, 0.1 * (1 - ab));
        assert_true(away < before * 1.1);
        before = away;
        diffc_release(&images);
        diffc_release(&first);
        close_scene(&scene);
    }
    diffc_release(&mean);
    diffc_release(&image);
}

static void test_strength_and_levels(void **state)
{
    struct scene scene;
    diffc_tensor *x0 = named_tensor("x0", 1, 1, 4, 4), *noise = named_tensor("n", 1, 1, 4, 4);
    diffc_tensor *x = new_tensor(1, 1, 4, 4), *wanted = new_tensor(1, 1, 4, 4);
    (void)state;
    open_scene(&scene, "ddpm", "leading", 80, 1);
    assert_int_equal(diffc_sampler_output_channels(scene.sampler, 3), 6);
    assert_ptr_equal(diffc_sampler_schedule(scene.sampler), scene.schedule);
    assert_int_equal(diffc_sampler_strength(scene.sampler, 1), 0);
    assert_int_equal(diffc_sampler_strength(scene.sampler, 0.7), 24);
    assert_int_equal(diffc_sampler_strength(scene.sampler, 0.5), 40);
    assert_int_equal(diffc_sampler_strength(scene.sampler, 0), 80);
    assert_int_equal(diffc_sampler_strength(scene.sampler, 7), 0);
    assert_int_equal(diffc_sampler_strength(scene.sampler, NAN), 80);
    const float t = diffc_sampler_timestep(scene.sampler, 24);
    check_ok(diffc_sampler_add_noise(scene.sampler, 24, x0, noise, x));
    check_ok(diffc_schedule_add_noise(scene.schedule, x0, noise, &t, wanted));
    assert_true(same_bits(x, wanted));
    check_ok(diffc_sampler_add_noise(scene.sampler, 80, x0, NULL, x));
    assert_true(same_bits(x, x0));
    check_fails(diffc_sampler_add_noise(scene.sampler, 81, x0, noise, x), DIFFC_ERR_ARG, "step is 81");
    check_fails(diffc_sampler_add_noise(scene.sampler, 3, x0, NULL, x), DIFFC_ERR_ARG, "noise is NULL");
    close_scene(&scene);
    open_scene(&scene, "euler", "leading", 20, 0);
    check_ok(diffc_sampler_add_noise(scene.sampler, 3, x0, noise, x));
    const double ab = diffc_schedule_alpha_bars(
        scene.schedule)[(int)diffc_sampler_timestep(scene.sampler, 3)];
    for (int i = 0; i < 16; i++)
        check_near(data_of(x)[i], data_of(x0)[i] + sqrt((1 - ab) / ab) * data_of(noise)[i], 1e-5);
    close_scene(&scene);
    diffc_release(&wanted);
    diffc_release(&x);
    diffc_release(&noise);
    diffc_release(&x0);
}

/* ---- inverse problems ---- */

/* The grey part of what the network is shown is that of the reference, noised to the timestep. */
static void see_grey_reference(struct world *world, double t, const diffc_tensor *x)
{
    const double ab = diffc_schedule_alpha_bars(world->schedule)[(int)t];
    const int64_t count = diffc_tensor_dim(x, 0) * 256;
    double squares = 0, sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double grey = 0, wanted = 0;
        for (int c = 0; c < 3; c++) {
            grey += data_of(x)[i / 256 * 768 + c * 256 + i % 256] / 3;
            wanted += data_of(world->mean[3])[c * 256 + i % 256] / 3;
        }
        squares += pow(grey - sqrt(ab) * wanted, 2) / (double)count;
        sum += (grey - sqrt(ab) * wanted) / (double)count;
    }
    check_near(sqrt(squares), sqrt((1 - ab) / 3), 0.07 * sqrt((1 - ab) / 3));
    check_near(sum, 0, 0.1 * sqrt((1 - ab) / 3));
}

static void test_colourise(void **state)
{
    struct scene scene;
    diffc_factorization *factors = NULL;
    diffc_tensor *reference = mean_picture("reference", 3, 16), *mean = mean_picture("mean", 3, 16);
    (void)state;
    check_ok(diffc_factorization_create(case_context, "grey_colour", NULL, &factors));
    open_scene(&scene, "ddpm", "leading", 50, 1);
    scene.world.mean[1] = mean;
    scene.world.mean[3] = reference;
    scene.world.watch = see_grey_reference;
    diffc_sample_options options = pictures(8, 3, 16);
    options.reference = reference;
    options.factorization = factors;
    diffc_tensor *images = draw(&scene, &options);
    double off = 0;
    for (int i = 0; i < 8 * 256; i++) { /* the colours are the world's */
        const float *x = data_of(images) + i / 256 * 768 + i % 256, *m = data_of(mean) + i % 256;
        off += ((double)x[0] - x[256] - (m[0] - m[256])) / (8 * 256);
    }
    check_near(off, 0, 0.05);
    diffc_release(&images);
    close_scene(&scene);
    diffc_release(&factors);
    diffc_release(&mean);
    diffc_release(&reference);
}

/* ---- stage II ---- */

/* Every x ends with the same conditioning picture: the low one scaled up, noised once to its level. */
static void see_condition(struct world *world, double t, const diffc_tensor *x)
{
    (void)t;
    assert_int_equal(diffc_tensor_dim(x, 1), 6);
    if (world->calls == 0)
        copy_values(x, world->first);
    for (int n = 0; n < 2; n++)
        assert_memory_equal(data_of(x) + (2 * n + 1) * 768, data_of(world->first) + (2 * n + 1) * 768,
                            768 * sizeof(float));
}

static void test_low_resolution_condition(void **state)
{
    struct scene scene;
    diffc_tensor *low = mean_picture("low", 3, 5), *up = NULL, *first = new_tensor(2, 6, 16, 16);
    diffc_schedule *schedule = new_schedule("squaredcos_cap_v2", 0);
    (void)state;
    open_scene(&scene, "ddpm", "leading", 20, 1);
    const double ab = diffc_schedule_alpha_bars(schedule)[250];
    scene.world.watch = see_condition;
    scene.world.first = first;
    scene.world.from_condition = 1;
    scene.world.alpha = sqrt(ab);
    scene.world.deviation = 1e-3;
    diffc_sample_options options = pictures(2, 3, 16);
    options.low = low;
    options.low_level = 250;
    options.low_schedule = schedule;
    diffc_tensor *images = draw(&scene, &options);
    check_ok(diffc_image_resize(low, 16, 16, "bilinear_corners", &up));
    double noise = 0;
    for (int i = 0; i < 1536; i++) {
        const float condition = data_of(first)[(2 * (i / 768) + 1) * 768 + i % 768];
        noise += pow(condition - sqrt(ab) * data_of(up)[i % 768], 2) / 1536;
        check_near(data_of(images)[i], condition / sqrt(ab), 0.02);
    }
    check_near(noise, 1 - ab, 0.1 * (1 - ab));
    diffc_release(&images);
    diffc_release(&up);
    close_scene(&scene);
    diffc_release(&schedule);
    diffc_release(&first);
    diffc_release(&low);
}

/* ---- everything at once ---- */

struct chain {
    struct scene scene;
    diffc_view *views[2];
    diffc_factorization *factors;
    diffc_guide *cfg, *guide;
    diffc_tensor *image, *mask, *low, *mean[3];
    diffc_sample_options options;
};

static void open_chain(struct chain *chain)
{
    static const float scale = 3;
    *chain = (struct chain) { .image = mean_picture("image", 3, 16),
                              .mask = half_mask(16),
                              .low = mean_picture("low", 3, 8),
                              .mean = { mean_picture("u", 3, 16), mean_picture("c", 3, 16),
                                        mean_picture("d", 3, 16) } };
    open_scene(&chain->scene, "ddpm", "fast27", 0, 1);
    for (int k = 0; k < 3; k++)
        chain->scene.world.mean[k] = chain->mean[k];
    check_ok(diffc_view_create(case_context, "vflip", NULL, &chain->views[0]));
    check_ok(diffc_view_create(case_context, "jigsaw", NULL, &chain->views[1]));
    check_ok(diffc_factorization_create(case_context, "grey_colour", NULL, &chain->factors));
    check_ok(diffc_guide_create_cfg(case_context, &scale, 1, &chain->cfg));
    check_ok(
        diffc_guide_create_views(case_context, chain->views, NULL, 2, "mean", chain->cfg, &chain->guide));
    chain->options = pictures(3, 3, 16);
    chain->options.guide = chain->guide;
    chain->options.image = chain->options.known = chain->options.reference = chain->image;
    chain->options.first_step = 4;
    chain->options.mask = chain->mask;
    chain->options.factorization = chain->factors;
    chain->options.component = 1;
    chain->options.low = chain->low;
    chain->options.low_level = 100;
}

static void close_chain(struct chain *chain)
{
    close_scene(&chain->scene);
    for (int k = 0; k < 3; k++)
        diffc_release(&chain->mean[k]);
    diffc_release(&chain->guide);
    diffc_release(&chain->cfg);
    diffc_release(&chain->views[0]);
    diffc_release(&chain->views[1]);
    diffc_release(&chain->factors);
    diffc_release(&chain->low);
    diffc_release(&chain->mask);
    diffc_release(&chain->image);
}

/* Guidance inside an anagram inside a mask with a reference, in stage II: the same in any batch. */
static void test_chain_in_batches(void **state)
{
    struct chain chain;
    (void)state;
    open_chain(&chain);
    diffc_tensor *all = draw(&chain.scene, &chain.options);
    assert_int_equal(chain.scene.world.calls, 23);
    chain.options.batch = 1;
    chain.options.first_sample = 2;
    diffc_tensor *last = draw(&chain.scene, &chain.options);
    assert_memory_equal(data_of(all) + 2 * 768, data_of(last), 768 * sizeof(float));
    for (int i = 0; i < 768; i++)
        if (i % 16 < 8)
            assert_true(data_of(last)[i] == data_of(chain.image)[i]);
    diffc_release(&last);
    diffc_release(&all);
    close_chain(&chain);
}

static int run_chain(void *opaque)
{
    struct chain *chain = opaque;
    diffc_tensor *images = NULL;
    const int status = diffc_sample(chain->scene.sampler, &chain->scene.denoiser, &chain->options, &images);
    assert_true((status == DIFFC_OK) == (images != NULL));
    diffc_release(&images);
    return status;
}

static void test_memory_failures(void **state)
{
    struct chain chain;
    (void)state;
    open_chain(&chain);
    chain.options.stop_step = 6;
    diffc_tensor *images = draw(&chain.scene, &chain.options);
    diffc_release(&images);
    check_memory_failures(run_chain, &chain);
    close_chain(&chain);
}

/* ---- PyTorch's order of draws ---- */

/* Initial noise or that of the picture, then the low-resolution picture's, then one for each step that needs
 * it, then the mask's: what a second generator gives, put through the public calls by hand. */
static void by_hand(struct chain *chain, diffc_generator *generator, diffc_tensor *x)
{
    struct scene *scene = &chain->scene;
    const diffc_sample_options *options = &chain->options;
    const int64_t shape[4] = { 2, 3, 16, 16 };
    const float level[2] = { options->low_level, options->low_level };
    diffc_tensor *noise = new_tensor(2, 3, 16, 16), *input = new_tensor(2, 6, 16, 16), *up = NULL;
    diffc_tensor *out = new_tensor(2, 6, 16, 16), *cond = new_tensor(2, 3, 16, 16),
                 *keep = new_tensor(2, 3, 16, 16);
    const float *image = data_of(chain->image);
    diffc_denoiser denoiser = scene->denoiser;
    denoiser.image_channels = 3;
    (void)shape;
    for (int i = 0; i < 1536; i++)
        data_of(keep)[i] = image[i % 768];
    check_ok(diffc_generator_normal(generator, noise));
    check_ok(diffc_sampler_add_noise(scene->sampler, options->first_step, keep, noise, x));
    check_ok(diffc_image_resize(chain->low, 16, 16, "bilinear_corners", &up));
    for (int i = 0; i < 1536; i++)
        data_of(cond)[i] = data_of(up)[i % 768];
    check_ok(diffc_generator_normal(generator, noise));
    check_ok(diffc_schedule_add_noise(scene->schedule, cond, noise, level, cond));
    for (int step = options->first_step; step < diffc_sampler_steps(scene->sampler); step++) {
        const float time = diffc_sampler_timestep(scene->sampler, step), t[2] = { time, time };
        for (int n = 0; n < 2; n++) {
            memcpy(data_of(input) + 2 * n * 768, data_of(x) + n * 768, 768 * sizeof(float));
            memcpy(data_of(input) + (2 * n + 1) * 768, data_of(cond) + n * 768, 768 * sizeof(float));
        }
        check_ok(diffc_guide_predict(options->guide, &denoiser, step, t, input, out));
        const int noisy = diffc_sampler_needs_noise(scene->sampler, step);
        if (noisy)
            check_ok(diffc_generator_normal(generator, noise));
        check_ok(diffc_sampler_step(scene->sampler, step, out, noisy ? noise : NULL, x, NULL));
        if (step + 1 < diffc_sampler_steps(scene->sampler))
            check_ok(diffc_generator_normal(generator, noise));
        for (int i = 0; i < 1536; i++)
            data_of(keep)[i] = image[i % 768];
        check_ok(diffc_sampler_add_noise(scene->sampler, step + 1, keep, noise, keep));
        for (int i = 0; i < 1536; i++)
            if (i % 16 < 8)
                data_of(x)[i] = data_of(keep)[i];
    }
    diffc_release(&keep);
    diffc_release(&cond);
    diffc_release(&out);
    diffc_release(&up);
    diffc_release(&input);
    diffc_release(&noise);
}

static void test_draws_in_the_order_of_diffusers(void **state)
{
    struct chain chain;
    diffc_generator *first = NULL, *second = NULL;
    diffc_tensor *x = new_tensor(2, 3, 16, 16);
    (void)state;
    open_chain(&chain);
    check_ok(diffc_generator_create(case_context, 180, &first));
    check_ok(diffc_generator_create(case_context, 180, &second));
    chain.options.batch = 2;
    chain.options.reference = NULL;
    chain.options.factorization = NULL;
    chain.options.component = 0;
    chain.options.generator = first;
    diffc_tensor *images = draw(&chain.scene, &chain.options);
    by_hand(&chain, second, x);
    assert_true(same_bits(images, x));
    diffc_release(&images);
    diffc_release(&second);
    diffc_release(&first);
    diffc_release(&x);
    close_chain(&chain);
}

/* ---- refusals ---- */

static void test_refused_options(void **state)
{
    struct chain chain;
    diffc_tensor *images = NULL, *wrong = new_tensor(1, 3, 16, 12), *odd = new_tensor(3, 1, 8, 8);
    (void)state;
    open_chain(&chain);
    const diffc_sample_options good = chain.options;
    chain.scene.denoiser.out_channels = 6;
#define REFUSED(field, value, status, text) \
    do { \
        diffc_sample_options options = good; \
        options.field = value; \
        check_fails(diffc_sample(chain.scene.sampler, &chain.scene.denoiser, &options, &images), status, \
                    text); \
        assert_null(images); \
    } while (0)
    REFUSED(mask, wrong, DIFFC_ERR_CONFIG, "options.width is 16, but that of options.mask is 12");
    REFUSED(mask, odd, DIFFC_ERR_CONFIG, "options.height is 16, but that of options.mask is 8");
    REFUSED(known, NULL, DIFFC_ERR_CONFIG, "options.mask and options.known need each other");
    REFUSED(mask, NULL, DIFFC_ERR_CONFIG, "options.mask and options.known need each other");
    REFUSED(mask_rule, "soft", DIFFC_ERR_ARG, "unknown mask rule \"soft\"; known: renoise, clean");
    REFUSED(reference, NULL, DIFFC_ERR_CONFIG, "options.reference and options.factorization need each other");
    REFUSED(component, 2, DIFFC_ERR_ARG, "options.component is 2, must be 0 to 1");
    REFUSED(start, wrong, DIFFC_ERR_CONFIG, "options.batch is 3, but that of options.start is 1");
    REFUSED(low, odd, DIFFC_ERR_CONFIG, "options.low has 3 samples of 1 channels, the pictures are 3 of 3");
    REFUSED(low, NULL, DIFFC_ERR_CONFIG, "options.low_schedule or low_level without options.low");
    REFUSED(low_level, 1000, DIFFC_ERR_ARG, "1000");
    REFUSED(channels, 4, DIFFC_ERR_CONFIG, "options.channels is 4, but that of options.image is 3");
    data_of(chain.mask)[5] = 1.5f;
    REFUSED(seed, 0, DIFFC_ERR_ARG, "options.mask has the value 1.5 at 5, must be 0 to 1");
    assert_int_equal(chain.scene.world.calls, 0);
    diffc_release(&odd);
    diffc_release(&wrong);
    close_chain(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guidance_of_gaussians),
        cmocka_unit_test(test_anagram_of_gaussians),
        cmocka_unit_test(test_hybrid_of_gaussians),
        cmocka_unit_test(test_mask_renoises_to_the_new_timestep),
        cmocka_unit_test(test_mask_keeps_the_clean_picture),
        cmocka_unit_test(test_start_from_a_picture),
        cmocka_unit_test(test_strength_and_levels),
        cmocka_unit_test(test_colourise),
        cmocka_unit_test(test_low_resolution_condition),
        cmocka_unit_test(test_chain_in_batches),
        cmocka_unit_test(test_draws_in_the_order_of_diffusers),
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
