/* Gradient by the weights through Winograd's filtering: the adjoint of the convolution in its weights. Values
 * of the source and of the gradient multiply position by position, summed over all tiles of a lane; one
 * transform back at the end. */

#include <string.h>

#include "kernel/conv_winograd.h"

/* Of a block's values, which are read in order, once: the more tiles, the less often the sums go between the
 * second- and the third-level cache. */
#define BLOCK_BYTES (2048 * 1024)
#define MOST_STEPS 64 /* of a product: tiles, or pairs of them */
#define PAD 16        /* as in conv_winograd.c */

/* Values of a block of tiles at one position, in panels of channels: what a register tile of products reads
 * lies side by side. */
struct panels {
    int width;
    ptrdiff_t step, position; /* elements from one to the next */
    size_t size;              /* of all positions */
};

struct sizes { /* in elements; a pair of bfloat16, of two tiles, is one */
    int rows,
        row;   /* of the gradient: source channels in sixes, destination channels as in the accumulators */
    int tiles; /* of a block */
    struct panels source, g;
    size_t gradient; /* of one phase */
};

static struct dfi_conv_winograd_plan plan_weights(const struct dfi_conv *conv)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_gather(conv);
    return dfi_conv_winograd_plan_make(conv, &plan, DFI_CONV_BACKWARD_WEIGHTS);
}

static struct panels make_panels(ptrdiff_t positions, int channels, int width, int steps)
{
    struct panels p = { .width = width < channels ? width : channels };
    p.step = (ptrdiff_t)steps * p.width;
    p.position = dfi_divide_up(channels, p.width) * p.step + PAD;
    p.size = (size_t)(positions * p.position);
    return p;
}

static struct sizes find_sizes(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w)
{
    const ptrdiff_t positions = w->scheme.n * w->scheme.n;
    struct sizes s = { .rows = dfi_divide_up(w->plan.src_c, DFI_WINOGRAD_TILES) * DFI_WINOGRAD_TILES,
                       .row = dfi_conv_dw_row(&w->plan) };
    const ptrdiff_t fit = BLOCK_BYTES / (positions * (s.rows + s.row) * (ptrdiff_t)sizeof(float));
    const int steps = fit < 8 ? 8 : fit < MOST_STEPS ? (int)fit / 2 * 2 : MOST_STEPS;
    s.tiles = w->dots ? 2 * steps : steps;
    s.source = make_panels(positions, s.rows, conv->kernels->winograd_panel, steps);
    s.g = make_panels(positions, s.row, conv->kernels->winograd_block, steps);
    s.gradient = (size_t)positions * (size_t)s.rows * (size_t)s.row;
    return s;
}

static size_t scratch_bytes(const struct dfi_conv *conv)
{
    const struct dfi_conv_winograd_plan w = plan_weights(conv);
    const struct sizes s = find_sizes(conv, &w);
    return (s.gradient * (size_t)w.src_phases + s.source.size + s.g.size) * sizeof(float);
}

static int count_parts(const struct dfi_conv *conv)
{
    (void)conv;
    return 1;
}

struct work {
    const struct dfi_conv *conv;
    struct dfi_conv_winograd_plan w;
    struct sizes s;
    const struct dfi_images *source, *g;
    float *gradient, *source_values, *g_values;
};

static void place_values(struct dfi_winograd_args *args, const struct panels *panels, float *values)
{
    args->values = values;
    args->tile = panels->width;
    args->group = DFI_WINOGRAD_TILES * args->tile;
    args->position = panels->position;
    args->panel = panels->width;
    args->panel_step = panels->step;
}

/* `left` tiles of the lane follow. */
static void add_block(const struct work *work, int first, int count, int left, int is_first)
{
    const struct dfi_conv_winograd_plan *w = &work->w;
    const struct dfi_kernels *k = work->conv->kernels;
    struct dfi_winograd_args args = { .scheme = &w->scheme,
                                      .first = first,
                                      .count = count,
                                      .store = w->dots ? DFI_WINOGRAD_TWINS : DFI_WINOGRAD_FLOATS };
    struct dfi_winograd_outer_args outer = { .a = work->source_values,
                                             .a_position = work->s.source.position,
                                             .a_panel = work->s.source.step,
                                             .a_width = work->s.source.width,
                                             .b = work->g_values,
                                             .b_position = work->s.g.position,
                                             .b_panel = work->s.g.step,
                                             .b_width = work->s.g.width,
                                             .c_position = (ptrdiff_t)work->s.rows * work->s.row,
                                             .ldc = work->s.row,
                                             .positions = w->scheme.n * w->scheme.n,
                                             .tiles = w->dots ? (count + 1) / 2 * 2 : count,
                                             .rows = w->plan.src_c,
                                             .width = work->s.row,
                                             .accumulate = !is_first };
    args.tiles = dfi_conv_winograd_tiles(w, w->plan.dst, work->g, w->plan.dst_h, w->plan.dst_w, 1, 0);
    args.channels = w->plan.dst_c;
    place_values(&args, &work->s.g, work->g_values);
    w->plan.dst->winograd_gradient(&args);
    args.channels = w->plan.src_c;
    place_values(&args, &work->s.source, work->source_values);
    for (int phase = 0; phase < w->src_phases; phase++) {
        struct dfi_conv_winograd_filter filter;
        if (phase == w->src_phases - 1) {
            const int next = left < work->s.tiles ? left : work->s.tiles;
            outer.next[0] = dfi_conv_winograd_pixels(w, w->plan.src, work->source, w->plan.src_h,
                                                     w->plan.src_w, w->plan.src_step, w->plan.src_c,
                                                     first + count, next);
            outer.next[1] = dfi_conv_winograd_pixels(w, w->plan.dst, work->g, w->plan.dst_h, w->plan.dst_w, 1,
                                                     w->plan.dst_c, first + count, next);
        }
        dfi_conv_winograd_find_filter(work->conv, w, 0, phase, &filter);
        args.tiles = dfi_conv_winograd_tiles(w, w->plan.src, work->source, w->plan.src_h, w->plan.src_w,
                                             w->plan.src_step, phase);
        args.tiles.y0 = filter.shift_y;
        args.tiles.x0 = filter.shift_x;
        w->plan.src->winograd_input(&args);
        outer.c = work->gradient + (size_t)phase * work->s.gradient;
        (w->dots ? k->winograd_outer_bf16 : k->winograd_outer)(&outer);
    }
}

static void run(const struct dfi_conv *conv, const struct dfi_images *x, const struct dfi_images *dy,
                int first, int end, void *lane, int part, void *scratch)
{
    (void)part;
    if (first == end)
        return;
    struct work work = { .conv = conv, .w = plan_weights(conv) };
    const struct dfi_conv_winograd_plan *w = &work.w;
    work.s = find_sizes(conv, w);
    work.source = conv->transposed ? dy : x;
    work.g = conv->transposed ? x : dy;
    work.gradient = scratch;
    work.source_values = work.gradient + work.s.gradient * (size_t)w->src_phases;
    work.g_values = work.source_values + work.s.source.size;
    if (work.s.row > w->plan.dst_c) /* channels behind the last one stay zero */
        memset(work.g_values, 0, work.s.g.size * sizeof(float));
    for (int tile = first * w->per_image; tile < end * w->per_image; tile += work.s.tiles) {
        const int left = end * w->per_image - tile, count = left < work.s.tiles ? left : work.s.tiles;
        add_block(&work, tile, count, left - count, tile == first * w->per_image);
    }
    for (int phase = 0; phase < w->src_phases; phase++) {
        struct dfi_conv_winograd_filter filter;
        dfi_conv_winograd_find_filter(conv, w, 0, phase, &filter);
        conv->kernels->winograd_weights_back(&w->scheme, work.gradient + (size_t)phase * work.s.gradient,
                                             (ptrdiff_t)work.s.rows * work.s.row, lane, filter.position,
                                             (ptrdiff_t)w->plan.src_c * work.s.row,
                                             (size_t)w->plan.src_c * (size_t)work.s.row);
    }
}

const struct dfi_conv_dw_algorithm dfi_conv_winograd_dw = { scratch_bytes, count_parts, run };
