/* A T5 encoder from a folder of transformers: weights stay as the files have them. */

#include <stdio.h>
#include <string.h>

#include "io/folder.h"
#include "model/t5.h"
#include "model/weights.h"

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

static const void *find_values(void *opaque, const struct dfi_param *param, int *dtype)
{
    const struct diffc_archive *archive = opaque;
    const struct dfi_archive_entry *entry = dfi_archive_entry(archive, find_tensor(archive, param->name));
    struct diffc_tensor found = { .dtype = entry->dtype, .ndim = entry->ndim };
    struct diffc_tensor wanted = { .dtype = DIFFC_F32, .ndim = param->ndim };
    char found_text[96], wanted_text[96];
    memcpy(found.shape, entry->shape, sizeof(found.shape));
    memcpy(wanted.shape, param->shape, (size_t)param->ndim * sizeof(*param->shape));
    if (!dfi_dtype_is_float(entry->dtype) || entry->dtype == DIFFC_F64 || entry->ndim != param->ndim ||
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
    dfi_t5_build_rows(encoder->graph, &encoder->config, encoder->length, &encoder->values);
    return dfi_graph_finish(encoder->graph);
}

static struct dfi_exec_options options_of(const struct dfi_text_encoder_config *config)
{
    return (struct dfi_exec_options) {
        .batch = config->batch, .parts = config->length, .conditions = 1, .precision = config->precision
    };
}

static int count_bytes(const struct diffc_text_encoder *encoder, const char *folder,
                       const struct dfi_text_encoder_config *config, uint64_t *weights, size_t *plan)
{
    const struct dfi_exec_options options = options_of(config);
    DFI_TRY(dfi_folder_weight_bytes(encoder->object.context, folder, config->variant, weights));
    return dfi_exec_bytes(encoder->graph, &options, plan);
}

/* Before a byte of the weights is read. */
static int check_memory(const struct diffc_text_encoder *encoder, const char *folder,
                        const struct dfi_text_encoder_config *config)
{
    const uint64_t limit = (uint64_t)encoder->object.context->limits.memory;
    uint64_t weights = 0;
    size_t plan = 0;
    DFI_TRY(count_bytes(encoder, folder, config, &weights, &plan));
    if (weights > limit || plan > limit - weights)
        return dfi_fail(DIFFC_ERR_LIMIT,
                        "%s: %llu bytes for weights and %zu for a run, the memory limit is %llu", folder,
                        (unsigned long long)weights, plan, (unsigned long long)limit);
    return DIFFC_OK;
}

static int load(struct diffc_text_encoder *encoder, const char *folder,
                const struct dfi_text_encoder_config *config)
{
    struct diffc_context *context = encoder->object.context;
    const struct dfi_exec_options options = options_of(config);
    DFI_TRY(check_memory(encoder, folder, config));
    DFI_TRY(dfi_folder_weights(context, folder, config->variant, config->map, &encoder->weights));
    int status = config->finite ? dfi_archive_check_finite(encoder->weights) : DIFFC_OK;
    if (status == DIFFC_OK)
        status = dfi_check_missing(&encoder->params, encoder->weights, find_tensor);
    if (status == DIFFC_OK)
        status = dfi_params_borrow(&encoder->params, find_values, encoder->weights);
    if (status == DIFFC_ERR_CONFIG || status == DIFFC_ERR_NONFINITE)
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
    struct diffc_text_encoder *made;
    uint64_t weights = 0;
    size_t plan = 0;
    DFI_TRY(begin(context, folder, config, &made));
    const int status = count_bytes(made, folder, config, &weights, &plan);
    if (status == DIFFC_OK)
        *bytes = weights + plan;
    dfi_release(made);
    return status;
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

/* No work twice: padding attends to the prompt and nothing attends to it, so that what stands at one place of
 * it differs from what stands before it by the buckets of the keys' distances alone. Where these are the
 * same, so are the states in every layer, bit by bit. As buckets never fall with the distance, all keys have
 * kept theirs if those of the farthest key now and of the nearest key before are one. */
static int repeats(const struct diffc_text_encoder *encoder, const int32_t *ids, int used, int place)
{
    const int buckets = encoder->config.buckets, reach = encoder->config.max_distance;
    return place > used && ids[place] == ids[place - 1] &&
           dfi_relative_bucket(buckets, reach, -place) == dfi_relative_bucket(buckets, reach, used - place);
}

static int count_rows(const struct diffc_text_encoder *encoder, const int32_t *ids, int used)
{
    int rows = 0;
    for (int place = 0; place < encoder->length; place++)
        rows += !repeats(encoder, ids, used, place);
    return rows;
}

static float *row_of(const struct diffc_text_encoder *encoder, int value, int row)
{
    const struct dfi_block block = dfi_exec_value(encoder->exec, value);
    return (float *)block.data + row * block.sample_stride;
}

/* A prompt to the rows from `first` on; returns the next row. */
static int write_prompt(const struct diffc_text_encoder *encoder, const int32_t *ids, int used, int first)
{
    int row = first;
    for (int place = 0; place < encoder->length; place++) {
        if (repeats(encoder, ids, used, place))
            continue;
        *row_of(encoder, encoder->values.ids, row) = (float)ids[place];
        *row_of(encoder, encoder->values.places, row) = (float)place;
        float *span = row_of(encoder, encoder->values.spans, row++);
        span[0] = (float)first;
        span[1] = (float)used;
    }
    return row;
}

static int read_prompt(const struct diffc_text_encoder *encoder, const int32_t *ids, int used, int first,
                       float *states)
{
    const size_t width = (size_t)encoder->config.d_model;
    int row = first;
    for (int place = 0; place < encoder->length; place++) {
        row += place > 0 && !repeats(encoder, ids, used, place);
        memcpy(states + (size_t)place * width, row_of(encoder, encoder->values.out, row),
               width * sizeof(*states));
    }
    return row + 1;
}

/* As many prompts from `first` on as the plan has rows for, at least one; returns the next one. */
static int write_prompts(const struct diffc_text_encoder *encoder, const int32_t *ids, const int32_t *used,
                         int first, int count)
{
    const int room = encoder->batch * encoder->length;
    int rows = 0, n = first;
    for (; n < count; n++) {
        const int32_t *prompt = ids + (int64_t)n * encoder->length;
        if (count_rows(encoder, prompt, used[n]) > room - rows)
            break;
        rows = write_prompt(encoder, prompt, used[n], rows);
    }
    dfi_exec_set_size(encoder->exec, rows, 1);
    return n;
}

int dfi_text_encoder_run(struct diffc_text_encoder *encoder, const int32_t *ids, const int32_t *used,
                         int count, float *states)
{
    const size_t length = (size_t)encoder->length, width = (size_t)encoder->config.d_model;
    DFI_TRY(check_ids(encoder, ids, used, count));
    for (int n = 0; n < count;) {
        const int end = write_prompts(encoder, ids, used, n, count);
        DFI_TRY(dfi_exec_forward(encoder->exec, 0));
        for (int row = 0; n < end; n++)
            row = read_prompt(encoder, ids + (size_t)n * length, used[n], row,
                              states + (size_t)n * length * width);
    }
    return DIFFC_OK;
}
