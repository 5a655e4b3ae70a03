/* The memory plan: values that share bytes must not meet, so a run gives the bits of a run in which nothing
 * is shared; and what planning and building allocate. */

#include "model/architectures.h"
#include "model/config.h"
#include "oom.h"
#include "random_graph.h"

static struct diffc_context *context;

/* Gives every value and gradient bytes of its own behind the plan; concatenations copy, and batch norms in
 * training do all of their work themselves. */
static void give_own_bytes(struct dfi_exec *exec)
{
    struct dfi_plan *plan = &exec->plan;
    size_t at = plan->bytes;
    for (int i = 0; i < exec->graph->count; i++) {
        const struct dfi_node *node = dfi_node(exec, i);
        const size_t samples = (size_t)exec->options.batch *
                               (size_t)(node->conditional ? exec->options.conditions : 1);
        const size_t bytes = samples * (size_t)(node->c * node->h * node->w) * exec->element;
        plan->value[i] = (struct dfi_place) { i, 0, at };
        at += (bytes + 63) / 64 * 64;
        if (plan->gradient[i].root < 0)
            continue;
        plan->gradient[i] = (struct dfi_place) { i, 0, at };
        at += (bytes + 63) / 64 * 64;
    }
    for (int i = 0; i < exec->graph->count; i++) {
        plan->gathered[i] = plan->finished[i] = -1;
        if (plan->fused[i] > i)
            plan->value[i] = plan->value[plan->fused[i]];
    }
    char *block = dfi_calloc(exec->context, at, 1);
    assert_non_null(block);
    memcpy(block, exec->block, plan->bytes);
    dfi_free(exec->context, exec->block);
    exec->block = block;
    dfi_exec_refresh(exec);
}

/* Everything that a run must write before it reads it becomes NaN; in the unshared plan the values lie
 * elsewhere. */
static void run_poisoned(const struct net *net, int batch, int conditions)
{
    struct dfi_exec *exec = net->exec;
    memset(exec->block, 0xff, exec->plan.state_offset[0]);
    memset(exec->block + exec->plan.shared_offset, 0xff,
           exec->plan.gradients_offset - exec->plan.shared_offset);
    dfi_exec_set_size(exec, batch, conditions);
    net_write_inputs(net, 0, 0);
    assert_int_equal(dfi_exec_forward(exec, exec->options.backward), DIFFC_OK);
    if (exec->options.backward)
        assert_int_equal(dfi_exec_backward(exec, 0), DIFFC_OK);
}

static void compare_value(const struct net *a, const struct net *b, int value, uint64_t seed)
{
    const struct dfi_block x = dfi_exec_value(a->exec, value), y = dfi_exec_value(b->exec, value);
    for (int n = 0; n < x.samples; n++)
        for (ptrdiff_t p = 0; p < x.h * x.w; p++)
            for (int c = 0; c < x.c; c++) {
                const double found = get(a, x.data, (size_t)(n * x.sample_stride + p * x.ld + c));
                const double expected = get(b, y.data, (size_t)(n * y.sample_stride + p * y.ld + c));
                if (!isfinite(found) || found != expected)
                    fail_msg("graph %llu, value %d: %g instead of %g", (unsigned long long)seed, value, found,
                             expected);
            }
}

static void compare_runs(const struct net *a, const struct net *b, uint64_t seed)
{
    for (int i = 0; i < a->graph->count; i++)
        if (a->graph->nodes[i].keep)
            compare_value(a, b, i, seed);
    if (a->graph->loss >= 0 && dfi_exec_loss(a->exec) != dfi_exec_loss(b->exec))
        fail_msg("graph %llu: the loss is %g instead of %g", (unsigned long long)seed, dfi_exec_loss(a->exec),
                 dfi_exec_loss(b->exec));
    for (size_t i = 0; a->exec->options.backward && i < a->params.value_count; i++) {
        const double found = get(a, dfi_exec_gradients(a->exec), i);
        if (!isfinite(found) || found != get(b, dfi_exec_gradients(b->exec), i))
            fail_msg("graph %llu: gradient %zu is %g instead of %g", (unsigned long long)seed, i, found,
                     get(b, dfi_exec_gradients(b->exec), i));
    }
}

/* Two nets of one graph. */
static void check_nets(struct net *shared, struct net *apart, const struct dfi_exec_options *options,
                       uint64_t seed)
{
    net_plan(shared, options);
    net_plan(apart, options);
    give_own_bytes(apart->exec);
    for (int batch = options->batch; batch > 0; batch -= 2) { /* fewer samples than planned, too */
        run_poisoned(shared, batch, options->conditions);
        run_poisoned(apart, batch, options->conditions);
        compare_runs(shared, apart, seed);
    }
}

static void check_graph(uint64_t seed, int dtype, const struct dfi_exec_options *options)
{
    struct net shared, apart;
    net_open(&shared, context, dtype);
    net_open(&apart, context, dtype);
    build_random(&shared, seed, options->backward);
    build_random(&apart, seed, options->backward);
    check_nets(&shared, &apart, options, seed);
    net_close(&shared);
    net_close(&apart);
}

static void test_training(void **unused)
{
    static const struct dfi_exec_options options = { 5, 1, 1, .numerics = 0 };
    (void)unused;
    for (uint64_t seed = 0; seed < 150; seed++)
        check_graph(seed, DIFFC_F64, &options);
    for (uint64_t seed = 1000; seed < 1050; seed++)
        check_graph(seed, DIFFC_F32, &options);
}

/* A batch norm with two users, and one before a concatenation: its only user, one of two, or twice its user.
 * Returns the last one. */
static int build_norms(struct net *net, int users)
{
    struct dfi_graph *graph = net->graph;
    const int x = dfi_graph_input(graph, "x", 3, 8, 8, 0);
    const int a = dfi_batch_norm(graph, dfi_conv2d(graph, x, "a", 20, 3, 1, 1), "an", DFI_ACT_GELU);
    const int b = dfi_batch_norm(graph, dfi_conv2d(graph, a, "b", 20, 3, 1, 1), "bn", DFI_ACT_GELU);
    int sum = dfi_conv2d(graph, dfi_concat(graph, b, users == 2 ? b : a), "c", 18, 3, 1, 1);
    if (users == 1)
        sum = dfi_add(graph, sum, dfi_conv2d(graph, b, "d", 18, 1, 1, 0));
    sum = dfi_avg_pool(graph, sum, 8, 8);
    dfi_mse_loss(graph, sum, dfi_graph_input(graph, "target", 18, 1, 1, 0));
    return b;
}

/* The convolutions before and behind batch norms do some of their work, sample by sample. */
static void test_joined_norms(void **unused)
{
    (void)unused;
    for (int users = 0; users < 3; users++)
        for (int precision = 0; precision < 2; precision++) {
            const struct dfi_exec_options options = { 5, 1, 1, .precision = (enum dfi_precision)precision };
            struct net shared, apart;
            net_open(&shared, context, DIFFC_F32);
            net_open(&apart, context, DIFFC_F32);
            const int norm = build_norms(&shared, users);
            build_norms(&apart, users);
            check_nets(&shared, &apart, &options, (uint64_t)users);
            assert_int_equal(shared.exec->plan.finished[norm], users == 0 ? norm + 2 : -1);
            assert_int_equal(shared.exec->plan.finished[2], 3); /* a's, which b's convolution ends */
            net_close(&shared);
            net_close(&apart);
        }
}

static void test_inference(void **unused)
{
    (void)unused;
    for (uint64_t seed = 2000; seed < 2150; seed++) {
        const struct dfi_exec_options options = { 3, 1 + (int)(seed % 3), 0, .frozen = seed / 6 % 2,
                                                  .stream = seed / 12 % 2 };
        check_graph(seed, seed % 2 ? DIFFC_F64 : DIFFC_F32, &options);
    }
}

/* A frozen plan does the same sums in another order: norms within convolutions, concatenations apart. */
static int check_frozen(uint64_t seed)
{
    static const struct dfi_exec_options loose = { 3, 2, 0, .frozen = 0 }, frozen = { 3, 2, 0, .frozen = 1 };
    struct net a, b;
    int split = 0;
    net_open(&a, context, DIFFC_F64);
    net_open(&b, context, DIFFC_F64);
    build_random(&a, seed, 0);
    build_random(&b, seed, 0);
    net_plan(&a, &loose);
    net_plan(&b, &frozen);
    run_poisoned(&a, 3, 2);
    run_poisoned(&b, 3, 2);
    for (int i = 0; i < a.graph->count; i++) {
        split += b.exec->graph->nodes[i].base_slot > 0;
        if (!a.graph->nodes[i].keep)
            continue;
        const struct dfi_block x = dfi_exec_value(a.exec, i), y = dfi_exec_value(b.exec, i);
        for (int n = 0; n < x.samples; n++)
            for (ptrdiff_t p = 0; p < x.h * x.w * x.c; p++) {
                const ptrdiff_t pixel = p / x.c, c = p % x.c;
                const double expected = get(&a, x.data, (size_t)(n * x.sample_stride + pixel * x.ld + c));
                const double found = get(&b, y.data, (size_t)(n * y.sample_stride + pixel * y.ld + c));
                if (!(fabs(found - expected) <= 1e-9 * (1 + fabs(expected))))
                    fail_msg("graph %llu, value %d: %g instead of %g", (unsigned long long)seed, i, found,
                             expected);
            }
    }
    net_close(&a);
    net_close(&b);
    return split;
}

static void test_frozen(void **unused)
{
    int split = 0;
    (void)unused;
    for (uint64_t seed = 3000; seed < 3900; seed++)
        split += check_frozen(seed);
    assert_true(split >= 10);
}

/* Three skip connections around a small middle: with little memory a connection does not hold the
 * concatenation that takes it, only the concatenation's other half lies in it. */
static void test_skips_with_little_memory(void **unused)
{
    static const char *const names[] = { "a", "b", "c", "d", "e", "f" };
    size_t bytes[2];
    (void)unused;
    for (int stream = 0; stream < 2; stream++) {
        const struct dfi_exec_options options = { 1, 1, 0, .frozen = 1, .stream = stream };
        int skips[3], concats[3], halves[3];
        struct net net;
        net_open(&net, context, DIFFC_F32);
        int x = dfi_graph_input(net.graph, "x", 8, 64, 64, 0);
        for (int i = 0; i < 3; i++)
            x = skips[i] = dfi_conv2d(net.graph, x, names[i], 8, 3, 1, 1);
        x = dfi_conv2d(net.graph, dfi_avg_pool(net.graph, x, 2, 2), "middle", 8, 3, 1, 1);
        x = dfi_upsample(net.graph, x);
        for (int i = 0; i < 3; i++) {
            x = halves[i] = dfi_conv2d(net.graph, x, names[3 + i], 16, 3, 1, 1);
            x = concats[i] = dfi_concat(net.graph, x, skips[2 - i]);
        }
        dfi_output(net.graph, dfi_conv2d(net.graph, x, "last", 8, 3, 1, 1));
        net_plan(&net, &options);
        const struct dfi_plan *plan = &net.exec->plan;
        for (int i = 0; i < 3; i++) {
            assert_int_equal(plan->value[halves[i]].root, concats[i]);
            assert_int_equal(plan->value[skips[2 - i]].root, stream ? skips[2 - i] : concats[i]);
        }
        bytes[stream] = plan->bytes;
        net_close(&net);
    }
    assert_true(bytes[1] + 16 * 64 * 64 * sizeof(float) <= bytes[0]);
}

/* Allocations. */

static _Atomic size_t live_bytes, largest_block;

static void *counting_alloc(void *opaque, size_t bytes)
{
    (void)opaque;
    size_t *block = malloc(bytes + 64);
    if (!block)
        return NULL;
    *block = bytes;
    live_bytes += bytes;
    largest_block = bytes > largest_block ? bytes : largest_block;
    return (char *)block + 64;
}

static void counting_release(void *opaque, void *block)
{
    (void)opaque;
    size_t *whole = (size_t *)(void *)((char *)block - 64);
    live_bytes -= *whole;
    free(whole);
}

static void test_bytes(void **unused)
{
    diffc_context_options counted = DIFFC_CONTEXT_OPTIONS;
    struct diffc_context *counting = NULL;
    (void)unused;
    counted.threads = 3;
    counted.allocator = (diffc_allocator) { counting_alloc, counting_release, NULL };
    assert_int_equal(diffc_context_create(&counted, &counting), DIFFC_OK);
    for (uint64_t seed = 0; seed < 40; seed++) {
        const int backward = seed % 2 == 0;
        const struct dfi_exec_options options = { 1 + (int)seed % 7, backward ? 1 : 2, backward,
                                                  .precision = (enum dfi_precision)(seed / 2 % 2) };
        struct net net;
        size_t bytes = 0;
        net_open(&net, counting, DIFFC_F32);
        build_random(&net, seed, options.backward);
        net_plan(&net, &options);
        assert_int_equal(dfi_exec_bytes(net.graph, &options, &bytes), DIFFC_OK);
        assert_int_equal(bytes, net.exec->plan.bytes);
        dfi_exec_destroy(net.exec);
        const size_t before = live_bytes;
        largest_block = 0;
        assert_int_equal(dfi_exec_create(net.graph, &net.params, &options, &net.exec), DIFFC_OK);
        /* One block, and a few numbers for each node. Each allocation has at most 128 bytes for its
         * alignment. */
        const size_t per_node = 2 * sizeof(struct dfi_place) + 3 * sizeof(int) + sizeof(size_t) + 2;
        assert_true(largest_block >= bytes && largest_block <= bytes + 128);
        assert_true(live_bytes - before <=
                    bytes + sizeof(*net.exec) + (size_t)net.graph->count * per_node + 9 * 128);
        net_close(&net);
    }
    diffc_release(&counting);
    assert_int_equal(live_bytes, 0);
}

static const struct dfi_model_config small = { 1, 16, 16, 4, 10, "class", "mul", NULL, 300, .seed = 1 };

static int run_model(struct oom *oom, const struct dfi_architecture *architecture)
{
    struct diffc_model *model = NULL;
    const int status = dfi_model_new(oom->context, architecture, &small, &model);
    dfi_release(model);
    return status;
}

static int run_unet(struct oom *oom)
{
    return run_model(oom, &dfi_architecture_cs180_unet);
}

static int run_lenet(struct oom *oom)
{
    return run_model(oom, &dfi_architecture_lenet);
}

static int setup_model(struct oom *oom)
{
    struct diffc_model *model = NULL;
    const int status = dfi_model_new(oom->context, &dfi_architecture_cs180_unet, &small, &model);
    oom->state = model;
    return status;
}

static void teardown_model(struct oom *oom)
{
    dfi_release(oom->state);
}

static int run_exec(struct oom *oom, int backward)
{
    const struct dfi_exec_options options = { 4, 2 - backward, backward, .numerics = 0 };
    struct diffc_model *model = oom->state;
    struct dfi_exec *exec = NULL;
    size_t bytes;
    DFI_TRY(dfi_exec_bytes(model->loss_graph, &options, &bytes));
    const int status = dfi_exec_create(model->loss_graph, &model->params, &options, &exec);
    dfi_exec_destroy(exec);
    return status;
}

static int run_inference(struct oom *oom)
{
    return run_exec(oom, 0);
}

static int run_training(struct oom *oom)
{
    return run_exec(oom, 1);
}

static void test_every_allocation_may_fail(void **unused)
{
    static const struct oom_function functions[] = {
        { "dfi_model_new(cs180_unet)", NULL, run_unet, NULL },
        { "dfi_model_new(lenet)", NULL, run_lenet, NULL },
        { "dfi_exec_create", setup_model, run_inference, teardown_model },
        { "dfi_exec_create(backward)", setup_model, run_training, teardown_model },
    };
    (void)unused;
    OOM_RUN(functions);
}

/* Every field is set: a text that no option gave was once read from the stack. */
static void test_config_is_complete(void **state)
{
    (void)state;
    const diffc_model_options options = DIFFC_MODEL_OPTIONS;
    struct dfi_model_config config;
    memset(&config, 0xff, sizeof(config));
    assert_int_equal(dfi_model_config_read(&options, &config), DIFFC_OK);
    assert_null(config.json);
    assert_null(config.objective);
    assert_int_equal(config.text_tokens, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_is_complete),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_joined_norms),
        cmocka_unit_test(test_inference),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_skips_with_little_memory),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    context = open_context(2, 0);
    const int failed = cmocka_run_group_tests_name("plan", tests, NULL, NULL);
    diffc_release(&context);
    return failed;
}
