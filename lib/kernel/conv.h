#ifndef DFI_KERNEL_CONV_H
#define DFI_KERNEL_CONV_H

#include "kernel/kernels.h"

/* Two-dimensional convolution (k x k, stride, padding) or transposed convolution of one image, channels-last,
 * for all three passes. The forward pass of one is the backward-data pass of the other; each becomes one or
 * several lists of taps (one per phase where the stride divides output pixels). This is the room where
 * further algorithms join. */

enum dfi_conv_pass { DFI_CONV_FORWARD, DFI_CONV_BACKWARD_DATA, DFI_CONV_BACKWARD_WEIGHTS };

struct dfi_conv {
    int transposed;
    int cin, cout; /* of the forward pass */
    int kernel, stride, padding;
    int in_h, in_w, out_h, out_w;
    int dtype; /* DIFFC_F32, DIFFC_F64 */
    const struct dfi_kernels *kernels;
};

/* Fills the output size; returns 0, or -1 if the window does not fit the image. A transposed convolution with
 * stride = kernel over a 1 x 1 image is better done as a matrix product: the caller sees to that. */
int dfi_conv_init(struct dfi_conv *conv, const struct dfi_kernels *kernels, int dtype, int transposed,
                  int cin, int cout, int kernel, int stride, int padding, int in_h, int in_w);

/* Elements of packed weights for a pass (forward, backward data), and packing from the reference layout:
 * [cout][cin][k][k], transposed [cin][cout][k][k]. */
size_t dfi_conv_packed(const struct dfi_conv *conv, enum dfi_conv_pass pass);
void dfi_conv_pack(const struct dfi_conv *conv, enum dfi_conv_pass pass, const void *weights, void *packed);

/* Independent pieces of one image's pass, for parallelism: depends on shapes only. */
int dfi_conv_bands(const struct dfi_conv *conv, enum dfi_conv_pass pass);

/* Bytes of scratch that one call needs. */
size_t dfi_conv_scratch(const struct dfi_conv *conv, enum dfi_conv_pass pass);

/* One band of one image. Forward: x [in_h][in_w][cin] -> y [out_h][out_w][cout] with bias (or NULL). Backward
 * data: x is dy [out_h][out_w][cout], y is dx [in_h][in_w][cin], bias NULL. Pixels ldx, ldy elements apart.
 */
void dfi_conv_run(const struct dfi_conv *conv, enum dfi_conv_pass pass, const void *packed, const void *bias,
                  const void *x, ptrdiff_t ldx, void *y, ptrdiff_t ldy, int accumulate, int band,
                  void *scratch);

/* Gradient by the weights: one image added to a lane's accumulator of dfi_conv_dw_size() elements (the caller
 * zeroes it first); then the lanes are summed in the fixed tree into the reference layout (+ gradient if
 * accumulate), which uses up the lanes. Pieces 0 .. dfi_conv_dw_parts() - 1 of an accumulator are independent
 * of each other. */
size_t dfi_conv_dw_scratch(const struct dfi_conv *conv); /* dfi_conv_scratch() of that pass */
size_t dfi_conv_dw_size(const struct dfi_conv *conv);
int dfi_conv_dw_parts(const struct dfi_conv *conv);
void dfi_conv_dw(const struct dfi_conv *conv, const void *x, ptrdiff_t ldx, const void *dy, ptrdiff_t lddy,
                 void *lane, int part, void *scratch);
void dfi_conv_dw_reduce(const struct dfi_conv *conv, void *lanes, size_t lane_stride, int lane_count,
                        void *gradient, int accumulate);

#endif
