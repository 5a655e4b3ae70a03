/* Guides, masks, start pictures, references and low-resolution pictures in one chain, in which order numbers
 * are drawn, and what is refused. */

#include "edit_case.h"

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
        cmocka_unit_test(test_chain_in_batches),
        cmocka_unit_test(test_memory_failures),
        cmocka_unit_test(test_draws_in_the_order_of_diffusers),
        cmocka_unit_test(test_refused_options),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
