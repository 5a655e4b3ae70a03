/* Kernels: matrix products, passes over pixels. */

#include <diffc/tensor.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "kernel/gemm.h"
#include "kernel/gemm_wide.h"
#include "kernel/kernels.h"

#define BATCH 64

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
    bench_gemm(bench);
    bench_wide(bench);
    bench_passes(bench);
}
