/* The bits of a run depend on neither threads nor neighbours; and what a graph and a plan refuse. */

#include <fenv.h>

#include "graph_case.h"
#include "model/architectures.h"
#include "model/session.h"
#include "tensor/tensor.h"

static const uint32_t masks[] = { DIFFC_CPU_NONE, DIFFC_CPU_AVX2, 0 };

static const char if_config[] =
    "{\"block_out_channels\": [12, 24], \"layers_per_block\": 1, \"sample_size\": [16, 20], \"in_channels\": "
    "3,"
    "\"out_channels\": 6, \"act_fn\": \"gelu\", \"norm_num_groups\": 3, \"attention_head_dim\": 4,"
    "\"down_block_types\": [\"ResnetDownsampleBlock2D\", \"SimpleCrossAttnDownBlock2D\"],"
    "\"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\","
    "\"up_block_types\": [\"SimpleCrossAttnUpBlock2D\", \"ResnetUpsampleBlock2D\"],"
    "\"cross_attention_dim\": 64, \"encoder_hid_dim\": 10, \"cross_attention_norm\": \"group_norm\","
    "\"addition_embed_type\": \"text\", \"addition_embed_type_num_heads\": 2,"
    "\"resnet_time_scale_shift\": \"scale_shift\", \"class_embed_type\": \"timestep\"}";

/* A model's graph over float parameters; `with_loss` for training. */
static int build_model(struct net *net, struct diffc_context *context,
                       const struct dfi_architecture *architecture, const char *time_mode, int with_loss)
{
    struct dfi_model_config config = { 1, 20, 16, 18, 10, "class", time_mode, NULL, 0, .seed = 1 };
    struct dfi_model_values values;
    if (architecture == &dfi_architecture_if_unet) {
        config.json = if_config;
        assert_int_equal(architecture->check(&config), DIFFC_OK);
        config.text_tokens = 5;
    }
    net_open(net, context, DIFFC_F32);
    architecture->build(net->graph, &config, &values);
    const struct dfi_node out = net->graph->nodes[values.out];
    if (with_loss) {
        const int target = dfi_graph_input(net->graph, "target", out.c, out.h, out.w, 0);
        (void)(out.h > 1 ? dfi_mse_loss : dfi_cross_entropy_loss)(net->graph, values.out, target);
    }
    return values.out;
}

/* Gradients of one training step, two batches added up. */
static float *train(const struct dfi_architecture *architecture, uint32_t mask, int threads,
                    const struct dfi_exec_options *options, size_t *count, double *loss)
{
    struct diffc_context *context = open_context(threads, mask);
    struct net net;
    build_model(&net, context, architecture, "add", 1);
    net_plan(&net, options);
    for (int i = 0; i < 2; i++) {
        net_write_inputs(&net, options->batch * i, 0);
        assert_int_equal(dfi_exec_forward(net.exec, 1), DIFFC_OK);
        assert_int_equal(dfi_exec_backward(net.exec, i), DIFFC_OK);
    }
    *count = net.params.value_count;
    *loss = dfi_exec_loss(net.exec);
    float *gradients = malloc(*count * sizeof(*gradients));
    memcpy(gradients, dfi_exec_gradients(net.exec), *count * sizeof(*gradients));
    net_close(&net);
    diffc_release(&context);
    return gradients;
}

static void test_threads(void **unused)
{
    static const int threads[] = { 2, 3, 5 };
    static const struct dfi_exec_options ways[] = { { 11, 1, 1, .numerics = DFI_NUMERICS_DEFAULT },
                                                    { 11, 1, 1, .numerics = DFI_NUMERICS_EXACT },
                                                    { 11, 1, 1, .numerics = DFI_NUMERICS_FAST },
                                                    { 11, 1, 1, .precision = DFI_PRECISION_BF16 } };
    (void)unused;
    for (int i = 0; i < 3 * DFI_COUNT(masks); i++)
        for (int n = 0; n < DFI_COUNT(ways); n++) {
            const struct dfi_architecture *architecture = dfi_architecture_at(i % 3);
            const uint32_t mask = masks[i / 3];
            size_t count, again;
            double loss, loss_again;
            float *expected = train(architecture, mask, 1, &ways[n], &count, &loss);
            for (int t = 0; t < DFI_COUNT(threads); t++) {
                float *found = train(architecture, mask, threads[t], &ways[n], &again, &loss_again);
                assert_int_equal(again, count);
                assert_true(loss_again == loss);
                assert_memory_equal(found, expected, count * sizeof(*found));
                free(found);
            }
            free(expected);
        }
}

/* Compares samples of one run with those of another. */
static void assert_same_samples(const struct dfi_block *whole, int first, const struct dfi_block *part,
                                int first_of_part, int count)
{
    assert_int_equal(whole->ld, part->ld);
    for (int n = 0; n < count; n++)
        assert_memory_equal((float *)whole->data + (first + n) * whole->sample_stride,
                            (float *)part->data + (first_of_part + n) * part->sample_stride,
                            (size_t)part->sample_stride * sizeof(float));
}

struct pair {
    struct diffc_context *context;
    struct net whole, part;
    int out;
};

static void open_pair(struct pair *pair, int which, const struct dfi_exec_options *whole,
                      const struct dfi_exec_options *part, uint32_t mask)
{
    const struct dfi_architecture *architecture = dfi_architecture_at(which / 2);
    const char *mode = which % 2 ? "mul" : "add";
    pair->context = open_context(2, mask);
    pair->out = build_model(&pair->whole, pair->context, architecture, mode, 0);
    build_model(&pair->part, pair->context, architecture, mode, 0);
    net_plan(&pair->whole, whole);
    net_plan(&pair->part, part);
}

static void close_pair(struct pair *pair)
{
    net_close(&pair->whole);
    net_close(&pair->part);
    diffc_release(&pair->context);
}

static struct dfi_block run_evaluation(const struct net *net, int out, int batch, int conditions,
                                       int first_sample, int first_condition)
{
    dfi_exec_set_size(net->exec, batch, conditions);
    net_write_inputs(net, first_sample, first_condition);
    assert_int_equal(dfi_exec_forward(net->exec, 0), DIFFC_OK);
    return dfi_exec_value(net->exec, out);
}

/* A picture has the same bits alone, among others, and in a plan for more. */
static void test_batches(void **unused)
{
    static const int split[] = { 4, 1, 3, 1 };
    (void)unused;
    for (int i = 0; i < 3 * 5; i++) {
        const enum dfi_numerics numerics = (enum dfi_numerics)(i % 3);
        const struct dfi_exec_options whole = { 9, 1, 0, .numerics = numerics },
                                      part = { 4, 1, 0, .numerics = numerics };
        struct pair pair;
        open_pair(&pair, i % 5, &whole, &part, masks[i / 5]);
        const struct dfi_block all = run_evaluation(&pair.whole, pair.out, 9, 1, 0, 0);
        for (int s = 0, first = 0; s < DFI_COUNT(split); first += split[s++]) {
            const struct dfi_block some = run_evaluation(&pair.part, pair.out, split[s], 1, first, 0);
            assert_same_samples(&all, first, &some, 0, split[s]);
        }
        close_pair(&pair);
    }
}

/* Nor do they depend on how the caller rounds, which once reached the folded norms. */
static void test_rounding_mode(void **unused)
{
    static const struct dfi_exec_options options = { 2, 1, 0, .frozen = 1 };
    (void)unused;
    for (int i = 0; i < DFI_COUNT(masks); i++) {
        struct pair pair;
        open_pair(&pair, 0, &options, &options, masks[i]);
        const struct dfi_block nearest = run_evaluation(&pair.whole, pair.out, 2, 1, 0, 0);
        assert_int_equal(fesetround(FE_UPWARD), 0);
        dfi_exec_refresh(pair.part.exec);
        dfi_exec_set_size(pair.part.exec, 2, 1);
        net_write_inputs(&pair.part, 0, 0);
        const int status = dfi_exec_forward(pair.part.exec, 0), mode = fegetround();
        assert_int_equal(fesetround(FE_TONEAREST), 0);
        assert_int_equal(status, DIFFC_OK);
        assert_int_equal(mode, FE_UPWARD);
        const struct dfi_block upward = dfi_exec_value(pair.part.exec, pair.out);
        assert_same_samples(&nearest, 0, &upward, 0, 2);
        close_pair(&pair);
    }
}

/* Weights of 19 MB go in groups of 64 channels at most, and of the 66 here two are not left over. */
static void test_groups_of_channels(void **unused)
{
    (void)unused;
    for (int i = 1; i <= DFI_COUNT(masks); i++) { /* plain C takes long, and has one way to sum */
        const enum dfi_precision precision = i < DFI_COUNT(masks) ? DFI_PRECISION_F32 : DFI_PRECISION_BF16;
        struct diffc_context *own = open_context(2, i < DFI_COUNT(masks) ? masks[i] : 0);
        struct dfi_block y[2];
        struct net net[2];
        for (int stream = 0; stream < 2; stream++) {
            const struct dfi_exec_options options = {
                1, 1, 0, .frozen = 1, .stream = stream, .precision = precision
            };
            net_open(&net[stream], own, DIFFC_F32);
            const int x = dfi_graph_input(net[stream].graph, "x", 8192, 3, 3, 0);
            const int out = dfi_conv2d(net[stream].graph, x, "a", 66, 3, 2, 1);
            net_plan(&net[stream], &options);
            y[stream] = run_evaluation(&net[stream], out, 1, 1, 0, 0);
        }
        assert_same_samples(&y[0], 0, &y[1], 0, 1);
        for (int stream = 0; stream < 2; stream++)
            net_close(&net[stream]);
        diffc_release(&own);
    }
}

/* A frozen plan does the same sums: only the rounding differs, and no activation is left out or done twice.
 */
static void test_frozen(void **unused)
{
    (void)unused;
    for (int i = 0; i < 4 * DFI_COUNT(masks); i++) {
        const enum dfi_numerics numerics = (enum dfi_numerics)(i % 3);
        const struct dfi_exec_options loose = { 3, 2, 0, .numerics = numerics };
        struct dfi_exec_options frozen = { 3, 2, 0, .numerics = numerics, .frozen = 1 };
        frozen.precision = i / 2 % 2 ? DFI_PRECISION_BF16 : DFI_PRECISION_F32;
        struct pair pair;
        open_pair(&pair, i % 2, &loose, &frozen, masks[i / 4]);
        const struct dfi_block a = run_evaluation(&pair.whole, pair.out, 3, 2, 0, 0);
        const struct dfi_block b = run_evaluation(&pair.part, pair.out, 3, 2, 0, 0);
        double difference = 0, size = 0;
        for (ptrdiff_t k = 0; k < a.samples * a.sample_stride; k++) {
            const double x = (double)((float *)a.data)[k], y = (double)((float *)b.data)[k];
            difference += (x - y) * (x - y);
            size += x * x;
        }
        assert_true(difference > 0 &&
                    difference <= (i / 2 % 2 ? 0.02 : 1e-8) * size); /* none: nothing was fused */
        close_pair(&pair);
    }
}

/* Two conditions in one run are two runs. */
static void test_conditions(void **unused)
{
    (void)unused;
    for (int i = 0; i < 3 * 3 * 3; i++) {
        struct dfi_exec_options both = { 5, 2, 0, .frozen = i / 9 > 0 };
        both.precision = i / 18 ? DFI_PRECISION_BF16 : DFI_PRECISION_F32;
        struct dfi_exec_options one = both;
        one.conditions = 1;
        struct pair pair;
        open_pair(&pair, i % 3 == 2 ? 4 : i % 3, &both, &one, masks[i / 3 % 3]); /* a LeNet has none */
        for (int batch = 5; batch > 2; batch -= 2) {
            const struct dfi_block all = run_evaluation(&pair.whole, pair.out, batch, 2, 0, 0);
            assert_int_equal(all.samples, 2 * batch);
            for (int condition = 0; condition < 2; condition++) {
                const struct dfi_block some = run_evaluation(&pair.part, pair.out, batch, 1, 0, condition);
                assert_same_samples(&all, condition * batch, &some, 0, batch);
            }
            assert_memory_not_equal(all.data, (float *)all.data + batch * all.sample_stride,
                                    (size_t)all.sample_stride * sizeof(float));
        }
        close_pair(&pair);
    }
}

/* With the statistics of the batch, too: the other condition is no part of the batch. */
static void test_session_in_training(void **unused)
{
    static const struct dfi_model_config config = { 1, 8, 8, 4, 10, "class", "add", NULL, 10, .seed = 1 };
    static const int32_t labels[3] = { 1, 7, 4 };
    static const int64_t shape[4] = { 3, 1, 8, 8 };
    static const float t[3] = { 1, 5, 9 };
    struct diffc_context *context = open_context(2, 0);
    struct diffc_model *model = NULL;
    struct diffc_tensor *x = NULL, *out[2][2] = { { NULL } };
    (void)unused;
    assert_int_equal(dfi_model_new(context, &dfi_architecture_cs180_unet, &config, &model), DIFFC_OK);
    assert_int_equal(dfi_tensor_create(context, DIFFC_F32, 4, shape, &x), DIFFC_OK);
    dt_input("x", x->data, 3 * 64);
    for (int conditions = 1; conditions <= 2; conditions++) {
        const struct dfi_session_config options = { .batch = 3, .conditions = conditions, .training = 1 };
        struct diffc_session *session = NULL;
        diffc_query queries[2] = { { .x = x, .condition = 0 }, { .x = x, .condition = DIFFC_UNCONDITIONAL } };
        assert_int_equal(dfi_session_new(model, &options, &session), DIFFC_OK);
        assert_int_equal(dfi_session_set_labels(session, labels, 3), DIFFC_OK);
        for (int q = 0; q < 2; q++) {
            assert_int_equal(dfi_tensor_create(context, DIFFC_F32, 4, shape, &out[conditions - 1][q]),
                             DIFFC_OK);
            queries[q].out = out[conditions - 1][q];
        }
        assert_int_equal(dfi_session_predict(session, t, queries, 2), DIFFC_OK);
        dfi_release(session);
    }
    for (int q = 0; q < 2; q++) {
        assert_memory_equal(out[0][q]->data, out[1][q]->data, 3 * 64 * sizeof(float));
        dfi_release(out[0][q]);
        dfi_release(out[1][q]);
    }
    dfi_release(x);
    dfi_release(model);
    diffc_release(&context);
}

/* What must not be built. */

static struct diffc_context *context;

static void expect_refusal(struct net *net, int status, const char *words)
{
    assert_int_equal(dfi_graph_finish(net->graph), status);
    if (!strstr(diffc_message(), words))
        fail_msg("\"%s\" does not say \"%s\"", diffc_message(), words);
    assert_int_equal(dfi_activation(net->graph, 0, DFI_ACT_RELU), -1); /* the failure sticks */
    net_close(net);
}

static int open_small(struct net *net)
{
    net_open(net, context, DIFFC_F32);
    return dfi_graph_input(net->graph, "x", 3, 4, 4, 0);
}

static void test_refused_graphs(void **unused)
{
    struct net net;
    int x = open_small(&net);
    (void)unused;
    dfi_conv2d(net.graph, x, "a", 3, 7, 1, 0);
    expect_refusal(&net, DIFFC_ERR_CONFIG, "the window does not fit");

    x = open_small(&net);
    dfi_conv2d(net.graph, dfi_conv2d(net.graph, x, "a", 3, 3, 1, 1), "a", 3, 3, 1, 1);
    expect_refusal(&net, DIFFC_ERR_CONFIG, "a.weight belongs to another layer already");

    x = open_small(&net);
    dfi_add(net.graph, x, dfi_conv2d(net.graph, x, "a", 4, 3, 1, 1));
    expect_refusal(&net, DIFFC_ERR_CONFIG, "different shapes");

    x = open_small(&net);
    dfi_concat(net.graph, x, dfi_avg_pool(net.graph, x, 2, 2));
    expect_refusal(&net, DIFFC_ERR_CONFIG, "different sizes");

    x = open_small(&net);
    dfi_modulate(net.graph, x, x, -1);
    expect_refusal(&net, DIFFC_ERR_CONFIG, "one value per channel");

    x = open_small(&net);
    dfi_mse_loss(net.graph, x, dfi_conv2d(net.graph, x, "a", 3, 1, 1, 0));
    expect_refusal(&net, DIFFC_ERR_CONFIG, "may not depend on parameters");

    x = open_small(&net);
    dfi_mse_loss(net.graph, dfi_conv2d(net.graph, x, "a", 3, 1, 1, 0), x);
    dfi_activation(net.graph, x, DFI_ACT_RELU);
    expect_refusal(&net, DIFFC_ERR_CONFIG, "must be the last");
}

/* A second graph shares parameters of the same shape, and only those. */
static void test_shared_parameters(void **unused)
{
    struct net net;
    struct dfi_graph *second = NULL;
    const int x = open_small(&net);
    (void)unused;
    dfi_linear(net.graph, x, "a", 5);
    assert_int_equal(dfi_graph_create(context, &net.params, &second), DIFFC_OK);
    const int y = dfi_linear(second, dfi_graph_input(second, "x", 3, 1, 1, 0), "a", 5);
    assert_int_equal(dfi_graph_finish(second), DIFFC_OK);
    assert_int_equal(net.params.count, 2);
    dfi_linear(second, y, "a", 5);
    assert_int_equal(dfi_graph_finish(second), DIFFC_ERR_CONFIG);
    assert_non_null(strstr(diffc_message(), "another shape"));
    dfi_graph_destroy(second);
    net_close(&net);
}

static void test_refused_plans(void **unused)
{
    static const struct dfi_exec_options good = { 2, 1, 1, .numerics = 0 };
    static const struct dfi_exec_options bad[] = { { 0, 1, 0, .numerics = 0 },
                                                   { INT32_MAX, 2, 0, .numerics = 0 },
                                                   { 1, 0, 0, .numerics = 0 },
                                                   { 1, 65, 0, .numerics = 0 },
                                                   { 1, 2, 1, .numerics = 0 } };
    struct net net;
    struct dfi_exec *exec = NULL;
    const int x = open_small(&net);
    (void)unused;
    dfi_conv2d(net.graph, x, "a", 3, 3, 1, 1);
    net_plan(&net, &good);
    for (int i = 0; i < DFI_COUNT(bad); i++) {
        size_t bytes = 1;
        const int status = i == 1 ? DIFFC_ERR_LIMIT : DIFFC_ERR_ARG;
        assert_int_equal(dfi_exec_create(net.graph, &net.params, &bad[i], &exec), status);
        assert_int_equal(dfi_exec_bytes(net.graph, &bad[i], &bytes), status);
        assert_int_equal(bytes, 1);
    }
    assert_null(exec);
    const int64_t limit = context->limits.memory;
    context->limits.memory = (int64_t)net.exec->plan.bytes - 1;
    assert_int_equal(dfi_exec_create(net.graph, &net.params, &good, &exec), DIFFC_ERR_LIMIT);
    context->limits.memory++;
    assert_int_equal(dfi_exec_create(net.graph, &net.params, &good, &exec), DIFFC_OK);
    context->limits.memory = limit;
    dfi_exec_destroy(exec);
    net_close(&net);
}

/* Gradients of a convolution whose lanes take more than one round, scaled to sums over the samples. */
static void add_wide_gradients(struct net *net, int first, int samples, double factor, double *sums)
{
    dfi_exec_set_size(net->exec, samples, 1);
    net_write_inputs(net, first, 0);
    assert_int_equal(dfi_exec_forward(net->exec, 1), DIFFC_OK);
    assert_int_equal(dfi_exec_backward(net->exec, 0), DIFFC_OK);
    for (size_t i = 0; i < net->params.value_count; i++)
        sums[i] += factor * samples * get(net, dfi_exec_gradients(net->exec), i);
}

/* A batch of 17 has a lane of three images, of which a round takes two: all of them count, once. */
static void test_rounds(void **unused)
{
    static const struct dfi_exec_options options = { 17, 1, 1, .numerics = DFI_NUMERICS_DEFAULT };
    struct net net;
    net_open(&net, context, DIFFC_F32);
    const int x = dfi_graph_input(net.graph, "x", 256, 56, 56, 0);
    const int y = dfi_conv2d(net.graph, x, "a", 256, 3, 1, 1);
    dfi_mse_loss(net.graph, y, dfi_graph_input(net.graph, "target", 256, 56, 56, 0));
    net_plan(&net, &options);
    double *sums = test_calloc(net.params.value_count, sizeof(*sums));
    double size = 0, difference = 0;
    (void)unused;
    add_wide_gradients(&net, 0, 16, -1, sums);
    for (size_t i = 0; i < net.params.value_count; i++)
        size += sums[i] * sums[i];
    add_wide_gradients(&net, 16, 1, -1, sums);
    add_wide_gradients(&net, 0, 17, 1, sums);
    for (size_t i = 0; i < net.params.value_count; i++)
        difference += sums[i] * sums[i];
    assert_true(size > 0 && difference <= 1e-8 * size);
    test_free(sums);
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_batches),        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_rounding_mode),  cmocka_unit_test(test_groups_of_channels),
        cmocka_unit_test(test_conditions),     cmocka_unit_test(test_session_in_training),
        cmocka_unit_test(test_refused_graphs), cmocka_unit_test(test_shared_parameters),
        cmocka_unit_test(test_refused_plans),
    };
    context = open_context(2, 0);
    const int failed = cmocka_run_group_tests_name("exec", tests, NULL, NULL);
    diffc_release(&context);
    return failed;
}
