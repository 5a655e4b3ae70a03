#include <diffc/rng.h>
#include <diffc/tensor.h>
#include <string.h>

#include "base/random.h"
#include "pipe/pipe.h"
#include "tensor/tensor.h"

struct loop {
    struct diffc_context *context;
    diffc_sampler *sampler;
    const diffc_denoiser *denoiser;
    const diffc_sample_options *options;
    int stop; /* steps before it are made */
    int64_t shape[4];
    int64_t values;       /* of one sample */
    diffc_tensor *x;      /* the pictures, step by step */
    diffc_tensor *scaled; /* as the network sees them */
    diffc_tensor *output, *x0;
    diffc_tensor *noise, **samples; /* samples[k]: view of sample k of noise */
    float *t;                       /* [N], all the same */
};

static int check_start(const diffc_sample_options *options, int64_t shape[4])
{
    const int64_t asked[4] = { options->batch, options->channels, options->height, options->width };
    static const char *const names[4] = { "batch", "channels", "height", "width" };
    static const int64_t any[4] = { -1, -1, -1, -1 };
    DFI_TRY(dfi_tensor_expect(options->start, "options.start", 4, any));
    for (int i = 0; i < 4; i++) {
        shape[i] = diffc_tensor_dim(options->start, i);
        if (asked[i] != 0 && asked[i] != shape[i])
            return dfi_fail(DIFFC_ERR_CONFIG, "options.%s is %lld, but that of options.start is %lld",
                            names[i], (long long)asked[i], (long long)shape[i]);
    }
    return DIFFC_OK;
}

static int choose_shape(struct loop *loop)
{
    const diffc_sample_options *options = loop->options;
    const int64_t limit = loop->context->limits.batch;
    int64_t *shape = loop->shape;
    if (options->start)
        DFI_TRY(check_start(options, shape));
    else
        memcpy(shape,
               (int64_t[4]) { options->batch ? options->batch : 1, options->channels, options->height,
                              options->width },
               sizeof(loop->shape));
    for (int i = 0; i < 4; i++)
        if (shape[i] < 1)
            return dfi_fail(
                DIFFC_ERR_ARG, "the pictures are [%lld, %lld, %lld, %lld], no size may be below 1",
                (long long)shape[0], (long long)shape[1], (long long)shape[2], (long long)shape[3]);
    if (shape[0] > limit)
        return dfi_fail(DIFFC_ERR_LIMIT, "options.batch is %lld, the limit is %lld", (long long)shape[0],
                        (long long)limit);
    if (options->first_sample > (UINT64_C(1) << 48) - (uint64_t)shape[0])
        return dfi_fail(DIFFC_ERR_ARG, "options.first_sample is %llu, samples are numbered below 2^48",
                        (unsigned long long)options->first_sample);
    return DIFFC_OK;
}

static int check_options(struct loop *loop)
{
    const int steps = diffc_sampler_steps(loop->sampler), stop = loop->options->stop_step;
    if (loop->options->first_step < 0 || loop->options->first_step >= steps)
        return dfi_fail(DIFFC_ERR_ARG, "options.first_step is %d, must be 0 to %d",
                        (int)loop->options->first_step, steps - 1);
    if (stop != 0 && (stop <= loop->options->first_step || stop > steps))
        return dfi_fail(DIFFC_ERR_ARG,
                        "options.stop_step is %d, must be above first_step = %d and at most %d, or 0", stop,
                        (int)loop->options->first_step, steps);
    loop->stop = stop != 0 ? stop : steps;
    return choose_shape(loop);
}

/* Whether any number is drawn at all. */
static int is_random(const struct loop *loop)
{
    int random = !loop->options->start;
    for (int i = loop->options->first_step; i < loop->stop; i++)
        random |= diffc_sampler_needs_noise(loop->sampler, i);
    return random;
}

static int create_noise(struct loop *loop)
{
    DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, loop->shape, &loop->noise));
    loop->samples = dfi_calloc(loop->context, (size_t)loop->shape[0], sizeof(*loop->samples));
    if (!loop->samples)
        return DIFFC_ERR_NOMEM;
    for (int64_t k = 0; k < loop->shape[0]; k++)
        DFI_TRY(diffc_tensor_slice(loop->noise, 0, k, 1, 1, &loop->samples[k]));
    return DIFFC_OK;
}

static int create(struct loop *loop)
{
    struct diffc_context *context = loop->context;
    int64_t shape[4];
    memcpy(shape, loop->shape, sizeof(shape));
    DFI_TRY(diffc_tensor_create(context, DIFFC_F32, 4, shape, &loop->x));
    DFI_TRY(diffc_tensor_create(context, DIFFC_F32, 4, shape, &loop->scaled));
    if (loop->options->progress)
        DFI_TRY(diffc_tensor_create(context, DIFFC_F32, 4, shape, &loop->x0));
    if (is_random(loop))
        DFI_TRY(create_noise(loop));
    if (loop->denoiser->out_channels > 0)
        shape[1] = loop->denoiser->out_channels;
    DFI_TRY(diffc_tensor_create(context, DIFFC_F32, 4, shape, &loop->output));
    loop->t = dfi_alloc(context, (size_t)shape[0] * sizeof(*loop->t));
    if (!loop->t)
        return DIFFC_ERR_NOMEM;
    loop->values = diffc_tensor_count(loop->x) / shape[0];
    return DIFFC_OK;
}

static void destroy(struct loop *loop)
{
    for (int64_t k = 0; loop->samples && k < loop->shape[0]; k++)
        diffc_release(&loop->samples[k]);
    dfi_free(loop->context, loop->samples);
    dfi_free(loop->context, loop->t);
    diffc_release(&loop->noise);
    diffc_release(&loop->x0);
    diffc_release(&loop->output);
    diffc_release(&loop->scaled);
    diffc_release(&loop->x);
}

/* Each sample has a stream of its own, whatever the batch it is in. */
static int draw(struct loop *loop, enum dfi_stream purpose, int step)
{
    for (int64_t k = 0; k < loop->shape[0]; k++) {
        const uint64_t stream = dfi_stream(purpose, loop->options->first_sample + (uint64_t)k);
        DFI_TRY(diffc_rng_normal(loop->samples[k], loop->options->seed, stream,
                                 (uint64_t)step * (uint64_t)loop->values));
    }
    return DIFFC_OK;
}

static int start(struct loop *loop)
{
    if (loop->options->start)
        return diffc_tensor_copy(loop->options->start, loop->x);
    DFI_TRY(draw(loop, DFI_STREAM_SAMPLE_START, 0));
    const float sigma = diffc_sampler_initial_sigma(loop->sampler);
    const float *noise = diffc_tensor_data(loop->noise);
    float *x = diffc_tensor_data(loop->x);
    for (int64_t i = 0; i < loop->shape[0] * loop->values; i++)
        x[i] = sigma * noise[i];
    return DIFFC_OK;
}

static int check_finite(const struct loop *loop, int step, const diffc_tensor *tensor, const char *what)
{
    const float *values = diffc_tensor_data(tensor);
    const int64_t count = diffc_tensor_count(tensor);
    int64_t bad = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        bad += (bits & 0x7f800000u) == 0x7f800000u;
    }
    if (bad == 0)
        return DIFFC_OK;
    return dfi_fail(
        DIFFC_ERR_NONFINITE, "step %d (timestep %g): %s has %lld values of %lld that are NaN or infinite",
        step, (double)diffc_sampler_timestep(loop->sampler, step), what, (long long)bad, (long long)count);
}

static int report(struct loop *loop, int step)
{
    if (!loop->options->progress)
        return DIFFC_OK;
    const diffc_sample_step seen = {
        .struct_size = sizeof(seen),
        .step = step,
        .steps = diffc_sampler_steps(loop->sampler),
        .timestep = diffc_sampler_timestep(loop->sampler, step),
        .x = loop->x,
        .output = loop->output,
        .x0 = loop->x0,
    };
    const int answer = loop->options->progress(loop->options->progress_opaque, &seen);
    if (answer != 0)
        return dfi_fail(DIFFC_ERR_CANCELLED, "the progress callback returned %d after step %d", answer, step);
    return DIFFC_OK;
}

static int advance(struct loop *loop, int step)
{
    diffc_sampler *sampler = loop->sampler;
    const int noisy = diffc_sampler_needs_noise(sampler, step);
    for (int64_t k = 0; k < loop->shape[0]; k++)
        loop->t[k] = diffc_sampler_timestep(sampler, step);
    DFI_TRY(diffc_sampler_scale_input(sampler, step, loop->x, loop->scaled));
    DFI_TRY(
        diffc_guide_predict(loop->options->guide, loop->denoiser, step, loop->t, loop->scaled, loop->output));
    DFI_TRY(check_finite(loop, step, loop->output, "the prediction"));
    if (noisy)
        DFI_TRY(draw(loop, DFI_STREAM_SAMPLE_STEP, step));
    DFI_TRY(diffc_sampler_step(sampler, step, loop->output, noisy ? loop->noise : NULL, loop->x, loop->x0));
    DFI_TRY(check_finite(loop, step, loop->x, "x"));
    return report(loop, step);
}

static int run(struct loop *loop)
{
    DFI_TRY(check_options(loop));
    DFI_TRY(create(loop));
    DFI_TRY(start(loop));
    DFI_TRY(diffc_sampler_begin(loop->sampler, loop->options->first_step));
    for (int step = loop->options->first_step; step < loop->stop; step++) {
        DFI_TRY(dfi_cancel_take(loop->context));
        DFI_TRY(advance(loop, step));
    }
    return dfi_cancel_take(loop->context);
}

int dfi_sample(struct diffc_context *context, diffc_sampler *sampler, const diffc_denoiser *denoiser,
               const diffc_sample_options *options, diffc_tensor **images)
{
    struct loop loop = { .context = context, .sampler = sampler, .denoiser = denoiser, .options = options };
    const int status = run(&loop);
    if (status == DIFFC_OK) {
        *images = loop.x;
        loop.x = NULL;
    }
    destroy(&loop);
    return status;
}
