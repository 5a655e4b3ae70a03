#ifndef DFI_MODEL_WEIGHTS_H
#define DFI_MODEL_WEIGHTS_H

#include "model/model.h"

/* A model from an archive: settings from the metadata or, without any, from names and shapes and `fallback`.
 */
int dfi_model_load(const struct diffc_archive *archive, const struct dfi_model_config *fallback,
                   struct diffc_model **model);

/* An archive with the model's tensors in `dtype` (statistics F32) and its metadata. */
int dfi_model_store(const struct diffc_model *model, int dtype, struct diffc_archive **archive);

/* Leaves the parameters where the archive has them, in its dtypes; the model keeps the archive. Small ones
 * that are not F32 are converted, and those of no half precision. Models that are trained need
 * dfi_model_gather() first. */
int dfi_model_adopt(struct diffc_model *model, struct diffc_archive *archive);

/* Brings all parameters into one array of F32, if they are not there yet. */
int dfi_model_gather(struct diffc_model *model);

/* ERR_CONFIG naming the first three parameters that the archive lacks; `find` as dfi_archive_find(). */
typedef int (*dfi_archive_finder)(const struct diffc_archive *archive, const char *name);
int dfi_check_missing(const struct dfi_params *params, const struct diffc_archive *archive,
                      dfi_archive_finder find);

#endif
