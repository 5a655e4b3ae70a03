/* Batch norm (Ioffe and Szegedy 2015) with the activation behind it in one pass: y = act(x * scale + shift),
 * scale = weight / sqrt(var + eps), shift = bias - mean * scale. */

#include <math.h>

#include "nn/node.h"

#define EPSILON 1e-5
#define MOMENTUM 0.1

struct state { /* arrays of c values each, in this order, doubles first */
    double *mean, *variance;
    void *scale, *shift, *a, *b, *d;
    atomic_int *writers; /* of each sample: pieces of the convolution that are still to write to it */
};

static struct state state_of(const struct dfi_exec *exec, int number)
{
    const ptrdiff_t c = dfi_node(exec, number)->c;
    struct state state;
    state.mean = dfi_state(exec, number);
    state.variance = state.mean + c;
    state.scale = state.variance + c;
    state.shift = dfi_at(exec, state.scale, c);
    state.a = dfi_at(exec, state.shift, c);
    state.b = dfi_at(exec, state.a, c);
    state.d = dfi_at(exec, state.b, c);
    state.writers = dfi_at(exec, state.d, c);
    return state;
}

static int need(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    out->state = (size_t)node->c * (2 * sizeof(double) + 5 * sizes->element);
    if (sizes->backward)
        out->state += (size_t)sizes->samples * sizeof(atomic_int);
    out->shared = ((size_t)sizes->samples + DFI_LANES + 1) * 2 * (size_t)node->c * sizeof(double);
    return DIFFC_OK;
}

static double pixel_count(const struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    return (double)dfi_whole_samples(exec, number) * node->h * node->w;
}

static void moments_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    double *row = (double *)dfi_shared(exec) + (size_t)index * 2 * (size_t)x.c;
    memset(row, 0, 2 * (size_t)x.c * sizeof(*row));
    x.kernels->moments(dfi_sample(&x, index), x.ld, (size_t)x.h * (size_t)x.w, x.c, row, row + x.c);
}

/* g = dy * act'(...), in place of dy, and its sums. */
static void inner_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct state state = state_of(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), dy = dfi_exec_gradient_of(exec, number);
    double *row = (double *)dfi_shared(exec) + (size_t)index * 2 * (size_t)x.c;
    void *g = dfi_sample(&dy, index);
    memset(row, 0, 2 * (size_t)x.c * sizeof(*row));
    x.kernels->affine_act_backward(dfi_sample(&x, index), x.ld, g, dy.ld, g, dy.ld, (size_t)x.h * (size_t)x.w,
                                   x.c, state.scale, state.shift, node->act, row, row + x.c);
}

atomic_int *dfi_batch_norm_writers(const struct dfi_exec *exec, int number)
{
    return state_of(exec, number).writers;
}

static int is_whole(const struct dfi_exec *exec, int number, int sample)
{
    return atomic_fetch_sub(&state_of(exec, number).writers[sample], 1) == 1;
}

void dfi_batch_norm_written(struct dfi_exec *exec, int number, int sample)
{
    if (is_whole(exec, number, sample))
        moments_piece(exec, number, sample, 0);
}

void dfi_batch_norm_gradient_written(struct dfi_exec *exec, int number, int sample)
{
    if (is_whole(exec, number, sample))
        inner_piece(exec, number, sample, 0);
}

/* Adds up the two rows of sums that every sample left in shared memory; returns [2][c]. */
static const double *sum_rows(struct dfi_exec *exec, int number)
{
    const size_t width = 2 * (size_t)dfi_node(exec, number)->c;
    const int samples = dfi_samples(exec, number);
    double *rows = dfi_shared(exec), *lanes = rows + (size_t)samples * width;
    dfi_lane_sum(exec, rows, samples, width, lanes);
    return lanes;
}

static void batch_statistics(struct dfi_exec *exec, int number, const struct state *state)
{
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    if (exec->plan.gathered[number] < 0)
        dfi_node_parallel(exec, number, moments_piece, x.samples);
    const double *sums = sum_rows(exec, number), count = pixel_count(exec, number);
    for (int i = 0; i < x.c; i++) {
        const double mean = sums[i] / count, variance = sums[x.c + i] / count - mean * mean;
        state->mean[i] = mean;
        state->variance[i] = variance > 0 ? variance : 0;
    }
}

static void running_statistics(const struct dfi_exec *exec, int number, const struct state *state)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_params *params = exec->params;
    for (int i = 0; i < node->c; i++) {
        state->mean[i] = dfi_get(exec, params->stats, params->stat_list[node->stat[0]].offset + (size_t)i);
        state->variance[i] = dfi_get(exec, params->stats,
                                     params->stat_list[node->stat[1]].offset + (size_t)i);
    }
}

static void forward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct state state = state_of(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    x.kernels->affine_act(dfi_sample(&x, index), x.ld, dfi_sample(&y, index), y.ld, (size_t)x.h * (size_t)x.w,
                          x.c, state.scale, state.shift, node->act);
}

static void find_affine(struct dfi_exec *exec, int number, const struct state *state, const void *input_bias)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const void *weight = dfi_param_value(exec, node, 0), *bias = dfi_param_value(exec, node, 1);
    for (int i = 0; i < node->c; i++) {
        const double scale = dfi_get(exec, weight, (size_t)i) / sqrt(state->variance[i] + EPSILON);
        const double before = input_bias ? dfi_get(exec, input_bias, (size_t)i) : 0;
        dfi_set(exec, state->scale, (size_t)i, scale);
        dfi_set(exec, state->shift, (size_t)i,
                dfi_get(exec, bias, (size_t)i) + (before - state->mean[i]) * scale);
    }
}

static void forward(struct dfi_exec *exec, int number)
{
    const struct state state = state_of(exec, number);
    if (exec->plan.fused[number] >= 0)
        return;
    if (exec->batch_statistics)
        batch_statistics(exec, number, &state);
    else
        running_statistics(exec, number, &state);
    find_affine(exec, number, &state, NULL);
    dfi_node_parallel(exec, number, forward_piece, dfi_samples(exec, number));
}

void dfi_batch_norm_affine(struct dfi_exec *exec, int number, const void *input_bias, const void **scale,
                           const void **shift)
{
    const struct state state = state_of(exec, number);
    running_statistics(exec, number, &state);
    find_affine(exec, number, &state, input_bias);
    *scale = state.scale;
    *shift = state.shift;
}

static void outer_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const int input = dfi_node(exec, number)->input[0];
    const struct state state = state_of(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, input), dy = dfi_exec_gradient_of(exec, number);
    const struct dfi_block dx = dfi_exec_gradient_of(exec, input);
    x.kernels->affine2(dfi_sample(&dy, index), dy.ld, dfi_sample(&x, index), x.ld, dfi_sample(&dx, index),
                       dx.ld, (size_t)x.h * (size_t)x.w, x.c, state.a, state.b, state.d,
                       dfi_gradient_adds(exec, input));
}

/* With n pixels, xh = (x - mean) / std: dweight = sum g xh, dbias = sum g,
 * dx = weight / std * (g - dbias / n - xh * dweight / n), written as a g + b x + d. */
static void backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct state state = state_of(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]);
    void *weight_gradient = dfi_param_gradient(exec, node, 0),
         *bias_gradient = dfi_param_gradient(exec, node, 1);
    const void *weight = dfi_param_value(exec, node, 0);

    const int behind = exec->plan.finished[number];
    if (behind < 0 || !exec->written[behind])
        dfi_node_parallel(exec, number, inner_piece, x.samples);
    const double *sums = sum_rows(exec, number), count = pixel_count(exec, number);
    for (int i = 0; i < x.c; i++) {
        const size_t at = (size_t)i;
        const double inverse = 1 / sqrt(state.variance[i] + EPSILON), mean = state.mean[i];
        const double dbias = sums[i], dweight = (sums[x.c + i] - mean * sums[i]) * inverse;
        const double a = dfi_get(exec, weight, at) * inverse, b = -a * inverse * dweight / count;
        dfi_param_gradient_put(exec, weight_gradient, at, dweight);
        dfi_param_gradient_put(exec, bias_gradient, at, dbias);
        dfi_set(exec, state.a, at, a);
        dfi_set(exec, state.b, at, b);
        dfi_set(exec, state.d, at, -a * dbias / count - b * mean);
    }
    if (dfi_wants_gradient(exec, node->input[0])) {
        dfi_gradient_begin(exec, node->input[0]);
        dfi_node_parallel(exec, number, outer_piece, x.samples);
    }
}

const struct dfi_node_kind dfi_kind_batch_norm = {
    "batch_norm", DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT | DFI_BF16_SAME, need, NULL, forward,
    backward
};

void dfi_exec_keep_statistics(struct dfi_exec *exec, struct dfi_params *params)
{
    for (int number = 0; number < exec->graph->count; number++) {
        const struct dfi_node *node = dfi_node(exec, number);
        if (node->kind != &dfi_kind_batch_norm)
            continue;
        const struct state state = state_of(exec, number);
        const double count = pixel_count(exec, number), unbiased = count > 1 ? count / (count - 1) : 1;
        for (int i = 0; i < node->c; i++) {
            const size_t mean = params->stat_list[node->stat[0]].offset + (size_t)i;
            const size_t variance = params->stat_list[node->stat[1]].offset + (size_t)i;
            dfi_set(exec, params->stats, mean,
                    (1 - MOMENTUM) * dfi_get(exec, params->stats, mean) + MOMENTUM * state.mean[i]);
            dfi_set(exec, params->stats, variance,
                    (1 - MOMENTUM) * dfi_get(exec, params->stats, variance) +
                        MOMENTUM * unbiased * state.variance[i]);
        }
    }
}
