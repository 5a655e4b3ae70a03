#ifndef DFI_MODEL_CONFIG_H
#define DFI_MODEL_CONFIG_H

#include "model/model.h"

/* The caller's options with defaults filled in; names become static strings. */
int dfi_model_config_read(const diffc_model_options *options, struct dfi_model_config *config);

/* Static copies of the names that settings may have, or NULL with a message that lists them. */
const char *dfi_condition_name(const char *name);
const char *dfi_time_mode_name(const char *name);
const char *dfi_objective_name(const char *name);

#endif
