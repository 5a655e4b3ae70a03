#include <string.h>

#include "guide/factor.h"
#include "guide/guide.h"

/* One condition for each component of the picture (Geng, Park, Owens, "Factorized Diffusion", 2024): all are
 * predicted at the same x, and only the noise estimates are filtered. */
struct hybrid {
    struct diffc_context *context; /* not kept: the guide keeps it */
    struct diffc_guide *inner;
    struct diffc_factorization *factors;
    int32_t conditions[DFI_MAX_COMPONENTS];
    struct diffc_tensor *part, *component;
};

static int query_count(void *opaque, int step)
{
    const struct hybrid *hybrid = opaque;
    const int each = dfi_inner_count(hybrid->inner, step);
    return each < 0 || each > DFI_MAX_QUERIES ? each : hybrid->factors->count * each;
}

static int expand(void *opaque, int step, const diffc_tensor *x, diffc_query *queries, int count)
{
    const struct hybrid *hybrid = opaque;
    const int each = count / hybrid->factors->count;
    for (int k = 0; k < hybrid->factors->count; k++)
        DFI_TRY(dfi_inner_expand(hybrid->inner, step, hybrid->conditions[k], x, queries + k * each, each));
    return DIFFC_OK;
}

static int reserve_parts(struct hybrid *hybrid, int32_t channels, const struct diffc_tensor *out)
{
    DFI_TRY(dfi_factor_bind(hybrid->factors, channels, out->shape[2], out->shape[3]));
    DFI_TRY(dfi_guide_room(hybrid->context, out->shape, &hybrid->part));
    return dfi_guide_room(hybrid->context, out->shape, &hybrid->component);
}

/* Adds component k of the prediction in `part` to out; the variance as it is. */
static int collect(struct hybrid *hybrid, int k, int32_t channels, struct diffc_tensor *out)
{
    const int64_t more = out->shape[1] - channels;
    const struct dfi_planes part = dfi_planes_of(hybrid->part, 0, channels);
    const struct dfi_planes component = dfi_planes_of(hybrid->component, 0, channels);
    const struct dfi_planes total = dfi_planes_of(out, 0, channels);
    const struct dfi_planes variance = dfi_planes_of(hybrid->part, channels, more);
    const struct dfi_planes total_variance = dfi_planes_of(out, channels, more);
    DFI_TRY(dfi_factor_run(hybrid->factors, k, &part, &component));
    dfi_planes_add(&component, &total, k == 0);
    dfi_planes_add(&variance, &total_variance, k == 0);
    return DIFFC_OK;
}

static void finish(const struct hybrid *hybrid, int32_t channels, struct diffc_tensor *out)
{
    const struct dfi_planes variance = dfi_planes_of(out, channels, out->shape[1] - channels);
    dfi_planes_divide(&variance, (float)hybrid->factors->count);
}

static int combine(void *opaque, int step, const diffc_query *queries, int count, diffc_tensor *out)
{
    struct hybrid *hybrid = opaque;
    const int each = count / hybrid->factors->count, channels = queries[0].image_channels;
    DFI_TRY(reserve_parts(hybrid, channels, out));
    for (int k = 0; k < hybrid->factors->count; k++) {
        DFI_TRY(dfi_inner_combine(hybrid->inner, step, queries + k * each, each, hybrid->part));
        DFI_TRY(collect(hybrid, k, channels, out));
    }
    finish(hybrid, channels, out);
    return DIFFC_OK;
}

/* For inner guides that keep something from expand to combine, or have too many queries. */
static int in_turn(void *opaque, const struct dfi_ask *ask)
{
    struct hybrid *hybrid = opaque;
    DFI_TRY(reserve_parts(hybrid, ask->image_channels, ask->out));
    for (int k = 0; k < hybrid->factors->count; k++) {
        struct dfi_ask one = *ask;
        one.out = hybrid->part;
        one.base = dfi_condition_from(ask->base, hybrid->conditions[k]);
        DFI_TRY(dfi_guide_predict(hybrid->inner, &one));
        DFI_TRY(collect(hybrid, k, ask->image_channels, ask->out));
    }
    finish(hybrid, ask->image_channels, ask->out);
    return DIFFC_OK;
}

static void release(void *opaque)
{
    struct hybrid *hybrid = opaque;
    dfi_release(hybrid->part);
    dfi_release(hybrid->component);
    dfi_release(hybrid->factors);
    dfi_release(hybrid->inner);
    dfi_free(hybrid->context, hybrid);
}

int dfi_guide_new_factors(struct diffc_context *context, struct diffc_factorization *factors,
                          const int32_t *conditions, struct diffc_guide *inner, struct diffc_guide **guide)
{
    struct hybrid *hybrid = dfi_calloc(context, 1, sizeof(*hybrid));
    if (!hybrid)
        return DIFFC_ERR_NOMEM;
    hybrid->context = context;
    hybrid->inner = inner ? dfi_retain(inner) : NULL;
    hybrid->factors = dfi_retain(factors);
    for (int k = 0; k < factors->count; k++)
        hybrid->conditions[k] = conditions ? conditions[k] : k;
    const diffc_combiner combiner = { sizeof(combiner), query_count, expand, combine, release, hybrid };
    const int status = dfi_guide_new(context, &combiner, guide);
    if (status < 0) {
        release(hybrid);
        return status;
    }
    (*guide)->plain = (*guide)->together = dfi_inner_is_plain(inner);
    (*guide)->in_turn = in_turn;
    return DIFFC_OK;
}
