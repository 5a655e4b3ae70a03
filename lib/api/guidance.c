#include <diffc/guidance.h>

#include "guide/factor.h"
#include "guide/guide.h"

int diffc_guide_create(diffc_context *context, const diffc_combiner *combiner, diffc_guide **guide)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(combiner);
    DFI_REQUIRE(guide);
    diffc_combiner read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), combiner, "combiner"));
    if (!read.query_count || !read.expand || !read.combine)
        return dfi_fail(DIFFC_ERR_ARG, "combiner.%s is NULL",
                        !read.query_count ? "query_count"
                        : read.expand     ? "combine"
                                          : "expand");
    return dfi_guide_new(context, &read, guide);
}

int diffc_guide_create_cfg(diffc_context *context, const float *scales, int count, diffc_guide **guide)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(scales);
    DFI_REQUIRE(guide);
    const int64_t limit = context->limits.batch;
    if (count < 1)
        return dfi_fail(DIFFC_ERR_ARG, "count is %d, must be at least 1", count);
    if (count > limit)
        return dfi_fail(DIFFC_ERR_LIMIT, "count is %d, the limit is %lld", count, (long long)limit);
    return dfi_guide_new_cfg(context, scales, count, guide);
}

static int check_inner(const diffc_context *context, const diffc_guide *inner)
{
    return !inner || inner->object.context == context
               ? DIFFC_OK
               : dfi_fail(DIFFC_ERR_ARG, "inner belongs to another context");
}

static int check_conditions(const int32_t *conditions, int count)
{
    for (int i = 0; conditions && i < count; i++)
        if (conditions[i] < DIFFC_UNCONDITIONAL)
            return dfi_fail(DIFFC_ERR_ARG, "conditions[%d] is %d, must be at least %d", i, (int)conditions[i],
                            DIFFC_UNCONDITIONAL);
    return DIFFC_OK;
}

int diffc_guide_create_views(diffc_context *context, diffc_view *const *views, const int32_t *conditions,
                             int count, const char *reduction, diffc_guide *inner, diffc_guide **guide)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(views);
    DFI_REQUIRE(reduction);
    DFI_REQUIRE(guide);
    if (count < 1)
        return dfi_fail(DIFFC_ERR_ARG, "count is %d, must be at least 1", count);
    if (count > DFI_MAX_VIEWS)
        return dfi_fail(DIFFC_ERR_LIMIT, "count is %d, at most %d views are possible", count, DFI_MAX_VIEWS);
    for (int i = 0; i < count; i++)
        if (!views[i])
            return dfi_fail(DIFFC_ERR_ARG, "views[%d] is NULL", i);
    DFI_TRY(check_conditions(conditions, count));
    DFI_TRY(check_inner(context, inner));
    return dfi_guide_new_views(context, views, conditions, count, reduction, inner, guide);
}

int diffc_guide_create_factors(diffc_context *context, diffc_factorization *factorization,
                               const int32_t *conditions, diffc_guide *inner, diffc_guide **guide)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(factorization);
    DFI_REQUIRE(guide);
    DFI_TRY(check_conditions(conditions, factorization->count));
    DFI_TRY(check_inner(context, inner));
    return dfi_guide_new_factors(context, factorization, conditions, inner, guide);
}

static int check_channels(const diffc_denoiser *denoiser, const diffc_tensor *x)
{
    const int64_t channels = denoiser->image_channels ? denoiser->image_channels : x->shape[1];
    if (channels > x->shape[1] || channels > INT32_MAX)
        return dfi_fail(DIFFC_ERR_ARG, "denoiser.image_channels is %lld, x has %lld channels",
                        (long long)channels, (long long)x->shape[1]);
    if (denoiser->out_channels && denoiser->out_channels < channels)
        return dfi_fail(DIFFC_ERR_ARG, "denoiser.out_channels is %d, the picture has %lld",
                        (int)denoiser->out_channels, (long long)channels);
    return DIFFC_OK;
}

int diffc_guide_predict(diffc_guide *guide, const diffc_denoiser *denoiser, int step, const float *t,
                        const diffc_tensor *x, diffc_tensor *out)
{
    static const int64_t any[4] = { -1, -1, -1, -1 };
    DFI_REQUIRE(denoiser);
    DFI_REQUIRE(t);
    DFI_REQUIRE(x);
    DFI_REQUIRE(out);
    diffc_denoiser read;
    DFI_TRY(dfi_denoiser_read(denoiser, &read));
    DFI_TRY(dfi_tensor_expect(x, "x", 4, any));
    if (dfi_tensor_count(x) == 0)
        return dfi_fail(DIFFC_ERR_ARG, "x has no elements");
    DFI_TRY(check_channels(&read, x));
    const int64_t channels = read.image_channels ? read.image_channels : x->shape[1];
    const int64_t shape[4] = { x->shape[0], read.out_channels ? read.out_channels : channels, x->shape[2],
                               x->shape[3] };
    DFI_TRY(dfi_tensor_expect(out, "out", 4, shape));
    if (out->data == x->data)
        return dfi_fail(DIFFC_ERR_ARG, "out is the memory of x, must be another");
    const struct dfi_ask ask = {
        .denoiser = &read, .step = step, .t = t, .x = x, .out = out, .image_channels = (int32_t)channels
    };
    return dfi_guide_predict(guide, &ask);
}
