#include <math.h>

#include "sched/sched.h"

static const struct dfi_prediction predictions[] = {
    { { "epsilon", "the noise" }, DFI_PREDICT_EPSILON, DFI_PROCESS_DIFFUSION },
    { { "sample", "the image" },
      DFI_PREDICT_SAMPLE,
      DFI_PROCESS_DIFFUSION | DFI_PROCESS_FLOW | DFI_PROCESS_FLOW_MATCH },
    { { "v", "sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) image" }, DFI_PREDICT_V, DFI_PROCESS_DIFFUSION },
    { { "velocity", "derivative of x by t (flow) or by sigma (flow_match)" },
      DFI_PREDICT_VELOCITY,
      DFI_PROCESS_FLOW | DFI_PROCESS_FLOW_MATCH },
};

const struct dfi_prediction *dfi_prediction_find(const char *name)
{
    return dfi_registry_find(predictions, sizeof(predictions[0]), DFI_COUNT(predictions), "prediction", name);
}

/* In this order of operations, each rounded, x0 has PyTorch's bits. */
static void from_epsilon(float alpha, float sigma, const float *x, const float *output, float *x0, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x0[i] = (x[i] - sigma * output[i]) / alpha;
}

static void combine(float a, float b, const float *x, const float *output, float *x0, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x0[i] = a * x[i] + b * output[i];
}

void dfi_estimate(const struct diffc_sampler *sampler, int step, const float *x, const float *output,
                  float *x0, size_t n)
{
    const double alpha = sampler->alpha[step], sigma = sampler->sigma[step];
    switch (sampler->prediction->kind) {
    case DFI_PREDICT_EPSILON: from_epsilon((float)alpha, (float)sigma, x, output, x0, n); break;
    case DFI_PREDICT_SAMPLE:
        for (size_t i = 0; i < n; i++)
            x0[i] = output[i];
        break;
    case DFI_PREDICT_V: { /* for euler's x, sqrt(alpha^2 + sigma^2) times the x that v is defined by */
        const double scale = alpha * alpha + sigma * sigma;
        combine((float)(alpha / scale), (float)(-sigma / sqrt(scale)), x, output, x0, n);
        break;
    }
    case DFI_PREDICT_VELOCITY: {
        const int forward = sampler->schedule->rule->process == DFI_PROCESS_FLOW;
        combine(1.0f, (float)(forward ? sigma : -sigma), x, output, x0, n);
        break;
    }
    }
}
