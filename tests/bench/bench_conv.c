/* Convolutions through kernel/conv.h, packing of the images included, with pixels in float and in bfloat16.
 */

#include <diffc/tensor.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "kernel/conv.h"

#define LANES 8

struct conv_case {
    const char *name;
    int transposed, size, cin, cout, kernel, stride, padding;
};

struct conv_run {
    struct diffc_context *context;
    struct dfi_conv conv;
    enum dfi_conv_pass pass;
    int batch;
    void *in, *out;
    float *packed, *lanes, *gradient;
    char *scratch;
    size_t scratch_bytes, lane_size;
    ptrdiff_t in_image, out_image;
};

static struct dfi_images inputs(const struct conv_run *run)
{
    return (struct dfi_images) { run->in, run->conv.cin, run->in_image, run->batch };
}

static struct dfi_images outputs(const struct conv_run *run)
{
    return (struct dfi_images) { run->out, run->conv.cout, run->out_image, run->batch };
}

static void conv_piece(void *work, int index, int worker)
{
    const struct conv_run *run = work;
    const struct dfi_conv *conv = &run->conv;
    const int forward = run->pass == DFI_CONV_FORWARD;
    const struct dfi_conv_job job = { .conv = conv,
                                      .pass = run->pass,
                                      .packed = run->packed,
                                      .x = forward ? inputs(run) : outputs(run),
                                      .y = forward ? outputs(run) : inputs(run),
                                      .samples = run->batch,
                                      .threads = run->context->threads };
    dfi_conv_run(&job, index, run->scratch + (size_t)worker * run->scratch_bytes);
}

static void run_conv(void *argument)
{
    struct conv_run *run = argument;
    dfi_parallel(run->context, conv_piece, run, dfi_conv_pieces(&run->conv, run->pass, run->batch));
}

static void weights_piece(void *work, int index, int worker)
{
    const struct conv_run *run = work;
    const struct dfi_images in = inputs(run), out = outputs(run);
    const int parts = dfi_conv_dw_parts(&run->conv), lane = index / parts;
    dfi_conv_dw(&run->conv, &in, &out, lane * run->batch / LANES, (lane + 1) * run->batch / LANES,
                run->lanes + (size_t)lane * run->lane_size, index % parts,
                run->scratch + (size_t)worker * run->scratch_bytes);
}

static void run_weights(void *argument)
{
    struct conv_run *run = argument;
    memset(run->lanes, 0, LANES * run->lane_size * sizeof(float));
    dfi_parallel(run->context, weights_piece, run, LANES * dfi_conv_dw_parts(&run->conv));
    dfi_conv_dw_reduce(&run->conv, run->lanes, run->lane_size, LANES, run->gradient, 0);
}

static void pack_weights(struct conv_run *run)
{
    const struct dfi_conv *conv = &run->conv;
    float *weights = bench_memory((size_t)(conv->cin * conv->cout * conv->kernel * conv->kernel) *
                                  sizeof(float));
    run->packed = bench_memory(dfi_conv_packed(conv, run->pass) * sizeof(float));
    for (int piece = 0; piece < dfi_conv_pack_pieces(conv, run->pass); piece++)
        dfi_conv_pack(conv, run->pass, weights, run->packed, piece, run->scratch);
    free(weights);
}

/* Random pixels. */
static void *pixels_of(const struct dfi_kernels *kernels, size_t count)
{
    float *values = bench_memory(count * sizeof(float));
    if (kernels->pixel == sizeof(float))
        return values;
    void *pixels = bench_memory(count * kernels->pixel);
    kernels->store_pixels(values, (ptrdiff_t)count, pixels, (ptrdiff_t)count, 1, (int)count);
    free(values);
    return pixels;
}

static void bench_algorithm(struct bench *bench, const struct conv_case *c, const char *name,
                            const struct conv_run *what)
{
    struct conv_run run = *what;
    const struct dfi_conv *conv = &run.conv;
    const size_t weights = (size_t)c->cin * (size_t)c->cout * (size_t)(c->kernel * c->kernel);
    struct bench_row row = { .name = name,
                             .algorithm = dfi_conv_algorithm_name(conv, run.pass),
                             .dtype = conv->rounds ? "bf16" : "f32",
                             .dots = conv->dots[run.pass] };
    run.in_image = (ptrdiff_t)conv->in_h * conv->in_w * conv->cin;
    run.out_image = (ptrdiff_t)conv->out_h * conv->out_w * conv->cout;
    run.in = pixels_of(conv->in, (size_t)run.in_image * (size_t)run.batch);
    run.out = pixels_of(conv->out, (size_t)run.out_image * (size_t)run.batch);
    run.scratch_bytes = (dfi_conv_scratch(conv, run.pass) + 63) / 64 * 64;
    run.scratch = bench_memory(run.scratch_bytes * (size_t)bench->threads + 64);
    row.gflop = 2e-9 * run.batch * dfi_conv_work(conv, run.pass);
    snprintf(row.shape, sizeof(row.shape), "%dx%d %d->%d batch %d", c->size, c->size, c->cin, c->cout,
             run.batch);
    if (run.pass == DFI_CONV_BACKWARD_WEIGHTS) {
        run.lane_size = dfi_conv_dw_size(conv);
        run.lanes = bench_memory(LANES * run.lane_size * sizeof(float));
        run.gradient = bench_memory(weights * sizeof(float));
        bench_measure(bench, &row, run_weights, &run);
    } else {
        pack_weights(&run);
        bench_measure(bench, &row, run_conv, &run);
    }
    free(run.in);
    free(run.out);
    free(run.scratch);
    free(run.packed);
    free(run.lanes);
    free(run.gradient);
}

/* Direct, and every other algorithm that some numerics choose, with pixels of one type. */
static void bench_conv(struct bench *bench, const struct conv_case *c, const char *name,
                       enum dfi_conv_pass pass, int narrow)
{
    const struct dfi_kernels *kernels = dfi_kernels_get(bench->context->cpu_flags, DIFFC_F32);
    unsigned seen = 0;
    for (int numerics = -1; numerics <= DFI_NUMERICS_FAST; numerics++) {
        struct conv_run run = { .context = bench->context,
                                .pass = pass,
                                .batch = bench->batch ? bench->batch : 64,
                                .conv = { .transposed = c->transposed,
                                          .cin = c->cin,
                                          .cout = c->cout,
                                          .kernel = c->kernel,
                                          .stride = c->stride,
                                          .padding = c->padding,
                                          .in_h = c->size,
                                          .in_w = c->size,
                                          .dtype = DIFFC_F32,
                                          .numerics = numerics < 0 ? 0 : (enum dfi_numerics)numerics,
                                          .kernels = kernels,
                                          .in = narrow ? kernels->bf16 : kernels,
                                          .out = narrow ? kernels->bf16 : kernels,
                                          .rounds = narrow } };
        dfi_conv_init(&run.conv);
        if (numerics < 0)
            run.conv.tile[pass] = 0;
        if (!(seen >> run.conv.tile[pass] & 1))
            bench_algorithm(bench, c, name, &run);
        seen |= 1u << run.conv.tile[pass];
    }
}

void bench_convolutions(struct bench *bench)
{
    static const char *const suffix[] = { "forward", "backward_data", "backward_weights" };
    static const struct conv_case cases[] = {
        { "conv3x3", 0, 28, 64, 64, 3, 1, 1 },           { "conv3x3", 0, 28, 128, 64, 3, 1, 1 },
        { "conv3x3", 0, 14, 64, 64, 3, 1, 1 },           { "conv3x3", 0, 14, 128, 128, 3, 1, 1 },
        { "conv3x3", 0, 7, 128, 128, 3, 1, 1 },          { "conv3x3_stride2", 0, 28, 64, 64, 3, 2, 1 },
        { "conv3x3_stride2", 0, 14, 64, 128, 3, 2, 1 },  { "conv1x1", 0, 14, 128, 128, 1, 1, 0 },
        { "conv3x3_one_in", 0, 28, 1, 64, 3, 1, 1 },     { "conv3x3_one_out", 0, 28, 64, 1, 3, 1, 1 },
        { "conv_transpose4x4", 1, 7, 256, 64, 4, 2, 1 }, { "conv_transpose4x4", 1, 14, 128, 64, 4, 2, 1 },
    };
    for (int i = 0; i < DFI_COUNT(cases); i++)
        for (int pass = DFI_CONV_FORWARD; pass <= DFI_CONV_BACKWARD_WEIGHTS; pass++) {
            char name[64];
            snprintf(name, sizeof(name), "%s_%s", cases[i].name, suffix[pass]);
            for (int narrow = 0; narrow < 2 && bench_wants(bench, name); narrow++)
                bench_conv(bench, &cases[i], name, (enum dfi_conv_pass)pass, narrow);
        }
}
