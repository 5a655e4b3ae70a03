/* Layers over tokens, which are the pixels of a value: layer norm, RMS norm, a learned offset, concatenation
 * one after another; and the sinusoidal embedding of a timestep. */

#include <math.h>

#include "nn/build.h"

static int vector_rows_need(const struct dfi_graph *graph, const struct dfi_node *node,
                            const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    if (sizes->backward) /* [samples][2][c] and the lanes */
        out->shared = ((size_t)sizes->samples + DFI_LANES + 1) * 2 * (size_t)node->c * sizeof(double);
    return DIFFC_OK;
}

/* Adds the rows of all samples up and puts the halves into the gradients of `count` parameters. */
static void reduce_vectors(struct dfi_exec *exec, int number, int count)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const size_t c = (size_t)node->c;
    const int samples = dfi_samples(exec, number);
    double *rows = dfi_shared(exec), *lanes = rows + (size_t)samples * 2 * c;
    dfi_lane_sum(exec, rows, samples, 2 * c, lanes);
    for (int slot = 0; slot < count; slot++)
        for (size_t i = 0; i < c; i++)
            dfi_param_gradient_put(exec, dfi_param_gradient(exec, node, slot), i,
                                   lanes[(size_t)slot * c + i]);
}

/* Layer norm (Ba et al. 2016) over the channels of each token. */

static void layer_norm_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    exec->kernels->layer_norm(dfi_sample(&x, index), x.ld, dfi_sample(&y, index), y.ld, dfi_pixels(&y), y.c,
                              dfi_param_value(exec, node, 0), dfi_param_value(exec, node, 1), node->epsilon);
}

static void layer_norm_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, layer_norm_piece, dfi_samples(exec, number));
}

/* One sample of a norm's backward pass, and its row of sums for weight and bias. */
struct norm_sample {
    const void *x, *dy;
    void *dx; /* NULL: not wanted */
    ptrdiff_t ldx, lddy, lddx;
    size_t pixels;
    double *row;
};

static struct norm_sample norm_sample_at(const struct dfi_exec *exec, int number, int index)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int input = node->input[0], wanted = dfi_wants_gradient(exec, input);
    const struct dfi_block x = dfi_exec_value(exec, input), dy = dfi_exec_gradient_of(exec, number);
    const struct dfi_block dx = wanted ? dfi_exec_gradient_of(exec, input) : dy;
    double *row = (double *)dfi_shared(exec) + (size_t)index * 2 * (size_t)node->c;
    memset(row, 0, 2 * (size_t)node->c * sizeof(*row));
    return (struct norm_sample) { dfi_sample(&x, index),
                                  dfi_sample(&dy, index),
                                  wanted ? dfi_sample(&dx, index) : NULL,
                                  x.ld,
                                  dy.ld,
                                  dx.ld,
                                  dfi_pixels(&dy),
                                  row };
}

/* `vectors` parameters get gradients: the weight, and the bias. */
static void norm_backward(struct dfi_exec *exec, int number, dfi_node_task piece, int vectors)
{
    const int input = dfi_node(exec, number)->input[0];
    if (dfi_wants_gradient(exec, input))
        dfi_gradient_begin(exec, input);
    dfi_node_parallel(exec, number, piece, dfi_samples(exec, number));
    reduce_vectors(exec, number, vectors);
}

static int add_norm(struct dfi_graph *graph, const struct dfi_node_kind *kind, int x, const char *name,
                    double epsilon, int vectors)
{
    struct dfi_node *node = dfi_build_node(graph, kind, name, 1, &x);
    if (!node)
        return -1;
    const int64_t shape[1] = { node->c };
    node->epsilon = epsilon;
    dfi_build_param(graph, node, 0, 1, shape, DFI_INIT_ONE, 0);
    if (vectors > 1)
        dfi_build_param(graph, node, 1, 1, shape, DFI_INIT_ZERO, 0);
    return dfi_build_close(graph, node);
}

static void layer_norm_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct norm_sample s = norm_sample_at(exec, number, index);
    exec->kernels->layer_norm_backward(s.x, s.ldx, s.dy, s.lddy, s.dx, s.lddx, s.pixels, node->c,
                                       dfi_param_value(exec, node, 0), node->epsilon,
                                       dfi_gradient_adds(exec, node->input[0]), s.row, s.row + node->c);
}

static void layer_norm_backward(struct dfi_exec *exec, int number)
{
    norm_backward(exec, number, layer_norm_backward_piece, 2);
}

const struct dfi_node_kind dfi_kind_layer_norm = {
    "layer_norm",       DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT,
    vector_rows_need,   NULL,
    layer_norm_forward, layer_norm_backward
};

int dfi_layer_norm(struct dfi_graph *graph, int x, const char *name, double epsilon)
{
    return add_norm(graph, &dfi_kind_layer_norm, x, name, epsilon, 2);
}

/* RMS norm (Zhang and Sennrich 2019) over the channels of each token. */

static void rms_norm_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    exec->kernels->rms_norm(dfi_sample(&x, index), x.ld, dfi_sample(&y, index), y.ld, dfi_pixels(&y), y.c,
                            dfi_param_value(exec, node, 0), node->epsilon);
}

static void rms_norm_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, rms_norm_piece, dfi_samples(exec, number));
}

static void rms_norm_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct norm_sample s = norm_sample_at(exec, number, index);
    exec->kernels->rms_norm_backward(s.x, s.ldx, s.dy, s.lddy, s.dx, s.lddx, s.pixels, node->c,
                                     dfi_param_value(exec, node, 0), node->epsilon,
                                     dfi_gradient_adds(exec, node->input[0]), s.row);
}

static void rms_norm_backward(struct dfi_exec *exec, int number)
{
    norm_backward(exec, number, rms_norm_backward_piece, 1);
}

const struct dfi_node_kind dfi_kind_rms_norm = {
    "rms_norm",       DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT,
    vector_rows_need, NULL,
    rms_norm_forward, rms_norm_backward
};

int dfi_rms_norm(struct dfi_graph *graph, int x, const char *name, double epsilon)
{
    return add_norm(graph, &dfi_kind_rms_norm, x, name, epsilon, 1);
}

/* Offset: a parameter of one value per channel is added. */

static void offset_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    exec->kernels->affine_act(dfi_sample(&x, index), x.ld, dfi_sample(&y, index), y.ld, dfi_pixels(&y), y.c,
                              NULL, dfi_param_value(exec, node, 0), DFI_ACT_NONE);
}

static void offset_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, offset_piece, dfi_samples(exec, number));
}

static void offset_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const int input = dfi_node(exec, number)->input[0];
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    double *row = (double *)dfi_shared(exec) + (size_t)index * 2 * (size_t)dy.c;
    memset(row, 0, 2 * (size_t)dy.c * sizeof(*row));
    exec->kernels->moments(dfi_sample(&dy, index), dy.ld, dfi_pixels(&dy), dy.c, row, NULL);
    if (dfi_wants_gradient(exec, input))
        dfi_give_gradient(exec, input, index, dfi_sample(&dy, index), dy.ld);
}

static void offset_backward(struct dfi_exec *exec, int number)
{
    const int input = dfi_node(exec, number)->input[0];
    if (dfi_wants_gradient(exec, input))
        dfi_gradient_begin(exec, input);
    dfi_node_parallel(exec, number, offset_backward_piece, dfi_samples(exec, number));
    reduce_vectors(exec, number, 1);
}

const struct dfi_node_kind dfi_kind_offset = { "offset",         DFI_STRIDED_IN | DFI_STRIDED_OUT,
                                               vector_rows_need, NULL,
                                               offset_forward,   offset_backward };

int dfi_offset(struct dfi_graph *graph, int x, const char *name)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_offset, name, 1, &x);
    if (!node)
        return -1;
    dfi_build_named_param(graph, node, 0, name, 2, (const int64_t[]) { 1, node->c }, DFI_INIT_UNIFORM,
                          node->c);
    return dfi_build_close(graph, node);
}

/* Concatenation of tokens: those of the first input, then those of the second. */

static ptrdiff_t first_token(const struct dfi_exec *exec, int number, int slot)
{
    const struct dfi_node *first = dfi_node(exec, dfi_node(exec, number)->input[0]);
    return slot ? (ptrdiff_t)first->h * first->w : 0;
}

static void concat_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block y = dfi_exec_value(exec, number);
    const int n = index / 2, slot = index % 2;
    const struct dfi_block x = dfi_exec_value(exec, node->input[slot]);
    exec->kernels->affine_act(dfi_sample(&x, n), x.ld,
                              dfi_at(exec, dfi_sample(&y, n), first_token(exec, number, slot) * y.ld), y.ld,
                              dfi_pixels(&x), x.c, NULL, NULL, DFI_ACT_NONE);
}

static void concat_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, concat_piece, 2 * dfi_samples(exec, number));
}

static void concat_gradient(const struct dfi_exec *exec, int number, int slot, int n)
{
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    dfi_give_gradient(exec, dfi_node(exec, number)->input[slot], n,
                      dfi_at(exec, dfi_sample(&dy, n), first_token(exec, number, slot) * dy.ld), dy.ld);
}

static void concat_first_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    concat_gradient(exec, number, 0, index);
}

static void concat_second_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    concat_gradient(exec, number, 1, index);
}

static void concat_backward(struct dfi_exec *exec, int number)
{
    static const dfi_node_task pieces[2] = { concat_first_piece, concat_second_piece };
    for (int slot = 0; slot < 2; slot++) {
        const int input = dfi_node(exec, number)->input[slot];
        if (dfi_wants_gradient(exec, input)) {
            dfi_gradient_begin(exec, input);
            dfi_node_parallel(exec, number, pieces[slot], dfi_samples(exec, number));
        }
    }
}

const struct dfi_node_kind dfi_kind_concat_tokens = {
    "concat_tokens", DFI_STRIDED_IN | DFI_STRIDED_OUT, NULL, NULL, concat_forward, concat_backward
};

int dfi_concat_tokens(struct dfi_graph *graph, int a, int b)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_concat_tokens, "", 2, (const int[]) { a, b });
    if (!node)
        return -1;
    const struct dfi_node *first = &graph->nodes[a], *second = &graph->nodes[b];
    const int64_t tokens = (int64_t)first->h * first->w + (int64_t)second->h * second->w;
    if (first->c != second->c || tokens > INT32_MAX)
        return dfi_build_fail(graph, node, "tokens of different widths, or too many");
    node->h = 1;
    node->w = (int)tokens;
    return dfi_build_close(graph, node);
}

/* Sinusoidal embedding of a number (Vaswani et al. 2017), as diffusers computes it: in single precision step
 * by step, because the rounding of t * f shows in the result. Frequencies 10000^(-i / (half - shift)). */

static void embed(float t, int c, int cosine_first, double shift, float *out)
{
    const int half = c / 2;
    for (int i = 0; i < half; i++) {
        const float exponent = -(float)log(10000.0) * (float)i / (float)(half - shift);
        const float angle = t * expf(exponent);
        out[cosine_first ? half + i : i] = sinf(angle);
        out[cosine_first ? i : half + i] = cosf(angle);
    }
    if (c % 2)
        out[c - 1] = 0;
}

static int timestep_need(const struct dfi_graph *graph, const struct dfi_node *node,
                         const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    (void)sizes;
    out->worker = (size_t)node->c * sizeof(float);
    return DIFFC_OK;
}

static void timestep_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block t = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    float *row = dfi_worker(exec, worker);
    void *out = dfi_sample(&y, index);
    embed((float)dfi_get(exec, dfi_sample(&t, index), 0), node->c, node->cosine_first, node->epsilon, row);
    for (int i = 0; i < node->c; i++)
        dfi_set(exec, out, (size_t)i, (double)row[i]);
}

static void timestep_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, timestep_piece, dfi_samples(exec, number));
}

const struct dfi_node_kind dfi_kind_timestep = { "timestep", DFI_STRIDED_OUT,  timestep_need,
                                                 NULL,       timestep_forward, NULL };

int dfi_timestep(struct dfi_graph *graph, int t, int c, int cosine_first, double shift)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_timestep, "", 1, &t);
    if (!node)
        return -1;
    if (node->c * node->h * node->w != 1 || c < 2 || c / 2 == shift)
        return dfi_build_fail(graph, node, "needs one number and at least two values for it");
    node->c = c;
    node->cosine_first = cosine_first;
    node->epsilon = shift;
    node->gradient = 0;
    return dfi_build_close(graph, node);
}
