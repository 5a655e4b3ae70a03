/* A T5 encoder from a folder of transformers: weights stay as the files have them. */

#include <stdio.h>
#include <string.h>

#include "io/folder.h"
#include "model/t5.h"

static void destroy(void *handle)
{
    struct diffc_text_encoder *encoder = handle;
    dfi_exec_destroy(encoder->exec);
    dfi_graph_destroy(encoder->graph);
    dfi_params_clear(&encoder->params);
    dfi_release(encoder->weights);
    dfi_object_free(encoder);
}

/* The embedding has two names, of which a file may have either. */
static int find_tensor(const struct diffc_archive *archive, const char *name)
{
    const int position = dfi_archive_find(archive, name);
    return position < 0 && strcmp(name, "shared.weight") == 0
               ? dfi_archive_find(archive, "encoder.embed_tokens.weight")
               : position;
}

static int check_missing(const struct dfi_params *params, const struct diffc_archive *archive)
{
    char names[3 * DFI_PARAM_NAME + 8] = "";
    int missing = 0;
    for (int i = 0; i < params->count; i++) {
        if (find_tensor(archive, params->list[i].name) >= 0)
            continue;
        if (missing++ < 3) {
            const size_t used = strlen(names);
            (void)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
                           params->list[i].name);
        }
    }
    if (missing)
        return dfi_fail(DIFFC_ERR_CONFIG, "%d of %d tensors are missing: %s%s", missing, params->count, names,
                        missing > 3 ? ", ..." : "");
    return DIFFC_OK;
}

static const void *find_values(void *opaque, const struct dfi_param *param, int *dtype)
{
    const struct diffc_archive *archive = opaque;
    const struct dfi_archive_entry *entry = dfi_archive_entry(archive, find_tensor(archive, param->name));
    const int is_float = entry->dtype == DIFFC_F32 || entry->dtype == DIFFC_F16 || entry->dtype == DIFFC_BF16;
    struct diffc_tensor found = { .dtype = entry->dtype, .ndim = entry->ndim };
    struct diffc_tensor wanted = { .dtype = DIFFC_F32, .ndim = param->ndim };
    char found_text[96], wanted_text[96];
    memcpy(found.shape, entry->shape, sizeof(found.shape));
    memcpy(wanted.shape, param->shape, (size_t)param->ndim * sizeof(*param->shape));
    if (!is_float || entry->ndim != param->ndim ||
        memcmp(found.shape, wanted.shape, (size_t)param->ndim * sizeof(*param->shape)) != 0) {
        dfi_fail(DIFFC_ERR_CONFIG, "tensor %s is %s, expected %s (or F16 or BF16)", param->name,
                 dfi_tensor_text(&found, found_text, sizeof(found_text)),
                 dfi_tensor_text(&wanted, wanted_text, sizeof(wanted_text)));
        return NULL;
    }
    *dtype = entry->dtype;
    return entry->data;
}

static int read_config(struct diffc_context *context, const char *folder, struct dfi_t5_config *config)
{
    struct json_t *root = NULL;
    char *path = dfi_folder_path(context, folder, "config.json");
    int status = path ? dfi_folder_json(context, folder, "config.json", &root) : DIFFC_ERR_NOMEM;
    if (status == DIFFC_OK)
        status = dfi_t5_config_read(root, path, config);
    dfi_json_free(root);
    dfi_free(context, path);
    return status;
}

static int build(struct diffc_text_encoder *encoder)
{
    struct diffc_context *context = encoder->object.context;
    dfi_params_init(&encoder->params, context, DIFFC_F32);
    DFI_TRY(dfi_graph_create(context, &encoder->params, &encoder->graph));
    dfi_t5_build(encoder->graph, &encoder->config, encoder->length, &encoder->values);
    return dfi_graph_finish(encoder->graph);
}

static int load(struct diffc_text_encoder *encoder, const char *folder,
                const struct dfi_text_encoder_config *config)
{
    struct diffc_context *context = encoder->object.context;
    const struct dfi_exec_options options = { .batch = encoder->batch,
                                              .conditions = 1,
                                              .precision = config->precision };
    uint64_t bytes = 0;
    DFI_TRY(dfi_folder_weight_bytes(context, folder, config->variant, &bytes));
    if (bytes > (uint64_t)context->limits.memory)
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: weights of %llu bytes, limits.memory is %lld", folder,
                        (unsigned long long)bytes, (long long)context->limits.memory);
    DFI_TRY(dfi_folder_weights(context, folder, config->variant, config->map, &encoder->weights));
    int status = check_missing(&encoder->params, encoder->weights);
    if (status == DIFFC_OK)
        status = dfi_params_borrow(&encoder->params, find_values, encoder->weights);
    if (status == DIFFC_ERR_CONFIG)
        return dfi_fail_in(status, "%s", folder);
    DFI_TRY(status);
    return dfi_exec_create(encoder->graph, &encoder->params, &options, &encoder->exec);
}

/* An encoder with its graph, without weights. */
static int begin(struct diffc_context *context, const char *folder,
                 const struct dfi_text_encoder_config *config, struct diffc_text_encoder **encoder)
{
    struct diffc_text_encoder *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->length = config->length;
    made->batch = config->batch;
    int status = read_config(context, folder, &made->config);
    if (status == DIFFC_OK)
        status = build(made);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *encoder = made;
    return DIFFC_OK;
}

int dfi_text_encoder_open(struct diffc_context *context, const char *folder,
                          const struct dfi_text_encoder_config *config, struct diffc_text_encoder **encoder)
{
    struct diffc_text_encoder *made;
    DFI_TRY(begin(context, folder, config, &made));
    const int status = load(made, folder, config);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *encoder = made;
    return DIFFC_OK;
}

int dfi_text_encoder_bytes(struct diffc_context *context, const char *folder,
                           const struct dfi_text_encoder_config *config, uint64_t *bytes)
{
    const struct dfi_exec_options options = { .batch = config->batch,
                                              .conditions = 1,
                                              .precision = config->precision };
    struct diffc_text_encoder *made;
    uint64_t weights = 0;
    size_t plan = 0;
    DFI_TRY(begin(context, folder, config, &made));
    int status = dfi_folder_weight_bytes(context, folder, config->variant, &weights);
    if (status == DIFFC_OK)
        status = dfi_exec_bytes(made->graph, &options, &plan);
    if (status == DIFFC_OK)
        *bytes = weights + plan;
    dfi_release(made);
    return status;
}

static void write_inputs(const struct diffc_text_encoder *encoder, const int32_t *ids, const int32_t *used,
                         int count)
{
    for (int n = 0; n < count; n++) {
        const struct dfi_block to = dfi_exec_value(encoder->exec, encoder->values.ids);
        const struct dfi_block mask = dfi_exec_value(encoder->exec, encoder->values.mask);
        float *row = (float *)to.data + n * to.sample_stride;
        float *valid = (float *)mask.data + n * mask.sample_stride;
        for (int i = 0; i < encoder->length; i++) {
            row[i] = (float)ids[n * encoder->length + i];
            valid[i] = i < used[n];
        }
    }
}

static int check_ids(const struct diffc_text_encoder *encoder, const int32_t *ids, const int32_t *used,
                     int count)
{
    for (int n = 0; n < count; n++) {
        if (used[n] < 1 || used[n] > encoder->length)
            return dfi_fail(DIFFC_ERR_ARG, "prompt %d has %d ids, must be 1 to %d", n, (int)used[n],
                            encoder->length);
        for (int i = 0; i < encoder->length; i++) {
            const int32_t id = ids[(int64_t)n * encoder->length + i];
            if (id < 0 || id >= encoder->config.vocabulary)
                return dfi_fail(DIFFC_ERR_ARG, "id %d of prompt %d is %d, must be 0 to %d", i, n, (int)id,
                                encoder->config.vocabulary - 1);
        }
    }
    return DIFFC_OK;
}

int dfi_text_encoder_run(struct diffc_text_encoder *encoder, const int32_t *ids, const int32_t *used,
                         int count, float *states)
{
    const size_t row = (size_t)encoder->length * (size_t)encoder->config.d_model;
    DFI_TRY(check_ids(encoder, ids, used, count));
    for (int first = 0; first < count; first += encoder->batch) {
        const int part = count - first < encoder->batch ? count - first : encoder->batch;
        dfi_exec_set_size(encoder->exec, part, 1);
        write_inputs(encoder, ids + (int64_t)first * encoder->length, used + first, part);
        DFI_TRY(dfi_exec_forward(encoder->exec, 0));
        const struct dfi_block out = dfi_exec_value(encoder->exec, encoder->values.out);
        memcpy(states + (size_t)first * row, out.data, (size_t)part * row * sizeof(*states));
    }
    return DIFFC_OK;
}
