#include <string.h>

#include "pipe/loop.h"
#include "pipe/pipe.h"

static int check_finite(const struct dfi_loop *loop, int step, const diffc_tensor *tensor, const char *what)
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

static int report(struct dfi_loop *loop, int step)
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
    dfi_forget_message();
    const int answer = loop->options->progress(loop->options->progress_opaque, &seen);
    if (answer == 0)
        return DIFFC_OK;
    if (dfi_message()[0] != '\0')
        return dfi_fail_in(DIFFC_ERR_CANCELLED, "after step %d", step);
    return dfi_fail(DIFFC_ERR_CANCELLED, "the progress callback returned %d after step %d", answer, step);
}

static int predict(struct dfi_loop *loop, int step)
{
    diffc_tensor *input = loop->scaled;
    for (int64_t k = 0; k < loop->shape[0]; k++)
        loop->t[k] = diffc_sampler_timestep(loop->sampler, step);
    DFI_TRY(diffc_sampler_scale_input(loop->sampler, step, loop->x, loop->scaled));
    if (loop->input) {
        dfi_loop_place(loop->scaled, loop->input, 0);
        input = loop->input;
    }
    DFI_TRY(diffc_guide_predict(loop->options->guide, &loop->denoiser, step, loop->t, input, loop->output));
    return check_finite(loop, step, loop->output, "the prediction");
}

static int advance(struct dfi_loop *loop, int step)
{
    const int noisy = diffc_sampler_needs_noise(loop->sampler, step);
    DFI_TRY(dfi_loop_remember(loop));
    DFI_TRY(dfi_loop_project(loop, step));
    DFI_TRY(predict(loop, step));
    if (noisy)
        DFI_TRY(dfi_loop_draw(loop, DFI_STREAM_SAMPLE_STEP, step));
    DFI_TRY(
        diffc_sampler_step(loop->sampler, step, loop->output, noisy ? loop->noise : NULL, loop->x, loop->x0));
    DFI_TRY(dfi_loop_mask(loop, step));
    DFI_TRY(check_finite(loop, step, loop->x, "x"));
    return report(loop, step);
}

static int run(struct dfi_loop *loop)
{
    DFI_TRY(dfi_loop_check(loop));
    DFI_TRY(dfi_loop_create(loop));
    DFI_TRY(dfi_loop_start(loop));
    DFI_TRY(dfi_loop_condition(loop));
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
    struct dfi_loop loop = {
        .context = context, .sampler = sampler, .denoiser = *denoiser, .options = options
    };
    const int status = run(&loop);
    if (status == DIFFC_OK) {
        *images = loop.x;
        loop.x = NULL;
    }
    dfi_loop_destroy(&loop);
    return status;
}
