#include "model/folder_model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "io/folder.h"
#include "model/architectures.h"
#include "model/weights.h"

#define CONFIG "config.json"

/* Checks the settings under the name of the file, and tells of keys that nobody knows. */
static int check_config(struct diffc_context *context, const char *folder)
{
    struct dfi_json_member member = { 0 };
    struct dfi_if_config config;
    struct json_t *root = NULL;
    DFI_TRY(dfi_folder_json(context, folder, CONFIG, &root));
    char *path = dfi_folder_path(context, folder, CONFIG);
    const int status = path ? dfi_if_config_read(root, path, &config) : DIFFC_ERR_NOMEM;
    while (status == DIFFC_OK && dfi_json_next(root, &member))
        if (!dfi_if_config_knows(member.key))
            dfi_log(context, DIFFC_LOG_INFO, "%s: key \"%.60s\" is not known and ignored", path, member.key);
    dfi_free(context, path);
    dfi_json_free(root);
    return status;
}

/* Before a byte of them is read. */
static int check_memory(struct diffc_context *context, const char *folder,
                        const struct dfi_folder_options *options)
{
    uint64_t bytes = 0;
    DFI_TRY(dfi_folder_weight_bytes(context, folder, options->variant, &bytes));
    if (bytes > (uint64_t)context->limits.memory)
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: the weights take %llu bytes, the memory limit is %lld", folder,
                        (unsigned long long)bytes, (long long)context->limits.memory);
    return DIFFC_OK;
}

static int in_folder(const char *folder, int status)
{
    return status < 0 ? dfi_fail_in(status, "%s", folder) : status;
}

static int open_component(struct diffc_context *context, const char *folder,
                          const struct dfi_folder_options *options, const struct dfi_model_config *fallback,
                          struct diffc_model **model)
{
    struct dfi_model_config config = *fallback;
    struct diffc_archive *archive = NULL;
    struct diffc_model *made = NULL;
    char *text = NULL;
    DFI_TRY(check_config(context, folder));
    int status = dfi_folder_text(context, folder, CONFIG, &text); /* kept as it is: saving writes it again */
    config.json = text;
    config.without_weights = 1; /* they stay where the file has them */
    if (status == DIFFC_OK)
        status = in_folder(folder, dfi_model_new(context, &dfi_architecture_if_unet, &config, &made));
    if (status == DIFFC_OK && !fallback->without_weights)
        status = check_memory(context, folder, options);
    if (status == DIFFC_OK && !fallback->without_weights)
        status = dfi_folder_weights(context, folder, options->variant, options->map, &archive);
    if (status == DIFFC_OK && archive && options->finite)
        status = in_folder(folder, dfi_archive_check_finite(archive));
    if (status == DIFFC_OK && !fallback->without_weights)
        status = in_folder(folder, dfi_model_adopt(made, archive));
    if (status == DIFFC_OK)
        made->config.without_weights = fallback->without_weights;
    dfi_release(archive);
    dfi_free(context, text);
    if (status < 0)
        dfi_release(made);
    else
        *model = made;
    return status;
}

int dfi_model_open_folder(struct diffc_context *context, const char *path,
                          const struct dfi_folder_options *options, const struct dfi_model_config *fallback,
                          struct diffc_model **model)
{
    if (dfi_folder_has(path, CONFIG))
        return open_component(context, path, options, fallback, model);
    if (!dfi_folder_has(path, "unet/" CONFIG))
        return dfi_fail(DIFFC_ERR_IO, "%s: not a model: neither " CONFIG " nor unet/" CONFIG, path);
    char *unet = dfi_folder_path(context, path, "unet");
    if (!unet)
        return DIFFC_ERR_NOMEM;
    const int status = open_component(context, unet, options, fallback, model);
    dfi_free(context, unet);
    return status;
}

static int write_config(const struct diffc_model *model, const char *folder)
{
    struct diffc_context *context = model->object.context;
    struct dfi_atomic_file file;
    char *path = dfi_folder_path(context, folder, CONFIG);
    if (!path)
        return DIFFC_ERR_NOMEM;
    int status = dfi_atomic_begin(context, path, 0, &file);
    if (status == DIFFC_OK)
        status = dfi_atomic_append(&file, model->json, strlen(model->json));
    if (status == DIFFC_OK)
        status = dfi_atomic_commit(&file);
    dfi_atomic_abort(&file);
    dfi_free(context, path);
    return status;
}

int dfi_model_save_folder(const struct diffc_model *model, const char *path, int dtype,
                          const struct dfi_folder_options *options)
{
    struct diffc_archive *archive = NULL;
    if (!model->json)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "%s has no folder layout: diffc_model_save() writes one file",
                        model->architecture->entry.name);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return dfi_fail(DIFFC_ERR_IO, "cannot make the folder \"%s\": %s", path, strerror(errno));
    DFI_TRY(dfi_model_store(model, dtype, &archive));
    int status = dfi_folder_save(archive, path, "diffusion_pytorch_model", options->variant, options->shard);
    dfi_release(archive);
    if (status == DIFFC_OK)
        status = write_config(model, path);
    return status;
}
