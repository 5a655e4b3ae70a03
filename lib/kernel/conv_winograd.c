/* Convolution by Winograd's filtering: blocks of tiles go through the transform of the input, products with
 * the transformed weights position by position, and the transform back, all in the second-level cache. */

#include "kernel/conv_winograd.h"

#include <diffc/tensor.h>

#define BLOCK_BYTES \
    (512 * 1024)      /* of a block's values, those of one block of channels of the output, which share a \
                         second-level cache of 1 MB with the weights; with one of 512 KB smaller blocks are no \
                         faster, nor are they if all joined ones are counted */
#define MOST_GROUPS 4 /* of tiles in a block */
/* Where fewer than so many groups fit, the weights, read anew for every block, would cost more than values
 * that leave that cache: then a block has so many, if there are enough blocks to share among threads. */
#define LEAST_GROUPS 3
#define WIDE_GROUPS 8
#define WIDE_BLOCKS 16
#define JOINED_CHANNELS 64 /* whose products are made together; or one block, if that is wider */
#define PAD 16 /* elements between positions, so that they do not meet in the same sets of a cache */

/* Sizes of a block, in elements: those of the input, and the weights, are bfloat16 where the products are. */
struct block {
    ptrdiff_t value; /* bytes of an element of the input */
    int k;           /* channels of the input values: of all source phases */
    ptrdiff_t in_position, in_group, out_position, out_group;
    int groups;
    int joined; /* blocks of channels whose products are made together */
};

static int block_width(const struct dfi_conv *conv, int channels)
{
    const int grain = conv->kernels->winograd_grain, whole = (channels + grain - 1) / grain * grain;
    return whole < conv->kernels->winograd_block ? whole : conv->kernels->winograd_block;
}

static ptrdiff_t value_bytes(const struct dfi_conv_winograd_plan *w)
{
    return w->dots ? (ptrdiff_t)sizeof(uint16_t) : (ptrdiff_t)sizeof(float);
}

static struct block size_block(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w)
{
    const int positions = w->scheme.n * w->scheme.n;
    struct block b = { .value = value_bytes(w), .k = w->src_phases * w->plan.src_c };
    b.in_position = (ptrdiff_t)b.k * DFI_WINOGRAD_TILES + PAD;
    b.out_position = (ptrdiff_t)block_width(conv, w->plan.dst_c) * DFI_WINOGRAD_TILES + PAD;
    b.in_group = b.in_position * positions;
    b.out_group = b.out_position * positions;
    const int channels = w->plan.dst_c < JOINED_CHANNELS ? w->plan.dst_c : JOINED_CHANNELS;
    b.joined = dfi_divide_up(channels, conv->kernels->winograd_block);
    const ptrdiff_t fit = BLOCK_BYTES / (b.in_group * b.value + b.out_group * (ptrdiff_t)sizeof(float));
    b.groups = fit < LEAST_GROUPS ? WIDE_GROUPS : fit < MOST_GROUPS ? (int)fit : MOST_GROUPS;
    return b;
}

static struct dfi_conv_winograd_plan plan_pass(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_make(conv, pass);
    return dfi_conv_winograd_plan_make(conv, &plan, pass);
}

/* Weights are packed [dst phase][block of channels][position][k][width of the block], positions PAD apart. */
static ptrdiff_t weights_position(const struct dfi_conv_winograd_plan *w, int width)
{
    return (ptrdiff_t)w->src_phases * w->plan.src_c * width + PAD;
}

/* Where the block of channels from `first` on begins. */
static size_t weights_at(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w, int first)
{
    const int block = conv->kernels->winograd_block, positions = w->scheme.n * w->scheme.n;
    return (size_t)(first / block) * (size_t)positions * (size_t)weights_position(w, block);
}

static size_t phase_elements(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w)
{
    const int rest = w->plan.dst_c % conv->kernels->winograd_block, positions = w->scheme.n * w->scheme.n;
    const ptrdiff_t last = rest ? weights_position(w, block_width(conv, rest)) : 0;
    return weights_at(conv, w, w->plan.dst_c) + (size_t)positions * (size_t)last;
}

static size_t packed_elements(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_winograd_plan w = plan_pass(conv, pass);
    const size_t bytes = (size_t)w.dst_phases * phase_elements(conv, &w) * (size_t)value_bytes(&w);
    return (bytes + sizeof(float) - 1) / sizeof(float);
}

static int count_blocks(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w)
{
    return dfi_divide_up(w->plan.dst_c, conv->kernels->winograd_block);
}

static int pack_pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_winograd_plan w = plan_pass(conv, pass);
    return w.dst_phases * count_blocks(conv, &w);
}

/* Filters of `count` source channels and a block of destination channels: tap t of those from source channel
 * i lies at taps[i * from + t * tap]. */
struct filters {
    const float *taps;
    ptrdiff_t from, tap;
    int count, width;
};

/* Floats of scratch for each destination channel of a pair of transformed filters. */
static size_t pair_values(const struct dfi_conv_winograd_plan *w)
{
    return w->dots ? 2 * (size_t)(w->scheme.n * w->scheme.n) : 0;
}

/* Transforms them to [position][source channel][width], from `values` on; in pairs of source channels where
 * the products want them, by way of scratch. */
static void transform_filters(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w,
                              const struct filters *f, char *values, ptrdiff_t position, float *scratch)
{
    const int positions = w->scheme.n * w->scheme.n, width = f->width;
    const struct dfi_kernels *k = conv->kernels;
    for (int i = 0; i < f->count; i++) {
        const float *taps = f->taps + i * f->from;
        if (!w->dots) {
            k->winograd_weights(&w->scheme, taps, f->tap, (float *)(void *)values + (ptrdiff_t)i * width,
                                position, (size_t)width);
            continue;
        }
        k->winograd_weights(&w->scheme, taps, f->tap, scratch + i % 2 * width, 2 * width, (size_t)width);
        for (int p = 0; i % 2 && p < positions; p++)
            k->pair_rows(scratch + (ptrdiff_t)p * 2 * width, width, 2, (size_t)width,
                         values + (p * position + (ptrdiff_t)(i - 1) * width) * value_bytes(w), 0);
    }
}

static void pack(const struct dfi_conv *conv, enum dfi_conv_pass pass, const void *weights, void *packed,
                 int piece, void *scratch)
{
    const struct dfi_conv_winograd_plan w = plan_pass(conv, pass);
    const int blocks = count_blocks(conv, &w), src_c = w.plan.src_c, taps = w.scheme.r * w.scheme.r;
    const int dst_phase = piece / blocks, first = piece % blocks * conv->kernels->winograd_block;
    const int left = w.plan.dst_c - first, width = block_width(conv, left),
              count = left < width ? left : width;
    const ptrdiff_t area = (ptrdiff_t)conv->kernel * conv->kernel;
    const ptrdiff_t by_out = w.plan.scatters ? area : area * src_c;
    const ptrdiff_t by_in = w.plan.scatters ? area * w.plan.dst_c : area;
    const ptrdiff_t slice = (ptrdiff_t)src_c * width;
    const float *from = (const float *)weights + first * by_out;
    char *values = (char *)packed + (dst_phase * phase_elements(conv, &w) + weights_at(conv, &w, first)) *
                                        (size_t)value_bytes(&w);
    if (!w.plan.scatters && w.src_phases == 1) {
        /* They lie together: rows of channels are transposed, and all of a filter's taps with them. */
        const struct filters f = { scratch, (ptrdiff_t)taps * width, width, src_c, width };
        conv->kernels->widen_panel(from, DIFFC_F32, area * src_c, count, (size_t)(area * src_c), width,
                                   scratch);
        transform_filters(conv, &w, &f, values, weights_position(&w, width), (float *)scratch + taps * slice);
        return;
    }
    for (int src_phase = 0; src_phase < w.src_phases; src_phase++) {
        const struct filters f = { scratch, width, slice, src_c, width };
        struct dfi_conv_winograd_filter filter;
        dfi_conv_winograd_find_filter(conv, &w, dst_phase, src_phase, &filter);
        conv->kernels->pack_weights(from, by_out, by_in, filter.position, taps, src_c, count, width, scratch);
        transform_filters(conv, &w, &f, values + src_phase * slice * value_bytes(&w),
                          weights_position(&w, width), (float *)scratch + taps * slice);
    }
}

/* A piece is a few blocks, so that one can ask for the pixels of the next. */
static int piece_blocks(int blocks)
{
    const int share = blocks / 64;
    return share < 1 ? 1 : share < 4 ? share : 4;
}

static int count_groups(const struct dfi_conv_winograd_plan *w, int samples)
{
    return (int)(((int64_t)samples * w->per_image + DFI_WINOGRAD_TILES - 1) / DFI_WINOGRAD_TILES);
}

/* Wide blocks are smaller where there would be too few of them. */
static int block_tiles(const struct dfi_conv_winograd_plan *w, const struct block *b, int samples)
{
    const int share = count_groups(w, samples) / WIDE_BLOCKS;
    const int groups = b->groups <= MOST_GROUPS || share > b->groups ? b->groups : share > 1 ? share : 1;
    return groups * DFI_WINOGRAD_TILES;
}

static int count_tile_blocks(const struct dfi_conv_winograd_plan *w, const struct block *b, int samples)
{
    const int tiles = block_tiles(w, b, samples);
    return (int)(((int64_t)samples * w->per_image + tiles - 1) / tiles);
}

static int piece_tiles(const struct dfi_conv_winograd_plan *w, const struct block *b, int samples)
{
    return piece_blocks(count_tile_blocks(w, b, samples)) * block_tiles(w, b, samples);
}

/* Few tiles: all of the input is transformed first, into memory that the pieces share. A piece is a block of
 * channels and some groups of tiles: weights, which are many, are read once, and threads have equal shares.
 */
#define SHARED_BYTES ((size_t)16 << 20) /* about half of a third-level cache */
#define PREPARED_CHANNELS 256           /* of a group of tiles in a piece of preparing */

/* Weights that stream: a piece is a block of channels, whose weights are transformed a few channels of the
 * source at a time and used while they are in the second-level cache; the products of all tiles add up. */
#define STREAM_BYTES ((size_t)64 << 20) /* of the shared memory, which is read in order */
#define STREAM_GROUPS 12                /* of tiles, at most */
#define STREAM_CHANNELS 64

/* Groups of tiles that are few. */
static int few_groups(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w,
                      const struct block *b)
{
    const int phases = w->src_phases * w->dst_phases;
    const size_t bytes = conv->streams ? STREAM_BYTES : SHARED_BYTES;
    const int most = (int)(bytes / (size_t)(b->in_group * b->value));
    if (!conv->shares || phases != 1)
        return 0;
    return conv->streams && most > STREAM_GROUPS ? STREAM_GROUPS : most;
}

/* Scratch of a streaming piece: taps and transformed weights of a few channels, products of all tiles. */
static size_t stream_taps(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w)
{
    const int taps = w->scheme.r * w->scheme.r * STREAM_CHANNELS;
    return ((size_t)taps + pair_values(w)) * (size_t)block_width(conv, w->plan.dst_c);
}

static ptrdiff_t stream_position(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w)
{
    return (ptrdiff_t)STREAM_CHANNELS * block_width(conv, w->plan.dst_c) + PAD;
}

static size_t stream_weights(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w)
{
    return (size_t)(w->scheme.n * w->scheme.n) * (size_t)stream_position(conv, w);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t scratch_bytes(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_winograd_plan w = plan_pass(conv, pass);
    const struct block b = size_block(conv, &w);
    const size_t running = (size_t)(b.in_group + b.joined * b.out_group) * (size_t)b.groups;
    const size_t taps = (size_t)(w.scheme.r * w.scheme.r * w.plan.src_c);
    const size_t packing = (taps + pair_values(&w)) * (size_t)block_width(conv, w.plan.dst_c);
    size_t most = larger(running, packing);
    if (conv->shares)
        most = larger(most, (size_t)b.out_group * MOST_GROUPS);
    if (conv->streams)
        most = larger(most, stream_taps(conv, &w) + stream_weights(conv, &w) +
                                (size_t)b.out_group * (size_t)few_groups(conv, &w, &b));
    return most * sizeof(float);
}

static int are_few(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w, const struct block *b,
                   int samples)
{
    return count_groups(w, samples) <= few_groups(conv, w, b);
}

static size_t shared(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples)
{
    const struct dfi_conv_winograd_plan w = plan_pass(conv, pass);
    const struct block b = size_block(conv, &w);
    const int all = count_groups(&w, samples), few = few_groups(conv, &w, &b);
    return (size_t)(all < few ? all : few) * (size_t)(b.in_group * b.value);
}

static int prepare_pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples)
{
    const struct dfi_conv_winograd_plan w = plan_pass(conv, pass);
    const struct block b = size_block(conv, &w);
    return are_few(conv, &w, &b, samples) ? count_groups(&w, samples) * dfi_divide_up(b.k, PREPARED_CHANNELS)
                                          : 0;
}

/* Groups of a piece: as few as leave no more than fit. */
static int piece_groups(const struct dfi_conv_winograd_plan *w, int samples)
{
    const int groups = count_groups(w, samples);
    return dfi_divide_up(groups, dfi_divide_up(groups, MOST_GROUPS));
}

static int pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples)
{
    const struct dfi_conv_winograd_plan w = plan_pass(conv, pass);
    const struct block b = size_block(conv, &w);
    if (are_few(conv, &w, &b, samples) && conv->streams)
        return count_blocks(conv, &w);
    if (are_few(conv, &w, &b, samples))
        return count_blocks(conv, &w) * dfi_divide_up(count_groups(&w, samples), piece_groups(&w, samples));
    return dfi_divide_up(samples * w.per_image, piece_tiles(&w, &b, samples));
}

/* `channels` channels of each phase of the source. */
static void transform_input(const struct dfi_conv_job *job, const struct dfi_conv_winograd_plan *w,
                            const struct block *b, int dst_phase, struct dfi_winograd_args *args, char *in,
                            int channels)
{
    for (int src_phase = 0; src_phase < w->src_phases; src_phase++) {
        struct dfi_conv_winograd_filter filter;
        dfi_conv_winograd_find_filter(job->conv, w, dst_phase, src_phase, &filter);
        args->tiles = dfi_conv_winograd_tiles(w, w->plan.src, &job->x, w->plan.src_h, w->plan.src_w,
                                              w->plan.src_step, src_phase);
        args->tiles.y0 = filter.shift_y;
        args->tiles.x0 = filter.shift_x;
        args->channels = channels;
        args->values = in + src_phase * w->plan.src_c * b->value;
        args->store = w->dots ? DFI_WINOGRAD_BF16 : DFI_WINOGRAD_FLOATS;
        args->tile = b->k;
        args->position = b->in_position;
        args->group = b->in_group;
        w->plan.src->winograd_input(args);
    }
}

/* Products to pixels: the block of channels from `first` on, of which `left` are left. */
static void write_output(const struct dfi_conv_job *job, const struct dfi_conv_winograd_plan *w,
                         const struct block *b, int dst_phase, struct dfi_winograd_args *args, float *out,
                         int first, int left)
{
    args->tile = block_width(job->conv, left);
    args->channels = left < (int)args->tile ? left : (int)args->tile;
    args->tiles = dfi_conv_winograd_tiles(w, w->plan.dst, &job->y, w->plan.dst_h, w->plan.dst_w,
                                          w->plan.dst_step, dst_phase);
    args->tiles.data = dfi_conv_pixel(w->plan.dst, args->tiles.data, first);
    if (job->base.data) {
        args->base = dfi_conv_winograd_tiles(w, w->plan.dst, &job->base, w->plan.dst_h, w->plan.dst_w,
                                             w->plan.dst_step, dst_phase);
        args->base.data = dfi_conv_pixel(w->plan.dst, args->base.data, first);
    }
    args->values = out;
    args->position = b->out_position;
    args->group = b->out_group;
    args->scale = job->scale ? (const float *)job->scale + first : NULL;
    args->bias = job->bias ? (const float *)job->bias + first : NULL;
    args->act = job->act;
    w->plan.dst->winograd_output(args);
}

static void multiply(const struct dfi_conv *conv, const struct dfi_conv_winograd_plan *w,
                     const struct dfi_winograd_multiply_args *args)
{
    if (w->dots)
        conv->kernels->winograd_multiply_bf16(args);
    else
        conv->kernels->winograd_multiply(args);
}

/* Channels `first` to `end` - 1 of the destination, a few blocks of weights after the other. */
static void make_output(const struct dfi_conv_job *job, const struct dfi_conv_winograd_plan *w,
                        const struct block *b, int dst_phase, struct dfi_winograd_args *args, const void *in,
                        float *out, const struct dfi_prefetch *next, int first, int end)
{
    const struct dfi_conv *conv = job->conv;
    const int positions = w->scheme.n * w->scheme.n, block = conv->kernels->winograd_block;
    const char *weights = (const char *)job->packed +
                          ((size_t)dst_phase * phase_elements(conv, w) + weights_at(conv, w, first)) *
                              (size_t)b->value;
    struct dfi_winograd_multiply_args product = { .a = in,
                                                  .a_group = b->in_group,
                                                  .a_position = b->in_position,
                                                  .a_tile = b->k,
                                                  .c = out,
                                                  .c_group = b->out_group,
                                                  .c_position = b->out_position,
                                                  .positions = positions,
                                                  .k = b->k,
                                                  .next = { *next } };
    product.groups = dfi_divide_up(args->count, DFI_WINOGRAD_TILES);
    product.c_block = b->out_group * product.groups;
    for (; first < end; first += product.blocks * block) {
        const int left = w->plan.dst_c - first, width = block_width(conv, left),
                  whole = (end - first) / block;
        product.blocks = whole < 1 ? 1 : whole < b->joined ? whole : b->joined;
        product.b = weights;
        product.b_position = weights_position(w, width);
        product.b_block = positions * product.b_position;
        product.width = width;
        const int channels = left < product.blocks * width ? left : product.blocks * width;
        product.next[1] = dfi_conv_winograd_pixels(w, w->plan.dst, &job->y, w->plan.dst_h, w->plan.dst_w,
                                                   w->plan.dst_step, channels, args->first, args->count);
        product.next[1].from = dfi_conv_pixel(w->plan.dst, product.next[1].from, first);
        multiply(conv, w, &product);
        product.next[0].count = 0;
        weights += product.blocks * product.b_block * b->value;
        for (int i = 0; i < product.blocks; i++)
            write_output(job, w, b, dst_phase, args, out + i * product.c_block, first + i * block,
                         left - i * block);
    }
}

static void run_block(const struct dfi_conv_job *job, const struct dfi_conv_winograd_plan *w,
                      const struct block *b, int first, int count, const struct dfi_prefetch *next,
                      void *scratch)
{
    struct dfi_winograd_args args = { .scheme = &w->scheme, .first = first, .count = count };
    const struct dfi_prefetch nothing = { NULL, 0, 0, 0 };
    char *in = scratch;
    float *out = (float *)(void *)(in + b->in_group * b->groups * b->value);
    for (int dst_phase = 0; dst_phase < w->dst_phases; dst_phase++) {
        transform_input(job, w, b, dst_phase, &args, in, w->plan.src_c);
        make_output(job, w, b, dst_phase, &args, in, out, dst_phase == w->dst_phases - 1 ? next : &nothing, 0,
                    w->plan.dst_c);
    }
}

static struct dfi_winograd_args tiles_of_groups(const struct dfi_conv_job *job,
                                                const struct dfi_conv_winograd_plan *w, int group, int groups)
{
    const int all = job->samples * w->per_image, first = group * DFI_WINOGRAD_TILES;
    const int count = groups * DFI_WINOGRAD_TILES, left = all - first;
    return (struct dfi_winograd_args) { .scheme = &w->scheme,
                                        .first = first,
                                        .count = left < count ? left : count };
}

static void prepare(const struct dfi_conv_job *job, int piece)
{
    const struct dfi_conv_winograd_plan w = plan_pass(job->conv, job->pass);
    const struct block b = size_block(job->conv, &w);
    const int parts = dfi_divide_up(b.k, PREPARED_CHANNELS), group = piece / parts;
    const int channel = piece % parts * PREPARED_CHANNELS, left = b.k - channel;
    struct dfi_winograd_args args = tiles_of_groups(job, &w, group, 1);
    struct dfi_conv_job part = *job;
    part.x.data = dfi_conv_pixel(w.plan.src, job->x.data, channel);
    transform_input(&part, &w, &b, 0, &args, (char *)job->shared + (group * b.in_group + channel) * b.value,
                    left < PREPARED_CHANNELS ? left : PREPARED_CHANNELS);
}

static void run_few(const struct dfi_conv_job *job, const struct dfi_conv_winograd_plan *w,
                    const struct block *b, int piece, float *out)
{
    const struct dfi_prefetch nothing = { NULL, 0, 0, 0 };
    const int groups = count_groups(w, job->samples), share = piece_groups(w, job->samples);
    const int shares = dfi_divide_up(groups, share), group = piece % shares * share;
    const int channel = piece / shares * job->conv->kernels->winograd_block;
    struct dfi_winograd_args args = tiles_of_groups(job, w, group, share);
    make_output(job, w, b, 0, &args, (const char *)job->shared + group * b->in_group * b->value, out,
                &nothing, channel, channel + 1);
}

/* The products of STREAM_CHANNELS channels of the source or fewer. */
static void add_channels(const struct dfi_conv_job *job, const struct dfi_conv_winograd_plan *w,
                         const struct block *b, int first, int channel, float *scratch, float *out)
{
    const struct dfi_kernels *kernels = job->conv->kernels;
    const int left = w->plan.src_c - channel, channels = left < STREAM_CHANNELS ? left : STREAM_CHANNELS;
    const int rest = w->plan.dst_c - first, width = block_width(job->conv, rest),
              taps = w->scheme.r * w->scheme.r;
    const ptrdiff_t row = (ptrdiff_t)taps * w->plan.src_c, at = first * row + (ptrdiff_t)taps * channel;
    const size_t element = job->weights_dtype == DIFFC_F32 ? 4 : 2;
    float *transformed = scratch + stream_taps(job->conv, w);
    const struct filters f = { scratch, (ptrdiff_t)taps * width, width, channels, width };
    const struct dfi_winograd_multiply_args product = { .a = (const char *)job->shared + channel * b->value,
                                                        .a_group = b->in_group,
                                                        .a_position = b->in_position,
                                                        .a_tile = b->k,
                                                        .b = transformed,
                                                        .b_position = stream_position(job->conv, w),
                                                        .blocks = 1,
                                                        .c = out,
                                                        .c_group = b->out_group,
                                                        .c_position = b->out_position,
                                                        .positions = w->scheme.n * w->scheme.n,
                                                        .groups = count_groups(w, job->samples),
                                                        .k = channels,
                                                        .width = width,
                                                        .accumulate = channel > 0 };
    kernels->widen_panel((const char *)job->weights + at * (ptrdiff_t)element, job->weights_dtype, row,
                         rest < width ? rest : width, (size_t)(taps * channels), width, scratch);
    transform_filters(job->conv, w, &f, (char *)transformed, product.b_position,
                      scratch + (ptrdiff_t)taps * STREAM_CHANNELS * width);
    multiply(job->conv, w, &product);
}

static void run_streamed(const struct dfi_conv_job *job, const struct dfi_conv_winograd_plan *w,
                         const struct block *b, int piece, float *scratch)
{
    const int first = piece * job->conv->kernels->winograd_block, left = w->plan.dst_c - first;
    float *out = scratch + stream_taps(job->conv, w) + stream_weights(job->conv, w);
    struct dfi_winograd_args args = tiles_of_groups(job, w, 0, count_groups(w, job->samples));
    for (int channel = 0; channel < w->plan.src_c; channel += STREAM_CHANNELS)
        add_channels(job, w, b, first, channel, scratch, out);
    write_output(job, w, b, 0, &args, out, first, left);
}

static void run(const struct dfi_conv_job *job, int piece, void *scratch)
{
    const struct dfi_conv_winograd_plan w = plan_pass(job->conv, job->pass);
    const struct block b = size_block(job->conv, &w);
    if (are_few(job->conv, &w, &b, job->samples) && job->conv->streams) {
        run_streamed(job, &w, &b, piece, scratch);
        return;
    }
    if (are_few(job->conv, &w, &b, job->samples)) {
        run_few(job, &w, &b, piece, scratch);
        return;
    }
    const int tiles = block_tiles(&w, &b, job->samples), all = job->samples * w.per_image;
    const int share = piece_tiles(&w, &b, job->samples);
    const int end = all - piece * share < share ? all : (piece + 1) * share;
    const int64_t after = (int64_t)(piece + job->threads) *
                          share; /* where this thread goes on, most likely */
    for (int first = piece * share; first < end; first += tiles) {
        const int count = end - first < tiles ? end - first : tiles, same = first + count < end;
        const int64_t then = same ? first + count : job->threads && after < all ? after : all;
        const int left = (int)(all - then);
        const struct dfi_prefetch next = dfi_conv_winograd_pixels(&w, w.plan.src, &job->x, w.plan.src_h,
                                                                  w.plan.src_w, w.plan.src_step, w.plan.src_c,
                                                                  (int)then, left < tiles ? left : tiles);
        run_block(job, &w, &b, first, count, &next, scratch);
    }
}

static void written(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples, int piece, int *first,
                    int *end)
{
    const struct dfi_conv_winograd_plan w = plan_pass(conv, pass);
    const struct block b = size_block(conv, &w);
    const int share = piece_tiles(&w, &b, samples), after = dfi_divide_up((piece + 1) * share, w.per_image);
    *first = piece * share / w.per_image;
    *end = after < samples ? after : samples;
}

const struct dfi_conv_algorithm dfi_conv_winograd = {
    packed_elements, pack_pieces, pack, scratch_bytes, shared, prepare_pieces, prepare, pieces, run, written
};
