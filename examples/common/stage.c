#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stage.h"

#define BATCH 4

static const char *folder_of(const struct ex_stage *stage)
{
    return stage->number == 1 ? stage->studio->model : stage->studio->model2;
}

static int is_torch(const struct ex_stage *stage)
{
    return !strcmp(stage->studio->rng, "torch");
}

/* ---- the network ---- */

static int open_session(struct ex_stage *stage, int sharing, int64_t height, int64_t width)
{
    const struct ex_studio *s = stage->studio;
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    options.batch = stage->batch;
    options.conditions = sharing + (stage->guidance != 1);
    options.numerics = s->numerics;
    options.precision = s->precision;
    options.image_height = (int32_t)height;
    options.image_width = (int32_t)width;
    options.text_tokens = s->states ? (int32_t)diffc_tensor_dim(s->states[0], 1) : 0;
    stage->denoiser = (diffc_denoiser)DIFFC_DENOISER;
    int status = diffc_session_create(stage->model, &options, &stage->session);
    if (!status)
        status = diffc_session_denoiser(stage->session, &stage->denoiser);
    const int32_t level = s->noise_level;
    if (!status && stage->number == 2)
        status = diffc_session_set_labels(stage->session, &level, 1);
    return status;
}

static int open_parts(struct ex_stage *stage, int sharing, int64_t height, int64_t width)
{
    const struct ex_studio *s = stage->studio;
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    const char *architecture = "";
    float scale = (float)stage->guidance;
    char path[EX_PATH];
    options.variant = s->variant;
    int status = diffc_model_open(s->context, folder_of(stage), &options, &stage->model);
    if (!status)
        status = diffc_model_describe(stage->model, &architecture, &options);
    if (status)
        return ex_failed(folder_of(stage), status);
    if (strcmp(architecture, "if_unet"))
        return ex_error(EX_FAILED, folder_of(stage), "is a %s, expected a UNet of the DeepFloyd IF family",
                        architecture);
    stage->channels = options.image_channels;
    stage->height = height ? height : options.image_height;
    stage->width = height ? width : options.image_width;
    status = open_session(stage, sharing, stage->height, stage->width);
    if (!status)
        status = diffc_guide_create_cfg(s->context, &scale, 1, &stage->cfg);
    ex_path(path, folder_of(stage), "image_noising_scheduler");
    if (!status && stage->number == 2 && ex_exists(path))
        status = diffc_schedule_open(s->context, path, &stage->low_schedule);
    return status ? ex_failed(folder_of(stage), status) : 0;
}

int ex_stage_open(struct ex_studio *studio, int number, int count, int sharing, int64_t height, int64_t width,
                  struct ex_stage *stage)
{
    double began = ex_seconds();
    int code = 0;
    *stage = (struct ex_stage) { .studio = studio, .number = number };
    stage->guidance = number == 1 ? studio->guidance : studio->guidance2;
    /* A large picture keeps the threads busy alone. */
    stage->batch = is_torch(stage) || number == 2 ? 1 : count < BATCH ? count : BATCH;
    if (!studio->no_text) /* before the weights are in memory: it maps them */
        code = ex_model_hash(studio->context, folder_of(stage), studio->variant, stage->hash);
    if (!code)
        code = open_parts(stage, sharing, height, width);
    stage->load_seconds = ex_seconds() - began;
    return code;
}

void ex_stage_close(struct ex_stage *stage)
{
    if (stage->steps_made) {
        json_t *metrics = stage->studio->metrics;
        char name[48];
        snprintf(name, sizeof name, "seconds_load_stage%d", stage->number);
        ex_metric(metrics, name, stage->load_seconds);
        snprintf(name, sizeof name, "seconds_stage%d", stage->number);
        ex_metric(metrics, name, stage->sample_seconds);
        snprintf(name, sizeof name, "seconds_per_step_stage%d", stage->number);
        ex_metric(metrics, name, stage->sample_seconds / (double)stage->steps_made);
    }
    diffc_release(&stage->cfg);
    diffc_release(&stage->low_schedule);
    diffc_release(&stage->sampler);
    diffc_release(&stage->session);
    diffc_release(&stage->model);
}

int ex_stage_prompts(struct ex_stage *stage, const int *prompts, int count)
{
    const struct ex_studio *s = stage->studio;
    int status = 0;
    for (int i = 0; i < count && !status; i++)
        status = diffc_session_set_text(stage->session, i, ex_studio_states(s, prompts[i]));
    if (!status && stage->guidance != 1)
        status = diffc_session_set_text(stage->session, DIFFC_UNCONDITIONAL,
                                        ex_studio_states(s, EX_NEGATIVE));
    return status ? ex_failed("prompt", status) : 0;
}

/* ---- the timesteps ---- */

int ex_read_timesteps(const char *text, float *values, int most)
{
    int count = 0;
    if ((*text < '0' || *text > '9') && !strchr(text, ','))
        return 0;
    for (const char *at = text;; at++) {
        char *end;
        if (count == most)
            return -1;
        values[count++] = strtof(at, &end);
        if (end == at || (*end && *end != ','))
            return -1;
        if (!*end)
            return count;
        at = end;
    }
}

static int make_sampler(struct ex_stage *stage, diffc_sampler_options *options)
{
    const struct ex_studio *s = stage->studio;
    char path[EX_PATH];
    diffc_schedule *schedule = NULL;
    ex_path(path, folder_of(stage), "scheduler");
    diffc_release(&stage->sampler);
    if (stage->number == 2 || !strcmp(s->loop, "pipeline")) {
        options->step = s->step;
        return diffc_sampler_open(s->context, path, options, &stage->sampler);
    }
    options->step = "ddpm";
    options->variance = stage->denoiser.out_channels > stage->channels ? "learned_range" : "fixed_small";
    int status = diffc_schedule_open(s->context, path, &schedule);
    if (!status)
        status = diffc_sampler_create(schedule, options, &stage->sampler);
    diffc_release(&schedule);
    return status;
}

int ex_stage_steps(struct ex_stage *stage, int steps)
{
    const char *list = stage->number == 1 ? stage->studio->timesteps : NULL;
    int course = stage->number == 1 && !strcmp(stage->studio->loop, "course");
    float values[1000];
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    options.steps = steps;
    if (list) {
        options.timestep_count = ex_read_timesteps(list, values, 1000);
        if (options.timestep_count < 0)
            return ex_error(EX_USAGE, "--timesteps", "\"%s\" is not a list of at most 1000 numbers", list);
        if (options.timestep_count && stage->studio->steps.count > 1)
            return ex_error(EX_USAGE, "--steps",
                            "one number, please: with a list of --timesteps it is stage II's");
        options.timesteps = options.timestep_count ? values : NULL;
        options.spacing = options.timestep_count ? NULL : list;
        options.steps = options.timestep_count ? 0 : steps;
    } else if (course) {
        options.spacing = "strided";
        options.steps = steps ? steps : 34;
    }
    int status = make_sampler(stage, &options);
    if (status == DIFFC_ERR_CONFIG && list)
        return ex_error(EX_USAGE, "--timesteps", "%s", diffc_message());
    if (status == DIFFC_ERR_ARG && (list || stage->studio->step))
        return ex_error(EX_USAGE, list ? "--timesteps" : "--step", "%s", diffc_message());
    if (status)
        return ex_failed("scheduler", status);
    stage->steps = diffc_sampler_steps(stage->sampler) - course;
    return stage->steps > 0 ? 0
                            : ex_error(EX_USAGE, list ? "--timesteps" : "--steps",
                                       "the course's loop needs two timesteps");
}

int ex_stage_try(struct ex_studio *studio, int number, int steps, struct ex_stage *trial)
{
    *trial = (struct ex_stage) { .studio = studio, .number = number };
    return ex_stage_steps(trial, steps);
}

/* ---- the loop ---- */

uint64_t ex_stage_seed(const struct ex_stage *stage, int k)
{
    return stage->studio->seed + (is_torch(stage) ? (uint64_t)k : 0);
}

int ex_stage_stream(const struct ex_stage *stage, int k)
{
    return is_torch(stage) ? 0 : k;
}

static int predict(struct ex_stage *stage, float t, const diffc_tensor *x, diffc_tensor **prediction)
{
    const int64_t shape[4] = { 1, stage->denoiser.out_channels, stage->height, stage->width };
    double began = ex_seconds();
    int status = diffc_tensor_create(stage->studio->context, DIFFC_F32, 4, shape, prediction);
    if (!status)
        status = diffc_guide_predict(stage->cfg, &stage->denoiser, 0, &t, x, *prediction);
    stage->sample_seconds += ex_seconds() - began;
    stage->steps_made++;
    return status;
}

int ex_stage_estimate(struct ex_stage *stage, float t, double alpha_bar, const diffc_tensor *x,
                      diffc_tensor **x0)
{
    const float signal = (float)sqrt(alpha_bar), noise = (float)sqrt(1 - alpha_bar);
    diffc_tensor *prediction = NULL, *made = NULL;
    int status = predict(stage, t, x, &prediction);
    if (!status)
        status = ex_stage_tensor(stage, 1, &made);
    if (status) {
        diffc_release(&prediction);
        return ex_failed("estimate", status);
    }
    /* The first channels of the prediction are the noise, those behind them its variance. */
    const float *from = diffc_tensor_data(x), *eps = diffc_tensor_data(prediction);
    float *to = diffc_tensor_data(made);
    for (int64_t i = 0; i < diffc_tensor_count(made); i++)
        to[i] = (from[i] - noise * eps[i]) / signal;
    diffc_release(&prediction);
    *x0 = made;
    return 0;
}

void ex_stage_keep(struct ex_stage *stage, void *handle)
{
    stage->kept[stage->kept_count++] = handle;
}

void ex_stage_drop(struct ex_stage *stage)
{
    while (stage->kept_count)
        diffc_release(&stage->kept[--stage->kept_count]);
}

int ex_stage_tensor(const struct ex_stage *stage, int64_t count, diffc_tensor **tensor)
{
    const int64_t shape[4] = { count, stage->channels, stage->height, stage->width };
    return diffc_tensor_create(stage->studio->context, DIFFC_F32, 4, shape, tensor);
}

static int after_step(void *opaque, const diffc_sample_step *step)
{
    struct ex_stage *stage = opaque;
    ex_progress_show(&stage->bar, stage->bar_before + step->step + 1 - stage->bar_begin, "");
    if (ex_stopped())
        return 1;
    return stage->watch ? stage->watch(stage->watch_opaque, step) : 0;
}

/* Pictures first .. first + options->batch - 1. */
static int sample_some(struct ex_stage *stage, diffc_sample_options *options, int first, diffc_tensor *images)
{
    diffc_generator *own = NULL;
    diffc_tensor *some = NULL, *place = NULL;
    int status = 0;
    options->seed = stage->studio->seed;
    options->first_sample = (uint64_t)first;
    if (is_torch(stage) && !options->generator) {
        status = diffc_generator_create(stage->studio->context, ex_stage_seed(stage, first), &own);
        options->generator = own;
    }
    if (!status)
        status = diffc_sample(stage->sampler, &stage->denoiser, options, &some);
    if (own) {
        options->generator = NULL;
        diffc_release(&own);
    }
    if (!status)
        status = diffc_tensor_slice(images, 0, first, options->batch, 1, &place);
    if (!status)
        status = diffc_tensor_copy(some, place);
    diffc_release(&place);
    diffc_release(&some);
    return status;
}

/* What stage II is shown: the picture of the same number. */
static int show_low(const diffc_tensor *all, int first, int count, diffc_tensor **low)
{
    return all ? diffc_tensor_slice(all, 0, diffc_tensor_dim(all, 0) == 1 ? 0 : first, count, 1, low) : 0;
}

static int sample_all(struct ex_stage *stage, diffc_sample_options *options, int count, diffc_tensor *images)
{
    const diffc_tensor *low = options->low;
    int status = 0, made = stage->steps - options->first_step;
    for (int first = 0; first < count && !status; first += stage->batch) {
        diffc_tensor *part = NULL;
        options->batch = count - first < stage->batch ? count - first : stage->batch;
        status = show_low(low, first, (int)options->batch, &part);
        options->low = part;
        if (!status)
            status = sample_some(stage, options, first, images);
        stage->bar_before += made;
        diffc_release(&part);
    }
    return status;
}

int ex_stage_sample(struct ex_stage *stage, const diffc_sample_options *options, int count,
                    diffc_tensor **images)
{
    diffc_sample_options all = *options;
    diffc_tensor *made = NULL;
    int64_t steps = stage->steps - options->first_step, batches = (count + stage->batch - 1) / stage->batch;
    all.channels = stage->channels;
    all.height = stage->height;
    all.width = stage->width;
    all.guide = options->guide ? options->guide : stage->cfg;
    all.stop_step = stage->steps;
    all.progress = after_step;
    all.progress_opaque = stage;
    stage->bar = (struct ex_progress) { .label = stage->number == 1 ? "stage I" : "stage II",
                                        .unit = "steps/s",
                                        .per_step = 1,
                                        .total = steps * batches,
                                        .quiet = stage->studio->quiet };
    stage->bar_before = 0;
    stage->bar_begin = options->first_step;
    ex_progress_start(&stage->bar, 0);
    double began = ex_seconds();
    int status = ex_stage_tensor(stage, count, &made);
    if (!status)
        status = sample_all(stage, &all, count, made);
    ex_progress_end(&stage->bar);
    stage->sample_seconds += ex_seconds() - began;
    stage->steps_made += steps * count;
    if (status) {
        diffc_release(&made);
        return ex_failed(stage->bar.label, status);
    }
    *images = made;
    return 0;
}
