#include "nn/split.h"

#include <string.h>

#include "nn/node.h"

static int is_conv(const struct dfi_node *node)
{
    return node->kind == &dfi_kind_conv2d || node->kind == &dfi_kind_conv_transpose2d;
}

/* The convolution that alone reads a value; -1: there are others. */
static int only_conv(const struct dfi_graph *graph, int value)
{
    int user = -1;
    for (int i = value + 1; i < graph->count; i++)
        for (int k = 0; k < graph->nodes[i].input_count; k++)
            if (graph->nodes[i].input[k] == value) {
                if (user >= 0 || !is_conv(&graph->nodes[i]))
                    return -1;
                user = i;
            }
    return user;
}

/* `same` is the slot of the input that is the same for all conditions. */
static void split(const struct dfi_graph *graph, int concat, int conv, int same, struct dfi_node *nodes)
{
    const struct dfi_node *whole = &graph->nodes[concat];
    const int first = graph->nodes[whole->input[0]].c;
    struct dfi_node *base = &nodes[concat], *rest = &nodes[conv];
    *base = graph->nodes[conv];
    base->input[0] = whole->input[same];
    base->first = same ? first : 0;
    base->conditional = 0;
    base->keep = 0;
    base->param[1] = -1;
    rest->input[0] = whole->input[!same];
    rest->first = same ? 0 : first;
    rest->input[1] = concat;
    rest->input_count = 2;
    rest->base_slot = 1;
}

int dfi_split_nodes(const struct dfi_graph *graph, struct dfi_node **nodes)
{
    struct dfi_node *made = dfi_calloc(graph->context, (size_t)graph->count, sizeof(*made));
    if (!made)
        return DIFFC_ERR_NOMEM;
    memcpy(made, graph->nodes, (size_t)graph->count * sizeof(*made));
    for (int i = 0; i < graph->count; i++) {
        const struct dfi_node *node = &graph->nodes[i];
        if (node->kind != &dfi_kind_concat || node->keep)
            continue;
        const int conv = only_conv(graph, i);
        const int first = graph->nodes[node->input[0]].conditional,
                  second = graph->nodes[node->input[1]].conditional;
        if (conv >= 0 && first != second)
            split(graph, i, conv, first, made);
    }
    *nodes = made;
    return DIFFC_OK;
}

int dfi_is_sliced(const struct dfi_graph *graph, const struct dfi_node *node)
{
    const struct dfi_param *param = &graph->params->list[node->param[0]];
    const int whole = (int)param->shape[node->kind == &dfi_kind_conv_transpose2d ? 0 : 1];
    return graph->nodes[node->input[0]].c != whole;
}
