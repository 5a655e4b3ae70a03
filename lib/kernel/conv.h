#ifndef DFI_KERNEL_CONV_H
#define DFI_KERNEL_CONV_H

#include "kernel/kernels.h"

/* Two-dimensional convolution (k x k, stride, padding) or transposed convolution of images, channels-last,
 * for all three passes. The forward pass of one is the backward-data pass of the other. Each pass has an
 * algorithm that is chosen from the shape, the kernels and the numerics, never from the batch or the threads.
 */

/* How sums may be rearranged for speed. Rounding errors relative to a direct convolution: exact: no larger;
 * default: about twice; fast: about 20 times, 1e-5 of the rms of the output. */
enum dfi_numerics { DFI_NUMERICS_DEFAULT, DFI_NUMERICS_EXACT, DFI_NUMERICS_FAST };

/* To save memory: of the tiles that the numerics allow all, the smallest ones, or none (direct). */
enum dfi_tiling { DFI_TILING_ALL, DFI_TILING_SMALL, DFI_TILING_NONE };

enum dfi_conv_pass { DFI_CONV_FORWARD, DFI_CONV_BACKWARD_DATA, DFI_CONV_BACKWARD_WEIGHTS };

struct dfi_conv {
    /* what the caller says */
    int transposed;
    int cin, cout; /* of the forward pass */
    int kernel, stride, padding;
    int in_h, in_w;
    int dtype; /* DIFFC_F32, DIFFC_F64 */
    enum dfi_numerics numerics;
    const struct dfi_kernels *kernels;
    int shares;  /* 1: jobs have the memory of dfi_conv_shared() */
    int streams; /* 1: weights are not packed before; where the convolution shares and a job has pieces that
                    prepare, it takes them as they are in the reference layout */
    const struct dfi_kernels *in, *out; /* by the type of the pixels on its two sides; NULL: `kernels` */
    int rounds; /* 1: factors of products may be rounded to bfloat16 where that is faster */
    enum dfi_tiling tiles;
    /* what dfi_conv_init() fills in */
    int out_h, out_w;
    int tile[3]; /* for each pass: m of Winograd's F(m x m), 0: direct */
    int dots[3]; /* products of bfloat16 */
};

/* Fills in the output size and the algorithms; returns 0, or -1 if the window does not fit the image. A
 * transposed convolution with stride = kernel over a 1 x 1 image is better done as a matrix product: the
 * caller sees to that. */
int dfi_conv_init(struct dfi_conv *conv);

/* "direct", "direct-bf16", "winograd-4x4", "winograd-4x4-bf16". */
const char *dfi_conv_algorithm_name(const struct dfi_conv *conv, enum dfi_conv_pass pass);

/* Multiply-adds of a pass over one image: as a direct convolution would make them, and as the chosen
 * algorithm does. */
double dfi_conv_work(const struct dfi_conv *conv, enum dfi_conv_pass pass);
double dfi_conv_work_done(const struct dfi_conv *conv, enum dfi_conv_pass pass);

/* Elements of packed weights for a pass (forward, backward data), and packing from the reference layout,
 * [cout][cin][k][k], transposed [cin][cout][k][k], in independent pieces. */
size_t dfi_conv_packed(const struct dfi_conv *conv, enum dfi_conv_pass pass);
int dfi_conv_pack_pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass);
void dfi_conv_pack(const struct dfi_conv *conv, enum dfi_conv_pass pass, const void *weights, void *packed,
                   int piece, void *scratch);

/* Bytes of scratch that one call needs, packing included. */
size_t dfi_conv_scratch(const struct dfi_conv *conv, enum dfi_conv_pass pass);

/* Images channels-last, gradients of the type of what they are gradients of: pixels ld elements apart, images
 * stride; image n lies where n % count does. */
struct dfi_images {
    void *data;
    ptrdiff_t ld, stride;
    int count;
};

/* A pass over `samples` images: forward x [in_h][in_w][cin] -> y [out_h][out_w][cout]; backward data: x is dy
 * [out_h][out_w][cout], y is dx [in_h][in_w][cin]. y = act((sum + base) * scale + bias), where scale and
 * bias, one value for each channel of y, may be NULL. */
struct dfi_conv_job {
    const struct dfi_conv *conv;
    enum dfi_conv_pass pass;
    const void *packed, *scale, *bias;
    enum dfi_act act;
    struct dfi_images x, y;
    struct dfi_images base; /* of y's type; y itself: it is added to; data NULL: nothing */
    int samples;
    void *shared;        /* of convolutions that share */
    const void *weights; /* of those that stream: float or 16 bits wide (diffc_dtype) */
    int weights_dtype;
    int threads; /* that share the pieces: this one's next is probably so many further on; 0: not known */
};

/* Bytes that the pieces of a job with up to so many samples share. */
size_t dfi_conv_shared(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples);

/* Independent pieces of a job: first those that prepare what is shared, if there are any, then the others.
 * None for no samples, which is what a rank may have. */
int dfi_conv_prepare_pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples);
void dfi_conv_prepare(const struct dfi_conv_job *job, int piece);
int dfi_conv_pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples);
void dfi_conv_run(const struct dfi_conv_job *job, int piece, void *scratch);

/* The samples that a piece writes to, first .. end - 1, of a convolution that does not share. */
void dfi_conv_written(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples, int piece,
                      int *first, int *end);

/* Gradient by the weights: images first .. end - 1 are added to a lane's accumulator of dfi_conv_dw_size()
 * elements (the caller zeroes it first); then the lanes are summed in the fixed tree into the reference
 * layout
 * (+ gradient if accumulate), which uses up the lanes. Pieces 0 .. dfi_conv_dw_parts() - 1 of an accumulator
 * are independent of each other. */
size_t dfi_conv_dw_size(const struct dfi_conv *conv);
int dfi_conv_dw_parts(const struct dfi_conv *conv);
void dfi_conv_dw(const struct dfi_conv *conv, const struct dfi_images *x, const struct dfi_images *dy,
                 int first, int end, void *lane, int part, void *scratch);
void dfi_conv_dw_reduce(const struct dfi_conv *conv, void *lanes, size_t lane_stride, int lane_count,
                        void *gradient, int accumulate);

#endif
