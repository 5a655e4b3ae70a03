/* What the nodes of a graph do, and how long it takes. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "nn/node.h"

static double pixels_of(const struct dfi_exec *exec, int value)
{
    const struct dfi_node *node = dfi_node(exec, value);
    return (double)dfi_samples(exec, value) * node->h * node->w;
}

/* Attention by spans, whose keys are not in the graph, counts nothing. */
double bench_node_gflop(const struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_node *in = node->input_count ? dfi_node(exec, node->input[0]) : NULL;
    if (node->kind == &dfi_kind_conv2d || node->kind == &dfi_kind_conv_transpose2d) {
        struct dfi_conv conv;
        dfi_exec_conv(exec, number, &conv);
        return 2e-9 * dfi_samples(exec, number) * dfi_conv_work(&conv, DFI_CONV_FORWARD);
    }
    if (node->kind == &dfi_kind_linear)
        return 2e-9 * pixels_of(exec, number) * in->c * node->c;
    if (node->kind == &dfi_kind_attention) {
        const struct dfi_node *key = dfi_node(exec, node->input[1]);
        const struct dfi_node *more = node->more_slot ? dfi_node(exec, node->input[node->more_slot]) : NULL;
        const double keys = node->span_slot ? 0 : key->h * key->w + (more ? more->h * more->w : 0);
        return 2e-9 * pixels_of(exec, number) * keys * (in->c + node->c);
    }
    return 0;
}

struct sum {
    char what[96];
    int nodes;
    double gflop, seconds;
};

/* Like nodes are one line: kind, algorithm, sizes. */
static void describe(const struct dfi_exec *exec, int number, char *text, size_t size)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_node *in = node->input_count ? dfi_node(exec, node->input[0]) : node;
    const char *algorithm = "";
    struct dfi_conv conv;
    if (node->kind == &dfi_kind_conv2d || node->kind == &dfi_kind_conv_transpose2d) {
        dfi_exec_conv(exec, number, &conv);
        algorithm = dfi_conv_algorithm_name(&conv, DFI_CONV_FORWARD);
    }
    snprintf(text, size, "%-12s %-13s %4d x %-4d %5d -> %-5d", node->kind->name, algorithm, node->h, node->w,
             in->c, node->c);
}

static struct sum *sum_of(struct sum *sums, int *count, const char *what)
{
    for (int i = 0; i < *count; i++)
        if (strcmp(sums[i].what, what) == 0)
            return &sums[i];
    snprintf(sums[*count].what, sizeof(sums[*count].what), "%s", what);
    return &sums[(*count)++];
}

static int by_seconds(const void *a, const void *b)
{
    const struct sum *x = a, *y = b;
    return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : 0;
}

#define RUNS 3 /* the best of them counts, node by node */

void bench_profile(struct bench *bench, struct dfi_exec *exec, const char *title)
{
    const int count = exec->graph->count;
    double *best = calloc((size_t)count, sizeof(*best));
    struct sum *sums = calloc((size_t)count, sizeof(*sums));
    int lines = 0;
    if (!best || !sums)
        exit(1);
    bench_see_roof(bench, 0, 5);
    for (int run = 0; run < RUNS; run++)
        for (int i = 0; i < count; i++) {
            const double start = bench_now();
            dfi_node(exec, i)->kind->forward(exec, i);
            const double seconds = bench_now() - start;
            best[i] = run == 0 || seconds < best[i] ? seconds : best[i];
        }
    struct sum all = { "all", 0, 0, 0 };
    for (int i = 0; i < count; i++) {
        char what[96];
        describe(exec, i, what, sizeof(what));
        struct sum *const into[2] = { sum_of(sums, &lines, what), &all };
        for (int k = 0; k < 2; k++) {
            into[k]->nodes++;
            into[k]->gflop += bench_node_gflop(exec, i);
            into[k]->seconds += best[i];
        }
    }
    qsort(sums, (size_t)lines, sizeof(*sums), by_seconds);
    printf("%s, numerics %s, %s, %d threads, roof %.1f GFLOP/s, plan %.1f MB\n", title,
           dfi_numerics_name(exec->options.numerics), bench->isa, bench->threads, bench->roof[0],
           1e-6 * (double)exec->plan.bytes);
    printf("%-55s %5s %8s %8s %7s\n", "kind, algorithm, output, channels", "nodes", "GFLOP", "ms", "roof");
    for (int i = -1; i < lines; i++) {
        const struct sum *sum = i < 0 ? &all : &sums[i];
        printf("%-55s %5d %8.1f %8.2f %7.2f\n", sum->what, sum->nodes, sum->gflop, sum->seconds * 1e3,
               sum->gflop / sum->seconds / bench->roof[0]);
    }
    free(best);
    free(sums);
}
