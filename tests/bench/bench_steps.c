/* Whole steps of the course's UNet, and what memory they take. */

#include <diffc/diffc.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "model/session.h"

#define GFLOP_FORWARD_64 \
    0.536 /* of one 28 x 28 image at width 64, by multiply-adds of a direct computation; training takes \
             three times it */

static int read_sample(void *opaque, int64_t index, float *image, int32_t *label)
{
    (void)opaque;
    for (int i = 0; i < 784; i++)
        image[i] = (float)((index * 31 + i) % 97) / 97.0f;
    *label = (int32_t)(index % 10);
    return DIFFC_OK;
}

/* The options of a session or trainer; dtype: of the values, sums are float either way. */
struct arithmetic {
    const char *numerics, *precision, *dtype;
};

diffc_model *bench_unet(struct bench *bench, int width)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    diffc_model *model = NULL;
    options.width = width;
    options.condition = "class";
    options.objective = "ddpm";
    options.train_steps = 300;
    bench_check(diffc_model_create(bench->context, "cs180_unet", &options, &model));
    return model;
}

static int step(void *argument)
{
    return diffc_trainer_step(argument, NULL);
}

static void run_step(void *argument)
{
    bench_check(step(argument));
}

static void bench_training(struct bench *bench, int width, int batch, const struct arithmetic *how)
{
    char name[64], memory_name[64], cancel_name[64];
    snprintf(name, sizeof(name), "mnist_train_d%d_b%d", width, batch);
    snprintf(memory_name, sizeof(memory_name), "memory_train_d%d_b%d", width, batch);
    snprintf(cancel_name, sizeof(cancel_name), "cancel_train_d%d_b%d", width, batch);
    const int wants_time = bench_wants(bench, name), wants_memory = bench_wants(bench, memory_name),
              wants_cancel = strcmp(how->numerics, "default") == 0 && bench_wants(bench, cancel_name);
    if (!wants_time && !wants_memory && !wants_cancel)
        return;
    bench_reset_peak();
    const double before = bench_peak_memory();
    diffc_model *model = bench_unet(bench, width);
    diffc_dataset *dataset = NULL;
    diffc_trainer *trainer = NULL;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    int64_t bytes = 0;
    options.batch = batch;
    options.numerics = how->numerics;
    options.precision = how->precision;
    options.epochs = 1000000;
    bench_check(
        diffc_dataset_from_function(bench->context, 4 * batch, 1, 28, 28, read_sample, NULL, &dataset));
    bench_check(diffc_trainer_bytes(model, dataset, &options, &bytes));
    bench_check(diffc_trainer_create(model, dataset, &options, &trainer));

    struct bench_row row = { .name = name, .numerics = how->numerics, .dtype = how->dtype, .images = batch };
    row.gflop = 3 * GFLOP_FORWARD_64 * batch * (width / 64.0) * (width / 64.0);
    snprintf(row.shape, sizeof(row.shape), "width %d batch %d", width, batch);
    if (wants_time)
        bench_measure(bench, &row, run_step, trainer);
    else
        run_step(trainer);
    if (wants_cancel) {
        const struct bench_row cancel = { .name = cancel_name,
                                          .numerics = how->numerics,
                                          .dtype = how->dtype };
        bench_cancel(bench, &cancel, step, trainer);
    }
    if (wants_memory) {
        row.name = memory_name;
        row.gflop = row.images = 0;
        row.predicted_bytes = (double)bytes + (double)diffc_model_parameter_count(model) * sizeof(float);
        row.measured_bytes = bench_peak_memory() - before;
        bench_report(bench, &row, 0, 0);
    }
    diffc_release(&trainer);
    diffc_release(&dataset);
    diffc_release(&model);
}

struct sampling {
    diffc_model *model;
    diffc_session *session;
    diffc_guide *guide;
    diffc_denoiser denoiser;
    diffc_tensor *x, *out;
    float t[256];
};

static void open_sampling(struct bench *bench, int width, int batch, const struct arithmetic *how,
                          struct sampling *sampling)
{
    const int64_t shape[4] = { batch, 1, 28, 28 };
    const float scale = 5;
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    options.batch = batch;
    options.numerics = how->numerics;
    options.precision = how->precision;
    *sampling = (struct sampling) { .model = bench_unet(bench, width), .denoiser = DIFFC_DENOISER };
    bench_check(diffc_session_create(sampling->model, &options, &sampling->session));
    bench_check(diffc_session_denoiser(sampling->session, &sampling->denoiser));
    bench_check(diffc_guide_create_cfg(bench->context, &scale, 1, &sampling->guide));
    bench_check(diffc_tensor_create(bench->context, DIFFC_F32, 4, shape, &sampling->x));
    bench_check(diffc_tensor_create(bench->context, DIFFC_F32, 4, shape, &sampling->out));
    for (int i = 0; i < batch; i++)
        sampling->t[i] = 150;
}

static void close_sampling(struct sampling *sampling)
{
    diffc_release(&sampling->x);
    diffc_release(&sampling->out);
    diffc_release(&sampling->guide);
    diffc_release(&sampling->session);
    diffc_release(&sampling->model);
}

static void run_guided(void *argument)
{
    struct sampling *sampling = argument;
    bench_check(diffc_guide_predict(sampling->guide, &sampling->denoiser, 0, sampling->t, sampling->x,
                                    sampling->out));
}

/* One guided prediction of a batch of digits; a picture takes 300. */
static void bench_sampling(struct bench *bench, int width, int batch, const struct arithmetic *how)
{
    char name[64];
    snprintf(name, sizeof(name), "mnist_sample_d%d_cfg%d", width, batch);
    if (!bench_wants(bench, name))
        return;
    struct sampling sampling;
    open_sampling(bench, width, batch, how, &sampling);
    struct bench_row row = {
        .name = name, .numerics = how->numerics, .dtype = how->dtype, .images = batch / 300.0
    };
    row.gflop = 2 * GFLOP_FORWARD_64 * batch * (width / 64.0) * (width / 64.0);
    snprintf(row.shape, sizeof(row.shape), "width %d, 1 of 300 steps", width);
    bench_measure(bench, &row, run_guided, &sampling);
    close_sampling(&sampling);
}

void bench_sampling_plan(struct bench *bench, int width, int batch, const char *numerics)
{
    const struct arithmetic how = { numerics, bench->precision, NULL };
    struct sampling sampling;
    open_sampling(bench, width, batch, &how, &sampling);
    run_guided(&sampling);
    char title[128];
    snprintf(title, sizeof(title), "width %d, batch %d, both passes of guidance", width, batch);
    bench_profile(bench, sampling.session->exec, title);
    close_sampling(&sampling);
}

void bench_steps(struct bench *bench)
{
    static const struct arithmetic ways[] = { { "exact", "fp32", "f32" },
                                              { "default", "fp32", "f32" },
                                              { "fast", "fp32", "f32" },
                                              { "default", "bf16", "bf16" },
                                              { "fast", "bf16", "bf16" } };
    for (int i = 0; i < DFI_COUNT(ways); i++) {
        bench_training(bench, 64, 128, &ways[i]);
        bench_training(bench, 64, 8, &ways[i]);
        bench_training(bench, 128, 256, &ways[i]);
        bench_sampling(bench, 64, 40, &ways[i]);
        bench_sampling(bench, 64, 1, &ways[i]);
        bench_sampling(bench, 128, 40, &ways[i]);
    }
}
