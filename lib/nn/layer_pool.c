/* Pooling over windows that do not overlap. */

#include "nn/node.h"

static void avg_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    exec->kernels->avg_pool(dfi_sample(exec, &x, index), x.ld, dfi_sample(exec, &y, index), x.h, x.w, x.c,
                            node->kernel_h, node->kernel_w);
}

static void avg_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, avg_piece, dfi_samples(exec, number));
}

static void avg_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number),
                           dx = dfi_exec_gradient_of(exec, node->input[0]);
    exec->kernels->avg_pool_backward(dfi_sample(exec, &dy, index), dfi_sample(exec, &dx, index), dx.ld, dx.h,
                                     dx.w, dx.c, node->kernel_h, node->kernel_w,
                                     dfi_gradient_adds(exec, node->input[0]));
}

static void avg_backward(struct dfi_exec *exec, int number)
{
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    dfi_node_parallel(exec, number, avg_backward_piece, dfi_samples(exec, number));
}

const struct dfi_node_kind dfi_kind_avg_pool = { "avg_pool", DFI_STRIDED_IN, NULL,
                                                 NULL,       avg_forward,    avg_backward };

static void max_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    exec->kernels->max_pool(dfi_sample(exec, &x, index), x.ld, dfi_sample(exec, &y, index), x.h, x.w, x.c,
                            node->kernel_h);
}

static void max_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, max_piece, dfi_samples(exec, number));
}

static void max_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), dy = dfi_exec_gradient_of(exec, number);
    const struct dfi_block dx = dfi_exec_gradient_of(exec, node->input[0]);
    exec->kernels->max_pool_backward(dfi_sample(exec, &x, index), x.ld, dfi_sample(exec, &dy, index),
                                     dfi_sample(exec, &dx, index), dx.ld, x.h, x.w, x.c, node->kernel_h,
                                     dfi_gradient_adds(exec, node->input[0]));
}

static void max_backward(struct dfi_exec *exec, int number)
{
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    dfi_node_parallel(exec, number, max_backward_piece, dfi_samples(exec, number));
}

const struct dfi_node_kind dfi_kind_max_pool = { "max_pool",  DFI_SAVES_INPUT | DFI_STRIDED_IN,
                                                 NULL,        NULL,
                                                 max_forward, max_backward };
