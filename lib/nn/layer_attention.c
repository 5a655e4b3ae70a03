/* Multi-head attention. A piece of work is one head and a block of queries, whose scores lie in a worker's
 * scratch; the backward pass computes them again, so nothing is kept but the inputs. */

#include "kernel/gemm.h"
#include "nn/build.h"

#define QUERIES DFI_ATTEND_QUERIES /* per piece; depends on nothing, so neither do the bits */

enum { Q, K, V };

static int more_keys(const struct dfi_graph *graph, const struct dfi_node *node)
{
    const struct dfi_node *more = node->more_slot ? &graph->nodes[node->input[node->more_slot]] : NULL;
    return more ? more->h * more->w : 0;
}

static int first_keys(const struct dfi_graph *graph, const struct dfi_node *node)
{
    const struct dfi_node *k = &graph->nodes[node->input[K]];
    return k->h * k->w;
}

static int all_keys(const struct dfi_graph *graph, const struct dfi_node *node)
{
    return first_keys(graph, node) + more_keys(graph, node);
}

/* Building. */

static const char *misfit(const struct dfi_graph *graph, const struct dfi_attention *args)
{
    const struct dfi_node *q = &graph->nodes[args->q], *k = &graph->nodes[args->k],
                          *v = &graph->nodes[args->v];
    if (args->heads < 1 || q->c % args->heads || v->c % args->heads)
        return "channels do not divide into the heads";
    if (k->c != q->c || k->h * k->w != v->h * v->w)
        return "queries, keys and values do not fit each other";
    if ((args->more_k < 0) != (args->more_v < 0))
        return "a second part of keys needs one of values";
    if (args->more_k >= 0) {
        const struct dfi_node *mk = &graph->nodes[args->more_k], *mv = &graph->nodes[args->more_v];
        if (mk->c != k->c || mv->c != v->c || mk->h * mk->w != mv->h * mv->w)
            return "the second part of keys and values does not fit the first";
    }
    return NULL;
}

static const char *misfit_bias(const struct dfi_graph *graph, const struct dfi_attention *args, int keys)
{
    const struct dfi_node *q = &graph->nodes[args->q];
    if (args->bias >= 0) {
        const struct dfi_node *bias = &graph->nodes[args->bias];
        const int fits = args->spans >= 0 ? bias->c >= keys : bias->c == keys;
        if (!fits || bias->h != args->heads || bias->w != q->h * q->w)
            return "the bias is not [keys, heads, queries]";
    }
    if (args->mask >= 0) {
        const struct dfi_node *mask = &graph->nodes[args->mask];
        if (mask->c != keys || mask->h * mask->w != 1 || mask->gradient)
            return "the mask is not one constant per key";
    }
    return NULL;
}

static const char *misfit_spans(const struct dfi_graph *graph, const struct dfi_attention *args)
{
    const struct dfi_node *q = &graph->nodes[args->q], *k = &graph->nodes[args->k];
    if (args->spans < 0)
        return NULL;
    const struct dfi_node *spans = &graph->nodes[args->spans];
    if (spans->c != 2 || spans->h * spans->w != 1 || spans->gradient)
        return "the spans are not two constants per sample";
    if (q->h * q->w != 1 || k->h * k->w != 1 || args->more_k >= 0 || args->mask >= 0)
        return "with spans a token is a sample, there is no second part and no mask";
    return NULL;
}

static int add_slot(int *inputs, int *count, int value)
{
    if (value < 0)
        return 0;
    inputs[*count] = value;
    return (*count)++;
}

int dfi_attention(struct dfi_graph *graph, const struct dfi_attention *args)
{
    int inputs[DFI_NODE_INPUTS] = { args->q, args->k, args->v }, count = 3;
    if (graph->status)
        return -1;
    const int more = add_slot(inputs, &count, args->more_k);
    (void)add_slot(inputs, &count, args->more_v);
    const int bias = add_slot(inputs, &count, args->bias), mask = add_slot(inputs, &count, args->mask);
    const int spans = add_slot(inputs, &count, args->spans);
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_attention, "", count, inputs);
    if (!node)
        return -1;
    node->heads = args->heads;
    node->factor = args->scale;
    node->more_slot = more;
    node->bias_slot = bias;
    node->mask_slot = mask;
    node->span_slot = spans;
    const char *why = misfit(graph, args);
    if (!why)
        why = misfit_bias(graph, args, all_keys(graph, node));
    if (!why)
        why = misfit_spans(graph, args);
    if (why)
        return dfi_build_fail(graph, node, why);
    node->c = graph->nodes[args->v].c;
    return dfi_build_close(graph, node);
}

/* Running. */

static int need(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    const int keys = node->span_slot ? sizes->samples : all_keys(graph, node);
    const int heads = node->heads, c = graph->nodes[node->input[Q]].c;
    if (node->span_slot && sizes->backward)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "attention by spans has no backward pass");
    const size_t forward = dfi_attend_scratch(keys, c / heads, node->c / heads);
    const size_t backward = sizes->backward ? 2 * QUERIES * (size_t)keys : 0;
    out->state = DFI_NODE_INPUTS;
    out->worker = (forward > backward ? forward : backward) * sizes->element;
    return DIFFC_OK;
}

/* One head of one sample of an input: rows of `c` channels. */
struct head {
    void *data;
    ptrdiff_t ld;
    int rows, c;
};

static struct head head_of(const struct dfi_exec *exec, const struct dfi_block *block, int heads, int n,
                           int head)
{
    const int c = block->c / heads;
    return (struct head) { dfi_at(exec, dfi_sample(block, n), head * c), block->ld, block->h * block->w, c };
}

static struct head input_head(const struct dfi_exec *exec, const struct dfi_node *node, int slot, int n,
                              int head)
{
    const struct dfi_block block = dfi_exec_value(exec, node->input[slot]);
    return head_of(exec, &block, node->heads, n, head);
}

static struct head gradient_head(const struct dfi_exec *exec, const struct dfi_node *node, int slot, int n,
                                 int head)
{
    const struct dfi_block block = dfi_exec_gradient_of(exec, node->input[slot]);
    return head_of(exec, &block, node->heads, n, head);
}

/* Rows first .. first + count - 1. */
static struct head rows_of(const struct dfi_exec *exec, const struct head *from, int first, int count)
{
    return (struct head) { dfi_at(exec, from->data, first * from->ld), from->ld, count, from->c };
}

static int block_rows(int queries, int first)
{
    return queries - first < QUERIES ? queries - first : QUERIES;
}

/* c = a b (+ c); b is transposed (its rows are columns) unless `plain`. */
static void product(const struct dfi_exec *exec, const struct head *a, const struct head *b, int plain,
                    const struct head *c, int accumulate)
{
    const struct dfi_gemm gemm = { .m = (size_t)a->rows,
                                   .n = (size_t)(plain ? b->c : b->rows),
                                   .k = (size_t)a->c,
                                   .a = a->data,
                                   .a_row = a->ld,
                                   .a_col = 1,
                                   .b = b->data,
                                   .b_row = plain ? b->ld : 1,
                                   .b_col = plain ? 1 : b->ld,
                                   .c = c->data,
                                   .c_row = c->ld,
                                   .c_col = 1,
                                   .accumulate = accumulate };
    dfi_gemm(exec->context->cpu_flags, exec->params->dtype, &gemm);
}

/* c = a' b (+ c) with a' the transpose of a. */
static void transposed_product(const struct dfi_exec *exec, const struct head *a, const struct head *b,
                               const struct head *c, int accumulate)
{
    const struct dfi_gemm gemm = { .m = (size_t)a->c,
                                   .n = (size_t)b->c,
                                   .k = (size_t)a->rows,
                                   .a = a->data,
                                   .a_row = 1,
                                   .a_col = a->ld,
                                   .b = b->data,
                                   .b_row = b->ld,
                                   .b_col = 1,
                                   .c = c->data,
                                   .c_row = c->ld,
                                   .c_col = 1,
                                   .accumulate = accumulate };
    dfi_gemm(exec->context->cpu_flags, exec->params->dtype, &gemm);
}

static int parts(const struct dfi_node *node)
{
    return node->more_slot ? 2 : 1;
}

/* Input slot of the keys (K) or values (V) of part 0 or 1. */
static int part_slot(const struct dfi_node *node, int which, int part)
{
    return part ? node->more_slot + which - K : which;
}

/* The columns of a block of scores that belong to the keys of a part. */
static struct head part_columns(const struct dfi_exec *exec, const struct dfi_node *node,
                                const struct head *scores, int part)
{
    const int first = first_keys(exec->graph, node);
    return (struct head) { dfi_at(exec, scores->data, part ? first : 0), scores->ld, scores->rows,
                           part ? more_keys(exec->graph, node) : first };
}

/* Bias of queries from `first` on, rows of keys `ld` apart (a row per sample with spans), and mask of the
 * keys; NULL: none. */
static const void *bias_rows(const struct dfi_exec *exec, const struct dfi_node *node, int n, int head,
                             int first, ptrdiff_t *ld)
{
    if (!node->bias_slot)
        return NULL;
    const struct dfi_block bias = dfi_exec_value(exec, node->input[node->bias_slot]);
    *ld = node->span_slot ? bias.sample_stride : bias.ld;
    return dfi_at(exec, dfi_sample(&bias, n), (head * bias.w + first) * bias.ld);
}

static const void *mask_row(const struct dfi_exec *exec, const struct dfi_node *node, int n)
{
    if (!node->mask_slot)
        return NULL;
    const struct dfi_block block = dfi_exec_value(exec, node->input[node->mask_slot]);
    return dfi_sample(&block, n);
}

static int blocks_of(int queries)
{
    return (queries + QUERIES - 1) / QUERIES;
}

static struct dfi_attend_keys keys_of(const struct dfi_exec *exec, const struct dfi_node *node, int part,
                                      int n, int head)
{
    const struct head k = input_head(exec, node, part_slot(node, K, part), n, head);
    const struct head v = input_head(exec, node, part_slot(node, V, part), n, head);
    return (struct dfi_attend_keys) { k.data, v.data, k.ld, v.ld, k.rows };
}

/* Queries that have the same keys. */
struct group {
    int n, first, count; /* sample of the first one, its row there; those of the next follow with spans */
    int key_n, keys;     /* sample of the keys; with spans: of the first key, and how many */
};

static void forward_group(struct dfi_exec *exec, int number, int head, const struct group *group, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block out = dfi_exec_value(exec, number);
    const int n = group->n, first = group->first;
    const struct head q = input_head(exec, node, Q, n, head), y = head_of(exec, &out, node->heads, n, head);
    struct dfi_attend_args args = { .q = dfi_at(exec, q.data, first * q.ld),
                                    .ldq = q.ld,
                                    .queries = group->count,
                                    .c = q.c,
                                    .value_c = y.c,
                                    .scale = node->factor,
                                    .mask = mask_row(exec, node, n),
                                    .y = dfi_at(exec, y.data, first * y.ld),
                                    .ldy = y.ld,
                                    .scratch = dfi_worker(exec, worker) };
    args.bias = bias_rows(exec, node, n, head, first, &args.ldb);
    for (int part = 0; part < parts(node); part++)
        args.part[part] = keys_of(exec, node, part, group->key_n, head);
    if (node->span_slot)
        args.part[0].count = group->keys;
    exec->kernels->attend(&args);
}

static void forward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int queries = node->h * node->w, blocks = blocks_of(queries), first = index % blocks * QUERIES;
    const int head = index / blocks % node->heads, n = index / blocks / node->heads;
    const struct group group = { n, first, block_rows(queries, first), n, 0 };
    forward_group(exec, number, head, &group, worker);
}

/* The samples from `row` on, before `end`, that are of one sequence. */
static struct group group_at(const struct dfi_exec *exec, const struct dfi_node *node, int row, int end)
{
    const struct dfi_block spans = dfi_exec_value(exec, node->input[node->span_slot]);
    const double start = dfi_get(exec, dfi_sample(&spans, row), 0);
    struct group group = { row, 0, 1, (int)start, (int)dfi_get(exec, dfi_sample(&spans, row), 1) };
    while (row + group.count < end && dfi_get(exec, dfi_sample(&spans, row + group.count), 0) == start)
        group.count++;
    return group;
}

static void span_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int samples = dfi_samples(exec, number), blocks = blocks_of(samples);
    int row = index % blocks * QUERIES;
    for (const int end = row + block_rows(samples, row); row < end;) {
        const struct group group = group_at(exec, node, row, end);
        forward_group(exec, number, index / blocks, &group, worker);
        row += group.count;
    }
}

static void forward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int samples = dfi_samples(exec, number);
    if (node->span_slot)
        dfi_node_parallel(exec, number, span_piece, node->heads * blocks_of(samples));
    else
        dfi_node_parallel(exec, number, forward_piece, samples * node->heads * blocks_of(node->h * node->w));
}

/* scores = softmax(scale q k' + bias) for queries first .. first + scores->rows - 1. */
static void attend(const struct dfi_exec *exec, const struct dfi_node *node, int n, int head, int first,
                   const struct head *scores)
{
    const struct head all = input_head(exec, node, Q, n, head), q = rows_of(exec, &all, first, scores->rows);
    ptrdiff_t bias_ld = 0;
    const void *bias = bias_rows(exec, node, n, head, first, &bias_ld);
    for (int part = 0; part < parts(node); part++) {
        const struct head k = input_head(exec, node, part_slot(node, K, part), n, head);
        const struct head columns = part_columns(exec, node, scores, part);
        product(exec, &q, &k, 0, &columns, 0);
    }
    exec->kernels->attention_softmax(scores->data, scores->ld, (size_t)scores->rows, scores->c, node->factor,
                                     bias, bias_ld, mask_row(exec, node, n));
}

/* Whether the gradient of each input is added to; inputs may be one and the same value. */
static unsigned char *slot_adds(const struct dfi_exec *exec, int number)
{
    return dfi_state(exec, number);
}

/* Gradients of keys and values by one block of queries: dv += p' dy, dk += ds' q (ds has the scale). */
static void give_part(struct dfi_exec *exec, int number, int which, int part, int n, int head, int first,
                      const struct head *weights, const struct head *rows)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int slot = part_slot(node, which, part);
    if (!dfi_wants_gradient(exec, node->input[slot]))
        return;
    const struct head columns = part_columns(exec, node, weights, part);
    const struct head gradient = gradient_head(exec, node, slot, n, head);
    transposed_product(exec, &columns, rows, &gradient, first > 0 || slot_adds(exec, number)[slot]);
}

static void give_bias(struct dfi_exec *exec, int number, int n, int head, int first, const struct head *ds)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int slot = node->bias_slot;
    if (!slot || !dfi_wants_gradient(exec, node->input[slot]))
        return;
    const struct dfi_block bias = dfi_exec_gradient_of(exec, node->input[slot]);
    void *rows = dfi_at(exec, dfi_sample(&bias, n), (head * bias.w + first) * bias.ld);
    for (int r = 0; r < ds->rows; r++)
        exec->kernels->axpby((size_t)ds->c, 1, dfi_at(exec, ds->data, r * ds->ld),
                             slot_adds(exec, number)[slot], dfi_at(exec, rows, r * bias.ld));
}

/* ds = p (dp - sum p dp), dp = dy v'; in place of dp. */
static void score_gradient(struct dfi_exec *exec, const struct dfi_node *node, int n, int head,
                           const struct head *p, const struct head *dy, const struct head *ds)
{
    for (int part = 0; part < parts(node); part++) {
        const struct head v = input_head(exec, node, part_slot(node, V, part), n, head);
        const struct head columns = part_columns(exec, node, ds, part);
        product(exec, dy, &v, 0, &columns, 0);
    }
    exec->kernels->attention_softmax_backward(p->data, p->ld, ds->data, ds->ld, (size_t)p->rows, p->c);
}

/* In the order of backward(): the bias, the parts, the queries. With inputs that are one and the same value,
 * who comes first writes and the others add. */
static void backward_block(struct dfi_exec *exec, int number, int n, int head, int first,
                           const struct head *p, const struct head *ds)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block out = dfi_exec_gradient_of(exec, number);
    const struct head all_dy = head_of(exec, &out, node->heads, n, head);
    const struct head dy = rows_of(exec, &all_dy, first, p->rows);
    const struct head all_q = input_head(exec, node, Q, n, head), q = rows_of(exec, &all_q, first, p->rows);
    attend(exec, node, n, head, first, p);
    score_gradient(exec, node, n, head, p, &dy, ds);
    give_bias(exec, number, n, head, first, ds);
    exec->kernels->axpby((size_t)(ds->rows * ds->c), node->factor, ds->data, 0, ds->data);
    for (int part = 0; part < parts(node); part++) {
        give_part(exec, number, K, part, n, head, first, ds, &q);
        give_part(exec, number, V, part, n, head, first, p, &dy);
    }
    if (dfi_wants_gradient(exec, node->input[Q])) {
        const struct head all_dq = gradient_head(exec, node, Q, n, head);
        const struct head dq = rows_of(exec, &all_dq, first, p->rows);
        for (int part = 0; part < parts(node); part++) {
            const struct head k = input_head(exec, node, part_slot(node, K, part), n, head);
            const struct head columns = part_columns(exec, node, ds, part);
            product(exec, &columns, &k, 1, &dq, part > 0 || slot_adds(exec, number)[Q]);
        }
    }
}

static void backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int head = index % node->heads, n = index / node->heads;
    const int keys = all_keys(exec->graph, node), queries = node->h * node->w;
    for (int first = 0; first < queries; first += QUERIES) {
        const int rows = block_rows(queries, first);
        const struct head p = { dfi_worker(exec, worker), keys, rows, keys };
        const struct head ds = { dfi_at(exec, p.data, (ptrdiff_t)QUERIES * keys), keys, rows, keys };
        backward_block(exec, number, n, head, first, &p, &ds);
    }
}

static void begin_slot(struct dfi_exec *exec, int number, int slot)
{
    const int input = dfi_node(exec, number)->input[slot];
    if (!dfi_wants_gradient(exec, input))
        return;
    dfi_gradient_begin(exec, input);
    slot_adds(exec, number)[slot] = (unsigned char)dfi_gradient_adds(exec, input);
}

static void backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    if (node->bias_slot)
        begin_slot(exec, number, node->bias_slot);
    for (int part = 0; part < parts(node); part++) {
        begin_slot(exec, number, part_slot(node, K, part));
        begin_slot(exec, number, part_slot(node, V, part));
    }
    begin_slot(exec, number, Q);
    dfi_node_parallel(exec, number, backward_piece, dfi_samples(exec, number) * node->heads);
}

const struct dfi_node_kind dfi_kind_attention = {
    "attention", DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT, need, NULL, forward, backward
};
