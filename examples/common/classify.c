#include <stdlib.h>
#include <string.h>

#include "classify.h"

#define BATCH 250
#define FEATURES 84

static int run_batch(diffc_context *context, diffc_session *session, const diffc_tensor *images, int classes,
                     int64_t first, int64_t count, struct ex_judged *judged)
{
    diffc_tensor *view = NULL, *input = NULL, *features = NULL, *logits = NULL;
    int64_t feature_shape[2] = { count, FEATURES }, logit_shape[2] = { count, classes };
    int status = diffc_tensor_slice(images, 0, first, count, 1, &view);
    if (!status)
        status = diffc_tensor_convert(view, DIFFC_F32, &input);
    if (!status)
        status = diffc_tensor_wrap(context, DIFFC_F32, 2, feature_shape, NULL,
                                   judged->features + (size_t)first * FEATURES, NULL, NULL, &features);
    if (!status)
        status = diffc_tensor_create(context, DIFFC_F32, 2, logit_shape, &logits);
    if (!status) {
        float *value = diffc_tensor_data(input);
        for (int64_t i = 0, total = diffc_tensor_count(input); i < total; i++)
            value[i] = value[i] > 0 ? (value[i] < 1 ? value[i] : 1) : 0;
        diffc_binding in = { "x", input }, out[2] = { { "features", features }, { "logits", logits } };
        status = diffc_session_run(session, &in, 1, out, 2);
    }
    if (!status) {
        const float *row = diffc_tensor_data(logits);
        for (int64_t n = 0; n < count; n++, row += classes) {
            int32_t best = 0;
            for (int32_t k = 1; k < classes; k++)
                if (row[k] > row[best])
                    best = k;
            judged->label[first + n] = best;
        }
    }
    diffc_release(&view);
    diffc_release(&input);
    diffc_release(&features);
    diffc_release(&logits);
    return status;
}

int ex_classify(diffc_context *context, diffc_model *classifier, const diffc_tensor *images,
                struct ex_judged *judged)
{
    diffc_session *session = NULL;
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    diffc_model_options model = DIFFC_MODEL_OPTIONS;
    const char *architecture;
    int64_t count = diffc_tensor_dim(images, 0);
    *judged = (struct ex_judged) { .count = count, .dim = FEATURES };
    judged->features = malloc((size_t)count * FEATURES * sizeof *judged->features);
    judged->label = malloc((size_t)count * sizeof *judged->label);
    if (!judged->features || !judged->label) {
        ex_judged_free(judged);
        return ex_error(EX_FAILED, "classifier", "no memory for %lld images", (long long)count);
    }
    options.batch = BATCH;
    int status = diffc_model_describe(classifier, &architecture, &model);
    if (!status)
        status = diffc_session_create(classifier, &options, &session);
    for (int64_t first = 0; first < count && !status; first += BATCH)
        status = run_batch(context, session, images, model.classes, first,
                           count - first < BATCH ? count - first : BATCH, judged);
    diffc_release(&session);
    if (!status)
        return 0;
    ex_judged_free(judged);
    return ex_failed("classifier", status);
}

void ex_judged_free(struct ex_judged *judged)
{
    free(judged->features);
    free(judged->label);
    *judged = (struct ex_judged) { 0 };
}

double ex_accuracy(const struct ex_judged *judged, const int32_t *expected)
{
    int64_t right = 0;
    for (int64_t n = 0; n < judged->count; n++)
        right += judged->label[n] == expected[n];
    return (double)right / (double)judged->count;
}
