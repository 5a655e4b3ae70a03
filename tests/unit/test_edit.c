/* The sampling loop with masks, start pictures, references and low-resolution pictures, on networks in closed
 * form. */

#include "edit_case.h"

/* ---- masks ---- */

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

/* With both, what is outside of the mask once ended as the noised reference. */
static void test_reference_leaves_the_clean_picture(void **state)
{
    struct scene scene;
    diffc_factorization *factors = NULL;
    diffc_tensor *reference = mean_picture("reference", 3, 16), *known = mean_picture("known", 3, 16),
                 *mask = half_mask(16);
    (void)state;
    check_ok(diffc_factorization_create(case_context, "grey_colour", NULL, &factors));
    open_scene(&scene, "ddpm", "leading", 10, 1);
    diffc_sample_options options = pictures(2, 3, 16);
    options.reference = reference;
    options.factorization = factors;
    options.mask = mask;
    options.known = known;
    options.mask_rule = "clean";
    diffc_tensor *images = draw(&scene, &options);
    for (int64_t i = 0; i < diffc_tensor_count(images); i++)
        if (i % 16 < 8)
            assert_true(data_of(images)[i] == data_of(known)[i % 768]);
    diffc_release(&images);
    close_scene(&scene);
    diffc_release(&factors);
    diffc_release(&mask);
    diffc_release(&known);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask_renoises_to_the_new_timestep),
        cmocka_unit_test(test_mask_keeps_the_clean_picture),
        cmocka_unit_test(test_start_from_a_picture),
        cmocka_unit_test(test_strength_and_levels),
        cmocka_unit_test(test_colourise),
        cmocka_unit_test(test_reference_leaves_the_clean_picture),
        cmocka_unit_test(test_low_resolution_condition),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
