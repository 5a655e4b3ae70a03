/* Direct convolution: the image, or a band of it, is packed with a border of zeros, and every output pixel is
 * one chain of products over taps and channels. */

#include "kernel/conv_algorithm.h"

#define BAND_BYTES \
    (256 * 1024) /* of packed input: shares a second-level cache of 1 MB with weights and output */

static int count_blocks(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    const int block = dfi_taps_block(conv->kernels, plan->dst_c);
    return dfi_divide_up(plan->dst_c, block);
}

/* Elements of the weights of `taps` taps for one block of channels. */
static size_t block_elements(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, int taps)
{
    return (size_t)dfi_taps_block(conv->kernels, plan->dst_c) * (size_t)taps * (size_t)dfi_conv_factors(plan);
}

static size_t packed_elements(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_make(conv, pass);
    return (size_t)count_blocks(conv, &plan) * block_elements(conv, &plan, conv->kernel * conv->kernel);
}

static size_t packed_size(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, int taps)
{
    return (size_t)count_blocks(conv, plan) * block_elements(conv, plan, taps) * dfi_conv_element(conv);
}

static int pack_pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_make(conv, pass);
    return count_blocks(conv, &plan);
}

/* Floats of scratch for a tap's weights, which are paired from there. */
static size_t tap_values(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    return plan->dots ? (size_t)(plan->src_c * conv->kernels->conv_block) : 0;
}

/* A piece is a block of output channels. */
static void pack(const struct dfi_conv *conv, enum dfi_conv_pass pass, const void *weights, void *packed,
                 int piece, void *scratch)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_make(conv, pass);
    const struct dfi_kernels *k = conv->kernels;
    const int block = dfi_taps_block(k, plan.dst_c), first = piece * block;
    const int left = plan.dst_c - first, count = left < block ? left : block;
    const ptrdiff_t area = (ptrdiff_t)conv->kernel * conv->kernel;
    const ptrdiff_t by_out = plan.scatters ? area : area * plan.src_c;
    const ptrdiff_t by_in = plan.scatters ? area * plan.dst_c : area;
    const size_t size = dfi_conv_element(conv);
    const char *from = (const char *)weights + (size_t)(first * by_out) * size;
    char *next = packed;
    for (int phase = 0; phase < plan.dst_step * plan.dst_step; phase++) {
        struct dfi_conv_taps taps;
        dfi_conv_list_taps(conv, &plan, phase / plan.dst_step, phase % plan.dst_step, &taps);
        char *to = next + (size_t)piece * block_elements(conv, &plan, taps.count) * size;
        if (!plan.dots)
            k->pack_weights(from, by_out, by_in, taps.position, taps.count, plan.src_c, count, block, to);
        for (int t = 0; plan.dots && t < taps.count; t++, to += block_elements(conv, &plan, 1) * size) {
            k->pack_weights(from, by_out, by_in, &taps.position[t], 1, plan.src_c, count, block, scratch);
            k->pair_rows(scratch, block, plan.src_c, (size_t)block, to, block);
        }
        next += packed_size(conv, &plan, taps.count);
    }
}

static int count_bands(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    const size_t row_bytes = (size_t)dfi_conv_packed_width(plan) * (size_t)dfi_conv_factors(plan) *
                             dfi_conv_element(conv);
    const size_t bytes = row_bytes * (size_t)dfi_conv_packed_rows(plan, plan->base_h);
    size_t bands = (bytes + BAND_BYTES - 1) / BAND_BYTES;
    /* A single image keeps a few threads busy where the rows that two bands both pack do not count. */
    const size_t least = plan->base_h >= 56 ? 4 : plan->base_h >= 28 ? 2 : 1;
    if (bands < least)
        bands = least;
    return bands < (size_t)plan->base_h ? (int)bands : plan->base_h;
}

static int pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_make(conv, pass);
    return samples * count_bands(conv, &plan);
}

/* The image can be read where it is. */
static int reads_in_place(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    return dfi_conv_stays_inside(plan) && !plan->dots && plan->src->pixel == dfi_conv_element(conv);
}

/* Results of another type than the sums are stored from scratch, a band at a time. */
static int writes_in_place(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    return plan->dst->pixel == dfi_conv_element(conv);
}

static size_t packed_bytes(const struct dfi_conv *conv, const struct dfi_conv_plan *plan)
{
    const int bands = count_bands(conv, plan), rows = (plan->base_h + bands - 1) / bands;
    return reads_in_place(conv, plan)
               ? 0
               : (size_t)dfi_conv_packed_rows(plan, rows) * (size_t)dfi_conv_packed_width(plan) *
                     (size_t)dfi_conv_factors(plan) * dfi_conv_element(conv);
}

static size_t scratch_bytes(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_make(conv, pass);
    const int bands = count_bands(conv, &plan), rows = (plan.base_h + bands - 1) / bands * plan.dst_step;
    const size_t sums = (size_t)rows * (size_t)plan.dst_w * (size_t)plan.dst_c * dfi_conv_element(conv);
    const size_t running = packed_bytes(conv, &plan) + (writes_in_place(conv, &plan) ? 0 : sums);
    const size_t packing = tap_values(conv, &plan) * sizeof(float);
    return running > packing ? running : packing;
}

/* Base rows of a band: near-equal shares. */
static int band_start(const struct dfi_conv_plan *plan, int bands, int band)
{
    return (int)((int64_t)plan->base_h * band / bands);
}

static int steps_below(int end, int phase, int step)
{
    return end > phase ? (end - phase + step - 1) / step : 0;
}

/* Base rows first .. last - 1 of every phase. `sums` is where pixel 0 of the destination's row first *
 * dst_step goes. */
static void run_phases(const struct dfi_conv *conv, const struct dfi_conv_plan *plan,
                       struct dfi_taps_args *args, ptrdiff_t pixel, ptrdiff_t row, int origin, char *sums,
                       ptrdiff_t ld, int first, int last)
{
    ptrdiff_t offset[DFI_CONV_MAX_TAPS];
    args->offset = offset;
    args->y_pixel = ld * plan->dst_step;
    args->y_row = ld * plan->dst_step * plan->dst_w;
    for (int phase = 0; phase < plan->dst_step * plan->dst_step; phase++) {
        const int phase_y = phase / plan->dst_step, phase_x = phase % plan->dst_step;
        struct dfi_conv_taps taps;
        dfi_conv_list_taps(conv, plan, phase_y, phase_x, &taps);
        for (int t = 0; t < taps.count; t++)
            offset[t] = (taps.shift_y[t] - origin) * row + (taps.shift_x[t] - origin) * pixel;
        args->taps = taps.count;
        args->width = steps_below(plan->dst_w, phase_x, plan->dst_step);
        args->rows = steps_below(plan->dst_h, phase_y, plan->dst_step);
        args->rows = (args->rows < last ? args->rows : last) - first;
        args->y = sums +
                  ((ptrdiff_t)phase_y * plan->dst_w + phase_x) * ld * (ptrdiff_t)dfi_conv_element(conv);
        if (args->rows > 0 && args->width > 0)
            (plan->dots ? conv->kernels->taps_bf16 : conv->kernels->taps)(args);
        args->w = (const char *)args->w + packed_size(conv, plan, taps.count);
    }
}

/* What the sums of image n start from, rows from `begin` on. */
static void load_base(const struct dfi_conv_job *job, const struct dfi_conv_plan *plan, int n, int begin,
                      size_t pixels, char *sums, ptrdiff_t ld)
{
    const ptrdiff_t first = n % job->base.count * job->base.stride +
                            (ptrdiff_t)begin * plan->dst_w * job->base.ld;
    plan->dst->load_pixels(dfi_conv_pixel(plan->dst, job->base.data, first), job->base.ld, sums, ld, pixels,
                           plan->dst_c);
}

static void run(const struct dfi_conv_job *job, int piece, void *scratch)
{
    const struct dfi_conv *conv = job->conv;
    const struct dfi_conv_plan plan = dfi_conv_plan_make(conv, job->pass);
    const int bands = count_bands(conv, &plan);
    const int inside = reads_in_place(conv, &plan), direct = writes_in_place(conv, &plan);
    const int n = piece / bands, band = piece % bands;
    const int first = band_start(&plan, bands, band), last = band_start(&plan, bands, band + 1);
    const int begin = first * plan.dst_step, end = last * plan.dst_step;
    const size_t pixels = (size_t)((end < plan.dst_h ? end : plan.dst_h) - begin) * (size_t)plan.dst_w;
    const int separate = job->scale || job->act != DFI_ACT_NONE;
    const void *x = dfi_conv_pixel(plan.src, job->x.data, n % job->x.count * job->x.stride);
    void *y = dfi_conv_pixel(plan.dst, job->y.data,
                             n % job->y.count * job->y.stride + (ptrdiff_t)begin * plan.dst_w * job->y.ld);
    char *sums = direct ? y : (char *)scratch + packed_bytes(conv, &plan);
    const ptrdiff_t ld = direct ? job->y.ld : plan.dst_c,
                    pixel = inside ? job->x.ld : dfi_conv_factors(&plan);
    const ptrdiff_t row = pixel * (inside ? plan.src_w : dfi_conv_packed_width(&plan));
    struct dfi_taps_args args = { .x = scratch,
                                  .x_pixel = pixel * plan.src_step,
                                  .x_row = row * plan.src_step,
                                  .cin = dfi_conv_factors(&plan),
                                  .cout = plan.dst_c,
                                  .w = job->packed,
                                  .bias = separate ? NULL : job->bias,
                                  .accumulate = job->base.data != NULL };
    if (inside)
        args.x = dfi_conv_pixel(plan.src, x, first * args.x_row);
    else
        dfi_conv_pack_rows(conv, &plan, x, job->x.ld, first * plan.src_step + plan.low,
                           dfi_conv_packed_rows(&plan, last - first), scratch);
    if (job->base.data && (!direct || job->base.data != job->y.data))
        load_base(job, &plan, n, begin, pixels, sums, ld);
    run_phases(conv, &plan, &args, pixel, row, inside ? 0 : plan.low, sums, ld, first, last);
    if (separate) /* while the band is in the cache */
        conv->kernels->affine_act(sums, ld, sums, ld, pixels, plan.dst_c, job->scale, job->bias, job->act);
    if (!direct)
        plan.dst->store_pixels(sums, ld, y, job->y.ld, pixels, plan.dst_c);
}

static void written(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples, int piece, int *first,
                    int *end)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_make(conv, pass);
    (void)samples;
    *first = piece / count_bands(conv, &plan);
    *end = *first + 1;
}

const struct dfi_conv_algorithm dfi_conv_direct = {
    packed_elements, pack_pieces, pack, scratch_bytes, NULL, NULL, NULL, pieces, run, written
};
