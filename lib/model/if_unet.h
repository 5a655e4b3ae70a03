#ifndef DFI_MODEL_IF_UNET_H
#define DFI_MODEL_IF_UNET_H

#include "model/model.h"

/* A value of the text graph that the main graph takes as an input. */
struct dfi_link {
    int from, to; /* numbers in the text graph, in the main graph */
};

struct dfi_links {
    struct dfi_link *list;
    int count, capacity;
};

/* The network in two graphs over one set of parameters: what depends on the text alone, once per prompt, and
 * the rest, at every step. `values->text` is the input of the text graph, the others are values of `graph`.
 * The links belong to the caller, whatever the status of the graphs. */
void dfi_if_build_split(struct dfi_graph *text_graph, struct dfi_graph *graph,
                        const struct dfi_model_config *config, struct dfi_model_values *values,
                        struct dfi_links *links);

/* ERR_ARG unless the levels halve an image of that size without a rest. */
int dfi_if_check_size(const struct dfi_if_config *config, int height, int width);

#endif
