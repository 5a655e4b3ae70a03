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

static size_t lanes_bytes(const struct dfi_graph *graph, const struct dfi_node *node, size_t element)
{
    return (weight_count(graph, node) * DFI_LANES * element + 63) / 64 * 64;
}

static int need(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    if (sizes->backward)
        out->shared = lanes_bytes(graph, node, sizes->element) +
                      ((size_t)sizes->samples + DFI_LANES + 1) * (size_t)node->c * sizeof(double);
    return DIFFC_OK;
}

static int linear_need(const struct dfi_graph *graph, const struct dfi_node *node,
                       const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    DFI_TRY(need(graph, node, sizes, out));
    if (graph->params->list[node->param[0]].stored) {
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
                                     lanes_bytes(exec->graph, node, exec->element)) +
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
                                      lanes_bytes(exec->graph, node, exec->element));
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

/* Unflatten: weight [cin][cout][pixel]; one matrix product per output pixel. */

static struct dfi_gemm unflatten_gemm(const struct dfi_exec *exec, int number, int pixel)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const ptrdiff_t pixels = (ptrdiff_t)node->h * node->w;
    const struct dfi_gemm gemm = { .b = dfi_at(exec, dfi_param_value(exec, node, 0), pixel),
                                   .b_row = node->c * pixels,
                                   .b_col = pixels };
    return gemm;
}

static int unflatten_need(const struct dfi_graph *graph, const struct dfi_node *node,
                          const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    DFI_TRY(need(graph, node, sizes, out));
    if (sizes->arithmetic.narrow[node - graph->nodes])
        out->worker = (size_t)sizes->samples * (size_t)node->c * sizeof(float);
    return DIFFC_OK;
}

/* One pixel of many samples: in place, or, in bfloat16, by way of the worker's scratch. */
struct rows {
    void *data;
    ptrdiff_t ld;
};

static int is_wide(const struct dfi_exec *exec, const struct dfi_block *block)
{
    return block->kernels == exec->kernels;
}

static struct rows find_rows(const struct dfi_exec *exec, const struct dfi_block *block, int first, int pixel,
                             int worker)
{
    if (!is_wide(exec, block))
        return (struct rows) { dfi_worker(exec, worker), block->c };
    return (struct rows) { dfi_pixel(block, block->data, first * block->sample_stride + pixel * block->ld),
                           block->sample_stride };
}

static struct rows read_rows(const struct dfi_exec *exec, const struct dfi_block *block, int first, int count,
                             int pixel, int worker)
{
    const struct rows rows = find_rows(exec, block, first, pixel, worker);
    if (!is_wide(exec, block))
        block->kernels->load_pixels(
            dfi_pixel(block, block->data, first * block->sample_stride + pixel * block->ld),
            block->sample_stride, rows.data, rows.ld, (size_t)count, block->c);
    return rows;
}

static void unflatten_forward_piece(struct dfi_exec *exec, int number, int pixel, int worker)
{
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    const struct dfi_block y = dfi_exec_value(exec, number);
    struct dfi_gemm gemm = unflatten_gemm(exec, number, pixel);
    gemm.m = (size_t)y.samples;
    gemm.n = (size_t)y.c;
    gemm.k = (size_t)x.c;
    gemm.a = x.data;
    gemm.a_row = x.sample_stride;
    gemm.a_col = 1;
    const struct rows out = find_rows(exec, &y, 0, pixel, worker);
    gemm.c = out.data;
    gemm.c_row = out.ld;
    gemm.c_col = 1;
    product(exec, &gemm);
    add_bias(exec, number, out.data, out.ld, (size_t)y.samples);
    if (!is_wide(exec, &y))
        y.kernels->store_pixels(out.data, out.ld, dfi_pixel(&y, y.data, pixel * y.ld), y.sample_stride,
                                (size_t)y.samples, y.c);
}

static void unflatten_forward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int pixels = dfi_samples(exec, number) > 0 ? node->h * node->w : 0;
    dfi_node_parallel(exec, number, unflatten_forward_piece, pixels);
}

static void unflatten_data_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const int input = dfi_node(exec, number)->input[0];
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number), dx = dfi_exec_gradient_of(exec, input);
    const int first = index * ROWS_PER_PIECE;
    for (int pixel = 0; pixel < dy.h * dy.w; pixel++) {
        struct dfi_gemm gemm = unflatten_gemm(exec, number, pixel);
        const ptrdiff_t transpose = gemm.b_row;
        const int count = piece_rows(dy.samples, index);
        const struct rows from = read_rows(exec, &dy, first, count, pixel, worker);
        gemm.m = (size_t)count;
        gemm.n = (size_t)dx.c;
        gemm.k = (size_t)dy.c;
        gemm.a = from.data;
        gemm.a_row = from.ld;
        gemm.a_col = 1;
        gemm.b_row = gemm.b_col;
        gemm.b_col = transpose;
        gemm.c = dfi_at(exec, dx.data, first * dx.sample_stride);
        gemm.c_row = dx.sample_stride;
        gemm.c_col = 1;
        gemm.accumulate = pixel > 0 || dfi_gradient_adds(exec, input);
        product(exec, &gemm);
    }
}

static void unflatten_weights_piece(struct dfi_exec *exec, int number, int lane, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), dy = dfi_exec_gradient_of(exec, number);
    const size_t count = weight_count(exec->graph, node);
    const int first = dfi_lane_start(exec, dy.samples, lane),
              rows = dfi_lane_start(exec, dy.samples, lane + 1) - first;
    const ptrdiff_t pixels = (ptrdiff_t)dy.h * dy.w;
    void *sum = dfi_at(exec, dfi_shared(exec), (ptrdiff_t)(count * (size_t)lane));
    if (rows == 0) {
        memset(sum, 0, count * exec->element);
        return;
    }
    for (int pixel = 0; pixel < pixels; pixel++) {
        const struct rows g = read_rows(exec, &dy, first, rows, pixel, worker);
        const struct dfi_gemm gemm = { (size_t)x.c,
                                       (size_t)dy.c,
                                       (size_t)rows,
                                       dfi_at(exec, x.data, first * x.sample_stride),
                                       1,
                                       x.sample_stride,
                                       g.data,
                                       g.ld,
                                       1,
                                       dfi_at(exec, sum, pixel),
                                       dy.c * pixels,
                                       pixels,
                                       0 };
        product(exec, &gemm);
    }
}

static void unflatten_backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    dfi_node_parallel(exec, number, unflatten_weights_piece, dfi_lanes(exec));
    reduce_weights(exec, number);
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
