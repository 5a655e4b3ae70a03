/* The memory plan: every value and gradient gets its place in one block before anything runs. A pass over the
 * nodes is a time line: node i runs forward at time i and backward at time 2 n - 1 - i; buffers whose times
 * do not meet may share bytes. */

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "nn/node.h"
#include "nn/split.h"

#define ALIGNMENT 64

struct buffer {
    size_t bytes, offset;
    int first, last; /* times; first > last: not needed */
};

static size_t align_up(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static int samples_planned(const struct dfi_node *node, const struct dfi_exec_options *options)
{
    return dfi_largest_batch(options) * (node->conditional ? options->conditions : 1);
}

/* Whether every user of a value can read it as a slice of wider pixels. */
static int users_stride(const struct dfi_graph *graph, int value)
{
    for (int i = value + 1; i < graph->count; i++)
        for (int k = 0; k < graph->nodes[i].input_count; k++)
            if (graph->nodes[i].input[k] == value && !(graph->nodes[i].kind->flags & DFI_STRIDED_IN))
                return 0;
    return 1;
}

/* Gives the inputs of a concatenation their place inside its buffer where that works, so that concatenating
 * costs nothing. To save memory only the youngest: the buffer is three times as wide as a skip connection
 * that would hold it over half of the network. */
static void place_in_concat(const struct dfi_graph *graph, int concat, const struct dfi_exec_options *options,
                            struct dfi_plan *plan)
{
    const struct dfi_node *node = &graph->nodes[concat];
    const int saves = options->stream && !options->backward;
    int channel = 0, youngest = 0;
    for (int k = 0; saves && k < node->input_count; k++)
        youngest = node->input[k] > youngest ? node->input[k] : youngest;
    for (int k = 0; k < node->input_count; k++) {
        const int value = node->input[k];
        const struct dfi_node *input = &graph->nodes[value];
        const int fits = value >= youngest && plan->value[value].root == value &&
                         (input->kind->flags & DFI_STRIDED_OUT) && users_stride(graph, value) &&
                         samples_planned(input, options) == samples_planned(node, options);
        int last_user = 0;
        for (int i = value + 1; i < graph->count; i++)
            for (int j = 0; j < graph->nodes[i].input_count; j++)
                if (graph->nodes[i].input[j] == value)
                    last_user = i;
        if (fits) {
            plan->value[value].root = plan->value[concat].root;
            plan->value[value].channel = plan->value[concat].channel + channel;
            /* The gradient too, unless a later user would write its part before the concatenation's users do.
             */
            if (last_user == concat && plan->gradient[value].root == value &&
                plan->gradient[concat].root >= 0) {
                plan->gradient[value].root = plan->gradient[concat].root;
                plan->gradient[value].channel = plan->gradient[concat].channel + channel;
            }
        }
        channel += input->c;
    }
}

static int users_of(const struct dfi_graph *graph, int value)
{
    int users = 0;
    for (int i = value + 1; i < graph->count; i++)
        for (int k = 0; k < graph->nodes[i].input_count; k++)
            users += graph->nodes[i].input[k] == value;
    return users;
}

/* Never anything but running statistics, and no backward pass. */
static int is_frozen(const struct dfi_exec_options *options)
{
    return options->frozen && !options->backward;
}

static int is_convolution(const struct dfi_node *node)
{
    return node->kind == &dfi_kind_conv2d || node->kind == &dfi_kind_conv_transpose2d;
}

/* A frozen batch norm is a scale and a shift, done while its convolution writes, into its own place. */
static void fuse_norms(const struct dfi_graph *graph, const struct dfi_exec_options *options,
                       struct dfi_plan *plan)
{
    for (int i = 0; i < graph->count; i++)
        plan->fused[i] = -1;
    for (int i = 0; is_frozen(options) && i < graph->count; i++) {
        const struct dfi_node *node = &graph->nodes[i];
        if (node->kind != &dfi_kind_batch_norm)
            continue;
        const int conv = node->input[0];
        if (is_convolution(&graph->nodes[conv]) && !graph->nodes[conv].keep && users_of(graph, conv) == 1) {
            plan->fused[conv] = i;
            plan->fused[i] = conv;
            plan->value[conv] = plan->value[i];
        }
    }
}

/* The batch norm whose gradient the backward pass of a convolution ends: right before it, or before a
 * concatenation in between whose gradient its own is part of; or -1. Whoever else takes in what a batch norm
 * gives has a higher number, and has added its gradient before. */
static int norm_before(const struct dfi_graph *graph, const struct dfi_plan *plan, int conv)
{
    const int input = graph->nodes[conv].input[0];
    int norm = input;
    if (input != conv - 1)
        return -1;
    if (graph->nodes[input].kind == &dfi_kind_concat) {
        norm = input - 1;
        if (plan->gradient[norm].root != plan->gradient[input].root || users_of(graph, norm) != 1)
            return -1;
    }
    return graph->nodes[norm].kind == &dfi_kind_batch_norm ? norm : -1;
}

/* In training the convolutions right before and right behind a batch norm go on with its samples, in the
 * scratch that they share; unless they pack their weights there. */
static void join_norms(const struct dfi_graph *graph, const struct dfi_exec_options *options,
                       struct dfi_plan *plan)
{
    for (int i = 0; i < graph->count; i++)
        plan->gathered[i] = plan->finished[i] = -1;
    for (int i = 1; options->backward && !options->stream && i < graph->count; i++) {
        const struct dfi_node *node = &graph->nodes[i];
        if (node->kind == &dfi_kind_batch_norm && node->input[0] == i - 1 && is_convolution(node - 1)) {
            plan->gathered[i - 1] = i;
            plan->gathered[i] = i - 1;
        }
        const int norm = is_convolution(node) ? norm_before(graph, plan, i) : -1;
        if (norm >= 0) {
            plan->finished[norm] = i;
            plan->finished[i] = norm;
        }
    }
}

static void choose_roots(const struct dfi_graph *graph, const struct dfi_exec_options *options,
                         struct dfi_plan *plan)
{
    for (int i = 0; i < graph->count; i++) {
        plan->value[i] = (struct dfi_place) { i, 0, 0 };
        plan->gradient[i] = (struct dfi_place) { options->backward && graph->nodes[i].gradient ? i : -1, 0,
                                                 0 };
    }
    /* From the back, so that a concatenation inside another finds its final place first. */
    for (int i = graph->count - 1; i >= 0; i--)
        if (graph->nodes[i].kind == &dfi_kind_concat)
            place_in_concat(graph, i, options, plan);
    fuse_norms(graph, options, plan);
}

/* Which of the inputs and the output (slot -1) of a node have one type. */
static int shares_type(const struct dfi_node *node, int slot)
{
    if (node->base_slot)
        return slot < 0 || slot == node->base_slot;
    return (node->kind->flags & DFI_BF16_SAME) && (slot <= 0 || node->kind != &dfi_kind_modulate);
}

/* Takes bfloat16 from the values of a node that cannot do with it; returns whether anything changed. */
static int widen_values(const struct dfi_node *node, int number, unsigned char *narrow)
{
    int wide = !narrow[number], changed = 0;
    for (int k = 0; k < node->input_count; k++) {
        unsigned char *input = &narrow[node->input[k]];
        const int shares = shares_type(node, k);
        if (*input && !shares && !(node->kind->flags & DFI_BF16_IN)) {
            *input = 0;
            changed = 1;
        }
        wide |= shares && !*input;
    }
    for (int k = -1; wide && k < node->input_count; k++) {
        unsigned char *value = &narrow[k < 0 ? number : node->input[k]];
        const int shares = shares_type(node, k);
        changed |= shares && *value;
        *value = shares ? 0 : *value;
    }
    return changed;
}

/* Values that all of their users can take in bfloat16, outputs excepted. */
static void choose_types(const struct dfi_graph *graph, const struct dfi_exec_options *options,
                         unsigned char *narrow)
{
    int changed = options->precision == DFI_PRECISION_BF16;
    for (int i = 0; changed && i < graph->count - 1; i++)
        narrow[i] = !graph->nodes[i].keep && (graph->nodes[i].kind->flags & (DFI_BF16_OUT | DFI_BF16_SAME));
    while (changed) {
        changed = 0;
        for (int i = 0; i < graph->count; i++)
            changed |= widen_values(&graph->nodes[i], i, narrow);
    }
}

static void use(struct buffer *buffer, int time)
{
    if (time < buffer->first)
        buffer->first = time;
    if (time > buffer->last)
        buffer->last = time;
}

static void find_lifetimes(const struct dfi_graph *graph, const struct dfi_exec_options *options,
                           const struct dfi_plan *plan, struct buffer *values, struct buffer *gradients)
{
    const int n = graph->count, end = 2 * n;
    for (int i = 0; i < n; i++) {
        const struct dfi_node *node = &graph->nodes[i];
        const int backward = end - 1 - i, trains = options->backward && node->gradient;
        struct buffer *own = &values[plan->value[i].root];
        use(own, node->kind == &dfi_kind_input ? -1 : i);
        if (node->keep || i == n - 1)
            use(own, end);
        if (trains && (node->kind->flags & DFI_SAVES_OUTPUT))
            use(own, backward);
        if (trains && plan->gradient[i].root >= 0)
            use(&gradients[plan->gradient[i].root], node->kind == &dfi_kind_input ? end : backward);
        for (int k = 0; k < node->input_count; k++) {
            const int input = node->input[k];
            use(&values[plan->value[input].root], i);
            if (trains && (node->kind->flags & DFI_SAVES_INPUT))
                use(&values[plan->value[input].root], backward);
            if (trains && plan->gradient[input].root >= 0)
                use(&gradients[plan->gradient[input].root], backward);
        }
    }
}

static int by_size(const void *a, const void *b)
{
    const struct buffer *const *x = a, *const *y = b;
    if ((*x)->bytes != (*y)->bytes)
        return (*x)->bytes < (*y)->bytes ? 1 : -1;
    return *x < *y ? -1 : *x > *y; /* the order of the graph: the same plan every time */
}

/* Largest first, each at the lowest offset where it meets nobody of its time. */
static size_t pack_buffers(struct buffer **order, int count)
{
    size_t end = 0;
    qsort(order, (size_t)count, sizeof(*order), by_size);
    for (int i = 0; i < count; i++) {
        struct buffer *b = order[i];
        int moved = 1;
        b->offset = 0;
        while (moved) {
            moved = 0;
            for (int j = 0; j < i; j++) {
                const struct buffer *other = order[j];
                if (other->first <= b->last && b->first <= other->last &&
                    other->offset < b->offset + b->bytes && b->offset < other->offset + other->bytes) {
                    b->offset = other->offset + other->bytes;
                    moved = 1;
                }
            }
        }
        if (b->offset + b->bytes > end)
            end = b->offset + b->bytes;
    }
    return end;
}

static int size_buffer(const struct dfi_node *node, int samples, size_t element, size_t *bytes)
{
    const int64_t sizes[5] = { samples, node->h, node->w, node->c, (int64_t)element };
    if (dfi_ck_product(sizes, 5, bytes) || *bytes > SIZE_MAX / 8)
        return dfi_fail(DIFFC_ERR_LIMIT, "%d samples of [%d, %d, %d] do not fit into memory", samples,
                        node->c, node->h, node->w);
    *bytes = align_up(*bytes);
    return DIFFC_OK;
}

static int place_values(const struct dfi_graph *graph, size_t element, const struct dfi_exec_options *options,
                        struct dfi_plan *plan, size_t *bytes)
{
    const int n = graph->count;
    struct buffer *buffers = dfi_calloc(graph->context, 2 * (size_t)n, sizeof(*buffers));
    struct buffer **order = dfi_calloc(graph->context, 2 * (size_t)n, sizeof(*order));
    int status = buffers && order ? DIFFC_OK : DIFFC_ERR_NOMEM, used = 0;

    for (int i = 0; status == DIFFC_OK && i < n; i++) {
        struct buffer *pair[2] = { &buffers[i], &buffers[n + i] };
        const int exists[2] = { plan->value[i].root == i, plan->gradient[i].root == i };
        for (int k = 0; k < 2 && status == DIFFC_OK; k++) {
            pair[k]->first = 4 * n;
            pair[k]->last = -2;
            if (exists[k]) {
                status = size_buffer(&graph->nodes[i], samples_planned(&graph->nodes[i], options),
                                     plan->narrow[i] ? sizeof(uint16_t) : element, &pair[k]->bytes);
                order[used++] = pair[k];
            }
        }
    }
    if (status == DIFFC_OK) {
        find_lifetimes(graph, options, plan, buffers, buffers + n);
        *bytes = pack_buffers(order, used);
        for (int i = 0; i < n; i++) {
            plan->value[i].offset = buffers[plan->value[i].root].offset;
            if (plan->gradient[i].root >= 0)
                plan->gradient[i].offset = buffers[n + plan->gradient[i].root].offset;
        }
    }
    dfi_free(graph->context, order);
    dfi_free(graph->context, buffers);
    return status;
}

/* Behind the values: what the nodes keep, scratch, gradients of the parameters. */
static int place_needs(const struct dfi_graph *graph, int dtype, size_t element,
                       const struct dfi_exec_options *options, struct dfi_plan *plan, size_t at)
{
    struct dfi_exec_sizes sizes = { .element = element,
                                    .backward = options->backward,
                                    .stream = options->stream,
                                    .arithmetic = { dfi_kernels_get(graph->context->cpu_flags, dtype), dtype,
                                                    options->numerics, options->precision, options->tiles,
                                                    plan->narrow } };
    const int workers = options->workers ? options->workers : graph->context->threads;
    size_t shared = 0, worker = 0;
    int channels = 1;
    for (int i = 0; i < graph->count; i++) {
        const struct dfi_node *node = &graph->nodes[i];
        struct dfi_need need = { 0, 0, 0 };
        sizes.samples = samples_planned(node, options);
        if (node->kind->need)
            DFI_TRY(node->kind->need(graph, node, &sizes, &need));
        plan->state_offset[i] = at;
        at += align_up(need.state);
        shared = need.shared > shared ? need.shared : shared;
        worker = need.worker > worker ? need.worker : worker;
        channels = node->c > channels ? node->c : channels;
    }
    plan->ones_offset = at;
    at += align_up((size_t)channels * element);
    plan->shared_offset = at;
    at += align_up(shared);
    plan->worker_size = align_up(worker);
    plan->worker_offset = at;
    at += plan->worker_size * (size_t)workers;
    plan->gradients_offset = at;
    if (options->backward)
        at += align_up(graph->params->value_count * element);
    plan->bytes = at;
    return DIFFC_OK;
}

static int choose_graph(const struct dfi_graph *graph, const struct dfi_exec_options *options,
                        struct dfi_plan *plan)
{
    plan->graph = *graph;
    if (!is_frozen(options))
        return DIFFC_OK;
    DFI_TRY(dfi_split_nodes(graph, &plan->nodes));
    plan->graph.nodes = plan->nodes;
    return DIFFC_OK;
}

int dfi_plan_make(const struct dfi_graph *whole, int dtype, const struct dfi_exec_options *options,
                  struct dfi_plan *plan)
{
    const struct dfi_graph *graph = &plan->graph;
    const size_t n = (size_t)whole->count, element = dfi_dtype_size(dtype);
    struct diffc_context *context = whole->context;
    size_t bytes = 0;
    memset(plan, 0, sizeof(*plan));
    plan->value = dfi_calloc(context, n, sizeof(*plan->value));
    plan->gradient = dfi_calloc(context, n, sizeof(*plan->gradient));
    plan->fused = dfi_calloc(context, n, sizeof(*plan->fused));
    plan->gathered = dfi_calloc(context, n, sizeof(*plan->gathered));
    plan->finished = dfi_calloc(context, n, sizeof(*plan->finished));
    plan->narrow = dfi_calloc(context, n, sizeof(*plan->narrow));
    plan->state_offset = dfi_calloc(context, n, sizeof(*plan->state_offset));
    int status = plan->value && plan->gradient && plan->fused && plan->gathered && plan->finished &&
                         plan->narrow && plan->state_offset
                     ? DIFFC_OK
                     : DIFFC_ERR_NOMEM;
    if (status == DIFFC_OK)
        status = choose_graph(whole, options, plan);
    if (status == DIFFC_OK) {
        choose_types(graph, options, plan->narrow);
        choose_roots(graph, options, plan);
        join_norms(graph, options, plan);
        status = place_values(graph, element, options, plan, &bytes);
    }
    if (status == DIFFC_OK)
        status = place_needs(graph, dtype, element, options, plan, bytes);
    if (status < 0)
        dfi_plan_clear(context, plan);
    return status;
}

void dfi_plan_clear(struct diffc_context *context, struct dfi_plan *plan)
{
    dfi_free(context, plan->nodes);
    dfi_free(context, plan->value);
    dfi_free(context, plan->gradient);
    dfi_free(context, plan->fused);
    dfi_free(context, plan->gathered);
    dfi_free(context, plan->finished);
    dfi_free(context, plan->narrow);
    dfi_free(context, plan->state_offset);
    memset(plan, 0, sizeof(*plan));
}
