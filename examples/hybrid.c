/* Hybrid images (A1.9) and other factorizations (Geng et al., Factorized Diffusion, 2024): every component of
 * the picture has a prompt of its own.
 *
 *   hybrid --model IF-I --prompt "a lithograph of a skull" --prompt "a lithograph of waterfalls"
 *
 * From afar the low frequencies show the first prompt, from near the high ones the second. At every step each
 * prompt predicts the noise, and its component of that is taken. --split names another factorization:
 * three_bands, grey_colour, motion, scale. With --reference one component is that of a given picture: its
 * first one of grey_colour colours a grey photo. Writes the pictures, hybrids.png and metrics.json. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cascade.h"
#include "common/picture.h"

static const char *const course_prompts[] = { "a lithograph of a skull",
                                              "a lithograph of waterfalls",
                                              "an oil painting of an old man",
                                              "an oil painting of a snowy mountain village",
                                              "a photo of a dog",
                                              "a photo of the amalfi coast" };

struct settings {
    struct ex_studio studio;
    const char *split, *reference;
    int kernel, component, count;
    double sigma, sigma2;
    struct ex_reals scales;
    diffc_factorization *factorization;
    int parts;
};

/* The option behind a field that the library names. */
static const char *option_of(const char *message)
{
    static const char *const names[][2] = { { "options.kernel_size", "--kernel" },
                                            { "a kernel of", "--kernel" },
                                            { "options.sigma2", "--sigma2" },
                                            { "options.sigma", "--sigma" },
                                            { "options.scale", "--scales" } };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strstr(message, names[i][0]))
            return names[i][1];
    return "--split";
}

static int open_factorization(struct settings *s)
{
    diffc_factorization_options options = DIFFC_FACTORIZATION_OPTIONS;
    options.kernel_size = s->kernel;
    options.sigma = s->sigma;
    options.sigma2 = s->sigma2;
    options.scales = s->scales.count ? s->scales.value : NULL;
    options.scale_count = s->scales.count;
    if (diffc_factorization_create(s->studio.context, s->split, &options, &s->factorization))
        return ex_error(EX_USAGE, option_of(diffc_message()), "%s", diffc_message());
    s->parts = diffc_factorization_count(s->factorization);
    return s->component < s->parts
               ? 0
               : ex_error(EX_USAGE, "--component", "%d, but %s has %d", s->component, s->split, s->parts);
}

/* Some kernels are too large for a picture. */
static int fits(void *opaque, const diffc_tensor *picture, diffc_tensor *part)
{
    struct settings *s = opaque;
    int status = diffc_factorization_component(s->factorization, 0, picture, part);
    return status ? ex_error(EX_USAGE, option_of(diffc_message()), "%s", diffc_message()) : 0;
}

/* One picture of as many prompts as there are components. */
static int plan(void *opaque, struct ex_cascade *cascade)
{
    struct settings *s = opaque;
    int code = open_factorization(s);
    if (!code)
        code = ex_picture_check(s->studio.context, s->reference);
    if (!code)
        code = ex_cascade_jobs(cascade, s->parts, s->count, 1);
    cascade->sharing = s->parts;
    for (int i = 0; i < cascade->job_count; i++) {
        struct ex_job *job = &cascade->jobs[i];
        job->more = json_pack("{s:s}", "split", s->split);
        snprintf(job->name, sizeof job->name, "hybrid%d", i + 1);
    }
    return code;
}

static int arrange(void *opaque, struct ex_stage *stage, const struct ex_job *job,
                   diffc_sample_options *options)
{
    struct settings *s = opaque;
    diffc_guide *guide = NULL;
    diffc_tensor *reference = NULL;
    (void)job;
    int status = diffc_guide_create_factors(s->studio.context, s->factorization, NULL, stage->cfg, &guide);
    if (status)
        return ex_failed("--split", status);
    ex_stage_keep(stage, guide);
    options->guide = guide;
    if (!s->reference)
        return 0;
    int code = ex_picture_open(s->studio.context, s->reference, stage->height, stage->width, &reference);
    ex_stage_keep(stage, reference);
    options->reference = reference;
    options->factorization = s->factorization;
    options->component = s->component;
    return code;
}

/* Pictures as from afar: a quarter of the size, in the middle of white. */
static int shrink(const diffc_tensor *images, diffc_tensor **far)
{
    const int64_t planes = diffc_tensor_dim(images, 0) * diffc_tensor_dim(images, 1);
    const int64_t height = diffc_tensor_dim(images, 2), width = diffc_tensor_dim(images, 3);
    const int64_t h = height / 4, w = width / 4;
    diffc_tensor *small = NULL;
    int status = diffc_image_resize(images, h, w, "area", &small);
    if (!status)
        status = diffc_tensor_convert(images, 0, far);
    if (!status)
        status = diffc_tensor_fill(*far, 1);
    for (int64_t i = 0; !status && i < planes * h; i++) {
        float *to = (float *)diffc_tensor_data(*far) + (i / h * height + i % h + (height - h) / 2) * width;
        memcpy(to + (width - w) / 2, (const float *)diffc_tensor_data(small) + i * w,
               (size_t)w * sizeof(float));
    }
    diffc_release(&small);
    return status;
}

/* One job's pictures: whole, from afar, and their components. */
static int put_pictures(struct settings *s, struct ex_sheet *sheet, int first, const diffc_tensor *images)
{
    diffc_tensor *far = NULL, *part = NULL;
    int status = shrink(images, &far);
    if (!status)
        status = diffc_tensor_convert(images, 0, &part);
    for (int k = 0; k < s->count && !status; k++) {
        ex_sheet_put(sheet, first + k, 0, images, k);
        ex_sheet_put(sheet, first + k, 1, far, k);
    }
    for (int i = 0; i < s->parts && !status; i++) {
        status = diffc_factorization_component(s->factorization, i, images, part);
        for (int k = 0; k < s->count && !status; k++)
            ex_sheet_put(sheet, first + k, 2 + i, part, k);
    }
    diffc_release(&part);
    diffc_release(&far);
    return status ? ex_failed("--split", status) : 0;
}

static int show(void *opaque, struct ex_cascade *cascade)
{
    struct settings *s = opaque;
    struct ex_sheet sheet;
    char title[64];
    int stage = s->studio.model2 ? 1 : 0;
    const diffc_tensor *any = cascade->jobs[0].images[stage];
    snprintf(title, sizeof title, "Hybrid images, %s", s->split);
    int code = ex_sheet_open(&sheet, &s->studio, title, cascade->job_count * s->count, 2 + s->parts,
                             diffc_tensor_dim(any, 2), diffc_tensor_dim(any, 3));
    for (int i = 0; i < cascade->job_count && !code; i++) {
        const struct ex_job *job = &cascade->jobs[i];
        char *prompts = ex_join_prompts(&s->studio, job->prompts, job->prompt_count, "\n");
        for (int k = 0; k < s->count; k++)
            ex_sheet_row(&sheet, i * s->count + k, "%s", prompts ? prompts : "");
        free(prompts);
        code = put_pictures(s, &sheet, i * s->count, job->images[stage]);
    }
    for (int k = 0; k < s->parts && !code; k++)
        ex_sheet_column(&sheet, 2 + k, "component %d", k + 1);
    if (!code) {
        ex_sheet_column(&sheet, 0, "near");
        ex_sheet_column(&sheet, 1, "far");
    }
    return ex_sheet_close(&sheet, &s->studio, code, "hybrids.png");
}

int main(int argc, char **argv)
{
    struct settings s = { .studio = ex_studio_defaults("out/a1.9-hybrid"), .split = "low_high", .count = 1 };
    struct ex_cascade cascade = {
        .studio = &s.studio, .opaque = &s, .plan = plan, .fits = fits, .arrange = arrange, .show = show
    };
    const struct ex_option own[] = {
        { "split", EX_TEXT, &s.split, 0, 0, "NAME",
          "low_high (default), three_bands, grey_colour, motion, scale" },
        { "kernel", EX_INT, &s.kernel, 1, 999, "N", "of the split (low_high: 33 at 64 pixels)" },
        { "sigma", EX_REAL, &s.sigma, 0.01, 100, "X", "of the split (low_high: 2 at 64 pixels)" },
        { "sigma2", EX_REAL, &s.sigma2, 0.01, 100, "X", "of three_bands" },
        { "scales", EX_REALS, &s.scales, -100, 100, "X,X...", "of scale: their sum is 1" },
        { "reference", EX_TEXT, &s.reference, 0, 0, "FILE", "a picture that gives one component" },
        { "component", EX_INT, &s.component, 0, 63, "K", "which one, from 0 (default 0)" },
        { "count", EX_INT, &s.count, 1, 16, "N", "pictures of each set of prompts (default 1)" },
    };
    const struct ex_program program = {
        .about = "Makes pictures whose components follow different prompts: hybrid images and their like.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
    };
    ex_begin();
    int code = ex_studio_read(&s.studio, &program, argc, argv);
    if (code >= 0)
        return code;
    ex_studio_prompts(&s.studio, course_prompts, 6);
    code = ex_cascade_run(&cascade);
    diffc_release(&s.factorization);
    return code;
}
