#include <diffc/schedule.h>

#include "base/float_mode.h"
#include "sched/sched.h"
#include "tensor/tensor.h"

int diffc_schedule_create(diffc_context *context, const char *name, const diffc_schedule_options *options,
                          diffc_schedule **schedule)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(name);
    DFI_REQUIRE(schedule);
    diffc_schedule_options read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "options"));
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    const int status = dfi_schedule_new(context, name, &read, schedule);
    dfi_float_leave(&mode);
    return status;
}

int diffc_schedule_open(diffc_context *context, const char *folder, diffc_schedule **schedule)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(folder);
    DFI_REQUIRE(schedule);
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    const int status = dfi_schedule_open(context, folder, schedule);
    dfi_float_leave(&mode);
    return status;
}

const char *diffc_schedule_name(const diffc_schedule *schedule)
{
    return schedule ? schedule->rule->entry.name : NULL;
}

int diffc_schedule_train_steps(const diffc_schedule *schedule)
{
    return schedule ? schedule->options.train_steps : 0;
}

const float *diffc_schedule_betas(const diffc_schedule *schedule)
{
    return schedule ? schedule->betas : NULL;
}

const float *diffc_schedule_alpha_bars(const diffc_schedule *schedule)
{
    return schedule ? schedule->alpha_bars : NULL;
}

static void mix(float a, const float *x0, float b, const float *noise, float *noisy, size_t n)
{
    for (size_t i = 0; i < n; i++)
        noisy[i] = a * x0[i] + b * noise[i];
}

static int add_noise(const diffc_schedule *schedule, const diffc_tensor *x0, const diffc_tensor *noise,
                     const float *t, diffc_tensor *noisy)
{
    const int64_t samples = x0->shape[0];
    const size_t n = (size_t)(x0->shape[1] * x0->shape[2] * x0->shape[3]);
    float a, b;
    for (int64_t k = 0; k < samples; k++)
        DFI_TRY(dfi_schedule_mix(schedule, t[k], &a, &b));
    for (int64_t k = 0; k < samples; k++) {
        const size_t at = (size_t)k * n;
        DFI_TRY(dfi_schedule_mix(schedule, t[k], &a, &b));
        mix(a, (const float *)x0->data + at, b, (const float *)noise->data + at, (float *)noisy->data + at,
            n);
    }
    return DIFFC_OK;
}

int diffc_schedule_add_noise(const diffc_schedule *schedule, const diffc_tensor *x0,
                             const diffc_tensor *noise, const float *t, diffc_tensor *noisy)
{
    static const int64_t any[4] = { -1, -1, -1, -1 };
    DFI_REQUIRE(schedule);
    DFI_REQUIRE(x0);
    DFI_REQUIRE(noise);
    DFI_REQUIRE(t);
    DFI_REQUIRE(noisy);
    DFI_TRY(dfi_tensor_expect(x0, "x0", 4, any));
    DFI_TRY(dfi_tensor_expect(noise, "noise", 4, x0->shape));
    DFI_TRY(dfi_tensor_expect(noisy, "noisy", 4, x0->shape));
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    const int status = add_noise(schedule, x0, noise, t, noisy);
    dfi_float_leave(&mode);
    return status;
}
