/* Matrix products: linear, and the transposed convolution that unfolds one pixel (unflatten). */

#include "kernel/gemm.h"
#include "kernel/gemm_wide.h"
#include "nn/node.h"

#define ROWS_PER_PIECE 64 /* depends on nothing, so neither do the bits */

static void product(const struct dfi_exec *exec, const struct dfi_gemm *gemm)
{
    dfi_gemm(exec->context->cpu_flags, exec->params->dtype, gemm);
}

static size_t weight_count(const struct dfi_graph *graph, const struct dfi_node *node)
{
    return graph->params->list[node->param[0]].count;
}

/* Sums of the weights' gradient in shared memory: of all lanes, or what a band at a time adds up. */
static size_t sums_bytes(const struct dfi_graph *graph, const struct dfi_node *node, size_t element)
{
    const size_t lanes = node->kind == &dfi_kind_unflatten ? 1 : DFI_LANES;
    return (weight_count(graph, node) * lanes * element + 63) / 64 * 64;
}

static int need(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    if (sizes->backward)
        out->shared = sums_bytes(graph, node, sizes->element) +
                      ((size_t)sizes->samples + DFI_LANES + 1) * (size_t)node->c * sizeof(double);
    return DIFFC_OK;
}

static int linear_need(const struct dfi_graph *graph, const struct dfi_node *node,
                       const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    DFI_TRY(need(graph, node, sizes, out));
    if (graph->params->list[node->param[0]].stored && !sizes->backward) {
        const size_t rows = (size_t)sizes->samples * (size_t)(node->h * node->w);
        out->shared = dfi_wide_packed(graph->context->cpu_flags, rows,
                                      (size_t)graph->nodes[node->input[0]].c) *
                      sizeof(float);
        out->worker = DFI_WIDE_SCRATCH * sizeof(float);
    }
    return DIFFC_OK;
}

static int row_pieces(int rows)
{
    return (rows + ROWS_PER_PIECE - 1) / ROWS_PER_PIECE;
}

static int piece_rows(int rows, int piece)
{
    const int left = rows - piece * ROWS_PER_PIECE;
    return left < ROWS_PER_PIECE ? left : ROWS_PER_PIECE;
}

static void add_bias(const struct dfi_exec *exec, int number, void *y, ptrdiff_t ld, size_t pixels)
{
    const struct dfi_node *node = dfi_node(exec, number);
    if (node->param[1] < 0)
        return;
    exec->kernels->affine_act(y, ld, y, ld, pixels, node->c, NULL, dfi_param_value(exec, node, 1),
                              DFI_ACT_NONE);
}

/* Sums of dy per sample, then over the lanes, into the bias gradient. */
static void bias_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    double *row = (double *)(void *)((char *)dfi_shared(exec) +
                                     sums_bytes(exec->graph, node, exec->element)) +
                  (size_t)index * (size_t)node->c;
    memset(row, 0, (size_t)node->c * sizeof(*row));
    dy.kernels->moments(dfi_sample(&dy, index), dy.ld, (size_t)dy.h * (size_t)dy.w, dy.c, row, NULL);
}

static void backward_bias(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int samples = dfi_samples(exec, number);
    if (node->param[1] < 0)
        return;
    double *rows = (double *)(void *)((char *)dfi_shared(exec) +
                                      sums_bytes(exec->graph, node, exec->element));
    double *lanes = rows + (size_t)samples * (size_t)node->c;
    if (!node->absorbed) {
        dfi_node_parallel(exec, number, bias_piece, samples);
        dfi_lane_sum(exec, rows, samples, (size_t)node->c, lanes);
    }
    for (int i = 0; i < node->c; i++)
        dfi_param_gradient_put(exec, dfi_param_gradient(exec, node, 1), (size_t)i,
                               node->absorbed ? 0 : lanes[i]);
}

static void reduce_weights(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const size_t count = weight_count(exec->graph, node);
    dfi_lane_tree(exec, dfi_shared(exec), count);
    exec->kernels->tree_sum(dfi_shared(exec), count, 1, dfi_param_gradient(exec, node, 0), count,
                            exec->accumulate);
}

/* Linear: rows are samples (and pixels, one after another). */

static void linear_forward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    const int first = index * ROWS_PER_PIECE, rows = piece_rows(y.samples * y.h * y.w, index);
    struct dfi_gemm gemm = { (size_t)rows,
                             (size_t)y.c,
                             (size_t)x.c,
                             dfi_at(exec, x.data, first * x.ld),
                             x.ld,
                             1,
                             dfi_param_value(exec, node, 0),
                             1,
                             x.c,
                             dfi_at(exec, y.data, first * y.ld),
                             y.ld,
                             1,
                             0 };
    product(exec, &gemm);
    add_bias(exec, number, gemm.c, y.ld, (size_t)rows);
}

static int multiplies_pairs(const struct dfi_exec *exec, int channels)
{
    return exec->options.precision == DFI_PRECISION_BF16 &&
           dfi_wide_has_dots(exec->context->cpu_flags, (size_t)channels);
}

/* With weights where a file has them: the input is packed first, then come bands of output channels. */

static void pack_piece(struct dfi_exec *exec, int number, int panel, int worker)
{
    (void)worker;
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    dfi_wide_pack(exec->context->cpu_flags, multiplies_pairs(exec, x.c), x.data, x.ld,
                  (size_t)(x.samples * x.h * x.w), (size_t)x.c, (size_t)panel, dfi_shared(exec));
}

static void band_piece(struct dfi_exec *exec, int number, int band, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    const struct dfi_wide wide = { .dots = multiplies_pairs(exec, x.c),
                                   .m = (size_t)(y.samples * y.h * y.w),
                                   .n = (size_t)y.c,
                                   .k = (size_t)x.c,
                                   .a_packed = dfi_shared(exec),
                                   .w = dfi_param_value(exec, node, 0),
                                   .w_dtype = dfi_param_dtype(exec, node, 0),
                                   .w_ld = x.c,
                                   .c = y.data,
                                   .c_ld = y.ld,
                                   .bias = node->param[1] >= 0 ? dfi_param_value(exec, node, 1) : NULL };
    dfi_wide_band(exec->context->cpu_flags, &wide, (size_t)band, dfi_worker(exec, worker));
}

static void linear_wide(struct dfi_exec *exec, int number)
{
    const struct dfi_block y = dfi_exec_value(exec, number);
    const int rows = y.samples * y.h * y.w, panel = dfi_wide_panel(exec->context->cpu_flags, (size_t)rows);
    dfi_node_parallel(exec, number, pack_piece, (rows + panel - 1) / panel);
    dfi_node_parallel(exec, number, band_piece, (int)dfi_wide_bands((size_t)y.c));
}

static void linear_forward(struct dfi_exec *exec, int number)
{
    const struct dfi_block y = dfi_exec_value(exec, number);
    if (exec->graph->params->list[dfi_node(exec, number)->param[0]].stored) {
        linear_wide(exec, number);
        return;
    }
    dfi_node_parallel(exec, number, linear_forward_piece, row_pieces(y.samples * y.h * y.w));
}

static void linear_data_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    const struct dfi_block dx = dfi_exec_gradient_of(exec, node->input[0]);
    const int first = index * ROWS_PER_PIECE, rows = piece_rows(dy.samples * dy.h * dy.w, index);
    const struct dfi_gemm gemm = { (size_t)rows,
                                   (size_t)dx.c,
                                   (size_t)dy.c,
                                   dfi_at(exec, dy.data, first * dy.ld),
                                   dy.ld,
                                   1,
                                   dfi_param_value(exec, node, 0),
                                   dx.c,
                                   1,
                                   dfi_at(exec, dx.data, first * dx.ld),
                                   dx.ld,
                                   1,
                                   dfi_gradient_adds(exec, node->input[0]) };
    product(exec, &gemm);
}

static void linear_weights_piece(struct dfi_exec *exec, int number, int lane, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), dy = dfi_exec_gradient_of(exec, number);
    const size_t count = weight_count(exec->graph, node);
    const int pixels = dy.h * dy.w, first = dfi_lane_start(exec, dy.samples, lane) * pixels;
    const int rows = dfi_lane_start(exec, dy.samples, lane + 1) * pixels - first;
    void *sum = dfi_at(exec, dfi_shared(exec), (ptrdiff_t)(count * (size_t)lane));
    const struct dfi_gemm gemm = { (size_t)dy.c,
                                   (size_t)x.c,
                                   (size_t)rows,
                                   dfi_at(exec, dy.data, first * dy.ld),
                                   1,
                                   dy.ld,
                                   dfi_at(exec, x.data, first * x.ld),
                                   x.ld,
                                   1,
                                   sum,
                                   x.c,
                                   1,
                                   0 };
    if (rows > 0)
        product(exec, &gemm);
    else
        memset(sum, 0, count * exec->element);
}

static void linear_backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    dfi_node_parallel(exec, number, linear_weights_piece, dfi_lanes(exec));
    reduce_weights(exec, number);
    backward_bias(exec, number);
    if (dfi_wants_gradient(exec, node->input[0])) {
        dfi_gradient_begin(exec, node->input[0]);
        dfi_node_parallel(exec, number, linear_data_piece, row_pieces(dy.samples * dy.h * dy.w));
    }
}

/* Unflatten: weight [cin][cout][pixel], a matrix with a row for each input channel. Its columns are taken in
 * bands of output channels with all of their pixels. */

#define BAND_COLUMNS 512

struct band {
    int first, count; /* channels */
    size_t columns;
};

static int band_channels(const struct dfi_node *node)
{
    const int fit = BAND_COLUMNS / (node->h * node->w), channels = fit < 1 ? 1 : fit;
    return channels < node->c ? channels : node->c;
}

static int count_bands(const struct dfi_node *node)
{
    return (node->c + band_channels(node) - 1) / band_channels(node);
}

static struct band band_of(const struct dfi_node *node, int index)
{
    const int most = band_channels(node), first = index * most, left = node->c - first;
    const int count = left < most ? left : most;
    return (struct band) { first, count, (size_t)count * (size_t)(node->h * node->w) };
}

static ptrdiff_t first_column(const struct dfi_node *node, const struct band *band)
{
    return (ptrdiff_t)band->first * node->h * node->w;
}

static ptrdiff_t all_columns(const struct dfi_node *node)
{
    return (ptrdiff_t)node->c * node->h * node->w;
}

/* Rows of a worker's scratch: those of a piece of samples, or of a lane and of the sums of the lanes here.
 * With ranks a lane is a larger part of the samples here, and there are fewer: one rank or as many as lanes
 * need most. */
static int scratch_rows(const struct dfi_node *input, const struct dfi_exec_sizes *sizes)
{
    const int one = sizes->samples / DFI_LANES + 1 + DFI_LANES * input->c,
              most = sizes->samples + 1 + input->c;
    const int sums = !sizes->backward ? 0 : one > most ? one : most;
    return sums > ROWS_PER_PIECE ? sums : ROWS_PER_PIECE;
}

static int unflatten_need(const struct dfi_graph *graph, const struct dfi_node *node,
                          const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    const struct band band = band_of(node, 0);
    const size_t rows = (size_t)scratch_rows(&graph->nodes[node->input[0]], sizes);
    DFI_TRY(need(graph, node, sizes, out));
    out->worker = (rows + 1) * band.columns * sizes->element; /* and a sample's pixels */
    return DIFFC_OK;
}

/* to[column][row] */
static void transpose(const struct dfi_exec *exec, const void *from, int rows, int columns, void *to)
{
    static const int nothing[1] = { 0 };
    exec->kernels->pack_weights(from, columns, 1, nothing, 1, columns, rows, rows, to);
}

/* The band's channels of some samples, a row for each: [channel][pixel]. The worker's scratch begins with
 * room for the pixels of a sample. */
static void *scratch_of(const struct dfi_exec *exec, const struct band *band, int worker)
{
    return dfi_at(exec, dfi_worker(exec, worker), (ptrdiff_t)band->columns);
}

static void load_rows(const struct dfi_exec *exec, const struct dfi_block *block, const struct band *band,
                      int first, int count, int worker, void *rows)
{
    void *pixels = dfi_worker(exec, worker);
    const int area = block->h * block->w;
    for (int n = 0; n < count; n++) {
        block->kernels->load_pixels(dfi_pixel(block, dfi_sample(block, first + n), band->first), block->ld,
                                    pixels, band->count, (size_t)area, band->count);
        transpose(exec, pixels, area, band->count, dfi_at(exec, rows, n * (ptrdiff_t)band->columns));
    }
}

static void store_rows(const struct dfi_exec *exec, const struct dfi_block *block, const struct band *band,
                       int first, int count, const void *bias, int worker, const void *rows)
{
    void *pixels = dfi_worker(exec, worker);
    const int area = block->h * block->w;
    for (int n = 0; n < count; n++) {
        transpose(exec, dfi_at(exec, rows, n * (ptrdiff_t)band->columns), band->count, area, pixels);
        exec->kernels->affine_act(pixels, band->count, pixels, band->count, (size_t)area, band->count, NULL,
                                  bias, DFI_ACT_NONE);
        block->kernels->store_pixels(pixels, band->count,
                                     dfi_pixel(block, dfi_sample(block, first + n), band->first), block->ld,
                                     (size_t)area, band->count);
    }
}

/* A band of all samples in turn: its weights are read once. */
static void unflatten_forward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    const struct band band = band_of(node, index);
    const void *bias = node->param[1] < 0 ? NULL : dfi_at(exec, dfi_param_value(exec, node, 1), band.first);
    void *rows = scratch_of(exec, &band, worker);
    for (int piece = 0; piece < row_pieces(y.samples); piece++) {
        const int first = piece * ROWS_PER_PIECE, count = piece_rows(y.samples, piece);
        const struct dfi_gemm gemm = { (size_t)count,
                                       band.columns,
                                       (size_t)x.c,
                                       dfi_at(exec, x.data, first * x.sample_stride),
                                       x.sample_stride,
                                       1,
                                       dfi_at(exec, dfi_param_value(exec, node, 0),
                                              first_column(node, &band)),
                                       all_columns(node),
                                       1,
                                       rows,
                                       (ptrdiff_t)band.columns,
                                       1,
                                       0 };
        product(exec, &gemm);
        store_rows(exec, &y, &band, first, count, bias, worker, rows);
    }
}

static void unflatten_forward(struct dfi_exec *exec, int number)
{
    const int bands = dfi_samples(exec, number) > 0 ? count_bands(dfi_node(exec, number)) : 0;
    dfi_node_parallel(exec, number, unflatten_forward_piece, bands);
}

static void unflatten_data_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int input = node->input[0], first = index * ROWS_PER_PIECE;
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number), dx = dfi_exec_gradient_of(exec, input);
    const int count = piece_rows(dy.samples, index);
    for (int i = 0; i < count_bands(node); i++) {
        const struct band band = band_of(node, i);
        void *rows = scratch_of(exec, &band, worker);
        const struct dfi_gemm gemm = { (size_t)count,
                                       (size_t)dx.c,
                                       band.columns,
                                       rows,
                                       (ptrdiff_t)band.columns,
                                       1,
                                       dfi_at(exec, dfi_param_value(exec, node, 0),
                                              first_column(node, &band)),
                                       1,
                                       all_columns(node),
                                       dfi_at(exec, dx.data, first * dx.sample_stride),
                                       dx.sample_stride,
                                       1,
                                       i > 0 || dfi_gradient_adds(exec, input) };
        load_rows(exec, &dy, &band, first, count, worker, rows);
        product(exec, &gemm);
    }
}

/* A lane's sums for a band: [input channel][column]. */
static void add_lane(struct dfi_exec *exec, int number, const struct band *band, int lane, int worker,
                     void *rows, void *sum)
{
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    const int first = dfi_lane_start(exec, dy.samples, lane),
              count = dfi_lane_start(exec, dy.samples, lane + 1) - first;
    const struct dfi_gemm gemm = { (size_t)x.c,
                                   band->columns,
                                   (size_t)count,
                                   dfi_at(exec, x.data, first * x.sample_stride),
                                   1,
                                   x.sample_stride,
                                   rows,
                                   (ptrdiff_t)band->columns,
                                   1,
                                   sum,
                                   (ptrdiff_t)band->columns,
                                   1,
                                   0 };
    if (count == 0) {
        memset(sum, 0, (size_t)x.c * band->columns * exec->element);
        return;
    }
    load_rows(exec, &dy, band, first, count, worker, rows);
    product(exec, &gemm);
}

static void unflatten_weights_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int channels = dfi_node(exec, node->input[0])->c, lanes = dfi_lanes(exec);
    const struct band band = band_of(node, index);
    const size_t size = (size_t)channels * band.columns;
    void *sums = scratch_of(exec, &band, worker), *rows = dfi_at(exec, sums, (ptrdiff_t)size * lanes);
    for (int lane = 0; lane < lanes; lane++)
        add_lane(exec, number, &band, lane, worker, rows, dfi_at(exec, sums, (ptrdiff_t)size * lane));
    for (int i = 0; i < channels; i++)
        exec->kernels->tree_sum(
            dfi_at(exec, sums, i * (ptrdiff_t)band.columns), size, lanes,
            dfi_at(exec, dfi_shared(exec), i * all_columns(node) + first_column(node, &band)), band.columns,
            0);
}

static void unflatten_backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const size_t count = weight_count(exec->graph, node);
    dfi_node_parallel(exec, number, unflatten_weights_piece, count_bands(node));
    dfi_rank_sum(exec, dfi_shared(exec), count, exec->element);
    exec->kernels->tree_sum(dfi_shared(exec), count, 1, dfi_param_gradient(exec, node, 0), count,
                            exec->accumulate);
    backward_bias(exec, number);
    if (dfi_wants_gradient(exec, node->input[0])) {
        dfi_gradient_begin(exec, node->input[0]);
        dfi_node_parallel(exec, number, unflatten_data_piece, row_pieces(dfi_samples(exec, number)));
    }
}

const struct dfi_node_kind dfi_kind_linear = { "linear", DFI_SAVES_INPUT, linear_need,
                                               NULL,     linear_forward,  linear_backward };
const struct dfi_node_kind dfi_kind_unflatten = {
    "unflatten",       DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT | DFI_BF16_OUT,
    unflatten_need,    NULL,
    unflatten_forward, unflatten_backward
};
