#include <diffc/model.h>

#include <string.h>

#include "io/archive.h"
#include "io/folder.h"
#include "io/safetensors.h"
#include "model/config.h"
#include "model/folder_model.h"
#include "model/model.h"
#include "model/weights.h"

static int read_options(const diffc_model_options *source, struct dfi_model_config *config)
{
    diffc_model_options options;
    DFI_TRY(dfi_options_read(&options, sizeof(options), source, "diffc_model_options"));
    return dfi_model_config_read(&options, config);
}

int diffc_model_create(diffc_context *context, const char *architecture, const diffc_model_options *options,
                       diffc_model **model)
{
    struct dfi_model_config config;
    DFI_REQUIRE(context);
    DFI_REQUIRE(architecture);
    DFI_REQUIRE(model);
    DFI_TRY(read_options(options, &config));
    const struct dfi_architecture *found = dfi_architecture_find(architecture);
    return found ? dfi_model_new(context, found, &config, model) : DIFFC_ERR_ARG;
}

int diffc_model_from_archive(const diffc_archive *archive, const diffc_model_options *options,
                             diffc_model **model)
{
    struct dfi_model_config config;
    DFI_REQUIRE(archive);
    DFI_REQUIRE(model);
    DFI_TRY(read_options(options, &config));
    return dfi_model_load(archive, &config, model);
}

static int open_folder(diffc_context *context, const char *path, const diffc_model_options *options,
                       diffc_model **model)
{
    struct dfi_model_config config;
    DFI_TRY(dfi_model_config_read(options, &config));
    const struct dfi_folder_options files = { options->variant, options->map != 0, options->finite != 0, 0 };
    return dfi_model_open_folder(context, path, &files, &config, model);
}

static int open_file(diffc_context *context, const char *path, const diffc_model_options *options,
                     diffc_model **model)
{
    diffc_archive_options file = DIFFC_ARCHIVE_OPTIONS;
    diffc_archive *archive = NULL;
    file.finite = options->finite != 0;
    DFI_TRY(diffc_archive_open(context, path, &file, &archive));
    const int status = diffc_model_from_archive(archive, options, model);
    diffc_release(&archive);
    return status < 0 ? dfi_fail_in(status, "%s", path) : status;
}

int diffc_model_open(diffc_context *context, const char *path, const diffc_model_options *options,
                     diffc_model **model)
{
    diffc_model_options read;
    DFI_REQUIRE(context);
    DFI_REQUIRE(path);
    DFI_REQUIRE(model);
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "diffc_model_options"));
    return dfi_is_folder(path) ? open_folder(context, path, &read, model)
                               : open_file(context, path, &read, model);
}

int diffc_model_save(const diffc_model *model, const char *path, int dtype)
{
    diffc_archive *archive = NULL;
    DFI_REQUIRE(model);
    DFI_REQUIRE(path);
    if (dtype != DIFFC_F32 && dtype != DIFFC_F16 && dtype != DIFFC_BF16)
        return dfi_fail(DIFFC_ERR_ARG, "dtype is %d (%s), must be F32, F16 or BF16", dtype,
                        dfi_dtype_name(dtype));
    DFI_TRY(dfi_model_store(model, dtype, &archive));
    const int status = diffc_archive_save(archive, path);
    diffc_release(&archive);
    return status;
}

int diffc_model_save_folder(const diffc_model *model, const char *path, int dtype, const char *variant,
                            int64_t shard_bytes)
{
    DFI_REQUIRE(model);
    DFI_REQUIRE(path);
    if (shard_bytes < 0)
        return dfi_fail(DIFFC_ERR_ARG, "shard_bytes is %lld, must not be negative", (long long)shard_bytes);
    if (dtype != DIFFC_F32 && dtype != DIFFC_F16 && dtype != DIFFC_BF16)
        return dfi_fail(DIFFC_ERR_ARG, "dtype is %s, must be F32, F16 or BF16", dfi_dtype_name(dtype));
    if (variant && (strchr(variant, '/') || strlen(variant) > 40))
        return dfi_fail(DIFFC_ERR_ARG, "variant \"%.60s\" is no part of a file name", variant);
    const struct dfi_folder_options files = { .variant = variant, .shard = (uint64_t)shard_bytes };
    return dfi_model_save_folder(model, path, dtype, &files);
}

const char *diffc_model_unused(const diffc_model *model, int position)
{
    return model && position >= 0 && position < model->unused_count ? model->unused[position] : NULL;
}

int diffc_model_describe(const diffc_model *model, const char **architecture, diffc_model_options *options)
{
    DFI_REQUIRE(model);
    if (options) {
        const struct dfi_model_config *config = &model->config;
        const size_t size = options->struct_size;
        if (size < sizeof(size_t))
            return dfi_fail(DIFFC_ERR_ARG, "options.struct_size is %zu, must be the size of the struct",
                            size);
        const diffc_model_options all = {
            size,
            config->image_channels,
            config->image_height,
            config->image_width,
            config->width,
            config->classes,
            config->condition,
            config->time_mode,
            config->objective,
            config->train_steps,
            config->seed,
            config->json,
            NULL,
            0,
            config->without_weights,
            0,
        };
        memcpy(options, &all, size < sizeof(all) ? size : sizeof(all));
    }
    if (architecture)
        *architecture = model->architecture->entry.name;
    return DIFFC_OK;
}

const char *diffc_model_metadata(const diffc_model *model, const char *key)
{
    return model && key ? dfi_model_metadata(model, key) : NULL;
}

int diffc_model_set_metadata(diffc_model *model, const char *key, const char *value)
{
    DFI_REQUIRE(model);
    DFI_REQUIRE(key);
    if (!*key)
        return dfi_fail(DIFFC_ERR_ARG, "key is empty");
    return dfi_model_set_metadata(model, key, value);
}

int64_t diffc_model_parameter_count(const diffc_model *model)
{
    return model ? (int64_t)model->params.value_count : 0;
}

int diffc_model_tensor_count(const diffc_model *model)
{
    return model ? model->params.count + model->params.stat_entries : 0;
}

int diffc_model_tensor(const diffc_model *model, int position, const char **name, diffc_tensor **tensor,
                       int *trainable)
{
    const int count = diffc_model_tensor_count(model);
    DFI_REQUIRE(model);
    if (position < 0 || position >= count)
        return dfi_fail(DIFFC_ERR_ARG, "position is %d, must be 0 to %d", position, count - 1);
    const struct dfi_params *params = &model->params;
    const int trains = position < params->count;
    if (tensor && model->config.without_weights)
        return dfi_fail(DIFFC_ERR_STATE, "the model was opened without its weights");
    const struct dfi_param *param = trains ? &params->list[position]
                                           : &params->stat_list[position - params->count];
    if (tensor && trains && param->stored)
        DFI_TRY(dfi_tensor_over(model->object.context, param->stored_dtype, param->ndim, param->shape,
                                (void *)(uintptr_t)param->stored, model, tensor));
    else if (tensor)
        DFI_TRY(dfi_tensor_over(model->object.context, DIFFC_F32, param->ndim, param->shape,
                                (float *)(trains ? params->values : params->stats) + param->offset, model,
                                tensor));
    if (name)
        *name = param->name;
    if (trainable)
        *trainable = trains;
    return DIFFC_OK;
}
