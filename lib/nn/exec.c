#include "nn/exec.h"

#include <string.h>

#include "base/float_mode.h"
#include "nn/node.h"

#define MAX_SAMPLES (1 << 24) /* of parts: their numbers are values of a graph, and exact in float */

static int check_options(const struct dfi_graph *graph, const struct dfi_exec_options *options)
{
    const struct diffc_context *context = graph->context;
    const int parts = options->parts ? options->parts : 1;
    if (options->precision != DFI_PRECISION_F32 && graph->params->dtype != DIFFC_F32)
        return dfi_fail(DIFFC_ERR_CONFIG, "precision is %s, which needs a model in float32",
                        dfi_precision_name(options->precision));
    if (options->batch < 1)
        return dfi_fail(DIFFC_ERR_ARG, "batch is %d, must be at least 1", options->batch);
    if (options->batch > context->limits.batch)
        return dfi_fail(DIFFC_ERR_LIMIT, "batch is %d, limits.batch is %lld", options->batch,
                        (long long)context->limits.batch);
    if (options->conditions < 1 || options->conditions > 64)
        return dfi_fail(DIFFC_ERR_ARG, "conditions is %d, must be 1 to 64", options->conditions);
    if ((int64_t)options->batch * parts * options->conditions > MAX_SAMPLES)
        return dfi_fail(DIFFC_ERR_LIMIT,
                        "batch is %d, of %d parts and %d conditions each, the most is %d in all",
                        options->batch, parts, options->conditions, MAX_SAMPLES);
    if (options->backward && options->conditions != 1)
        return dfi_fail(DIFFC_ERR_ARG, "conditions is %d, must be 1 in training", options->conditions);
    return DIFFC_OK;
}

int dfi_exec_bytes(const struct dfi_graph *graph, const struct dfi_exec_options *options, size_t *bytes)
{
    struct dfi_plan plan;
    DFI_TRY(check_options(graph, options));
    DFI_TRY(dfi_plan_make(graph, graph->params->dtype, options, &plan));
    *bytes = plan.bytes;
    dfi_plan_clear(graph->context, &plan);
    return DIFFC_OK;
}

int dfi_exec_create(const struct dfi_graph *graph, const struct dfi_params *params,
                    const struct dfi_exec_options *options, struct dfi_exec **exec)
{
    struct diffc_context *context = graph->context;
    DFI_TRY(check_options(graph, options));
    if (!params->values)
        return dfi_fail(DIFFC_ERR_STATE, "the model was opened without its weights");
    if (params->borrowed && options->backward)
        return dfi_fail(DIFFC_ERR_STATE, "weights that stay in their file cannot be trained");
    struct dfi_exec *made = dfi_calloc(context, 1, sizeof(*made));
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->context = context;
    made->params = params;
    made->options = *options;
    made->element = dfi_dtype_size(params->dtype);
    made->kernels = dfi_kernels_get(context->cpu_flags, params->dtype);

    int status = dfi_plan_make(graph, params->dtype, options, &made->plan);
    made->graph = &made->plan.graph;
    if (status == DIFFC_OK && made->plan.bytes > (size_t)context->limits.memory)
        status = dfi_fail(DIFFC_ERR_LIMIT, "the plan for batch %d takes %zu bytes, the memory limit is %lld",
                          options->batch, made->plan.bytes, (long long)context->limits.memory);
    if (status == DIFFC_OK) {
        made->written = dfi_calloc(context, (size_t)graph->count, 1);
        made->block = dfi_calloc(context, made->plan.bytes, 1);
        status = made->written && made->block ? DIFFC_OK : DIFFC_ERR_NOMEM;
    }
    if (status < 0) {
        dfi_exec_destroy(made);
        return status;
    }
    const size_t ones = (made->plan.shared_offset - made->plan.ones_offset) / made->element;
    for (size_t i = 0; i < ones; i++)
        dfi_set(made, made->block + made->plan.ones_offset, i, 1);
    dfi_exec_set_size(made, dfi_largest_batch(options), options->conditions);
    dfi_exec_refresh(made);
    *exec = made;
    return DIFFC_OK;
}

void dfi_exec_destroy(struct dfi_exec *exec)
{
    if (!exec)
        return;
    dfi_plan_clear(exec->context, &exec->plan);
    dfi_free(exec->context, exec->written);
    dfi_free(exec->context, exec->block);
    dfi_free(exec->context, exec);
}

void dfi_exec_refresh(struct dfi_exec *exec)
{
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 1);
    for (int i = 0; i < exec->graph->count; i++)
        if (dfi_node(exec, i)->kind->refresh)
            dfi_node(exec, i)->kind->refresh(exec, i);
    dfi_float_leave(&mode);
}

void dfi_exec_set_size(struct dfi_exec *exec, int batch, int conditions)
{
    exec->batch = exec->whole = batch;
    exec->first = 0;
    exec->conditions = conditions;
}

void dfi_exec_set_comm(struct dfi_exec *exec, struct dfi_comm *comm)
{
    exec->comm = comm;
}

int dfi_exec_share(struct dfi_exec *exec, int whole, int *first)
{
    const int64_t size = exec->comm ? exec->comm->size : 1, rank = exec->comm ? exec->comm->rank : 0;
    exec->whole = whole;
    exec->first = (int)(whole * rank / size);
    exec->batch = (int)(whole * (rank + 1) / size) - exec->first;
    exec->conditions = 1;
    *first = exec->first;
    return exec->batch;
}

static struct dfi_block block_at(const struct dfi_exec *exec, int value, const struct dfi_place *place)
{
    const struct dfi_node *node = dfi_node(exec, value), *root = dfi_node(exec, place->root);
    struct dfi_block block = { .kernels = exec->plan.narrow[value] ? exec->kernels->bf16 : exec->kernels,
                               .ld = root->c,
                               .sample_stride = (ptrdiff_t)root->c * root->h * root->w,
                               .samples = dfi_samples(exec, value),
                               .h = node->h,
                               .w = node->w,
                               .c = node->c };
    block.data = dfi_pixel(&block, exec->block + place->offset, place->channel);
    return block;
}

struct dfi_block dfi_exec_value(const struct dfi_exec *exec, int value)
{
    return block_at(exec, value, &exec->plan.value[value]);
}

struct dfi_block dfi_exec_gradient_of(const struct dfi_exec *exec, int value)
{
    return block_at(exec, value, &exec->plan.gradient[value]);
}

void dfi_exec_view(const struct dfi_exec *exec, int value, struct diffc_tensor *view)
{
    const struct dfi_block block = dfi_exec_value(exec, value);
    memset(view, 0, sizeof(*view));
    view->dtype = exec->params->dtype;
    view->ndim = 4;
    view->data = block.data;
    const int64_t shape[4] = { block.samples, block.c, block.h, block.w };
    const int64_t strides[4] = { block.sample_stride, 1, block.ld * block.w, block.ld };
    memcpy(view->shape, shape, sizeof(shape));
    memcpy(view->strides, strides, sizeof(strides));
}

static void begin_run(struct dfi_exec *exec)
{
    exec->status = DIFFC_OK;
    exec->agreed = 0;
}

/* Ranks end a run together. */
static int has_ended(const struct dfi_exec *exec)
{
    return exec->status < 0 && (!exec->comm || exec->agreed);
}

static int end_run(struct dfi_exec *exec)
{
    if (exec->comm && !exec->agreed)
        exec->status = dfi_comm_agree(exec->comm, exec->status);
    return exec->status;
}

int dfi_exec_forward(struct dfi_exec *exec, int batch_statistics)
{
    struct dfi_float_mode mode;
    exec->batch_statistics = batch_statistics;
    begin_run(exec);
    dfi_float_enter(&mode, 1);
    for (int i = 0; i < exec->graph->count && !has_ended(exec); i++)
        dfi_node(exec, i)->kind->forward(exec, i);
    dfi_float_leave(&mode);
    return end_run(exec);
}

int dfi_exec_backward(struct dfi_exec *exec, int accumulate)
{
    const int last = exec->graph->count - 1;
    struct dfi_float_mode mode;
    exec->accumulate = accumulate;
    memset(exec->written, 0, (size_t)exec->graph->count);
    exec->written[last] = 1;
    begin_run(exec);
    dfi_float_enter(&mode, 1);
    for (int i = last; i >= 0 && !has_ended(exec); i--) {
        const struct dfi_node *node = dfi_node(exec, i);
        if (node->gradient && exec->written[i] && node->kind->backward)
            node->kind->backward(exec, i);
    }
    dfi_float_leave(&mode);
    return end_run(exec);
}

void *dfi_exec_gradients(const struct dfi_exec *exec)
{
    return exec->block + exec->plan.gradients_offset;
}

double dfi_exec_loss(const struct dfi_exec *exec)
{
    return exec->loss;
}

struct node_job {
    struct dfi_exec *exec;
    int number;
    dfi_node_task task;
};

static void run_node_task(void *work, int index, int worker)
{
    const struct node_job *job = work;
    job->task(job->exec, job->number, index, worker);
}

void dfi_node_parallel(struct dfi_exec *exec, int number, dfi_node_task task, int count)
{
    struct node_job job = { exec, number, task };
    if (exec->status == DIFFC_OK)
        exec->status = dfi_parallel(exec->context, run_node_task, &job, count);
}

void dfi_node_parallel_whole(struct dfi_exec *exec, int number, dfi_node_task task, int count)
{
    struct node_job job = { exec, number, task };
    dfi_parallel_whole(exec->context, run_node_task, &job, count);
}

/* Over the ranks. A rank whose run was cancelled goes on to the next sum, where the others learn of it. */
void dfi_rank_sum(struct dfi_exec *exec, void *values, size_t n, size_t element)
{
    if (!exec->comm || exec->agreed)
        return;
    exec->status = dfi_comm_sum(exec->comm, values, n, element, exec->status);
    exec->agreed = exec->status < 0;
}

void dfi_lane_sum(struct dfi_exec *exec, const double *rows, int samples, size_t n, double *lanes)
{
    const int held = dfi_lanes(exec);
    memset(lanes, 0, (size_t)held * n * sizeof(*lanes));
    for (int lane = 0; lane < held; lane++)
        for (int s = dfi_lane_start(exec, samples, lane); s < dfi_lane_start(exec, samples, lane + 1); s++)
            for (size_t i = 0; i < n; i++)
                lanes[(size_t)lane * n + i] += rows[(size_t)s * n + i];
    for (int step = 1; step < held; step *= 2)
        for (int lane = 0; lane < held; lane += 2 * step)
            for (size_t i = 0; i < n; i++)
                lanes[(size_t)lane * n + i] += lanes[(size_t)(lane + step) * n + i];
    dfi_rank_sum(exec, lanes, n, sizeof(*lanes));
}

void dfi_lane_tree(struct dfi_exec *exec, void *lanes, size_t n)
{
    exec->kernels->tree_sum(lanes, n, dfi_lanes(exec), lanes, n, 0);
    dfi_rank_sum(exec, lanes, n, exec->element);
}
