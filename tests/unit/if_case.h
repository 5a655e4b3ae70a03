#ifndef TESTS_IF_CASE_H
#define TESTS_IF_CASE_H

/* Tiny networks of the DeepFloyd IF family with the weights of deterministic.h. */

#include <jansson.h>

#include "graph_case.h"
#include "model/if_unet.h"
#include "model/architectures.h"

static inline json_t *if_load_json(const char *name)
{
    char path[512];
    const char *folder = getenv("DIFFC_TEST_DATA");
    json_error_t error;
    snprintf(path, sizeof(path), "%s/%s", folder ? folder : "tests/data", name);
    json_t *root = json_load_file(path, 0, &error);
    if (!root)
        fail_msg("%s: %s", path, error.text);
    return root;
}

static inline struct diffc_model *if_open(struct diffc_context *context, const json_t *config)
{
    struct dfi_model_config settings = { 1, 28, 28, 64, 10, "none", "add", .seed = 1 };
    struct diffc_model *model = NULL;
    char *text = json_dumps(config, 0);
    settings.json = text;
    if (dfi_model_new(context, &dfi_architecture_if_unet, &settings, &model) < 0)
        fail_msg("%s", diffc_message());
    free(text);
    return model;
}

static inline void if_fill(const struct dfi_params *params)
{
    for (int i = 0; i < params->count; i++) {
        const struct dfi_param *param = &params->list[i];
        float *values = malloc(param->count * sizeof(*values));
        dt_weights(param->name, param->ndim, param->shape, values, param->count);
        for (size_t k = 0; k < param->count; k++)
            if (params->dtype == DIFFC_F64)
                ((double *)params->values)[param->offset + k] = values[k];
            else
                ((float *)params->values)[param->offset + k] = values[k];
        free(values);
    }
}

/* Writes a contiguous array [samples][c][h][w] into a value of the graph. */
static inline void if_write(const struct dfi_exec *exec, int value, const float *data)
{
    struct diffc_tensor view, source;
    dfi_exec_view(exec, value, &view);
    source = view;
    source.dtype = DIFFC_F32;
    source.data = (void *)(uintptr_t)data;
    source.strides[3] = 1;
    source.strides[2] = view.shape[3];
    source.strides[1] = view.shape[2] * view.shape[3];
    source.strides[0] = view.shape[1] * source.strides[1];
    dfi_tensor_copy(&source, &view);
}

static inline size_t if_size(const struct dfi_exec *exec, int value)
{
    struct diffc_tensor view;
    dfi_exec_view(exec, value, &view);
    return (size_t)(view.shape[0] * view.shape[1] * view.shape[2] * view.shape[3]);
}

static inline void if_write_input(const struct dfi_exec *exec, int value, const char *name)
{
    const size_t count = if_size(exec, value);
    float *data = malloc(count * sizeof(*data));
    dt_input(name, data, count);
    if_write(exec, value, data);
    free(data);
}

/* Tokens: the reference has [samples][tokens][features], we have the same as pixels. */
static inline void if_write_text(const struct dfi_exec *exec, int value, const char *name)
{
    const struct dfi_block block = dfi_exec_value(exec, value);
    const size_t count = block_size(&block);
    float *data = malloc(count * sizeof(*data));
    dt_input(name, data, count);
    for (size_t i = 0; i < count; i++)
        dfi_set(exec, block.data, i, (double)data[i]);
    free(data);
}

static inline double *if_read_view(const struct diffc_tensor *view, size_t *count)
{
    *count = (size_t)(view->shape[0] * view->shape[1] * view->shape[2] * view->shape[3]);
    double *data = malloc(*count * sizeof(*data));
    struct diffc_tensor target = *view;
    target.dtype = DIFFC_F64;
    target.data = data;
    target.strides[3] = 1;
    target.strides[2] = view->shape[3];
    target.strides[1] = view->shape[2] * view->shape[3];
    target.strides[0] = view->shape[1] * target.strides[1];
    dfi_tensor_copy(view, &target);
    return data;
}

/* A value in the order of the reference: tokens ([c, 1, t]) one after another, images [c][h][w]. */
static inline double *if_read(const struct dfi_exec *exec, int value, int tokens, size_t *count)
{
    struct diffc_tensor view;
    dfi_exec_view(exec, value, &view);
    if (tokens) {
        const struct diffc_tensor image = view;
        view.shape[1] = image.shape[3];
        view.strides[1] = image.strides[3];
        view.shape[2] = 1;
        view.shape[3] = image.shape[1];
        view.strides[3] = image.strides[1];
    }
    return if_read_view(&view, count);
}

/* The value behind everything whose name begins so: the sum at the end of a block, or the named layer itself.
 */
static inline int if_find(const struct dfi_graph *graph, const char *prefix)
{
    const size_t length = strlen(prefix);
    int last = -1;
    for (int i = 0; i < graph->count; i++)
        if (strncmp(graph->nodes[i].name, prefix, length) == 0 &&
            (graph->nodes[i].name[length] == '.' || !graph->nodes[i].name[length]))
            last = i;
    if (last < 0)
        fail_msg("no layer %s", prefix);
    if (strncmp(prefix, "down", 4) == 0 || strncmp(prefix, "mid", 3) == 0 || strncmp(prefix, "up", 2) == 0)
        while (graph->nodes[last].kind != &dfi_kind_add)
            last++;
    return last;
}

#endif
