/* Pooling over windows that do not overlap, and the way back up. */

#include "nn/build.h"

static void avg_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    x.kernels->avg_pool(dfi_sample(&x, index), x.ld, dfi_sample(&y, index), x.h, x.w, x.c, node->kernel_h,
                        node->kernel_w);
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
    dx.kernels->avg_pool_backward(dfi_sample(&dy, index), dfi_sample(&dx, index), dx.ld, dx.h, dx.w, dx.c,
                                  node->kernel_h, node->kernel_w, dfi_gradient_adds(exec, node->input[0]));
}

static void avg_backward(struct dfi_exec *exec, int number)
{
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    dfi_node_parallel(exec, number, avg_backward_piece, dfi_samples(exec, number));
}

const struct dfi_node_kind dfi_kind_avg_pool = { "avg_pool",  DFI_STRIDED_IN | DFI_BF16_IN,
                                                 NULL,        NULL,
                                                 avg_forward, avg_backward };

static void max_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    exec->kernels->max_pool(dfi_sample(&x, index), x.ld, dfi_sample(&y, index), x.h, x.w, x.c,
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
    exec->kernels->max_pool_backward(dfi_sample(&x, index), x.ld, dfi_sample(&dy, index),
                                     dfi_sample(&dx, index), dx.ld, x.h, x.w, x.c, node->kernel_h,
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

/* Nearest neighbour, twice the size: output rows and columns of each parity are copies of the input. */

static void *upsampled(const struct dfi_block *y, int n, int row, int parity)
{
    const ptrdiff_t pixel = ((ptrdiff_t)2 * row + parity / 2) * y->w + parity % 2;
    return dfi_pixel(y, dfi_sample(y, n), pixel * y->ld);
}

static void upsample_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    const struct dfi_block y = dfi_exec_value(exec, number);
    const int n = index / x.h, row = index % x.h;
    const void *from = dfi_pixel(&x, dfi_sample(&x, n), (ptrdiff_t)row * x.w * x.ld);
    for (int parity = 0; parity < 4; parity++)
        x.kernels->affine_act(from, x.ld, upsampled(&y, n, row, parity), 2 * y.ld, (size_t)x.w, x.c, NULL,
                              NULL, DFI_ACT_NONE);
}

static void upsample_forward(struct dfi_exec *exec, int number)
{
    const int rows = dfi_node(exec, dfi_node(exec, number)->input[0])->h;
    dfi_node_parallel(exec, number, upsample_piece, dfi_samples(exec, number) * rows);
}

static void upsample_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const int input = dfi_node(exec, number)->input[0];
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number), dx = dfi_exec_gradient_of(exec, input);
    const int n = index / dx.h, row = index % dx.h;
    void *to = dfi_pixel(&dx, dfi_sample(&dx, n), (ptrdiff_t)row * dx.w * dx.ld);
    for (int parity = 0; parity < 4; parity++)
        dx.kernels->affine2(upsampled(&dy, n, row, parity), 2 * dy.ld, NULL, 0, to, dx.ld, (size_t)dx.w, dx.c,
                            exec->block + exec->plan.ones_offset, NULL, NULL,
                            parity > 0 || dfi_gradient_adds(exec, input));
}

static void upsample_backward(struct dfi_exec *exec, int number)
{
    const int input = dfi_node(exec, number)->input[0];
    dfi_gradient_begin(exec, input);
    dfi_node_parallel(exec, number, upsample_backward_piece,
                      dfi_samples(exec, number) * dfi_node(exec, input)->h);
}

const struct dfi_node_kind dfi_kind_upsample = {
    "upsample",       DFI_STRIDED_IN | DFI_STRIDED_OUT | DFI_BF16_SAME, NULL, NULL, upsample_forward,
    upsample_backward
};

int dfi_upsample(struct dfi_graph *graph, int x)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_upsample, "", 1, &x);
    if (!node)
        return -1;
    if (node->h > INT32_MAX / 2 || node->w > INT32_MAX / 2)
        return dfi_build_fail(graph, node, "too large to be doubled");
    node->h *= 2;
    node->w *= 2;
    return dfi_build_close(graph, node);
}
