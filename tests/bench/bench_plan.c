/* What a training step of the course's UNet does, node by node. */

#include <diffc/diffc.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "model/model.h"
#include "nn/node.h"

#define STEPS 4 /* the best of them counts */

struct times {
    double forward, backward;
};

static double time_call(void (*call)(struct dfi_exec *exec, int number), struct dfi_exec *exec, int number,
                        double best)
{
    const double start = bench_now();
    call(exec, number);
    const double seconds = bench_now() - start;
    return best > 0 && best < seconds ? best : seconds;
}

/* As dfi_exec_forward() and dfi_exec_backward(), with a clock. */
static void run_step(struct dfi_exec *exec, struct times *times)
{
    const int count = exec->graph->count;
    exec->batch_statistics = 1;
    for (int i = 0; i < count; i++)
        times[i].forward = time_call(exec->graph->nodes[i].kind->forward, exec, i, times[i].forward);
    for (int i = 0; i < count; i++)
        exec->written[i] = 0;
    exec->written[count - 1] = 1;
    for (int i = count - 1; i >= 0; i--) {
        const struct dfi_node *node = &exec->graph->nodes[i];
        if (node->gradient && exec->written[i] && node->kind->backward)
            times[i].backward = time_call(node->kind->backward, exec, i, times[i].backward);
    }
}

static void print_node(const struct bench *bench, const struct dfi_exec *exec, int number,
                       const struct times *times)
{
    const struct dfi_node *node = &exec->graph->nodes[number];
    const struct dfi_block value = dfi_exec_value(exec, number);
    const double megabytes = 1e-6 * (double)value.kernels->pixel * value.samples * node->c * node->h *
                             node->w;
    const int is_conv = node->kind == &dfi_kind_conv2d || node->kind == &dfi_kind_conv_transpose2d;
    char shape[48], work[96] = "";
    snprintf(shape, sizeof(shape), "%d x %d x %d", node->c, node->h, node->w);
    if (is_conv) {
        struct dfi_conv conv;
        double direct = 0, done = 0;
        dfi_exec_conv(exec, number, &conv);
        for (int pass = DFI_CONV_FORWARD; pass <= DFI_CONV_BACKWARD_WEIGHTS; pass++) {
            direct += 2e-9 * value.samples * dfi_conv_work(&conv, (enum dfi_conv_pass)pass);
            done += 2e-9 * value.samples * dfi_conv_work_done(&conv, (enum dfi_conv_pass)pass);
        }
        snprintf(work, sizeof(work), "%-13s %-13s %-13s %7.1f %7.1f %8.2f",
                 dfi_conv_algorithm_name(&conv, DFI_CONV_FORWARD),
                 dfi_conv_algorithm_name(&conv, DFI_CONV_BACKWARD_DATA),
                 dfi_conv_algorithm_name(&conv, DFI_CONV_BACKWARD_WEIGHTS), direct, done,
                 done / bench->roof[0] * 1e3);
    }
    printf("%-22s %-17s %-14s %7.1f %-67s %8.2f %8.2f\n", node->name, node->kind->name, shape, megabytes,
           work, times->forward * 1e3, times->backward * 1e3);
}

void bench_plan(struct bench *bench, int width, int batch, const char *numerics)
{
    struct dfi_exec_options how = { .batch = batch, .conditions = 1, .backward = 1 };
    struct dfi_exec *exec = NULL;
    diffc_model *model = bench_unet(bench, width);
    bench_check(dfi_numerics_find(numerics, &how.numerics));
    bench_check(dfi_precision_find(bench->precision, &how.precision));
    bench_check(dfi_exec_create(model->loss_graph, &model->params, &how, &exec));
    bench_see_roof(bench, 0, 5);
    struct times *times = calloc((size_t)model->loss_graph->count, sizeof(*times));
    double forward = 0, backward = 0;
    if (!times)
        exit(1);
    for (int step = 0; step < STEPS; step++)
        run_step(exec, times);
    printf("width %d, batch %d, numerics %s, %s, %d threads, roof %.1f GFLOP/s, plan %.1f MB\n", width, batch,
           dfi_numerics_name(how.numerics), bench->isa, bench->threads, bench->roof[0],
           1e-6 * (double)exec->plan.bytes);
    printf("%-22s %-17s %-14s %7s %-13s %-13s %-13s %7s %7s %8s %8s %8s\n", "node", "kind", "output", "MB",
           "forward", "data", "weights", "GFLOP", "done", "roof ms", "fwd ms", "bwd ms");
    for (int i = 0; i < model->loss_graph->count; i++) {
        print_node(bench, exec, i, &times[i]);
        forward += times[i].forward;
        backward += times[i].backward;
    }
    printf("forward %.1f ms, backward %.1f ms: %.1f images/s without optimizer and packing\n", forward * 1e3,
           backward * 1e3, batch / (forward + backward));
    free(times);
    dfi_exec_destroy(exec);
    diffc_release(&model);
}
