/* SDEdit (A1.7; Meng et al. 2022): a picture is noised to a step of the loop and denoised from there. The
 * earlier the step, the more is made anew.
 *
 *   sdedit --model IF-I --image photo.jpg                            back to the manifold of photos (A1.7)
 *   sdedit --model IF-I --image web.png --image drawing.png          pictures from anywhere (A1.7.1)
 *   sdedit --model IF-I --image photo.jpg --prompt "a rocket ship"   towards a prompt (A1.7.3)
 *
 * Writes the pictures, sdedit.png and metrics.json. */
#include <stdio.h>

#include "common/cascade.h"
#include "common/picture.h"

static const char *const course_prompt[] = { "a high quality photo" };

struct settings {
    struct ex_studio studio;
    struct ex_strings images;
    struct ex_reals starts, strengths;
    const struct ex_reals *levels; /* one of the two */
    const char *level_name;
    double strength2;
};

/* Every prompt with every image from every level. */
static int plan(void *opaque, struct ex_cascade *cascade)
{
    const struct settings *s = opaque;
    int levels = s->levels->count, images = s->images.count;
    int code = 0;
    for (int i = 0; i < images && !code; i++)
        code = ex_picture_check(s->studio.context, s->images.value[i]);
    if (!code)
        code = ex_cascade_jobs(cascade, 1, 1, images * levels);
    for (int i = 0; i < cascade->job_count; i++) {
        struct ex_job *job = &cascade->jobs[i];
        job->level = i % levels;
        job->image = i / levels % images;
        job->more = json_pack("{s:s, s:f}", "image", s->images.value[job->image], s->level_name,
                              s->levels->value[job->level]);
        snprintf(job->name, sizeof job->name, "prompt%d-image%d-level%d", job->prompts[0] + 1, job->image + 1,
                 job->level + 1);
    }
    return code;
}

/* Stage I starts at a step of the list, or so that a share of the steps is made; stage II likewise. */
static int first_step(const struct settings *s, const struct ex_stage *stage, const struct ex_job *job)
{
    const double level = s->levels->value[job->level];
    if (stage->number == 2)
        return diffc_sampler_strength(stage->sampler, s->strength2);
    return s->levels == &s->starts ? (int)level : diffc_sampler_strength(stage->sampler, level);
}

static int starts(void *opaque, const struct ex_stage *stage, const struct ex_job *job)
{
    const struct settings *s = opaque;
    const int first = first_step(s, stage, job);
    if (first < stage->steps)
        return 0;
    if (stage->number == 2)
        return ex_error(EX_USAGE, "--strength2", "%g leaves no step", s->strength2);
    if (s->levels == &s->strengths)
        return ex_error(EX_USAGE, "--strength", "%g leaves no step", s->levels->value[job->level]);
    return ex_error(EX_USAGE, "--start", "step %d, but the loop has %d steps", first, stage->steps);
}

static int arrange(void *opaque, struct ex_stage *stage, const struct ex_job *job,
                   diffc_sample_options *options)
{
    const struct settings *s = opaque;
    diffc_tensor *picture = NULL;
    options->first_step = first_step(s, stage, job);
    int code = ex_picture_open(s->studio.context, s->images.value[job->image], stage->height, stage->width,
                               &picture);
    options->image = picture;
    ex_stage_keep(stage, picture);
    return code;
}

/* Rows: prompts and pictures; columns: starts, and the picture itself. */
static int show(void *opaque, struct ex_cascade *cascade)
{
    struct settings *s = opaque;
    struct ex_sheet sheet;
    int levels = s->levels->count, rows = cascade->job_count / levels, stage = s->studio.model2 ? 1 : 0;
    const diffc_tensor *any = cascade->jobs[0].images[stage];
    const int64_t height = diffc_tensor_dim(any, 2), width = diffc_tensor_dim(any, 3);
    int code = ex_sheet_open(&sheet, &s->studio, "SDEdit", rows, levels + 1, height, width);
    for (int i = 0; i < cascade->job_count && !code; i++) {
        ex_sheet_put(&sheet, i / levels, i % levels, cascade->jobs[i].images[stage], 0);
        ex_sheet_column(&sheet, i % levels, "%s %g", s->level_name, s->levels->value[i % levels]);
    }
    for (int row = 0; row < rows && !code; row++) {
        const struct ex_job *job = &cascade->jobs[row * levels];
        diffc_tensor *picture = NULL;
        code = ex_picture_open(s->studio.context, s->images.value[job->image], height, width, &picture);
        if (!code) {
            ex_sheet_put(&sheet, row, levels, picture, 0);
            ex_sheet_row(&sheet, row, "%s", s->studio.prompts.value[job->prompts[0]]);
            ex_sheet_column(&sheet, levels, "original");
        }
        diffc_release(&picture);
    }
    return ex_sheet_close(&sheet, &s->studio, code, "sdedit.png");
}

int main(int argc, char **argv)
{
    struct settings s = { .studio = ex_studio_defaults("out/a1.7-sdedit"), .strength2 = 0.8 };
    struct ex_cascade cascade = {
        .studio = &s.studio, .opaque = &s, .plan = plan, .starts = starts, .arrange = arrange, .show = show
    };
    const struct ex_option own[] = {
        { "image", EX_STRINGS, &s.images, 0, 0, "FILE",
          "PNG or JPEG, several times (default: three drawings of ours)" },
        { "start", EX_REALS, &s.starts, 0, 999, "I[,I...]", "steps to start from (default 1,3,5,7,10,20)" },
        { "strength", EX_REALS, &s.strengths, 0.001, 1, "X[,X...]",
          "instead: the share of the steps that are made" },
        { "strength2", EX_REAL, &s.strength2, 0.001, 1, "X", "the same of stage II (default 0.8)" },
    };
    const struct ex_program program = {
        .about = "Changes pictures by noising them to a step of the loop and denoising them from there.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
    };
    ex_begin();
    int code = ex_studio_read(&s.studio, &program, argc, argv);
    if (code >= 0 || (code = ex_check_whole("--start", &s.starts)))
        return code;
    ex_studio_prompts(&s.studio, course_prompt, 1);
    for (int i = 0; !s.images.count && i < EX_DRAWINGS; i++)
        s.images.value[i] = ex_drawings[i];
    s.images.count = s.images.count ? s.images.count : EX_DRAWINGS;
    if (!s.starts.count)
        s.starts = (struct ex_reals) { 6, { 1, 3, 5, 7, 10, 20 } };
    s.levels = s.strengths.count ? &s.strengths : &s.starts;
    s.level_name = s.strengths.count ? "strength" : "start";
    return ex_cascade_run(&cascade);
}
