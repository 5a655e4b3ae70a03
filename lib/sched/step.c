#include <string.h>

#include "base/checked.h"
#include "sched/sched.h"

/* The last step ends at the image: whatever the rule, it adds nothing. */
int dfi_sampler_needs_noise(const struct diffc_sampler *sampler, int step)
{
    const enum dfi_step_noise noise = sampler->rule->noise;
    return step + 1 < sampler->count &&
           (noise == DFI_NOISE_ALWAYS || (noise == DFI_NOISE_WITH_ETA && sampler->eta > 0));
}

void dfi_sampler_scale(const struct diffc_sampler *sampler, int step, const float *x, float *scaled, size_t n)
{
    if (!sampler->rule->input_scale) {
        if (scaled != x)
            memmove(scaled, x, n * sizeof(float));
        return;
    }
    const float scale = sampler->rule->input_scale(sampler, step);
    for (size_t i = 0; i < n; i++)
        scaled[i] = x[i] / scale;
}

/* In this order of operations x has the bits of diffc_schedule_add_noise(), and of diffusers, for rules whose
 * levels dfi_levels_float() makes. */
void dfi_sampler_add_noise(const struct diffc_sampler *sampler, int step, const float *x0, const float *noise,
                           float *x, size_t n)
{
    const float alpha = (float)sampler->alpha[step], sigma = (float)sampler->sigma[step];
    if (step == sampler->count) {
        if (x != x0)
            memmove(x, x0, n * sizeof(float));
        return;
    }
    for (size_t i = 0; i < n; i++)
        x[i] = alpha * x0[i] + sigma * noise[i];
}

void dfi_follow_estimate(const struct dfi_step_data *data, float sigma, float change)
{
    for (size_t i = 0; i < data->n; i++)
        data->x[i] += (data->x[i] - data->x0[i]) / sigma * change;
}

void dfi_sampler_begin(struct diffc_sampler *sampler, int step)
{
    sampler->next = step;
    sampler->kept = 0;
}

/* Room for the estimates of a batch; what was kept is lost when it has to grow. */
static int reserve(struct diffc_sampler *sampler, size_t floats)
{
    struct diffc_context *context = sampler->object.context;
    const int buffers = sampler->rule->multistep ? 2 : 1;
    size_t bytes;
    if (floats <= sampler->room)
        return DIFFC_OK;
    if (dfi_ck_mul(floats, sizeof(float), &bytes))
        return dfi_fail(DIFFC_ERR_LIMIT, "%zu floats do not fit the address space", floats);
    float *fresh[2] = { NULL, NULL };
    for (int i = 0; i < buffers; i++) {
        fresh[i] = dfi_alloc(context, bytes);
        if (!fresh[i]) {
            dfi_free(context, fresh[0]);
            return DIFFC_ERR_NOMEM;
        }
    }
    for (int i = 0; i < buffers; i++) {
        dfi_free(context, sampler->estimate[i]);
        sampler->estimate[i] = fresh[i];
    }
    sampler->room = floats;
    return DIFFC_OK;
}

/* Multistep rules need their steps in order, on tensors of one shape. */
static int join_chain(struct diffc_sampler *sampler, int step, const int64_t shape[4])
{
    if (!sampler->rule->multistep)
        return DIFFC_OK;
    if (step == 0)
        dfi_sampler_begin(sampler, 0);
    if (step != sampler->next)
        return dfi_fail(
            DIFFC_ERR_STATE,
            "step is %d, but the chain of \"%s\" is at step %d (diffc_sampler_begin() starts one)", step,
            sampler->rule->entry.name, sampler->next);
    if (sampler->kept && memcmp(shape, sampler->shape, sizeof(sampler->shape)) != 0)
        return dfi_fail(DIFFC_ERR_STATE, "x has another shape at step %d than at step %d of the chain", step,
                        step - 1);
    return DIFFC_OK;
}

static void leave_chain(struct diffc_sampler *sampler, int step, const int64_t shape[4])
{
    if (!sampler->rule->multistep)
        return;
    float *last = sampler->estimate[0];
    sampler->estimate[0] = sampler->estimate[1];
    sampler->estimate[1] = last;
    memcpy(sampler->shape, shape, sizeof(sampler->shape));
    sampler->next = step + 1 < sampler->count ? step + 1 : 0;
    sampler->kept = step + 1 < sampler->count;
}

static void advance_sample(struct diffc_sampler *sampler, int step, const struct dfi_step_arrays *arrays,
                           int64_t sample)
{
    const int64_t *shape = arrays->shape;
    const size_t pixels = (size_t)(shape[2] * shape[3]), n = (size_t)shape[1] * pixels;
    const size_t at = (size_t)sample * n;
    const float *output = arrays->output + (size_t)sample * (size_t)arrays->output_channels * pixels;
    float *estimate = sampler->estimate[0] + at;
    dfi_estimate(sampler, step, arrays->x + at, output, estimate, n);
    dfi_limit(&sampler->limiter, estimate, n);
    const struct dfi_step_data data = {
        .x = arrays->x + at,
        .x0 = estimate,
        .previous = sampler->kept ? sampler->estimate[1] + at : NULL,
        .output = output,
        .variance = sampler->variance == DFI_VARIANCE_LEARNED ? output + n : NULL,
        .noise = dfi_sampler_needs_noise(sampler, step) ? arrays->noise + at : NULL,
        .n = n,
    };
    sampler->rule->update(sampler, step, &data);
    if (arrays->x0)
        memcpy(arrays->x0 + at, estimate, n * sizeof(float));
}

int dfi_sampler_advance(struct diffc_sampler *sampler, int step, const struct dfi_step_arrays *arrays)
{
    size_t floats;
    if (dfi_ck_product(arrays->shape, 4, &floats))
        return dfi_fail(DIFFC_ERR_LIMIT, "the size of x overflows");
    if (floats == 0)
        return dfi_fail(DIFFC_ERR_ARG, "x has no elements");
    DFI_TRY(join_chain(sampler, step, arrays->shape));
    DFI_TRY(reserve(sampler, floats));
    for (int64_t sample = 0; sample < arrays->shape[0]; sample++)
        advance_sample(sampler, step, arrays, sample);
    leave_chain(sampler, step, arrays->shape);
    return DIFFC_OK;
}
