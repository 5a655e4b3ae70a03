#ifndef DFI_MODEL_FOLDER_MODEL_H
#define DFI_MODEL_FOLDER_MODEL_H

#include "model/model.h"

struct dfi_folder_options {
    const char *variant; /* NULL: plain files */
    int map, finite;     /* see diffc_model_options */
    uint64_t shard;      /* most bytes of a file when writing; 0: one file */
};

/* A model from a folder with config.json and weights, or from the unet/ of a whole pipeline. */
int dfi_model_open_folder(struct diffc_context *context, const char *path,
                          const struct dfi_folder_options *options, const struct dfi_model_config *fallback,
                          struct diffc_model **model);

/* Writes config.json and weights in `dtype`; makes the folder if it is not there. */
int dfi_model_save_folder(const struct diffc_model *model, const char *path, int dtype,
                          const struct dfi_folder_options *options);

#endif
