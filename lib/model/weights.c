#include "model/weights.h"

#include <diffc/version.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/architectures.h"
#include "model/config.h"

/* Settings that are saved as numbers. */
static const struct number_key {
    const char *key;
    size_t offset;
} number_keys[] = {
    { "image_channels", offsetof(struct dfi_model_config, image_channels) },
    { "image_height", offsetof(struct dfi_model_config, image_height) },
    { "image_width", offsetof(struct dfi_model_config, image_width) },
    { "width", offsetof(struct dfi_model_config, width) },
    { "classes", offsetof(struct dfi_model_config, classes) },
    { "train_steps", offsetof(struct dfi_model_config, train_steps) },
};

static int *number_at(struct dfi_model_config *config, const struct number_key *key)
{
    return (int *)(void *)((char *)config + key->offset);
}

static int read_number(const char *key, const char *text, int *number)
{
    char *end = NULL;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < 0 || value > 1000000)
        return dfi_fail(DIFFC_ERR_CONFIG, "metadata %s is \"%.40s\", expected a number from 0 to 1000000",
                        key, text);
    *number = (int)value;
    return DIFFC_OK;
}

static int read_name(const struct diffc_archive *archive, const char *key, const char *(*find)(const char *),
                     const char **name)
{
    const char *text = dfi_archive_metadata(archive, key);
    if (!text)
        return DIFFC_OK;
    *name = find(text);
    return *name ? DIFFC_OK : dfi_fail_in(DIFFC_ERR_CONFIG, "metadata %s", key);
}

static int read_metadata(const struct diffc_archive *archive, struct dfi_model_config *config)
{
    for (int i = 0; i < DFI_COUNT(number_keys); i++) {
        const char *text = dfi_archive_metadata(archive, number_keys[i].key);
        if (text)
            DFI_TRY(read_number(number_keys[i].key, text, number_at(config, &number_keys[i])));
    }
    DFI_TRY(read_name(archive, "condition", dfi_condition_name, &config->condition));
    DFI_TRY(read_name(archive, "time_mode", dfi_time_mode_name, &config->time_mode));
    return read_name(archive, "objective", dfi_objective_name, &config->objective);
}

static int find_architecture(const struct diffc_archive *archive, struct dfi_model_config *config,
                             const struct dfi_architecture **architecture)
{
    const char *name = dfi_archive_metadata(archive, "architecture");
    if (name) {
        *architecture = dfi_architecture_find(name);
        if (!*architecture)
            return DIFFC_ERR_UNSUPPORTED;
        config->json = dfi_archive_metadata(archive, "config");
        return read_metadata(archive, config);
    }
    for (int i = 0; (*architecture = dfi_architecture_at(i)); i++)
        if ((*architecture)->infer(archive, config) == DIFFC_OK)
            return DIFFC_OK;
    return dfi_fail(DIFFC_ERR_CONFIG, "neither metadata \"architecture\" nor the tensors of a known one");
}

static int shape_matches(const struct diffc_tensor *tensor, const struct dfi_param *param)
{
    return dfi_dtype_is_float(tensor->dtype) && tensor->ndim == param->ndim &&
           memcmp(tensor->shape, param->shape, (size_t)param->ndim * sizeof(*param->shape)) == 0;
}

static const char *expected_text(const struct dfi_param *param, char *text, size_t size)
{
    struct diffc_tensor like = { .dtype = DIFFC_F32, .ndim = param->ndim };
    memcpy(like.shape, param->shape, (size_t)param->ndim * sizeof(*like.shape));
    return dfi_tensor_text(&like, text, size);
}

static int check_tensor(const struct dfi_archive_entry *entry, const struct dfi_param *param)
{
    char found[96], expected[96];
    struct diffc_tensor like = { .dtype = entry->dtype, .ndim = entry->ndim };
    memcpy(like.shape, entry->shape, sizeof(like.shape));
    if (shape_matches(&like, param))
        return DIFFC_OK;
    return dfi_fail(DIFFC_ERR_CONFIG, "tensor %s is %s, expected %s", param->name,
                    dfi_tensor_text(&like, found, sizeof(found)),
                    expected_text(param, expected, sizeof(expected)));
}

static const struct dfi_archive_entry *entry_of(const struct diffc_archive *archive,
                                                const struct dfi_param *param)
{
    const int position = dfi_archive_find(archive, param->name);
    return position < 0 ? NULL : dfi_archive_entry(archive, position);
}

/* Of any strides: the archive may be the caller's. */
static int read_tensor(const struct diffc_archive *archive, const struct dfi_param *param, float *values)
{
    struct diffc_tensor *tensor = NULL, *target = NULL;
    DFI_TRY(dfi_archive_get(archive, dfi_archive_find(archive, param->name), &tensor));
    int status = dfi_tensor_over(archive->object.context, DIFFC_F32, param->ndim, param->shape,
                                 values + param->offset, archive, &target);
    if (status == DIFFC_OK)
        dfi_tensor_copy(tensor, target);
    dfi_release(target);
    dfi_release(tensor);
    return status;
}

int dfi_check_missing(const struct dfi_params *params, const struct diffc_archive *archive,
                      dfi_archive_finder find)
{
    char names[3 * DFI_PARAM_NAME + 8] = "";
    int missing = 0;
    for (int i = 0; i < params->count; i++) {
        if (find(archive, params->list[i].name) >= 0)
            continue;
        if (missing++ < 3) {
            const size_t used = strlen(names);
            snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", params->list[i].name);
        }
    }
    if (missing)
        return dfi_fail(DIFFC_ERR_CONFIG, "%d of %d tensors are missing: %s%s", missing, params->count, names,
                        missing > 3 ? ", ..." : "");
    return DIFFC_OK;
}

/* Tensors of the file that the model does not have are accepted, and can be asked for. */
static int note_unused(struct diffc_model *model, const struct diffc_archive *archive)
{
    struct diffc_context *context = model->object.context;
    int count = 0, trainable = 0;
    for (int i = 0; i < archive->count; i++)
        count += !dfi_params_find(&model->params, archive->entries[i].name, &trainable);
    if (!count || model->unused)
        return DIFFC_OK;
    model->unused = dfi_calloc(context, (size_t)count, sizeof(*model->unused));
    if (!model->unused)
        return DIFFC_ERR_NOMEM;
    for (int i = 0; i < archive->count; i++) {
        const char *name = archive->entries[i].name;
        if (dfi_params_find(&model->params, name, &trainable))
            continue;
        char *copy = dfi_strdup(context, name);
        if (!copy)
            return DIFFC_ERR_NOMEM;
        model->unused[model->unused_count++] = copy;
    }
    return DIFFC_OK;
}

/* Everything that the model needs is there, in its shapes. */
static int check_tensors(const struct diffc_model *model, const struct diffc_archive *archive)
{
    const struct dfi_params *params = &model->params;
    DFI_TRY(dfi_check_missing(params, archive, dfi_archive_find));
    for (int i = 0; i < params->count; i++)
        DFI_TRY(check_tensor(entry_of(archive, &params->list[i]), &params->list[i]));
    for (int i = 0; i < params->stat_entries; i++) {
        const struct dfi_archive_entry *entry = entry_of(archive, &params->stat_list[i]);
        if (entry)
            DFI_TRY(check_tensor(entry, &params->stat_list[i]));
    }
    return DIFFC_OK;
}

static int read_tensors(struct diffc_model *model, const struct diffc_archive *archive)
{
    struct dfi_params *params = &model->params;
    DFI_TRY(note_unused(model, archive));
    for (int i = 0; i < params->count; i++)
        DFI_TRY(read_tensor(archive, &params->list[i], params->values));
    for (int i = 0; i < params->stat_entries; i++)
        if (entry_of(archive, &params->stat_list[i]))
            DFI_TRY(read_tensor(archive, &params->stat_list[i], params->stats));
    return DIFFC_OK;
}

static const void *find_tensor(void *opaque, const struct dfi_param *param, int *dtype)
{
    const struct diffc_archive *archive = opaque;
    const struct dfi_archive_entry *entry = entry_of(archive, param);
    if (check_tensor(entry, param) < 0)
        return NULL;
    *dtype = entry->dtype;
    return entry->data;
}

int dfi_model_adopt(struct diffc_model *model, struct diffc_archive *archive)
{
    DFI_TRY(dfi_check_missing(&model->params, archive, dfi_archive_find));
    DFI_TRY(note_unused(model, archive));
    model->archive = dfi_retain(archive);
    return dfi_params_borrow(&model->params, find_tensor, archive);
}

int dfi_model_gather(struct diffc_model *model)
{
    struct dfi_params *params = &model->params;
    if (!params->borrowed)
        return DIFFC_OK;
    float *values = dfi_alloc(model->object.context, (params->value_count + 1) * sizeof(*values));
    if (!values)
        return DIFFC_ERR_NOMEM;
    size_t offset = 0;
    for (int i = 0; i < params->count; i++) {
        struct dfi_param *param = &params->list[i];
        if (param->stored)
            dfi_convert(param->stored_dtype, param->stored, DIFFC_F32, values + offset, param->count);
        else
            memcpy(values + offset, (float *)params->values + param->offset, param->count * sizeof(float));
        param->stored = NULL;
        param->offset = offset;
        offset += param->count;
    }
    model->gathered = params->values;
    params->values = values;
    params->borrowed = 0;
    return DIFFC_OK;
}

int dfi_model_owns_key(const char *key)
{
    static const char *const names[] = { "architecture", "condition",       "time_mode", "objective",
                                         "format",       "library_version", "config" };
    for (int i = 0; i < DFI_COUNT(names); i++)
        if (strcmp(key, names[i]) == 0)
            return 1;
    for (int i = 0; i < DFI_COUNT(number_keys); i++)
        if (strcmp(key, number_keys[i].key) == 0)
            return 1;
    return strncmp(key, "checkpoint.", 11) == 0 ||
           strncmp(key, "crc32", 5) == 0; /* a checkpoint opened as a model */
}

/* No key is there twice, in an archive and so in the model. */
static int copy_metadata(const struct diffc_archive *archive, struct diffc_model *model)
{
    struct dfi_metadata **end = &model->metadata;
    for (int i = 0; i < archive->metadata_count; i++)
        if (!dfi_model_owns_key(archive->metadata[i].key))
            DFI_TRY(
                dfi_model_append_metadata(model, archive->metadata[i].key, archive->metadata[i].value, &end));
    return DIFFC_OK;
}

int dfi_model_load(const struct diffc_archive *archive, const struct dfi_model_config *fallback,
                   struct diffc_model **model)
{
    struct dfi_model_config config = *fallback;
    const struct dfi_architecture *architecture = NULL;
    struct diffc_model *made = NULL;
    DFI_TRY(find_architecture(archive, &config, &architecture));
    const int without_weights = config.without_weights;
    config.without_weights = 1; /* before memory is taken, the tensors must be there */
    DFI_TRY(dfi_model_new(archive->object.context, architecture, &config, &made));
    made->config.without_weights = without_weights;
    int status = without_weights ? DIFFC_OK : check_tensors(made, archive);
    if (status == DIFFC_OK && !without_weights)
        status = dfi_model_allocate(made, 0);
    if (status == DIFFC_OK && !without_weights)
        status = read_tensors(made, archive);
    if (status == DIFFC_OK)
        status = copy_metadata(archive, made);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *model = made;
    return DIFFC_OK;
}

static int store_tensor(const struct diffc_model *model, const struct dfi_param *param, const float *values,
                        int dtype, struct diffc_archive *archive)
{
    struct diffc_context *context = model->object.context;
    struct diffc_tensor *tensor = NULL;
    const int source = param->stored ? param->stored_dtype : DIFFC_F32;
    void *data = (void *)(uintptr_t)(param->stored ? param->stored : values + param->offset);
    if (dtype == source) {
        DFI_TRY(dfi_tensor_over(context, dtype, param->ndim, param->shape, data, model, &tensor));
    } else {
        DFI_TRY(dfi_tensor_create(context, dtype, param->ndim, param->shape, &tensor));
        dfi_convert(source, data, dtype, tensor->data, param->count);
    }
    const int status = dfi_archive_add(archive, param->name, tensor);
    dfi_release(tensor);
    return status;
}

static int store_metadata(const struct diffc_model *model, struct diffc_archive *archive)
{
    struct dfi_model_config config = model->config;
    char text[32];
    DFI_TRY(dfi_archive_set_metadata(archive, "format", "libdiffc-model-1"));
    DFI_TRY(dfi_archive_set_metadata(archive, "library_version", DIFFC_VERSION_TEXT));
    DFI_TRY(dfi_archive_set_metadata(archive, "architecture", model->architecture->entry.name));
    if (config.objective)
        DFI_TRY(dfi_archive_set_metadata(archive, "objective", config.objective));
    if (model->json)
        DFI_TRY(dfi_archive_set_metadata(archive, "config", model->json));
    else
        DFI_TRY(dfi_archive_set_metadata(archive, "condition", config.condition));
    if (!model->json)
        DFI_TRY(dfi_archive_set_metadata(archive, "time_mode", config.time_mode));
    for (int i = 0; !model->json && i < DFI_COUNT(number_keys); i++) {
        snprintf(text, sizeof(text), "%d", *number_at(&config, &number_keys[i]));
        DFI_TRY(dfi_archive_set_metadata(archive, number_keys[i].key, text));
    }
    for (const struct dfi_metadata *entry = model->metadata; entry; entry = entry->next)
        DFI_TRY(dfi_archive_append_metadata(archive, entry->key, entry->value));
    return DIFFC_OK;
}

int dfi_model_store(const struct diffc_model *model, int dtype, struct diffc_archive **archive)
{
    const struct dfi_params *params = &model->params;
    struct diffc_archive *made = NULL;
    if (model->config.without_weights)
        return dfi_fail(DIFFC_ERR_STATE, "the model was opened without its weights");
    DFI_TRY(dfi_archive_new(model->object.context, &made));
    int status = store_metadata(model, made);
    for (int i = 0; i < params->count && status == DIFFC_OK; i++)
        status = store_tensor(model, &params->list[i], params->values, dtype, made);
    for (int i = 0; i < params->stat_entries && status == DIFFC_OK; i++)
        status = store_tensor(model, &params->stat_list[i], params->stats, DIFFC_F32, made);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *archive = made;
    return DIFFC_OK;
}
