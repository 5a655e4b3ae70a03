#include <string.h>

#include "pipe/loop.h"
#include "pipe/pipe.h"

static const struct dfi_entry mask_rules[] = {
    /* in the order of enum dfi_mask_rule */
    { "renoise", "outside, the picture noised to the timestep just reached (the course)" },
    { "clean", "outside, the picture itself throughout (diffusers)" },
};

const struct dfi_entry *dfi_mask_entry(int index)
{
    return index >= 0 && index < DFI_COUNT(mask_rules) ? &mask_rules[index] : NULL;
}

/* ---- checks ---- */

static int check_plain(const diffc_tensor *tensor, const char *name)
{
    if (diffc_tensor_dtype(tensor) == DIFFC_F32 && diffc_tensor_ndim(tensor) == 4 &&
        diffc_tensor_is_contiguous(tensor))
        return DIFFC_OK;
    return dfi_fail(DIFFC_ERR_ARG, "options.%s must be F32 [N, C, H, W], contiguous", name);
}

/* The pictures have the sizes that the options name, or else those of the first tensor given. */
static int take_shape(struct dfi_loop *loop)
{
    const diffc_sample_options *options = loop->options;
    const diffc_tensor *const tensors[4] = { options->start, options->image, options->known,
                                             options->reference };
    static const char *const names[4] = { "start", "image", "known", "reference" };
    for (int i = 0; i < 4; i++) {
        if (!tensors[i])
            continue;
        DFI_TRY(check_plain(tensors[i], names[i]));
        for (int axis = 0; axis < 4; axis++)
            if (loop->shape[axis] == 0)
                loop->shape[axis] = diffc_tensor_dim(tensors[i], axis);
    }
    if (options->low) {
        DFI_TRY(check_plain(options->low, "low"));
        loop->shape[0] = loop->shape[0] ? loop->shape[0] : diffc_tensor_dim(options->low, 0);
    }
    loop->shape[0] = loop->shape[0] ? loop->shape[0] : 1;
    return DIFFC_OK;
}

static int check_shape(const struct dfi_loop *loop)
{
    const int64_t limit = loop->context->limits.batch, *shape = loop->shape;
    for (int i = 0; i < 4; i++)
        if (shape[i] < 1)
            return dfi_fail(
                DIFFC_ERR_ARG, "the pictures are [%lld, %lld, %lld, %lld], no size may be below 1",
                (long long)shape[0], (long long)shape[1], (long long)shape[2], (long long)shape[3]);
    if (shape[0] > limit)
        return dfi_fail(DIFFC_ERR_LIMIT, "options.batch is %lld, the limit is %lld", (long long)shape[0],
                        (long long)limit);
    if (loop->options->first_sample > (UINT64_C(1) << 48) - (uint64_t)shape[0])
        return dfi_fail(DIFFC_ERR_ARG, "options.first_sample is %llu, samples are numbered below 2^48",
                        (unsigned long long)loop->options->first_sample);
    return DIFFC_OK;
}

/* A tensor of the pictures' sizes; one sample, or one channel where `broadcast` says so, stands for all. */
static int check_fits(const struct dfi_loop *loop, const diffc_tensor *tensor, const char *name,
                      const int broadcast[4])
{
    static const char *const axes[4] = { "batch", "channels", "height", "width" };
    if (!tensor)
        return DIFFC_OK;
    DFI_TRY(check_plain(tensor, name));
    for (int i = 0; i < 4; i++) {
        const int64_t size = diffc_tensor_dim(tensor, i);
        if (size != loop->shape[i] && !(broadcast[i] && size == 1))
            return dfi_fail(DIFFC_ERR_CONFIG, "options.%s is %lld, but that of options.%s is %lld", axes[i],
                            (long long)loop->shape[i], name, (long long)size);
    }
    return DIFFC_OK;
}

/* The low-resolution picture has sizes of its own. */
static int check_low(const struct dfi_loop *loop)
{
    const diffc_tensor *low = loop->options->low;
    if (!low)
        return DIFFC_OK;
    const int64_t samples = diffc_tensor_dim(low, 0), channels = diffc_tensor_dim(low, 1);
    if (diffc_tensor_count(low) == 0 || (samples != 1 && samples != loop->shape[0]) ||
        channels != loop->shape[1])
        return dfi_fail(
            DIFFC_ERR_CONFIG, "options.low has %lld samples of %lld channels, the pictures are %lld of %lld",
            (long long)samples, (long long)channels, (long long)loop->shape[0], (long long)loop->shape[1]);
    return DIFFC_OK;
}

static int check_tensors(const struct dfi_loop *loop)
{
    static const int all[4] = { 0, 0, 0, 0 }, one[4] = { 1, 0, 0, 0 }, plane[4] = { 1, 1, 0, 0 };
    const diffc_sample_options *options = loop->options;
    DFI_TRY(check_fits(loop, options->start, "start", all));
    DFI_TRY(check_fits(loop, options->image, "image", one));
    DFI_TRY(check_fits(loop, options->known, "known", one));
    DFI_TRY(check_fits(loop, options->reference, "reference", one));
    DFI_TRY(check_fits(loop, options->mask, "mask", plane));
    return check_low(loop);
}

static int check_mask(struct dfi_loop *loop)
{
    const diffc_sample_options *options = loop->options;
    const char *name = options->mask_rule ? options->mask_rule : mask_rules[0].name;
    const struct dfi_entry *rule = dfi_registry_find(mask_rules, sizeof(*rule), DFI_COUNT(mask_rules),
                                                     "mask rule", name);
    if (!rule)
        return DIFFC_ERR_ARG;
    loop->mask_rule = (enum dfi_mask_rule)(rule - mask_rules);
    if (!options->mask != !options->known)
        return dfi_fail(DIFFC_ERR_CONFIG, "options.mask and options.known need each other");
    if (!options->mask)
        return options->mask_rule ? dfi_fail(DIFFC_ERR_CONFIG, "options.mask_rule without options.mask")
                                  : DIFFC_OK;
    const float *values = diffc_tensor_data(options->mask);
    for (int64_t i = 0, n = diffc_tensor_count(options->mask); i < n; i++)
        if (!(values[i] >= 0 && values[i] <= 1))
            return dfi_fail(DIFFC_ERR_ARG, "options.mask has the value %g at %lld, must be 0 to 1",
                            (double)values[i], (long long)i);
    return DIFFC_OK;
}

static int check_parts(struct dfi_loop *loop)
{
    const diffc_sample_options *options = loop->options;
    if (options->start && options->image)
        return dfi_fail(DIFFC_ERR_CONFIG, "options.start and options.image exclude each other");
    DFI_TRY(check_mask(loop));
    if (!options->reference != !options->factorization)
        return dfi_fail(DIFFC_ERR_CONFIG, "options.reference and options.factorization need each other");
    if (options->factorization &&
        (options->component < 0 || options->component >= diffc_factorization_count(options->factorization)))
        return dfi_fail(DIFFC_ERR_ARG, "options.component is %d, must be 0 to %d", (int)options->component,
                        diffc_factorization_count(options->factorization) - 1);
    if (!options->low && (options->low_schedule || options->low_level != 0))
        return dfi_fail(DIFFC_ERR_CONFIG, "options.low_schedule or low_level without options.low");
    return DIFFC_OK;
}

/* The network gives what the sampler takes; variance channels that it does not take are left aside. */
static int check_denoiser(struct dfi_loop *loop)
{
    const int64_t channels = loop->shape[1];
    if (channels > INT32_MAX / 2)
        return dfi_fail(DIFFC_ERR_LIMIT, "%lld channels are too many", (long long)channels);
    const int64_t needed = diffc_sampler_output_channels(loop->sampler, (int)channels);
    const int64_t given = loop->denoiser.out_channels ? loop->denoiser.out_channels : channels;
    if (given != needed && given != 2 * channels)
        return dfi_fail(
            DIFFC_ERR_CONFIG, "the denoiser gives %lld channels, but x has %lld and the sampler needs %s",
            (long long)given, (long long)channels,
            needed == channels ? "as many or twice as many"
                               : "twice as many: its variance (variance_type of scheduler_config.json) is "
                                 "learned_range");
    loop->denoiser.image_channels = (int32_t)channels;
    return DIFFC_OK;
}

static int check_steps(struct dfi_loop *loop)
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
    return DIFFC_OK;
}

int dfi_loop_check(struct dfi_loop *loop)
{
    const diffc_sample_options *options = loop->options;
    const int64_t asked[4] = { options->batch, options->channels, options->height, options->width };
    memcpy(loop->shape, asked, sizeof(asked));
    DFI_TRY(check_steps(loop));
    DFI_TRY(take_shape(loop));
    DFI_TRY(check_shape(loop));
    DFI_TRY(check_tensors(loop));
    DFI_TRY(check_parts(loop));
    return check_denoiser(loop);
}

/* ---- memory ---- */

/* Whether any number is drawn at all. */
static int is_random(const struct dfi_loop *loop)
{
    const diffc_sample_options *options = loop->options;
    int random = !options->start || options->low || options->reference ||
                 (options->mask && loop->mask_rule == DFI_MASK_RENOISE);
    for (int i = options->first_step; i < loop->stop; i++)
        random |= diffc_sampler_needs_noise(loop->sampler, i);
    return random;
}

static int create_noise(struct dfi_loop *loop)
{
    DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, loop->shape, &loop->noise));
    loop->samples = dfi_calloc(loop->context, (size_t)loop->shape[0], sizeof(*loop->samples));
    if (!loop->samples)
        return DIFFC_ERR_NOMEM;
    for (int64_t k = 0; k < loop->shape[0]; k++)
        DFI_TRY(diffc_tensor_slice(loop->noise, 0, k, 1, 1, &loop->samples[k]));
    return DIFFC_OK;
}

/* `tensor` with its one sample, or one channel, repeated to the pictures' shape. */
static int spread(struct dfi_loop *loop, const diffc_tensor *tensor, diffc_tensor **whole)
{
    const int64_t *shape = loop->shape, pixels = shape[2] * shape[3];
    const int64_t samples = diffc_tensor_dim(tensor, 0), channels = diffc_tensor_dim(tensor, 1);
    DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, shape, whole));
    const float *from = diffc_tensor_data(tensor);
    float *to = diffc_tensor_data(*whole);
    for (int64_t plane = 0; plane < shape[0] * shape[1]; plane++) {
        const int64_t n = samples == 1 ? 0 : plane / shape[1], c = channels == 1 ? 0 : plane % shape[1];
        memcpy(to + plane * pixels, from + (n * channels + c) * pixels, (size_t)pixels * sizeof(float));
    }
    return DIFFC_OK;
}

static int create_edits(struct dfi_loop *loop)
{
    const diffc_sample_options *options = loop->options;
    if (options->mask) {
        DFI_TRY(spread(loop, options->mask, &loop->mask));
        DFI_TRY(spread(loop, options->known, &loop->known));
    }
    if (options->reference) {
        DFI_TRY(spread(loop, options->reference, &loop->reference));
        DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, loop->shape, &loop->component));
    }
    if (options->mask)
        DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, loop->shape, &loop->before));
    return DIFFC_OK;
}

static int create_network_side(struct dfi_loop *loop)
{
    int64_t shape[4];
    memcpy(shape, loop->shape, sizeof(shape));
    DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, shape, &loop->scaled));
    if (loop->options->low) {
        shape[1] += diffc_tensor_dim(loop->options->low, 1);
        DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, shape, &loop->input));
    }
    shape[1] = loop->denoiser.out_channels ? loop->denoiser.out_channels : loop->shape[1];
    DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, shape, &loop->output));
    loop->t = dfi_alloc(loop->context, (size_t)shape[0] * sizeof(*loop->t));
    return loop->t ? DIFFC_OK : DIFFC_ERR_NOMEM;
}

int dfi_loop_create(struct dfi_loop *loop)
{
    DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, loop->shape, &loop->x));
    loop->values = diffc_tensor_count(loop->x) / loop->shape[0];
    if (loop->options->progress)
        DFI_TRY(diffc_tensor_create(loop->context, DIFFC_F32, 4, loop->shape, &loop->x0));
    if (is_random(loop))
        DFI_TRY(create_noise(loop));
    DFI_TRY(create_edits(loop));
    return create_network_side(loop);
}

void dfi_loop_destroy(struct dfi_loop *loop)
{
    for (int64_t k = 0; loop->samples && k < loop->shape[0]; k++)
        diffc_release(&loop->samples[k]);
    dfi_free(loop->context, loop->samples);
    dfi_free(loop->context, loop->t);
    diffc_release(&loop->noise);
    diffc_release(&loop->known);
    diffc_release(&loop->mask);
    diffc_release(&loop->before);
    diffc_release(&loop->reference);
    diffc_release(&loop->component);
    diffc_release(&loop->x0);
    diffc_release(&loop->output);
    diffc_release(&loop->input);
    diffc_release(&loop->scaled);
    diffc_release(&loop->x);
}

int dfi_loop_draw(struct dfi_loop *loop, enum dfi_stream purpose, int step)
{
    if (loop->options->generator)
        return diffc_generator_normal(loop->options->generator, loop->noise);
    for (int64_t k = 0; k < loop->shape[0]; k++) {
        const uint64_t stream = dfi_stream(purpose, loop->options->first_sample + (uint64_t)k);
        DFI_TRY(diffc_rng_normal(loop->samples[k], loop->options->seed, stream,
                                 (uint64_t)step * (uint64_t)loop->values));
    }
    return DIFFC_OK;
}
