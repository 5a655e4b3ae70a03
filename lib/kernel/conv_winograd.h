#ifndef DFI_KERNEL_CONV_WINOGRAD_H
#define DFI_KERNEL_CONV_WINOGRAD_H

#include "kernel/conv_algorithm.h"
#include "kernel/winograd.h"

/* A pass by Winograd's filtering. A kernel of 4 x 4 with stride 2 falls into four filters of 2 x 2, one for
 * each phase of the larger image: where the pass scatters each makes one phase of the destination, where it
 * gathers their products add up. */
struct dfi_conv_winograd_plan {
    struct dfi_conv_plan plan;
    struct dfi_winograd scheme;
    int src_phases, dst_phases; /* squares of the steps */
    int dots;                   /* products of bfloat16 */
    int across, per_image;      /* tiles */
};

struct dfi_conv_winograd_plan dfi_conv_winograd_plan_make(const struct dfi_conv *conv,
                                                          const struct dfi_conv_plan *plan,
                                                          enum dfi_conv_pass pass);

/* The filter between a phase of the destination and a phase of the source: its kernel positions and the shift
 * (in pixels of the source's phase) of its first tap. */
struct dfi_conv_winograd_filter {
    int position[DFI_WINOGRAD_R * DFI_WINOGRAD_R];
    int shift_y, shift_x;
};
void dfi_conv_winograd_find_filter(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w,
                                   int dst_phase, int src_phase, struct dfi_conv_winograd_filter *filter);

/* One phase of images of h x w pixels, as tiles; `kernels` by the type of their pixels. */
struct dfi_tiles dfi_conv_winograd_tiles(const struct dfi_conv_winograd_plan *w,
                                         const struct dfi_kernels *kernels, const struct dfi_images *images,
                                         int h, int width, int step, int phase);

/* The pixels of tiles first .. first + count - 1, for whoever wants to fetch them; none where the images do
 * not follow each other in memory. */
struct dfi_prefetch dfi_conv_winograd_pixels(const struct dfi_conv_winograd_plan *w,
                                             const struct dfi_kernels *kernels,
                                             const struct dfi_images *images, int h, int width, int step,
                                             int channels, int first, int count);

#endif
