#include <diffc/guidance.h>

#include "base/float_mode.h"
#include "guide/guide.h"

int diffc_guide_create(diffc_context *context, const diffc_combiner *combiner, diffc_guide **guide)
{
    if (!context || !combiner || !guide)
        return dfi_fail(DIFFC_ERR_ARG, "context, combiner and guide must not be NULL");
    diffc_combiner read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), combiner, "combiner"));
    if (!read.query_count || !read.expand || !read.combine)
        return dfi_fail(DIFFC_ERR_ARG, "combiner.query_count, expand and combine must not be NULL");
    return dfi_guide_new(context, &read, guide);
}

int diffc_guide_create_cfg(diffc_context *context, const float *scales, int count, diffc_guide **guide)
{
    if (!context || !scales || !guide)
        return dfi_fail(DIFFC_ERR_ARG, "context, scales and guide must not be NULL");
    const int64_t limit = context->limits.batch;
    if (count < 1)
        return dfi_fail(DIFFC_ERR_ARG, "count is %d, must be at least 1", count);
    if (count > limit)
        return dfi_fail(DIFFC_ERR_LIMIT, "count is %d, the limit is %lld", count, (long long)limit);
    return dfi_guide_new_cfg(context, scales, count, guide);
}

int diffc_guide_predict(diffc_guide *guide, const diffc_denoiser *denoiser, int step, const float *t,
                        const diffc_tensor *x, diffc_tensor *out)
{
    static const int64_t any[4] = { -1, -1, -1, -1 };
    if (!denoiser || !t || !x || !out)
        return dfi_fail(DIFFC_ERR_ARG, "denoiser, t, x and out must not be NULL");
    diffc_denoiser read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), denoiser, "denoiser"));
    if (!read.predict || read.out_channels < 0)
        return dfi_fail(DIFFC_ERR_ARG, "denoiser.predict must not be NULL and out_channels not negative");
    DFI_TRY(dfi_tensor_expect(x, "x", 4, any));
    const int64_t shape[4] = { x->shape[0], read.out_channels ? read.out_channels : x->shape[1], x->shape[2],
                               x->shape[3] };
    DFI_TRY(dfi_tensor_expect(out, "out", 4, shape));
    if (out->data == x->data)
        return dfi_fail(DIFFC_ERR_ARG, "out and x are the same memory");
    return dfi_guide_predict(guide, &read, step, t, x, out);
}
