#include "model/session.h"

#include <string.h>

static void destroy(void *handle)
{
    struct diffc_session *session = handle;
    dfi_exec_destroy(session->exec);
    dfi_free(session->object.context, session->labels);
    dfi_release(session->model);
    dfi_object_free(session);
}

static struct dfi_exec_options plan_options(const struct dfi_session_config *config)
{
    /* With the statistics of the batch, two conditions in one run would see each other. */
    return (struct dfi_exec_options) { config->batch, config->training ? 1 : config->conditions, 0 };
}

int dfi_session_plan_bytes(const struct diffc_model *model, const struct dfi_session_config *config,
                           size_t *bytes)
{
    const struct dfi_exec_options options = plan_options(config);
    return dfi_exec_bytes(model->graph, &options, bytes);
}

int dfi_session_new(struct diffc_model *model, const struct dfi_session_config *config,
                    struct diffc_session **session)
{
    const struct dfi_exec_options options = plan_options(config);
    struct diffc_context *context = model->object.context;
    struct diffc_session *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->model = dfi_retain(model);
    made->batch = config->batch;
    made->conditions = options.conditions;
    made->training = config->training;
    int status = dfi_exec_create(model->graph, &model->params, &options, &made->exec);
    if (status == DIFFC_OK) {
        made->labels = dfi_calloc(context, (size_t)config->batch, sizeof(*made->labels));
        status = made->labels ? DIFFC_OK : DIFFC_ERR_NOMEM;
    }
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    for (int i = 0; i < config->batch; i++)
        made->labels[i] = DIFFC_UNCONDITIONAL;
    *session = made;
    return DIFFC_OK;
}

int dfi_session_run(struct diffc_session *session, const diffc_binding *inputs, int input_count,
                    const diffc_binding *outputs, int output_count)
{
    const struct diffc_model *model = session->model;
    int batch = 0;
    DFI_TRY(
        dfi_bind_inputs(model, &model->values, session->exec, session->batch, inputs, input_count, &batch));
    for (int i = 0; i < output_count; i++) {
        if (!outputs[i].name || !outputs[i].tensor)
            return dfi_fail(DIFFC_ERR_ARG, "output %d has no name or no tensor", i);
        const int value = dfi_model_output(model, &model->values, outputs[i].name);
        if (value < 0)
            return DIFFC_ERR_ARG;
        DFI_TRY(dfi_bind_check(session->exec, value, outputs[i].name, outputs[i].tensor, &batch));
    }
    DFI_TRY(dfi_exec_forward(session->exec, session->training));
    for (int i = 0; i < output_count; i++) {
        struct diffc_tensor view, target = *outputs[i].tensor;
        dfi_exec_view(session->exec, dfi_model_output(model, &model->values, outputs[i].name), &view);
        view.ndim = target.ndim; /* rows of one pixel may be bound without their two sizes of 1 */
        dfi_tensor_copy(&view, &target);
    }
    return DIFFC_OK;
}

int dfi_session_set_labels(struct diffc_session *session, const int32_t *labels, int count)
{
    if (count < 0 || count > session->batch)
        return dfi_fail(DIFFC_ERR_ARG, "count is %d labels, must be 0 to the session's batch, %d", count,
                        session->batch);
    if (session->model->values.cls < 0)
        return dfi_fail(DIFFC_ERR_CONFIG, "labels for a %s with condition %s, which takes none",
                        session->model->architecture->entry.name, session->model->config.condition);
    for (int i = 0; i < count; i++)
        if (labels[i] != DIFFC_UNCONDITIONAL &&
            (labels[i] < 0 || labels[i] >= session->model->config.classes))
            return dfi_fail(DIFFC_ERR_ARG, "label %d is %d, must be 0 to %d", i, labels[i],
                            session->model->config.classes - 1);
    for (int i = 0; i < session->batch; i++)
        session->labels[i] = i < count ? labels[i] : DIFFC_UNCONDITIONAL;
    return DIFFC_OK;
}

static void write_class_rows(const struct diffc_session *session, const struct dfi_block *rows, int first,
                             int batch, int condition)
{
    for (int n = 0; n < batch; n++) {
        float *row = (float *)rows->data + (first + n) * rows->sample_stride;
        const int32_t label = condition == DIFFC_UNCONDITIONAL ? DIFFC_UNCONDITIONAL : session->labels[n];
        memset(row, 0, (size_t)rows->c * sizeof(*row));
        if (label != DIFFC_UNCONDITIONAL)
            row[label] = 1;
    }
}

/* One run for up to `conditions` queries that share x: what does not depend on the condition is computed
 * once. */
static int predict_together(struct diffc_session *session, const float *t, const diffc_query *const *queries,
                            int count)
{
    const struct diffc_model *model = session->model;
    const struct dfi_model_values *values = &model->values;
    const struct diffc_tensor *x = queries[0]->x;
    const int batch = (int)x->shape[0], conditional = values->cls >= 0;
    struct diffc_tensor view;

    dfi_exec_set_size(session->exec, batch, conditional ? count : 1);
    dfi_exec_view(session->exec, values->x, &view);
    dfi_tensor_copy(x, &view);
    if (values->t >= 0) {
        float *times = dfi_exec_value(session->exec, values->t).data;
        const float steps = model->config.train_steps ? (float)model->config.train_steps : 1;
        for (int n = 0; n < batch; n++)
            times[n] = t[n] / steps;
    }
    if (conditional) {
        const struct dfi_block rows = dfi_exec_value(session->exec, values->cls);
        for (int i = 0; i < count; i++)
            write_class_rows(session, &rows, i * batch, batch, queries[i]->condition);
    }
    DFI_TRY(dfi_exec_forward(session->exec, session->training));
    for (int i = 0; i < count; i++) {
        dfi_exec_view(session->exec, values->out, &view);
        view.data = (float *)view.data + (conditional ? i * batch : 0) * view.strides[0];
        view.shape[0] = batch;
        dfi_tensor_copy(&view, queries[i]->out);
    }
    return DIFFC_OK;
}

static int check_query(const struct diffc_session *session, const diffc_query *query)
{
    int batch = -1;
    const int denoises = strcmp(session->model->architecture->kind, "denoiser") == 0;
    if (!denoises)
        return dfi_fail(DIFFC_ERR_CONFIG, "%s is no denoiser", session->model->architecture->entry.name);
    if (!query->x || !query->out)
        return dfi_fail(DIFFC_ERR_ARG, "a query without x or out");
    if (query->condition != DIFFC_UNCONDITIONAL && query->condition != 0)
        return dfi_fail(DIFFC_ERR_ARG, "condition is %d, this model has condition 0 and DIFFC_UNCONDITIONAL",
                        query->condition);
    DFI_TRY(dfi_bind_check(session->exec, session->model->values.x, "x", query->x, &batch));
    DFI_TRY(dfi_bind_check(session->exec, session->model->values.out, "out", query->out, &batch));
    if (batch < 1 || batch > session->batch)
        return dfi_fail(DIFFC_ERR_ARG, "x has %d samples, must be 1 to %d", batch, session->batch);
    return DIFFC_OK;
}

int dfi_session_predict(struct diffc_session *session, const float *t, const diffc_query *queries, int count)
{
    for (int i = 0; i < count; i++)
        DFI_TRY(check_query(session, &queries[i]));
    for (int i = 0; i < count;) {
        const diffc_query *together[64] = { &queries[i++] }; /* 64: see dfi_exec_create() */
        int used = 1;
        while (i < count && used < session->conditions && queries[i].x == together[0]->x)
            together[used++] = &queries[i++];
        DFI_TRY(predict_together(session, t, together, used));
    }
    return DIFFC_OK;
}
