#ifndef TESTS_RANDOM_GRAPH_H
#define TESTS_RANDOM_GRAPH_H

/* Graphs of every kind of node, wired at random: the same for the same seed. */

#include "graph_case.h"

struct random_graph {
    struct dfi_graph *graph;
    uint64_t state;
    int e, layers; /* input of one pixel, number of names given */
};

static inline int pick(struct random_graph *random, int count)
{
    return (int)((dt_next(&random->state) + 1) / 2 * count);
}

static inline const char *next_name(struct random_graph *random, char name[16])
{
    snprintf(name, 16, "l%d", random->layers++);
    return name;
}

static inline const struct dfi_node *node_of(const struct random_graph *random, int value)
{
    return &random->graph->nodes[value];
}

/* A value of as many pixels as v (and channels, if `c`); v itself is one. */
static inline int pick_partner(struct random_graph *random, int v, int c)
{
    const struct dfi_node *node = node_of(random, v);
    const int count = random->graph->count, start = pick(random, count);
    for (int i = 0; i < count; i++) {
        const struct dfi_node *other = node_of(random, (start + i) % count);
        if (other->h == node->h && other->w == node->w && (!c || other->c == node->c))
            return (start + i) % count;
    }
    return v;
}

static inline int add_modulation(struct random_graph *random, int v)
{
    char name[16];
    const int c = node_of(random, v)->c, which = pick(random, 3);
    const int scale = which != 0 ? dfi_linear(random->graph, random->e, next_name(random, name), c) : -1;
    const int shift = which != 1 ? dfi_linear(random->graph, random->e, next_name(random, name), c) : -1;
    return dfi_modulate(random->graph, v, scale, shift);
}

static inline int add_resampling(struct random_graph *random, int v)
{
    char name[16];
    const struct dfi_node node = *node_of(random, v);
    const int which = pick(random, 3);
    if (node.h * node.w == 1)
        return dfi_unflatten(random->graph, v, next_name(random, name), 3, 2, 4);
    if (node.h < 2 || node.w < 2)
        return v;
    if (which == 0 && node.h <= 8)
        return dfi_conv_transpose2d(random->graph, v, next_name(random, name), 2 + pick(random, 3), 4, 2, 1);
    return which == 1 ? dfi_max_pool(random->graph, v, 2) : dfi_avg_pool(random->graph, v, 2, 2);
}

static inline int add_layer(struct random_graph *random, int v)
{
    char name[16];
    struct dfi_graph *graph = random->graph;
    const int small = node_of(random, v)->c < 16;
    switch (pick(random, 14)) {
    case 0:
    case 1:
        return dfi_conv2d(graph, v, next_name(random, name), 1 + pick(random, 6), 3, 1 + pick(random, 2), 1);
    case 2: return dfi_conv2d(graph, v, next_name(random, name), 1 + pick(random, 9), 1, 1, 0);
    case 3: return add_resampling(random, v);
    case 4: return dfi_batch_norm(graph, v, next_name(random, name), (enum dfi_act)pick(random, 4));
    case 5: return dfi_activation(graph, v, (enum dfi_act)pick(random, 4));
    case 6: return dfi_softmax(graph, v);
    case 7: return dfi_add(graph, v, pick_partner(random, v, 1));
    case 8: return dfi_linear(graph, v, next_name(random, name), 4);
    case 9: return add_modulation(random, v);
    case 10: return dfi_linear(graph, dfi_flatten(graph, v), next_name(random, name), 5);
    default: return small ? dfi_concat(graph, v, pick_partner(random, v, 0)) : v;
    }
}

/* Pools a value to one pixel and adds it up with the others. */
static inline int add_to_sum(struct random_graph *random, int sum, int v)
{
    char name[16];
    v = dfi_avg_pool(random->graph, v, node_of(random, v)->h, node_of(random, v)->w);
    v = dfi_linear(random->graph, v, next_name(random, name), 3);
    return sum < 0 ? v : dfi_add(random->graph, sum, v);
}

/* Mostly continues from new values; some are outputs, some lead nowhere. */
static inline void build_random(struct net *net, uint64_t seed, int with_loss)
{
    struct random_graph random = { net->graph, seed * 1000003, 0, 0 };
    const int x = dfi_graph_input(net->graph, "x", 3, 8, 8, 0), layers = 8 + pick(&random, 20);
    int sum = -1;
    random.e = dfi_graph_input(net->graph, "e", 4, 1, 1, 1);
    for (int i = 0; i < layers; i++) {
        const int last = net->graph->count - 1, recent = last > 6 ? 6 : last;
        int v = pick(&random, 4) == 0 ? pick(&random, last + 1) : last - pick(&random, recent);
        v = add_layer(&random, v == random.e ? x : v);
        if (pick(&random, 8) == 0)
            dfi_output(net->graph, v);
        if (pick(&random, 3) == 0)
            sum = add_to_sum(&random, sum, v);
    }
    sum = add_to_sum(&random, sum, net->graph->count - 1);
    dfi_output(net->graph, sum);
    if (with_loss)
        dfi_mse_loss(net->graph, sum, dfi_graph_input(net->graph, "target", 3, 1, 1, 0));
}

#endif
