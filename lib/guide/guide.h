#ifndef DFI_GUIDE_GUIDE_H
#define DFI_GUIDE_GUIDE_H

#include <diffc/guidance.h>

#include "guide/view.h"

#define DFI_MAX_QUERIES 1024 /* that one step may need */
#define DFI_MAX_VIEWS 64

/* One prediction that is wanted. */
struct dfi_ask {
    const diffc_denoiser *denoiser;
    int step;
    const float *t;
    const struct diffc_tensor *x;
    struct diffc_tensor *out;
    int32_t image_channels;
    int32_t base; /* condition that number 0 stands for */
};

struct diffc_guide {
    struct dfi_object object;
    diffc_combiner combiner;
    diffc_query *queries;       /* [capacity] */
    diffc_query *asked;         /* [capacity]: without those that are asked twice */
    struct diffc_tensor **outs; /* [capacity], NULL from `made` on */
    int capacity, made;
    int64_t shape[4]; /* of outs */
    int plain;        /* 1: expand keeps nothing, so it may be called again before combine, and two queries of
                         one x and condition may share their out */
    int together; /* 1: with in_turn, and not too many queries, expand and combine serve as well: faster */
    /* Asks an inner guide view by view. */
    int (*in_turn)(void *opaque, const struct dfi_ask *ask);
};

int dfi_guide_new(struct diffc_context *context, const diffc_combiner *combiner, struct diffc_guide **guide);
int dfi_guide_new_cfg(struct diffc_context *context, const float *scales, int count,
                      struct diffc_guide **guide);
int dfi_guide_new_views(struct diffc_context *context, diffc_view *const *views, const int32_t *conditions,
                        int count, const char *reduction, struct diffc_guide *inner,
                        struct diffc_guide **guide);
int dfi_guide_new_factors(struct diffc_context *context, struct diffc_factorization *factors,
                          const int32_t *conditions, struct diffc_guide *inner, struct diffc_guide **guide);

/* The caller's denoiser of any version, checked. */
int dfi_denoiser_read(const diffc_denoiser *source, diffc_denoiser *denoiser);

const struct dfi_entry *dfi_reduction_entry(int index);

/* `guide` may be NULL: the condition `base` alone. Shapes of x and out are checked already. */
int dfi_guide_predict(struct diffc_guide *guide, const struct dfi_ask *ask);

/* ---- for guides over guides ---- */

static inline int32_t dfi_condition_from(int32_t base, int32_t condition)
{
    if (condition < 0 || base < 0)
        return condition < 0 ? condition : base;
    return condition > INT32_MAX - base ? INT32_MAX : base + condition; /* no model has so many */
}

/* What an inner guide, which may be NULL, does of its own; conditions count from `base`. Only for plain ones
 * but dfi_inner_count(). */
int dfi_inner_is_plain(const struct diffc_guide *inner);
int dfi_inner_count(const struct diffc_guide *inner, int step);
int dfi_inner_expand(const struct diffc_guide *inner, int step, int32_t base, const struct diffc_tensor *x,
                     diffc_query *queries, int count);
int dfi_inner_combine(const struct diffc_guide *inner, int step, const diffc_query *queries, int count,
                      struct diffc_tensor *out);

/* total += part, or total = part if first. */
void dfi_planes_add(const struct dfi_planes *part, const struct dfi_planes *total, int first);
void dfi_planes_divide(const struct dfi_planes *planes, float divisor);

#endif
