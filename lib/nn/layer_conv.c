/* Convolution and transposed convolution: pieces of work for kernel/conv.h. */

#include "nn/node.h"

struct state { /* followed by the packed weights of the forward pass, then of backward data */
    struct dfi_conv conv;
    int trains; /* backward data is wanted */
};

static size_t state_size(void)
{
    return (sizeof(struct state) + 63) / 64 * 64;
}

int dfi_conv_describe(const struct dfi_graph *graph, const struct dfi_node *node,
                      const struct dfi_kernels *kernels, int dtype, enum dfi_numerics numerics,
                      struct dfi_conv *conv)
{
    const struct dfi_node *input = &graph->nodes[node->input[0]];
    *conv = (struct dfi_conv) { .transposed = node->kind == &dfi_kind_conv_transpose2d,
                                .cin = input->c,
                                .cout = node->c,
                                .kernel = node->kernel_h,
                                .stride = node->stride,
                                .padding = node->padding,
                                .in_h = input->h,
                                .in_w = input->w,
                                .dtype = dtype,
                                .numerics = numerics,
                                .kernels = kernels };
    return dfi_conv_init(conv);
}

static size_t lanes_size(const struct dfi_conv *conv, size_t element)
{
    return dfi_conv_dw_size(conv) * DFI_LANES * element;
}

static int need(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    struct dfi_conv conv;
    if (dfi_conv_describe(graph, node, sizes->kernels, sizes->dtype, sizes->numerics, &conv))
        return dfi_fail(DIFFC_ERR_CONFIG, "%s: the window does not fit", node->name);
    const int data = sizes->backward && graph->nodes[node->input[0]].gradient;
    size_t worker = dfi_conv_scratch(&conv, DFI_CONV_FORWARD);
    out->state = state_size() + dfi_conv_packed(&conv, DFI_CONV_FORWARD) * sizes->element;
    if (data) {
        const size_t scratch = dfi_conv_scratch(&conv, DFI_CONV_BACKWARD_DATA);
        worker = scratch > worker ? scratch : worker;
        out->state += 64 + dfi_conv_packed(&conv, DFI_CONV_BACKWARD_DATA) * sizes->element;
    }
    if (sizes->backward) {
        const size_t scratch = dfi_conv_scratch(&conv, DFI_CONV_BACKWARD_WEIGHTS);
        const size_t bias = ((size_t)sizes->samples + DFI_LANES + 1) * (size_t)node->c * sizeof(double);
        worker = scratch > worker ? scratch : worker;
        out->shared = lanes_size(&conv, sizes->element) + 64 + (node->absorbed ? 0 : bias);
    }
    out->worker = worker;
    return DIFFC_OK;
}

static void *packed_forward(const struct dfi_exec *exec, int number)
{
    return (char *)dfi_state(exec, number) + state_size();
}

static void *packed_backward(const struct dfi_exec *exec, int number)
{
    const struct state *state = dfi_state(exec, number);
    const size_t bytes = dfi_conv_packed(&state->conv, DFI_CONV_FORWARD) * exec->element;
    return (char *)packed_forward(exec, number) + (bytes + 63) / 64 * 64;
}

static void pack_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct state *state = dfi_state(exec, number);
    const void *weights = dfi_param_value(exec, dfi_node(exec, number), 0);
    const int pieces = dfi_conv_pack_pieces(&state->conv, DFI_CONV_FORWARD);
    if (index < pieces)
        dfi_conv_pack(&state->conv, DFI_CONV_FORWARD, weights, packed_forward(exec, number), index,
                      dfi_worker(exec, worker));
    else
        dfi_conv_pack(&state->conv, DFI_CONV_BACKWARD_DATA, weights, packed_backward(exec, number),
                      index - pieces, dfi_worker(exec, worker));
}

static void refresh(struct dfi_exec *exec, int number)
{
    struct state *state = dfi_state(exec, number);
    dfi_conv_describe(exec->graph, dfi_node(exec, number), exec->kernels, exec->params->dtype,
                      exec->options.numerics, &state->conv);
    state->trains = exec->options.backward && dfi_wants_gradient(exec, dfi_node(exec, number)->input[0]);
    int pieces = dfi_conv_pack_pieces(&state->conv, DFI_CONV_FORWARD);
    if (state->trains)
        pieces += dfi_conv_pack_pieces(&state->conv, DFI_CONV_BACKWARD_DATA);
    dfi_node_parallel_whole(exec, number, pack_piece, pieces);
}

static struct dfi_images images(const struct dfi_block *block)
{
    return (struct dfi_images) { block->data, block->ld, block->sample_stride, block->samples };
}

static void forward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct state *state = dfi_state(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    const struct dfi_conv_job job = { .conv = &state->conv,
                                      .pass = DFI_CONV_FORWARD,
                                      .packed = packed_forward(exec, number),
                                      .bias = dfi_param_value(exec, node, 1),
                                      .x = images(&x),
                                      .y = images(&y),
                                      .samples = y.samples };
    dfi_conv_run(&job, index, dfi_worker(exec, worker));
}

static void forward(struct dfi_exec *exec, int number)
{
    const struct state *state = dfi_state(exec, number);
    dfi_node_parallel(exec, number, forward_piece,
                      dfi_conv_pieces(&state->conv, DFI_CONV_FORWARD, dfi_samples(exec, number)));
}

static void data_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const int input = dfi_node(exec, number)->input[0];
    const struct state *state = dfi_state(exec, number);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number), dx = dfi_exec_gradient_of(exec, input);
    const struct dfi_conv_job job = { .conv = &state->conv,
                                      .pass = DFI_CONV_BACKWARD_DATA,
                                      .packed = packed_backward(exec, number),
                                      .x = images(&dy),
                                      .y = images(&dx),
                                      .samples = dy.samples,
                                      .accumulate = dfi_gradient_adds(exec, input) };
    dfi_conv_run(&job, index, dfi_worker(exec, worker));
}

static void weights_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct state *state = dfi_state(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    const struct dfi_images from = images(&x), to = images(&dy);
    const int parts = dfi_conv_dw_parts(&state->conv), lane = index / parts;
    void *sum = dfi_at(exec, dfi_shared(exec), (ptrdiff_t)(dfi_conv_dw_size(&state->conv) * (size_t)lane));
    dfi_conv_dw(&state->conv, &from, &to, dfi_lane_start(exec, dy.samples, lane),
                dfi_lane_start(exec, dy.samples, lane + 1), sum, index % parts, dfi_worker(exec, worker));
}

static void clear_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct state *state = dfi_state(exec, number);
    const size_t bytes = dfi_conv_dw_size(&state->conv) * exec->element;
    memset((char *)dfi_shared(exec) + bytes * (size_t)index, 0, bytes);
}

static double *bias_rows(const struct dfi_exec *exec, int number)
{
    const struct state *state = dfi_state(exec, number);
    const size_t lanes = lanes_size(&state->conv, exec->element);
    return (double *)(void *)((char *)dfi_shared(exec) + (lanes + 63) / 64 * 64);
}

static void bias_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    double *row = bias_rows(exec, number) + (size_t)index * (size_t)dy.c;
    memset(row, 0, (size_t)dy.c * sizeof(*row));
    exec->kernels->moments(dfi_sample(exec, &dy, index), dy.ld, (size_t)dy.h * (size_t)dy.w, dy.c, row, NULL);
}

static void backward_bias(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int samples = dfi_samples(exec, number);
    const size_t c = (size_t)node->c;
    void *gradient = dfi_param_gradient(exec, node, 1);
    double *rows = bias_rows(exec, number), *lanes = rows + (size_t)samples * c;
    if (node->absorbed) {
        for (size_t i = 0; i < c; i++)
            dfi_param_gradient_put(exec, gradient, i, 0);
        return;
    }
    dfi_node_parallel(exec, number, bias_piece, samples);
    dfi_lane_sum(exec, rows, samples, c, lanes);
    for (size_t i = 0; i < c; i++)
        dfi_param_gradient_put(exec, gradient, i, lanes[i]);
}

static void backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct state *state = dfi_state(exec, number);
    const size_t lane = dfi_conv_dw_size(&state->conv);
    dfi_node_parallel(exec, number, clear_piece, dfi_lanes(exec));
    dfi_node_parallel(exec, number, weights_piece, dfi_lanes(exec) * dfi_conv_dw_parts(&state->conv));
    dfi_lane_tree(exec, dfi_shared(exec), lane);
    dfi_conv_dw_reduce(&state->conv, dfi_shared(exec), lane, 1, dfi_param_gradient(exec, node, 0),
                       exec->accumulate);
    backward_bias(exec, number);
    if (state->trains) {
        dfi_gradient_begin(exec, node->input[0]);
        dfi_node_parallel(exec, number, data_piece,
                          dfi_conv_pieces(&state->conv, DFI_CONV_BACKWARD_DATA, dfi_samples(exec, number)));
    }
}

const struct dfi_node_kind dfi_kind_conv2d = { "conv2d", DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT,
                                               need,     refresh,
                                               forward,  backward };
const struct dfi_node_kind dfi_kind_conv_transpose2d = {
    "conv_transpose2d", DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT, need, refresh, forward, backward
};
