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
    int widens;         /* its layer can read it in half precision */
    int stored_dtype;   /* of `stored` */
    const void *stored; /* where a file has it, in the reference layout; NULL: in `values` */
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
    int borrowed; /* 1: for inference alone, see dfi_params_borrow() */
};

void dfi_params_init(struct dfi_params *params, struct diffc_context *context, int dtype);
void dfi_params_clear(struct dfi_params *params);
/* Appends a specification; returns its number or a negative status. */
int dfi_params_add(struct dfi_params *params, int trainable, const char *name, int ndim, const int64_t *shape,
                   enum dfi_init init, int64_t fan_in);
/* Allocates the arrays: parameters are 0, running statistics 0 and 1. */
int dfi_params_allocate(struct dfi_params *params);
/* Draws initial values: parameter number p from Philox stream (INIT, p). */
void dfi_params_draw(struct dfi_params *params, uint64_t seed);

/* Instead of dfi_params_allocate(), for parameters that are only read: the values stay where a file has them.
 * find(opaque, param, &dtype) gives the contiguous values of a parameter in the reference layout, which must
 * stay as long as the parameters, or NULL after a dfi_fail(). Those that their layer cannot read as they are
 * stored are converted into `values`. */
typedef const void *(*dfi_params_source)(void *opaque, const struct dfi_param *param, int *dtype);
int dfi_params_borrow(struct dfi_params *params, dfi_params_source find, void *opaque);

const struct dfi_param *dfi_params_find(const struct dfi_params *params, const char *name, int *trainable);

#endif
