#include "nn/params.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/random.h"
#include "tensor/tensor.h"

void dfi_params_init(struct dfi_params *params, struct diffc_context *context, int dtype)
{
    memset(params, 0, sizeof(*params));
    params->context = context;
    params->dtype = dtype;
}

void dfi_params_clear(struct dfi_params *params)
{
    struct diffc_context *context = params->context;
    if (!context)
        return;
    dfi_free(context, params->list);
    dfi_free(context, params->values);
    dfi_free(context, params->stat_list);
    dfi_free(context, params->stats);
    dfi_params_init(params, context, params->dtype);
}

static int grow(struct diffc_context *context, struct dfi_param **list, int count, int *capacity)
{
    if (count < *capacity)
        return DIFFC_OK;
    const int more = *capacity ? 2 * *capacity : 32;
    struct dfi_param *grown = dfi_realloc(context, *list, (size_t)*capacity * sizeof(**list),
                                          (size_t)more * sizeof(**list));
    if (!grown)
        return DIFFC_ERR_NOMEM;
    *list = grown;
    *capacity = more;
    return DIFFC_OK;
}

int dfi_params_add(struct dfi_params *params, int trainable, const char *name, int ndim, const int64_t *shape,
                   enum dfi_init init, int64_t fan_in)
{
    struct dfi_param **list = trainable ? &params->list : &params->stat_list;
    int *count = trainable ? &params->count : &params->stat_entries;
    size_t *total = trainable ? &params->value_count : &params->stat_count;
    DFI_TRY(grow(params->context, list, *count, trainable ? &params->capacity : &params->stat_capacity));

    struct dfi_param *param = &(*list)[*count];
    memset(param, 0, sizeof(*param));
    if (strlen(name) >= sizeof(param->name))
        return dfi_fail(DIFFC_ERR_LIMIT, "parameter name \"%s\" is longer than %zu bytes", name,
                        sizeof(param->name) - 1);
    strcpy(param->name, name);
    param->ndim = ndim;
    memcpy(param->shape, shape, (size_t)ndim * sizeof(*shape));
    param->init = init;
    param->fan_in = fan_in;
    param->offset = *total;
    if (dfi_ck_product(shape, ndim, &param->count) || dfi_ck_add(*total, param->count, total))
        return dfi_fail(DIFFC_ERR_LIMIT, "parameter %s is too large", name);
    return (*count)++;
}

static void initialise(const struct dfi_params *params, const struct dfi_param *param, int number, void *base,
                       uint64_t seed)
{
    const double bound = param->fan_in > 0 ? 1 / sqrt((double)param->fan_in) : 0;
    const uint64_t stream = dfi_stream(DFI_STREAM_INIT, (uint64_t)number);
    for (size_t i = 0; i < param->count; i++) {
        double value = param->init == DFI_INIT_ONE;
        if (param->init == DFI_INIT_UNIFORM)
            value = bound * (2.0 * (double)dfi_uniform_at(seed, stream, i) - 1);
        if (params->dtype == DIFFC_F64)
            ((double *)base)[param->offset + i] = value;
        else
            ((float *)base)[param->offset + i] = (float)value;
    }
}

int dfi_params_allocate(struct dfi_params *params)
{
    const size_t size = dfi_dtype_size(params->dtype);
    params->values = dfi_calloc(params->context, params->value_count + 1, size);
    params->stats = dfi_calloc(params->context, params->stat_count + 1, size);
    if (!params->values || !params->stats)
        return DIFFC_ERR_NOMEM;
    for (int i = 0; i < params->stat_entries; i++)
        initialise(params, &params->stat_list[i], 0, params->stats, 0);
    return DIFFC_OK;
}

void dfi_params_draw(struct dfi_params *params, uint64_t seed)
{
    for (int i = 0; i < params->count; i++)
        initialise(params, &params->list[i], i, params->values, seed);
}

/* Layers widen halves where they use them; what is in another dtype is converted once. */
static int stays_stored(const struct dfi_params *params, const struct dfi_param *param)
{
    const int half = param->stored_dtype == DIFFC_F16 || param->stored_dtype == DIFFC_BF16;
    return param->stored_dtype == params->dtype || (half && param->widens);
}

int dfi_params_borrow(struct dfi_params *params, dfi_params_source find, void *opaque)
{
    size_t converted = 0;
    for (int i = 0; i < params->count; i++) {
        struct dfi_param *param = &params->list[i];
        param->stored = find(opaque, param, &param->stored_dtype);
        if (!param->stored)
            return DIFFC_ERR_CONFIG;
        param->offset = converted;
        if (!stays_stored(params, param))
            converted += param->count;
    }
    params->values = dfi_calloc(params->context, converted + 1, dfi_dtype_size(params->dtype));
    params->stats = dfi_calloc(params->context, params->stat_count + 1, dfi_dtype_size(params->dtype));
    if (!params->values || !params->stats)
        return DIFFC_ERR_NOMEM;
    for (int i = 0; i < params->count; i++) {
        struct dfi_param *param = &params->list[i];
        if (stays_stored(params, param))
            continue;
        dfi_convert(param->stored_dtype, param->stored, params->dtype,
                    (char *)params->values + param->offset * dfi_dtype_size(params->dtype), param->count);
        param->stored = NULL;
    }
    params->borrowed = 1;
    return DIFFC_OK;
}

const struct dfi_param *dfi_params_find(const struct dfi_params *params, const char *name, int *trainable)
{
    for (int kind = 1; kind >= 0; kind--) {
        const struct dfi_param *list = kind ? params->list : params->stat_list;
        const int count = kind ? params->count : params->stat_entries;
        for (int i = 0; i < count; i++) {
            if (strcmp(list[i].name, name) == 0) {
                *trainable = kind;
                return &list[i];
            }
        }
    }
    return NULL;
}
