#include <stdio.h>
#include <stdlib.h>

#include "cascade.h"

static int write_pictures(const struct ex_cascade *cascade, const struct ex_job *job,
                          const struct ex_stage *stage, const diffc_tensor *images)
{
    char name[160], number[16] = "";
    char *prompt = ex_join_prompts(cascade->studio, job->prompts, job->prompt_count, " | ");
    int code = prompt ? 0 : ex_error(EX_FAILED, job->name, "out of memory");
    for (int k = 0; k < job->count && !code; k++) {
        if (job->count > 1)
            snprintf(number, sizeof number, "-%d", k + 1);
        snprintf(name, sizeof name, "%s%s%s", job->name, number, stage->number == 2 ? "-stage2" : "");
        struct ex_result result = { name, images, k, prompt, stage, k, job->made[stage->number - 1] };
        code = ex_result_write(cascade->studio, &result, json_deep_copy(job->more));
    }
    free(prompt);
    return code;
}

static int run_job(const struct ex_cascade *cascade, struct ex_job *job, struct ex_stage *stage)
{
    diffc_sample_options options = DIFFC_SAMPLE_OPTIONS;
    diffc_tensor **images = &job->images[stage->number - 1];
    int code = ex_stage_steps(stage, job->steps);
    job->made[stage->number - 1] = diffc_sampler_steps(stage->sampler);
    if (!code)
        code = ex_stage_prompts(stage, job->prompts, job->prompt_count);
    options.guide = stage->cfg;
    if (stage->number == 2) {
        options.low = job->images[0];
        options.low_schedule = stage->low_schedule;
        options.low_level = (float)cascade->studio->noise_level;
    }
    if (!code && cascade->arrange)
        code = cascade->arrange(cascade->opaque, stage, job, &options);
    if (!code)
        code = ex_stage_sample(stage, &options, job->count, images);
    ex_stage_drop(stage);
    return code ? code : write_pictures(cascade, job, stage, *images);
}

static int run_stage(const struct ex_cascade *cascade, int number)
{
    struct ex_stage stage;
    int most = 1;
    for (int i = 0; i < cascade->job_count; i++)
        most = cascade->jobs[i].count > most ? cascade->jobs[i].count : most;
    int code = ex_stage_open(cascade->studio, number, most, cascade->sharing ? cascade->sharing : 1, 0, 0,
                             &stage);
    for (int i = 0; i < cascade->job_count && !code; i++)
        code = run_job(cascade, &cascade->jobs[i], &stage);
    ex_stage_close(&stage);
    return code;
}

int ex_cascade_jobs(struct ex_cascade *cascade, int prompts_each, int count, int variants)
{
    const struct ex_studio *studio = cascade->studio;
    int sets = studio->prompts.count / prompts_each;
    if (prompts_each > EX_JOB_PROMPTS || studio->prompts.count % prompts_each)
        return ex_error(EX_USAGE, "--prompt", "%d prompts given, a picture takes %d of at most %d",
                        studio->prompts.count, prompts_each, EX_JOB_PROMPTS);
    cascade->jobs = calloc((size_t)(sets * variants), sizeof *cascade->jobs);
    if (!cascade->jobs)
        return ex_error(EX_FAILED, "pictures", "out of memory");
    cascade->job_count = sets * variants;
    for (int i = 0; i < cascade->job_count; i++) {
        struct ex_job *job = &cascade->jobs[i];
        job->steps = ex_studio_steps(studio);
        job->count = count;
        job->prompt_count = prompts_each;
        for (int k = 0; k < prompts_each; k++)
            job->prompts[k] = i / variants * prompts_each + k;
    }
    return 0;
}

static int check_size(const struct ex_cascade *cascade, int64_t height, int64_t width)
{
    const int64_t shape[4] = { 1, 3, height, width };
    diffc_tensor *picture = NULL, *other = NULL;
    int status = diffc_tensor_create(cascade->studio->context, DIFFC_F32, 4, shape, &picture);
    if (!status)
        status = diffc_tensor_create(cascade->studio->context, DIFFC_F32, 4, shape, &other);
    int code = status ? ex_failed("picture", status) : cascade->fits(cascade->opaque, picture, other);
    diffc_release(&other);
    diffc_release(&picture);
    return code;
}

/* What the configuration of a stage says, without its weights. */
static int check_model(const struct ex_cascade *cascade, const char *folder)
{
    const struct ex_studio *studio = cascade->studio;
    const char *architecture;
    diffc_model *model = NULL;
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    options.without_weights = 1;
    options.variant = studio->variant;
    int status = diffc_model_open(studio->context, folder, &options, &model);
    if (!status)
        status = diffc_model_describe(model, &architecture, &options);
    diffc_release(&model);
    if (status)
        return ex_failed(folder, status);
    return cascade->fits ? check_size(cascade, options.image_height, options.image_width) : 0;
}

static int check_start(const struct ex_cascade *cascade, const struct ex_job *job, int number)
{
    struct ex_stage trial;
    int code = ex_stage_try(cascade->studio, number, job->steps, &trial);
    if (!code && cascade->starts)
        code = cascade->starts(cascade->opaque, &trial, job);
    ex_stage_close(&trial);
    return code;
}

/* What can be wrong is better said now than after an hour of work. */
static int check_all(const struct ex_cascade *cascade)
{
    const int stages = cascade->studio->model2 ? 2 : 1;
    int code = 0;
    for (int i = 0; i < cascade->job_count * stages && !code; i++)
        code = check_start(cascade, &cascade->jobs[i / stages], 1 + i % stages);
    if (!code)
        code = check_model(cascade, cascade->studio->model);
    if (!code && cascade->studio->model2)
        code = check_model(cascade, cascade->studio->model2);
    return code;
}

static void free_jobs(struct ex_cascade *cascade)
{
    for (int i = 0; i < cascade->job_count; i++) {
        json_decref(cascade->jobs[i].more);
        for (int stage = 0; stage < 2; stage++)
            diffc_release(&cascade->jobs[i].images[stage]);
    }
    free(cascade->jobs);
}

int ex_cascade_run(struct ex_cascade *cascade)
{
    int code = ex_studio_open(cascade->studio);
    if (!code)
        code = cascade->plan(cascade->opaque, cascade);
    if (!code)
        code = check_all(cascade);
    if (!code)
        code = ex_studio_encode(cascade->studio);
    if (!code)
        code = run_stage(cascade, 1);
    if (!code && cascade->studio->model2)
        code = run_stage(cascade, 2);
    if (!code)
        code = cascade->show(cascade->opaque, cascade);
    free_jobs(cascade);
    return ex_studio_close(cascade->studio, code);
}
