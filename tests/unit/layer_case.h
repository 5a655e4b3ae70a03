#ifndef TESTS_LAYER_CASE_H
#define TESTS_LAYER_CASE_H

/* Every kind of node in a graph as small as it can be. */

#include "graph_case.h"

/* One layer (or a few) behind a 1x1 convolution, which only the gradient of the layer's input reaches. */
struct layer {
    const char *name;
    int (*build)(struct dfi_graph *graph, const struct layer *layer);
    int a, b, c, d; /* what the builder makes of it */
};

static int begin(struct dfi_graph *graph, int c, int h, int w)
{
    return dfi_conv2d(graph, dfi_graph_input(graph, "x", 3, h, w, 0), "begin", c, 1, 1, 0);
}

/* a x a, stride b, padding c; d to d + 1 channels: the kernel gradient has two algorithms. */
static int build_conv(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_conv2d(graph, begin(graph, layer->d, 6, 7), "f", layer->d + 1, layer->a, layer->b, layer->c);
}

static int build_transposed(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_conv_transpose2d(graph, begin(graph, layer->d, 3, 2), "f", layer->d + 1, layer->a, layer->b,
                                layer->c);
}

static int build_unflatten(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_unflatten(graph, begin(graph, 4, 1, 1), "f", 3, layer->a, layer->b);
}

static int build_norm(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_batch_norm(graph, begin(graph, 3, 3, 4), "f", (enum dfi_act)layer->a);
}

static int build_linear(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_linear(graph, begin(graph, 4, layer->a, layer->b), "f", 5);
}

static int build_project(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_project(graph, begin(graph, 4, layer->a, layer->b), "f", 5);
}

static int build_activation(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_activation(graph, begin(graph, 3, 2, 3), (enum dfi_act)layer->a);
}

static int build_softmax(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_softmax(graph, begin(graph, 4, layer->a, layer->b));
}

static int build_avg_pool(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_avg_pool(graph, begin(graph, 3, 5, 6), layer->a, layer->b);
}

static int build_max_pool(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_max_pool(graph, begin(graph, 2, 5, 4), layer->a);
}

static int build_flatten(struct dfi_graph *graph, const struct layer *layer)
{
    (void)layer;
    return dfi_linear(graph, dfi_flatten(graph, begin(graph, 3, 2, 3)), "f", 4);
}

static int build_add(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = begin(graph, 3, 3, 2);
    return dfi_add(graph, x, layer->a ? x : dfi_conv2d(graph, x, "f", 3, 3, 1, 1));
}

/* Both halves have users before and after the concatenation. */
static int build_concat(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = begin(graph, 3, 3, 2);
    const int a = dfi_conv2d(graph, x, "a", 2, 3, 1, 1), b = dfi_activation(graph, x, DFI_ACT_SILU);
    const int before = dfi_activation(graph, a, DFI_ACT_GELU),
              also = dfi_conv2d(graph, b, "also", 2, 1, 1, 0);
    int y = dfi_conv2d(graph, dfi_concat(graph, a, b), "f", 2, 3, 1, 1);
    y = dfi_add(graph, dfi_add(graph, y, before), also);
    if (layer->a)
        y = dfi_add(graph, y, dfi_add(graph, a, dfi_conv2d(graph, b, "after", 2, 1, 1, 0)));
    return y;
}

/* Concatenations of concatenations and of a value with itself: slices of one buffer that must not be mistaken
 * for another. */
static int build_nested(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = begin(graph, 3, 3, 2), a = dfi_conv2d(graph, x, "a", 2, 1, 1, 0);
    const int b = dfi_batch_norm(graph, a, "b", DFI_ACT_SILU), ab = dfi_concat(graph, a, b);
    if (layer->a == 5) /* the inner one has later users of its own */
        return dfi_add(graph, dfi_conv2d(graph, dfi_concat(graph, x, ab), "f", 4, 3, 1, 1), ab);
    const int first = layer->a == 1 ? x : layer->a == 2 ? b : ab;
    const int second = layer->a == 0 ? x : layer->a == 3 ? b : ab;
    return dfi_conv2d(graph, dfi_concat(graph, first, second), "f", 3, 3, 1, 1);
}

static int build_modulate(struct dfi_graph *graph, const struct layer *layer)
{
    const int e = dfi_graph_input(graph, "e", 4, 1, 1, 0), pixel = layer->a == 5;
    const int x = layer->a == 4 ? dfi_graph_input(graph, "x", 3, 3, 2, 0)
                                : begin(graph, 3, pixel ? 1 : 3, pixel ? 1 : 2);
    const int scale = dfi_linear(graph, e, "scale", 3);
    switch (layer->a) {
    case 1: return dfi_modulate(graph, x, -1, scale);
    case 2: return dfi_modulate(graph, x, scale, dfi_linear(graph, e, "shift", 3));
    case 3: return dfi_modulate(graph, x, scale, scale);
    case 5: return dfi_add(graph, dfi_modulate(graph, x, x, scale), scale);
    default: return dfi_modulate(graph, x, scale, -1);
    }
}

/* Activation a; b 1: scale-shift; 17 x 17 pixels are two bands of work. */
static int build_group_norm(struct dfi_graph *graph, const struct layer *layer)
{
    const int e = dfi_graph_input(graph, "e", 3, 1, 1, 0),
              emb = layer->b ? dfi_linear(graph, e, "emb", 8) : -1;
    return dfi_group_norm(graph, begin(graph, 4, layer->c, layer->c), "f", 2, 1e-5, (enum dfi_act)layer->a,
                          emb);
}

static int build_layer_norm(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = layer->a ? dfi_graph_input(graph, "x", 3, 1, 5, 0) : begin(graph, 3, 1, 5);
    return dfi_layer_norm(graph, x, "f", 1e-5);
}

static int build_offset(struct dfi_graph *graph, const struct layer *layer)
{
    (void)layer;
    return dfi_offset(graph, begin(graph, 3, 2, 2), "f");
}

static int build_concat_tokens(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = begin(graph, 3, 2, 3), y = dfi_avg_pool(graph, x, 2, 3);
    return dfi_linear(graph, dfi_concat_tokens(graph, layer->a ? x : y, x), "f", 2);
}

static int build_timestep(struct dfi_graph *graph, const struct layer *layer)
{
    return dfi_linear(graph, dfi_timestep(graph, dfi_graph_input(graph, "t", 1, 1, 1, 0), layer->a, 1, 0),
                      "f", 3);
}

static int build_upsample(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = begin(graph, 3, 2, 3), y = dfi_upsample(graph, x);
    return layer->a ? dfi_add(graph, dfi_conv2d(graph, x, "f", 3, 1, 1, 0), dfi_avg_pool(graph, y, 2, 2)) : y;
}

static int build_add_scaled(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = begin(graph, 3, 3, 2);
    return dfi_add_scaled(graph, x, layer->a ? x : dfi_conv2d(graph, x, "f", 3, 3, 1, 1), 0.7);
}

/* a x b queries; c: 0 keys of their own, 1 in two parts, 2 one value for all, 3 one for both parts; d: 1 with
 * bias and mask. Two heads. */
static int build_attention(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = begin(graph, 6, layer->a, layer->b), text = dfi_graph_input(graph, "text", 5, 3, 1, 0);
    const int queries = layer->a * layer->b;
    int keys = layer->c == 2 ? queries : 3;
    struct dfi_attention args = { x, x, x, -1, -1, -1, -1, -1, 2, 0.7 };
    if (layer->c != 2) {
        args.k = dfi_project(graph, text, "k", 6); /* a bias would have no gradient */
        args.v = layer->c == 3 ? args.k : dfi_linear(graph, text, "v", 4);
    }
    if (layer->c == 1) {
        args.more_k = dfi_linear(graph, x, "more_k", 6);
        args.more_v = dfi_linear(graph, x, "more_v", 4);
        keys += queries;
    }
    if (layer->c == 3) {
        args.more_k = args.k;
        args.more_v = args.k;
        keys += 3;
    }
    if (layer->d) {
        args.bias = dfi_project(graph, dfi_graph_input(graph, "b", 2, 2, queries, 0), "bias", keys);
        args.mask = dfi_graph_input(graph, "masked", keys, 1, 1, 0);
    }
    return dfi_attention(graph, &args);
}

static int build_rms_norm(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = layer->a ? dfi_graph_input(graph, "x", 3, 1, 5, 0) : begin(graph, 3, 1, 5);
    return dfi_rms_norm(graph, x, "f", 1e-2);
}

/* b: 0 two values, 1 one value twice, 2 and 3 one of them an input. */
static int build_gate(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = begin(graph, 3, 2, 3), input = dfi_graph_input(graph, "gate", 3, 2, 3, 0);
    const int a = layer->b == 2 ? input : x;
    const int b = layer->b == 0 ? dfi_linear(graph, x, "f", 3) : layer->b == 3 ? input : x;
    return dfi_gate(graph, a, b, (enum dfi_act)layer->a);
}

/* Numbers from -4 to 4. */
static int numbers(struct dfi_graph *graph, const char *name, int h, int w)
{
    const int x = dfi_graph_input(graph, name, 1, h, w, 0), twice = dfi_add(graph, x, x);
    return dfi_add(graph, twice, twice);
}

/* Ids under 0 count as 0. */
static int build_embedding(struct dfi_graph *graph, const struct layer *layer)
{
    const int ids = numbers(graph, "ids", layer->a, 3);
    return dfi_linear(graph, dfi_embedding(graph, ids, "table", 6, 4), "f", 3);
}

/* b: two users of the bias; c: 1 the places of the queries are an input. */
static int build_relative_bias(struct dfi_graph *graph, const struct layer *layer)
{
    struct dfi_attention args = { 0, 0, 0, -1, -1, -1, -1, -1, 2, 1 };
    args.q = args.k = args.v = begin(graph, 4, 1, layer->a);
    const int places = layer->c ? numbers(graph, "places", 1, layer->a) : -1;
    args.bias = dfi_relative_bias(graph, places, "bias", layer->a, 2, 8, 6);
    const int y = dfi_attention(graph, &args);
    args.q = args.k = args.v = y; /* a second user of the bias */
    return layer->b ? dfi_attention(graph, &args) : y;
}

static int build_channels(struct dfi_graph *graph, const struct layer *layer)
{
    const int x = begin(graph, 5, 2, 3), y = dfi_channels(graph, x, layer->a, layer->b);
    return layer->c
               ? dfi_add(graph, y, dfi_channels(graph, dfi_conv2d(graph, x, "f", 5, 1, 1, 0), 1, layer->b))
               : y;
}

static int build_entropy(struct dfi_graph *graph, const struct layer *layer)
{
    return begin(graph, 4, layer->a, layer->b);
}

static const struct layer layers[] = {
    { "conv2d 3x3", build_conv, 3, 1, 1, 4 },
    { "conv2d 3x3, many channels", build_conv, 3, 1, 1, 9 },
    { "conv2d 3x3 stride 2", build_conv, 3, 2, 1, 4 },
    { "conv2d 3x3 stride 2, many channels", build_conv, 3, 2, 1, 9 },
    { "conv2d 1x1", build_conv, 1, 1, 0, 4 },
    { "conv2d 1x1 stride 2", build_conv, 1, 2, 0, 4 },
    { "conv2d 5x5", build_conv, 5, 1, 2, 3 },
    { "conv2d 5x5 without padding", build_conv, 5, 1, 0, 3 },
    { "conv_transpose2d 4x4 stride 2", build_transposed, 4, 2, 1, 3 },
    { "conv_transpose2d 4x4 stride 2, many channels", build_transposed, 4, 2, 1, 9 },
    { "conv_transpose2d 3x3", build_transposed, 3, 1, 0, 3 },
    { "unflatten", build_unflatten, 2, 3, 0, 0 },
    { "batch_norm", build_norm, DFI_ACT_NONE, 0, 0, 0 },
    { "batch_norm gelu", build_norm, DFI_ACT_GELU, 0, 0, 0 },
    { "batch_norm silu", build_norm, DFI_ACT_SILU, 0, 0, 0 },
    { "batch_norm relu", build_norm, DFI_ACT_RELU, 0, 0, 0 },
    { "linear", build_linear, 1, 1, 0, 0 },
    { "linear on pixels", build_linear, 3, 2, 0, 0 },
    { "gelu", build_activation, DFI_ACT_GELU, 0, 0, 0 },
    { "silu", build_activation, DFI_ACT_SILU, 0, 0, 0 },
    { "relu", build_activation, DFI_ACT_RELU, 0, 0, 0 },
    { "softmax", build_softmax, 1, 1, 0, 0 },
    { "softmax on pixels", build_softmax, 2, 3, 0, 0 },
    { "avg_pool 2x2", build_avg_pool, 2, 2, 0, 0 },
    { "avg_pool 5x3", build_avg_pool, 5, 3, 0, 0 },
    { "max_pool", build_max_pool, 2, 0, 0, 0 },
    { "flatten", build_flatten, 0, 0, 0, 0 },
    { "add", build_add, 0, 0, 0, 0 },
    { "add a value to itself", build_add, 1, 0, 0, 0 },
    { "concat, users before", build_concat, 0, 0, 0, 0 },
    { "concat, users before and after", build_concat, 1, 0, 0, 0 },
    { "concat (ab)x", build_nested, 0, 0, 0, 0 },
    { "concat x(ab)", build_nested, 1, 0, 0, 0 },
    { "concat b(ab)", build_nested, 2, 0, 0, 0 },
    { "concat (ab)b", build_nested, 3, 0, 0, 0 },
    { "concat (ab)(ab)", build_nested, 4, 0, 0, 0 },
    { "concat x(ab), ab used again", build_nested, 5, 0, 0, 0 },
    { "modulate by scale", build_modulate, 0, 0, 0, 0 },
    { "modulate by shift", build_modulate, 1, 0, 0, 0 },
    { "modulate", build_modulate, 2, 0, 0, 0 },
    { "modulate, one value for both", build_modulate, 3, 0, 0, 0 },
    { "modulate an input", build_modulate, 4, 0, 0, 0 },
    { "modulate a value by itself", build_modulate, 5, 0, 0, 0 },
    { "group_norm", build_group_norm, DFI_ACT_NONE, 0, 3, 0 },
    { "group_norm gelu", build_group_norm, DFI_ACT_GELU, 0, 3, 0 },
    { "group_norm scale-shift", build_group_norm, DFI_ACT_NONE, 1, 3, 0 },
    { "group_norm scale-shift silu", build_group_norm, DFI_ACT_SILU, 1, 3, 0 },
    { "group_norm scale-shift gelu, many pixels", build_group_norm, DFI_ACT_GELU, 1, 17, 0 },
    { "layer_norm", build_layer_norm, 0, 0, 0, 0 },
    { "layer_norm of an input", build_layer_norm, 1, 0, 0, 0 },
    { "offset", build_offset, 0, 0, 0, 0 },
    { "concat_tokens", build_concat_tokens, 0, 0, 0, 0 },
    { "concat_tokens of a value with itself", build_concat_tokens, 1, 0, 0, 0 },
    { "timestep", build_timestep, 4, 0, 0, 0 },
    { "timestep, odd", build_timestep, 5, 0, 0, 0 },
    { "upsample", build_upsample, 0, 0, 0, 0 },
    { "upsample, used by others", build_upsample, 1, 0, 0, 0 },
    { "add_scaled", build_add_scaled, 0, 0, 0, 0 },
    { "add_scaled, a value to itself", build_add_scaled, 1, 0, 0, 0 },
    { "project", build_project, 3, 2, 0, 0 },
    { "attention", build_attention, 2, 3, 0, 0 },
    { "attention in two parts", build_attention, 2, 3, 1, 0 },
    { "attention of a value to itself", build_attention, 2, 3, 2, 0 },
    { "attention in two equal parts", build_attention, 2, 3, 3, 0 },
    { "attention with bias and mask", build_attention, 2, 3, 0, 1 },
    { "attention in two parts with bias and mask", build_attention, 2, 1, 1, 1 },
    { "attention of many queries", build_attention, 7, 10, 0, 0 },
    { "gelu_tanh", build_activation, DFI_ACT_GELU_TANH, 0, 0, 0 },
    { "rms_norm", build_rms_norm, 0, 0, 0, 0 },
    { "rms_norm of an input", build_rms_norm, 1, 0, 0, 0 },
    { "gate gelu_tanh", build_gate, DFI_ACT_GELU_TANH, 0, 0, 0 },
    { "gate silu, one value", build_gate, DFI_ACT_SILU, 1, 0, 0 },
    { "gate gelu, an input", build_gate, DFI_ACT_GELU, 2, 0, 0 },
    { "gate relu, an input", build_gate, DFI_ACT_RELU, 3, 0, 0 },
    { "embedding", build_embedding, 4, 0, 0, 0 },
    { "relative_bias", build_relative_bias, 9, 0, 0, 0 },
    { "relative_bias, used twice", build_relative_bias, 9, 1, 0, 0 },
    { "relative_bias, places", build_relative_bias, 9, 0, 1, 0 },
    { "channels, all of them", build_channels, 0, 5, 0, 0 },
    { "channels, of a value with other users", build_channels, 2, 3, 1, 0 },
    { "cross_entropy_loss", build_entropy, 1, 1, 0, 0 },
    { "cross_entropy_loss on pixels", build_entropy, 2, 3, 0, 0 },
};

#endif
