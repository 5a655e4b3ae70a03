#include "nn/graph.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "nn/build.h"

int dfi_graph_create(struct diffc_context *context, struct dfi_params *params, struct dfi_graph **graph)
{
    struct dfi_graph *made = dfi_calloc(context, 1, sizeof(*made));
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->context = context;
    made->params = params;
    made->loss = -1;
    *graph = made;
    return DIFFC_OK;
}

void dfi_graph_destroy(struct dfi_graph *graph)
{
    if (!graph)
        return;
    dfi_free(graph->context, graph->nodes);
    dfi_free(graph->context, graph);
}

/* A bias in front of a batch norm is taken out by the mean: its gradient is zero, and computing it would give
 * noise. */
static void mark_absorbed(struct dfi_graph *graph)
{
    for (int i = 0; i < graph->count; i++) {
        int consumers = 0, norms = 0;
        for (int j = i + 1; j < graph->count; j++) {
            for (int k = 0; k < graph->nodes[j].input_count; k++) {
                if (graph->nodes[j].input[k] == i) {
                    consumers++;
                    norms += graph->nodes[j].kind == &dfi_kind_batch_norm;
                }
            }
        }
        graph->nodes[i].absorbed = consumers > 0 && consumers == norms && !graph->nodes[i].keep;
    }
}

int dfi_graph_finish(struct dfi_graph *graph)
{
    if (graph->status == DIFFC_OK && graph->loss >= 0 && graph->loss != graph->count - 1)
        graph->status = dfi_fail(DIFFC_ERR_CONFIG, "node %d of %d is a loss, must be the last", graph->loss,
                                 graph->count);
    if (graph->status == DIFFC_OK)
        mark_absorbed(graph);
    return graph->status;
}

struct dfi_node *dfi_build_node(struct dfi_graph *graph, const struct dfi_node_kind *kind, const char *name,
                                int input_count, const int *inputs)
{
    if (graph->status)
        return NULL;
    if (graph->count == graph->capacity) {
        const int more = graph->capacity ? 2 * graph->capacity : 64;
        struct dfi_node *grown = dfi_realloc(graph->context, graph->nodes,
                                             (size_t)graph->capacity * sizeof(*grown),
                                             (size_t)more * sizeof(*grown));
        if (!grown) {
            graph->status = DIFFC_ERR_NOMEM;
            return NULL;
        }
        graph->nodes = grown;
        graph->capacity = more;
    }
    struct dfi_node *node = &graph->nodes[graph->count];
    memset(node, 0, sizeof(*node));
    node->kind = kind;
    snprintf(node->name, sizeof(node->name), "%s", name ? name : "");
    node->input_count = input_count;
    for (int i = 0; i < input_count; i++) {
        const struct dfi_node *input = &graph->nodes[inputs[i]];
        node->input[i] = inputs[i];
        node->conditional |= input->conditional;
        node->gradient |= input->gradient;
    }
    for (int i = 0; i < DFI_NODE_PARAMS; i++)
        node->param[i] = node->stat[i] = -1;
    if (input_count > 0) {
        node->c = graph->nodes[inputs[0]].c;
        node->h = graph->nodes[inputs[0]].h;
        node->w = graph->nodes[inputs[0]].w;
    }
    return node;
}

static struct dfi_node *add_unary(struct dfi_graph *graph, const struct dfi_node_kind *kind, const char *name,
                                  int x)
{
    return dfi_build_node(graph, kind, name, 1, &x);
}

int dfi_build_close(struct dfi_graph *graph, const struct dfi_node *node)
{
    if (!node || graph->status)
        return -1;
    return graph->count++;
}

int dfi_build_fail(struct dfi_graph *graph, const struct dfi_node *node, const char *why)
{
    if (graph->status == DIFFC_OK)
        graph->status = dfi_fail(DIFFC_ERR_CONFIG, "%s %s [%d, %d, %d]: %s", node->kind->name, node->name,
                                 node->c, node->h, node->w, why);
    return -1;
}

static int is_used(const struct dfi_graph *graph, int param)
{
    for (int i = 0; i < graph->count; i++)
        for (int slot = 0; slot < DFI_NODE_PARAMS; slot++)
            if (graph->nodes[i].param[slot] == param)
                return 1;
    return 0;
}

/* A second graph over the same parameters finds them made. Within one graph a name stands for one layer: the
 * gradients of two would overwrite each other. */
static int reuse_param(const struct dfi_graph *graph, const struct dfi_param *known, int trainable, int ndim,
                       const int64_t *shape)
{
    if (!trainable || known->ndim != ndim || memcmp(known->shape, shape, (size_t)ndim * sizeof(*shape)) != 0)
        return dfi_fail(DIFFC_ERR_CONFIG, "%s has another shape in another graph", known->name);
    const int number = (int)(known - graph->params->list);
    if (is_used(graph, number))
        return dfi_fail(DIFFC_ERR_CONFIG, "%s belongs to another layer already", known->name);
    return number;
}

void dfi_build_named_param(struct dfi_graph *graph, struct dfi_node *node, int slot, const char *name,
                           int ndim, const int64_t *shape, enum dfi_init init, int64_t fan_in)
{
    if (graph->status)
        return;
    int trainable = 1;
    const struct dfi_param *known = dfi_params_find(graph->params, name, &trainable);
    const int number = known ? reuse_param(graph, known, trainable, ndim, shape)
                             : dfi_params_add(graph->params, 1, name, ndim, shape, init, fan_in);
    if (number < 0)
        graph->status = number;
    node->param[slot] = number;
    node->gradient = 1;
}

void dfi_build_param(struct dfi_graph *graph, struct dfi_node *node, int slot, int ndim, const int64_t *shape,
                     enum dfi_init init, int64_t fan_in)
{
    static const char *const suffix[DFI_NODE_PARAMS] = { "weight", "bias" };
    char name[DFI_PARAM_NAME + 16];
    snprintf(name, sizeof(name), "%s.%s", node->name, suffix[slot]);
    dfi_build_named_param(graph, node, slot, name, ndim, shape, init, fan_in);
}

void dfi_build_widens(struct dfi_graph *graph, const struct dfi_node *node)
{
    /* Not written again: sessions of several threads may build graphs over one model's parameters. */
    if (graph->status == DIFFC_OK && !graph->params->list[node->param[0]].widens)
        graph->params->list[node->param[0]].widens = 1;
}

static void add_stat(struct dfi_graph *graph, struct dfi_node *node, int slot, const char *suffix,
                     enum dfi_init init)
{
    char name[DFI_PARAM_NAME + 16];
    if (graph->status)
        return;
    snprintf(name, sizeof(name), "%s.%s", node->name, suffix);
    int trainable = 0;
    const struct dfi_param *known = dfi_params_find(graph->params, name, &trainable);
    const int64_t shape[1] = { node->c };
    const int number = known ? (int)(known - graph->params->stat_list)
                             : dfi_params_add(graph->params, 0, name, 1, shape, init, 0);
    if (number < 0)
        graph->status = number;
    node->stat[slot] = number;
}

int dfi_graph_input(struct dfi_graph *graph, const char *name, int c, int h, int w, int conditional)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_input, name, 0, NULL);
    if (!node)
        return -1;
    node->c = c;
    node->h = h;
    node->w = w;
    node->conditional = conditional;
    return dfi_build_close(graph, node);
}

static int add_conv(struct dfi_graph *graph, const struct dfi_node_kind *kind, int x, const char *name,
                    int cout, int kernel, int stride, int padding)
{
    struct dfi_node *node = add_unary(graph, kind, name, x);
    if (!node)
        return -1;
    const int transposed = kind == &dfi_kind_conv_transpose2d, cin = node->c;
    struct dfi_conv conv = { .transposed = transposed,
                             .cin = cin,
                             .cout = cout,
                             .kernel = kernel,
                             .stride = stride,
                             .padding = padding,
                             .in_h = node->h,
                             .in_w = node->w,
                             .dtype = DIFFC_F64 };
    if (dfi_conv_init(&conv))
        return dfi_build_fail(graph, node, "the window does not fit");
    node->kernel_h = node->kernel_w = kernel;
    node->stride = stride;
    node->padding = padding;
    node->c = cout;
    node->h = conv.out_h;
    node->w = conv.out_w;
    /* PyTorch takes the second size of the weight as fan_in: for a transposed one that is out * k * k. */
    const int64_t fan_in = (int64_t)(transposed ? cout : cin) * kernel * kernel;
    dfi_build_param(graph, node, 0, 4,
                    (const int64_t[]) { transposed ? cin : cout, transposed ? cout : cin, kernel, kernel },
                    DFI_INIT_UNIFORM, fan_in);
    dfi_build_widens(graph, node);
    dfi_build_param(graph, node, 1, 1, (const int64_t[]) { cout }, DFI_INIT_UNIFORM, fan_in);
    return dfi_build_close(graph, node);
}

int dfi_conv2d(struct dfi_graph *graph, int x, const char *name, int cout, int kernel, int stride,
               int padding)
{
    return add_conv(graph, &dfi_kind_conv2d, x, name, cout, kernel, stride, padding);
}

int dfi_conv_transpose2d(struct dfi_graph *graph, int x, const char *name, int cout, int kernel, int stride,
                         int padding)
{
    return add_conv(graph, &dfi_kind_conv_transpose2d, x, name, cout, kernel, stride, padding);
}

int dfi_unflatten(struct dfi_graph *graph, int x, const char *name, int cout, int kernel_h, int kernel_w)
{
    struct dfi_node *node = add_unary(graph, &dfi_kind_unflatten, name, x);
    if (!node)
        return -1;
    if (node->h != 1 || node->w != 1)
        return dfi_build_fail(graph, node, "needs a single pixel");
    const int64_t fan_in = (int64_t)cout * kernel_h * kernel_w;
    const int64_t shape[4] = { node->c, cout, kernel_h, kernel_w };
    node->kernel_h = kernel_h;
    node->kernel_w = kernel_w;
    node->c = cout;
    node->h = kernel_h;
    node->w = kernel_w;
    dfi_build_param(graph, node, 0, 4, shape, DFI_INIT_UNIFORM, fan_in);
    dfi_build_param(graph, node, 1, 1, (const int64_t[]) { cout }, DFI_INIT_UNIFORM, fan_in);
    return dfi_build_close(graph, node);
}

int dfi_batch_norm(struct dfi_graph *graph, int x, const char *name, enum dfi_act act)
{
    struct dfi_node *node = add_unary(graph, &dfi_kind_batch_norm, name, x);
    if (!node)
        return -1;
    const int64_t shape[1] = { node->c };
    node->act = act;
    dfi_build_param(graph, node, 0, 1, shape, DFI_INIT_ONE, 0);
    dfi_build_param(graph, node, 1, 1, shape, DFI_INIT_ZERO, 0);
    add_stat(graph, node, 0, "running_mean", DFI_INIT_ZERO);
    add_stat(graph, node, 1, "running_var", DFI_INIT_ONE);
    return dfi_build_close(graph, node);
}

static int add_linear(struct dfi_graph *graph, int x, const char *name, int out, int with_bias)
{
    struct dfi_node *node = add_unary(graph, &dfi_kind_linear, name, x);
    if (!node)
        return -1;
    const int in = node->c;
    node->c = out;
    dfi_build_param(graph, node, 0, 2, (const int64_t[]) { out, in }, DFI_INIT_UNIFORM, in);
    dfi_build_widens(graph, node);
    if (with_bias)
        dfi_build_param(graph, node, 1, 1, (const int64_t[]) { out }, DFI_INIT_UNIFORM, in);
    return dfi_build_close(graph, node);
}

int dfi_linear(struct dfi_graph *graph, int x, const char *name, int out)
{
    return add_linear(graph, x, name, out, 1);
}

int dfi_project(struct dfi_graph *graph, int x, const char *name, int out)
{
    return add_linear(graph, x, name, out, 0);
}

int dfi_activation(struct dfi_graph *graph, int x, enum dfi_act act)
{
    struct dfi_node *node = add_unary(graph, &dfi_kind_activation, "", x);
    if (node)
        node->act = act;
    return dfi_build_close(graph, node);
}

int dfi_softmax(struct dfi_graph *graph, int x)
{
    return dfi_build_close(graph, add_unary(graph, &dfi_kind_softmax, "", x));
}

static int add_pool(struct dfi_graph *graph, const struct dfi_node_kind *kind, int x, int kernel_h,
                    int kernel_w)
{
    struct dfi_node *node = add_unary(graph, kind, "", x);
    if (!node)
        return -1;
    if (node->h < kernel_h || node->w < kernel_w)
        return dfi_build_fail(graph, node, "smaller than the window");
    node->kernel_h = kernel_h;
    node->kernel_w = kernel_w;
    node->h /= kernel_h;
    node->w /= kernel_w;
    return dfi_build_close(graph, node);
}

int dfi_avg_pool(struct dfi_graph *graph, int x, int kernel_h, int kernel_w)
{
    return add_pool(graph, &dfi_kind_avg_pool, x, kernel_h, kernel_w);
}

int dfi_max_pool(struct dfi_graph *graph, int x, int kernel)
{
    return add_pool(graph, &dfi_kind_max_pool, x, kernel, kernel);
}

int dfi_flatten(struct dfi_graph *graph, int x)
{
    struct dfi_node *node = add_unary(graph, &dfi_kind_flatten, "", x);
    if (node) {
        const int64_t shape[3] = { node->c, node->h, node->w };
        size_t channels;
        if (dfi_ck_product(shape, 3, &channels) || channels > INT32_MAX)
            return dfi_build_fail(graph, node, "too many values");
        node->c = (int)channels;
        node->h = node->w = 1;
    }
    return dfi_build_close(graph, node);
}

static int same_pixels(const struct dfi_graph *graph, int a, int b)
{
    return graph->nodes[a].h == graph->nodes[b].h && graph->nodes[a].w == graph->nodes[b].w;
}

int dfi_add(struct dfi_graph *graph, int a, int b)
{
    return dfi_add_scaled(graph, a, b, 1);
}

int dfi_add_scaled(struct dfi_graph *graph, int a, int b, double factor)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_add, "", 2, (const int[]) { a, b });
    if (!node)
        return -1;
    if (!same_pixels(graph, a, b) || graph->nodes[a].c != graph->nodes[b].c)
        return dfi_build_fail(graph, node, "operands of different shapes");
    node->factor = factor;
    return dfi_build_close(graph, node);
}

int dfi_concat(struct dfi_graph *graph, int a, int b)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_concat, "", 2, (const int[]) { a, b });
    if (!node)
        return -1;
    if (!same_pixels(graph, a, b))
        return dfi_build_fail(graph, node, "operands of different sizes");
    node->c = graph->nodes[a].c + graph->nodes[b].c;
    return dfi_build_close(graph, node);
}

int dfi_modulate(struct dfi_graph *graph, int x, int scale, int shift)
{
    int inputs[3] = { x, 0, 0 }, count = 1, scale_slot = 0, shift_slot = 0;
    if (graph->status)
        return -1;
    if (scale >= 0) {
        scale_slot = count;
        inputs[count++] = scale;
    }
    if (shift >= 0) {
        shift_slot = count;
        inputs[count++] = shift;
    }
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_modulate, "", count, inputs);
    if (!node)
        return -1;
    for (int i = 1; i < count; i++) {
        const struct dfi_node *factor = &graph->nodes[inputs[i]];
        if (factor->h != 1 || factor->w != 1 || factor->c != node->c)
            return dfi_build_fail(graph, node, "needs one value per channel");
    }
    node->scale_slot = scale_slot;
    node->shift_slot = shift_slot;
    return dfi_build_close(graph, node);
}

int dfi_output(struct dfi_graph *graph, int x)
{
    if (graph->status)
        return -1;
    graph->nodes[x].keep = 1;
    return x;
}

static int add_loss(struct dfi_graph *graph, const struct dfi_node_kind *kind, int y, int target)
{
    struct dfi_node *node = dfi_build_node(graph, kind, "", 2, (const int[]) { y, target });
    if (!node)
        return -1;
    if (!same_pixels(graph, y, target) || graph->nodes[y].c != graph->nodes[target].c)
        return dfi_build_fail(graph, node, "prediction and target of different shapes");
    if (graph->loss >= 0 || graph->nodes[target].gradient)
        return dfi_build_fail(graph, node, "there may be one, and its target may not depend on parameters");
    node->c = node->h = node->w = 1;
    graph->loss = graph->count;
    return dfi_build_close(graph, node);
}

int dfi_mse_loss(struct dfi_graph *graph, int y, int target)
{
    return add_loss(graph, &dfi_kind_mse_loss, y, target);
}

int dfi_cross_entropy_loss(struct dfi_graph *graph, int logits, int target)
{
    return add_loss(graph, &dfi_kind_cross_entropy_loss, logits, target);
}
