#include <diffc/sampler.h>

#include "pipe/pipe.h"
#include "sched/sched.h"
#include "tensor/tensor.h"

int diffc_sample(diffc_sampler *sampler, const diffc_denoiser *denoiser, const diffc_sample_options *options,
                 diffc_tensor **images)
{
    if (!sampler || !denoiser || !images)
        return dfi_fail(DIFFC_ERR_ARG, "sampler, denoiser and images must not be NULL");
    diffc_denoiser network;
    diffc_sample_options read;
    DFI_TRY(dfi_options_read(&network, sizeof(network), denoiser, "denoiser"));
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "options"));
    if (!network.predict || network.out_channels < 0)
        return dfi_fail(DIFFC_ERR_ARG, "denoiser.predict must not be NULL and out_channels not negative");
    const int64_t needed = sampler->variance == DFI_VARIANCE_LEARNED ? 2 : 1;
    const int64_t channels = !read.start ? read.channels : read.start->ndim == 4 ? read.start->shape[1] : 0;
    const int64_t given = network.out_channels ? network.out_channels : channels;
    if (given % needed != 0 || given / needed != channels)
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "the denoiser gives %lld channels, but x has %lld and the sampler needs %s",
                        (long long)given, (long long)channels, needed == 2 ? "twice as many" : "as many");
    return dfi_sample(sampler->object.context, sampler, &network, &read, images);
}
