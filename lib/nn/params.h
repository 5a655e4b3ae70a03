#ifndef DFI_NN_PARAMS_H
#define DFI_NN_PARAMS_H

#include "base/context.h"

#define DFI_PARAM_NAME 128

enum dfi_init {
    DFI_INIT_UNIFORM, /* U(-1/sqrt(fan_in), 1/sqrt(fan_in)) */
    DFI_INIT_ZERO,
    DFI_INIT_ONE
};

struct dfi_param {
    char name[DFI_PARAM_NAME];
    int ndim;
    int64_t shape[4];     /* reference layout */
    size_t offset, count; /* elements within `values` or `stats` */
    enum dfi_init init;
    int64_t fan_in;
};

/* Parameters of a model: trainable ones in one flat array, running statistics in another. */
struct dfi_params {
    struct diffc_context *context;
    int dtype; /* DIFFC_F32; DIFFC_F64 for gradient checks */
    struct dfi_param *list;
    int count, capacity;
    size_t value_count;
    void *values;
    struct dfi_param *stat_list;
    int stat_entries, stat_capacity;
    size_t stat_count;
    void *stats;
};

void dfi_params_init(struct dfi_params *params, struct diffc_context *context, int dtype);
void dfi_params_clear(struct dfi_params *params);
/* Appends a specification; returns its number or a negative status. */
int dfi_params_add(struct dfi_params *params, int trainable, const char *name, int ndim, const int64_t *shape,
                   enum dfi_init init, int64_t fan_in);
/* Allocates the arrays and draws initial values: parameter number p from Philox stream (INIT, p). */
int dfi_params_allocate(struct dfi_params *params, uint64_t seed);
const struct dfi_param *dfi_params_find(const struct dfi_params *params, const char *name, int *trainable);

#endif
