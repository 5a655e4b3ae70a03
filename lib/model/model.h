#ifndef DFI_MODEL_MODEL_H
#define DFI_MODEL_MODEL_H

#include <diffc/model.h>

#include "base/registry.h"
#include "model/if_config.h"
#include "nn/exec.h"
#include "nn/graph.h"

struct dfi_metadata { /* key, value pairs that are saved with a model */
    char *key, *value;
    struct dfi_metadata *next;
};

/* Settings with defaults filled in; strings point to static names. */
struct dfi_model_config {
    int image_channels, image_height, image_width, width, classes;
    const char *condition, *time_mode, *objective;
    int train_steps;
    uint64_t seed;
    const char *json; /* if_unet: its config.json; the model keeps a copy */
    int text_tokens;  /* if_unet: tokens of a prompt */
    int without_weights;
    struct dfi_if_config unet;
};

/* Values of a graph by their role; -1 where the architecture has none. */
struct dfi_model_values {
    int x, t, cls;     /* inputs */
    int text;          /* text states, one of the text graph if there is one */
    int out, features; /* outputs; out is what the loss compares with the target */
    int target, loss;  /* only in graphs built for training */
};

struct dfi_architecture {
    struct dfi_entry entry;
    const char *kind; /* "denoiser", "classifier" */
    int (*check)(struct dfi_model_config *config);
    /* Builds the network into `graph`. */
    void (*build)(struct dfi_graph *graph, const struct dfi_model_config *config,
                  struct dfi_model_values *values);
    /* Completes `config` from the tensors of a file that has no metadata. */
    int (*infer)(const struct diffc_archive *archive, struct dfi_model_config *config);
    /* Names of public inputs and outputs. */
    const char *inputs[4], *outputs[4];
    int has_config; /* 1: its settings are those of a config.json */
};

const struct dfi_architecture *dfi_architecture_at(int index);          /* NULL past the end */
const struct dfi_architecture *dfi_architecture_find(const char *name); /* NULL with a message */

struct diffc_model {
    struct dfi_object object;
    const struct dfi_architecture *architecture;
    struct dfi_model_config config;
    char *json; /* what config.json points to */
    struct dfi_params params;
    struct diffc_archive *archive; /* where stored parameters lie; NULL: none do */
    void *gathered; /* their values before they were gathered: tensors may still look at them */
    struct dfi_metadata *metadata;
    char **unused; /* names of tensors that the file has and the model has not */
    int unused_count;
    struct dfi_graph *graph; /* for inference */
    struct dfi_model_values values;
    struct dfi_graph *loss_graph; /* the same with a target input and a loss node */
    struct dfi_model_values loss_values;
};

int dfi_model_new(struct diffc_context *context, const struct dfi_architecture *architecture,
                  const struct dfi_model_config *config, struct diffc_model **model);
/* The memory of parameters, up to now without; draws their initial values if `draws`. */
int dfi_model_allocate(struct diffc_model *model, int draws);
int dfi_model_clone(const struct diffc_model *model, struct diffc_model **copy);

/* Keys that describe the model itself are written anew; all others travel with it. */
int dfi_model_owns_key(const char *key);
const char *dfi_model_metadata(const struct diffc_model *model, const char *key);
int dfi_model_set_metadata(struct diffc_model *model, const char *key, const char *value); /* NULL removes */
/* A key that is not there yet, behind the last entry, which *end points to the link of. */
int dfi_model_append_metadata(struct diffc_model *model, const char *key, const char *value,
                              struct dfi_metadata ***end);

#endif
