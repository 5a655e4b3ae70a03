/* The forward process (A1.1): a picture with more and more noise, x_t = sqrt(ab[t]) x_0 + sqrt(1 - ab[t])
 * eps.
 *
 *   forward_process --image photo.jpg --timesteps 250,500,750
 *
 * Needs no network: the noise schedule is that of --model, or the one that DeepFloyd IF has. Writes the noisy
 * pictures, forward.png and metrics.json. */
#include <stdio.h>

#include "common/levels.h"
#include "common/quality.h"

static int show(struct ex_studio *studio, const struct ex_levels *levels)
{
    struct ex_sheet sheet;
    int code = ex_sheet_open(&sheet, studio, "Forward process", 1, 1 + levels->count,
                             diffc_tensor_dim(levels->clean, 2), diffc_tensor_dim(levels->clean, 3));
    if (!code) {
        ex_sheet_column(&sheet, 0, "clean");
        ex_sheet_put(&sheet, 0, 0, levels->clean, 0);
    }
    for (int i = 0; i < levels->count && !code; i++) {
        char name[32];
        snprintf(name, sizeof name, "noisy-%g", (double)levels->t[i]);
        struct ex_result result = { .name = name, .images = levels->noisy[i], .prompt = "" };
        double psnr = ex_psnr(levels->noisy[i], 0, levels->clean);
        ex_sheet_column(&sheet, 1 + i, "t = %g", (double)levels->t[i]);
        ex_sheet_put(&sheet, 0, 1 + i, levels->noisy[i], 0);
        code = ex_result_write(studio, &result,
                               json_pack("{s:f, s:f, s:f}", "timestep", (double)levels->t[i], "alpha_bar",
                                         levels->alpha_bar[i], "psnr", psnr));
    }
    return ex_sheet_close(&sheet, studio, code, "forward.png");
}

int main(int argc, char **argv)
{
    struct ex_studio studio = ex_studio_defaults("out/a1.1-forward");
    struct ex_levels levels = { 0 };
    const char *image = ex_drawings[0];
    int size = 64;
    const struct ex_option own[] = {
        { "image", EX_TEXT, &image, 0, 0, "FILE", "PNG or JPEG (default: drawing:house, one of our own)" },
        { "size", EX_INT, &size, 8, 4096, "N", "pixels of a side (default 64)" },
    };
    const struct ex_program program = {
        .about = "Adds noise to a picture, as much as --timesteps (default 250,500,750) say.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
        .unused = "model2 variant prompt negative guidance guidance2 steps loop step noise-level memory "
                  "precision numerics embeddings clean",
    };
    studio.without_model = studio.levels_only = 1;
    ex_begin();
    int code = ex_studio_read(&studio, &program, argc, argv);
    if (code >= 0)
        return code;
    code = ex_studio_open(&studio);
    if (!code)
        code = ex_levels_open(&studio, image, size, size, &levels);
    if (!code)
        code = show(&studio, &levels);
    ex_levels_close(&levels);
    return ex_studio_close(&studio, code);
}
