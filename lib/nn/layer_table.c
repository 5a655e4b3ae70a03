/* Look-ups: rows of a table by token id, and the relative position bias of T5. */

#include <math.h>

#include "nn/build.h"

/* Embedding. */

static int token_id(const struct dfi_exec *exec, const struct dfi_node *node, const struct dfi_block *ids,
                    int token)
{
    const int pixels = ids->h * ids->w;
    const void *sample = dfi_sample(ids, token / pixels);
    const double id = dfi_get(exec, sample, (size_t)(token % pixels * ids->ld));
    return id >= 0 && id < node->rows ? (int)id : 0;
}

static void embedding_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block ids = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    const int pixels = y.h * y.w;
    const void *table = dfi_param_value(exec, node, 0);
    const int dtype = dfi_param_dtype(exec, node, 0);
    for (int p = 0; p < pixels; p++) {
        const int id = token_id(exec, node, &ids, index * pixels + p);
        dfi_convert(dtype, (const char *)table + (size_t)id * (size_t)y.c * dfi_dtype_size(dtype),
                    exec->params->dtype, dfi_at(exec, dfi_sample(&y, index), p * y.ld), (size_t)y.c);
    }
}

static void embedding_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, embedding_piece, dfi_samples(exec, number));
}

/* Behind the sums of all rows: the first token of each id, and for each token the next one of its id. */
struct lists {
    void *sums;
    int *first, *next;
};

static size_t table_bytes(const struct dfi_node *node, size_t element)
{
    return ((size_t)node->rows * (size_t)node->c * element + 63) / 64 * 64;
}

static struct lists lists_of(const struct dfi_exec *exec, const struct dfi_node *node)
{
    char *shared = dfi_shared(exec);
    int *first = (int *)(void *)(shared + table_bytes(node, exec->element));
    return (struct lists) { shared, first, first + node->rows };
}

static int embedding_need(const struct dfi_graph *graph, const struct dfi_node *node,
                          const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    if (!sizes->backward)
        return DIFFC_OK;
    const size_t tokens = (size_t)sizes->samples * (size_t)(node->h * node->w);
    out->shared = table_bytes(node, sizes->element) + ((size_t)node->rows + tokens) * sizeof(int);
    out->worker = DFI_LANES * (size_t)node->c * sizes->element;
    return DIFFC_OK;
}

static void make_lists(struct dfi_exec *exec, int number, const struct lists *lists)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block ids = dfi_exec_value(exec, node->input[0]);
    for (int i = 0; i < node->rows; i++)
        lists->first[i] = -1;
    for (int token = dfi_samples(exec, number) * node->h * node->w - 1; token >= 0; token--) {
        const int id = token_id(exec, node, &ids, token);
        lists->next[token] = lists->first[id];
        lists->first[id] = token;
    }
}

/* The sum of dy over the tokens of one id: lane by lane in the order of the tokens. */
static void sum_row(struct dfi_exec *exec, int number, const struct lists *lists, int id, void *lanes)
{
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    const int pixels = dy.h * dy.w, held = dfi_lanes(exec);
    int token = lists->first[id];
    for (int lane = 0; lane < held; lane++) {
        const int end = dfi_lane_start(exec, dy.samples, lane + 1) * pixels;
        void *sum = dfi_at(exec, lanes, (ptrdiff_t)lane * dy.c);
        memset(sum, 0, (size_t)dy.c * exec->element);
        for (; token >= 0 && token < end; token = lists->next[token])
            exec->kernels->axpby((size_t)dy.c, 1,
                                 dfi_at(exec, dfi_sample(&dy, token / pixels), token % pixels * dy.ld), 1,
                                 sum);
    }
    exec->kernels->tree_sum(lanes, (size_t)dy.c, held, dfi_at(exec, lists->sums, (ptrdiff_t)id * dy.c),
                            (size_t)dy.c, 0);
}

static void sum_piece(struct dfi_exec *exec, int number, int id, int worker)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct lists lists = lists_of(exec, node);
    if (lists.first[id] >= 0)
        sum_row(exec, number, &lists, id, dfi_worker(exec, worker));
    else
        memset(dfi_at(exec, lists.sums, (ptrdiff_t)id * node->c), 0, (size_t)node->c * exec->element);
}

static void embedding_backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct lists lists = lists_of(exec, node);
    const size_t count = (size_t)node->rows * (size_t)node->c;
    make_lists(exec, number, &lists);
    dfi_node_parallel(exec, number, sum_piece, node->rows);
    dfi_rank_sum(exec, lists.sums, count, exec->element);
    exec->kernels->tree_sum(lists.sums, count, 1, dfi_param_gradient(exec, node, 0), count, exec->accumulate);
}

const struct dfi_node_kind dfi_kind_embedding = { "embedding",       DFI_SAVES_INPUT | DFI_STRIDED_OUT,
                                                  embedding_need,    NULL,
                                                  embedding_forward, embedding_backward };

int dfi_embedding(struct dfi_graph *graph, int ids, const char *name, int rows, int c)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_embedding, name, 1, &ids);
    if (!node)
        return -1;
    if (node->c != 1 || node->gradient || rows < 1 || c < 1)
        return dfi_build_fail(graph, node, "needs one constant id per token, and rows to look up");
    node->c = c;
    node->rows = rows;
    dfi_build_param(graph, node, 0, 2, (const int64_t[]) { rows, c }, DFI_INIT_UNIFORM, c);
    dfi_build_widens(graph, node);
    return dfi_build_close(graph, node);
}

/* Relative position bias (T5Attention._relative_position_bucket, bidirectional). */

int dfi_relative_bucket(int buckets, int max_distance, int distance)
{
    const int half = buckets / 2, exact = half / 2, length = distance < 0 ? -distance : distance;
    const int first = distance > 0 ? half : 0;
    if (length < exact)
        return first + length;
    /* The reference takes float logarithms; in double the borders (powers of two times `exact`) come out
     * exact with the rounding of float. */
    const float ratio = (float)(log((double)length / exact) / log((double)max_distance / exact));
    const int step = exact + (int)(ratio * (float)(half - exact));
    return first + (step < half - 1 ? step : half - 1);
}

/* Position of the table's entries, one per head, for a query and a key. */
static size_t entries_of(const struct dfi_exec *exec, const struct dfi_node *node, int n, int query, int key)
{
    int place = query;
    if (node->input_count) {
        const struct dfi_block places = dfi_exec_value(exec, node->input[0]);
        place = (int)dfi_get(exec, dfi_sample(&places, n), (size_t)(query * places.ld));
    }
    return (size_t)dfi_relative_bucket(node->rows, node->max_distance, key - place) * (size_t)node->h;
}

static void bias_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block y = dfi_exec_value(exec, number);
    const void *table = dfi_param_value(exec, node, 0);
    void *out = dfi_sample(&y, index);
    for (int query = 0; query < y.w; query++)
        for (int key = 0; key < y.c; key++) {
            const size_t entries = entries_of(exec, node, index, query, key);
            for (int head = 0; head < y.h; head++)
                dfi_set(exec, out, (size_t)((head * y.w + query) * y.ld + key),
                        dfi_get(exec, table, entries + (size_t)head));
        }
}

static void bias_forward(struct dfi_exec *exec, int number)
{
    dfi_node_parallel(exec, number, bias_piece, dfi_samples(exec, number));
}

static int bias_need(const struct dfi_graph *graph, const struct dfi_node *node,
                     const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    if (sizes->backward)
        out->shared = ((size_t)sizes->samples + DFI_LANES) * (size_t)node->rows * (size_t)node->h *
                      sizeof(double);
    return DIFFC_OK;
}

static void bias_backward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block dy = dfi_exec_gradient_of(exec, number);
    const size_t count = (size_t)node->rows * (size_t)node->h;
    const void *from = dfi_sample(&dy, index);
    double *sums = (double *)dfi_shared(exec) + (size_t)index * count;
    memset(sums, 0, count * sizeof(*sums));
    for (int query = 0; query < dy.w; query++)
        for (int key = 0; key < dy.c; key++) {
            double *entries = sums + entries_of(exec, node, index, query, key);
            for (int head = 0; head < dy.h; head++)
                entries[head] += dfi_get(exec, from, (size_t)((head * dy.w + query) * dy.ld + key));
        }
}

static void bias_backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const size_t count = (size_t)node->rows * (size_t)node->h;
    const int samples = dfi_samples(exec, number);
    double *rows = dfi_shared(exec), *lanes = rows + (size_t)samples * count;
    dfi_node_parallel(exec, number, bias_backward_piece, samples);
    dfi_lane_sum(exec, rows, samples, count, lanes);
    for (size_t i = 0; i < count; i++)
        dfi_param_gradient_put(exec, dfi_param_gradient(exec, node, 0), i, lanes[i]);
}

const struct dfi_node_kind dfi_kind_relative_bias = { "relative_bias", DFI_SAVES_INPUT, bias_need, NULL,
                                                      bias_forward,    bias_backward };

int dfi_relative_bias(struct dfi_graph *graph, int places, const char *name, int keys, int heads, int buckets,
                      int max_distance)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_relative_bias, name, places >= 0, &places);
    if (!node)
        return -1;
    if (keys < 1 || heads < 1 || buckets < 4 || max_distance <= buckets / 4)
        return dfi_build_fail(graph, node, "needs keys, heads, four buckets and a larger distance");
    if (places >= 0 && (node->c != 1 || node->h != 1 || node->gradient))
        return dfi_build_fail(graph, node, "the places are not one constant per query");
    node->c = keys;
    node->w = places >= 0 ? node->w : keys;
    node->h = heads;
    node->rows = buckets;
    node->max_distance = max_distance;
    dfi_build_param(graph, node, 0, 2, (const int64_t[]) { buckets, heads }, DFI_INIT_UNIFORM, buckets);
    return dfi_build_close(graph, node);
}
