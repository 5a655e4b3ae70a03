#include "model/model.h"

#include <string.h>

#include "base/utf8.h"
#include "io/json.h"
#include "io/reader.h"

static void destroy(void *handle)
{
    struct diffc_model *model = handle;
    struct diffc_context *context = model->object.context;
    dfi_graph_destroy(model->graph);
    dfi_graph_destroy(model->loss_graph);
    dfi_params_clear(&model->params);
    dfi_free(context, model->gathered);
    dfi_release(model->archive);
    dfi_free(context, model->json);
    for (int i = 0; i < model->unused_count; i++)
        dfi_free(context, model->unused[i]);
    dfi_free(context, model->unused);
    while (model->metadata) {
        struct dfi_metadata *entry = model->metadata;
        model->metadata = entry->next;
        dfi_free(context, entry->key);
        dfi_free(context, entry->value);
        dfi_free(context, entry);
    }
    dfi_object_free(model);
}

static int build_graph(struct diffc_model *model, int with_loss, struct dfi_graph **graph,
                       struct dfi_model_values *values)
{
    DFI_TRY(dfi_graph_create(model->object.context, &model->params, graph));
    values->text = values->target = values->loss = -1;
    model->architecture->build(*graph, &model->config, values);
    if (with_loss && (*graph)->status == DIFFC_OK) {
        const struct dfi_node *out = &(*graph)->nodes[values->out];
        const int classifies = strcmp(model->architecture->kind, "classifier") == 0;
        int predicted = values->out;
        if (model->json && out->c > model->config.image_channels) /* the others are variances */
            predicted = dfi_channels(*graph, predicted, 0, model->config.image_channels);
        if (predicted < 0)
            return dfi_graph_finish(*graph);
        const struct dfi_node compared = (*graph)->nodes[predicted];
        values->target = dfi_graph_input(*graph, "target", compared.c, compared.h, compared.w, 0);
        values->loss = classifies ? dfi_cross_entropy_loss(*graph, predicted, values->target)
                                  : dfi_mse_loss(*graph, predicted, values->target);
    }
    return dfi_graph_finish(*graph);
}

static int check_range(const char *what, int value, int low, int high)
{
    if (value < low || value > high)
        return dfi_fail(DIFFC_ERR_ARG, "%s is %d, must be %d to %d", what, value, low, high);
    return DIFFC_OK;
}

static int check_config(const struct dfi_architecture *architecture, struct dfi_model_config *config)
{
    DFI_TRY(check_range("image_channels", config->image_channels, 1, 4096));
    DFI_TRY(check_range("image_height", config->image_height, 1, 4096));
    DFI_TRY(check_range("image_width", config->image_width, 1, 4096));
    DFI_TRY(check_range("width", config->width, 1, 4096));
    DFI_TRY(check_range("classes", config->classes, 1, 65536));
    DFI_TRY(check_range("train_steps", config->train_steps, 0, 1000000));
    return architecture->check(config);
}

static int keep_json(struct diffc_model *model)
{
    if (!model->architecture->has_config)
        model->config.json = NULL;
    if (!model->config.json)
        return DIFFC_OK;
    model->json = dfi_strdup(model->object.context, model->config.json);
    model->config.json = model->json;
    return model->json ? DIFFC_OK : DIFFC_ERR_NOMEM;
}

int dfi_model_allocate(struct diffc_model *model, int draws)
{
    const int64_t limit = model->object.context->limits.memory;
    if (model->params.value_count > (size_t)limit / sizeof(float))
        return dfi_fail(DIFFC_ERR_LIMIT,
                        "%s has %zu parameters, more than the memory limit of %lld bytes holds",
                        model->architecture->entry.name, model->params.value_count, (long long)limit);
    DFI_TRY(dfi_params_allocate(&model->params));
    if (draws)
        dfi_params_draw(&model->params, model->config.seed);
    return DIFFC_OK;
}

int dfi_model_new(struct diffc_context *context, const struct dfi_architecture *architecture,
                  const struct dfi_model_config *config, struct diffc_model **model)
{
    struct diffc_model *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->architecture = architecture;
    made->config = *config;
    dfi_params_init(&made->params, context, DIFFC_F32);
    int status = keep_json(made);
    if (status == DIFFC_OK)
        status = check_config(architecture, &made->config);
    if (status == DIFFC_OK)
        status = build_graph(made, 0, &made->graph, &made->values);
    if (status == DIFFC_OK)
        status = build_graph(made, 1, &made->loss_graph, &made->loss_values);
    if (status == DIFFC_OK && !config->without_weights)
        status = dfi_model_allocate(made, 1);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *model = made;
    return DIFFC_OK;
}

int dfi_model_clone(const struct diffc_model *model, struct diffc_model **copy)
{
    struct diffc_model *made = NULL;
    if (model->config.without_weights)
        return dfi_fail(DIFFC_ERR_STATE, "the model was opened without its weights");
    if (model->params.borrowed)
        return dfi_fail(DIFFC_ERR_STATE, "the weights are where the file has them: for evaluation only");
    struct dfi_model_config config = model->config;
    config.without_weights = 1;
    DFI_TRY(dfi_model_new(model->object.context, model->architecture, &config, &made));
    made->config.without_weights = 0;
    int status = dfi_model_allocate(made, 0);
    if (status == DIFFC_OK) {
        memcpy(made->params.values, model->params.values, model->params.value_count * sizeof(float));
        memcpy(made->params.stats, model->params.stats, model->params.stat_count * sizeof(float));
    }
    struct dfi_metadata **end = &made->metadata;
    for (const struct dfi_metadata *entry = model->metadata; entry && status == DIFFC_OK; entry = entry->next)
        status = dfi_model_append_metadata(made, entry->key, entry->value, &end);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *copy = made;
    return DIFFC_OK;
}

const char *dfi_model_metadata(const struct diffc_model *model, const char *key)
{
    for (const struct dfi_metadata *entry = model->metadata; entry; entry = entry->next)
        if (strcmp(entry->key, key) == 0)
            return entry->value;
    return NULL;
}

static void remove_metadata(struct diffc_model *model, const char *key)
{
    struct dfi_metadata **link = &model->metadata;
    while (*link && strcmp((*link)->key, key) != 0)
        link = &(*link)->next;
    struct dfi_metadata *entry = *link;
    if (!entry)
        return;
    *link = entry->next;
    dfi_free(model->object.context, entry->key);
    dfi_free(model->object.context, entry->value);
    dfi_free(model->object.context, entry);
}

int dfi_model_append_metadata(struct diffc_model *model, const char *key, const char *value,
                              struct dfi_metadata ***end)
{
    struct diffc_context *context = model->object.context;
    struct dfi_metadata *entry = dfi_calloc(context, 1, sizeof(*entry));
    if (!entry)
        return DIFFC_ERR_NOMEM;
    entry->key = dfi_strdup(context, key);
    entry->value = dfi_strdup(context, value);
    if (!entry->key || !entry->value) {
        dfi_free(context, entry->key);
        dfi_free(context, entry->value);
        dfi_free(context, entry);
        return DIFFC_ERR_NOMEM;
    }
    **end = entry;
    *end = &entry->next;
    return DIFFC_OK;
}

int dfi_model_set_metadata(struct diffc_model *model, const char *key, const char *value)
{
    char text[80];
    if (dfi_model_owns_key(key))
        return dfi_fail(DIFFC_ERR_ARG, "metadata \"%s\" is the library's own",
                        dfi_clip(key, text, sizeof(text)));
    if (!value) {
        remove_metadata(model, key);
        return DIFFC_OK;
    }
    if (!dfi_utf8_valid(key, strlen(key)) || !dfi_utf8_valid(value, strlen(value)))
        return dfi_fail(DIFFC_ERR_ARG, "metadata \"%s\" is not UTF-8", dfi_clip(key, text, sizeof(text)));
    const int was_there = dfi_model_metadata(model, key) != NULL;
    struct dfi_metadata **end = &model->metadata;
    while (*end)
        end = &(*end)->next;
    DFI_TRY(dfi_model_append_metadata(model, key, value, &end));
    if (was_there)
        remove_metadata(model, key); /* the first one: the old value is lost only now */
    return DIFFC_OK;
}
