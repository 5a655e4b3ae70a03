#ifndef DFI_NN_NODE_H
#define DFI_NN_NODE_H

#include <stdatomic.h>
#include <string.h>

#include "kernel/conv.h"
#include "nn/exec.h"
#include "nn/graph.h"

/* What a node kind tells the memory plan. */
enum {
    DFI_SAVES_INPUT = 1,  /* backward reads the inputs */
    DFI_SAVES_OUTPUT = 2, /* backward reads the output */
    DFI_STRIDED_IN = 4,   /* inputs (and their gradients) may be slices of wider pixels */
    DFI_STRIDED_OUT = 8,  /* so may the output */
    /* With DFI_PRECISION_BF16 */
    DFI_BF16_IN = 16,  /* the input may be in bfloat16, whatever the output is */
    DFI_BF16_OUT = 32, /* the output, whatever the input is */
    DFI_BF16_SAME = 64 /* inputs and output together (of a modulation: the first input) */
};

/* Bytes that a node asks for. */
struct dfi_need {
    size_t state;  /* of its own, for the life of the plan */
    size_t shared; /* while it runs, one block for all threads */
    size_t worker; /* while it runs, for each thread */
};

/* What sums are made of. */
struct dfi_arithmetic {
    const struct dfi_kernels *kernels;
    int dtype;
    enum dfi_numerics numerics;
    enum dfi_precision precision;
    enum dfi_tiling tiles;
    const unsigned char *narrow; /* [nodes] values that are stored in bfloat16 */
};

struct dfi_exec_sizes { /* what needs depend on */
    size_t element;
    int samples; /* of the node's output */
    int backward;
    int stream;
    struct dfi_arithmetic arithmetic;
};

struct dfi_node_kind {
    const char *name;
    unsigned flags;
    int (*need)(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *need); /* NULL: nothing */
    void (*refresh)(struct dfi_exec *exec,
                    int number); /* after a change of the weights; NULL: nothing to do */
    void (*forward)(struct dfi_exec *exec, int number);
    void (*backward)(struct dfi_exec *exec, int number); /* NULL: nothing flows through */
};

extern const struct dfi_node_kind dfi_kind_input, dfi_kind_conv2d, dfi_kind_conv_transpose2d,
    dfi_kind_unflatten, dfi_kind_batch_norm, dfi_kind_linear, dfi_kind_activation, dfi_kind_softmax,
    dfi_kind_avg_pool, dfi_kind_max_pool, dfi_kind_flatten, dfi_kind_add, dfi_kind_concat, dfi_kind_modulate,
    dfi_kind_mse_loss, dfi_kind_cross_entropy_loss, dfi_kind_group_norm, dfi_kind_layer_norm, dfi_kind_offset,
    dfi_kind_concat_tokens, dfi_kind_timestep, dfi_kind_upsample, dfi_kind_channels, dfi_kind_attention,
    dfi_kind_rms_norm, dfi_kind_gate, dfi_kind_embedding, dfi_kind_relative_bias;

/* The convolution that a node of a plan makes. */
void dfi_exec_conv(const struct dfi_exec *exec, int number, struct dfi_conv *conv);

/* The convolution that a node of such a kind makes, algorithms included; -1 if the window does not fit. */
int dfi_conv_describe(const struct dfi_graph *graph, const struct dfi_node *node,
                      const struct dfi_arithmetic *arithmetic, struct dfi_conv *conv);

/* For the convolution before a batch norm that is part of it: y = act(x * scale + shift), where x is the sum
 * without the convolution's bias, which shift takes in. */
void dfi_batch_norm_affine(struct dfi_exec *exec, int number, const void *input_bias, const void **scale,
                           const void **shift);

/* For the convolutions before and behind a batch norm in training, whose forward and backward passes go on
 * with its samples as soon as they are whole, while they are in the cache: how many pieces will write to each
 * sample, to be filled in before they run; and a piece's word that it has written to its input, or to its
 * gradient. */
atomic_int *dfi_batch_norm_writers(const struct dfi_exec *exec, int number);
void dfi_batch_norm_written(struct dfi_exec *exec, int number, int sample);
void dfi_batch_norm_gradient_written(struct dfi_exec *exec, int number, int sample);

/* Where a value or a gradient lies: elements from the start of a buffer of the plan. */
struct dfi_place {
    int root;      /* the value in whose buffer it lies; itself, or a concatenation; -1: has none */
    int channel;   /* first channel within a pixel of root */
    size_t offset; /* bytes from the start of the block, filled in for every value */
};

struct dfi_plan {
    struct dfi_graph graph; /* what is run: the caller's, or one with nodes of the plan's own */
    struct dfi_node *nodes;
    struct dfi_place *value, *gradient;
    int *fused;    /* of a convolution: the batch norm that it does as well; of that one: the convolution; -1:
                      neither */
    int *gathered; /* the same of one whose statistics the convolution gathers */
    int *finished; /* of a convolution: the batch norm before it whose gradient its backward pass ends; of
                      that one: the convolution; -1: neither */
    unsigned char *narrow; /* values that, with their gradients, are stored in bfloat16 */
    size_t *state_offset;
    size_t shared_offset, worker_offset, worker_size, gradients_offset, ones_offset;
    size_t bytes;
};

int dfi_plan_make(const struct dfi_graph *graph, int dtype, const struct dfi_exec_options *options,
                  struct dfi_plan *plan);
void dfi_plan_clear(struct diffc_context *context, struct dfi_plan *plan);

struct dfi_exec {
    struct diffc_context *context;
    const struct dfi_graph *graph;
    const struct dfi_params *params;
    struct dfi_exec_options options;
    struct dfi_comm *comm; /* NULL: alone */
    const struct dfi_kernels *kernels;
    size_t element; /* bytes */
    struct dfi_plan plan;
    char *block;
    unsigned char *written; /* [nodes] gradient of a value in this backward pass: 0 nothing yet, 1 by one
                               user, 2 by several */
    int batch, conditions;
    int whole, first; /* samples over all ranks, and the first one here */
    int batch_statistics;
    int accumulate; /* parameter gradients are added to */
    int status;     /* of the run: after a cancel no further grid is started */
    int agreed;     /* all ranks know of it */
    double loss;
};

/* Pointer arithmetic in elements. */
static inline void *dfi_at(const struct dfi_exec *exec, const void *base, ptrdiff_t elements)
{
    return (char *)(uintptr_t)base + elements * (ptrdiff_t)exec->element;
}

static inline const struct dfi_node *dfi_node(const struct dfi_exec *exec, int number)
{
    return &exec->graph->nodes[number];
}

static inline double dfi_get(const struct dfi_exec *exec, const void *array, size_t i)
{
    return exec->element == sizeof(double) ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

static inline void dfi_set(const struct dfi_exec *exec, void *array, size_t i, double value)
{
    if (exec->element == sizeof(double))
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

/* Samples that a plan has room for. */
static inline int dfi_largest_batch(const struct dfi_exec_options *options)
{
    return options->batch * (options->parts ? options->parts : 1);
}

/* Samples of a value in a run of the present size. */
static inline int dfi_samples(const struct dfi_exec *exec, int value)
{
    return exec->batch * (dfi_node(exec, value)->conditional ? exec->conditions : 1);
}

/* Elements of a value or gradient. */
static inline void *dfi_pixel(const struct dfi_block *block, const void *base, ptrdiff_t elements)
{
    return (char *)(uintptr_t)base + elements * (ptrdiff_t)block->kernels->pixel;
}

/* Sample n of a value as seen by a node with more samples: conditions repeat what does not depend on them. */
static inline void *dfi_sample(const struct dfi_block *block, int n)
{
    return dfi_pixel(block, block->data, (n % block->samples) * block->sample_stride);
}

static inline void *dfi_state(const struct dfi_exec *exec, int number)
{
    return exec->block + exec->plan.state_offset[number];
}
static inline void *dfi_shared(const struct dfi_exec *exec)
{
    return exec->block + exec->plan.shared_offset;
}
static inline void *dfi_worker(const struct dfi_exec *exec, int worker)
{
    return exec->block + exec->plan.worker_offset + (size_t)worker * exec->plan.worker_size;
}

/* Weights and gradients of a node's parameter slot (0 weight, 1 bias). */
static inline const void *dfi_param_value(const struct dfi_exec *exec, const struct dfi_node *node, int slot)
{
    const struct dfi_param *param = &exec->graph->params->list[node->param[slot]];
    return param->stored ? param->stored : dfi_at(exec, exec->params->values, (ptrdiff_t)param->offset);
}
/* The dtype of that: the plan's, or, of parameters that widen, the one of the file. */
static inline int dfi_param_dtype(const struct dfi_exec *exec, const struct dfi_node *node, int slot)
{
    const struct dfi_param *param = &exec->graph->params->list[node->param[slot]];
    return param->stored ? param->stored_dtype : exec->params->dtype;
}
static inline void *dfi_param_gradient(const struct dfi_exec *exec, const struct dfi_node *node, int slot)
{
    return dfi_at(exec, exec->block + exec->plan.gradients_offset,
                  (ptrdiff_t)exec->graph->params->list[node->param[slot]].offset);
}
/* Stores or adds one element of a parameter's gradient. */
static inline void dfi_param_gradient_put(const struct dfi_exec *exec, void *gradient, size_t i, double value)
{
    dfi_set(exec, gradient, i, exec->accumulate ? dfi_get(exec, gradient, i) + value : value);
}

/* For backward functions: whether a value wants a gradient; then begin before the pieces run, and in the
 * pieces whether the gradient must be added to what an earlier user of the value has written. */
static inline int dfi_wants_gradient(const struct dfi_exec *exec, int value)
{
    return dfi_node(exec, value)->gradient;
}
static inline void dfi_gradient_begin(struct dfi_exec *exec, int value)
{
    exec->written[value] = exec->written[value] ? 2 : 1;
}
static inline int dfi_gradient_adds(const struct dfi_exec *exec, int value)
{
    return exec->written[value] == 2;
}

static inline size_t dfi_pixels(const struct dfi_block *block)
{
    return (size_t)block->h * (size_t)block->w;
}

/* As many as any node has channels. */
static inline const void *dfi_ones(const struct dfi_exec *exec)
{
    return exec->block + exec->plan.ones_offset;
}

/* Writes or adds `g` to sample n of an input's gradient. */
static inline void dfi_give_gradient(const struct dfi_exec *exec, int input, int n, const void *g,
                                     ptrdiff_t ldg)
{
    const struct dfi_block dx = dfi_exec_gradient_of(exec, input);
    dx.kernels->affine2(g, ldg, NULL, 0, dfi_sample(&dx, n), dx.ld, dfi_pixels(&dx), dx.c, dfi_ones(exec),
                        NULL, NULL, dfi_gradient_adds(exec, input));
}

/* Lanes that this rank holds: DFI_LANES, unless there is a communicator. */
static inline int dfi_lanes(const struct dfi_exec *exec)
{
    return exec->comm ? DFI_LANES / exec->comm->size : DFI_LANES;
}

/* Samples of a value over all ranks. */
static inline int dfi_whole_samples(const struct dfi_exec *exec, int value)
{
    return exec->comm ? exec->whole : dfi_samples(exec, value);
}

/* First of the `samples` held here that is in the lane held here as number `lane`; lane dfi_lanes() gives the
 * end. */
static inline int dfi_lane_start(const struct dfi_exec *exec, int samples, int lane)
{
    if (!exec->comm)
        return (int)((int64_t)samples * lane / DFI_LANES);
    lane += exec->comm->rank * dfi_lanes(exec);
    return (int)((int64_t)exec->whole * lane / DFI_LANES) - exec->first;
}

/* Sums per-sample rows of `n` doubles, [samples][n], over the whole batch into lanes[0 .. n - 1]: lanes in
 * order, then the fixed tree, its upper part over the ranks. `lanes` is [DFI_LANES][n]. */
void dfi_lane_sum(struct dfi_exec *exec, const double *rows, int samples, size_t n, double *lanes);

/* The values of all ranks, added in the same tree: for what has its lanes summed already. */
void dfi_rank_sum(struct dfi_exec *exec, void *values, size_t n, size_t element);

/* Adds up lanes of `n` elements each, [dfi_lanes()][n], in the same tree into the first one. */
void dfi_lane_tree(struct dfi_exec *exec, void *lanes, size_t n);

/* Runs task(exec, number, index, worker) for index 0 .. count - 1. */
typedef void (*dfi_node_task)(struct dfi_exec *exec, int number, int index, int worker);
void dfi_node_parallel(struct dfi_exec *exec, int number, dfi_node_task task, int count);
void dfi_node_parallel_whole(struct dfi_exec *exec, int number, dfi_node_task task,
                             int count); /* no cancel */

#endif
