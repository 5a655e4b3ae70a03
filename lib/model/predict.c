/* A session as a denoiser. */

#include <string.h>

#include "model/session.h"

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

/* Samples of `source` ([1 or batch, ...]) into channels from `channel` of the network's input. */
static void write_channels(const struct diffc_session *session, const struct diffc_tensor *source, int batch,
                           int channel)
{
    struct diffc_tensor view, from = *source;
    dfi_exec_view(session->exec, session->values.x, &view);
    view.data = (float *)view.data + channel * view.strides[1];
    view.shape[1] = source->shape[1];
    if (from.shape[0] != batch)
        from.strides[0] = 0;
    from.shape[0] = view.shape[0] = batch;
    dfi_tensor_copy(&from, &view);
}

static void write_times(const struct diffc_session *session, const float *t, int batch)
{
    const struct dfi_block block = dfi_exec_value(session->exec, session->values.t);
    const int steps = session->prompts ? 0 : session->model->config.train_steps;
    for (int n = 0; n < batch; n++)
        ((float *)block.data)[n] = steps ? t[n] / (float)steps : t[n];
}

/* What differs between the queries of one run; the network of a course's model takes classes, the others
 * prompts, and classes that say a noise level. */
static void write_conditions(const struct diffc_session *session, const diffc_query *const *queries,
                             int count, int batch)
{
    for (int i = 0; i < count && session->prompts; i++)
        dfi_prompts_apply(session->prompts, dfi_prompts_find(session->prompts, queries[i]->condition),
                          session->exec, i * batch, batch);
    if (session->values.cls < 0)
        return;
    const struct dfi_block rows = dfi_exec_value(session->exec, session->values.cls);
    for (int n = 0; n < batch && session->prompts; n++)
        ((float *)rows.data)[n] = (float)session->labels[n];
    for (int i = 0; i < count && !session->prompts; i++)
        write_class_rows(session, &rows, i * batch, batch, queries[i]->condition);
}

/* One run for up to `conditions` queries that share x: what does not depend on the condition is computed
 * once. */
static int predict_together(struct diffc_session *session, const float *t, const diffc_query *const *queries,
                            int count)
{
    const struct diffc_tensor *x = queries[0]->x;
    const int batch = (int)x->shape[0], conditional = session->prompts || session->values.cls >= 0;
    dfi_exec_set_size(session->exec, batch, conditional ? count : 1);
    write_channels(session, x, batch, 0);
    if (session->image)
        write_channels(session, session->image, batch, (int)x->shape[1]);
    if (session->values.t >= 0)
        write_times(session, t, batch);
    write_conditions(session, queries, count, batch);
    DFI_TRY(dfi_exec_forward(session->exec, session->training));
    for (int i = 0; i < count; i++) {
        struct diffc_tensor view;
        dfi_exec_view(session->exec, session->values.out, &view);
        view.data = (float *)view.data + (conditional ? i * batch : 0) * view.strides[0];
        view.shape[0] = batch;
        dfi_tensor_copy(&view, queries[i]->out);
    }
    return DIFFC_OK;
}

static int check_condition(const struct diffc_session *session, const diffc_query *query, int batch)
{
    if (!session->prompts && query->condition != DIFFC_UNCONDITIONAL && query->condition != 0)
        return dfi_fail(DIFFC_ERR_ARG, "condition is %d, this model has condition 0 and DIFFC_UNCONDITIONAL",
                        query->condition);
    if (!session->prompts)
        return DIFFC_OK;
    const struct dfi_prompt *prompt = dfi_prompts_find(session->prompts, query->condition);
    if (!prompt)
        return dfi_fail(DIFFC_ERR_STATE, "condition %d has no text yet: see diffc_session_set_text()",
                        query->condition);
    if (prompt->rows != 1 && prompt->rows != batch)
        return dfi_fail(DIFFC_ERR_ARG, "condition %d has text for %d samples, x has %d", query->condition,
                        prompt->rows, batch);
    if (session->values.cls >= 0 && session->labels[0] == DIFFC_UNCONDITIONAL)
        return dfi_fail(DIFFC_ERR_STATE, "the noise level is not set yet: see diffc_session_set_labels()");
    return DIFFC_OK;
}

/* x may leave channels to the image of the session. */
static int check_x(const struct diffc_session *session, const struct diffc_tensor *x, int *batch)
{
    struct diffc_tensor whole = *x;
    if (session->image && x->ndim == 4) {
        whole.shape[1] += session->image->shape[1];
        if (session->image->shape[0] != 1 && session->image->shape[0] != x->shape[0])
            return dfi_fail(DIFFC_ERR_ARG, "the session's image has %lld samples, x has %lld",
                            (long long)session->image->shape[0], (long long)x->shape[0]);
    }
    return dfi_bind_check(session->exec, session->values.x, session->image ? "x with the image" : "x", &whole,
                          batch);
}

static int check_query(const struct diffc_session *session, const diffc_query *query)
{
    int batch = -1;
    const int denoises = strcmp(session->model->architecture->kind, "denoiser") == 0;
    if (!denoises)
        return dfi_fail(DIFFC_ERR_CONFIG, "%s is no denoiser", session->model->architecture->entry.name);
    if (!query->x || !query->out)
        return dfi_fail(DIFFC_ERR_ARG, "a query without x or out");
    DFI_TRY(check_x(session, query->x, &batch));
    DFI_TRY(dfi_bind_check(session->exec, session->values.out, "out", query->out, &batch));
    if (batch < 1 || batch > session->batch)
        return dfi_fail(DIFFC_ERR_ARG, "x has %d samples, must be 1 to %d", batch, session->batch);
    return check_condition(session, query, batch);
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
