/* Convolution and transposed convolution: pieces of work for kernel/conv.h. */

#include <limits.h>

#include "nn/node.h"
#include "nn/split.h"

struct state { /* followed by the packed weights that are kept: of the forward pass, then of backward data */
    struct dfi_conv conv;
    int trains;                /* backward data is wanted */
    int group;                 /* output channels that are packed at a time in every run; 0: all, and kept */
    int whole;                 /* 1: the weights are taken as they are, without groups */
    int first;                 /* of the group at hand */
    struct dfi_conv part;      /* its convolution */
    const void *scale, *shift; /* of a batch norm that is part of it; NULL without one, and the bias */
    enum dfi_act act;
    int added; /* images of each lane whose gradient by the weights is summed */
};

static size_t state_size(void)
{
    return (sizeof(struct state) + 63) / 64 * 64;
}

int dfi_conv_describe(const struct dfi_graph *graph, const struct dfi_node *node,
                      const struct dfi_arithmetic *arithmetic, struct dfi_conv *conv)
{
    const struct dfi_node *input = &graph->nodes[node->input[0]];
    const struct dfi_kernels *kernels = arithmetic->kernels;
    *conv = (struct dfi_conv) { .transposed = node->kind == &dfi_kind_conv_transpose2d,
                                .cin = input->c,
                                .cout = node->c,
                                .kernel = node->kernel_h,
                                .stride = node->stride,
                                .padding = node->padding,
                                .in_h = input->h,
                                .in_w = input->w,
                                .dtype = arithmetic->dtype,
                                .numerics = arithmetic->numerics,
                                .kernels = kernels,
                                .in = arithmetic->narrow[node->input[0]] ? kernels->bf16 : kernels,
                                .out = arithmetic->narrow[node - graph->nodes] ? kernels->bf16 : kernels,
                                .rounds = arithmetic->precision == DFI_PRECISION_BF16,
                                .tiles = arithmetic->tiles };
    return dfi_conv_init(conv);
}

void dfi_exec_conv(const struct dfi_exec *exec, int number, struct dfi_conv *conv)
{
    const struct dfi_arithmetic arithmetic = { exec->kernels,          exec->params->dtype,
                                               exec->options.numerics, exec->options.precision,
                                               exec->options.tiles,    exec->plan.narrow };
    dfi_conv_describe(exec->graph, dfi_node(exec, number), &arithmetic, conv);
}

static size_t lanes_size(const struct dfi_conv *conv, size_t element)
{
    return dfi_conv_dw_size(conv) * DFI_LANES * element;
}

/* Weights that stay where a file has them: in half precision they are widened in shared scratch before they
 * are packed; so are those of a part cut out. To save memory weights may be packed anew in every run, for a
 * group of output channels at a time, or, in training, whole. */
#define GROUP_BYTES ((size_t)16 << 20)
#define GROUP_STEP 64
#define WIDEN_PIECE 65536

static const struct dfi_param *weights_param(const struct dfi_graph *graph, const struct dfi_node *node)
{
    return &graph->params->list[node->param[0]];
}

static int is_narrow(const struct dfi_graph *graph, const struct dfi_node *node)
{
    const struct dfi_param *param = weights_param(graph, node);
    return param->stored && param->stored_dtype != graph->params->dtype;
}

/* Whether weights are packed from shared scratch. */
static int is_copied(const struct dfi_graph *graph, const struct dfi_node *node)
{
    return is_narrow(graph, node) || dfi_is_sliced(graph, node);
}

static int is_streamed(const struct dfi_graph *graph, const struct dfi_node *node, int stream, int backward)
{
    return stream && !backward && node->kind == &dfi_kind_conv2d && !dfi_is_sliced(graph, node);
}

static size_t wide_bytes(const struct dfi_graph *graph, const struct dfi_node *node, int channels)
{
    const size_t each = weights_param(graph, node)->count / (size_t)node->c;
    return is_copied(graph, node)
               ? ((size_t)channels * each * dfi_dtype_size(graph->params->dtype) + 63) / 64 * 64
               : 0;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Some output channels of a convolution, by the algorithm of the whole: the same bits. */
static struct dfi_conv part_of(const struct dfi_conv *conv, int channels)
{
    struct dfi_conv part = *conv;
    part.cout = channels;
    (void)dfi_conv_init(&part);
    memcpy(part.tile, conv->tile, sizeof(part.tile));
    memcpy(part.dots, conv->dots, sizeof(part.dots));
    return part;
}

/* Output channels of a group. */
static int group_of(const struct dfi_graph *graph, const struct dfi_node *node, const struct dfi_conv *conv,
                    size_t element)
{
    const size_t all = wide_bytes(graph, node, node->c) + dfi_conv_packed(conv, DFI_CONV_FORWARD) * element;
    const size_t each = all / (size_t)node->c + 1, channels = GROUP_BYTES / each / GROUP_STEP * GROUP_STEP;
    return channels < GROUP_STEP ? GROUP_STEP : channels > (size_t)node->c ? node->c : (int)channels;
}

static int need_streamed(const struct dfi_graph *graph, const struct dfi_node *node,
                         const struct dfi_conv *conv, const struct dfi_exec_sizes *sizes,
                         struct dfi_need *out)
{
    const size_t element = sizes->element;
    const int group = group_of(graph, node, conv, element);
    const struct dfi_conv part = part_of(conv, group);
    const size_t rest = dfi_conv_scratch(conv, DFI_CONV_FORWARD),
                 scratch = dfi_conv_scratch(&part, DFI_CONV_FORWARD);
    out->state = state_size();
    out->shared = dfi_conv_shared(conv, DFI_CONV_FORWARD, sizes->samples);
    if (!dfi_conv_prepare_pieces(conv, DFI_CONV_FORWARD, sizes->samples)) {
        const size_t packed = wide_bytes(graph, node, group) +
                              dfi_conv_packed(&part, DFI_CONV_FORWARD) * element;
        out->shared = packed > out->shared ? packed : out->shared;
    }
    out->worker = scratch > rest ? scratch : rest;
    return DIFFC_OK;
}

static int need(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    struct dfi_conv conv;
    if (dfi_conv_describe(graph, node, &sizes->arithmetic, &conv))
        return dfi_fail(DIFFC_ERR_CONFIG, "%s: the window does not fit", node->name);
    conv.shares = !sizes->backward;
    conv.streams = is_streamed(graph, node, sizes->stream, sizes->backward);
    if (conv.streams)
        return need_streamed(graph, node, &conv, sizes, out);
    const int data = sizes->backward && graph->nodes[node->input[0]].gradient;
    const size_t packed[2] = { dfi_conv_packed(&conv, DFI_CONV_FORWARD) * sizes->element,
                               data ? dfi_conv_packed(&conv, DFI_CONV_BACKWARD_DATA) * sizes->element : 0 };
    out->worker = dfi_conv_scratch(&conv, DFI_CONV_FORWARD);
    if (data)
        out->worker = larger(out->worker, dfi_conv_scratch(&conv, DFI_CONV_BACKWARD_DATA));
    if (sizes->backward) {
        const size_t bias = ((size_t)sizes->samples + DFI_LANES + 1) * (size_t)node->c * sizeof(double);
        out->worker = larger(out->worker, dfi_conv_scratch(&conv, DFI_CONV_BACKWARD_WEIGHTS));
        out->shared = lanes_size(&conv, sizes->element) + 64 + (node->absorbed ? 0 : bias);
    } else {
        out->shared = larger(wide_bytes(graph, node, node->c),
                             dfi_conv_shared(&conv, DFI_CONV_FORWARD, sizes->samples));
    }
    out->state = state_size();
    if (sizes->stream && sizes->backward)
        out->shared = larger(out->shared, larger(packed[0], packed[1]));
    else
        out->state += packed[0] + 64 + packed[1];
    return DIFFC_OK;
}

static int repacks(const struct dfi_exec *exec)
{
    return exec->options.stream && exec->options.backward;
}

static void *packed_forward(const struct dfi_exec *exec, int number)
{
    return repacks(exec) ? dfi_shared(exec) : (char *)dfi_state(exec, number) + state_size();
}

static void *packed_backward(const struct dfi_exec *exec, int number)
{
    const struct state *state = dfi_state(exec, number);
    const size_t bytes = dfi_conv_packed(&state->conv, DFI_CONV_FORWARD) * exec->element;
    if (repacks(exec))
        return dfi_shared(exec);
    return (char *)packed_forward(exec, number) + (bytes + 63) / 64 * 64;
}

/* Widens the weights of the group at hand, or all. */
static void widen_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct state *state = dfi_state(exec, number);
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_param *param = weights_param(exec->graph, node);
    const size_t each = param->count / (size_t)node->c,
                 count = each * (size_t)(state->group ? state->part.cout : node->c);
    const size_t at = (size_t)index * WIDEN_PIECE, left = count - at;
    exec->kernels->widen(param->stored_dtype,
                         (const uint16_t *)param->stored + each * (size_t)(state->group ? state->first : 0) +
                             at,
                         (float *)dfi_shared(exec) + at, left < WIDEN_PIECE ? left : WIDEN_PIECE);
}

static int widen_pieces(const struct dfi_exec *exec, const struct dfi_node *node, int channels)
{
    const size_t count = weights_param(exec->graph, node)->count / (size_t)node->c * (size_t)channels;
    return is_narrow(exec->graph, node) ? (int)((count + WIDEN_PIECE - 1) / WIDEN_PIECE) : 0;
}

/* The weights of a part: input channels are rows of a transposed convolution's, and lie in those of another.
 */
struct slice {
    size_t rows, row, first, count;
};

static struct slice slice_of(const struct dfi_graph *graph, const struct dfi_node *node)
{
    const size_t area = (size_t)(node->kernel_h * node->kernel_w), all = weights_param(graph, node)->count;
    const size_t rows = node->kind == &dfi_kind_conv_transpose2d ? 1 : (size_t)node->c;
    const size_t channel = area * (size_t)node->c / rows;
    return (struct slice) { rows, all / rows, channel * (size_t)node->first,
                            channel * (size_t)graph->nodes[node->input[0]].c };
}

static void slice_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_param *param = weights_param(exec->graph, node);
    const struct slice slice = slice_of(exec->graph, node);
    const size_t from = (size_t)index * slice.row + slice.first, to = (size_t)index * slice.count;
    void *copy = dfi_at(exec, dfi_shared(exec), (ptrdiff_t)to);
    if (is_narrow(exec->graph, node))
        exec->kernels->widen(param->stored_dtype, (const uint16_t *)param->stored + from, copy, slice.count);
    else
        memcpy(copy, dfi_at(exec, dfi_param_value(exec, node, 0), (ptrdiff_t)from),
               slice.count * exec->element);
}

static void pack_pass(struct dfi_exec *exec, int number, enum dfi_conv_pass pass, void *packed, int piece,
                      int worker)
{
    const struct state *state = dfi_state(exec, number);
    const struct dfi_node *node = dfi_node(exec, number);
    const void *weights = is_copied(exec->graph, node) ? dfi_shared(exec) : dfi_param_value(exec, node, 0);
    dfi_conv_pack(&state->conv, pass, weights, packed, piece, dfi_worker(exec, worker));
}

static void pack_forward_piece(struct dfi_exec *exec, int number, int piece, int worker)
{
    pack_pass(exec, number, DFI_CONV_FORWARD, packed_forward(exec, number), piece, worker);
}

static void pack_backward_piece(struct dfi_exec *exec, int number, int piece, int worker)
{
    pack_pass(exec, number, DFI_CONV_BACKWARD_DATA, packed_backward(exec, number), piece, worker);
}

static void refresh(struct dfi_exec *exec, int number)
{
    struct state *state = dfi_state(exec, number);
    const struct dfi_node *node = dfi_node(exec, number);
    dfi_exec_conv(exec, number, &state->conv);
    state->conv.shares = !exec->options.backward;
    state->trains = exec->options.backward && dfi_wants_gradient(exec, dfi_node(exec, number)->input[0]);
    state->conv.streams = is_streamed(exec->graph, node, exec->options.stream, exec->options.backward);
    if (state->conv.streams) {
        /* Once: memory is planned for it, and a trainer may have made floats of the weights since then. */
        if (!state->group)
            state->group = group_of(exec->graph, node, &state->conv, exec->element);
        return;
    }
    if (dfi_is_sliced(exec->graph, node))
        dfi_node_parallel_whole(exec, number, slice_piece, (int)slice_of(exec->graph, node).rows);
    else
        dfi_node_parallel_whole(exec, number, widen_piece, widen_pieces(exec, node, node->c));
    if (repacks(exec))
        return;
    dfi_node_parallel_whole(exec, number, pack_forward_piece,
                            dfi_conv_pack_pieces(&state->conv, DFI_CONV_FORWARD));
    if (state->trains)
        dfi_node_parallel_whole(exec, number, pack_backward_piece,
                                dfi_conv_pack_pieces(&state->conv, DFI_CONV_BACKWARD_DATA));
}

static struct dfi_images images(const struct dfi_block *block)
{
    return (struct dfi_images) { block->data, block->ld, block->sample_stride, block->samples };
}

static void *group_packed(const struct dfi_exec *exec, const struct dfi_node *node, const struct state *state)
{
    return (char *)dfi_shared(exec) + wide_bytes(exec->graph, node, state->group);
}

/* The forward pass, or the group at hand of it. */
static struct dfi_conv_job forward_job(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct state *state = dfi_state(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    struct dfi_conv_job job = { .conv = state->group ? &state->part : &state->conv,
                                .pass = DFI_CONV_FORWARD,
                                .packed = packed_forward(exec, number),
                                .scale = state->scale,
                                .bias = state->shift,
                                .act = state->act,
                                .x = images(&x),
                                .y = images(&y),
                                .samples = y.samples,
                                .shared = dfi_shared(exec),
                                .threads = exec->graph->context->threads };
    if (node->base_slot) {
        const struct dfi_block base = dfi_exec_value(exec, node->input[node->base_slot]);
        job.base = images(&base);
    }
    if (state->whole) {
        job.conv = &state->conv;
        job.weights = dfi_param_value(exec, node, 0);
        job.weights_dtype = dfi_param_dtype(exec, node, 0);
    } else if (state->group) {
        job.packed = group_packed(exec, node, state);
        job.scale = state->scale ? dfi_at(exec, state->scale, state->first) : NULL;
        job.bias = state->shift ? dfi_at(exec, state->shift, state->first) : NULL;
        job.y.data = dfi_pixel(&y, job.y.data, state->first);
    }
    return job;
}

static void prepare_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_conv_job job = forward_job(exec, number);
    dfi_conv_prepare(&job, index);
}

static void forward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_conv_job job = forward_job(exec, number);
    dfi_conv_run(&job, index, dfi_worker(exec, worker));
}

/* How many pieces of a pass write to each sample that a batch norm waits for. */
static void count_writers(struct dfi_exec *exec, int number, enum dfi_conv_pass pass, int norm)
{
    const struct state *state = dfi_state(exec, number);
    const int samples = dfi_samples(exec, number), pieces = dfi_conv_pieces(&state->conv, pass, samples);
    atomic_int *writers = dfi_batch_norm_writers(exec, norm);
    for (int sample = 0; sample < samples; sample++)
        atomic_init(&writers[sample], 0);
    for (int piece = 0; piece < pieces; piece++) {
        int first, end;
        dfi_conv_written(&state->conv, pass, samples, piece, &first, &end);
        for (int sample = first; sample < end; sample++)
            atomic_fetch_add(&writers[sample], 1);
    }
}

/* Tells it the samples that a piece has written to. */
static void tell_norm(struct dfi_exec *exec, int number, enum dfi_conv_pass pass, int piece, int norm,
                      void (*written)(struct dfi_exec *exec, int norm, int sample))
{
    const struct state *state = dfi_state(exec, number);
    int first, end;
    dfi_conv_written(&state->conv, pass, dfi_samples(exec, number), piece, &first, &end);
    for (int sample = first; sample < end; sample++)
        written(exec, norm, sample);
}

/* A piece of the forward pass, and the statistics of the samples that are whole with it. */
static void gathering_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    forward_piece(exec, number, index, worker);
    tell_norm(exec, number, DFI_CONV_FORWARD, index, exec->plan.gathered[number], dfi_batch_norm_written);
}

/* One group of output channels after another. */

static void group_pack_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct state *state = dfi_state(exec, number);
    const size_t each = weights_param(exec->graph, node)->count / (size_t)node->c;
    const void *weights = is_narrow(exec->graph, node)
                              ? dfi_shared(exec)
                              : (const void *)dfi_at(exec, dfi_param_value(exec, node, 0),
                                                     (ptrdiff_t)(each * (size_t)state->first));
    dfi_conv_pack(&state->part, DFI_CONV_FORWARD, weights, group_packed(exec, node, state), index,
                  dfi_worker(exec, worker));
}

/* So few channels that they would be summed in another way are never left over. */
static int next_group(const struct state *state, int left)
{
    const int rest = left - state->group;
    if (rest <= 0)
        return left;
    return rest <= DFI_NARROW ? state->group - GROUP_STEP / 2 : state->group;
}

static void forward_groups(struct dfi_exec *exec, int number, struct state *state)
{
    const struct dfi_node *node = dfi_node(exec, number);
    for (state->first = 0; state->first < node->c; state->first += state->part.cout) {
        state->part = part_of(&state->conv, next_group(state, node->c - state->first));
        dfi_node_parallel(exec, number, widen_piece, widen_pieces(exec, node, state->part.cout));
        dfi_node_parallel(exec, number, group_pack_piece,
                          dfi_conv_pack_pieces(&state->part, DFI_CONV_FORWARD));
        dfi_node_parallel(exec, number, forward_piece,
                          dfi_conv_pieces(&state->part, DFI_CONV_FORWARD, dfi_samples(exec, number)));
    }
}

/* What is done to the sums while they are written: the bias, or a batch norm that takes it in. */
static void find_epilogue(struct dfi_exec *exec, int number, struct state *state)
{
    const int norm = exec->plan.fused[number];
    const struct dfi_node *node = dfi_node(exec, number);
    const void *bias = node->param[1] >= 0 ? dfi_param_value(exec, node, 1) : NULL;
    state->scale = NULL;
    state->shift = bias;
    state->act = DFI_ACT_NONE;
    if (norm >= 0) {
        dfi_batch_norm_affine(exec, norm, bias, &state->scale, &state->shift);
        state->act = dfi_node(exec, norm)->act;
    }
}

static void forward(struct dfi_exec *exec, int number)
{
    struct state *state = dfi_state(exec, number);
    const int samples = dfi_samples(exec, number);
    const int prepare = dfi_conv_prepare_pieces(&state->conv, DFI_CONV_FORWARD, samples);
    find_epilogue(exec, number, state);
    if (exec->batch_statistics && exec->plan.gathered[number] >= 0) {
        count_writers(exec, number, DFI_CONV_FORWARD, exec->plan.gathered[number]);
        dfi_node_parallel(exec, number, gathering_piece,
                          dfi_conv_pieces(&state->conv, DFI_CONV_FORWARD, samples));
        return;
    }
    state->whole = state->group && prepare;
    if (state->group && !prepare) {
        forward_groups(exec, number, state);
        return;
    }
    if (repacks(exec))
        dfi_node_parallel(exec, number, pack_forward_piece,
                          dfi_conv_pack_pieces(&state->conv, DFI_CONV_FORWARD));
    dfi_node_parallel(exec, number, prepare_piece, prepare);
    dfi_node_parallel(exec, number, forward_piece, dfi_conv_pieces(&state->conv, DFI_CONV_FORWARD, samples));
}

static void data_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const int input = dfi_node(exec, number)->input[0];
    const struct state *state = dfi_state(exec, number);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number), dx = dfi_exec_gradient_of(exec, input);
    const int adds = dfi_gradient_adds(exec, input);
    const struct dfi_conv_job job = { .conv = &state->conv,
                                      .pass = DFI_CONV_BACKWARD_DATA,
                                      .packed = packed_backward(exec, number),
                                      .x = images(&dy),
                                      .y = images(&dx),
                                      .base = adds ? images(&dx) : (struct dfi_images) { 0 },
                                      .samples = dy.samples,
                                      .threads = exec->graph->context->threads };
    dfi_conv_run(&job, index, dfi_worker(exec, worker));
}

/* The same, and what the batch norm before does first with the samples whose gradient is whole with it. */
static void finishing_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    data_piece(exec, number, index, worker);
    tell_norm(exec, number, DFI_CONV_BACKWARD_DATA, index, exec->plan.finished[number],
              dfi_batch_norm_gradient_written);
}

static void backward_data(struct dfi_exec *exec, int number)
{
    const struct state *state = dfi_state(exec, number);
    const int norm = exec->plan.finished[number];
    const int pieces = dfi_conv_pieces(&state->conv, DFI_CONV_BACKWARD_DATA, dfi_samples(exec, number));
    if (repacks(exec))
        dfi_node_parallel(exec, number, pack_backward_piece,
                          dfi_conv_pack_pieces(&state->conv, DFI_CONV_BACKWARD_DATA));
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    if (norm >= 0)
        count_writers(exec, number, DFI_CONV_BACKWARD_DATA, norm);
    dfi_node_parallel(exec, number, norm >= 0 ? finishing_piece : data_piece, pieces);
}

static void clear_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct state *state = dfi_state(exec, number);
    const size_t bytes = dfi_conv_dw_size(&state->conv) * exec->element;
    memset((char *)dfi_shared(exec) + bytes * (size_t)index, 0, bytes);
}

/* A cancelled run ends between pieces, so that none may take long: in a round, each lane adds so many images.
 * An even number, since products of bfloat16 take them in pairs. */
#define PIECE_WORK 2e9 /* multiply-adds */

static int round_samples(const struct dfi_conv *conv)
{
    const double each = dfi_conv_work(conv, DFI_CONV_BACKWARD_WEIGHTS) / dfi_conv_dw_parts(conv);
    const double pairs = PIECE_WORK / (2 * each);
    return pairs < 1 ? 2 : pairs < INT_MAX / 2 ? 2 * (int)pairs : INT_MAX - 1;
}

static void weights_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct state *state = dfi_state(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    const struct dfi_images from = images(&x), to = images(&dy);
    const int parts = dfi_conv_dw_parts(&state->conv), lane = index / parts;
    const int first = dfi_lane_start(exec, dy.samples, lane) + state->added;
    const int left = dfi_lane_start(exec, dy.samples, lane + 1) - first, most = round_samples(&state->conv);
    void *sum = dfi_at(exec, dfi_shared(exec), (ptrdiff_t)(dfi_conv_dw_size(&state->conv) * (size_t)lane));
    if (left > 0)
        dfi_conv_dw(&state->conv, &from, &to, first, first + (left < most ? left : most), sum, index % parts,
                    dfi_worker(exec, worker));
}

/* Images of the longest lane. */
static int longest_lane(const struct dfi_exec *exec, int samples)
{
    int longest = 0;
    for (int lane = 0; lane < dfi_lanes(exec); lane++) {
        const int held = dfi_lane_start(exec, samples, lane + 1) - dfi_lane_start(exec, samples, lane);
        longest = held > longest ? held : longest;
    }
    return longest;
}

static void sum_lanes(struct dfi_exec *exec, int number)
{
    struct state *state = dfi_state(exec, number);
    const int longest = longest_lane(exec, dfi_samples(exec, number)), most = round_samples(&state->conv);
    dfi_node_parallel(exec, number, clear_piece, dfi_lanes(exec));
    for (state->added = 0; state->added < longest; state->added += most)
        dfi_node_parallel(exec, number, weights_piece, dfi_lanes(exec) * dfi_conv_dw_parts(&state->conv));
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
    dy.kernels->moments(dfi_sample(&dy, index), dy.ld, (size_t)dy.h * (size_t)dy.w, dy.c, row, NULL);
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
    sum_lanes(exec, number);
    dfi_lane_tree(exec, dfi_shared(exec), lane);
    dfi_conv_dw_reduce(&state->conv, dfi_shared(exec), lane, 1, dfi_param_gradient(exec, node, 0),
                       exec->accumulate);
    backward_bias(exec, number);
    if (state->trains)
        backward_data(exec, number);
}

#define FLAGS (DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT | DFI_BF16_IN | DFI_BF16_OUT)
const struct dfi_node_kind dfi_kind_conv2d = { "conv2d", FLAGS, need, refresh, forward, backward };
const struct dfi_node_kind dfi_kind_conv_transpose2d = {
    "conv_transpose2d", FLAGS, need, refresh, forward, backward
};
