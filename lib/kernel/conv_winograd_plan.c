/* Where the tiles and the filters of a Winograd pass lie: what forward, backward data and the gradient by the
 * weights have in common. */

#include "kernel/conv_winograd.h"

struct dfi_conv_winograd_plan dfi_conv_winograd_plan_make(const struct dfi_conv *conv,
                                                          const struct dfi_conv_plan *plan,
                                                          enum dfi_conv_pass pass)
{
    struct dfi_conv_winograd_plan w = { .plan = *plan, .dots = conv->dots[pass] };
    const int tile = conv->tile[pass];
    dfi_winograd_init(&w.scheme, tile, dfi_conv_filter(conv));
    w.src_phases = plan->src_step * plan->src_step;
    w.dst_phases = plan->dst_step * plan->dst_step;
    w.across = (plan->base_w + tile - 1) / tile;
    w.per_image = w.across * ((plan->base_h + tile - 1) / tile);
    return w;
}

/* Along one axis: the shifts of a destination phase that fall on a source phase. */
static int find_axis(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, int dst_phase,
                     int src_phase, int *position)
{
    int positions[DFI_CONV_MAX_KERNEL], shifts[DFI_CONV_MAX_KERNEL], found = 0, first = 0;
    const int count = dfi_conv_list_shifts(conv, plan->scatters, dst_phase, positions, shifts);
    for (int i = 0; i < count; i++) {
        const int away = shifts[i] - src_phase;
        if (away % plan->src_step == 0) {
            if (found == 0)
                first = away / plan->src_step;
            position[found++] = positions[i];
        }
    }
    return first;
}

void dfi_conv_winograd_find_filter(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w,
                                   int dst_phase, int src_phase, struct dfi_conv_winograd_filter *filter)
{
    const struct dfi_conv_plan *plan = &w->plan;
    const int r = w->scheme.r;
    int down[DFI_CONV_MAX_KERNEL], across[DFI_CONV_MAX_KERNEL];
    filter->shift_y = find_axis(conv, plan, dst_phase / plan->dst_step, src_phase / plan->src_step, down);
    filter->shift_x = find_axis(conv, plan, dst_phase % plan->dst_step, src_phase % plan->src_step, across);
    for (int t = 0; t < r * r; t++)
        filter->position[t] = down[t / r] * conv->kernel + across[t % r];
}

struct dfi_tiles dfi_conv_winograd_tiles(const struct dfi_conv_winograd_plan *w,
                                         const struct dfi_kernels *kernels, const struct dfi_images *images,
                                         int h, int width, int step, int phase)
{
    const int y = phase / step, x = phase % step;
    return (struct dfi_tiles) {
        .data = dfi_conv_pixel(kernels, images->data, ((ptrdiff_t)y * width + x) * images->ld),
        .pixel = images->ld * step,
        .row = images->ld * step * width,
        .image = images->stride,
        .images = images->count,
        .h = (h - y + step - 1) / step,
        .w = (width - x + step - 1) / step,
        .across = w->across,
        .per_image = w->per_image,
    };
}

struct dfi_prefetch dfi_conv_winograd_pixels(const struct dfi_conv_winograd_plan *w,
                                             const struct dfi_kernels *kernels,
                                             const struct dfi_images *images, int h, int width, int step,
                                             int channels, int first, int count)
{
    const int tile_rows = w->per_image / w->across, last = first + count - 1, height = w->scheme.m * step;
    const int image = first / w->per_image, last_image = last / w->per_image;
    const int begin = image * h + first / w->across % tile_rows * height;
    const int rows = (last / w->across % tile_rows + 1) * height;
    const int end = last_image * h + (rows < h ? rows : h);
    if (count < 1 || last_image >= images->count || images->stride != images->ld * h * width)
        return (struct dfi_prefetch) { NULL, 0, 0, 0 };
    return (struct dfi_prefetch) {
        dfi_conv_pixel(kernels, images->data, (ptrdiff_t)begin * width * images->ld),
        images->ld * (ptrdiff_t)kernels->pixel, (end - begin) * width, channels * (int)kernels->pixel
    };
}
