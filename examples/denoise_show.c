#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/models.h"
#include "common/plot.h"
#include "denoise_show.h"

#define NOISE_STREAM 100 /* of the generator; training and fresh weights use others */
#define PICTURES 10
#define BATCH 50

static const double sigmas[] = { 0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0 };
enum { SIGMAS = sizeof sigmas / sizeof sigmas[0] };

static int create_like(const diffc_tensor *images, int64_t count, diffc_context *context,
                       diffc_tensor **tensor)
{
    int64_t shape[4] = { count, diffc_tensor_dim(images, 1), diffc_tensor_dim(images, 2),
                         diffc_tensor_dim(images, 3) };
    return diffc_tensor_create(context, DIFFC_F32, 4, shape, tensor);
}

/* z = x + sigma e, with the same e for every sigma; without `clean` z = sigma e. */
static int make_noisy(const struct denoise_show *show, const diffc_tensor *like, const diffc_tensor *clean,
                      double sigma, diffc_tensor **noisy)
{
    int status = create_like(like, diffc_tensor_dim(like, 0), show->context, noisy);
    if (!status)
        status = diffc_rng_normal(*noisy, show->seed, NOISE_STREAM, 0);
    if (status)
        return ex_failed("noise", status);
    float *z = diffc_tensor_data(*noisy);
    const float *x = clean ? diffc_tensor_data(clean) : NULL;
    for (int64_t i = 0, count = diffc_tensor_count(*noisy); i < count; i++)
        z[i] = (x ? x[i] : 0.0f) + (float)sigma * z[i];
    return 0;
}

/* The network's output for any number of images. */
static int predict(const struct denoise_show *show, diffc_model *model, const diffc_tensor *input,
                   diffc_tensor **output)
{
    diffc_session *session = NULL;
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    int64_t count = diffc_tensor_dim(input, 0);
    options.batch = count < BATCH ? (int32_t)count : BATCH;
    options.conditions = 1;
    options.numerics = show->numerics;
    options.precision = show->precision;
    int status = diffc_session_create(model, &options, &session);
    if (!status)
        status = create_like(input, count, show->context, output);
    for (int64_t first = 0; first < count && !status; first += BATCH) {
        diffc_tensor *in = NULL, *out = NULL;
        int64_t part = count - first < BATCH ? count - first : BATCH;
        status = diffc_tensor_slice(input, 0, first, part, 1, &in);
        if (!status)
            status = diffc_tensor_slice(*output, 0, first, part, 1, &out);
        if (!status) {
            diffc_binding from = { "x", in }, to = { "out", out };
            status = diffc_session_run(session, &from, 1, &to, 1);
        }
        diffc_release(&in);
        diffc_release(&out);
    }
    diffc_release(&session);
    return status ? ex_failed("network", status) : 0;
}

/* As many test images as there are, up to `wanted`. */
static int at_most(const struct ex_mnist *mnist, int wanted)
{
    int64_t have = diffc_dataset_count(mnist->test);
    return have < wanted ? (int)have : wanted;
}

static int label_of(const struct ex_mnist *mnist, int64_t index)
{
    int32_t label = 0;
    diffc_dataset_sample(mnist->test, index, NULL, &label);
    return label;
}

static int is_pure_noise(const diffc_model *model)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    const char *architecture;
    return !diffc_model_describe(model, &architecture, &options) && options.objective &&
           !strcmp(options.objective, "noise");
}

static int write_grid(const struct denoise_show *show, const struct ex_grid *grid, const char *name)
{
    char path[EX_PATH];
    return ex_grid_write(grid, ex_path(path, show->out, name));
}

static void label_sigmas(struct ex_grid *grid)
{
    grid->columns = SIGMAS;
    grid->column_axis = "standard deviation of the noise";
    for (int k = 0; k < SIGMAS; k++)
        snprintf(grid->column_label[k], EX_LABEL, "sigma = %.1f", sigmas[k]);
}

int denoise_show_noising(const struct denoise_show *show)
{
    int rows = at_most(show->mnist, 5);
    struct ex_grid grid = { .title = "Noising: z = x + sigma e, e ~ N(0, I)", .rows = rows };
    diffc_tensor *clean = NULL, *cells = NULL;
    label_sigmas(&grid);
    int code = ex_mnist_floats(show->mnist->test_images, 0, rows, &clean);
    if (!code && create_like(clean, rows * SIGMAS, show->context, &cells))
        code = ex_failed("picture", DIFFC_ERR_NOMEM);
    for (int k = 0; k < SIGMAS && !code; k++) {
        diffc_tensor *noisy = NULL;
        code = make_noisy(show, clean, clean, sigmas[k], &noisy);
        for (int row = 0; row < rows && !code; row++)
            ex_image_copy(cells, row * SIGMAS + k, noisy, row);
        diffc_release(&noisy);
    }
    for (int row = 0; row < rows; row++)
        snprintf(grid.row_label[row], EX_LABEL, "digit %d", label_of(show->mnist, row));
    grid.images = cells;
    if (!code)
        code = write_grid(show, &grid, "noising.png");
    diffc_release(&clean);
    diffc_release(&cells);
    return code;
}

/* Rows: the clean image (not with pure noise), what the network sees, what it gives. */
static int draw_steps(const struct denoise_show *show, diffc_model *model, const char *title,
                      const char *name)
{
    int pure = is_pure_noise(model), row = 0, count = at_most(show->mnist, PICTURES);
    double sigma = pure ? 1 : ex_trained_sigma(model);
    struct ex_grid grid = { .title = title, .rows = pure ? 2 : 3, .columns = count };
    diffc_tensor *set[3] = { NULL, NULL, NULL }, *cells = NULL; /* clean, noisy, output */
    int code = ex_mnist_floats(show->mnist->test_images, 0, count, &set[0]);
    if (!code)
        code = make_noisy(show, set[0], pure ? NULL : set[0], sigma, &set[1]);
    if (!code)
        code = predict(show, model, set[1], &set[2]);
    if (!code && create_like(set[0], grid.rows * count, show->context, &cells))
        code = ex_failed("picture", DIFFC_ERR_NOMEM);
    for (int part = pure; part < 3 && !code; part++, row++)
        for (int i = 0; i < count; i++)
            ex_image_copy(cells, row * count + i, set[part], i);
    if (pure) {
        snprintf(grid.row_label[0], EX_LABEL, "noise");
        grid.column_axis = "sample";
    } else {
        snprintf(grid.row_label[0], EX_LABEL, "input");
        snprintf(grid.row_label[1], EX_LABEL, "sigma = %g", sigma);
        grid.column_axis = "test image";
    }
    snprintf(grid.row_label[grid.rows - 1], EX_LABEL, "output");
    for (int i = 0; i < count; i++)
        snprintf(grid.column_label[i], EX_LABEL, "%d", pure ? i + 1 : label_of(show->mnist, i));
    grid.images = cells;
    if (!code)
        code = write_grid(show, &grid, name);
    for (int part = 0; part < 3; part++)
        diffc_release(&set[part]);
    diffc_release(&cells);
    return code;
}

int denoise_show_epoch(void *opaque, diffc_model *model, int epoch)
{
    char title[64], name[32];
    snprintf(title, sizeof title, "After epoch %d", epoch);
    snprintf(name, sizeof name, "epoch-%02d.png", epoch);
    return draw_steps(opaque, model, title, name);
}

static double mean_square(const diffc_tensor *a, const diffc_tensor *b)
{
    const float *x = diffc_tensor_data(a), *y = diffc_tensor_data(b);
    int64_t count = diffc_tensor_count(a);
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum / (double)count;
}

static int draw_errors(const struct denoise_show *show, const double *noisy, const double *output,
                       double sigma)
{
    char path[EX_PATH], title[96];
    snprintf(title, sizeof title, "Error under other strengths of noise (trained with sigma = %g)", sigma);
    struct ex_chart chart = { .title = title,
                              .x_axis = "standard deviation of the noise",
                              .y_axis = "mean squared error per pixel (pixels in 0 .. 1)",
                              .log_y = 1 };
    chart.series[0] = (struct ex_series) { "noisy image", SIGMAS, sigmas, noisy, { 0.5, 0.5, 0.5 }, 1.5, 1 };
    chart.series[1] = (struct ex_series) { "output of the network", SIGMAS, sigmas, output,
                                           { 0.75, 0.1, 0.1 },      2,      1 };
    chart.series_count = 2;
    return ex_chart_write(&chart, ex_path(path, show->out, "sigmas-error.png"));
}

/* sigmas.png: three digits under all strengths, before and after; errors over more images. */
static int show_sigmas(const struct denoise_show *show, diffc_model *model, json_t *metrics)
{
    enum { DIGITS = 3 };
    char title[96], name[48];
    double before[SIGMAS], after[SIGMAS];
    int count = at_most(show->mnist, show->count), shown = count < DIGITS ? count : DIGITS, rows = 2 * shown;
    struct ex_grid grid = { .rows = rows };
    diffc_tensor *clean = NULL, *cells = NULL;
    snprintf(title, sizeof title, "Other strengths of noise (trained with sigma = %g)",
             ex_trained_sigma(model));
    grid.title = title;
    label_sigmas(&grid);
    int code = ex_mnist_floats(show->mnist->test_images, 0, count, &clean);
    if (!code && create_like(clean, rows * SIGMAS, show->context, &cells))
        code = ex_failed("picture", DIFFC_ERR_NOMEM);
    for (int k = 0; k < SIGMAS && !code; k++) {
        diffc_tensor *noisy = NULL, *output = NULL;
        code = make_noisy(show, clean, clean, sigmas[k], &noisy);
        if (!code)
            code = predict(show, model, noisy, &output);
        for (int i = 0; i < shown && !code; i++) {
            ex_image_copy(cells, 2 * i * SIGMAS + k, noisy, i);
            ex_image_copy(cells, (2 * i + 1) * SIGMAS + k, output, i);
        }
        if (!code) {
            before[k] = mean_square(noisy, clean);
            after[k] = mean_square(output, clean);
            snprintf(name, sizeof name, "mse_noisy_sigma_%.1f", sigmas[k]);
            ex_metric(metrics, name, before[k]);
            snprintf(name, sizeof name, "mse_output_sigma_%.1f", sigmas[k]);
            ex_metric(metrics, name, after[k]);
        }
        diffc_release(&noisy);
        diffc_release(&output);
    }
    for (int i = 0; i < shown; i++) {
        snprintf(grid.row_label[2 * i], EX_LABEL, "digit %d, noisy", label_of(show->mnist, i));
        snprintf(grid.row_label[2 * i + 1], EX_LABEL, "output");
    }
    grid.images = cells;
    if (!code)
        code = write_grid(show, &grid, "sigmas.png");
    if (!code)
        code = draw_errors(show, before, after, ex_trained_sigma(model));
    diffc_release(&clean);
    diffc_release(&cells);
    return code;
}

/* The mean of the test images, to which the outputs of a pure-noise model must come close. */
static int mean_image(const struct denoise_show *show, diffc_tensor **mean)
{
    int64_t count = diffc_tensor_dim(show->mnist->test_images, 0);
    diffc_tensor *all = NULL;
    int code = ex_mnist_floats(show->mnist->test_images, 0, count, &all);
    if (!code && create_like(all, 1, show->context, mean))
        code = ex_failed("picture", DIFFC_ERR_NOMEM);
    if (!code) {
        int64_t size = diffc_tensor_count(*mean);
        const float *value = diffc_tensor_data(all);
        float *out = diffc_tensor_data(*mean);
        for (int64_t i = 0; i < size; i++) {
            double sum = 0;
            for (int64_t n = 0; n < count; n++)
                sum += value[n * size + i];
            out[i] = (float)(sum / (double)count);
        }
    }
    diffc_release(&all);
    return code;
}

static int show_pure_noise(const struct denoise_show *show, diffc_model *model, json_t *metrics)
{
    enum { SHOWN = 8 };
    struct ex_grid grid = { .title = "One step from pure noise, beside the mean of the test images",
                            .rows = 2,
                            .columns = SHOWN + 1,
                            .column_axis = "sample" };
    diffc_tensor *mean = NULL, *like = NULL, *noise = NULL, *output = NULL, *cells = NULL;
    double distance = 0;
    int code = mean_image(show, &mean);
    if (!code && (create_like(mean, SHOWN, show->context, &like) ||
                  create_like(mean, 2 * (SHOWN + 1), show->context, &cells)))
        code = ex_failed("picture", DIFFC_ERR_NOMEM);
    if (!code)
        code = make_noisy(show, like, NULL, 1, &noise);
    if (!code)
        code = predict(show, model, noise, &output);
    for (int i = 0; i < SHOWN && !code; i++) {
        ex_image_copy(cells, i, noise, i);
        ex_image_copy(cells, SHOWN + 1 + i, output, i);
        diffc_tensor *one = NULL;
        if (diffc_tensor_slice(output, 0, i, 1, 1, &one))
            code = ex_failed("picture", DIFFC_ERR_NOMEM);
        else
            distance += mean_square(one, mean) / SHOWN;
        diffc_release(&one);
        snprintf(grid.column_label[i], EX_LABEL, "%d", i + 1);
    }
    if (!code) {
        ex_image_copy(cells, SHOWN, mean, 0);
        ex_image_copy(cells, 2 * SHOWN + 1, mean, 0);
        snprintf(grid.column_label[SHOWN], EX_LABEL, "mean");
        snprintf(grid.row_label[0], EX_LABEL, "input");
        snprintf(grid.row_label[1], EX_LABEL, "output");
        grid.images = cells;
        ex_metric(metrics, "output_to_mean_rms", sqrt(distance));
        code = write_grid(show, &grid, "pure-noise.png");
    }
    diffc_release(&mean);
    diffc_release(&like);
    diffc_release(&noise);
    diffc_release(&output);
    diffc_release(&cells);
    return code;
}

int denoise_show_model(const struct denoise_show *show, diffc_model *model, json_t *metrics)
{
    if (is_pure_noise(model))
        return show_pure_noise(show, model, metrics);
    int code = draw_steps(show, model, "One-step denoising of test images", "denoised.png");
    return code ? code : show_sigmas(show, model, metrics);
}
