#ifndef DFI_KERNEL_CONV_PLAN_H
#define DFI_KERNEL_CONV_PLAN_H

#include "kernel/conv.h"

#define DFI_CONV_MAX_KERNEL 7
#define DFI_CONV_MAX_TAPS (DFI_CONV_MAX_KERNEL * DFI_CONV_MAX_KERNEL)

/* One pass seen as taps: destination pixel a * dst_step + phase gets source pixels a * src_step + shift, for
 * the shifts of that phase. A pass that gathers (forward of a convolution) has one phase and src_step =
 * stride; one that scatters (its adjoint) has a phase per residue of the stride, dst_step = stride. */
struct dfi_conv_plan {
    int scatters;
    int src_h, src_w, src_c, dst_h, dst_w, dst_c;
    const struct dfi_kernels *src, *dst; /* by the type of their pixels */
    int src_step, dst_step;
    int low, high;      /* smallest and largest shift */
    int base_h, base_w; /* values of a */
    int dots;           /* values are rounded to bfloat16 and multiplied in pairs */
};

/* Both kinds of convolution gather in one of their passes; its source and destination images are what the
 * gradient by the weights is made from: `source` around a pixel times `g` at the pixel. Its accumulators are
 * [taps][src_c][dfi_conv_dw_row()]. */
struct dfi_conv_plan dfi_conv_plan_gather(const struct dfi_conv *conv);
#define DFI_CONV_DW_GRAIN 32 /* channels; a multiple of every conv_block */
int dfi_conv_dw_row(const struct dfi_conv_plan *plan);

/* Kernel positions that feed destination phase `phase` along one axis, by ascending shift, so that taps of
 * neighbouring pixels follow each other in memory; returns their number. */
int dfi_conv_list_shifts(const struct dfi_conv *conv, int scatters, int phase, int *position, int *shift);

struct dfi_conv_taps {
    int count;
    int position[DFI_CONV_MAX_TAPS]; /* in the kernel */
    int shift_y[DFI_CONV_MAX_TAPS], shift_x[DFI_CONV_MAX_TAPS];
};

size_t dfi_conv_element(const struct dfi_conv *conv); /* bytes */

/* What products take in: a value, or a pair of bfloat16, which is as large as a float. So many make the
 * source channels of a pixel. */
static inline int dfi_conv_factors(const struct dfi_conv_plan *plan)
{
    return plan->dots ? plan->src_c / 2 : plan->src_c;
}
struct dfi_conv_plan dfi_conv_plan_make(const struct dfi_conv *conv, enum dfi_conv_pass pass);
void dfi_conv_list_taps(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, int phase_y,
                        int phase_x, struct dfi_conv_taps *taps);

/* No tap leaves the image: it can be read where it is, if its pixels have the right type. */
int dfi_conv_stays_inside(const struct dfi_conv_plan *plan);

/* An element of such an image. */
static inline void *dfi_conv_pixel(const struct dfi_kernels *kernels, const void *data, ptrdiff_t at)
{
    return (char *)(uintptr_t)data + at * (ptrdiff_t)kernels->pixel;
}

/* Size in source pixels of what `base_rows` rows of destination bases need; all columns. */
int dfi_conv_packed_width(const struct dfi_conv_plan *plan);
int dfi_conv_packed_rows(const struct dfi_conv_plan *plan, int base_rows);

/* Loads source rows first .. first + rows - 1 (which may lie outside the image) with a border of zeros,
 * pixels dfi_conv_factors() elements apart. */
void dfi_conv_pack_rows(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, const void *x,
                        ptrdiff_t ldx, int first, int rows, char *packed);

#endif
