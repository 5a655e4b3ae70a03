#ifndef DFI_GUIDE_FACTOR_H
#define DFI_GUIDE_FACTOR_H

#include <diffc/guidance.h>

#include "base/registry.h"
#include "guide/view.h"

#define DFI_MAX_COMPONENTS 64

struct dfi_factor_rule {
    struct dfi_entry entry;
    int count; /* components; 0: as many as there are scales */
    int has_sigma, has_sigma2, has_kernel, has_scales;
    double sigma, sigma2; /* defaults */
    int kernel_size;
    /* Component k of one sample [channels][h][w]; y is not x. */
    void (*component)(const struct diffc_factorization *factors, int k, const float *x, float *y,
                      int64_t channels);
};

struct diffc_factorization {
    struct dfi_object object;
    const struct dfi_factor_rule *rule; /* NULL: of the caller's */
    int count;
    double sigma[2];
    int kernel_size, kernel_default;
    double scales[DFI_MAX_COMPONENTS];
    int64_t h, w;    /* size of what follows; 0: none yet */
    int size;        /* of the filter at this size */
    double *taps[2]; /* [size] */
    float *scratch;  /* [2][h * w] */

    diffc_factorization_functions own;
    char *own_name;
    int64_t channels; /* that it was tried with */
    struct diffc_tensor *room[2];
};

const struct dfi_entry *dfi_factor_entry(int index);

int dfi_factor_new(struct diffc_context *context, const char *name,
                   const diffc_factorization_options *options, struct diffc_factorization **factors);
int dfi_factor_new_own(struct diffc_context *context, const diffc_factorization_functions *functions,
                       struct diffc_factorization **factors);

/* Makes the filters for a size, or tries a caller's function. */
int dfi_factor_bind(struct diffc_factorization *factors, int64_t channels, int64_t h, int64_t w);

/* Planes of one size, bound before; the memory must differ. */
int dfi_factor_run(struct diffc_factorization *factors, int k, const struct dfi_planes *from,
                   const struct dfi_planes *to);

/* factor_rules.c */
extern const struct dfi_factor_rule dfi_factor_rules[];
extern const int dfi_factor_rule_count;

#endif
