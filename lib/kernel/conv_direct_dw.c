/* Gradient by the weights without rearranging sums: products of a few rows of the source and of the gradient,
 * one tap at a time. */

#include <string.h>

#include "base/attributes.h"
#include "kernel/conv_algorithm.h"

#define PART_BYTES \
    (320 * 1024)         /* of accumulator: shares the second-level cache with the rows it is made from */
#define BLOCK_PIXELS 224 /* copied at a time; the kernel takes half as many at once */

static int count_parts(const struct dfi_conv *conv)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_gather(conv);
    const size_t grains = (size_t)dfi_conv_dw_row(&plan) / DFI_CONV_DW_GRAIN;
    const size_t parts = (dfi_conv_dw_size(conv) * dfi_conv_element(conv) + PART_BYTES - 1) / PART_BYTES;
    return (int)(parts < grains ? parts : grains);
}

/* With very few channels on one side the kernel wants all taps at once, over an image with a border.
 * Otherwise rows of the image are copied and each tap visits only the pixels where it stays inside. */
static int wants_border(const struct dfi_conv_plan *plan)
{
    return plan->src_c <= 4 || plan->dst_c <= 8;
}

static size_t border_bytes(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    return (size_t)dfi_conv_packed_rows(plan, plan->dst_h) * (size_t)dfi_conv_packed_width(plan) *
           (size_t)plan->src_c * dfi_conv_element(conv);
}

/* Images of another type, or pairs of images, are loaded as a whole. */
static size_t source_bytes(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    const size_t element = dfi_conv_element(conv);
    if (wants_border(plan))
        return border_bytes(conv, plan);
    return plan->src->pixel == element && !plan->dots
               ? 0
               : (size_t)plan->src_h * (size_t)plan->src_w * (size_t)plan->src_c * element;
}

static size_t gradient_bytes(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    const size_t element = dfi_conv_element(conv);
    return plan->dst->pixel == element && !plan->dots
               ? 0
               : (size_t)plan->dst_h * (size_t)plan->dst_w * (size_t)plan->dst_c * element;
}

static void run_bordered(const struct dfi_conv *conv, const struct dfi_conv_plan *plan,
                         struct dfi_taps_dw_args *args, ptrdiff_t ld_source, char *scratch)
{
    const ptrdiff_t row = (ptrdiff_t)dfi_conv_packed_width(plan) * plan->src_c;
    struct dfi_conv_taps taps;
    ptrdiff_t offset[DFI_CONV_MAX_TAPS];
    dfi_conv_pack_rows(conv, plan, args->x, ld_source, plan->low, dfi_conv_packed_rows(plan, plan->dst_h),
                       scratch);
    dfi_conv_list_taps(conv, plan, 0, 0, &taps);
    for (int t = 0; t < taps.count; t++)
        offset[t] = (taps.shift_y[t] - plan->low) * row +
                    (ptrdiff_t)(taps.shift_x[t] - plan->low) * plan->src_c;
    args->x = scratch;
    args->x_pixel = (ptrdiff_t)plan->src_c * plan->src_step;
    args->x_row = row * plan->src_step;
    args->offset = offset;
    args->taps = taps.count;
    args->width = plan->dst_w;
    args->rows = plan->dst_h;
    conv->kernels->taps_dw(args);
}

/* Destination indices a of first <= a < end for which 0 <= a * step + shift < limit. */
struct range {
    int first, end;
};

static struct range clip(struct range range, int step, int shift, int limit)
{
    const int low = shift < 0 ? (step - 1 - shift) / step : 0;
    const int high = limit > shift ? (limit - shift + step - 1) / step : 0;
    if (range.first < low)
        range.first = low;
    if (range.end > high)
        range.end = high;
    return range;
}

/* Rows of an image, copied so that what the kernel reads one after the other lies so: of the source in panels
 * of channels, of the gradient a block of them. In place, the pixels of wide images meet in a few sets of the
 * first-level cache. */
struct rows {
    char *data;
    struct range range;
    ptrdiff_t pixel, panel; /* elements */
};

static int count_panels(const struct dfi_conv_plan *plan)
{
    return dfi_divide_up(plan->src_c, DFI_TAPS_DW_PANEL);
}

static int block_rows(const struct dfi_conv_plan *plan)
{
    const int rows = plan->dst_w < BLOCK_PIXELS ? BLOCK_PIXELS / plan->dst_w : 1;
    return rows < plan->dst_h ? rows : plan->dst_h;
}

static size_t panels_bytes(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    const int wanted = dfi_conv_packed_rows(plan, block_rows(plan));
    const int rows = wanted < plan->src_h ? wanted : plan->src_h;
    return (size_t)rows * (size_t)plan->src_w * (size_t)count_panels(plan) * DFI_TAPS_DW_PANEL *
           dfi_conv_element(conv);
}

static size_t gradient_rows_bytes(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    return (size_t)block_rows(plan) * (size_t)plan->dst_w * (size_t)conv->kernels->conv_block *
           dfi_conv_element(conv);
}

static size_t scratch_bytes(const struct dfi_conv *conv)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_gather(conv);
    const size_t images = source_bytes(conv, &plan) + gradient_bytes(conv, &plan);
    return wants_border(&plan) ? images
                               : images + panels_bytes(conv, &plan) + gradient_rows_bytes(conv, &plan);
}

DFI_INLINE void copy_pixel(const char *from, const size_t size, int channels, char *to, ptrdiff_t panel)
{
    const size_t whole = DFI_TAPS_DW_PANEL * size;
    for (; channels >= DFI_TAPS_DW_PANEL; channels -= DFI_TAPS_DW_PANEL, from += whole, to += panel)
        memcpy(to, from, whole);
    for (; channels > 0; channels--, from += size, to += size)
        memcpy(to, from, size);
}

static struct rows copy_source(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, const char *x,
                               ptrdiff_t ld, struct range range, char *to)
{
    const ptrdiff_t size = (ptrdiff_t)dfi_conv_element(conv);
    const int pixels = (range.end - range.first) * plan->src_w;
    const struct rows rows = { to, range, DFI_TAPS_DW_PANEL, (ptrdiff_t)pixels * DFI_TAPS_DW_PANEL };
    x += (ptrdiff_t)range.first * plan->src_w * ld * size;
    for (int p = 0; p < pixels; p++, x += ld * size, to += DFI_TAPS_DW_PANEL * size)
        if (size == sizeof(float))
            copy_pixel(x, sizeof(float), plan->src_c, to, rows.panel * size);
        else
            copy_pixel(x, sizeof(double), plan->src_c, to, rows.panel * size);
    return rows;
}

static struct rows copy_gradient(const struct dfi_conv *conv, const struct dfi_conv_plan *plan,
                                 const char *dy, ptrdiff_t ld, struct range range, int channels, char *to)
{
    const ptrdiff_t size = (ptrdiff_t)dfi_conv_element(conv), pixel = conv->kernels->conv_block;
    const size_t pixels = (size_t)(range.end - range.first) * (size_t)plan->dst_w;
    dy += (ptrdiff_t)range.first * plan->dst_w * ld * size;
    conv->kernels->load_pixels(dy, ld, to, pixel, pixels, channels);
    return (struct rows) { to, range, pixel, 0 };
}

/* One tap over one block of rows. */
static void run_tap(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, const struct rows *x,
                    const struct rows *dy, int shift_y, int shift_x, struct dfi_taps_dw_args *args)
{
    static const ptrdiff_t no_offset[1] = { 0 };
    const ptrdiff_t size = (ptrdiff_t)dfi_conv_element(conv);
    const struct range columns = clip((struct range) { 0, plan->dst_w }, plan->src_step, shift_x,
                                      plan->src_w);
    const struct range rows = clip(dy->range, plan->src_step, shift_y, plan->src_h);
    if (rows.first >= rows.end || columns.first >= columns.end)
        return;
    const ptrdiff_t from_row = (ptrdiff_t)rows.first * plan->src_step + shift_y - x->range.first;
    const ptrdiff_t from_column = (ptrdiff_t)columns.first * plan->src_step + shift_x;
    args->x = x->data + (from_row * plan->src_w + from_column) * x->pixel * size;
    args->x_pixel = x->pixel * plan->src_step;
    args->x_row = x->pixel * plan->src_w * plan->src_step;
    args->x_panel = x->panel;
    args->dy = dy->data +
               ((ptrdiff_t)(rows.first - dy->range.first) * plan->dst_w + columns.first) * dy->pixel * size;
    args->dy_pixel = dy->pixel;
    args->dy_row = dy->pixel * plan->dst_w;
    args->taps = 1;
    args->offset = no_offset;
    args->width = columns.end - columns.first;
    args->rows = rows.end - rows.first;
    (plan->dots ? conv->kernels->taps_dw_bf16 : conv->kernels->taps_dw)(args);
}

/* An image, of the type of the sums, or a pair of them. */
struct image {
    const void *data;
    ptrdiff_t ld;
};

/* The output channels `first` .. first + count - 1 of an image. */
static void run_rows(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, const struct image *x,
                     const struct image *dy, int first, int count, char *dw, char *scratch)
{
    const ptrdiff_t size = (ptrdiff_t)dfi_conv_element(conv), ldw = dfi_conv_dw_row(plan);
    const int block = conv->kernels->conv_block, step = block_rows(plan);
    struct dfi_conv_taps taps;
    dfi_conv_list_taps(conv, plan, 0, 0, &taps);
    for (int row = 0; row < plan->dst_h; row += step) {
        const struct range range = { row, row + step < plan->dst_h ? row + step : plan->dst_h };
        const int low = row * plan->src_step + plan->low;
        const int high = (range.end - 1) * plan->src_step + plan->high + 1;
        const struct range wanted = { low > 0 ? low : 0, high < plan->src_h ? high : plan->src_h };
        if (wanted.first >= wanted.end)
            continue;
        const struct rows source = copy_source(conv, plan, x->data, x->ld, wanted, scratch);
        for (int c = first; c < first + count; c += block) {
            const int left = first + count - c;
            struct dfi_taps_dw_args args = { .cin = plan->src_c,
                                             .cout = left < block ? left : block,
                                             .ldw = ldw };
            const struct rows g = copy_gradient(conv, plan, (const char *)dy->data + c * size, dy->ld, range,
                                                args.cout, scratch + panels_bytes(conv, plan));
            for (int t = 0; t < taps.count; t++) {
                args.dw = dw + ((ptrdiff_t)t * plan->src_c * ldw + c) * size;
                run_tap(conv, plan, &source, &g, taps.shift_y[t], taps.shift_x[t], &args);
            }
        }
    }
}

/* Where image n has its pixels. */
static const void *pixels_of(const struct dfi_kernels *kernels, const struct dfi_images *images, int n)
{
    return dfi_conv_pixel(kernels, images->data, n % images->count * images->stride);
}

/* Image n, or of products of pairs that one and the next, if there is one; its pixels go to scratch if
 * `loads`. */
static struct image find_image(const struct dfi_conv_plan *plan, const struct dfi_kernels *kernels,
                               const struct dfi_images *images, int n, int end, int loads, size_t pixels,
                               int channels, void *scratch)
{
    const void *data = pixels_of(kernels, images, n);
    if (!loads)
        return (struct image) { data, images->ld };
    if (plan->dots)
        kernels->pair_pixels(data, n + 1 < end ? pixels_of(kernels, images, n + 1) : NULL, images->ld, pixels,
                             channels, scratch);
    else
        kernels->load_pixels(data, images->ld, scratch, channels, pixels, channels);
    return (struct image) { scratch, channels };
}

static void add_image(const struct dfi_conv *conv, const struct dfi_conv_plan *plan,
                      const struct image *source, const struct image *g, char *lane, int part, char *scratch)
{
    const ptrdiff_t size = (ptrdiff_t)dfi_conv_element(conv);
    const int parts = count_parts(conv), grains = dfi_conv_dw_row(plan) / DFI_CONV_DW_GRAIN;
    const int first = grains * part / parts * DFI_CONV_DW_GRAIN;
    int end = grains * (part + 1) / parts * DFI_CONV_DW_GRAIN;
    if (end > plan->dst_c)
        end = plan->dst_c;
    if (!wants_border(plan)) {
        run_rows(conv, plan, source, g, first, end - first, lane,
                 scratch + source_bytes(conv, plan) + gradient_bytes(conv, plan));
        return;
    }
    struct dfi_taps_dw_args args = { .x = source->data,
                                     .x_panel = DFI_TAPS_DW_PANEL,
                                     .cin = plan->src_c,
                                     .cout = end - first,
                                     .dy = (const char *)g->data + first * size,
                                     .dy_pixel = g->ld,
                                     .dy_row = g->ld * plan->dst_w,
                                     .dw = lane + first * size,
                                     .ldw = dfi_conv_dw_row(plan) };
    run_bordered(conv, plan, &args, source->ld, scratch);
}

static void run(const struct dfi_conv *conv, const struct dfi_images *x, const struct dfi_images *dy,
                int first, int end, void *lane, int part, void *scratch)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_gather(conv);
    const struct dfi_images *sources = conv->transposed ? dy : x, *gradients = conv->transposed ? x : dy;
    const size_t before = source_bytes(conv, &plan);
    const int loads_source = !wants_border(&plan) && before > 0,
              loads_gradient = gradient_bytes(conv, &plan) > 0;
    for (int n = first; n < end; n += plan.dots ? 2 : 1) {
        const struct image source = find_image(&plan, plan.src, sources, n, end, loads_source,
                                               (size_t)plan.src_h * (size_t)plan.src_w, plan.src_c, scratch);
        const struct image g = find_image(&plan, plan.dst, gradients, n, end, loads_gradient,
                                          (size_t)plan.dst_h * (size_t)plan.dst_w, plan.dst_c,
                                          (char *)scratch + before);
        add_image(conv, &plan, &source, &g, lane, part, scratch);
    }
}

const struct dfi_conv_dw_algorithm dfi_conv_direct_dw = { scratch_bytes, count_parts, run };
