/* One-step denoising (A1.3): the network predicts the noise once, and the picture follows from it:
 * x0 = (x_t - sqrt(1 - ab[t]) eps) / sqrt(ab[t]).
 *
 *   one_step_denoise --model IF-I --image photo.jpg --timesteps 250,500,750
 *
 * Writes the noisy pictures and the estimates, one-step.png and metrics.json. */
#include <stdio.h>

#include "common/levels.h"
#include "common/quality.h"

static const char *const course_prompt[] = { "a high quality photo" };

static int write_pair(struct ex_stage *stage, const struct ex_levels *levels, int i, const diffc_tensor *x0)
{
    struct ex_studio *studio = stage->studio;
    char name[48];
    double noisy = ex_psnr(levels->noisy[i], 0, levels->clean), psnr = ex_psnr(x0, 0, levels->clean);
    snprintf(name, sizeof name, "psnr_noisy_%g", (double)levels->t[i]);
    ex_metric(studio->metrics, name, noisy);
    snprintf(name, sizeof name, "psnr_estimate_%g", (double)levels->t[i]);
    ex_metric(studio->metrics, name, psnr);
    snprintf(name, sizeof name, "noisy-%g", (double)levels->t[i]);
    struct ex_result result = { .name = name, .images = levels->noisy[i], .prompt = "" };
    int code = ex_result_write(studio, &result,
                               json_pack("{s:f, s:f}", "timestep", (double)levels->t[i], "psnr", noisy));
    if (code)
        return code;
    snprintf(name, sizeof name, "estimate-%g", (double)levels->t[i]);
    result = (struct ex_result) { name, x0, 0, studio->prompts.value[0], stage, 0, 1 };
    return ex_result_write(studio, &result,
                           json_pack("{s:f, s:f}", "timestep", (double)levels->t[i], "psnr", psnr));
}

static int show(struct ex_stage *stage, const struct ex_levels *levels, diffc_tensor **x0)
{
    struct ex_sheet sheet;
    int code = ex_sheet_open(&sheet, stage->studio, "One-step denoising", 2, 1 + levels->count, stage->height,
                             stage->width);
    for (int i = 0; i < levels->count && !code; i++) {
        code = write_pair(stage, levels, i, x0[i]);
        ex_sheet_column(&sheet, 1 + i, "t = %g", (double)levels->t[i]);
        ex_sheet_put(&sheet, 0, 1 + i, levels->noisy[i], 0);
        ex_sheet_put(&sheet, 1, 1 + i, x0[i], 0);
    }
    if (!code) {
        ex_sheet_row(&sheet, 0, "noisy");
        ex_sheet_row(&sheet, 1, "estimate");
        ex_sheet_column(&sheet, 0, "clean");
        ex_sheet_put(&sheet, 0, 0, levels->clean, 0);
    }
    return ex_sheet_close(&sheet, stage->studio, code, "one-step.png");
}

static int run(struct ex_studio *studio, const char *image)
{
    struct ex_stage stage;
    struct ex_levels levels = { 0 };
    diffc_tensor *x0[EX_LEVELS] = { NULL };
    const int prompt = 0;
    int code = ex_stage_open(studio, 1, 1, 1, 0, 0, &stage);
    if (!code)
        code = ex_stage_prompts(&stage, &prompt, 1);
    if (!code)
        code = ex_levels_open(studio, image, stage.height, stage.width, &levels);
    for (int i = 0; i < levels.count && !code; i++)
        code = ex_stage_estimate(&stage, levels.t[i], levels.alpha_bar[i], levels.noisy[i], &x0[i]);
    if (!code)
        code = show(&stage, &levels, x0);
    for (int i = 0; i < levels.count; i++)
        diffc_release(&x0[i]);
    ex_levels_close(&levels);
    ex_stage_close(&stage);
    return code;
}

int main(int argc, char **argv)
{
    struct ex_studio studio = ex_studio_defaults("out/a1.3-one-step");
    const char *image = ex_drawings[0];
    const struct ex_option own[] = {
        { "image", EX_TEXT, &image, 0, 0, "FILE", "PNG or JPEG (default: drawing:house, one of our own)" },
    };
    const struct ex_program program = {
        .about = "Denoises a picture in one step from each of --timesteps (default 250,500,750).",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
        .unused = "model2 guidance2 steps loop step noise-level",
    };
    studio.guidance = studio.guidance2 = 1; /* there is no stage II */
    studio.levels_only = 1;
    ex_begin();
    int code = ex_studio_read(&studio, &program, argc, argv);
    if (code >= 0)
        return code;
    ex_studio_prompts(&studio, course_prompt, 1);
    code = ex_studio_open(&studio);
    if (!code)
        code = ex_levels_check(&studio);
    if (!code)
        code = ex_picture_check(studio.context, image);
    if (!code)
        code = ex_studio_encode(&studio);
    if (!code)
        code = run(&studio, image);
    return ex_studio_close(&studio, code);
}
