#include "model/session.h"

#include <string.h>

static void destroy(void *handle)
{
    struct diffc_session *session = handle;
    dfi_exec_destroy(session->exec);
    dfi_graph_destroy(session->graph);
    dfi_prompts_destroy(session->prompts);
    dfi_release(session->image);
    dfi_free(session->object.context, session->labels);
    dfi_release(session->model);
    dfi_object_free(session);
}

static struct dfi_exec_options plan_options(const struct dfi_session_config *config)
{
    /* With the statistics of the batch, two conditions in one run would see each other. */
    return (struct dfi_exec_options) { .batch = config->batch,
                                       .conditions = config->training ? 1 : config->conditions,
                                       .numerics = config->numerics,
                                       .precision = config->precision,
                                       .frozen = !config->training };
}

/* Bytes of the weights where the file has them. */
static size_t weight_bytes(const struct diffc_model *model)
{
    size_t bytes = 0;
    for (int i = 0; i < model->params.count; i++)
        if (model->params.list[i].stored)
            bytes += model->params.list[i].count * dfi_dtype_size(model->params.list[i].stored_dtype);
    return bytes;
}

/* The tiles decide about bits, so they depend on what the caller allows alone, never on the batch, the
 * threads or the machine: they are smaller where not even one sample fits. */
static int choose_tiles(const struct dfi_graph *graph, size_t most, struct dfi_exec_options *options)
{
    struct dfi_exec_options least = *options;
    size_t bytes = 0;
    least.batch = least.conditions = least.stream = least.workers = 1;
    for (least.tiles = DFI_TILING_ALL; least.tiles < DFI_TILING_NONE; least.tiles++) {
        DFI_TRY(dfi_exec_bytes(graph, &least, &bytes));
        if (bytes <= most)
            break;
    }
    options->tiles = least.tiles;
    return DIFFC_OK;
}

/* What a session does with less memory than it would like, beside the `text` bytes of the text graph: weights
 * are packed in every run, then conditions are computed one after another. */
static int save_memory(const struct dfi_graph *graph, const struct dfi_session_config *config, size_t most,
                       size_t text, struct dfi_exec_options *options, size_t *bytes)
{
    if (config->memory)
        DFI_TRY(choose_tiles(graph, most, options));
    DFI_TRY(dfi_exec_bytes(graph, options, bytes));
    if (*bytes + text > most) {
        options->stream = 1;
        DFI_TRY(dfi_exec_bytes(graph, options, bytes));
    }
    if (*bytes + text > most && options->conditions > 1) {
        options->conditions = 1;
        DFI_TRY(dfi_exec_bytes(graph, options, bytes));
    }
    *bytes += text;
    return DIFFC_OK;
}

/* `refuses`: more than may be taken is an error, not only a figure. */
static int fit_memory(const struct diffc_model *model, const struct dfi_graph *graph,
                      const struct dfi_session_config *config, size_t text, int refuses,
                      struct dfi_exec_options *options, size_t *bytes)
{
    const size_t limit = (size_t)model->object.context->limits.memory, weights = weight_bytes(model);
    const size_t asked = (size_t)config->memory < limit ? (size_t)config->memory : limit;
    const size_t most = asked ? asked : limit > weights ? limit - weights : 0;
    const struct dfi_exec_options wanted = *options;
    DFI_TRY(save_memory(graph, config, most, text, options, bytes));
    if (*bytes <= most || !refuses)
        return DIFFC_OK;
    struct dfi_session_config small = *config;
    small.memory = small.memory ? small.memory : 1; /* a memory that is given allows smaller tiles */
    size_t least;
    *options = wanted;
    DFI_TRY(save_memory(graph, &small, most, text, options, bytes));
    do { /* with more memory larger tiles may be taken, which need more */
        least = *bytes;
        *options = wanted;
        DFI_TRY(save_memory(graph, &small, least, text, options, bytes));
    } while (*bytes > least);
    return dfi_fail(DIFFC_ERR_LIMIT, "%s is %zu bytes, a session for batch %d takes at least %zu%s",
                    !asked          ? "limits.memory without the weights"
                    : asked < limit ? "memory"
                                    : "limits.memory",
                    most, wanted.batch, least, asked ? "" : " with options.memory");
}

/* The model's settings with the sizes of a session. */
static int session_settings(const struct diffc_model *model, const struct dfi_session_config *config,
                            struct dfi_model_config *settings)
{
    const int takes_text = model->values.text >= 0;
    *settings = model->config;
    if (!takes_text && (config->image_height || config->image_width || config->text_tokens))
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "image size and tokens of a session: %s has one image size and no text",
                        model->architecture->entry.name);
    if (!takes_text)
        return DIFFC_OK;
    settings->image_height = config->image_height ? config->image_height : settings->image_height;
    settings->image_width = config->image_width    ? config->image_width
                            : config->image_height ? config->image_height
                                                   : settings->image_width;
    settings->text_tokens = config->text_tokens ? config->text_tokens : settings->text_tokens;
    return dfi_if_check_size(&settings->unet, settings->image_height, settings->image_width);
}

int dfi_session_plan_bytes(const struct diffc_model *model, const struct dfi_session_config *config,
                           size_t *bytes)
{
    struct dfi_exec_options options = plan_options(config);
    struct dfi_model_config settings;
    struct dfi_model_values values;
    struct dfi_prompts *prompts = NULL;
    struct dfi_graph *graph = NULL;
    size_t text = 0, image = 0;
    DFI_TRY(session_settings(model, config, &settings));
    if (model->values.text < 0)
        return fit_memory(model, model->graph, config, 0, config->memory != 0, &options, bytes);
    /* The parameters are there already, so building adds none to the model. */
    DFI_TRY(
        dfi_prompts_create((struct diffc_model *)(uintptr_t)model, &settings, 0, &graph, &values, &prompts));
    int status = dfi_prompts_bytes(prompts, &text);
    if (status == DIFFC_OK)
        status = fit_memory(model, graph, config, text, config->memory != 0, &options, &image);
    dfi_graph_destroy(graph);
    dfi_prompts_destroy(prompts);
    if (status == DIFFC_OK)
        *bytes = image;
    return status;
}

static int plan(struct diffc_session *session, const struct dfi_session_config *config)
{
    struct diffc_model *model = session->model;
    struct dfi_exec_options options = plan_options(config);
    struct dfi_model_config settings;
    size_t bytes = 0, text = 0;
    DFI_TRY(session_settings(model, config, &settings));
    session->values = model->values;
    if (model->values.text >= 0)
        DFI_TRY(
            dfi_prompts_create(model, &settings, 1, &session->graph, &session->values, &session->prompts));
    const struct dfi_graph *graph = session->graph ? session->graph : model->graph;
    if (session->prompts)
        DFI_TRY(dfi_prompts_bytes(session->prompts, &text));
    DFI_TRY(fit_memory(model, graph, config, text, 1, &options, &bytes));
    session->conditions = options.conditions;
    DFI_TRY(dfi_exec_create(graph, &model->params, &options, &session->exec));
    session->labels = dfi_calloc(model->object.context, (size_t)config->batch, sizeof(*session->labels));
    return session->labels ? DIFFC_OK : DIFFC_ERR_NOMEM;
}

int dfi_session_new(struct diffc_model *model, const struct dfi_session_config *config,
                    struct diffc_session **session)
{
    struct diffc_session *made = dfi_object_new(model->object.context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->model = dfi_retain(model);
    made->batch = config->batch;
    made->training = config->training;
    const int status = plan(made, config);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    for (int i = 0; i < config->batch; i++)
        made->labels[i] = DIFFC_UNCONDITIONAL;
    *session = made;
    return DIFFC_OK;
}

void dfi_session_refresh(struct diffc_session *session)
{
    dfi_exec_refresh(session->exec);
    if (session->prompts) {
        dfi_exec_refresh(session->prompts->exec);
        dfi_prompts_clear(session->prompts);
    }
}

/* Runs with the text bound as an input: it is prepared first, in place of that of the run before. */
#define BOUND_TEXT (-2)
#define MAX_BINDINGS 16

static int take_text(struct diffc_session *session, const diffc_binding *inputs, int count,
                     diffc_binding *others, int *other_count, int *rows)
{
    const struct diffc_tensor *text = NULL;
    if (count > MAX_BINDINGS)
        return dfi_fail(DIFFC_ERR_ARG, "%d inputs, at most %d", count, MAX_BINDINGS);
    for (int i = 0; i < count; i++) {
        if (!inputs[i].name || strcmp(inputs[i].name, "text") != 0)
            others[(*other_count)++] = inputs[i];
        else if (text)
            return dfi_fail(DIFFC_ERR_ARG, "input %d: \"text\" is given twice", i);
        else
            text = inputs[i].tensor;
    }
    static const char *const needed[] = { "x", "t", "class" };
    for (int k = 0; k < (session->values.cls >= 0 ? 3 : 2); k++) {
        int found = 0;
        for (int i = 0; i < *other_count; i++)
            found |= others[i].name && strcmp(others[i].name, needed[k]) == 0;
        if (!found)
            return dfi_fail(DIFFC_ERR_ARG, "no input \"%s\", which has no default", needed[k]);
    }
    if (!text)
        return dfi_fail(DIFFC_ERR_ARG, "no input \"text\", which has no default");
    *rows = (int)text->shape[0];
    return dfi_prompts_set(session->prompts, BOUND_TEXT, text);
}

static int bind_inputs(struct diffc_session *session, const diffc_binding *inputs, int count, int *batch)
{
    struct dfi_model_values values = session->values;
    diffc_binding others[MAX_BINDINGS];
    int other_count = 0, rows = 0;
    if (!session->prompts)
        return dfi_bind_inputs(session->model, &values, session->exec, session->batch, inputs, count, batch);
    values.text = -1; /* it is in a graph of its own */
    DFI_TRY(take_text(session, inputs, count, others, &other_count, &rows));
    DFI_TRY(
        dfi_bind_inputs(session->model, &values, session->exec, session->batch, others, other_count, batch));
    DFI_TRY(dfi_bind_check_text_rows(rows, *batch));
    dfi_prompts_apply(session->prompts, dfi_prompts_find(session->prompts, BOUND_TEXT), session->exec, 0,
                      *batch);
    return DIFFC_OK;
}

int dfi_session_run(struct diffc_session *session, const diffc_binding *inputs, int input_count,
                    const diffc_binding *outputs, int output_count)
{
    const struct diffc_model *model = session->model;
    int batch = 0;
    DFI_TRY(bind_inputs(session, inputs, input_count, &batch));
    for (int i = 0; i < output_count; i++) {
        if (!outputs[i].name || !outputs[i].tensor)
            return dfi_fail(DIFFC_ERR_ARG, "output %d has no name or no tensor", i);
        const int value = dfi_model_output(model, &session->values, outputs[i].name);
        if (value < 0)
            return DIFFC_ERR_ARG;
        DFI_TRY(dfi_bind_check(session->exec, value, outputs[i].name, outputs[i].tensor, &batch));
    }
    DFI_TRY(dfi_exec_forward(session->exec, session->training));
    for (int i = 0; i < output_count; i++) {
        struct diffc_tensor view, target = *outputs[i].tensor;
        dfi_exec_view(session->exec, dfi_model_output(model, &session->values, outputs[i].name), &view);
        view.ndim = target.ndim; /* rows of one pixel may be bound without their two sizes of 1 */
        dfi_tensor_copy(&view, &target);
    }
    return DIFFC_OK;
}

static int check_labels(const struct diffc_session *session, const int32_t *labels, int count)
{
    const int noise_levels = session->prompts != NULL, low = noise_levels ? 0 : DIFFC_UNCONDITIONAL;
    const int high = noise_levels ? 1000000 : session->model->config.classes - 1;
    if (count < noise_levels || count > session->batch)
        return dfi_fail(DIFFC_ERR_ARG, "count is %d labels, must be %d to the session's batch, %d", count,
                        noise_levels, session->batch);
    if (session->values.cls < 0)
        return dfi_fail(DIFFC_ERR_CONFIG, "labels for a %s with condition %s, which takes none",
                        session->model->architecture->entry.name, session->model->config.condition);
    for (int i = 0; i < count; i++)
        if (labels[i] < low || labels[i] > high)
            return dfi_fail(DIFFC_ERR_ARG, "label %d is %d, must be 0 to %d", i, labels[i], high);
    return DIFFC_OK;
}

int dfi_session_set_labels(struct diffc_session *session, const int32_t *labels, int count)
{
    DFI_TRY(check_labels(session, labels, count));
    for (int i = 0; i < session->batch; i++)
        session->labels[i] = i < count          ? labels[i]
                             : session->prompts ? labels[count - 1]
                                                : DIFFC_UNCONDITIONAL;
    return DIFFC_OK;
}

int dfi_session_set_text(struct diffc_session *session, int condition, const struct diffc_tensor *text)
{
    if (!session->prompts)
        return dfi_fail(DIFFC_ERR_CONFIG, "text for a %s, which takes none",
                        session->model->architecture->entry.name);
    if (condition < DIFFC_UNCONDITIONAL)
        return dfi_fail(DIFFC_ERR_ARG, "condition is %d, must be at least %d", condition,
                        DIFFC_UNCONDITIONAL);
    if (text->ndim > 0 && text->shape[0] != 1 && text->shape[0] > session->batch)
        return dfi_fail(DIFFC_ERR_ARG, "text of %lld samples, the session's batch is %d",
                        (long long)text->shape[0], session->batch);
    return dfi_prompts_set(session->prompts, condition, text);
}

int dfi_session_set_image(struct diffc_session *session, const struct diffc_tensor *image)
{
    const struct dfi_block x = dfi_exec_value(session->exec, session->values.x);
    struct diffc_tensor *copy = NULL;
    char text[96];
    if (!image) {
        dfi_release(session->image);
        session->image = NULL;
        return DIFFC_OK;
    }
    if (image->ndim != 4 || image->shape[1] >= x.c || image->shape[1] < 1 || image->shape[2] != x.h ||
        image->shape[3] != x.w || image->shape[0] < 1 || image->shape[0] > session->batch)
        return dfi_fail(DIFFC_ERR_ARG, "image is %s, expected [1 .. %d, fewer than %d, %d, %d]",
                        dfi_tensor_text(image, text, sizeof(text)), session->batch, x.c, x.h, x.w);
    DFI_TRY(dfi_tensor_create(session->object.context, DIFFC_F32, 4, image->shape, &copy));
    dfi_tensor_copy(image, copy);
    dfi_release(session->image);
    session->image = copy;
    return DIFFC_OK;
}
