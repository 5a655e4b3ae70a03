/* Kernels: convolutions through kernel/conv.h (packing of the image included), matrix products, passes over
 * pixels. */

#include <diffc/tensor.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "kernel/conv.h"
#include "kernel/gemm.h"
#include "kernel/gemm_wide.h"

#define BATCH 64
#define LANES 8

struct conv_case {
    const char *name;
    int transposed, size, cin, cout, kernel, stride, padding;
};

struct conv_run {
    struct diffc_context *context;
    struct dfi_conv conv;
    enum dfi_conv_pass pass;
    const float *packed, *bias;
    float *in, *out, *lanes, *gradient;
    char *scratch;
    size_t scratch_bytes, lane_size;
    ptrdiff_t in_image, out_image;
};

static struct dfi_images images(float *data, int channels, ptrdiff_t stride)
{
    return (struct dfi_images) { data, channels, stride, BATCH };
}

static void conv_piece(void *work, int index, int worker)
{
    const struct conv_run *run = work;
    const struct dfi_conv *conv = &run->conv;
    const struct dfi_images in = images(run->in, conv->cin, run->in_image);
    const struct dfi_images out = images(run->out, conv->cout, run->out_image);
    const int forward = run->pass == DFI_CONV_FORWARD;
    const struct dfi_conv_job job = { .conv = conv,
                                      .pass = run->pass,
                                      .packed = run->packed,
                                      .x = forward ? in : out,
                                      .y = forward ? out : in,
                                      .samples = BATCH,
                                      .threads = run->context->threads };
    dfi_conv_run(&job, index, run->scratch + (size_t)worker * run->scratch_bytes);
}

static void run_conv(void *argument)
{
    struct conv_run *run = argument;
    dfi_parallel(run->context, conv_piece, run, dfi_conv_pieces(&run->conv, run->pass, BATCH));
}

static void weights_piece(void *work, int index, int worker)
{
    const struct conv_run *run = work;
    const struct dfi_images in = images(run->in, run->conv.cin, run->in_image);
    const struct dfi_images out = images(run->out, run->conv.cout, run->out_image);
    const int parts = dfi_conv_dw_parts(&run->conv), lane = index / parts;
    dfi_conv_dw(&run->conv, &in, &out, lane * BATCH / LANES, (lane + 1) * BATCH / LANES,
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

static void pack_weights(struct conv_run *run, float *weights)
{
    float *packed = bench_memory(dfi_conv_packed(&run->conv, run->pass) * sizeof(float));
    for (int piece = 0; piece < dfi_conv_pack_pieces(&run->conv, run->pass); piece++)
        dfi_conv_pack(&run->conv, run->pass, weights, packed, piece, run->scratch);
    run->packed = packed;
}

static void bench_algorithm(struct bench *bench, const struct conv_case *c, const char *name,
                            const struct conv_run *what)
{
    struct conv_run run = *what;
    const struct dfi_conv *conv = &run.conv;
    const size_t weights = (size_t)c->cin * (size_t)c->cout * (size_t)(c->kernel * c->kernel);
    struct bench_row row = { .name = name, .algorithm = dfi_conv_algorithm_name(conv, run.pass) };
    run.in_image = (ptrdiff_t)conv->in_h * conv->in_w * conv->cin;
    run.out_image = (ptrdiff_t)conv->out_h * conv->out_w * conv->cout;
    run.in = bench_memory((size_t)run.in_image * BATCH * sizeof(float));
    run.out = bench_memory((size_t)run.out_image * BATCH * sizeof(float));
    run.scratch_bytes = (dfi_conv_scratch(conv, run.pass) + 63) / 64 * 64;
    run.scratch = bench_memory(run.scratch_bytes * (size_t)bench->threads + 64);
    row.gflop = 2e-9 * BATCH * dfi_conv_work(conv, run.pass);
    snprintf(row.shape, sizeof(row.shape), "%dx%d %d->%d batch %d", c->size, c->size, c->cin, c->cout, BATCH);
    if (run.pass == DFI_CONV_BACKWARD_WEIGHTS) {
        run.lane_size = dfi_conv_dw_size(conv);
        run.lanes = bench_memory(LANES * run.lane_size * sizeof(float));
        run.gradient = bench_memory(weights * sizeof(float));
        bench_measure(bench, &row, run_weights, &run);
    } else {
        pack_weights(&run, bench_memory(weights * sizeof(float)));
        bench_measure(bench, &row, run_conv, &run);
    }
}

/* Direct, and every other algorithm that some numerics choose. */
static void bench_conv(struct bench *bench, const struct conv_case *c, enum dfi_conv_pass pass)
{
    static const char *const suffix[] = { "forward", "backward_data", "backward_weights" };
    char name[64];
    unsigned seen = 0;
    snprintf(name, sizeof(name), "%s_%s", c->name, suffix[pass]);
    if (!bench_wants(bench, name))
        return;
    for (int numerics = -1; numerics <= DFI_NUMERICS_FAST; numerics++) {
        struct conv_run run = { .context = bench->context,
                                .pass = pass,
                                .conv = {
                                    .transposed = c->transposed,
                                    .cin = c->cin,
                                    .cout = c->cout,
                                    .kernel = c->kernel,
                                    .stride = c->stride,
                                    .padding = c->padding,
                                    .in_h = c->size,
                                    .in_w = c->size,
                                    .dtype = DIFFC_F32,
                                    .numerics = numerics < 0 ? 0 : (enum dfi_numerics)numerics,
                                    .kernels = dfi_kernels_get(bench->context->cpu_flags, DIFFC_F32) } };
        dfi_conv_init(&run.conv);
        if (numerics < 0)
            run.conv.tile[pass] = 0;
        if (!(seen >> run.conv.tile[pass] & 1))
            bench_algorithm(bench, c, name, &run);
        seen |= 1u << run.conv.tile[pass];
    }
}

static void bench_convolutions(struct bench *bench)
{
    static const struct conv_case cases[] = {
        { "conv3x3", 0, 28, 64, 64, 3, 1, 1 },           { "conv3x3", 0, 28, 128, 64, 3, 1, 1 },
        { "conv3x3", 0, 14, 64, 64, 3, 1, 1 },           { "conv3x3", 0, 14, 128, 128, 3, 1, 1 },
        { "conv3x3", 0, 7, 128, 128, 3, 1, 1 },          { "conv3x3_stride2", 0, 28, 64, 64, 3, 2, 1 },
        { "conv3x3_stride2", 0, 14, 64, 128, 3, 2, 1 },  { "conv1x1", 0, 14, 128, 128, 1, 1, 0 },
        { "conv3x3_one_in", 0, 28, 1, 64, 3, 1, 1 },     { "conv3x3_one_out", 0, 28, 64, 1, 3, 1, 1 },
        { "conv_transpose4x4", 1, 7, 256, 64, 4, 2, 1 }, { "conv_transpose4x4", 1, 14, 128, 64, 4, 2, 1 },
    };
    for (int i = 0; i < DFI_COUNT(cases); i++)
        for (int pass = DFI_CONV_FORWARD; pass <= DFI_CONV_BACKWARD_WEIGHTS; pass++)
            bench_conv(bench, &cases[i], (enum dfi_conv_pass)pass);
}

struct gemm_run {
    struct diffc_context *context;
    struct dfi_gemm gemm;
};

static void gemm_piece(void *work, int index, int worker)
{
    const struct gemm_run *run = work;
    (void)index;
    (void)worker;
    dfi_gemm(run->context->cpu_flags, DIFFC_F32, &run->gemm);
}

static void run_gemm(void *argument)
{
    gemm_piece(argument, 0, 0);
}

static void bench_gemm(struct bench *bench)
{
    if (bench->threads != 1 || !bench_wants(bench, "gemm"))
        return; /* a product runs on one thread */
    const size_t n = 768;
    float *a = bench_memory(n * n * sizeof(float)), *b = bench_memory(n * n * sizeof(float));
    struct gemm_run run = { bench->context,
                            { n, n, n, a, (ptrdiff_t)n, 1, b, (ptrdiff_t)n, 1,
                              bench_memory(n * n * sizeof(float)), (ptrdiff_t)n, 1, 0 } };
    struct bench_row row = { .name = "gemm", .algorithm = diffc_context_kernel_set(bench->context) };
    row.gflop = 2e-9 * (double)(n * n * n);
    snprintf(row.shape, sizeof(row.shape), "%zux%zux%zu", n, n, n);
    bench_measure(bench, &row, run_gemm, &run);
}

/* A linear layer with weights as a file has them. */
struct wide_run {
    struct diffc_context *context;
    struct dfi_wide wide;
    const float *x;
    float *packed, *scratch;
};

static void wide_pack_piece(void *work, int panel, int worker)
{
    const struct wide_run *run = work;
    (void)worker;
    dfi_wide_pack(run->context->cpu_flags, run->wide.dots, run->x, (ptrdiff_t)run->wide.k, run->wide.m,
                  run->wide.k, (size_t)panel, run->packed);
}

static void wide_band_piece(void *work, int band, int worker)
{
    const struct wide_run *run = work;
    dfi_wide_band(run->context->cpu_flags, &run->wide, (size_t)band,
                  run->scratch + (size_t)worker * DFI_WIDE_SCRATCH);
}

static void run_wide(void *argument)
{
    struct wide_run *run = argument;
    const int panel = dfi_wide_panel(run->context->cpu_flags, run->wide.m);
    dfi_parallel(run->context, wide_pack_piece, run, ((int)run->wide.m + panel - 1) / panel);
    dfi_parallel(run->context, wide_band_piece, run, (int)dfi_wide_bands(run->wide.n));
}

static void bench_wide(struct bench *bench)
{
    static const size_t cases[][3] = {
        { 2048, 384, 384 }, { 2048, 768, 768 }, { 128, 768, 768 }, { 77, 4096, 4096 }
    };
    for (int i = 0; i < DFI_COUNT(cases) && bench_wants(bench, "linear_f16"); i++) {
        const size_t m = cases[i][0], n = cases[i][1], k = cases[i][2];
        struct wide_run run = {
            .context = bench->context,
            .x = bench_memory(m * k * sizeof(float)),
            .packed = bench_memory(dfi_wide_packed(bench->context->cpu_flags, m, k) * sizeof(float)),
            .scratch = bench_memory((size_t)bench->threads * DFI_WIDE_SCRATCH * sizeof(float)),
        };
        run.wide = (struct dfi_wide) { .m = m,
                                       .n = n,
                                       .k = k,
                                       .a_packed = run.packed,
                                       .w = bench_memory(n * k * 2),
                                       .w_dtype = DIFFC_F16,
                                       .w_ld = (ptrdiff_t)k,
                                       .c = bench_memory(m * n * sizeof(float)),
                                       .c_ld = (ptrdiff_t)n,
                                       .bias = bench_memory(n * sizeof(float)) };
        memset((void *)(uintptr_t)run.wide.w, 0x3c, n * k * 2);
        struct bench_row row = { .name = "linear_f16", .dtype = "f16", .gflop = 2e-9 * (double)(m * n * k) };
        snprintf(row.shape, sizeof(row.shape), "%zux%zux%zu", m, n, k);
        bench_measure(bench, &row, run_wide, &run);
    }
}

/* Passes over pixels, 64 channels of 28 x 28, an image a piece. */
struct pass_run {
    struct diffc_context *context;
    const struct dfi_kernels *kernels;
    const char *name;
    float *x, *y, *z, *scale;
    double *sums;
};

#define PIXELS 784
#define CHANNELS 64

static void pass_piece(void *work, int n, int worker)
{
    const struct pass_run *run = work;
    const struct dfi_kernels *k = run->kernels;
    float *x = run->x + (size_t)n * PIXELS * CHANNELS, *y = run->y + (size_t)n * PIXELS * CHANNELS;
    float *z = run->z + (size_t)n * PIXELS * CHANNELS;
    double *sums = run->sums + (size_t)worker * 2 * CHANNELS;
    if (strcmp(run->name, "moments") == 0)
        k->moments(x, CHANNELS, PIXELS, CHANNELS, sums, sums + CHANNELS);
    else if (strcmp(run->name, "affine_gelu") == 0)
        k->affine_act(x, CHANNELS, y, CHANNELS, PIXELS, CHANNELS, run->scale, run->scale, DFI_ACT_GELU);
    else if (strcmp(run->name, "affine_gelu_backward") == 0)
        k->affine_act_backward(x, CHANNELS, y, CHANNELS, z, CHANNELS, PIXELS, CHANNELS, run->scale,
                               run->scale, DFI_ACT_GELU, sums, sums + CHANNELS);
    else
        k->affine2(y, CHANNELS, x, CHANNELS, z, CHANNELS, PIXELS, CHANNELS, run->scale, run->scale,
                   run->scale, 0);
}

static void run_pass(void *argument)
{
    struct pass_run *run = argument;
    dfi_parallel(run->context, pass_piece, run, BATCH);
}

static void bench_passes(struct bench *bench)
{
    static const struct {
        const char *name;
        int streams;
    } cases[] = { { "moments", 1 }, { "affine_gelu", 2 }, { "affine_gelu_backward", 3 }, { "affine2", 3 } };
    const size_t bytes = (size_t)BATCH * PIXELS * CHANNELS * sizeof(float);
    struct pass_run run = { .context = bench->context,
                            .kernels = dfi_kernels_get(bench->context->cpu_flags, DIFFC_F32) };
    for (int i = 0; i < DFI_COUNT(cases); i++) {
        if (!bench_wants(bench, cases[i].name))
            continue;
        if (!run.x) {
            run.x = bench_memory(bytes);
            run.y = bench_memory(bytes);
            run.z = bench_memory(bytes);
            run.scale = bench_memory(CHANNELS * sizeof(float));
            run.sums = bench_memory((size_t)bench->threads * 2 * CHANNELS * sizeof(double));
        }
        struct bench_row row = { .name = cases[i].name,
                                 .gigabytes = 1e-9 * cases[i].streams * (double)bytes };
        snprintf(row.shape, sizeof(row.shape), "28x28 %d batch %d", CHANNELS, BATCH);
        run.name = cases[i].name;
        bench_measure(bench, &row, run_pass, &run);
    }
}

void bench_kernels(struct bench *bench)
{
    bench_convolutions(bench);
    bench_gemm(bench);
    bench_wide(bench);
    bench_passes(bench);
}
