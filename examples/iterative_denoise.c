/* Iterative denoising (A1.4): a picture noised to timestep 690 of the list 990, 960, ..., 0 is denoised step
 * by step; beside it one step from the same noise, and the best Gaussian blur.
 *
 *   iterative_denoise --model IF-I --image photo.jpg --start 10
 *
 * Writes the picture after every fifth step, the result, the two others, iterative.png and metrics.json. */
#include <stdio.h>

#include "common/gallery.h"
#include "common/picture.h"
#include "common/quality.h"

#define FRAMES 40

static const char *const course_prompt[] = { "a high quality photo" };

struct work {
    struct ex_studio studio;
    struct ex_stage stage;
    const char *image;
    int start, every;
    diffc_tensor *clean, *noisy, *result, *one_step;
    struct ex_blur blur;
    diffc_tensor *frame[FRAMES]; /* what the network sees at every fifth timestep, the noisy picture first */
    float frame_time[FRAMES];
    int frame_count;
};

static int keep_frame(struct work *w, const diffc_tensor *x, int step)
{
    if ((step - w->start) % w->every || w->frame_count == FRAMES || step >= w->stage.steps)
        return 0;
    diffc_tensor **frame = &w->frame[w->frame_count];
    w->frame_time[w->frame_count] = diffc_sampler_timestep(w->stage.sampler, step);
    int status = diffc_tensor_convert(x, 0, frame);
    w->frame_count += !status;
    return status ? status : diffc_sampler_scale_input(w->stage.sampler, step, *frame, *frame);
}

static int watch(void *opaque, const diffc_sample_step *step)
{
    return keep_frame(opaque, step->x, step->step + 1);
}

/* The forward process to the timestep where the loop starts. */
static int make_noisy(struct work *w)
{
    int code = ex_picture_open(w->studio.context, w->image, w->stage.height, w->stage.width, &w->clean);
    int status = code ? 0 : ex_stage_tensor(&w->stage, 1, &w->noisy);
    if (!code && !status)
        code = ex_studio_noise(&w->studio, w->noisy);
    if (!code && !status)
        status = diffc_sampler_add_noise(w->stage.sampler, w->start, w->clean, w->noisy, w->noisy);
    if (!code && !status)
        status = keep_frame(w, w->noisy, w->start);
    return status ? ex_failed("--start", status) : code;
}

static int denoise(struct work *w)
{
    diffc_sample_options options = DIFFC_SAMPLE_OPTIONS;
    const float t = diffc_sampler_timestep(w->stage.sampler, w->start);
    const float *alpha_bars = diffc_schedule_alpha_bars(diffc_sampler_schedule(w->stage.sampler));
    options.start = w->noisy;
    options.first_step = w->start;
    options.generator = w->studio.generator;
    w->stage.watch = watch;
    w->stage.watch_opaque = w;
    int code = ex_stage_sample(&w->stage, &options, 1, &w->result);
    if (!code)
        code = ex_stage_estimate(&w->stage, t, (double)alpha_bars[(int)t], w->frame[0], &w->one_step);
    return code ? code : ex_blur_sweep(w->frame[0], w->clean, &w->blur);
}

/* One picture into its files and the sheet; made in `steps` predictions, 0: without the network. */
static int put(struct work *w, struct ex_sheet *sheet, int column, const char *name, const char *label,
               const diffc_tensor *picture, int steps)
{
    const struct ex_result result = {
        name, picture, 0, steps ? w->studio.prompts.value[0] : "", steps ? &w->stage : NULL, 0, steps
    };
    ex_sheet_column(sheet, column, "%s", label);
    ex_sheet_put(sheet, 0, column, picture, 0);
    return ex_result_write(&w->studio, &result, json_pack("{s:f}", "psnr", ex_psnr(picture, 0, w->clean)));
}

static int show(struct work *w)
{
    struct ex_sheet sheet;
    char name[32], label[32];
    int column = w->frame_count, steps = diffc_sampler_steps(w->stage.sampler);
    int code = ex_sheet_open(&sheet, &w->studio, "Iterative denoising", 1, column + 4, w->stage.height,
                             w->stage.width);
    for (int i = 0; i < w->frame_count && !code; i++) {
        snprintf(name, sizeof name, "step-%g", (double)w->frame_time[i]);
        snprintf(label, sizeof label, "t = %g", (double)w->frame_time[i]);
        code = put(w, &sheet, i, name, label, w->frame[i], i ? steps : 0);
    }
    if (!code)
        code = put(w, &sheet, column, "result", "result", w->result, steps);
    if (!code)
        code = put(w, &sheet, column + 1, "one-step", "one step", w->one_step, 1);
    snprintf(label, sizeof label, "blur %d, %g", w->blur.kernel, w->blur.sigma);
    if (!code)
        code = put(w, &sheet, column + 2, "blur", label, w->blur.image, 0);
    if (!code) {
        ex_sheet_column(&sheet, column + 3, "clean");
        ex_sheet_put(&sheet, 0, column + 3, w->clean, 0);
        ex_metric(w->studio.metrics, "psnr_noisy", ex_psnr(w->frame[0], 0, w->clean));
        ex_metric(w->studio.metrics, "psnr_iterative", ex_psnr(w->result, 0, w->clean));
        ex_metric(w->studio.metrics, "psnr_one_step", ex_psnr(w->one_step, 0, w->clean));
        ex_metric(w->studio.metrics, "psnr_blur", w->blur.best);
    }
    return ex_sheet_close(&sheet, &w->studio, code, "iterative.png");
}

/* What can be wrong with the options, before the network is there. */
static int check(struct work *w)
{
    struct ex_stage trial;
    int code = ex_picture_check(w->studio.context, w->image);
    if (code)
        return code;
    code = ex_stage_try(&w->studio, 1, ex_studio_steps(&w->studio), &trial);
    if (!code && w->start >= trial.steps)
        code = ex_error(EX_USAGE, "--start", "%d, but the loop has %d steps", w->start, trial.steps);
    ex_stage_close(&trial);
    return code;
}

static int run(struct work *w)
{
    const int prompt = 0;
    int code = check(w);
    if (!code)
        code = ex_studio_encode(&w->studio);
    if (!code)
        code = ex_stage_open(&w->studio, 1, 1, 1, 0, 0, &w->stage);
    if (!code)
        code = ex_stage_steps(&w->stage, ex_studio_steps(&w->studio));
    if (!code)
        code = ex_stage_prompts(&w->stage, &prompt, 1);
    if (!code)
        code = make_noisy(w);
    if (!code)
        code = denoise(w);
    return code ? code : show(w);
}

int main(int argc, char **argv)
{
    struct work w = { .studio = ex_studio_defaults("out/a1.4-iterative"), .start = 10, .every = 5 };
    const struct ex_option own[] = {
        { "image", EX_TEXT, &w.image, 0, 0, "FILE", "PNG or JPEG (default: drawing:house, one of our own)" },
        { "start", EX_INT, &w.start, 0, 999, "I", "step to start from (default 10: t = 690)" },
        { "every", EX_INT, &w.every, 1, 999, "N", "steps between the pictures shown (default 5)" },
    };
    const struct ex_program program = {
        .about = "Denoises a picture step by step, beside one step and a Gaussian blur.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
        .unused = "model2 guidance2 noise-level",
    };
    w.image = ex_drawings[0];
    w.studio.guidance = w.studio.guidance2 = 1; /* there is no stage II */
    ex_begin();
    int code = ex_studio_read(&w.studio, &program, argc, argv);
    if (code >= 0)
        return code;
    ex_studio_prompts(&w.studio, course_prompt, 1);
    code = ex_studio_open(&w.studio);
    if (!code)
        code = run(&w);
    ex_stage_close(&w.stage);
    for (int i = 0; i < w.frame_count; i++)
        diffc_release(&w.frame[i]);
    diffc_release(&w.blur.image);
    diffc_release(&w.one_step);
    diffc_release(&w.result);
    diffc_release(&w.noisy);
    diffc_release(&w.clean);
    return ex_studio_close(&w.studio, code);
}
