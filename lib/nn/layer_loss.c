/* Losses: means over the batch, per-sample sums added in lanes. */

#include "nn/node.h"

static int need(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    (void)node;
    out->shared = ((size_t)sizes->samples + DFI_LANES + 1) * sizeof(double);
    return DIFFC_OK;
}

static size_t values_of(const struct dfi_block *block)
{
    return (size_t)block->c * (size_t)block->h * (size_t)block->w;
}

static void finish_loss(struct dfi_exec *exec, int number, double count)
{
    const int samples = dfi_samples(exec, number);
    double *rows = dfi_shared(exec), *lanes = rows + samples;
    dfi_lane_sum(exec, rows, samples, 1, lanes);
    exec->loss = lanes[0] / count;
    dfi_set(exec, dfi_exec_value(exec, number).data, 0, exec->loss);
}

/* Mean squared error. */

static double mse_sample(const struct dfi_exec *exec, int number, int n, void *gradient, double scale)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block y = dfi_exec_value(exec, node->input[0]),
                           target = dfi_exec_value(exec, node->input[1]);
    return exec->kernels->squared_error(dfi_sample(&y, n), dfi_sample(&target, n), gradient, scale,
                                        values_of(&y));
}

static void mse_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    ((double *)dfi_shared(exec))[index] = mse_sample(exec, number, index, NULL, 0);
}

static double mse_count(const struct dfi_exec *exec, int number)
{
    const struct dfi_block y = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    return (double)dfi_whole_samples(exec, number) * (double)values_of(&y);
}

static void mse_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, mse_piece, dfi_samples(exec, number));
    finish_loss(exec, number, mse_count(exec, number));
}

static void mse_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_block dy = dfi_exec_gradient_of(exec, dfi_node(exec, number)->input[0]);
    mse_sample(exec, number, index, dfi_sample(&dy, index), 2 / mse_count(exec, number));
}

static void mse_backward(struct dfi_exec *exec, int number)
{
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    dfi_node_parallel(exec, number, mse_backward_piece, dfi_samples(exec, number));
}

const struct dfi_node_kind dfi_kind_mse_loss = { "mse_loss", DFI_SAVES_INPUT, need,
                                                 NULL,       mse_forward,     mse_backward };

/* Cross entropy against rows of probabilities. */

static double entropy_sample(const struct dfi_exec *exec, int number, int n, void *gradient, double scale)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block y = dfi_exec_value(exec, node->input[0]),
                           target = dfi_exec_value(exec, node->input[1]);
    return exec->kernels->cross_entropy(dfi_sample(&y, n), dfi_sample(&target, n), gradient, scale,
                                        (size_t)y.h * (size_t)y.w, y.c);
}

static void entropy_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    ((double *)dfi_shared(exec))[index] = entropy_sample(exec, number, index, NULL, 0);
}

static double entropy_count(const struct dfi_exec *exec, int number)
{
    const struct dfi_block y = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    return (double)dfi_whole_samples(exec, number) * y.h * y.w;
}

static void entropy_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, entropy_piece, dfi_samples(exec, number));
    finish_loss(exec, number, entropy_count(exec, number));
}

static void entropy_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_block dy = dfi_exec_gradient_of(exec, dfi_node(exec, number)->input[0]);
    entropy_sample(exec, number, index, dfi_sample(&dy, index), 1 / entropy_count(exec, number));
}

static void entropy_backward(struct dfi_exec *exec, int number)
{
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    dfi_node_parallel(exec, number, entropy_backward_piece, dfi_samples(exec, number));
}

const struct dfi_node_kind dfi_kind_cross_entropy_loss = { "cross_entropy_loss", DFI_SAVES_INPUT, need, NULL,
                                                           entropy_forward,      entropy_backward };
