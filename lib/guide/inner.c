#include <string.h>

#include "base/float_mode.h"
#include "guide/guide.h"

/* What guides over guides share. */

int dfi_inner_is_plain(const struct diffc_guide *inner)
{
    return !inner || inner->plain;
}

int dfi_inner_count(const struct diffc_guide *inner, int step)
{
    return inner ? inner->combiner.query_count(inner->combiner.opaque, step) : 1;
}

int dfi_inner_expand(const struct diffc_guide *inner, int step, int32_t base, const struct diffc_tensor *x,
                     diffc_query *queries, int count)
{
    if (inner) {
        DFI_TRY(inner->combiner.expand(inner->combiner.opaque, step, x, queries, count));
    } else {
        queries[0].x = x;
        queries[0].condition = 0;
    }
    for (int i = 0; i < count; i++)
        queries[i].condition = dfi_condition_from(base, queries[i].condition);
    return DIFFC_OK;
}

int dfi_inner_combine(const struct diffc_guide *inner, int step, const diffc_query *queries, int count,
                      struct diffc_tensor *out)
{
    if (inner)
        return inner->combiner.combine(inner->combiner.opaque, step, queries, count, out);
    memcpy(out->data, queries[0].out->data, (size_t)dfi_tensor_count(out) * sizeof(float));
    return DIFFC_OK;
}

int dfi_guide_room(struct diffc_context *context, const int64_t shape[4], struct diffc_tensor **kept)
{
    if (*kept && memcmp((*kept)->shape, shape, 4 * sizeof(*shape)) == 0)
        return DIFFC_OK;
    dfi_release(*kept);
    *kept = NULL;
    return dfi_tensor_create(context, DIFFC_F32, 4, shape, kept);
}

void dfi_planes_add(const struct dfi_planes *part, const struct dfi_planes *total, int first)
{
    const int64_t values = part->channels * part->h * part->w;
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    for (int64_t n = 0; n < part->samples; n++) {
        const float *from = part->data + n * part->stride;
        float *to = total->data + n * total->stride;
        for (int64_t i = 0; i < values; i++)
            to[i] = first ? from[i] : to[i] + from[i];
    }
    dfi_float_leave(&mode);
}

void dfi_planes_divide(const struct dfi_planes *planes, float divisor)
{
    const int64_t values = planes->channels * planes->h * planes->w;
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    for (int64_t n = 0; n < planes->samples; n++)
        for (int64_t i = 0; i < values; i++)
            planes->data[n * planes->stride + i] /= divisor;
    dfi_float_leave(&mode);
}
