/* Gradients of every layer in double against central differences of the forward pass. */

#include "layer_case.h"
#include "model/architectures.h"

#define EPSILON 1e-6
#define ABSOLUTE 1e-8
#define RELATIVE 1e-5
#define LEAST 1e-4 /* of the largest gradient of a parameter: well above what ABSOLUTE forgives */

static struct diffc_context *context;

/* The loss, or, in a graph without one, the scalar product of the output with fixed numbers, whose gradient
 * those are. */
static double run_forward(const struct net *net)
{
    uint64_t state = dt_seed("gradient of the output");
    const int last = net->graph->count - 1;
    double sum = 0;
    net_write_inputs(net, 0, 0);
    assert_int_equal(dfi_exec_forward(net->exec, 1), DIFFC_OK);
    if (net->graph->loss >= 0)
        return dfi_exec_loss(net->exec);
    const struct dfi_block y = dfi_exec_value(net->exec, last);
    for (size_t i = 0; i < block_size(&y); i++)
        sum += ((double *)y.data)[i] * dt_next(&state);
    return sum;
}

static void run_backward(const struct net *net, int accumulate)
{
    uint64_t state = dt_seed("gradient of the output");
    run_forward(net);
    if (net->graph->loss < 0) {
        const struct dfi_block dy = dfi_exec_gradient_of(net->exec, net->graph->count - 1);
        for (size_t i = 0; i < block_size(&dy); i++)
            ((double *)dy.data)[i] = dt_next(&state);
    }
    assert_int_equal(dfi_exec_backward(net->exec, accumulate), DIFFC_OK);
}

static double *copy_gradients(const struct net *net)
{
    const size_t bytes = net->params.value_count * sizeof(double);
    double *copy = malloc(bytes);
    memcpy(copy, dfi_exec_gradients(net->exec), bytes);
    return copy;
}

/* d loss / d parameters along `direction`, for the parameters of one array. */
static double slope(const struct net *net, const struct dfi_param *param, const double *direction)
{
    double *values = (double *)net->params.values + param->offset, at[2];
    double *saved = malloc(param->count * sizeof(*saved));
    memcpy(saved, values, param->count * sizeof(*saved));
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < param->count; i++)
            values[i] = saved[i] + (side ? EPSILON : -EPSILON) * direction[i];
        dfi_exec_refresh(net->exec);
        at[side] = run_forward(net);
    }
    memcpy(values, saved, param->count * sizeof(*saved));
    free(saved);
    dfi_exec_refresh(net->exec);
    return (at[1] - at[0]) / (2 * EPSILON);
}

static int is_absorbed(const struct net *net, int number)
{
    for (int v = 0; v < net->graph->count; v++)
        if (net->graph->nodes[v].param[1] == number)
            return net->graph->nodes[v].absorbed;
    return 0;
}

static int differs(double found, double expected)
{
    return !(fabs(found - expected) <= ABSOLUTE + RELATIVE * fabs(expected));
}

/* How many gradients of a parameter are wrong, one by one. */
static size_t check_elements(const struct net *net, const struct dfi_param *param, const double *gradient,
                             double least)
{
    double *direction = calloc(param->count, sizeof(*direction)), largest = 0;
    size_t wrong = 0;
    for (size_t i = 0; i < param->count; i++) {
        direction[i] = 1;
        wrong += differs(gradient[i], slope(net, param, direction));
        direction[i] = 0;
        largest = fabs(gradient[i]) > largest ? fabs(gradient[i]) : largest;
    }
    free(direction);
    return wrong + (largest < least);
}

/* The same along one direction that has a slope: the gradient's own plus a random one. */
static size_t check_direction(const struct net *net, const struct dfi_param *param, const double *gradient,
                              double least)
{
    double *direction = malloc(param->count * sizeof(*direction)), norm = 0, product = 0;
    uint64_t state = dt_seed(param->name);
    for (size_t i = 0; i < param->count; i++)
        norm += gradient[i] * gradient[i];
    norm = sqrt(norm);
    for (size_t i = 0; i < param->count; i++) {
        direction[i] = dt_next(&state) / sqrt((double)param->count) + (norm > 0 ? gradient[i] / norm : 0);
        product += direction[i] * gradient[i];
    }
    const size_t wrong = differs(product, slope(net, param, direction));
    free(direction);
    return wrong + (norm < least);
}

/* How many gradients are wrong; parameters of which some are are named on `what` unless it is NULL. */
static size_t count_wrong(const struct net *net, int each, const char *what)
{
    size_t total = 0;
    run_backward(net, 0);
    double *gradient = copy_gradients(net), *twice;
    run_backward(net, 1);
    twice = copy_gradients(net);
    for (size_t i = 0; i < net->params.value_count; i++)
        total += twice[i] != 2 * gradient[i];
    if (total && what)
        print_error("%s: %zu gradients do not add up\n", what, total);
    for (int p = 0; p < net->params.count; p++) {
        const struct dfi_param *param = &net->params.list[p];
        const double least = is_absorbed(net, p) ? 0 : LEAST;
        const size_t wrong = (each ? check_elements : check_direction)(net, param, gradient + param->offset,
                                                                       least);
        if (wrong && what)
            print_error("%s, %s: %zu of %zu\n", what, param->name, wrong, param->count);
        total += wrong;
    }
    free(gradient);
    free(twice);
    return total;
}

/* `kernels`: instead of the right ones; `seeded`: from a gradient of the output instead of a loss. */
static size_t check_layer(const struct layer *layer, int batch, int seeded, const struct dfi_kernels *kernels)
{
    const struct dfi_exec_options options = { batch, 1, 1, .numerics = 0 };
    struct net net;
    char what[96];
    net_open(&net, context, DIFFC_F64);
    const int y = layer->build(net.graph, layer);
    if (!seeded) {
        const struct dfi_node out = net.graph->nodes[y];
        const int target = dfi_graph_input(net.graph, "target", out.c, out.h, out.w, 0);
        (void)(layer->build == build_entropy ? dfi_cross_entropy_loss : dfi_mse_loss)(net.graph, y, target);
    }
    net_plan(&net, &options);
    if (kernels) {
        net.exec->kernels = kernels;
        dfi_exec_refresh(net.exec);
    }
    snprintf(what, sizeof(what), "%s, batch %d%s", layer->name, batch, seeded ? ", without loss" : "");
    const size_t wrong = count_wrong(&net, 1, kernels ? NULL : what);
    net_close(&net);
    return wrong;
}

static void test_layers(void **unused)
{
    static const int batches[] = { 1, 5, 8, 11 };
    size_t wrong = 0;
    (void)unused;
    for (int i = 0; i < DFI_COUNT(layers); i++)
        for (int b = 0; b < DFI_COUNT(batches); b++)
            for (int seeded = 0; seeded < 2; seeded++)
                wrong += check_layer(&layers[i], batches[b], seeded, NULL);
    assert_int_equal(wrong, 0);
}

/* Factors around 1, so that no gradient is small only because others are multiplied to it. */
static void raise_factors(const struct net *net)
{
    for (int p = 0; p < net->params.count; p++)
        for (size_t i = 0; strstr(net->params.list[p].name, ".fc2.bias") && i < net->params.list[p].count;
             i++)
            ((double *)net->params.values)[net->params.list[p].offset + i] += 1;
}

/* The whole UNet, where every gradient comes a long way: along one direction for each of its parameters. */
static void test_unet(void **unused)
{
    static const char *const time_modes[] = { "add", "mul" };
    static const int batches[] = { 1, 5, 8, 11 };
    size_t wrong = 0;
    (void)unused;
    for (int i = 0; i < 2 * DFI_COUNT(batches); i++) {
        const struct dfi_model_config config = { 1,    8, 8,        4, 10, "class", time_modes[i % 2],
                                                 NULL, 0, .seed = 1 };
        const struct dfi_exec_options options = { batches[i / 2], 1, 1, .numerics = 0 };
        struct dfi_model_values values;
        struct net net;
        char what[64];
        net_open(&net, context, DIFFC_F64);
        dfi_architecture_cs180_unet.build(net.graph, &config, &values);
        dfi_mse_loss(net.graph, values.out, dfi_graph_input(net.graph, "target", 1, 8, 8, 0));
        net_plan(&net, &options);
        raise_factors(&net);
        snprintf(what, sizeof(what), "cs180_unet %s, batch %d", config.time_mode, options.batch);
        wrong += count_wrong(&net, 0, what);
        net_close(&net);
    }
    assert_int_equal(wrong, 0);
}

/* The smallest networks of the DeepFloyd IF family, with and without what a configuration may leave out. */
static const char *const if_configs[] = {
    "{\"block_out_channels\": [4, 8], \"layers_per_block\": 1, \"sample_size\": 4, \"in_channels\": 3,"
    "\"out_channels\": 3, \"act_fn\": \"gelu\", \"norm_num_groups\": 2, \"attention_head_dim\": 4,"
    "\"down_block_types\": [\"SimpleCrossAttnDownBlock2D\", \"ResnetDownsampleBlock2D\"],"
    "\"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\","
    "\"up_block_types\": [\"ResnetUpsampleBlock2D\", \"SimpleCrossAttnUpBlock2D\"],"
    "\"cross_attention_dim\": 64, \"encoder_hid_dim\": 6, \"cross_attention_norm\": \"group_norm\","
    "\"addition_embed_type\": \"text\", \"addition_embed_type_num_heads\": 2,"
    "\"resnet_time_scale_shift\": \"scale_shift\", \"class_embed_type\": \"timestep\","
    "\"time_embedding_act_fn\": \"gelu\", \"resnet_skip_time_act\": true, \"mid_block_scale_factor\": 1.5,"
    "\"resnet_out_scale_factor\": 1.4}",
    "{\"block_out_channels\": [4, 8], \"layers_per_block\": [1, 2], \"sample_size\": 4, \"in_channels\": 2,"
    "\"out_channels\": 4, \"norm_num_groups\": 2, \"attention_head_dim\": [2, 4],"
    "\"down_block_types\": [\"ResnetDownsampleBlock2D\", \"SimpleCrossAttnDownBlock2D\"],"
    "\"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\","
    "\"up_block_types\": [\"SimpleCrossAttnUpBlock2D\", \"ResnetUpsampleBlock2D\"],"
    "\"cross_attention_dim\": 5, \"only_cross_attention\": [false, true], \"time_embedding_dim\": 6}",
};

/* A softmax does not see a constant added to every key: the gradient of such a bias is zero. */
static int bias_of_all_keys(int config, const char *name)
{
    return strstr(name, "pool.k_proj") || (config == 1 && strstr(name, "add_k_proj") && !strstr(name, "mid"));
}

static size_t check_if(int config, int batch)
{
    const struct dfi_exec_options options = { batch, 1, 1, .numerics = 0 };
    struct dfi_model_config settings = { .json = if_configs[config] };
    struct dfi_model_values values;
    struct net net;
    char what[64];
    if (dfi_architecture_if_unet.check(&settings) < 0)
        fail_msg("%s", diffc_message());
    settings.text_tokens = 3;
    net_open(&net, context, DIFFC_F64);
    dfi_architecture_if_unet.build(net.graph, &settings, &values);
    const struct dfi_node out = net.graph->nodes[values.out];
    dfi_mse_loss(net.graph, values.out, dfi_graph_input(net.graph, "target", out.c, out.h, out.w, 0));
    net_plan(&net, &options);
    for (int v = 0; v < net.graph->count; v++)
        net.graph->nodes[v].absorbed |= bias_of_all_keys(config, net.graph->nodes[v].name);
    snprintf(what, sizeof(what), "if_unet %d, batch %d", config, batch);
    const size_t wrong = count_wrong(&net, 0, what);
    net_close(&net);
    return wrong;
}

static void test_if(void **unused)
{
    (void)unused;
    assert_int_equal(check_if(0, 3) + check_if(0, 9) + check_if(1, 2), 0);
}

/* Kernels with one fault each, in the backward pass only: the check must see every one. */

#define OFF 1.01

static const struct dfi_kernels *right(void)
{
    return dfi_kernels_get(0, DIFFC_F64);
}

static void affine2_off(const void *g, ptrdiff_t ldg, const void *x, ptrdiff_t ldx, void *dx, ptrdiff_t lddx,
                        size_t pixels, int c, const void *a, const void *b, const void *d, int accumulate)
{
    right()->affine2(g, ldg, x, ldx, dx, lddx, pixels, c, a, b, d, accumulate);
    for (size_t p = 0; p < pixels; p++)
        ((double *)dx)[(ptrdiff_t)p * lddx] *= OFF;
}

static void act_backward_off(const void *x, ptrdiff_t ldx, const void *dy, ptrdiff_t lddy, void *g,
                             ptrdiff_t ldg, size_t pixels, int c, const void *scale, const void *shift,
                             enum dfi_act act, double *sum_g, double *sum_gx)
{
    right()->affine_act_backward(x, ldx, dy, lddy, g, ldg, pixels, c, scale, shift, act, sum_g, sum_gx);
    if (sum_gx)
        sum_gx[0] = -sum_gx[0];
}

static void taps_dw_off(const struct dfi_taps_dw_args *args)
{
    struct dfi_taps_dw_args less = *args;
    less.rows--;
    right()->taps_dw(&less);
}

static void taps_off(const struct dfi_taps_args *args)
{
    struct dfi_taps_args forgetful = *args;
    forgetful.accumulate = 0;
    right()->taps(&forgetful);
}

static void moments_off(const void *x, ptrdiff_t ldx, size_t pixels, int c, double *sum, double *sum_squares)
{
    right()->moments(x, ldx, pixels - 1, c, sum, sum_squares);
}

static void softmax_off(const void *y, const void *dy, void *dx, size_t rows, int c)
{
    right()->softmax_backward(y, dy, dx, rows - 1, c);
}

static double squared_error_off(const void *p, const void *t, void *dp, double scale, size_t n)
{
    return right()->squared_error(p, t, dp, scale * OFF, n);
}

static double cross_entropy_off(const void *x, const void *t, void *dx, double scale, size_t rows, int c)
{
    return right()->cross_entropy(x, t, dx, -scale, rows, c);
}

static void moments_about_off(const void *x, ptrdiff_t ldx, size_t pixels, int c, const void *center,
                              double *sum, double *sum_squares)
{
    right()->moments_about(x, ldx, pixels, c, center, sum, sum_squares);
    sum_squares[0] = sum_squares[1];
}

static void layer_norm_off(const void *x, ptrdiff_t ldx, const void *dy, ptrdiff_t lddy, void *dx,
                           ptrdiff_t lddx, size_t rows, int c, const void *weight, double epsilon,
                           int accumulate, double *dweight, double *dbias)
{
    right()->layer_norm_backward(x, ldx, dy, lddy, dx, lddx, rows, c, weight, epsilon * 2e4, accumulate,
                                 dweight, dbias);
}

static void attention_off(const void *p, ptrdiff_t ldp, void *dp, ptrdiff_t lddp, size_t rows, int c)
{
    right()->attention_softmax_backward(p, ldp, dp, lddp, rows - 1, c);
}

static void rms_norm_off(const void *x, ptrdiff_t ldx, const void *dy, ptrdiff_t lddy, void *dx,
                         ptrdiff_t lddx, size_t rows, int c, const void *weight, double epsilon,
                         int accumulate, double *dweight)
{
    right()->rms_norm_backward(x, ldx, dy, lddy, dx, lddx, rows, c, weight, epsilon * 1.1, accumulate,
                               dweight);
}

static void gate_off(const void *a, const void *b, const void *dy, void *da, void *db, size_t n,
                     enum dfi_act act, int accumulate_a, int accumulate_b)
{
    (void)accumulate_b;
    right()->gate_backward(a, b, dy, da, db, n, act, accumulate_a, 0);
}

static const struct layer *find_layer(const char *name)
{
    for (int i = 0; i < DFI_COUNT(layers); i++)
        if (strcmp(layers[i].name, name) == 0)
            return &layers[i];
    fail_msg("no layer %s", name);
    return NULL;
}

static void test_faults_are_seen(void **unused)
{
    (void)unused;
    const struct dfi_kernels *all = right();
    static const char *const where[] = {
        "batch_norm",          "batch_norm gelu",   "conv2d 3x3", "concat, users before and after",
        "linear on pixels",    "softmax on pixels", "linear",     "cross_entropy_loss",
        "group_norm",          "layer_norm",        "attention",  "rms_norm",
        "gate silu, one value"
    };
    struct dfi_kernels off[DFI_COUNT(where)];
    for (int i = 0; i < DFI_COUNT(where); i++)
        off[i] = *all;
    off[0].affine2 = affine2_off;
    off[1].affine_act_backward = act_backward_off;
    off[2].taps_dw = taps_dw_off;
    off[3].taps = taps_off;
    off[4].moments = moments_off;
    off[5].softmax_backward = softmax_off;
    off[6].squared_error = squared_error_off;
    off[7].cross_entropy = cross_entropy_off;
    off[8].moments_about = moments_about_off;
    off[9].layer_norm_backward = layer_norm_off;
    off[10].attention_softmax_backward = attention_off;
    off[11].rms_norm_backward = rms_norm_off;
    off[12].gate_backward = gate_off;
    for (int i = 0; i < DFI_COUNT(off); i++) {
        assert_int_equal(check_layer(find_layer(where[i]), 5, 0, all), 0);
        if (check_layer(find_layer(where[i]), 5, 0, &off[i]) == 0)
            fail_msg("a fault in %s goes unnoticed", where[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_unet),
        cmocka_unit_test(test_if),
        cmocka_unit_test(test_faults_are_seen),
    };
    context = open_context(1, 0);
    const int failed = cmocka_run_group_tests_name("gradients", tests, NULL, NULL);
    diffc_release(&context);
    return failed;
}
