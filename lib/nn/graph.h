#ifndef DFI_NN_GRAPH_H
#define DFI_NN_GRAPH_H

#include "base/context.h"
#include "kernel/kernels.h"
#include "nn/params.h"

/* A static graph of layer nodes. Every node has one output value, and the two share a number. Shapes are
 * those of one sample, c channels of h x w pixels. Building needs no checks at each call: the first failure
 * sticks to the graph, later calls do nothing and return -1, and dfi_graph_finish() returns it. */
struct dfi_graph;
struct dfi_node_kind;

#define DFI_NODE_INPUTS 7
#define DFI_NODE_PARAMS 2 /* weight, bias */
#define DFI_NODE_STATS 2  /* running mean, running variance */

struct dfi_node {
    const struct dfi_node_kind *kind;
    char name[DFI_PARAM_NAME]; /* prefix of its parameters; name of an input */
    int input[DFI_NODE_INPUTS];
    int input_count;
    int c, h, w;     /* of the output */
    int conditional; /* depends on an input that differs between conditions */
    int gradient;    /* a gradient by its output is wanted (a parameter lies upstream) */
    int keep;        /* an output: its value stays readable until the next run */
    int absorbed;    /* a bias that the batch norm behind it takes out again: its gradient is zero */
    int param[DFI_NODE_PARAMS]; /* numbers in the graph's parameter list, -1: none */
    int stat[DFI_NODE_STATS];
    /* attributes; each kind uses some */
    int kernel_h, kernel_w, stride, padding;
    enum dfi_act act;
    int scale_slot, shift_slot; /* of a modulation: which input, 0: absent */
    int groups, cosine_first;
    int first;                           /* channel of a selection, or of the weights of a part */
    double epsilon;                      /* of a norm; the frequency shift of a timestep embedding */
    double factor;                       /* of a sum, 0 is 1; of attention */
    int heads;                           /* of attention, with the next two lines */
    int more_slot, bias_slot, mask_slot; /* which input, 0: absent */
    int span_slot;                       /* the same */
    int base_slot;                       /* of a convolution: what its sums begin from (nn/split.h) */
    int rows;                            /* of a table */
    int max_distance;                    /* of a relative bias */
};

struct dfi_graph {
    struct diffc_context *context;
    struct dfi_node *nodes;
    int count, capacity;
    struct dfi_params *params; /* specifications are added here while building */
    int status;
    int loss; /* the loss node, -1: none */
};

int dfi_graph_create(struct diffc_context *context, struct dfi_params *params, struct dfi_graph **graph);
void dfi_graph_destroy(struct dfi_graph *graph);
int dfi_graph_finish(struct dfi_graph *graph); /* the sticky status */

/* `conditional`: its values differ between conditions evaluated at one x. */
int dfi_graph_input(struct dfi_graph *graph, const char *name, int c, int h, int w, int conditional);

/* Layers; `name` is the prefix of parameter names: NAME.weight, NAME.bias. One layer of a graph has it; in a
 * second graph over the same parameters it finds them made. */
int dfi_conv2d(struct dfi_graph *graph, int x, const char *name, int cout, int kernel, int stride,
               int padding);
int dfi_conv_transpose2d(struct dfi_graph *graph, int x, const char *name, int cout, int kernel, int stride,
                         int padding);
int dfi_unflatten(struct dfi_graph *graph, int x, const char *name, int cout, int kernel_h,
                  int kernel_w);                                                        /* 1x1 -> kernel */
int dfi_batch_norm(struct dfi_graph *graph, int x, const char *name, enum dfi_act act); /* and activation */
int dfi_linear(struct dfi_graph *graph, int x, const char *name, int out);
int dfi_project(struct dfi_graph *graph, int x, const char *name, int out); /* linear without a bias */
int dfi_activation(struct dfi_graph *graph, int x, enum dfi_act act);
int dfi_softmax(struct dfi_graph *graph, int x); /* over channels of each pixel */
int dfi_avg_pool(struct dfi_graph *graph, int x, int kernel_h, int kernel_w);
int dfi_max_pool(struct dfi_graph *graph, int x, int kernel);
int dfi_flatten(struct dfi_graph *graph,
                int x); /* [c, h, w] -> c*h*w channels, in the order of the reference layout */
int dfi_upsample(struct dfi_graph *graph, int x); /* nearest neighbour, 2 x 2 */
int dfi_add(struct dfi_graph *graph, int a, int b);
int dfi_add_scaled(struct dfi_graph *graph, int a, int b, double factor); /* (a + b) * factor */
int dfi_concat(struct dfi_graph *graph, int a, int b);                    /* channels */
int dfi_channels(struct dfi_graph *graph, int x, int first, int count);   /* some of them */
/* x * scale + shift with one value per channel and sample ([c, 1, 1]); either may be -1. */
int dfi_modulate(struct dfi_graph *graph, int x, int scale, int shift);

/* Tokens are pixels: a value [c, h, w] is h * w of them, row by row. */

/* Multi-head attention (Vaswani et al. 2017): softmax(scale * q k' + bias) v in each head of c / heads
 * consecutive channels. Keys may be more or fewer than queries, and may come in two parts, such as those of a
 * text, which need no second computation, and those of the image. Absent values are -1. */
struct dfi_attention {
    int q, k, v;        /* q and k have the same channels; the result has those of v and the tokens of q */
    int more_k, more_v; /* a second part of keys and values, behind the first */
    int bias;           /* [keys, heads, queries]: channels are keys */
    int mask;           /* [keys, 1, 1]: a key takes part where it is over 0 (in a row without any, all do) */
    int spans;          /* tokens are samples of one pixel, see below */
    int heads;
    double scale;
};
int dfi_attention(struct dfi_graph *graph, const struct dfi_attention *args);

/* With spans sequences of any lengths lie one after another in the batch: [2, 1, 1] of a token are the sample
 * where its sequence begins and how many from there on are its keys. The bias of a token is [keys or more,
 * heads, 1]. For inference, without a second part and without a mask. */

/* Marks a value as an output: it stays readable after a run. Returns x. */
int dfi_output(struct dfi_graph *graph, int x);

/* Group norm, with scale-shift by the halves of `emb` ([2 c, 1, 1]; -1: none) and an activation behind it:
 * act((xh * weight + bias) * (1 + scale) + shift). */
int dfi_group_norm(struct dfi_graph *graph, int x, const char *name, int groups, double epsilon,
                   enum dfi_act act, int emb);

/* Tokens are the pixels of a value: T tokens of C features are [C, 1, T] or an image of T pixels. */
int dfi_layer_norm(struct dfi_graph *graph, int x, const char *name, double epsilon);
int dfi_rms_norm(struct dfi_graph *graph, int x, const char *name, double epsilon); /* no bias, no mean */
int dfi_offset(struct dfi_graph *graph, int x, const char *name); /* adds the parameter NAME, [1, c] */
int dfi_concat_tokens(struct dfi_graph *graph, int a, int b);     /* [c, 1, tokens of a, then of b] */

/* act(a) * b: the gated activations of Shazeer 2020. */
int dfi_gate(struct dfi_graph *graph, int a, int b, enum dfi_act act);

/* Rows of a table [rows, c] by number: ids is [1, h, w], a number under 0 or past the end counts as 0. */
int dfi_embedding(struct dfi_graph *graph, int ids, const char *name, int rows, int c);

/* A bias of attention by the distance of tokens, from a table [buckets, heads] (Raffel et al. 2020): half of
 * the buckets for keys behind the query; up to a quarter of them one for each distance, then logarithmic up
 * to max_distance. Gives [keys, heads, queries] for keys at the places 0, 1, ... and queries at `places`
 * ([1, 1, queries]), or, where that is -1, at those of the keys. */
int dfi_relative_bias(struct dfi_graph *graph, int places, const char *name, int keys, int heads, int buckets,
                      int max_distance);

/* The bucket of a key `distance` behind its query: on either side it never falls with the distance. */
int dfi_relative_bucket(int buckets, int max_distance, int distance);

/* Sinusoidal embedding of t ([1, 1, 1]) in c values: sines and cosines of t * 10000^(-i / (c / 2 - shift)).
 */
int dfi_timestep(struct dfi_graph *graph, int t, int c, int cosine_first, double shift);

/* Losses: mean over the batch (and elements, for the mean squared error). One per graph, built last. */
int dfi_mse_loss(struct dfi_graph *graph, int y, int target);
int dfi_cross_entropy_loss(struct dfi_graph *graph, int logits, int target);

#endif
