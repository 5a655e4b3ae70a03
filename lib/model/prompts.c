#include "model/prompts.h"

#include <string.h>

#include "base/checked.h"
#include "model/session.h"

#define MAX_PROMPTS 1024

void dfi_prompts_destroy(struct dfi_prompts *prompts)
{
    if (!prompts)
        return;
    for (int i = 0; i < prompts->count; i++)
        dfi_free(prompts->context, prompts->list[i].data);
    dfi_free(prompts->context, prompts->list);
    dfi_exec_destroy(prompts->exec);
    dfi_graph_destroy(prompts->graph);
    dfi_free(prompts->context, prompts->links.list);
    dfi_free(prompts->context, prompts);
}

static size_t values_of(const struct dfi_node *node)
{
    return (size_t)node->c * (size_t)node->h * (size_t)node->w;
}

static int build(struct diffc_model *model, const struct dfi_model_config *config,
                 struct dfi_prompts *prompts, struct dfi_graph **graph, struct dfi_model_values *values)
{
    DFI_TRY(dfi_graph_create(prompts->context, &model->params, &prompts->graph));
    DFI_TRY(dfi_graph_create(prompts->context, &model->params, graph));
    values->target = values->loss = -1;
    dfi_if_build_split(prompts->graph, *graph, config, values, &prompts->links);
    DFI_TRY(dfi_graph_finish(prompts->graph));
    DFI_TRY(dfi_graph_finish(*graph));
    prompts->text = values->text;
    for (int i = 0; i < prompts->links.count; i++)
        prompts->row += values_of(&prompts->graph->nodes[prompts->links.list[i].from]);
    return DIFFC_OK;
}

static const struct dfi_exec_options one_sample = { .batch = 1, .conditions = 1 };

int dfi_prompts_create(struct diffc_model *model, const struct dfi_model_config *config, int plan,
                       struct dfi_graph **graph, struct dfi_model_values *values,
                       struct dfi_prompts **prompts)
{
    struct dfi_prompts *made = dfi_calloc(model->object.context, 1, sizeof(*made));
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->context = model->object.context;
    *graph = NULL;
    int status = build(model, config, made, graph, values);
    if (status == DIFFC_OK && plan)
        status = dfi_exec_create(made->graph, &model->params, &one_sample, &made->exec);
    if (status < 0) {
        dfi_graph_destroy(*graph);
        *graph = NULL;
        dfi_prompts_destroy(made);
        return status;
    }
    *prompts = made;
    return DIFFC_OK;
}

int dfi_prompts_bytes(const struct dfi_prompts *prompts, size_t *bytes)
{
    return dfi_exec_bytes(prompts->graph, &one_sample, bytes);
}

static int place_of(struct dfi_prompts *prompts, int condition, int *place)
{
    for (*place = 0; *place < prompts->count; (*place)++)
        if (prompts->list[*place].condition == condition)
            return DIFFC_OK;
    if (prompts->count == MAX_PROMPTS)
        return dfi_fail(DIFFC_ERR_LIMIT, "a session holds at most %d prompts", MAX_PROMPTS);
    if (prompts->count < prompts->capacity)
        return DIFFC_OK;
    const int more = prompts->capacity ? 2 * prompts->capacity : 4;
    struct dfi_prompt *grown = dfi_realloc(prompts->context, prompts->list,
                                           (size_t)prompts->capacity * sizeof(*grown),
                                           (size_t)more * sizeof(*grown));
    if (!grown)
        return DIFFC_ERR_NOMEM;
    prompts->list = grown;
    prompts->capacity = more;
    return DIFFC_OK;
}

/* Runs the text graph for one row and stores what the main graph will take. */
static int prepare_row(struct dfi_prompts *prompts, const struct diffc_tensor *text, int64_t row, float *out)
{
    const struct dfi_block block = dfi_exec_value(prompts->exec, prompts->text);
    struct diffc_tensor source = *text, target = { .dtype = DIFFC_F32, .ndim = 2, .data = block.data };
    source.data = (char *)text->data + row * text->strides[0] * (int64_t)dfi_dtype_size(text->dtype);
    source.ndim = 2;
    for (int i = 0; i < 2; i++) {
        source.shape[i] = target.shape[i] = text->shape[i + 1];
        source.strides[i] = text->strides[i + 1];
    }
    target.strides[0] = block.ld;
    target.strides[1] = 1;
    dfi_tensor_copy(&source, &target);
    DFI_TRY(dfi_exec_forward(prompts->exec, 0));
    for (int i = 0; i < prompts->links.count; i++) {
        const struct dfi_block value = dfi_exec_value(prompts->exec, prompts->links.list[i].from);
        for (int p = 0; p < value.h * value.w; p++, out += value.c)
            memcpy(out, (const float *)value.data + p * value.ld, (size_t)value.c * sizeof(*out));
    }
    return DIFFC_OK;
}

int dfi_prompts_set(struct dfi_prompts *prompts, int condition, const struct diffc_tensor *text)
{
    const struct dfi_node *node = &prompts->graph->nodes[prompts->text];
    size_t bytes = 0;
    int place = 0;
    DFI_TRY(dfi_bind_check_text(node->w, node->c, text));
    DFI_TRY(place_of(prompts, condition, &place));
    if (dfi_ck_mul(prompts->row, sizeof(float), &bytes) || dfi_ck_mul(bytes, (size_t)text->shape[0], &bytes))
        return dfi_fail(DIFFC_ERR_LIMIT, "%lld prompts do not fit into memory", (long long)text->shape[0]);
    float *data = dfi_alloc(prompts->context, bytes);
    if (!data)
        return DIFFC_ERR_NOMEM;
    int status = DIFFC_OK;
    for (int64_t row = 0; row < text->shape[0] && status == DIFFC_OK; row++)
        status = prepare_row(prompts, text, row, data + (size_t)row * prompts->row);
    if (status < 0) {
        dfi_free(prompts->context, data);
        return status;
    }
    if (place == prompts->count)
        prompts->count++;
    else
        dfi_free(prompts->context, prompts->list[place].data);
    prompts->list[place] = (struct dfi_prompt) { condition, (int)text->shape[0], data };
    return DIFFC_OK;
}

void dfi_prompts_clear(struct dfi_prompts *prompts)
{
    for (int i = 0; i < prompts->count; i++)
        dfi_free(prompts->context, prompts->list[i].data);
    prompts->count = 0;
}

const struct dfi_prompt *dfi_prompts_find(const struct dfi_prompts *prompts, int condition)
{
    for (int i = 0; i < prompts->count; i++)
        if (prompts->list[i].condition == condition)
            return &prompts->list[i];
    return NULL;
}

void dfi_prompts_apply(const struct dfi_prompts *prompts, const struct dfi_prompt *prompt,
                       struct dfi_exec *exec, int first, int count)
{
    for (int n = 0; n < count; n++) {
        const float *from = prompt->data + (size_t)(n % prompt->rows) * prompts->row;
        for (int i = 0; i < prompts->links.count; i++) {
            const struct dfi_block value = dfi_exec_value(exec, prompts->links.list[i].to);
            float *sample = (float *)value.data + (first + n) * value.sample_stride;
            for (int p = 0; p < value.h * value.w; p++, from += value.c)
                memcpy(sample + p * value.ld, from, (size_t)value.c * sizeof(*from));
        }
    }
}
