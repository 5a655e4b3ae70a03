/* Inpainting (A1.7.2): where the mask is white the picture is painted anew, elsewhere it stays.
 *
 *   inpaint --model IF-I --image photo.jpg --mask mask.png --rule renoise
 *
 * Two rules: renoise (the course): after every step the outside is the picture, noised to the timestep just
 * reached; clean (diffusers): the outside is the picture itself all along. Writes the pictures, inpaint.png
 * and metrics.json. */
#include <stdio.h>
#include <string.h>

#include "common/cascade.h"
#include "common/picture.h"

static const char *const course_prompt[] = { "a high quality photo" };

struct settings {
    struct ex_studio studio;
    const char *image, *mask, *rule;
    int count;
    double strength, strength2;
};

static int plan(void *opaque, struct ex_cascade *cascade)
{
    const struct settings *s = opaque;
    int code = ex_picture_check(s->studio.context, s->image);
    if (!code)
        code = ex_picture_check(s->studio.context, s->mask);
    if (!code)
        code = ex_cascade_jobs(cascade, 1, s->count, 1);
    for (int p = 0; p < cascade->job_count; p++) {
        struct ex_job *job = &cascade->jobs[p];
        job->more = json_pack("{s:s, s:s}", "image", s->image, "rule", s->rule);
        snprintf(job->name, sizeof job->name, "prompt%d", p + 1);
    }
    return code;
}

static double strength_of(const struct settings *s, const struct ex_stage *stage)
{
    return stage->number == 2 ? s->strength2 : s->strength;
}

static int starts(void *opaque, const struct ex_stage *stage, const struct ex_job *job)
{
    const double strength = strength_of(opaque, stage);
    (void)job;
    return diffc_sampler_strength(stage->sampler, strength) < stage->steps
               ? 0
               : ex_error(EX_USAGE, stage->number == 2 ? "--strength2" : "--strength", "%g leaves no step",
                          strength);
}

/* The course starts from noise; diffusers from the picture, noised, of which at strength 1 only a trace is
 * left. */
static int arrange(void *opaque, struct ex_stage *stage, const struct ex_job *job,
                   diffc_sample_options *options)
{
    const struct settings *s = opaque;
    diffc_tensor *picture = NULL, *mask = NULL;
    double strength = strength_of(s, stage);
    (void)job;
    int code = ex_picture_open(s->studio.context, s->image, stage->height, stage->width, &picture);
    ex_stage_keep(stage, picture);
    if (!code)
        code = ex_mask_open(s->studio.context, s->mask, stage->height, stage->width, &mask);
    ex_stage_keep(stage, mask);
    options->first_step = diffc_sampler_strength(stage->sampler, strength);
    options->image = !strcmp(s->rule, "clean") || strength < 1 ? picture : NULL;
    options->known = picture;
    options->mask = mask;
    options->mask_rule = s->rule;
    return code;
}

/* What is left of the picture: outside of the mask. */
static int cover(const diffc_tensor *picture, const diffc_tensor *mask, diffc_tensor **left)
{
    int status = diffc_tensor_convert(picture, 0, left);
    int64_t pixels = diffc_tensor_count(mask);
    for (int64_t i = 0; !status && i < diffc_tensor_count(*left); i++)
        if (((const float *)diffc_tensor_data(mask))[i % pixels] > 0)
            ((float *)diffc_tensor_data(*left))[i] = 0;
    return status ? ex_failed("mask", status) : 0;
}

static int show(void *opaque, struct ex_cascade *cascade)
{
    struct settings *s = opaque;
    struct ex_sheet sheet;
    diffc_tensor *picture = NULL, *mask = NULL, *left = NULL;
    int stage = s->studio.model2 ? 1 : 0;
    const diffc_tensor *any = cascade->jobs[0].images[stage];
    const int64_t height = diffc_tensor_dim(any, 2), width = diffc_tensor_dim(any, 3);
    char title[64];
    snprintf(title, sizeof title, "Inpainting, rule %s", s->rule);
    int code = ex_sheet_open(&sheet, &s->studio, title, cascade->job_count, 2 + s->count, height, width);
    if (!code)
        code = ex_picture_open(s->studio.context, s->image, height, width, &picture);
    if (!code)
        code = ex_mask_open(s->studio.context, s->mask, height, width, &mask);
    if (!code)
        code = cover(picture, mask, &left);
    for (int row = 0; row < cascade->job_count && !code; row++) {
        ex_sheet_row(&sheet, row, "%s", s->studio.prompts.value[row]);
        ex_sheet_put(&sheet, row, 0, picture, 0);
        ex_sheet_put(&sheet, row, 1, left, 0);
        for (int k = 0; k < s->count; k++)
            ex_sheet_put(&sheet, row, 2 + k, cascade->jobs[row].images[stage], k);
    }
    if (!code) {
        ex_sheet_column(&sheet, 0, "picture");
        ex_sheet_column(&sheet, 1, "to paint");
        for (int k = 0; k < s->count; k++)
            ex_sheet_column(&sheet, 2 + k, "result %d", k + 1);
    }
    diffc_release(&left);
    diffc_release(&mask);
    diffc_release(&picture);
    return ex_sheet_close(&sheet, &s->studio, code, "inpaint.png");
}

int main(int argc, char **argv)
{
    struct settings s = {
        .studio = ex_studio_defaults("out/a1.7.2-inpaint"), .count = 2, .strength = 1, .strength2 = 0.8
    };
    struct ex_cascade cascade = {
        .studio = &s.studio, .opaque = &s, .plan = plan, .starts = starts, .arrange = arrange, .show = show
    };
    const struct ex_option own[] = {
        { "image", EX_TEXT, &s.image, 0, 0, "FILE", "PNG or JPEG (default: drawing:face, one of our own)" },
        { "mask", EX_TEXT, &s.mask, 0, 0, "FILE", "white is painted (default: the middle)" },
        { "rule", EX_CHOICE, &s.rule, 0, 0, "renoise|clean", "of what is outside (--loop pipeline: clean)" },
        { "count", EX_INT, &s.count, 1, 16, "N", "pictures of each prompt (default 2)" },
        { "strength", EX_REAL, &s.strength, 0.001, 1, "X",
          "the share of the steps that are made (default 1)" },
        { "strength2", EX_REAL, &s.strength2, 0.001, 1, "X", "the same of stage II (default 0.8)" },
    };
    const struct ex_program program = {
        .about = "Paints a part of a picture anew.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
    };
    s.image = ex_drawings[2];
    s.studio.noise_level = 0;
    ex_begin();
    int code = ex_studio_read(&s.studio, &program, argc, argv);
    if (code >= 0)
        return code;
    if (!s.rule)
        s.rule = !strcmp(s.studio.loop, "pipeline") ? "clean" : "renoise";
    ex_studio_prompts(&s.studio, course_prompt, 1);
    return ex_cascade_run(&cascade);
}
