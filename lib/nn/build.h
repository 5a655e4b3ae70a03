#ifndef DFI_NN_BUILD_H
#define DFI_NN_BUILD_H

#include "nn/node.h"

/* What builders are made of, for the files that define some. A node is open from dfi_build_node() to
 * dfi_build_close(), with the shape of its first input until the builder says otherwise; NULL, or -1, once
 * the graph has failed. */
struct dfi_node *dfi_build_node(struct dfi_graph *graph, const struct dfi_node_kind *kind, const char *name,
                                int input_count, const int *inputs);
int dfi_build_close(struct dfi_graph *graph, const struct dfi_node *node);

/* Fails the graph with a message that names the node; returns -1. */
int dfi_build_fail(struct dfi_graph *graph, const struct dfi_node *node, const char *why);

/* A parameter NAME.weight (slot 0) or NAME.bias (slot 1) of the node, in the reference layout. */
void dfi_build_param(struct dfi_graph *graph, struct dfi_node *node, int slot, int ndim, const int64_t *shape,
                     enum dfi_init init, int64_t fan_in);

/* A parameter of another name. */
void dfi_build_named_param(struct dfi_graph *graph, struct dfi_node *node, int slot, const char *name,
                           int ndim, const int64_t *shape, enum dfi_init init, int64_t fan_in);

/* Says that the node's layer reads the parameter in slot 0 in the dtype of dfi_param_dtype(). */
void dfi_build_widens(struct dfi_graph *graph, const struct dfi_node *node);

#endif
