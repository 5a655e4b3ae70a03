/* Layers that work pixel by pixel, without parameters. */

#include "nn/build.h"

/* `count` channels of a sample of `block`, from pixels of its type to `to`. */
static void copy_pixels(const struct dfi_block *block, const void *x, ptrdiff_t ldx, void *to, int count)
{
    block->kernels->affine_act(x, ldx, to, block->ld, dfi_pixels(block), count, NULL, NULL, DFI_ACT_NONE);
}

static void forward_samples(struct dfi_exec *exec, int number, dfi_node_task piece)
{
    dfi_node_parallel(exec, number, piece, dfi_samples(exec, number));
}

/* Input: written by the caller. */

static void input_forward(struct dfi_exec *exec, int number)
{
    (void)exec;
    (void)number;
}

const struct dfi_node_kind dfi_kind_input = { "input", 0, NULL, NULL, input_forward, NULL };

/* Activation. */

static void activation_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    x.kernels->affine_act(dfi_sample(&x, index), x.ld, dfi_sample(&y, index), y.ld, dfi_pixels(&y), y.c, NULL,
                          NULL, node->act);
}

static void activation_forward(struct dfi_exec *exec, int number)
{
    forward_samples(exec, number, activation_piece);
}

static void activation_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), dy = dfi_exec_gradient_of(exec, number);
    void *g = dfi_sample(&dy, index);
    x.kernels->affine_act_backward(dfi_sample(&x, index), x.ld, g, dy.ld, g, dy.ld, dfi_pixels(&dy), dy.c,
                                   NULL, NULL, node->act, NULL, NULL);
    dfi_give_gradient(exec, node->input[0], index, g, dy.ld);
}

static void activation_backward(struct dfi_exec *exec, int number)
{
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    forward_samples(exec, number, activation_backward_piece);
}

const struct dfi_node_kind dfi_kind_activation = { "activation",
                                                   DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT |
                                                       DFI_BF16_SAME,
                                                   NULL,
                                                   NULL,
                                                   activation_forward,
                                                   activation_backward };

/* Softmax over the channels of each pixel. */

static void softmax_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    const struct dfi_block y = dfi_exec_value(exec, number);
    exec->kernels->softmax(dfi_sample(&x, index), dfi_sample(&y, index), dfi_pixels(&y), y.c);
}

static void softmax_forward(struct dfi_exec *exec, int number)
{
    forward_samples(exec, number, softmax_piece);
}

static void softmax_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_block y = dfi_exec_value(exec, number), dy = dfi_exec_gradient_of(exec, number);
    void *g = dfi_sample(&dy, index);
    exec->kernels->softmax_backward(dfi_sample(&y, index), g, g, dfi_pixels(&y), y.c);
    dfi_give_gradient(exec, dfi_node(exec, number)->input[0], index, g, dy.ld);
}

static void softmax_backward(struct dfi_exec *exec, int number)
{
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    forward_samples(exec, number, softmax_backward_piece);
}

const struct dfi_node_kind dfi_kind_softmax = { "softmax", DFI_SAVES_OUTPUT, NULL,
                                                NULL,      softmax_forward,  softmax_backward };

/* Flatten: channels-last pixels to the reference order [c][h][w]. `back` 1 goes the other way. */

static void transpose(const struct dfi_exec *exec, const void *from, void *to, size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            dfi_set(exec, to, c * rows + r, dfi_get(exec, from, r * columns + c));
}

static void flatten_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_block x = dfi_exec_value(exec, dfi_node(exec, number)->input[0]);
    const struct dfi_block y = dfi_exec_value(exec, number);
    transpose(exec, dfi_sample(&x, index), dfi_sample(&y, index), dfi_pixels(&x), (size_t)x.c);
}

static void flatten_forward(struct dfi_exec *exec, int number)
{
    forward_samples(exec, number, flatten_piece);
}

static int flatten_need(const struct dfi_graph *graph, const struct dfi_node *node,
                        const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    out->worker = sizes->backward ? (size_t)node->c * sizes->element : 0;
    return DIFFC_OK;
}

static void flatten_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const int input = dfi_node(exec, number)->input[0];
    const struct dfi_block x = dfi_exec_value(exec, input), dy = dfi_exec_gradient_of(exec, number);
    void *g = dfi_worker(exec, worker);
    transpose(exec, dfi_sample(&dy, index), g, (size_t)x.c, dfi_pixels(&x));
    dfi_give_gradient(exec, input, index, g, x.c);
}

static void flatten_backward(struct dfi_exec *exec, int number)
{
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    forward_samples(exec, number, flatten_backward_piece);
}

const struct dfi_node_kind dfi_kind_flatten = { "flatten",       0, flatten_need, NULL, flatten_forward,
                                                flatten_backward };

/* Sum of two values, times a factor that a state of its own repeats for every channel (1: none needed). */

static int add_need(const struct dfi_graph *graph, const struct dfi_node *node,
                    const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    out->state = node->factor == 1 ? 0 : (size_t)node->c * sizes->element;
    return DIFFC_OK;
}

static const void *add_factors(const struct dfi_exec *exec, int number)
{
    return dfi_node(exec, number)->factor == 1 ? dfi_ones(exec) : dfi_state(exec, number);
}

static void add_refresh(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    for (int i = 0; node->factor != 1 && i < node->c; i++)
        dfi_set(exec, dfi_state(exec, number), (size_t)i, node->factor);
}

static void add_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block a = dfi_exec_value(exec, node->input[0]), b = dfi_exec_value(exec, node->input[1]);
    const struct dfi_block y = dfi_exec_value(exec, number);
    y.kernels->affine2(dfi_sample(&a, index), a.ld, dfi_sample(&b, index), b.ld, dfi_sample(&y, index), y.ld,
                       dfi_pixels(&y), y.c, add_factors(exec, number), add_factors(exec, number), NULL, 0);
}

static void add_forward(struct dfi_exec *exec, int number)
{
    forward_samples(exec, number, add_piece);
}

/* Input `slot` of a sum gets dy times its factor. */
static void give_term(struct dfi_exec *exec, int number, int slot, int n)
{
    const int input = dfi_node(exec, number)->input[slot];
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number), dx = dfi_exec_gradient_of(exec, input);
    dy.kernels->affine2(dfi_sample(&dy, n), dy.ld, NULL, 0, dfi_sample(&dx, n), dx.ld, dfi_pixels(&dx), dx.c,
                        add_factors(exec, number), NULL, NULL, dfi_gradient_adds(exec, input));
}

/* Input `slot` of a concatenation gets its channels of dy. */
static void pass_gradient(struct dfi_exec *exec, int number, int slot, int channel, int n)
{
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    dfi_give_gradient(exec, dfi_node(exec, number)->input[slot], n,
                      dfi_pixel(&dy, dfi_sample(&dy, n), channel), dy.ld);
}

static void add_first_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    give_term(exec, number, 0, index);
}

static void add_second_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    give_term(exec, number, 1, index);
}

static void add_backward(struct dfi_exec *exec, int number)
{
    static const dfi_node_task pieces[2] = { add_first_piece, add_second_piece };
    for (int slot = 0; slot < 2; slot++) {
        const int input = dfi_node(exec, number)->input[slot];
        if (dfi_wants_gradient(exec, input)) {
            dfi_gradient_begin(exec, input);
            forward_samples(exec, number, pieces[slot]);
        }
    }
}

const struct dfi_node_kind dfi_kind_add = { "add",       DFI_STRIDED_IN | DFI_STRIDED_OUT | DFI_BF16_SAME,
                                            add_need,    add_refresh,
                                            add_forward, add_backward };

/* Concatenation of channels: nothing to do for inputs that the plan has put in place. */

static int concat_channel(const struct dfi_exec *exec, int number, int slot)
{
    return slot == 0 ? 0 : dfi_node(exec, dfi_node(exec, number)->input[0])->c;
}

/* The same buffer is not enough: the place may be that of another slot, or of another concatenation around
 * this one. */
static int in_place(const struct dfi_exec *exec, const struct dfi_place *places, int number, int slot)
{
    const struct dfi_place *own = &places[dfi_node(exec, number)->input[slot]], *whole = &places[number];
    return own->root >= 0 && own->root == whole->root &&
           own->channel == whole->channel + concat_channel(exec, number, slot);
}

static void concat_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block y = dfi_exec_value(exec, number);
    for (int slot = 0; slot < 2; slot++) {
        const struct dfi_block x = dfi_exec_value(exec, node->input[slot]);
        if (!in_place(exec, exec->plan.value, number, slot))
            copy_pixels(&y, dfi_sample(&x, index), x.ld,
                        dfi_pixel(&y, dfi_sample(&y, index), concat_channel(exec, number, slot)), x.c);
    }
}

static void concat_forward(struct dfi_exec *exec, int number)
{
    if (!in_place(exec, exec->plan.value, number, 0) || !in_place(exec, exec->plan.value, number, 1))
        forward_samples(exec, number, concat_piece);
}

static void concat_first_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    pass_gradient(exec, number, 0, 0, index);
}

static void concat_second_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    pass_gradient(exec, number, 1, concat_channel(exec, number, 1), index);
}

static void concat_backward(struct dfi_exec *exec, int number)
{
    static const dfi_node_task pieces[2] = { concat_first_piece, concat_second_piece };
    for (int slot = 0; slot < 2; slot++) {
        const int input = dfi_node(exec, number)->input[slot];
        if (!dfi_wants_gradient(exec, input))
            continue;
        dfi_gradient_begin(exec, input);
        if (!in_place(exec, exec->plan.gradient, number, slot))
            forward_samples(exec, number, pieces[slot]);
    }
}

const struct dfi_node_kind dfi_kind_concat = {
    "concat", DFI_STRIDED_IN | DFI_STRIDED_OUT | DFI_BF16_SAME, NULL, NULL, concat_forward, concat_backward
};

/* Modulation: x * scale + shift, one value per channel and sample. */

static void *factor(const struct dfi_exec *exec, const struct dfi_node *node, int slot, int n)
{
    if (!slot)
        return NULL;
    const struct dfi_block block = dfi_exec_value(exec, node->input[slot]);
    return dfi_sample(&block, n);
}

static void modulate_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    x.kernels->affine_act(dfi_sample(&x, index), x.ld, dfi_sample(&y, index), y.ld, dfi_pixels(&y), y.c,
                          factor(exec, node, node->scale_slot, index),
                          factor(exec, node, node->shift_slot, index), DFI_ACT_NONE);
}

static void modulate_forward(struct dfi_exec *exec, int number)
{
    forward_samples(exec, number, modulate_piece);
}

/* Whether the gradient of each input is added to: inputs may be one and the same value, of which the last
 * slot is written first. */
static unsigned char *modulate_adds(const struct dfi_exec *exec, int number)
{
    return dfi_state(exec, number);
}

static int modulate_need(const struct dfi_graph *graph, const struct dfi_node *node,
                         const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    out->state = DFI_NODE_INPUTS;
    out->worker = sizes->backward ? 2 * (size_t)node->c * sizeof(double) : 0;
    return DIFFC_OK;
}

static void give_factor(const struct dfi_exec *exec, int number, int slot, int n, const double *sums)
{
    const struct dfi_node *node = dfi_node(exec, number);
    if (!slot || !dfi_wants_gradient(exec, node->input[slot]))
        return;
    const struct dfi_block block = dfi_exec_gradient_of(exec, node->input[slot]);
    void *gradient = dfi_sample(&block, n);
    const int adds = modulate_adds(exec, number)[slot];
    for (int i = 0; i < node->c; i++)
        dfi_set(exec, gradient, (size_t)i, (adds ? dfi_get(exec, gradient, (size_t)i) : 0) + sums[i]);
}

static void modulate_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), dy = dfi_exec_gradient_of(exec, number);
    double *sums = dfi_worker(exec, worker);
    void *g = dfi_sample(&dy, index);
    memset(sums, 0, 2 * (size_t)node->c * sizeof(*sums));
    x.kernels->affine_act_backward(dfi_sample(&x, index), x.ld, g, dy.ld, g, dy.ld, dfi_pixels(&dy), dy.c,
                                   NULL, NULL, DFI_ACT_NONE, sums, sums + node->c);
    give_factor(exec, number, node->shift_slot, index, sums);
    give_factor(exec, number, node->scale_slot, index, sums + node->c);
    if (dfi_wants_gradient(exec, node->input[0])) {
        const struct dfi_block dx = dfi_exec_gradient_of(exec, node->input[0]);
        const void *scale = factor(exec, node, node->scale_slot, index);
        dx.kernels->affine2(g, dy.ld, NULL, 0, dfi_sample(&dx, index), dx.ld, dfi_pixels(&dx), dx.c,
                            scale ? scale : dfi_ones(exec), NULL, NULL, modulate_adds(exec, number)[0]);
    }
}

static void modulate_backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    for (int slot = node->input_count - 1; slot >= 0; slot--) {
        const int input = node->input[slot];
        if (!dfi_wants_gradient(exec, input))
            continue;
        dfi_gradient_begin(exec, input);
        modulate_adds(exec, number)[slot] = (unsigned char)dfi_gradient_adds(exec, input);
    }
    forward_samples(exec, number, modulate_backward_piece);
}

const struct dfi_node_kind dfi_kind_modulate = {
    "modulate",       DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT | DFI_BF16_SAME,
    modulate_need,    NULL,
    modulate_forward, modulate_backward
};

/* Some of the channels. */

int dfi_channels(struct dfi_graph *graph, int x, int first, int count)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_channels, "", 1, &x);
    if (!node)
        return -1;
    if (first < 0 || count < 1 || count > node->c - first)
        return dfi_build_fail(graph, node, "has not those channels");
    node->first = first;
    node->c = count;
    return dfi_build_close(graph, node);
}

static void channels_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    copy_pixels(&y, dfi_pixel(&x, dfi_sample(&x, index), node->first), x.ld, dfi_sample(&y, index), y.c);
}

static void channels_forward(struct dfi_exec *exec, int number)
{
    forward_samples(exec, number, channels_piece);
}

/* Whoever comes first also says that the other channels have no gradient. */
static void channels_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    const struct dfi_block dx = dfi_exec_gradient_of(exec, node->input[0]);
    void *to = dfi_sample(&dx, index);
    if (!dfi_gradient_adds(exec, node->input[0]))
        for (size_t p = 0; p < dfi_pixels(&dx); p++)
            memset(dfi_pixel(&dx, to, (ptrdiff_t)p * dx.ld), 0, (size_t)dx.c * dx.kernels->pixel);
    dx.kernels->affine2(dfi_sample(&dy, index), dy.ld, NULL, 0, dfi_pixel(&dx, to, node->first), dx.ld,
                        dfi_pixels(&dy), dy.c, dfi_ones(exec), NULL, NULL, 1);
}

static void channels_backward(struct dfi_exec *exec, int number)
{
    dfi_gradient_begin(exec, dfi_node(exec, number)->input[0]);
    forward_samples(exec, number, channels_backward_piece);
}

const struct dfi_node_kind dfi_kind_channels = {
    "channels",       DFI_STRIDED_IN | DFI_STRIDED_OUT | DFI_BF16_SAME, NULL, NULL, channels_forward,
    channels_backward
};
