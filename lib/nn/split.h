#ifndef DFI_NN_SPLIT_H
#define DFI_NN_SPLIT_H

#include "nn/graph.h"

/* A convolution of a concatenation is the sum of two, each by a part of the weights. Where one input depends
 * on the condition and the other does not, the latter's part is the same for all conditions: the graph of a
 * frozen plan has it in the place of the concatenation, and the other part begins from it. */

/* A copy of the nodes, so divided; values keep their numbers. */
int dfi_split_nodes(const struct dfi_graph *graph, struct dfi_node **nodes);

/* Whether a convolution has some of the input channels of its weights only, from node->first on. */
int dfi_is_sliced(const struct dfi_graph *graph, const struct dfi_node *node);

#endif
