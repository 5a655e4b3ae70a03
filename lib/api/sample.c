#include <diffc/sampler.h>

#include "guide/guide.h"
#include "pipe/pipe.h"
#include "sched/sched.h"
#include "tensor/tensor.h"

int diffc_sample(diffc_sampler *sampler, const diffc_denoiser *denoiser, const diffc_sample_options *options,
                 diffc_tensor **images)
{
    DFI_REQUIRE(sampler);
    DFI_REQUIRE(denoiser);
    DFI_REQUIRE(images);
    diffc_denoiser network;
    diffc_sample_options read;
    DFI_TRY(dfi_denoiser_read(denoiser, &network));
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "options"));
    const int64_t needed = sampler->variance == DFI_VARIANCE_LEARNED ? 2 : 1;
    const int64_t channels = !read.start ? read.channels : read.start->ndim == 4 ? read.start->shape[1] : 0;
    const int64_t given = network.out_channels ? network.out_channels : channels;
    if (given % needed != 0 || given / needed != channels)
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "the denoiser gives %lld channels, but x has %lld and the sampler needs %s",
                        (long long)given, (long long)channels, needed == 2 ? "twice as many" : "as many");
    return dfi_sample(sampler->object.context, sampler, &network, &read, images);
}
