#include <diffc/sampler.h>

#include "base/float_mode.h"
#include "sched/sched.h"
#include "tensor/tensor.h"

static const int64_t any_shape[4] = { -1, -1, -1, -1 };

int diffc_sampler_create(const diffc_schedule *schedule, const diffc_sampler_options *options,
                         diffc_sampler **sampler)
{
    DFI_REQUIRE(schedule);
    DFI_REQUIRE(sampler);
    diffc_sampler_options read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "options"));
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    const int status = dfi_sampler_new(schedule, &read, sampler);
    dfi_float_leave(&mode);
    return status;
}

int diffc_sampler_open(diffc_context *context, const char *folder, const diffc_sampler_options *options,
                       diffc_sampler **sampler)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(folder);
    DFI_REQUIRE(sampler);
    diffc_sampler_options read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "options"));
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    const int status = dfi_sampler_open(context, folder, &read, sampler);
    dfi_float_leave(&mode);
    return status;
}

int diffc_sampler_steps(const diffc_sampler *sampler)
{
    return sampler ? sampler->count : 0;
}

static int is_step(const diffc_sampler *sampler, int step)
{
    return sampler && step >= 0 && step < sampler->count;
}

float diffc_sampler_timestep(const diffc_sampler *sampler, int step)
{
    return is_step(sampler, step) ? sampler->times[step] : -1.0f;
}

float diffc_sampler_initial_sigma(const diffc_sampler *sampler)
{
    return sampler ? sampler->initial_sigma : 0.0f;
}

int diffc_sampler_needs_noise(const diffc_sampler *sampler, int step)
{
    return is_step(sampler, step) && dfi_sampler_needs_noise(sampler, step);
}

const diffc_schedule *diffc_sampler_schedule(const diffc_sampler *sampler)
{
    return sampler ? sampler->schedule : NULL;
}

int diffc_sampler_output_channels(const diffc_sampler *sampler, int channels)
{
    const int learned = sampler && sampler->variance == DFI_VARIANCE_LEARNED;
    return learned && channels <= INT32_MAX / 2 ? 2 * channels : channels;
}

int diffc_sampler_strength(const diffc_sampler *sampler, double strength)
{
    const int count = sampler ? sampler->count : 0;
    const double made = count * strength;
    return !(made > 0) ? count : made >= count ? 0 : count - (int)made;
}

static int check_step(const diffc_sampler *sampler, int step)
{
    if (!is_step(sampler, step))
        return dfi_fail(DIFFC_ERR_ARG, "step is %d, must be 0 to %d", step, sampler->count - 1);
    return DIFFC_OK;
}

int diffc_sampler_begin(diffc_sampler *sampler, int step)
{
    DFI_REQUIRE(sampler);
    DFI_TRY(check_step(sampler, step));
    dfi_sampler_begin(sampler, step);
    return DIFFC_OK;
}

int diffc_sampler_scale_input(const diffc_sampler *sampler, int step, const diffc_tensor *x,
                              diffc_tensor *scaled)
{
    DFI_REQUIRE(sampler);
    DFI_REQUIRE(x);
    DFI_REQUIRE(scaled);
    DFI_TRY(check_step(sampler, step));
    DFI_TRY(dfi_tensor_expect(x, "x", 4, any_shape));
    DFI_TRY(dfi_tensor_expect(scaled, "scaled", 4, x->shape));
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    dfi_sampler_scale(sampler, step, x->data, scaled->data, (size_t)dfi_tensor_count(x));
    dfi_float_leave(&mode);
    return DIFFC_OK;
}

int diffc_sampler_add_noise(const diffc_sampler *sampler, int step, const diffc_tensor *x0,
                            const diffc_tensor *noise, diffc_tensor *x)
{
    DFI_REQUIRE(sampler);
    DFI_REQUIRE(x0);
    DFI_REQUIRE(x);
    if (step < 0 || step > sampler->count)
        return dfi_fail(DIFFC_ERR_ARG, "step is %d, must be 0 to %d", step, sampler->count);
    if (!noise && step < sampler->count)
        return dfi_fail(DIFFC_ERR_ARG, "noise is NULL, but step %d has noise", step);
    DFI_TRY(dfi_tensor_expect(x0, "x0", 4, any_shape));
    DFI_TRY(dfi_tensor_expect(x, "x", 4, x0->shape));
    if (noise)
        DFI_TRY(dfi_tensor_expect(noise, "noise", 4, x0->shape));
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    dfi_sampler_add_noise(sampler, step, x0->data, noise ? noise->data : NULL, x->data,
                          (size_t)dfi_tensor_count(x));
    dfi_float_leave(&mode);
    return DIFFC_OK;
}

static int check_output(const diffc_sampler *sampler, const diffc_tensor *output, const diffc_tensor *x)
{
    const int learned = sampler->variance == DFI_VARIANCE_LEARNED;
    const int64_t channels = x->shape[1];
    const int twice = learned || (output->ndim == 4 && output->shape[1] / 2 == channels);
    const int64_t shape[4] = { x->shape[0], twice ? 2 * channels : channels, x->shape[2], x->shape[3] };
    return dfi_tensor_expect(output, learned ? "output (with variance channels)" : "output", 4, shape);
}

static int check_tensors(const diffc_sampler *sampler, int step, const diffc_tensor *output,
                         const diffc_tensor *noise, const diffc_tensor *x, const diffc_tensor *x0)
{
    DFI_TRY(dfi_tensor_expect(x, "x", 4, any_shape));
    DFI_TRY(check_output(sampler, output, x));
    if (noise)
        DFI_TRY(dfi_tensor_expect(noise, "noise", 4, x->shape));
    else if (dfi_sampler_needs_noise(sampler, step))
        return dfi_fail(DIFFC_ERR_ARG, "noise is NULL, but step %d of \"%s\" adds noise", step,
                        sampler->rule->entry.name);
    if (x0)
        DFI_TRY(dfi_tensor_expect(x0, "x0", 4, x->shape));
    if (x0 && x0->data == x->data)
        return dfi_fail(DIFFC_ERR_ARG, "x0 is the memory of x, must be another");
    return DIFFC_OK;
}

int diffc_sampler_step(diffc_sampler *sampler, int step, const diffc_tensor *output,
                       const diffc_tensor *noise, diffc_tensor *x, diffc_tensor *x0)
{
    DFI_REQUIRE(sampler);
    DFI_REQUIRE(output);
    DFI_REQUIRE(x);
    DFI_TRY(check_step(sampler, step));
    DFI_TRY(check_tensors(sampler, step, output, noise, x, x0));
    const struct dfi_step_arrays arrays = {
        .shape = x->shape,
        .output_channels = output->shape[1],
        .output = output->data,
        .noise = noise ? noise->data : NULL,
        .x = x->data,
        .x0 = x0 ? x0->data : NULL,
    };
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    const int status = dfi_sampler_advance(sampler, step, &arrays);
    dfi_float_leave(&mode);
    return status;
}
