#include <diffc/sampler.h>

#include "guide/guide.h"
#include "pipe/pipe.h"
#include "sched/sched.h"

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
    return dfi_sample(sampler->object.context, sampler, &network, &read, images);
}
