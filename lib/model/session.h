#ifndef DFI_MODEL_SESSION_H
#define DFI_MODEL_SESSION_H

#include "model/prompts.h"

struct diffc_session {
    struct dfi_object object;
    struct diffc_model *model;
    struct dfi_exec *exec;
    struct dfi_model_values values; /* of the graph that exec runs */
    struct dfi_graph *graph;        /* of its own; NULL: the model's */
    struct dfi_prompts *prompts;    /* of networks that take text; NULL: others */
    struct diffc_tensor *image;     /* channels of the input behind those of x; NULL: none */
    int batch, conditions, training;
    int32_t *labels; /* [batch] of condition 0, DIFFC_UNCONDITIONAL for none */
};

struct dfi_session_config {
    int batch, conditions, training;
    int image_height, image_width, text_tokens; /* if_unet; 0: the model's */
    int64_t memory;                             /* most bytes of the plan, 0: the context's limit */
    enum dfi_numerics numerics;
    enum dfi_precision precision;
};

int dfi_session_plan_bytes(const struct diffc_model *model, const struct dfi_session_config *config,
                           size_t *bytes);
int dfi_session_new(struct diffc_model *model, const struct dfi_session_config *config,
                    struct diffc_session **session);
int dfi_session_run(struct diffc_session *session, const diffc_binding *inputs, int input_count,
                    const diffc_binding *outputs, int output_count);
int dfi_session_set_text(struct diffc_session *session, int condition, const struct diffc_tensor *text);
int dfi_session_set_image(struct diffc_session *session, const struct diffc_tensor *image);
void dfi_session_refresh(struct diffc_session *session);
int dfi_session_set_labels(struct diffc_session *session, const int32_t *labels, int count);
int dfi_session_predict(struct diffc_session *session, const float *t, const diffc_query *queries, int count);

/* The graph value of a public input or output name; -1 with a message that lists the names. */
int dfi_model_input(const struct diffc_model *model, const struct dfi_model_values *values, const char *name);
int dfi_model_output(const struct diffc_model *model, const struct dfi_model_values *values,
                     const char *name);

/* Writes the bound tensors into the inputs of a plan (zeros where nothing is bound) and says how many samples
 * they have. */
int dfi_bind_inputs(const struct diffc_model *model, const struct dfi_model_values *values,
                    struct dfi_exec *exec, int batch_limit, const diffc_binding *inputs, int count,
                    int *batch);

/* The tensor seen as [N, C, H, W], sizes of 1 where it has fewer dimensions. */
struct diffc_tensor dfi_bind_view(const struct diffc_tensor *tensor);

/* Text is [N, tokens, width] outside. */
int dfi_bind_check_text(int tokens, int width, const struct diffc_tensor *text);

/* One text serves all samples, or each has its own. */
int dfi_bind_check_text_rows(int64_t rows, int batch);

/* Checks that a tensor can take or give a value's samples; `name` is for the message. */
int dfi_bind_check(const struct dfi_exec *exec, int value, const char *name,
                   const struct diffc_tensor *tensor, int *batch);

#endif
