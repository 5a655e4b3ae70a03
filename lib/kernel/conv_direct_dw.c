#include "kernel/conv_algorithm.h"

#define PART_BYTES \
    (320 * 1024)         /* of accumulator: shares the second-level cache with the rows it is made from */
#define BLOCK_PIXELS 112 /* whose gradients for one block of channels stay in the first-level cache */

static int count_parts(const struct dfi_conv *conv)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_gather(conv);
    const size_t grains = (size_t)dfi_conv_dw_row(&plan) / DFI_CONV_DW_GRAIN;
    const size_t parts = (dfi_conv_dw_size(conv) * dfi_conv_element(conv) + PART_BYTES - 1) / PART_BYTES;
    return (int)(parts < grains ? parts : grains);
}

/* With very few channels on one side the kernel wants all taps at once, over an image with a border.
 * Otherwise the image is read in place and each tap visits only the pixels where it stays inside. */
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

static size_t scratch_bytes(const struct dfi_conv *conv)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_gather(conv);
    return source_bytes(conv, &plan) + gradient_bytes(conv, &plan);
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

/* One tap over one block of rows. */
static void run_tap(const struct dfi_conv *conv, const struct dfi_conv_plan *plan,
                    const struct dfi_taps_dw_args *whole, ptrdiff_t ld_source, struct range rows, int shift_y,
                    int shift_x, int tap)
{
    static const ptrdiff_t no_offset[1] = { 0 };
    const ptrdiff_t size = (ptrdiff_t)dfi_conv_element(conv);
    const struct range columns = clip((struct range) { 0, plan->dst_w }, plan->src_step, shift_x,
                                      plan->src_w);
    struct dfi_taps_dw_args args = *whole;
    rows = clip(rows, plan->src_step, shift_y, plan->src_h);
    if (rows.first >= rows.end || columns.first >= columns.end)
        return;
    const ptrdiff_t y = (ptrdiff_t)rows.first * plan->src_step + shift_y;
    const ptrdiff_t x = (ptrdiff_t)columns.first * plan->src_step + shift_x;
    args.x = (const char *)whole->x + (y * plan->src_w + x) * ld_source * size;
    args.x_pixel = ld_source * plan->src_step;
    args.x_row = ld_source * plan->src_w * plan->src_step;
    args.dy = (const char *)whole->dy + (rows.first * whole->dy_row + columns.first * whole->dy_pixel) * size;
    args.taps = 1;
    args.offset = no_offset;
    args.width = columns.end - columns.first;
    args.rows = rows.end - rows.first;
    args.dw = (char *)whole->dw + (ptrdiff_t)tap * plan->src_c * whole->ldw * size;
    (plan->dots ? conv->kernels->taps_dw_bf16 : conv->kernels->taps_dw)(&args);
}

static void run_in_place(const struct dfi_conv *conv, const struct dfi_conv_plan *plan,
                         const struct dfi_taps_dw_args *part, ptrdiff_t ld_source)
{
    const ptrdiff_t size = (ptrdiff_t)dfi_conv_element(conv);
    const int block = conv->kernels->conv_block;
    const int block_rows = plan->dst_w < BLOCK_PIXELS ? BLOCK_PIXELS / plan->dst_w : 1;
    struct dfi_conv_taps taps;
    dfi_conv_list_taps(conv, plan, 0, 0, &taps);
    for (int row = 0; row < plan->dst_h; row += block_rows)
        for (int c = 0; c < part->cout; c += block) {
            struct dfi_taps_dw_args args = *part;
            args.cout = part->cout - c < block ? part->cout - c : block;
            args.dy = (const char *)part->dy + c * size;
            args.dw = (char *)part->dw + c * size;
            for (int t = 0; t < taps.count; t++) {
                const struct range rows = { row,
                                            row + block_rows < plan->dst_h ? row + block_rows : plan->dst_h };
                run_tap(conv, plan, &args, ld_source, rows, taps.shift_y[t], taps.shift_x[t], t);
            }
        }
}

/* An image, of the type of the sums, or a pair of them. */
struct image {
    const void *data;
    ptrdiff_t ld;
};

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
                      const struct image *source, const struct image *g, void *lane, int part, void *scratch)
{
    const ptrdiff_t size = (ptrdiff_t)dfi_conv_element(conv);
    const int parts = count_parts(conv), grains = dfi_conv_dw_row(plan) / DFI_CONV_DW_GRAIN;
    const int first = grains * part / parts * DFI_CONV_DW_GRAIN;
    int end = grains * (part + 1) / parts * DFI_CONV_DW_GRAIN;
    if (end > plan->dst_c)
        end = plan->dst_c;
    struct dfi_taps_dw_args args = { .x = source->data,
                                     .cin = plan->src_c,
                                     .cout = end - first,
                                     .dy = (const char *)g->data + first * size,
                                     .dy_pixel = g->ld,
                                     .dy_row = g->ld * plan->dst_w,
                                     .dw = (char *)lane + first * size,
                                     .ldw = dfi_conv_dw_row(plan) };
    if (wants_border(plan))
        run_bordered(conv, plan, &args, source->ld, scratch);
    else
        run_in_place(conv, plan, &args, source->ld);
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
