#ifndef DFI_NN_EXEC_H
#define DFI_NN_EXEC_H

#include "base/comm.h"
#include "kernel/conv.h"
#include "nn/graph.h"
#include "tensor/tensor.h"

#define DFI_LANES 8 /* sums over the batch: 8 lanes of consecutive samples, added in a fixed tree */

/* A graph with a memory plan: everything that can fail fails in dfi_exec_create(); running allocates nothing
 * and stops early only on a cancel. */
struct dfi_exec;

/* How values and their gradients are stored, and factors of products. Parameters and sums are float either
 * way. */
enum dfi_precision { DFI_PRECISION_F32, DFI_PRECISION_BF16 };

struct dfi_exec_options {
    int batch;      /* largest number of samples, or of what takes `parts` of them */
    int conditions; /* conditional values are computed for this many conditions per sample; 1 in training */
    int backward;   /* 1: plan the backward pass too */
    enum dfi_numerics numerics;
    enum dfi_precision precision;
    int frozen; /* 1: always with running statistics; batch norm is part of the convolution before it. No
                   backward */
    int parts;  /* such as the tokens of a prompt; 0: 1 */
    /* Ways to save memory: */
    int stream;            /* 1: weights of convolutions are packed in every run, instead of once for all */
    enum dfi_tiling tiles; /* of convolutions: the bits depend on it */
    int workers;           /* for dfi_exec_bytes() alone: so many threads; 0: as many as the context has */
};

/* The numerics of a name, "default" (also NULL), "exact" or "fast"; ERR_ARG for any other. */
int dfi_numerics_find(const char *name, enum dfi_numerics *numerics);
const char *dfi_numerics_name(enum dfi_numerics numerics);

/* The precision of a name, "fp32" (also NULL) or "bf16"; ERR_ARG for any other. */
int dfi_precision_find(const char *name, enum dfi_precision *precision);
const char *dfi_precision_name(enum dfi_precision precision);

/* Bytes of the plan, known before anything is allocated. */
int dfi_exec_bytes(const struct dfi_graph *graph, const struct dfi_exec_options *options, size_t *bytes);

/* Keeps pointers to graph and params, which must outlive it. */
int dfi_exec_create(const struct dfi_graph *graph, const struct dfi_params *params,
                    const struct dfi_exec_options *options, struct dfi_exec **exec);
void dfi_exec_destroy(struct dfi_exec *exec);

/* Packs the weights for the kernels: after every change of params->values. */
void dfi_exec_refresh(struct dfi_exec *exec);

/* Number of samples and conditions of the next runs, at most those of the plan. */
void dfi_exec_set_size(struct dfi_exec *exec, int batch, int conditions);

/* Training on several ranks: the plan is for one rank's part of the batch. `comm` is kept, not copied. */
void dfi_exec_set_comm(struct dfi_exec *exec, struct dfi_comm *comm);

/* With a communicator: this rank's lanes of a batch of `whole` samples over all ranks, those from `first` on;
 * sets the number of samples to them, and returns it. There may be none. Without one: all. */
int dfi_exec_share(struct dfi_exec *exec, int whole, int *first);

/* A value in memory: samples [h][w][c] channels-last, pixels `ld` elements apart, samples `sample_stride`.
 * Conditional values have conditions * batch samples, condition by condition. */
struct dfi_block {
    void *data;
    const struct dfi_kernels *kernels; /* by the type of its elements */
    ptrdiff_t ld, sample_stride;
    int samples, h, w, c;
};
struct dfi_block dfi_exec_value(const struct dfi_exec *exec, int value);
struct dfi_block dfi_exec_gradient_of(const struct dfi_exec *exec, int value);

/* A value as a tensor view [samples, c, h, w] in logical order, without a copy and without an allocation. */
void dfi_exec_view(const struct dfi_exec *exec, int value, struct diffc_tensor *view);

/* Forward pass. `batch_statistics` 1: batch norm uses the batch, 0: the running statistics. DIFFC_OK or
 * DIFFC_ERR_CANCELLED. */
int dfi_exec_forward(struct dfi_exec *exec, int batch_statistics);

/* Backward pass after a forward pass with batch statistics, from the loss node, or, in graphs without one,
 * from a gradient written to dfi_exec_gradient_of(last node). Gradients of all parameters are written to (or,
 * accumulate 1, added to) one flat array in the order of params->values. */
int dfi_exec_backward(struct dfi_exec *exec, int accumulate);
void *dfi_exec_gradients(const struct dfi_exec *exec);

/* The loss node's value after a forward pass. */
double dfi_exec_loss(const struct dfi_exec *exec);

/* Moves running statistics towards those of the last batch: r = (1 - 0.1) r + 0.1 batch (variance unbiased).
 */
void dfi_exec_keep_statistics(struct dfi_exec *exec, struct dfi_params *params);

#endif
