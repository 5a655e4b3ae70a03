/* The sampling loop with guides on Gaussians in closed form: what the distributions of the results must be.
 */

#include "edit_case.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guidance_of_gaussians),
        cmocka_unit_test(test_anagram_of_gaussians),
        cmocka_unit_test(test_hybrid_of_gaussians),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
