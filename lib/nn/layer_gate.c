/* Gated activations: act(a) * b. */

#include "nn/build.h"

static size_t sample_size(const struct dfi_block *block)
{
    return (size_t)block->h * (size_t)block->w * (size_t)block->c;
}

static void forward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block a = dfi_exec_value(exec, node->input[0]), b = dfi_exec_value(exec, node->input[1]);
    const struct dfi_block y = dfi_exec_value(exec, number);
    exec->kernels->gate(dfi_sample(&a, index), dfi_sample(&b, index), dfi_sample(&y, index), sample_size(&y),
                        node->act);
}

static void forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, forward_piece, dfi_samples(exec, number));
}

/* Whether the gradient of each input is added to: both may be one value. */
static unsigned char *slot_adds(const struct dfi_exec *exec, int number)
{
    return dfi_state(exec, number);
}

static int need(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    (void)node;
    (void)sizes;
    out->state = 2;
    return DIFFC_OK;
}

static void *input_gradient(const struct dfi_exec *exec, const struct dfi_node *node, int slot, int n)
{
    if (!dfi_wants_gradient(exec, node->input[slot]))
        return NULL;
    const struct dfi_block block = dfi_exec_gradient_of(exec, node->input[slot]);
    return dfi_sample(&block, n);
}

static void backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block a = dfi_exec_value(exec, node->input[0]), b = dfi_exec_value(exec, node->input[1]);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    exec->kernels->gate_backward(dfi_sample(&a, index), dfi_sample(&b, index), dfi_sample(&dy, index),
                                 input_gradient(exec, node, 0, index), input_gradient(exec, node, 1, index),
                                 sample_size(&dy), node->act, slot_adds(exec, number)[0],
                                 slot_adds(exec, number)[1]);
}

static void backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    for (int slot = 0; slot < 2; slot++) {
        if (!dfi_wants_gradient(exec, node->input[slot]))
            continue;
        dfi_gradient_begin(exec, node->input[slot]);
        slot_adds(exec, number)[slot] = (unsigned char)dfi_gradient_adds(exec, node->input[slot]);
    }
    dfi_node_parallel(exec, number, backward_piece, dfi_samples(exec, number));
}

const struct dfi_node_kind dfi_kind_gate = { "gate", DFI_SAVES_INPUT, need, NULL, forward, backward };

int dfi_gate(struct dfi_graph *graph, int a, int b, enum dfi_act act)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_gate, "", 2, (const int[]) { a, b });
    if (!node)
        return -1;
    const struct dfi_node *other = &graph->nodes[b];
    if (node->c != other->c || node->h != other->h || node->w != other->w)
        return dfi_build_fail(graph, node, "operands of different shapes");
    node->act = act;
    return dfi_build_close(graph, node);
}
