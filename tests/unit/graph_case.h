#ifndef TESTS_GRAPH_CASE_H
#define TESTS_GRAPH_CASE_H

/* A graph with its parameters and a plan, filled with the same numbers on every machine. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/context.h"
#include "deterministic.h"
#include "nn/node.h"

struct net {
    struct diffc_context *context;
    struct dfi_params params;
    struct dfi_graph *graph;
    struct dfi_exec *exec;
};

static inline struct diffc_context *open_context(int threads, uint32_t cpu_mask)
{
    struct diffc_context *context = NULL;
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    options.threads = threads;
    options.cpu_mask = cpu_mask;
    assert_int_equal(diffc_context_create(&options, &context), DIFFC_OK);
    return context;
}

static inline void net_open(struct net *net, struct diffc_context *context, int dtype)
{
    memset(net, 0, sizeof(*net));
    net->context = context;
    dfi_params_init(&net->params, context, dtype);
    assert_int_equal(dfi_graph_create(context, &net->params, &net->graph), DIFFC_OK);
}

static inline void put(const struct net *net, void *array, size_t i, double value)
{
    if (net->params.dtype == DIFFC_F64)
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

static inline double get(const struct net *net, const void *array, size_t i)
{
    return net->params.dtype == DIFFC_F64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

/* Ends the building, draws the parameters and makes the plan. */
static inline void net_plan(struct net *net, const struct dfi_exec_options *options)
{
    uint64_t state = dt_seed("parameters");
    if (dfi_graph_finish(net->graph) < 0)
        fail_msg("%s", diffc_message());
    assert_int_equal(dfi_params_allocate(&net->params), DIFFC_OK);
    for (int p = 0; p < net->params.count; p++) {
        const struct dfi_param *param = &net->params.list[p];
        const double offset = param->init == DFI_INIT_ONE ? 0.7 : 0;
        for (size_t i = 0; i < param->count; i++)
            put(net, net->params.values, param->offset + i, offset + 0.6 * dt_next(&state));
    }
    for (size_t i = 0; i < net->params.stat_count; i++)
        put(net, net->params.stats, i, 1 + 0.5 * dt_next(&state));
    if (dfi_exec_create(net->graph, &net->params, options, &net->exec) < 0)
        fail_msg("%s", diffc_message());
}

static inline void net_close(struct net *net)
{
    dfi_exec_destroy(net->exec);
    dfi_graph_destroy(net->graph);
    dfi_params_clear(&net->params);
}

static inline size_t block_size(const struct dfi_block *block)
{
    return (size_t)block->samples * (size_t)block->sample_stride;
}

/* Every input of the graph, by its name: a sample has the same numbers in every batch, and its own ones under
 * each condition. */
static inline void net_write_inputs(const struct net *net, int first_sample, int first_condition)
{
    for (int v = 0; v < net->graph->count; v++) {
        if (net->graph->nodes[v].kind != &dfi_kind_input)
            continue;
        const struct dfi_block block = dfi_exec_value(net->exec, v);
        for (int n = 0; n < block.samples; n++) {
            const int sample = first_sample + n % net->exec->batch;
            const int condition = net->graph->nodes[v].conditional ? first_condition + n / net->exec->batch
                                                                   : 0;
            uint64_t state = dt_seed(net->graph->nodes[v].name) + (uint64_t)sample * 7919 +
                             (uint64_t)condition * 104729;
            for (ptrdiff_t i = 0; i < block.sample_stride; i++)
                put(net, block.data, (size_t)(n * block.sample_stride + i), dt_next(&state));
        }
    }
}

#endif
