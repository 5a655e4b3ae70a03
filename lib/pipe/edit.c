#include <string.h>

#include "base/float_mode.h"
#include "pipe/loop.h"

/* `tensor` += mask (x - tensor) is not exact where the mask is 0 or 1; this is: x where the mask is 1, keep
 * where it is 0, as (1 - mask) keep + mask x between. */
static void blend(const diffc_tensor *mask, const diffc_tensor *keep, diffc_tensor *x)
{
    const float *m = diffc_tensor_data(mask), *k = diffc_tensor_data(keep);
    float *values = diffc_tensor_data(x);
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    for (int64_t i = 0, n = diffc_tensor_count(x); i < n; i++)
        values[i] = m[i] == 0 ? k[i] : m[i] == 1 ? values[i] : (1 - m[i]) * k[i] + m[i] * values[i];
    dfi_float_leave(&mode);
}

void dfi_loop_place(const diffc_tensor *part, diffc_tensor *input, int64_t first)
{
    const int64_t samples = diffc_tensor_dim(input, 0), given = diffc_tensor_dim(part, 0);
    const int64_t pixels = diffc_tensor_dim(input, 2) * diffc_tensor_dim(input, 3);
    const int64_t values = diffc_tensor_dim(part, 1) * pixels, whole = diffc_tensor_dim(input, 1) * pixels;
    for (int64_t n = 0; n < samples; n++)
        memcpy((float *)diffc_tensor_data(input) + n * whole + first * pixels,
               (const float *)diffc_tensor_data(part) + (given == 1 ? 0 : n) * values,
               (size_t)values * sizeof(float));
}

/* Pure noise, the caller's x, or a picture noised to where the loop starts (SDEdit, Meng et al. 2022). */
int dfi_loop_start(struct dfi_loop *loop)
{
    const diffc_sample_options *options = loop->options;
    if (options->start) {
        DFI_TRY(diffc_tensor_copy(options->start, loop->x));
    } else if (options->image) {
        DFI_TRY(dfi_loop_draw(loop, DFI_STREAM_SAMPLE_START, 0));
        dfi_loop_place(options->image, loop->x, 0);
        DFI_TRY(diffc_sampler_add_noise(loop->sampler, options->first_step, loop->x, loop->noise, loop->x));
    } else {
        DFI_TRY(dfi_loop_draw(loop, DFI_STREAM_SAMPLE_START, 0));
        const float sigma = diffc_sampler_initial_sigma(loop->sampler);
        const float *noise = diffc_tensor_data(loop->noise);
        float *x = diffc_tensor_data(loop->x);
        struct dfi_float_mode mode;
        dfi_float_enter(&mode, 0);
        for (int64_t i = 0; i < loop->shape[0] * loop->values; i++)
            x[i] = sigma * noise[i];
        dfi_float_leave(&mode);
    }
    if (loop->mask && loop->mask_rule == DFI_MASK_CLEAN)
        blend(loop->mask, loop->known, loop->x);
    return DIFFC_OK;
}

/* The low-resolution picture scaled up and noised to its level, once (IFSuperResolutionPipeline of
 * diffusers). */
static int noise_low(struct dfi_loop *loop, diffc_tensor *up)
{
    const diffc_sample_options *options = loop->options;
    const diffc_schedule *schedule = options->low_schedule ? options->low_schedule
                                                           : diffc_sampler_schedule(loop->sampler);
    for (int64_t k = 0; k < loop->shape[0]; k++)
        loop->t[k] = options->low_level;
    DFI_TRY(dfi_loop_draw(loop, DFI_STREAM_LOW, 0));
    return diffc_schedule_add_noise(schedule, up, loop->noise, loop->t, up);
}

int dfi_loop_condition(struct dfi_loop *loop)
{
    const diffc_tensor *low = loop->options->low;
    diffc_tensor *up = NULL, *all = NULL;
    if (!low)
        return DIFFC_OK;
    int status = diffc_image_resize(low, loop->shape[2], loop->shape[3], "bilinear_corners", &up);
    if (status == DIFFC_OK)
        status = diffc_tensor_create(loop->context, DIFFC_F32, 4, loop->shape, &all);
    if (status == DIFFC_OK) {
        dfi_loop_place(up, all, 0);
        status = noise_low(loop, all);
    }
    if (status == DIFFC_OK)
        dfi_loop_place(all, loop->input, loop->shape[1]);
    diffc_release(&up);
    diffc_release(&all);
    return status;
}

/* x += sign y */
static void add(diffc_tensor *x, float sign, const diffc_tensor *y)
{
    float *to = diffc_tensor_data(x);
    const float *from = diffc_tensor_data(y);
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    for (int64_t i = 0, n = diffc_tensor_count(x); i < n; i++)
        to[i] += sign * from[i];
    dfi_float_leave(&mode);
}

/* Inverse problems: one component of x becomes that of the reference, noised to the same level (Geng et al.,
 * Factorized Diffusion, 2024). Components are linear, so x gets the component of the difference. */
int dfi_loop_project(struct dfi_loop *loop, int step)
{
    const diffc_sample_options *options = loop->options;
    if (!loop->reference)
        return DIFFC_OK;
    DFI_TRY(dfi_loop_draw(loop, DFI_STREAM_REFERENCE, step));
    DFI_TRY(diffc_sampler_add_noise(loop->sampler, step, loop->reference, loop->noise, loop->scaled));
    add(loop->scaled, -1, loop->x);
    DFI_TRY(diffc_factorization_component(options->factorization, options->component, loop->scaled,
                                          loop->component));
    add(loop->x, 1, loop->component);
    return DIFFC_OK;
}

/* Before a step: what the mask will put back. */
int dfi_loop_remember(struct dfi_loop *loop)
{
    return loop->mask && loop->mask_rule == DFI_MASK_CLEAN ? diffc_tensor_copy(loop->x, loop->before)
                                                           : DIFFC_OK;
}

/* After a step: outside of the mask, the known picture noised to the timestep that x has reached, or x as it
 * was before (Lugmayr et al. 2022, RePaint, eq. 8). */
int dfi_loop_mask(struct dfi_loop *loop, int step)
{
    if (!loop->mask)
        return DIFFC_OK;
    if (loop->mask_rule == DFI_MASK_RENOISE) {
        if (step + 1 < diffc_sampler_steps(loop->sampler)) /* the image itself has no noise */
            DFI_TRY(dfi_loop_draw(loop, DFI_STREAM_MASK, step));
        DFI_TRY(diffc_sampler_add_noise(loop->sampler, step + 1, loop->known, loop->noise, loop->before));
    }
    blend(loop->mask, loop->before, loop->x);
    return DIFFC_OK;
}
