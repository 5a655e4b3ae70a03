#ifndef DFI_KERNEL_CONV_ALGORITHM_H
#define DFI_KERNEL_CONV_ALGORITHM_H

#include "kernel/conv_plan.h"

/* What an algorithm provides; the calls mean what their namesakes in kernel/conv.h do. */
struct dfi_conv_algorithm {
    size_t (*packed)(const struct dfi_conv *conv, enum dfi_conv_pass pass);
    int (*pack_pieces)(const struct dfi_conv *conv, enum dfi_conv_pass pass);
    void (*pack)(const struct dfi_conv *conv, enum dfi_conv_pass pass, const void *weights, void *packed,
                 int piece, void *scratch);
    size_t (*scratch)(const struct dfi_conv *conv, enum dfi_conv_pass pass);
    size_t (*shared)(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples); /* NULL: nothing */
    int (*prepare_pieces)(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples);
    void (*prepare)(const struct dfi_conv_job *job, int piece);
    int (*pieces)(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples);
    void (*run)(const struct dfi_conv_job *job, int piece, void *scratch);
    void (*written)(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples, int piece, int *first,
                    int *end);
};

/* Gradient by the weights; accumulators have the same layout for all. */
struct dfi_conv_dw_algorithm {
    size_t (*scratch)(const struct dfi_conv *conv);
    int (*parts)(const struct dfi_conv *conv);
    void (*run)(const struct dfi_conv *conv, const struct dfi_images *x, const struct dfi_images *dy,
                int first, int end, void *lane, int part, void *scratch);
};

extern const struct dfi_conv_algorithm dfi_conv_direct, dfi_conv_winograd;
extern const struct dfi_conv_dw_algorithm dfi_conv_direct_dw, dfi_conv_winograd_dw;

/* Fills in `tile` and `dots` of a pass. */
void dfi_conv_choose(struct dfi_conv *conv, enum dfi_conv_pass pass);

/* Values per tile pixel row of Winograd's filters: 3, or 2 where the kernel is cut into phases. */
static inline int dfi_conv_filter(const struct dfi_conv *conv)
{
    return conv->stride == 2 ? 2 : 3;
}

static inline int dfi_divide_up(int a, int b)
{
    return (a + b - 1) / b;
}

#endif
