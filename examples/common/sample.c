#include <stdio.h>
#include <string.h>

#include "models.h"
#include "progress.h"
#include "ranks.h"
#include "sample.h"

struct loop { /* what the progress callback works on */
    struct ex_sampling *sampling;
    struct ex_progress bar;
    int64_t begin, end; /* of the images that this rank makes */
    int chunk, steps;
};

static int make_sampler(const struct ex_sampling *sampling, const diffc_model_options *model,
                        diffc_sampler **sampler)
{
    diffc_schedule *schedule = NULL;
    diffc_schedule_options schedule_options = DIFFC_SCHEDULE_OPTIONS;
    diffc_sampler_options options = DIFFC_SAMPLER_OPTIONS;
    int flow = ex_is_flow(sampling->model);
    if (flow) {
        options.step = "flow_euler";
        options.steps = sampling->steps > 0 ? sampling->steps : 50;
    } else {
        schedule_options.train_steps = model->train_steps;
        options.step = "ddpm";
        options.variance = "fixed_large";
        if (sampling->steps > 0 && sampling->steps < model->train_steps) {
            options.spacing = "linspace";
            options.steps = sampling->steps;
        }
        if (sampling->clip) {
            options.clip_low = 0.0f;
            options.clip_high = 1.0f;
        }
    }
    int status = diffc_schedule_create(sampling->context, flow ? "flow" : "linear", &schedule_options,
                                       &schedule);
    if (!status)
        status = diffc_sampler_create(schedule, &options, sampler);
    diffc_release(&schedule);
    return status;
}

/* Images first .. of a tensor of all. */
static int put_images(diffc_tensor *all, int64_t first, const diffc_tensor *images)
{
    diffc_tensor *place = NULL;
    int status = diffc_tensor_slice(all, 0, first, diffc_tensor_dim(images, 0), 1, &place);
    if (!status)
        status = diffc_tensor_copy(images, place);
    diffc_release(&place);
    return status;
}

static int make_images(const struct ex_sampling *sampling, const diffc_tensor *like, diffc_tensor **all)
{
    int64_t shape[4] = { sampling->count, diffc_tensor_dim(like, 1), diffc_tensor_dim(like, 2),
                         diffc_tensor_dim(like, 3) };
    return diffc_tensor_create(sampling->context, DIFFC_F32, 4, shape, all);
}

static int keep_frame(struct ex_sampling *sampling, int64_t first, const diffc_sample_step *step)
{
    int wanted = sampling->frames < EX_FRAMES ? sampling->frames : EX_FRAMES, made = step->step + 1;
    if (wanted <= 0 || sampling->count > EX_SAMPLE_BATCH || sampling->frame_count >= wanted)
        return 0;
    if (made * wanted / step->steps <= sampling->frame_count && made < step->steps)
        return 0;
    diffc_tensor **frame = &sampling->frame[sampling->frame_count];
    int status = make_images(sampling, step->x, frame);
    if (!status)
        status = put_images(*frame, first, step->x);
    if (!status)
        sampling->frame_time[sampling->frame_count++] = step->timestep;
    return status;
}

static int after_step(void *opaque, const diffc_sample_step *step)
{
    struct loop *loop = opaque;
    ex_progress_show(&loop->bar, (int64_t)loop->chunk * loop->steps + step->step + 1, "");
    if (ex_stopped())
        return 1;
    return keep_frame(loop->sampling, loop->begin, step);
}

/* Images first .. first + count - 1 into the result. */
static int sample_chunk(struct loop *loop, diffc_sampler *sampler, diffc_session *session, diffc_guide *guide,
                        const diffc_model_options *model, int64_t first, int64_t count)
{
    struct ex_sampling *sampling = loop->sampling;
    diffc_denoiser denoiser = DIFFC_DENOISER;
    diffc_sample_options options = DIFFC_SAMPLE_OPTIONS;
    diffc_tensor *images = NULL;
    options.batch = count;
    options.channels = model->image_channels;
    options.height = model->image_height;
    options.width = model->image_width;
    options.seed = sampling->seed;
    options.first_sample = (uint64_t)first;
    options.guide = guide;
    options.progress = after_step;
    options.progress_opaque = loop;
    int status = diffc_session_denoiser(session, &denoiser);
    if (!status && sampling->labels)
        status = diffc_session_set_labels(session, sampling->labels + first, (int)count);
    if (!status)
        status = diffc_sample(sampler, &denoiser, &options, &images);
    if (!status)
        status = put_images(sampling->images, first, images);
    diffc_release(&images);
    return status;
}

static int sample_all(struct loop *loop, diffc_sampler *sampler, const diffc_model_options *model)
{
    struct ex_sampling *sampling = loop->sampling;
    diffc_session *session = NULL;
    diffc_guide *guide = NULL;
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    int64_t shape[4] = { sampling->count, model->image_channels, model->image_height, model->image_width };
    float scale = (float)sampling->guidance;
    int64_t share = loop->end - loop->begin;
    options.batch = share < EX_SAMPLE_BATCH ? (int32_t)share : EX_SAMPLE_BATCH;
    options.numerics = sampling->numerics;
    options.precision = sampling->precision;
    int status = share ? diffc_session_create(sampling->model, &options, &session) : 0;
    if (!status && sampling->labels)
        status = diffc_guide_create_cfg(sampling->context, &scale, 1, &guide);
    if (!status)
        status = diffc_tensor_create(sampling->context, DIFFC_F32, 4, shape, &sampling->images);
    for (int64_t first = loop->begin; first < loop->end && !status; first += options.batch, loop->chunk++) {
        int64_t rest = loop->end - first;
        status = sample_chunk(loop, sampler, session, guide, model, first,
                              rest < options.batch ? rest : options.batch);
    }
    diffc_release(&guide);
    diffc_release(&session);
    return status;
}

/* The images of all ranks to rank 0. Frames are kept at the same steps by all who have images. */
static int gather(struct ex_sampling *sampling)
{
    size_t bytes = (size_t)(diffc_tensor_count(sampling->images) / sampling->count) * sizeof(float);
    int code = ex_ranks_gather(diffc_tensor_data(sampling->images), bytes, sampling->count);
    for (int i = 0; i < sampling->frame_count && !code; i++)
        code = ex_ranks_gather(diffc_tensor_data(sampling->frame[i]), bytes, sampling->count);
    return code;
}

int ex_sample(struct ex_sampling *sampling)
{
    diffc_sampler *sampler = NULL;
    diffc_model_options model = DIFFC_MODEL_OPTIONS;
    const char *architecture;
    int status = diffc_model_describe(sampling->model, &architecture, &model);
    if (!status && !ex_is_flow(sampling->model) && model.train_steps > 0 &&
        sampling->steps > model.train_steps)
        return ex_error(EX_FAILED, "--timesteps", "%d, but the model knows %d", sampling->steps,
                        model.train_steps);
    if (!status)
        status = make_sampler(sampling, &model, &sampler);
    if (!status) {
        int steps = diffc_sampler_steps(sampler);
        struct loop loop = { .sampling = sampling, .steps = steps };
        loop.begin = ex_ranks_first(sampling->count, ex_ranks()->rank);
        loop.end = ex_ranks_first(sampling->count, ex_ranks()->rank + 1);
        int64_t chunks = (loop.end - loop.begin + EX_SAMPLE_BATCH - 1) / EX_SAMPLE_BATCH;
        loop.bar = (struct ex_progress) { .label = sampling->label,
                                          .unit = "steps/s",
                                          .per_step = 1,
                                          .total = chunks * steps,
                                          .quiet = sampling->quiet };
        ex_progress_start(&loop.bar, 0);
        status = sample_all(&loop, sampler, &model);
        ex_progress_end(&loop.bar);
    }
    diffc_release(&sampler);
    int code = ex_ranks_agree(status ? ex_failed(sampling->label, status) : 0);
    if (!code)
        code = gather(sampling);
    if (code)
        ex_sample_free(sampling);
    return code;
}

void ex_sample_free(struct ex_sampling *sampling)
{
    diffc_release(&sampling->images);
    for (int i = 0; i < sampling->frame_count; i++)
        diffc_release(&sampling->frame[i]);
    sampling->frame_count = 0;
}
