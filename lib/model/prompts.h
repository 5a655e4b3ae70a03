#ifndef DFI_MODEL_PROMPTS_H
#define DFI_MODEL_PROMPTS_H

#include "model/if_unet.h"

/* The text side of a session: what a network makes of the text alone, computed when a prompt is set and kept
 * for every step. */
struct dfi_prompt { /* what stands for one condition number */
    int condition;
    int rows;    /* 1: the same for all samples */
    float *data; /* [rows][row] */
};

struct dfi_prompts {
    struct diffc_context *context;
    struct dfi_graph *graph; /* of the text */
    struct dfi_exec *exec;
    int text; /* its input */
    struct dfi_links links;
    size_t row; /* floats that all linked values of one sample have together */
    struct dfi_prompt *list;
    int count, capacity;
};

/* Builds the two graphs of a network for the sizes in `config`; `graph` is the main one. Without `exec` only
 * the graphs, for a look at their memory. On failure nothing is left behind. */
int dfi_prompts_create(struct diffc_model *model, const struct dfi_model_config *config, int plan,
                       struct dfi_graph **graph, struct dfi_model_values *values,
                       struct dfi_prompts **prompts);
void dfi_prompts_destroy(struct dfi_prompts *prompts);

/* Bytes of the text graph's plan. */
int dfi_prompts_bytes(const struct dfi_prompts *prompts, size_t *bytes);

/* Takes the text states [rows, tokens, width] of a condition, in place of earlier ones. The old ones stay on
 * failure. */
int dfi_prompts_set(struct dfi_prompts *prompts, int condition, const struct diffc_tensor *text);

/* Forgets all of them: they are of other weights. */
void dfi_prompts_clear(struct dfi_prompts *prompts);

const struct dfi_prompt *dfi_prompts_find(const struct dfi_prompts *prompts, int condition);

/* Writes what belongs to a prompt into the inputs of the main graph, samples first .. first + count - 1. */
void dfi_prompts_apply(const struct dfi_prompts *prompts, const struct dfi_prompt *prompt,
                       struct dfi_exec *exec, int first, int count);

#endif
