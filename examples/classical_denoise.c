/* Classical denoising (A1.2): what can a Gaussian blur do against the noise of the forward process? All
 * kernels 3 .. 15 and sigmas 0.5 .. 3 are tried on every noisy picture, and the best one is shown.
 *
 *   classical_denoise --image photo.jpg --timesteps 250,500,750
 *
 * Writes the best pictures, denoised.png, sweep.csv, sweep.png (PSNR against sigma) and metrics.json. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/levels.h"
#include "common/quality.h"

static int write_best(struct ex_studio *studio, const struct ex_levels *levels, int i,
                      const struct ex_blur *blur)
{
    char name[48];
    double noisy = ex_psnr(levels->noisy[i], 0, levels->clean);
    snprintf(name, sizeof name, "psnr_noisy_%g", (double)levels->t[i]);
    ex_metric(studio->metrics, name, noisy);
    snprintf(name, sizeof name, "psnr_blurred_%g", (double)levels->t[i]);
    ex_metric(studio->metrics, name, blur->best);
    snprintf(name, sizeof name, "blurred-%g", (double)levels->t[i]);
    struct ex_result result = { .name = name, .images = blur->image, .prompt = "" };
    return ex_result_write(studio, &result,
                           json_pack("{s:f, s:i, s:f, s:f, s:f}", "timestep", (double)levels->t[i], "kernel",
                                     blur->kernel, "sigma", blur->sigma, "psnr", blur->best, "psnr_noisy",
                                     noisy));
}

static int show(struct ex_studio *studio, const struct ex_levels *levels, const struct ex_blur *blurs)
{
    struct ex_sheet sheet;
    int code = ex_sheet_open(&sheet, studio, "Gaussian blur", 2, 1 + levels->count,
                             diffc_tensor_dim(levels->clean, 2), diffc_tensor_dim(levels->clean, 3));
    for (int i = 0; i < levels->count && !code; i++) {
        ex_sheet_column(&sheet, 1 + i, "t = %g: kernel %d, sigma %g", (double)levels->t[i], blurs[i].kernel,
                        blurs[i].sigma);
        ex_sheet_put(&sheet, 0, 1 + i, levels->noisy[i], 0);
        ex_sheet_put(&sheet, 1, 1 + i, blurs[i].image, 0);
    }
    if (!code) {
        ex_sheet_row(&sheet, 0, "noisy");
        ex_sheet_row(&sheet, 1, "best blur");
        ex_sheet_column(&sheet, 0, "clean");
        ex_sheet_put(&sheet, 0, 0, levels->clean, 0);
    }
    return ex_sheet_close(&sheet, studio, code, "denoised.png");
}

static int write_csv(const struct ex_studio *studio, const struct ex_levels *levels,
                     const struct ex_blur *blurs)
{
    char path[EX_PATH], temporary[EX_PATH + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", ex_path(path, studio->out, "sweep.csv"));
    FILE *file = fopen(temporary, "w");
    if (!file)
        return ex_error(EX_FAILED, path, "%s", strerror(errno));
    fprintf(file, "timestep,kernel,sigma,psnr_db\n");
    for (int i = 0; i < levels->count; i++)
        for (int k = 0; k < EX_BLUR_KERNELS; k++)
            for (int s = 0; s < EX_BLUR_SIGMAS; s++)
                if (!isnan(blurs[i].psnr[k][s]))
                    fprintf(file, "%g,%d,%g,%.4f\n", (double)levels->t[i], ex_blur_kernels[k],
                            ex_blur_sigmas[s], blurs[i].psnr[k][s]);
    int failed = ferror(file);
    if (!fclose(file) && !failed && !rename(temporary, path))
        return 0;
    remove(temporary);
    return ex_error(EX_FAILED, path, "cannot be written");
}

/* For each level the curve of its best kernel. */
static int write_chart(const struct ex_studio *studio, const struct ex_levels *levels,
                       const struct ex_blur *blurs)
{
    static const double colours[EX_SERIES][3] = { { 0.1, 0.3, 0.7 }, { 0.8, 0.4, 0.1 }, { 0.2, 0.55, 0.2 },
                                                  { 0.6, 0.2, 0.6 }, { 0.5, 0.4, 0.3 }, { 0.3, 0.3, 0.3 } };
    struct ex_chart chart = { .title = "Denoising by Gaussian blur",
                              .x_axis = "sigma, pixels",
                              .y_axis = "PSNR, dB" };
    char labels[EX_SERIES][48], path[EX_PATH];
    chart.series_count = levels->count;
    for (int i = 0; i < chart.series_count; i++) {
        const int k = (blurs[i].kernel - ex_blur_kernels[0]) / 2;
        snprintf(labels[i], sizeof labels[i], "t = %g, kernel %d", (double)levels->t[i], blurs[i].kernel);
        chart.series[i] = (struct ex_series) { .label = labels[i],
                                               .count = EX_BLUR_SIGMAS,
                                               .x = ex_blur_sigmas,
                                               .y = blurs[i].psnr[k],
                                               .line_width = 1.5,
                                               .marks = 1 };
        memcpy(chart.series[i].colour, colours[i], sizeof colours[i]);
    }
    return ex_chart_write(&chart, ex_path(path, studio->out, "sweep.png"));
}

static int run(struct ex_studio *studio, const struct ex_levels *levels, struct ex_blur *blurs)
{
    int code = 0;
    for (int i = 0; i < levels->count && !code; i++)
        code = ex_blur_sweep(levels->noisy[i], levels->clean, &blurs[i]);
    for (int i = 0; i < levels->count && !code; i++)
        code = write_best(studio, levels, i, &blurs[i]);
    if (!code)
        code = show(studio, levels, blurs);
    if (!code)
        code = write_csv(studio, levels, blurs);
    return code ? code : write_chart(studio, levels, blurs);
}

int main(int argc, char **argv)
{
    struct ex_studio studio = ex_studio_defaults("out/a1.2-classical");
    struct ex_levels levels = { 0 };
    struct ex_blur blurs[EX_LEVELS] = { 0 };
    const char *image = ex_drawings[0];
    int size = 64;
    const struct ex_option own[] = {
        { "image", EX_TEXT, &image, 0, 0, "FILE", "PNG or JPEG (default: drawing:house, one of our own)" },
        { "size", EX_INT, &size, 8, 4096, "N", "pixels of a side (default 64)" },
    };
    const struct ex_program program = {
        .about = "Denoises by Gaussian blur: which kernel and sigma come nearest to the clean picture?",
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
        code = run(&studio, &levels, blurs);
    for (int i = 0; i < levels.count; i++)
        diffc_release(&blurs[i].image);
    ex_levels_close(&levels);
    return ex_studio_close(&studio, code);
}
