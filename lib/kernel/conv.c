#include "kernel/conv.h"

#include <stdio.h>

#include "kernel/conv_algorithm.h"

int dfi_conv_init(struct dfi_conv *conv)
{
    const int kernel = conv->kernel, stride = conv->stride, padding = conv->padding;
    if (conv->cin < 1 || conv->cout < 1 || kernel < 1 || kernel > DFI_CONV_MAX_KERNEL || stride < 1 ||
        padding < 0 || conv->in_h < 1 || conv->in_w < 1)
        return -1;
    const int spare_h = conv->in_h + 2 * padding - kernel, spare_w = conv->in_w + 2 * padding - kernel;
    if (conv->transposed) {
        conv->out_h = (conv->in_h - 1) * stride - 2 * padding + kernel;
        conv->out_w = (conv->in_w - 1) * stride - 2 * padding + kernel;
    } else {
        conv->out_h = spare_h < 0 ? 0 : spare_h / stride + 1;
        conv->out_w = spare_w < 0 ? 0 : spare_w / stride + 1;
    }
    if (conv->out_h < 1 || conv->out_w < 1)
        return -1;
    conv->in = conv->in ? conv->in : conv->kernels;
    conv->out = conv->out ? conv->out : conv->kernels;
    for (int pass = DFI_CONV_FORWARD; pass <= DFI_CONV_BACKWARD_WEIGHTS; pass++)
        dfi_conv_choose(conv, (enum dfi_conv_pass)pass);
    return 0;
}

static const struct dfi_conv_algorithm *algorithm_of(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    return conv->tile[pass] ? &dfi_conv_winograd : &dfi_conv_direct;
}

static const struct dfi_conv_dw_algorithm *dw_algorithm_of(const struct dfi_conv *conv)
{
    return conv->tile[DFI_CONV_BACKWARD_WEIGHTS] ? &dfi_conv_winograd_dw : &dfi_conv_direct_dw;
}

size_t dfi_conv_packed(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    return algorithm_of(conv, pass)->packed(conv, pass);
}

int dfi_conv_pack_pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    return algorithm_of(conv, pass)->pack_pieces(conv, pass);
}

void dfi_conv_pack(const struct dfi_conv *conv, enum dfi_conv_pass pass, const void *weights, void *packed,
                   int piece, void *scratch)
{
    algorithm_of(conv, pass)->pack(conv, pass, weights, packed, piece, scratch);
}

size_t dfi_conv_scratch(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    return pass == DFI_CONV_BACKWARD_WEIGHTS ? dw_algorithm_of(conv)->scratch(conv)
                                             : algorithm_of(conv, pass)->scratch(conv, pass);
}

size_t dfi_conv_shared(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples)
{
    const struct dfi_conv_algorithm *algorithm = algorithm_of(conv, pass);
    return conv->shares && algorithm->shared ? algorithm->shared(conv, pass, samples) : 0;
}

int dfi_conv_prepare_pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples)
{
    const struct dfi_conv_algorithm *algorithm = algorithm_of(conv, pass);
    return conv->shares && algorithm->shared ? algorithm->prepare_pieces(conv, pass, samples) : 0;
}

void dfi_conv_prepare(const struct dfi_conv_job *job, int piece)
{
    algorithm_of(job->conv, job->pass)->prepare(job, piece);
}

int dfi_conv_pieces(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples)
{
    return samples > 0 ? algorithm_of(conv, pass)->pieces(conv, pass, samples) : 0;
}

void dfi_conv_run(const struct dfi_conv_job *job, int piece, void *scratch)
{
    algorithm_of(job->conv, job->pass)->run(job, piece, scratch);
}

void dfi_conv_written(const struct dfi_conv *conv, enum dfi_conv_pass pass, int samples, int piece,
                      int *first, int *end)
{
    algorithm_of(conv, pass)->written(conv, pass, samples, piece, first, end);
}

size_t dfi_conv_dw_size(const struct dfi_conv *conv)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_gather(conv);
    return (size_t)(conv->kernel * conv->kernel) * (size_t)plan.src_c * (size_t)dfi_conv_dw_row(&plan);
}

int dfi_conv_dw_parts(const struct dfi_conv *conv)
{
    return dw_algorithm_of(conv)->parts(conv);
}

void dfi_conv_dw(const struct dfi_conv *conv, const struct dfi_images *x, const struct dfi_images *dy,
                 int first, int end, void *lane, int part, void *scratch)
{
    dw_algorithm_of(conv)->run(conv, x, dy, first, end, lane, part, scratch);
}

void dfi_conv_dw_reduce(const struct dfi_conv *conv, void *lanes, size_t lane_stride, int lane_count,
                        void *gradient, int accumulate)
{
    const struct dfi_conv_plan plan = dfi_conv_plan_gather(conv);
    if (lane_count > 1)
        conv->kernels->tree_sum(lanes, lane_stride, lane_count, lanes, dfi_conv_dw_size(conv), 0);
    conv->kernels->unpack_gradient(lanes, dfi_conv_dw_row(&plan), conv->kernel * conv->kernel, plan.src_c,
                                   plan.dst_c, gradient, accumulate);
}
